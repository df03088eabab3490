//! A plan that can run: defaults filled in, every value checked that can be checked before anything is loaded.

use std::path::{Path, PathBuf};

use advmod_attacks::attack::Preset;
use advmod_attacks::config::{AttackConfig, find};
use advmod_attacks::error::ParamError;
use advmod_attacks::threat::Norm;

use super::attack::{Configured, ResolvedAttack, label};
use super::gate::{Gate, check};
use super::plan::{AttackPlan, AuditPlan, CurvePlan, DataPlan};
use super::resolved::ResolvedPlan;
use crate::data::{ClassList, DataError, LONGEST_SIDE, OpenOptions, Selection, Split};
use crate::measure::fit::{DEFAULT_K, DEFAULT_SAMPLES, DEFAULT_SEED, check_threads};
use crate::model::device::DeviceChoice;
use crate::model::load::LoadOptions;
use crate::model::normalize::Normalization;
use crate::model::program::TapSelection;
use crate::modularity::Similarity;

/// Attacks that run when none is named.
pub(crate) const DEFAULT_ATTACKS: &[&str] = &["fgsm", "pgd"];

/// Images per batch of an attack.
pub(crate) const DEFAULT_BATCH: usize = 128;

/// Every setting in the words of the report: all of [`ResolvedPlan`] that a plan alone decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub attacks: Vec<ResolvedAttack>,
    pub gates: Vec<Gate>,
    pub accept_limited: bool,
    pub preset: Preset,
    pub eight_bit: bool,
    pub k: usize,
    pub similarity: Similarity,
    pub taps: String,
    pub selection: String,
    pub seed: u64,
    pub batch: usize,
    pub threads: usize,
}

impl Settings {
    /// The whole plan, once it is known on what it runs and which command runs it again.
    pub(crate) fn on(&self, device: String, command: String) -> ResolvedPlan {
        ResolvedPlan {
            attacks: self.attacks.clone(),
            gates: self.gates.clone(),
            accept_limited: self.accept_limited,
            preset: self.preset.to_string(),
            eight_bit: self.eight_bit,
            k: self.k,
            similarity: self.similarity,
            taps: self.taps.clone(),
            selection: self.selection.clone(),
            seed: self.seed,
            device,
            batch: self.batch,
            threads: self.threads,
            command,
        }
    }
}

#[derive(Debug)]
pub struct Job {
    pub plan: Settings,
    /// In the order of the plan's.
    pub attacks: Vec<AttackConfig>,
    /// Model file; `None` for the embedded model.
    pub model: Option<PathBuf>,
    pub load: LoadOptions,
    /// Data; `None` for the embedded images.
    pub data: Option<PathBuf>,
    pub open: OpenOptions,
    pub selection: Selection,
    pub device: DeviceChoice,
    /// As its user wrote it, with what was added since.
    written: AuditPlan,
}

impl Job {
    /// The plan as it was written, with what was added since.
    pub(crate) fn written(&self) -> &AuditPlan {
        &self.written
    }

    /// The plan as it was written, and what would else depend on the machine or on defaults; its attacks are [`Settings::attacks`].
    pub(crate) fn settled(&self) -> AuditPlan {
        let plan = &self.plan;
        self.written.clone().over(AuditPlan {
            data: DataPlan { samples: Some(self.selection.n()), ..DataPlan::default() },
            curve: CurvePlan { k: Some(plan.k), ..CurvePlan::default() },
            seed: Some(plan.seed),
            threads: Some(plan.threads),
            ..AuditPlan::default()
        })
    }

    /// Adds an attack, or the attacks of a sweep, after the others; `check` says what else keeps one from running. Where anything does, nothing is
    /// added.
    pub(crate) fn add(
        &mut self,
        attack: &AttackPlan,
        check: impl Fn(&AttackConfig) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut longer = self.written.clone();
        longer.attack = longer.attacks();
        longer.attack.push(attack.clone());
        let configured = longer.configured(self.plan.preset)?;
        configured[self.attacks.len()..].iter().try_for_each(|it| check(&it.config))?;
        self.plan.attacks = label(&configured);
        self.attacks = configured.into_iter().map(|it| it.config).collect();
        self.written = longer;
        Ok(())
    }
}

