//! What an attack is: what it is given, what it promises, how it describes itself.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{AttackError, ParamError};
use crate::query::Query;
use crate::threat::{Ball, Goal, Norm};
use crate::victim::Access;

/// The samples to attack, all of them correctly classified.
#[derive(Debug)]
pub struct Batch<'a> {
    /// f32 `[N, C, H, W]` in `[0, 1]`; must not be changed in place.
    pub pixels: &'a Tensor,
    /// i64 `[N]`: the class to leave (untargeted) or to reach (targeted).
    pub classes: &'a Tensor,
    /// One number per sample; names it to the [`Query`], which meters and seeds by it.
    pub ids: &'a [u32],
    /// Whether `classes` are to be left or reached.
    pub goal: Goal,
    /// The largest distance that counts, where a minimal attack is given one.
    pub within: Option<f64>,
}

/// What an attack's cost depends on besides its own parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    pub channels: u64,
    /// Rows of an image.
    pub height: u64,
    /// Columns of an image.
    pub width: u64,
    pub classes: u64,
    /// Whether a class is to be reached.
    pub is_targeted: bool,
}

impl Scale {
    pub(crate) fn area(&self) -> u64 {
        self.height.saturating_mul(self.width)
    }
}

/// What an attack asks of the victim for one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Images run through the victim.
    pub forwards: u64,
    pub backwards: u64,
}

/// Does as much harm as it can inside a ball.
pub trait BudgetAttack: fmt::Debug + Send + Sync {
    /// The most that one sample can cost.
    fn most_passes(&self, scale: &Scale) -> Passes;

    /// Pixels like `batch.pixels`, in the ball and in `[0, 1]`: per sample the most adversarial that were found.
    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError>;
}

/// Looks for the smallest change that meets the goal.
pub trait MinimalAttack: fmt::Debug + Send + Sync {
    /// The most that one sample can cost.
    fn most_passes(&self, scale: &Scale) -> Passes;

    /// Pixels like `batch.pixels`, in `[0, 1]`: per sample the nearest adversarial ones, or the original bits.
    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, norm: Norm) -> Result<Tensor, AttackError>;
}

/// An attack with its checked parameters.
#[derive(Debug)]
pub enum Attack {
    /// Keeps to a given budget.
    Budget(Box<dyn BudgetAttack>),
    Minimal(Box<dyn MinimalAttack>),
}

impl Attack {
    /// The most that one sample can cost.
    pub fn most_passes(&self, scale: &Scale) -> Passes {
        match self {
            Self::Budget(attack) => attack.most_passes(scale),
            Self::Minimal(attack) => attack.most_passes(scale),
        }
    }
}

/// How an attack looks for its change; what its failures mean depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttackKind {
    /// One step as long as the whole budget.
    OneStep,
    /// Many gradient steps inside the budget: more of them should break more.
    Iterated(Steps),
    /// Many gradient steps towards the smallest change, as far as that takes.
    Minimizing,
    /// Trial of many changes, judged by the class scores alone.
    Search,
}

impl AttackKind {
    /// Its steps, where it is iterated inside a budget.
    pub fn steps(self) -> Option<Steps> {
        match self {
            Self::Iterated(steps) => Some(steps),
            _ => None,
        }
    }

    /// Whether it follows the gradient more than once.
    pub fn repeats_steps(self) -> bool {
        matches!(self, Self::Iterated(_) | Self::Minimizing)
    }
}

/// What an iterated attack's parameters say about its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The parameter with their number: the attack's effort.
    pub count: &'static str,
    /// The parameter with their length: a size, a share of ε such as `eps/4`, or `auto` where it crosses any budget.
    pub length: Option<&'static str>,
    /// Whether the attack tells after how many forward passes a sample first met the goal.
    pub knows_first_success: bool,
}

