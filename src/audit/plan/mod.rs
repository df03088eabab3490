//! What to do, as a user wrote it: flags, or a TOML file.

use std::path::PathBuf;

use advmod_attacks::attack::Preset;
use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::config::{AttackConfig, find, parse_spec_string};
use advmod_attacks::error::ParamError;
use advmod_attacks::threat::Norm;
use serde::{Deserialize, Serialize};

use super::attack::label;
use super::baseline::Baseline;
use super::gate::{self, GatePlan, WaiverPlan};
use super::plan_file::with_attacks;
use super::resolved::{ResolvedPlan, command};
use super::state::AuditState;
use crate::data::{OpenOptions, Selection, Split};
use crate::model::device::DeviceChoice;
use crate::model::load::LoadOptions;
use crate::model::normalize::Normalization;
use crate::model::program::TapSelection;
use crate::modularity::Similarity;

/// A plan file. Everything is optional; unknown keys are errors.
///
/// ```toml
/// seed = 1
/// [model]
/// file = "resnet20.th"
/// normalize = "imagenet"
/// [data]
/// path = "cifar-10-batches-py"
/// first = 500
/// [[attack]]
/// name = "pgd"
/// eps = ["4/255", "8/255"]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditPlan {
    /// `[model]`.
    pub model: ModelPlan,
    /// `[data]`.
    pub data: DataPlan,
    /// `[curve]`.
    pub curve: CurvePlan,
    /// `[[attack]]`: a name, and its parameters beside it.
    pub attack: Vec<AttackPlan>,
    /// `[[gate]]`: what the results must meet.
    pub gate: Vec<GatePlan>,
    /// `[[waiver]]`: which gates may fail until when.
    pub waiver: Vec<WaiverPlan>,
    /// Where parameters that are not given come from.
    pub preset: Option<String>,
    /// When attacks stop: sets the parameter `stop` of each attack that has it and is not given it.
    pub stop: Option<String>,
    /// Judge adversarial pixels after rounding them to 8 bits.
    pub eight_bit: Option<bool>,
    /// Of everything random.
    pub seed: Option<u64>,
    /// `auto`, `cpu`, `cuda:N`.
    pub device: Option<String>,
    /// Images per batch.
    pub batch: Option<usize>,
    /// Processor threads.
    pub threads: Option<usize>,
    /// An earlier report to compare with.
    pub baseline: Option<PathBuf>,
    /// Folder for the results.
    pub out: Option<PathBuf>,
}

/// `[model]` of a plan file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelPlan {
    /// Model file; without it the embedded model.
    pub file: Option<PathBuf>,
    /// Architecture name.
    pub arch: Option<String>,
    /// Preset or `MEAN/STD`.
    pub normalize: Option<String>,
    /// Image height and width.
    pub input_size: Option<u32>,
}

/// `[data]` of a plan file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataPlan {
    /// File or folder; without it the embedded images.
    pub path: Option<PathBuf>,
    /// `train` or `test`.
    pub split: Option<String>,
    /// So many, drawn by the seed.
    pub samples: Option<usize>,
    /// So many, in file order.
    pub first: Option<usize>,
    /// Shorter side.
    pub resize: Option<u32>,
    /// Central square.
    pub crop: Option<u32>,
}

/// `[curve]` of a plan file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurvePlan {
    /// Neighbours per sample.
    pub k: Option<usize>,
    /// How representations are compared.
    pub similarity: Option<Similarity>,
    /// `default`, `relu`, `all` or patterns.
    pub taps: Option<String>,
}

/// One `[[attack]]` of a plan file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AttackPlan {
    /// As `advmod attacks` lists it.
    pub name: String,
    /// Its parameters.
    #[serde(flatten)]
    pub params: toml::Table,
}

/// Why a plan cannot be used. One line each.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is not there or not readable.
    #[error("cannot read the plan {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what a plan looks like.
    #[error("plan {path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        message: String,
    },
    /// A setting has no valid value.
    #[error("{0}")]
    Setting(String),
    /// An attack or one of its parameters.
    #[error(transparent)]
    Attack(#[from] ParamError),
}

