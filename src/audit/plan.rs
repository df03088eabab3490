//! What to do, as a user wrote it: flags, or a TOML file.

use std::path::PathBuf;

use advmod_attacks::attack::{ParamError, Preset};
use advmod_attacks::config::{AttackConfig, find, parse_spec_string};
use advmod_attacks::threat::Norm;
use serde::Deserialize;

use super::resolved::{ResolvedPlan, command, label};
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
/// eps = "8/255"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// Folder for the results.
    pub out: Option<PathBuf>,
}

/// `[model]` of a plan file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let message = error.message().lines().next().unwrap_or_default();
            PlanError::Syntax { path: path.to_owned(), message: format!("line {line}: {message}") }
        })
    }

    /// This plan's settings where it has them, else the other's. Attacks are not merged: any given here replace all of the other's.
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
            preset: self.preset.or(other.preset),
            stop: self.stop.or(other.stop),
            eight_bit: self.eight_bit.or(other.eight_bit),
            seed: self.seed.or(other.seed),
            device: self.device.or(other.device),
            batch: self.batch.or(other.batch),
            threads: self.threads.or(other.threads),
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
}

impl AuditPlan {
    /// Fills in the defaults and checks every value that can be checked without loading anything.
    pub fn resolve(self) -> Result<Job, PlanError> {
        let seed = self.seed.unwrap_or(0);
        let preset: Preset = self.preset.as_deref().unwrap_or("standard").parse()?;
        let mut planned = self.attack.clone();
        if planned.is_empty() {
            planned.extend(
                DEFAULT_ATTACKS.iter().map(|&name| AttackPlan { name: name.to_owned(), params: toml::Table::new() }),
            );
        }
        for attack in &mut planned {
            let has_stop = find(&attack.name)?.params.iter().any(|param| param.name == "stop");
            if let Some(stop) = self.stop.as_ref().filter(|_| has_stop) {
                attack.params.entry("stop").or_insert_with(|| stop.as_str().into());
            }
        }
        let configs = planned.iter().map(|attack| AttackConfig::new(&attack.name, preset, &attack.params));
        let attacks = configs.collect::<Result<Vec<_>, _>>()?;
        let split = match self.data.split.as_deref() {
            Some("train") => Split::Train,
            Some("test") | None => Split::Test,
            Some(other) => return Err(PlanError::Setting(format!("data.split = {other}: expected train or test"))),
        };
        for config in attacks.iter().filter(|_| self.eight_bit == Some(true)) {
            let id = config.spec.id;
            // The attack judges before rounding: what it stops at may be whole again afterwards.
            if config.params.get("stop").and_then(toml::Value::as_str) == Some("first") {
                return Err(PlanError::Setting(format!(
                    "{id}.stop = first does not go with eight_bit; use stop=never"
                )));
            }
            let step = 1.0 / 255.0 - 1e-9;
            if config.norm == Norm::Linf && config.epsilon.is_some_and(|epsilon| epsilon.value() < step) {
                return Err(PlanError::Setting(format!(
                    "{id}.eps is below 1/255, so no 8-bit image lies within it; raise it"
                )));
            }
        }
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
        let n = match selection {
            Selection::First(n) | Selection::Sample { n, .. } => n,
            Selection::All => usize::MAX,
        };
        let k = at_least_one("k", self.curve.k, 3)?;
        if n <= k {
            let message = format!("N = {n} samples are too few for k = {k}; lower --k, or raise --samples or --first");
            return Err(PlanError::Setting(message));
        }
        let normalization = self.model.normalize.as_deref().map(Normalization::parse).transpose();
        let taps = self.curve.taps.clone().unwrap_or_else(|| "default".to_owned());
        let device = self.device.as_deref().unwrap_or("auto").parse().map_err(PlanError::Setting)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let resolved = label(&attacks);
        let threads = at_least_one("threads", self.threads, cores)?;
        check_threads(threads).map_err(PlanError::Setting)?;
        for (name, value) in
            [("resize", self.data.resize), ("crop", self.data.crop), ("input_size", self.model.input_size)]
        {
            if value.is_some_and(|value| !(1..=4096).contains(&value)) {
                return Err(PlanError::Setting(format!("{name} = {}: must be 1 to 4096", value.unwrap_or_default())));
            }
        }
        let plan = ResolvedPlan {
            command: command(&self, &resolved, n, seed, k, threads),
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
            },
            data: self.data.path,
            open: OpenOptions { split, resize: self.data.resize, crop: self.data.crop },
            selection,
            device,
        })
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
mod tests {
    use super::*;

