//! `advmod prune`: takes out units that do not separate the classes any further, and says what it costs.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;
use tch::Device;

use super::args::{OutputFormat, PruneArgs, SourceArgs, SplitArg};
use super::interrupt::Interrupt;
use super::measure::{make_folder, write_files};
use super::progress::Progress;
use super::prune_tables::{csv, picture, table, units_table};
use super::train::default_milestones;
use super::{CliError, Exit, print, say, setup};
use crate::atomic_file;
use crate::audit::stats::{Measured, Rate};
use crate::data::{Dataset, Selection};
use crate::model::Model;
use crate::model::load::load;
use crate::model::normalize::Normalization;
use crate::model::passes::count::Convention;
use crate::study::curve::CurvePlan;
use crate::study::prune::{
    Judged, Proposal, Removed, Repair, Rule, Size, Survey, SurveyPlan, Training, Whole, correct, propose, rate, remove,
    size, survey, tune,
};
use crate::study::train::{TrainData, TrainError, TrainEvent, TrainPlan};

/// What `--format json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pruning {
    pub(super) model: String,
    pub(super) architecture: String,
    pub(super) sha256: String,
    pub(super) data: String,
    /// Whether rules a and b go by the estimates alone.
    by_estimate: bool,
    threshold: f64,
    /// How the rest was fine-tuned; absent for `--dry-run`.
    pub(super) recipe: Option<String>,
    /// How it was trained from fresh weights, with `--scratch`.
    pub(super) scratch_recipe: Option<String>,
    /// Names of the counts in every `macs`.
    conventions: Vec<&'static str>,
    pub(super) size: Size,
    /// On the test images; absent for `--dry-run`.
    pub(super) accuracy: Option<Rate>,
    pub(super) survey: Survey,
    pub(super) rules: Vec<Outcome>,
}

/// One rule's row.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) rule: String,
    /// What is left.
    pub(super) architecture: String,
    /// Units that are gone.
    pub(super) removed: Vec<String>,
    pub(super) repairs: Vec<Repair>,
    /// Weights that did not fit any more and were initialized afresh.
    pub(super) remade: Vec<String>,
    /// Sum of the ΔQ of the units that are gone.
    pub(super) delta_q: Option<f64>,
    pub(super) size: Size,
    pub(super) judged: Option<Judged>,
    /// The model's file.
    file: Option<String>,
}

impl Pruning {
    fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data always has a JSON form") + "\n"
    }
}

/// Where results go.
struct Output {
    tables: Option<PathBuf>,
    models: Models,
}

/// Where models go.
enum Models {
    None,
    /// A file per rule.
    In(PathBuf),
    At(PathBuf),
}