impl AuditPlan {
    /// Reads a plan file.
    pub fn read(path: &std::path::Path) -> Result<Self, PlanError> {
        let unreadable = |source| PlanError::Unreadable { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(PlanError::Syntax {
                path: path.to_owned(),
                message: "not a regular file; expected TOML".to_owned(),
            });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut plan: Self = toml::from_str(&text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let message = error.message().lines().next().unwrap_or_default();
            PlanError::Syntax { path: path.to_owned(), message: format!("line {line}: {message}") }
        })?;
        plan.gate.iter_mut().for_each(|gate| gate.locate(path, &text));
        Ok(plan)
    }

    /// This plan's settings where it has them, else the other's. Attacks are not merged: any given here replace all of the other's.
    /// Gates and waivers add up.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        let samples = if self.data.first.is_some() { None } else { self.data.samples.or(other.data.samples) };
        let first = if self.data.samples.is_some() { None } else { self.data.first.or(other.data.first) };
        Self {
            model: ModelPlan {
                file: self.model.file.or(other.model.file),
                arch: self.model.arch.or(other.model.arch),
                normalize: self.model.normalize.or(other.model.normalize),
                input_size: self.model.input_size.or(other.model.input_size),
            },
            data: DataPlan {
                path: self.data.path.or(other.data.path),
                split: self.data.split.or(other.data.split),
                samples,
                first,
                resize: self.data.resize.or(other.data.resize),
                crop: self.data.crop.or(other.data.crop),
            },
            curve: CurvePlan {
                k: self.curve.k.or(other.curve.k),
                similarity: self.curve.similarity.or(other.curve.similarity),
                taps: self.curve.taps.or(other.curve.taps),
            },
            attack: if self.attack.is_empty() { other.attack } else { self.attack },
            gate: other.gate.into_iter().chain(self.gate).collect(),
            waiver: other.waiver.into_iter().chain(self.waiver).collect(),
            preset: self.preset.or(other.preset),
            stop: self.stop.or(other.stop),
            eight_bit: self.eight_bit.or(other.eight_bit),
            seed: self.seed.or(other.seed),
            device: self.device.or(other.device),
            batch: self.batch.or(other.batch),
            threads: self.threads.or(other.threads),
            baseline: self.baseline.or(other.baseline),
            out: self.out.or(other.out),
        }
    }
}

impl AttackPlan {
    /// Reads `NAME` or `NAME:key=value,…`, as on the command line.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let (name, params) = parse_spec_string(text)?;
        Ok(Self { name, params })
    }

    /// The attack of this name with its defaults, or every attack for `all`.
    pub fn named(name: &str) -> Vec<Self> {
        let plain = |name: &str| Self { name: name.to_owned(), params: toml::Table::new() };
        match name {
            "all" => ATTACKS.iter().map(|spec| plain(spec.id)).collect(),
            name => vec![plain(name)],
        }
    }
}

/// Attacks that run when none is named.
const DEFAULT_ATTACKS: &[&str] = &["fgsm", "pgd"];

/// A plan that can run: defaults filled in, attacks checked, nothing loaded yet.
#[derive(Debug)]
pub struct Job {
    /// What the report will say.
    pub plan: ResolvedPlan,
    /// The attacks, in the same order.
    pub attacks: Vec<AttackConfig>,
    /// Model file; `None` for the embedded model.
    pub model: Option<PathBuf>,
    /// How to read it.
    pub load: LoadOptions,
    /// Data; `None` for the embedded images.
    pub data: Option<PathBuf>,
    /// How to read it.
    pub open: OpenOptions,
    /// Which images.
    pub selection: Selection,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Whether somebody looks on: then pixels and growing curves come as events too.
    pub pictures: bool,
    /// What the results are compared with: the report that the plan names, once it has been read.
    pub baseline: Option<Box<Baseline>>,
    /// What an earlier, interrupted run of the same plan has done already; its pixels are in the run's folder.
    pub earlier: Option<Box<AuditState>>,
    /// The plan as it was written, for what is added to it.
    written: AuditPlan,
}