/// Everything the outside world knows about an attack: help texts, forms, reports and tests read it.
#[derive(Debug)]
pub struct AttackSpec {
    /// Its name on command lines and in reports, kebab-case.
    pub id: &'static str,
    pub title: &'static str,
    /// One or two plain sentences: what it does and when to use it.
    pub what: &'static str,
    /// How it looks for its change.
    pub kind: AttackKind,
    pub access: Access,
    /// Norms that it knows; the first is its default.
    pub norms: &'static [Norm],
    /// Whether it can leave a class.
    pub untargeted: bool,
    /// Whether it can reach a given class.
    pub targeted: bool,
    /// Where it comes from.
    pub paper: Paper,
    /// Its own parameters; those of the threat are [`SHARED_PARAMS`](crate::config::SHARED_PARAMS).
    pub params: &'static [ParamDoc],
    /// Values per preset and norm; the same keys as on a command line, shared ones included.
    pub presets: &'static [PresetValues],
    /// The defaults of its own parameters.
    pub defaults: fn() -> toml::Table,
    /// Checks its own parameters and makes the attack.
    pub build: fn(&toml::Table) -> Result<Attack, ParamError>,
}

/// Ids are unique.
impl PartialEq for AttackSpec {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// An ensemble with the parameters under which it was published.
#[derive(Debug)]
pub struct EnsembleSpec {
    /// Its name on command lines, kebab-case; that of no attack.
    pub id: &'static str,
    /// What a report calls it.
    pub title: &'static str,
    /// One or two plain sentences: what it does and when to use it.
    pub what: &'static str,
    pub norms: &'static [Norm],
    pub paper: Paper,
    /// In their order, as on a command line, without norm and ε.
    pub members: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
pub struct Paper {
    pub authors: &'static str,
    pub title: &'static str,
    pub venue: &'static str,
    pub year: u16,
    /// Where to read it.
    pub url: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub struct ParamDoc {
    pub name: &'static str,
    /// The default as one would type it.
    pub default: &'static str,
    pub range: &'static str,
    /// What it does, one sentence.
    pub help: &'static str,
}

/// A named set of budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Small budgets for a first look.
    Quick,
    #[default]
    Standard,
    /// The defaults of `AdverTorch`, which the modularity paper's experiments used, in pixel space.
    Paper,
}

impl Preset {
    pub const ALL: [Self; 3] = [Self::Quick, Self::Standard, Self::Paper];

    /// What it sets for a norm, as after the colon on a command line, and where the numbers come from.
    pub const fn values(self, norm: Norm, values: &'static str, source: &'static str) -> PresetValues {
        PresetValues { preset: self, norm, values, source }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Paper => "paper",
        })
    }
}

impl std::str::FromStr for Preset {
    type Err = ParamError;

    fn from_str(text: &str) -> Result<Self, ParamError> {
        let found = Self::ALL.into_iter().find(|preset| preset.to_string() == text);
        found.ok_or_else(|| ParamError::Syntax {
            text: text.to_owned(),
            why: "unknown preset; known: quick, standard, paper".to_owned(),
        })
    }
}

/// What a preset sets for one norm.
#[derive(Clone, Copy, Debug)]
pub struct PresetValues {
    pub preset: Preset,
    pub norm: Norm,
    /// `key=value` pairs with commas between, as after the colon on a command line.
    pub values: &'static str,
    /// Where the numbers come from.
    pub source: &'static str,
}

/// Reads an attack's own parameters; what is not in the table keeps its default. For use in [`AttackSpec::build`].
///
/// # Errors
/// Names the first parameter whose value has the wrong kind.
pub fn read_params<P: DeserializeOwned>(attack: &'static str, table: &toml::Table) -> Result<P, ParamError> {
    let error = match table.clone().try_into::<P>() {
        Ok(params) => return Ok(params),
        Err(error) => error,
    };
    // The error does not say which key it was: ask key by key.
    for (param, value) in table {
        let alone = toml::Table::from_iter([(param.clone(), value.clone())]);
        if let Err(error) = alone.try_into::<P>() {
            return Err(ParamError::bad(attack, param, show(value), first_line(&error)));
        }
    }
    Err(ParamError::Syntax { text: attack.to_owned(), why: first_line(&error) })
}

/// A value as one would type it: text without quotes.
pub(crate) fn show(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or("wrong kind of value").trim_end_matches('.').to_owned()
}