    fn plan(text: &str) -> AuditPlan {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn flags_win_over_the_file_and_attacks_are_replaced() {
        let file = plan("seed = 5\n[data]\nfirst = 100\n[curve]\nk = 7\n[[attack]]\nname = \"pgd\"\nsteps = 3\n");
        let flags = plan("[data]\nsamples = 50\n[[attack]]\nname = \"fgsm\"\n");
        let job = flags.over(file).resolve().unwrap();
        assert_eq!((job.plan.seed, job.plan.k, job.selection), (5, 7, Selection::Sample { n: 50, seed: 5 }));
        assert_eq!(job.plan.attacks.iter().map(|attack| attack.label.as_str()).collect::<Vec<_>>(), ["fgsm"]);
    }

    #[test]
    fn repeated_attacks_get_numbers() {
        let job = plan("[[attack]]\nname = \"pgd\"\n[[attack]]\nname = \"pgd\"\neps = \"2/255\"\n").resolve().unwrap();
        let labels: Vec<&str> = job.plan.attacks.iter().map(|attack| attack.label.as_str()).collect();
        assert_eq!(labels, ["pgd", "pgd-2"]);
        assert!(job.plan.command.contains("eps=2/255"), "{}", job.plan.command);
    }

    #[test]
    fn stop_reaches_the_attacks_that_have_it_the_default_ones_too() {
        let job = plan("stop = \"first\"").resolve().unwrap();
        let stops: Vec<Option<&String>> = job.plan.attacks.iter().map(|attack| attack.params.get("stop")).collect();
        assert_eq!(stops, [None, Some(&"first".to_owned())]);
        let job = plan("stop = \"first\"\n[[attack]]\nname = \"pgd\"\nstop = \"never\"").resolve().unwrap();
        assert_eq!(job.plan.attacks[0].params["stop"], "never");
    }

    #[test]
    fn the_command_is_read_back_as_the_same_plan() {
        let job = plan("eight_bit = true\n[[attack]]\nname = \"pgd\"\nsteps = 3\neps = \"2/255\"\n").resolve().unwrap();
        let spec = job.plan.attacks[0].spec();
        let again =
            AuditPlan { attack: vec![AttackPlan::parse(&spec).unwrap()], ..AuditPlan::default() }.resolve().unwrap();
        assert_eq!(again.plan.attacks, job.plan.attacks);
    }

    #[test]
    fn bad_settings_are_named() {
        for (text, expected) in [
            ("[curve]\nk = 0", "k = 0"),
            ("[data]\nfirst = 3", "too few for k = 3"),
            ("[data]\nsplit = \"dev\"", "split = dev"),
            ("device = \"tpu\"", "tpu"),
            ("preset = \"fast\"", "fast"),
            ("batch = 0", "batch = 0"),
            ("eight_bit = true\nstop = \"first\"", "stop=never"),
            ("eight_bit = true\n[[attack]]\nname = \"fgsm\"\neps = 0.003", "below 1/255"),
            ("[model]\nnormalize = \"x\"", "normalization `x`"),
            ("[[attack]]\nname = \"pdg\"", "pdg"),
            ("[[attack]]\nname = \"pgd\"\nstepz = 3", "stepz"),
            ("[[attack]]\nname = \"pgd\"\neps = -1", "eps = -1"),
        ] {
            let message = plan(text).resolve().unwrap_err().to_string();
            assert!(message.contains(expected) && message.lines().count() == 1, "{text}: {message}");
        }
    }

    #[test]
    fn a_plan_file_with_an_unknown_key_is_an_error_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, "seed = 1\nsede = 2\n").unwrap();
        let message = AuditPlan::read(&path).unwrap_err().to_string();
        assert!(message.contains("line 2") && message.contains("sede"), "{message}");
    }
}