impl Job {
    /// Reads the classes that the plan names, which [`AuditPlan::resolve`] leaves aside. Call before the process is confined.
    pub(crate) fn read_classes(&mut self) -> Result<(), DataError> {
        if let Some(given) = &self.written.data.classes {
            let file = self.written.located(Some(&PathBuf::from(given)));
            self.open.classes = Some(ClassList::open(given, file.as_deref().unwrap_or(Path::new(given)))?);
        }
        Ok(())
    }
}

impl AuditPlan {
    /// Fills in the defaults and checks every value that can be checked without loading anything.
    pub fn resolve(self) -> Result<Job, String> {
        let seed = self.seed.unwrap_or(DEFAULT_SEED);
        let preset = self.preset()?;
        let configured = self.configured(preset)?;
        let attacks = label(&configured);
        let split = self.split()?;
        let selection = match (self.data.first, self.data.samples) {
            (Some(_), Some(_)) => return Err("data has both first and samples; give one".to_owned()),
            (Some(n), None) => Selection::First(n),
            (None, Some(n)) => Selection::Sample { n, seed },
            (None, None) => Selection::UpTo { n: DEFAULT_SAMPLES, seed },
        };
        let k = at_least_one("k", self.curve.k, DEFAULT_K)?;
        let normalization = self.model.normalize.as_deref().map(Normalization::parse).transpose()?;
        let taps = self.curve.taps.clone().unwrap_or_else(|| "default".to_owned());
        let device = self.device.as_deref().unwrap_or("auto").parse()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = at_least_one("threads", self.threads, cores)?;
        check_threads(threads)?;
        self.check_sides()?;
        let plan = Settings {
            gates: self.gates(&attacks)?,
            attacks,
            preset,
            accept_limited: self.accept_limited.unwrap_or(false),
            eight_bit: self.eight_bit.unwrap_or(false),
            k,
            similarity: self.curve.similarity.unwrap_or_default(),
            selection: match selection {
                Selection::Sample { n, seed } => format!("{n} drawn by seed {seed}"),
                Selection::UpTo { n, seed } => format!("up to {n} drawn by seed {seed}"),
                chosen => format!("first {}", chosen.n()),
            },
            seed,
            batch: at_least_one("batch", self.batch, DEFAULT_BATCH)?,
            threads,
            taps,
        };
        Ok(Job {
            attacks: configured.into_iter().map(|it| it.config).collect(),
            model: self.located(self.model.file.as_ref()),
            load: LoadOptions {
                architecture: self.model.arch.clone(),
                normalization,
                input_size: self.model.input_size.map(i64::from),
                taps: TapSelection::parse(&plan.taps),
                sha256: None,
                random_init: None,
                trust_torchscript: false,
            },
            data: self.located(self.data.path.as_ref()),
            open: OpenOptions { split, resize: self.data.resize, crop: self.data.crop, classes: None, sha256: None },
            selection,
            device,
            plan,
            written: self,
        })
    }

    pub(super) fn preset(&self) -> Result<Preset, String> {
        let given = self.preset.as_deref().map(str::parse).transpose();
        given.map(Option::unwrap_or_default).map_err(|error: ParamError| error.to_string())
    }

    fn split(&self) -> Result<Split, String> {
        match self.data.split.as_deref() {
            Some("train") => Ok(Split::Train),
            Some("test") | None => Ok(Split::Test),
            Some(other) => Err(format!("data.split = {other}: expected train or test")),
        }
    }

    fn check_sides(&self) -> Result<(), String> {
        let sides = [("resize", self.data.resize), ("crop", self.data.crop), ("input_size", self.model.input_size)];
        sides.into_iter().try_for_each(|(name, side)| match side {
            Some(side) if !(1..=LONGEST_SIDE).contains(&side) => {
                Err(format!("{name} = {side}: must be 1 to {LONGEST_SIDE}"))
            }
            _ => Ok(()),
        })
    }

    fn gates(&self, attacks: &[ResolvedAttack]) -> Result<Vec<Gate>, String> {
        let gates = check::resolve(&self.gate, &self.waiver, attacks)?;
        match gates.iter().find(|gate| gate.expr.metric.is_regression && self.baseline.is_none()) {
            Some(gate) => Err(format!(
                "gate {:?}: a regression needs a baseline; give an earlier report with --baseline",
                gate.expr.to_string()
            )),
            None => Ok(gates),
        }
    }

