//! A plan that can run: defaults filled in, every value checked that can be checked before anything is loaded.

use std::path::{Path, PathBuf};

use advmod_attacks::attack::Preset;
use advmod_attacks::config::{AttackConfig, find};
use advmod_attacks::error::ParamError;
use advmod_attacks::threat::Norm;

use super::attack::{Configured, ResolvedAttack, label};
use super::command::{command, is_said_by_flags};
use super::ensemble;
use super::gate::{Gate, check};
use super::plan::{AttackPlan, AuditPlan, CurvePlan, DataPlan};
use super::plan_file;
use super::resolved::ResolvedPlan;
use crate::data::{ClassList, DataError, LONGEST_SIDE, OpenOptions, Selection, Split};
use crate::measure::fit::{DEFAULT_K, DEFAULT_SAMPLES, DEFAULT_SEED, check_threads};
use crate::model::load::LoadOptions;
use crate::model::normalize::Normalization;
use crate::model::program::TapSelection;
use crate::store::PLAN_FILE;

/// Attacks that run when none is named.
pub(crate) const DEFAULT_ATTACKS: &[&str] = &["fgsm", "pgd"];

/// Images per batch of an attack.
pub(crate) const DEFAULT_BATCH: usize = 128;

#[derive(Debug)]
pub struct Job {
    /// Its device is the one that was asked for.
    pub plan: ResolvedPlan,
    /// The same plan as the text of a plan file; absent where it cannot be written as TOML, such as with a path that is not text.
    pub(crate) plan_file: Option<String>,
    /// In the order of the plan's.
    pub attacks: Vec<AttackConfig>,
    /// Model file; `None` for the embedded model.
    pub model: Option<PathBuf>,
    pub load: LoadOptions,
    /// Data; `None` for the embedded images.
    pub data: Option<PathBuf>,
    pub open: OpenOptions,
    pub selection: Selection,
    /// As its user wrote it, with what was added since.
    written: AuditPlan,
}

impl Job {
    /// The plan as it was written, with what was added since.
    pub(crate) fn written(&self) -> &AuditPlan {
        &self.written
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
        let longer = longer.resolve()?;
        longer.attacks[self.attacks.len()..].iter().try_for_each(check)?;
        // Model and data are loaded: what is known of their files since stays.
        (self.plan, self.plan_file, self.attacks, self.written) =
            (longer.plan, longer.plan_file, longer.attacks, longer.written);
        Ok(())
    }

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
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = at_least_one("threads", self.threads, cores)?;
        check_threads(threads)?;
        self.check_sides()?;
        // What would else depend on the machine or on defaults.
        let settled = self.clone().over(Self {
            data: DataPlan { samples: Some(selection.n()), ..DataPlan::default() },
            curve: CurvePlan { k: Some(k), ..CurvePlan::default() },
            seed: Some(seed),
            threads: Some(threads),
            ..Self::default()
        });
        let reads_back = |text: &String| {
            let read = toml::from_str::<Self>(text).map_err(|error| error.to_string());
            read.and_then(|plan| plan.labelled()).is_ok_and(|found| are_alike(&found, &attacks))
        };
        let plan_file = plan_file::new(&settled, &attacks).ok().filter(reads_back);
        let plan = ResolvedPlan {
            gates: self.gates(&attacks)?,
            command: match plan_file.is_some() && !is_said_by_flags(&settled) {
                true => format!("advmod audit --plan {PLAN_FILE}"),
                false => command(&settled, &attacks),
            },
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
            device: self.device.as_deref().unwrap_or("auto").parse()?,
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
            plan,
            plan_file,
            written: self,
        })
    }

    /// The attacks with their labels, or why they cannot run.
    fn labelled(&self) -> Result<Vec<ResolvedAttack>, String> {
        Ok(label(&self.configured(self.preset()?)?))
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
        let is_rounded = self.eight_bit == Some(true);
        let meant = self.attacks().into_iter().map(|attack| ensemble::members(attack, is_rounded));
        for (mut attack, ensemble) in meant.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            let has_stop = find(&attack.name).map_err(text)?.params.iter().any(|param| param.name == "stop");
            if let Some(stop) = self.stop.as_ref().filter(|_| has_stop) {
                attack.params.entry("stop").or_insert_with(|| stop.as_str().into());
            }
            let configs = AttackConfig::sweep(&attack.name, preset, &attack.params).map_err(text)?;
            let sweep = (configs.len() > 1).then_some(configured.len());
            if sweep.is_some() && ensemble.is_some() {
                return Err(format!("{}: an attack of an ensemble has one eps; give one attack per size", attack.name));
            }
            let of = |config| Configured { config, sweep, ensemble: ensemble.clone() };
            configured.extend(configs.into_iter().map(of));
        }
        if is_rounded {
            configured.iter().try_for_each(|it| check_eight_bit(&it.config))?;
        }
        Ok(configured)
    }
}