impl Job {
    /// Puts an attack, or the attacks of a sweep, behind the others; `check` says what else keeps one from running.
    ///
    /// # Errors
    /// As [`AuditPlan::resolve`], and what `check` says; nothing is added then.
    pub fn add(
        &mut self,
        attack: &AttackPlan,
        check: impl Fn(&AttackConfig) -> Result<(), String>,
    ) -> Result<(), PlanError> {
        let mut longer = self.written.clone();
        longer.attack = longer.attacks();
        longer.attack.push(attack.clone());
        let preset = self.plan.preset.parse()?;
        let (attacks, sweeps) = longer.configs(preset)?;
        attacks[self.attacks.len()..].iter().try_for_each(check).map_err(PlanError::Setting)?;
        self.plan.attacks = label(&attacks, &sweeps);
        let (plan, n) = (&self.plan, self.selection.n());
        self.plan.command = command(&longer, &plan.attacks, n, plan.seed, plan.k, plan.threads);
        (self.attacks, self.written) = (attacks, longer);
        Ok(())
    }

    /// The plan as the text of a plan file that makes the same report: every attack's parameters written out, and what would else depend
    /// on the machine or on defaults; absent where a path has no text.
    pub fn plan_file(&self) -> Option<String> {
        let (plan, mut written) = (&self.plan, self.written.clone());
        (written.seed, written.threads, written.curve.k) = (Some(plan.seed), Some(plan.threads), Some(plan.k));
        with_attacks(None, &written, &plan.attacks).ok()
    }
}

impl AuditPlan {
    /// Fills in the defaults and checks every value that can be checked without loading anything.
    pub fn resolve(self) -> Result<Job, PlanError> {
        let written = self.clone();
        let seed = self.seed.unwrap_or(0);
        let preset: Preset = self.preset.as_deref().unwrap_or("standard").parse()?;
        let (attacks, sweeps) = self.configs(preset)?;
        let split = match self.data.split.as_deref() {
            Some("train") => Split::Train,
            Some("test") | None => Split::Test,
            Some(other) => return Err(PlanError::Setting(format!("data.split = {other}: expected train or test"))),
        };
        let (selection, selection_text) = match (self.data.first, self.data.samples) {
            (Some(_), Some(_)) => {
                return Err(PlanError::Setting("data has both first and samples; give one".to_owned()));
            }
            (Some(n), None) => (Selection::First(n), format!("first {n}")),
            (None, n) => {
                (Selection::Sample { n: n.unwrap_or(500), seed }, format!("{} drawn by seed {seed}", n.unwrap_or(500)))
            }
        };
        let at_least_one = |name: &str, value: Option<usize>, default: usize| match value {
            Some(0) => Err(PlanError::Setting(format!("{name} = 0: must be at least 1"))),
            value => Ok(value.unwrap_or(default)),
        };
        let n = selection.n();
        let k = at_least_one("k", self.curve.k, 3)?;
        if n <= k {
            let message = format!("N = {n} samples are too few for k = {k}; lower --k or take more samples");
            return Err(PlanError::Setting(message));
        }
        let normalization = self.model.normalize.as_deref().map(Normalization::parse).transpose();
        let taps = self.curve.taps.clone().unwrap_or_else(|| "default".to_owned());
        let device = self.device.as_deref().unwrap_or("auto").parse().map_err(PlanError::Setting)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let resolved = label(&attacks, &sweeps);
        let threads = at_least_one("threads", self.threads, cores)?;
        check_threads(threads).map_err(PlanError::Setting)?;
        for (name, value) in
            [("resize", self.data.resize), ("crop", self.data.crop), ("input_size", self.model.input_size)]
        {
            if value.is_some_and(|value| !(1..=4096).contains(&value)) {
                return Err(PlanError::Setting(format!("{name} = {}: must be 1 to 4096", value.unwrap_or_default())));
            }
        }
        let gates = gate::resolve(&self.gate, &self.waiver, &resolved).map_err(PlanError::Setting)?;
        if let Some(gate) = gates.iter().find(|gate| gate.expr.metric.is_regression && self.baseline.is_none()) {
            let message = format!(
                "gate {:?}: a regression needs a baseline; give an earlier report with --baseline",
                gate.expr.to_string()
            );
            return Err(PlanError::Setting(message));
        }
        let plan = ResolvedPlan {
            command: command(&self, &resolved, n, seed, k, threads),
            gates,
            attacks: resolved,
            preset: preset.to_string(),
            eight_bit: self.eight_bit.unwrap_or(false),
            k,
            similarity: self.curve.similarity.unwrap_or_default(),
            taps: taps.clone(),
            selection: selection_text,
            seed,
            device: String::new(),
            batch: at_least_one("batch", self.batch, 128)?,
            threads,
        };
        Ok(Job {
            plan,
            attacks,
            model: self.model.file,
            load: LoadOptions {
                architecture: self.model.arch,
                normalization: normalization.map_err(PlanError::Setting)?,
                input_size: self.model.input_size.map(i64::from),
                taps: TapSelection::parse(&taps),
                random_init: None,
            },
            data: self.data.path,
            open: OpenOptions { split, resize: self.data.resize, crop: self.data.crop },
            selection,
            device,
            pictures: false,
            baseline: None,
            earlier: None,
            written,
        })
    }