pub(super) fn run(args: &PruneArgs, quiet: bool) -> Result<Exit, CliError> {
    let rules = rules(args)?;
    let mut output = output(args, &rules)?;
    setup::set_threads(args.run.threads)?;
    let device = args.run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    let [training, test] = parts(args)?;
    let options = setup::load_options(&args.model.read, setup::tap_selection(args.taps.taps.as_deref()))?;
    let model = load(args.model.model.as_deref(), &options, device)?;
    for data in [&training, &test] {
        let info = data.info();
        model.check(info.channels, info.height, info.width).map_err(CliError::Runtime)?;
    }
    let whole = Whole::of(&model, [test.info().height as i64, test.info().width as i64]).map_err(CliError::Runtime)?;
    if !whole.has_a_name() {
        output.writes_no_models(&whole.name(), quiet)?;
    }
    let plan = train_plan(args, model.info().normalization.clone());
    // Without any epoch only the removal is judged.
    TrainPlan { epochs: plan.epochs.max(1), ..plan.clone() }.check().map_err(CliError::Usage)?;
    let scratch = args.scratch.then(|| scratch_plan(args, &plan));
    if let Some(plan) = &scratch {
        plan.check().map_err(|error| CliError::Usage(format!("--scratch: {error}")))?;
    }
    let interrupt = Interrupt::listen()?;
    let mut work = Work {
        whole: &whole,
        plan: &plan,
        scratch: scratch.as_ref(),
        device,
        interrupt: &interrupt,
        progress: Progress::new(args.run.progress, quiet),
    };
    let Some(survey) = work.survey(args, &rules, &model, training.as_ref())? else {
        return Ok(stopped(&interrupt, &rules));
    };
    if survey.repeats < args.repeats && !quiet {
        say(&format!("warning: {} repeat(s) instead of {}: the data holds no more", survey.repeats, args.repeats));
    }
    let proposals = rules
        .iter()
        .map(|rule| propose(&whole, &survey, *rule, !args.by_estimate, plan.seed))
        .collect::<Result<Vec<_>, _>>()
        .map_err(CliError::Runtime)?;
    let mut pruning = Pruning {
        model: model.info().name.clone(),
        architecture: whole.name(),
        sha256: model.info().sha256.clone(),
        data: test.info().name.clone(),
        by_estimate: args.by_estimate,
        threshold: args.threshold,
        recipe: (!args.dry_run).then(|| plan.recipe()),
        scratch_recipe: scratch.as_ref().map(TrainPlan::recipe),
        conventions: Convention::ALL.map(Convention::name).to_vec(),
        size: size(&whole.program, whole.size).map_err(CliError::Runtime)?,
        accuracy: None,
        survey,
        rules: Vec::new(),
    };
    let text = args.run.format == OutputFormat::Text;
    if text {
        print(&units_table(&pruning))?;
    }
    let mut judged = Ok(ControlFlow::Continue(()));
    if args.dry_run {
        for proposal in &proposals {
            let removed = remove(&whole, &proposal.kept, plan.seed).map_err(CliError::Runtime)?;
            pruning.rules.push(outcome(&whole, &pruning.survey, proposal, &removed)?);
        }
    } else {
        let all = |data: &dyn Dataset| data.read(&(0..data.info().n).collect::<Vec<_>>());
        let (train, of_test) = (all(training.as_ref())?, all(test.as_ref())?);
        let hashes = [&training, &test].map(|it| it.info().sha256.as_str());
        let data = TrainData { train: &train, test: &of_test, info: test.info(), hashes };
        judged = work.judge(&proposals, data, &output, &mut pruning);
    }
    // What is done is kept when a later rule fails or is stopped.
    if !pruning.rules.is_empty() {
        print(&if text { table(&pruning) } else { pruning.json() })?;
    }
    match judged? {
        ControlFlow::Continue(()) => Ok(Exit::Pass),
        ControlFlow::Break(()) => Ok(stopped(&interrupt, &rules[pruning.rules.len()..])),
    }
}

/// Says which rules are missing.
fn stopped(interrupt: &Interrupt, missing: &[Rule]) -> Exit {
    let missing: Vec<String> = missing.iter().map(Rule::to_string).collect();
    say(&format!("interrupted: not done: --rule {}", missing.join(",")));
    interrupt.exit()
}

/// The training and the test images.
fn parts(args: &PruneArgs) -> Result<[Box<dyn Dataset>; 2], CliError> {
    let open = |split| {
        setup::open_data(&SourceArgs { data: Some(args.data.clone()), split: Some(split), ..SourceArgs::default() })
    };
    let (training, test) = (open(SplitArg::Train)?, open(SplitArg::Test)?);
    if training.info().split.is_some() {
        return Ok([training, test]);
    }
    Err(CliError::Runtime(format!(
        "{} has no train and test part; pruning trains on one and judges on the other: give a data set with both, or a folder with train/ and \
         test/ in it",
        args.data.display()
    )))
}

fn train_plan(args: &PruneArgs, normalization: Normalization) -> TrainPlan {
    let tuning = &args.tuning;
    TrainPlan {
        data: args.data.clone(),
        output: PathBuf::new(),
        epochs: tuning.epochs,
        batch: args.run.batch.unwrap_or(128),
        learning_rate: tuning.lr,
        milestones: tuning.milestones.clone().unwrap_or_else(|| default_milestones(tuning.epochs)),
        momentum: tuning.momentum,
        weight_decay: tuning.weight_decay,
        crop_padding: tuning.crop_padding,
        flip: !tuning.no_flip,
        seed: args.run.seed.unwrap_or(0),
        normalization,
        bf16: false,
        checkpoints: None,
        measure: false,
    }
}