/// The text of a plan file, if it can run and is read back as these attacks.
pub(crate) fn running(text: String, attacks: &[ResolvedAttack]) -> Result<String, String> {
    let plan: AuditPlan = toml::from_str(&text).map_err(|error| error.to_string())?;
    let job = plan.resolve().map_err(|error| format!("its other settings do not go with these attacks: {error}"))?;
    match are_alike(&job.plan.attacks, attacks) {
        true => Ok(text),
        false => Err("the plan would not read back as the same attacks; please report this".to_owned()),
    }
}

fn are_alike(some: &[ResolvedAttack], others: &[ResolvedAttack]) -> bool {
    some.iter().map(ResolvedAttack::params).eq(others.iter().map(ResolvedAttack::params))
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
    use crate::audit::attack::spec;

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
    fn an_ensemble_is_its_attacks_within_one_budget_each() {
        let of = |text: &str| plan(text).resolve().unwrap().plan.attacks;
        let attacks =
            of("preset = \"quick\"\n[[attack]]\nname = \"pgd\"\n[[attack]]\nname = \"autoattack\"\neps = 0.1\n");
        let shown: Vec<(&str, String, Option<&str>)> =
            attacks.iter().map(|it| (it.label.as_str(), it.summary(), it.ensemble.as_deref())).collect();
        let of_ensemble = |label| (label, "L∞ ε 0.1".to_owned(), Some("autoattack"));
        let expected = [
            ("pgd", "L∞ ε 8/255".to_owned(), None),
            of_ensemble("apgd"),
            of_ensemble("apgd-t"),
            of_ensemble("fab-t"),
            of_ensemble("square"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(attacks[4].own["queries"], "5000", "the preset does not matter");
        // As they are written out they are the same ensemble again.
        let attack = attacks.iter().map(|it| AttackPlan::parse(&spec(std::slice::from_ref(it))).unwrap()).collect();
        let again = AuditPlan { attack, ..AuditPlan::default() };
        assert_eq!(again.resolve().unwrap().plan.attacks, attacks);
        assert_eq!(of("eight_bit = true\n[[attack]]\nname = \"autoattack\"")[0].own["stop"], "never");
        assert_eq!(of("[[attack]]\nname = \"autoattack\"\neps = \"2/255|4/255\"").len(), 8);
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
            ("[[attack]]\nname = \"pgd\"\nensemble = \"A b\"", "pgd.ensemble = A b: expected a name"),
            ("[[attack]]\nname = \"pgd\"\neps = \"1|0.5\"\nensemble = \"a\"", "one eps"),
            ("[[attack]]\nname = \"autoattack\"\nsteps = 3", "autoattack.steps"),
            ("[[attack]]\nname = \"autoatack\"", "did you mean autoattack"),
            ("[[attack]]\nname = \"pgd\"\neps = [0.1, -1]", "eps = -1"),
            ("[[attack]]\nname = \"pgd\"\neps = \"0.1|1/10\"", "twice"),
        ] {
            let message = plan(text).resolve().unwrap_err();
            assert!(message.contains(expected) && message.lines().count() == 1, "{text}: {message}");
        }
    }
}