    /// The attacks as written, or those that run when none is.
    fn attacks(&self) -> Vec<AttackPlan> {
        match self.attack.is_empty() {
            true => DEFAULT_ATTACKS.iter().flat_map(|name| AttackPlan::named(name)).collect(),
            false => self.attack.clone(),
        }
    }

    pub(super) fn configured(&self, preset: Preset) -> Result<Vec<Configured>, String> {
        let text = |error: ParamError| error.to_string();
        let mut configured: Vec<Configured> = Vec::new();
        for mut attack in self.attacks() {
            let has_stop = find(&attack.name).map_err(text)?.params.iter().any(|param| param.name == "stop");
            if let Some(stop) = self.stop.as_ref().filter(|_| has_stop) {
                attack.params.entry("stop").or_insert_with(|| stop.as_str().into());
            }
            let configs = AttackConfig::sweep(&attack.name, preset, &attack.params).map_err(text)?;
            let sweep = (configs.len() > 1).then_some(configured.len());
            configured.extend(configs.into_iter().map(|config| Configured { config, sweep }));
        }
        if self.eight_bit == Some(true) {
            configured.iter().try_for_each(|it| check_eight_bit(&it.config))?;
        }
        Ok(configured)
    }
}

/// Refuses what cannot work on pixels that are rounded before they are judged.
fn check_eight_bit(config: &AttackConfig) -> Result<(), String> {
    let id = config.spec.id;
    // The attack judges before rounding: what it stops at may be whole again afterwards.
    if config.params.get("stop").and_then(toml::Value::as_str) == Some("first") {
        return Err(format!("{id}.stop = first does not go with eight_bit; use stop=never"));
    }
    let step = 1.0 / 255.0 - 1e-9;
    match config.epsilon.filter(|it| config.norm == Norm::Linf && it.value() < step) {
        Some(epsilon) => {
            Err(format!("{id}.eps = {epsilon} is below 1/255, so no 8-bit image lies within it; raise it"))
        }
        None => Ok(()),
    }
}

fn at_least_one(name: &str, value: Option<usize>, default: usize) -> Result<usize, String> {
    match value {
        Some(0) => Err(format!("{name} = 0: must be at least 1")),
        value => Ok(value.unwrap_or(default)),
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
        assert_eq!(job.plan.attacks[1].params()["eps"], "2/255");
    }

    #[test]
    fn stop_reaches_the_attacks_that_have_it_the_default_ones_too() {
        let job = plan("stop = \"first\"").resolve().unwrap();
        let stops: Vec<Option<&String>> = job.plan.attacks.iter().map(|attack| attack.own.get("stop")).collect();
        assert_eq!(stops, [None, Some(&"first".to_owned())]);
        let job = plan("stop = \"first\"\n[[attack]]\nname = \"pgd\"\nstop = \"never\"").resolve().unwrap();
        assert_eq!(job.plan.attacks[0].own["stop"], "never");
    }

    #[test]
    fn a_sweep_becomes_an_attack_per_size() {
        for eps in ["\"8/255|2/255\"", "[\"8/255\", \"2/255\"]"] {
            let text = format!(
                "[[attack]]\nname = \"fgsm\"\n[[attack]]\nname = \"pgd\"\neps = {eps}\n[[attack]]\nname = \"pgd\"\n"
            );
            let job = plan(&text).resolve().unwrap();
            let attacks: Vec<(&str, String, Option<usize>)> =
                job.plan.attacks.iter().map(|it| (it.label.as_str(), it.summary(), it.sweep)).collect();
            let expected = [("fgsm", "8", None), ("pgd", "2", Some(1)), ("pgd-2", "8", Some(1)), ("pgd-3", "8", None)]
                .map(|(label, eps, sweep)| (label, format!("L∞ ε {eps}/255"), sweep));
            assert_eq!(attacks, expected);
        }
    }

    #[test]
    fn bad_settings_are_named() {
        for (text, expected) in [
            ("[curve]\nk = 0", "k = 0"),
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
            ("[[attack]]\nname = \"pgd\"\neps = [0.1, -1]", "eps = -1"),
            ("[[attack]]\nname = \"pgd\"\neps = \"0.1|1/10\"", "twice"),
        ] {
            let message = plan(text).resolve().unwrap_err();
            assert!(message.contains(expected) && message.lines().count() == 1, "{text}: {message}");
        }
    }
}