/// As fine-tuning but for what the flags say.
fn scratch_plan(args: &PruneArgs, tuning: &TrainPlan) -> TrainPlan {
    let mut plan = tuning.clone();
    if let Some(epochs) = args.scratch_epochs {
        (plan.epochs, plan.milestones) = (epochs, default_milestones(epochs));
    }
    plan.learning_rate = args.scratch_lr.unwrap_or(plan.learning_rate);
    plan
}

/// What the steps of a run share.
struct Work<'a> {
    whole: &'a Whole,
    plan: &'a TrainPlan,
    scratch: Option<&'a TrainPlan>,
    device: Device,
    interrupt: &'a Interrupt,
    progress: Progress,
}

impl Work<'_> {
    fn go_on(&self) -> ControlFlow<()> {
        if self.interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What the rules go by; nothing when interrupted.
    fn survey(
        &mut self,
        args: &PruneArgs,
        rules: &[Rule],
        model: &Model,
        training: &dyn Dataset,
    ) -> Result<Option<Survey>, CliError> {
        let seed = self.plan.seed;
        let plan = SurveyPlan {
            curve: CurvePlan {
                k: args.taps.k.unwrap_or(3),
                similarity: args.taps.similarity.unwrap_or_default(),
                repeats: args.repeats,
                samples: Selection::Sample { n: args.samples, seed },
            },
            seed,
            cka: rules.iter().any(|rule| matches!(rule, Rule::Cka(_))),
        };
        let mut begun = "";
        let found = survey(model, self.whole, training, &plan, &mut |what, done, total| {
            if begun != what {
                self.progress.begin(what, total);
                begun = what;
            }
            self.progress.update(done, None);
            self.go_on()
        });
        self.progress.finish();
        if self.interrupt.asked() {
            return Ok(None);
        }
        found.map(Some).map_err(CliError::Runtime)
    }

    /// Fine-tunes and judges each proposal; rules that agree are trained once, and share a file.
    fn judge(
        &mut self,
        proposals: &[Proposal],
        data: TrainData<'_>,
        output: &Output,
        pruning: &mut Pruning,
    ) -> Result<ControlFlow<()>, CliError> {
        let before = correct(self.whole, data, self.plan, self.device)?;
        pruning.accuracy = Some(rate(&before));
        for proposal in proposals {
            let removed = remove(self.whole, &proposal.kept, self.plan.seed).map_err(CliError::Runtime)?;
            let mut outcome = outcome(self.whole, &pruning.survey, proposal, &removed)?;
            let same = proposals.iter().position(|it| it.kept == proposal.kept).and_then(|at| pruning.rules.get(at));
            if let Some(same) = same {
                (outcome.judged, outcome.file) = (same.judged.clone(), same.file.clone());
                pruning.rules.push(outcome);
                output.write_tables(pruning)?;
                continue;
            }
            let mut current = None;
            let plan = self.plan;
            let tuned = tune(&removed, (data, &before), plan, self.scratch, self.device, &mut |training, event| {
                if let TrainEvent::Step { epoch, step, steps, loss, .. } = event {
                    if current != Some((training, epoch)) {
                        let (what, epochs) = match (training, self.scratch) {
                            (Training::Scratch, Some(plan)) => (" from scratch", plan.epochs),
                            _ => ("", plan.epochs),
                        };
                        self.progress.begin(&format!("{}{what} {epoch}/{epochs}", proposal.rule), steps as u64);
                        current = Some((training, epoch));
                    }
                    self.progress.update(step as u64, Some(&format!("loss {loss:.3}")));
                }
                self.go_on()
            });
            self.progress.finish();
            let (judged, trained) = match tuned {
                Err(TrainError::Stopped) => return Ok(ControlFlow::Break(())),
                tuned => tuned?,
            };
            if let Some(path) = output.model(proposal.rule) {
                trained.save(&path, &story(pruning, &outcome, &judged))?;
                outcome.file = path.file_name().map(|it| it.to_string_lossy().into_owned());
            }
            outcome.judged = Some(judged);
            pruning.rules.push(outcome);
            output.write_tables(pruning)?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The rules, each once, and the numbers that a type cannot hold back.
fn rules(args: &PruneArgs) -> Result<Vec<Rule>, CliError> {
    if !args.threshold.is_finite() {
        return Err(CliError::Usage(format!("--threshold {}: must be a number", args.threshold)));
    }
    let mut rules = Vec::new();
    for text in &args.rule {
        let rule = Rule::parse(text, args.threshold).map_err(|error| CliError::Usage(format!("--rule {error}")))?;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// Where results go; a folder is made now, not after hours of training.
fn output(args: &PruneArgs, rules: &[Rule]) -> Result<Output, CliError> {
    let Some(path) = &args.out else { return Ok(Output { tables: None, models: Models::None }) };
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        make_folder(Some(path))?;
        return Ok(Output { tables: Some(path.clone()), models: Models::In(path.clone()) });
    }
    if rules.len() > 1 {
        let message = format!("--out {}: one file for {} rules; give a folder", path.display(), rules.len());
        return Err(CliError::Usage(message));
    }
    atomic_file::check(path).map_err(|error| CliError::Runtime(format!("cannot write {}: {error}", path.display())))?;
    Ok(Output { tables: None, models: Models::At(path.clone()) })
}

impl Output {
    /// A network without a name cannot be loaded from a file of weights.
    fn writes_no_models(&mut self, class: &str, quiet: bool) -> Result<(), CliError> {
        let why = format!("{class} is no built-in architecture: a file of its weights alone could not be loaded again");
        match std::mem::replace(&mut self.models, Models::None) {
            Models::At(_) => return Err(CliError::Usage(format!("{why}; give --out a folder for the tables"))),
            Models::In(_) if !quiet => say(&format!("warning: {why}, so that only the tables are written")),
            _ => {}
        }
        Ok(())
    }

    fn write_tables(&self, pruning: &Pruning) -> Result<(), CliError> {
        let Some(folder) = &self.tables else { return Ok(()) };
        let files = [
            ("prune.json", pruning.json().into_bytes()),
            ("prune.csv", csv(pruning)),
            ("prune.svg", picture(pruning).into_bytes()),
        ];
        write_files(folder, &files)
    }

    fn model(&self, rule: Rule) -> Option<PathBuf> {
        match &self.models {
            Models::None => None,
            Models::In(folder) => Some(folder.join(format!("{}.safetensors", rule.slug()))),
            Models::At(path) => Some(path.clone()),
        }
    }
}

fn outcome(whole: &Whole, survey: &Survey, proposal: &Proposal, removed: &Removed) -> Result<Outcome, CliError> {
    let gone = || survey.units.iter().zip(&proposal.kept).filter(|(_, kept)| !**kept).map(|(unit, _)| unit);
    let deltas: Vec<Option<Measured>> = gone().map(|unit| unit.delta).collect();
    let sum: Option<f64> = deltas.iter().map(|delta| Some((*delta)?.value)).sum();
    Ok(Outcome {
        rule: proposal.rule.to_string(),
        architecture: removed.name.clone(),
        removed: gone().map(|unit| unit.unit.clone()).collect(),
        repairs: proposal.repairs.clone(),
        remade: removed.remade.clone(),
        delta_q: sum.filter(|_| !deltas.is_empty()),
        size: size(&removed.program, whole.size).map_err(CliError::Runtime)?,
        judged: None,
        file: None,
    })
}

/// What stands in the file about how it came about.
fn story(pruning: &Pruning, outcome: &Outcome, judged: &Judged) -> String {
    let gone = if outcome.removed.is_empty() { "nothing".to_owned() } else { outcome.removed.join(", ") };
    format!(
        "{} (sha256 {}) without {gone} by rule {}; fine-tuned: {}; test accuracy {:.4}",
        pruning.architecture,
        pruning.sha256,
        outcome.rule,
        pruning.recipe.as_deref().unwrap_or("not"),
        judged.tuned.value.unwrap_or(0.0)
    )
}