    /// The attacks as written, or those that run when none is.
    fn attacks(&self) -> Vec<AttackPlan> {
        match self.attack.is_empty() {
            true => DEFAULT_ATTACKS.iter().flat_map(|name| AttackPlan::named(name)).collect(),
            false => self.attack.clone(),
        }
    }

    /// The attacks with all their parameters, and for each the first attack of the sweep that it belongs to.
    pub(super) fn configs(&self, preset: Preset) -> Result<(Vec<AttackConfig>, Vec<Option<usize>>), PlanError> {
        let mut planned = self.attacks();
        for attack in &mut planned {
            let has_stop = find(&attack.name)?.params.iter().any(|param| param.name == "stop");
            if let Some(stop) = self.stop.as_ref().filter(|_| has_stop) {
                attack.params.entry("stop").or_insert_with(|| stop.as_str().into());
            }
        }
        let mut attacks = Vec::with_capacity(planned.len());
        let mut sweeps = Vec::with_capacity(planned.len());
        for attack in &planned {
            let configs = AttackConfig::sweep(&attack.name, preset, &attack.params)?;
            let sweep = (configs.len() > 1).then_some(attacks.len());
            sweeps.extend(configs.iter().map(|_| sweep));
            attacks.extend(configs);
        }
        for config in attacks.iter().filter(|_| self.eight_bit == Some(true)) {
            let id = config.spec.id;
            // The attack judges before rounding: what it stops at may be whole again afterwards.
            if config.params.get("stop").and_then(toml::Value::as_str) == Some("first") {
                return Err(PlanError::Setting(format!(
                    "{id}.stop = first does not go with eight_bit; use stop=never"
                )));
            }
            let step = 1.0 / 255.0 - 1e-9;
            if let Some(epsilon) = config.epsilon.filter(|it| config.norm == Norm::Linf && it.value() < step) {
                return Err(PlanError::Setting(format!(
                    "{id}.eps = {epsilon} is below 1/255, so no 8-bit image lies within it; raise it"
                )));
            }
        }
        Ok((attacks, sweeps))
    }
}

/// More threads than a few per core only cost memory and time.
///
/// # Errors
/// A sentence that says how many the machine can use.
pub fn check_threads(threads: usize) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match threads > 4 * cores {
        true => Err(format!("threads = {threads}: this machine has {cores} core(s); give at most {}", 4 * cores)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
