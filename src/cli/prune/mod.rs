//! `advmod prune`: takes out units that do not separate the classes any further, and says what it costs.

mod output;
mod results;
mod tables;

use std::ops::ControlFlow;
use std::path::PathBuf;

use tch::Device;

use super::args::{OutputFormat, PruneArgs};
use super::deliver::Outcome;
use super::measure::Work;
use super::train::default_milestones;
use super::{CliError, Exit, print, say, setup};
use crate::data::{Dataset, Selection};
use crate::model::Model;
use crate::model::load::load;
use crate::model::normalize::Normalization;
use crate::model::passes::count::Convention;
use crate::stats::rates::Rate;
use crate::study::curve::{CurvePlan, check_labels};
use crate::study::prune::{
    Judged, Proposal, Removed, Rule, Survey, SurveyPlan, Whole, correct, drop_of, from_scratch, propose, rate, remove,
    size, survey, tune,
};
use crate::study::train::{TrainData, TrainError, TrainEvent, TrainPlan};
use output::Output;
use results::{Pruning, RuleRow};
use tables::{table, units_table};

pub(super) fn run(args: &PruneArgs, quiet: bool) -> Result<Exit, CliError> {
    let rules = rules(args)?;
    let mut output = Output::new(args, &rules)?;
    setup::set_threads(args.run.threads)?;
    let device = args.run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    let [training, test] = setup::open_parts(&args.data, "pruning")?;
    let options = setup::load_options(&args.model.read, setup::tap_selection(args.taps.taps.as_deref()))?;
    let model = load(args.model.model.as_deref(), &options, device)?;
    for data in [&training, &test] {
        fits(&model, data.as_ref()).map_err(CliError::Runtime)?;
    }
    let whole = Whole::of(&model, [test.info().height as i64, test.info().width as i64]).map_err(CliError::Runtime)?;
    if !whole.has_a_name() {
        output.writes_no_models(&whole.name(), quiet)?;
    }
    let (plan, scratch) = plans(args, model.info().normalization.clone())?;
    let mut work = Work::new(args.run.progress, quiet)?;
    let drawn = Selection::Sample { n: args.samples, seed: plan.seed };
    let file = (args.model.model.as_deref(), &args.model.read);
    let doubt = work.question_normalization(&model, training.as_ref(), drawn, file);
    let survey = measure(args, &rules, (&model, &whole), training.as_ref(), &mut work);
    if let Some(exit) = work.finish() {
        return Ok(stopped(exit, &rules));
    }
    let survey = survey.map_err(CliError::Runtime)?;
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
    for warning in doubt.iter().chain(&pruning.survey.warnings).filter(|_| !quiet) {
        say(&format!("warning: {warning}"));
    }
    let text = args.run.format == OutputFormat::Text;
    // A reader that is gone misses the rest; the training goes on.
    let printed = if text { print(&units_table(&pruning, rules.contains(&Rule::RunningMaximum))) } else { Ok(()) };
    // Before hours of training, not after them.
    output.write_tables(&pruning)?;
    if args.dry_run {
        for proposal in &proposals {
            let removed = remove(&whole, &proposal.kept, plan.seed).map_err(CliError::Runtime)?;
            pruning.rules.push(RuleRow::new(&whole, &pruning.survey, proposal, &removed)?);
        }
        print(&if text { table(&pruning) } else { pruning.json() })?;
        return printed.map(|()| Exit::Pass);
    }
    let all = |data: &dyn Dataset| data.read(&(0..data.info().n).collect::<Vec<_>>());
    let (train, of_test) = (all(training.as_ref())?, all(test.as_ref())?);
    let hashes = [&training, &test].map(|it| it.info().sha256.as_str());
    let data = TrainData { train: &train, test: &of_test, info: test.info(), hashes };
    let before = correct(&whole, data, &plan, device)?;
    pruning.accuracy = Some(rate(&before));
    let mut judge = Judge {
        whole: &whole,
        data,
        plan: &plan,
        scratch: scratch.as_ref(),
        device,
        work: &mut work,
        output: &output,
        before,
        tuned_alike: None,
        scratched: Vec::new(),
        unwritten: None,
        outcome: Outcome::new("rules", rules.len()),
    };
    let judged = judge.all(&proposals, &mut pruning);
    let mut outcome = judge.outcome;
    outcome.faults.extend(judge.unwritten);
    if !text || !pruning.rules.is_empty() {
        print(&if text { table(&pruning) } else { pruning.json() })?;
    }
    judged.and(printed)?;
    match outcome.interrupted {
        Some(exit) => {
            for fault in &outcome.faults {
                say(&format!("error: {}", fault.message(false)));
            }
            Ok(stopped(exit, &rules[pruning.rules.len()..]))
        }
        None => outcome.end(output.tables.as_deref()),
    }
}

/// Fine-tuning and judging see every image, whatever the curve is measured on.
fn fits(model: &Model, data: &dyn Dataset) -> Result<(), String> {
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    check_labels(model, data, &(0..info.n).collect::<Vec<_>>())
}

/// Says which rules are missing.
fn stopped(exit: Exit, missing: &[Rule]) -> Exit {
    let missing: Vec<String> = missing.iter().map(Rule::to_string).collect();
    say(&match &missing[..] {
        [] => "interrupted: all rules are fine-tuned, not all of them trained from scratch".to_owned(),
        missing => format!("interrupted: not done: --rule {}", missing.join(",")),
    });
    exit
}

fn train_plan(args: &PruneArgs, normalization: Normalization) -> TrainPlan {
    let tuning = &args.tuning;
    TrainPlan {
        data: args.data.clone(),
        output: PathBuf::new(),
        epochs: tuning.epochs,
        batch: tuning.batch,
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

/// How networks are fine-tuned, and how they are trained from fresh weights, if they are.
fn plans(args: &PruneArgs, normalization: Normalization) -> Result<(TrainPlan, Option<TrainPlan>), CliError> {
    let plan = train_plan(args, normalization);
    // Without any epoch only the removal is judged.
    TrainPlan { epochs: plan.epochs.max(1), ..plan.clone() }.check().map_err(CliError::Usage)?;
    let scratch = args.scratch.then(|| scratch_plan(args, &plan));
    if let Some(plan) = &scratch {
        // What both trainings share is checked above.
        plan.check().map_err(|error| CliError::Usage(error.replacen("--", "--scratch-", 1)))?;
    }
    Ok((plan, scratch))
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

/// What the rules go by.
fn measure(
    args: &PruneArgs,
    rules: &[Rule],
    (model, whole): (&Model, &Whole),
    training: &dyn Dataset,
    work: &mut Work,
) -> Result<Survey, String> {
    let seed = args.run.seed.unwrap_or(0);
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
    survey(model, whole, training, &plan, &mut |what, done, total| work.tell(what, done, total))
}

/// Fine-tunes and judges proposals, one after the other.
struct Judge<'a> {
    whole: &'a Whole,
    data: TrainData<'a>,
    plan: &'a TrainPlan,
    scratch: Option<&'a TrainPlan>,
    device: Device,
    work: &'a mut Work,
    output: &'a Output,
    /// Which test images the whole network classifies correctly.
    before: Vec<bool>,
    /// The same after the fine-tuning that the rules' networks get, where a rule takes out nothing.
    tuned_alike: Option<Vec<bool>>,
    /// Test accuracies of networks that were trained from fresh weights, by name.
    scratched: Vec<(String, Option<Rate>)>,
    /// Why the tables could not be written the last time.
    unwritten: Option<CliError>,
    outcome: Outcome,
}

impl Judge<'_> {
    /// Rules that agree are trained once, and share a file. What goes wrong with one is no reason to lose the others.
    fn all(&mut self, proposals: &[Proposal], pruning: &mut Pruning) -> Result<(), CliError> {
        for (at, proposal) in proposals.iter().enumerate() {
            let removed = remove(self.whole, &proposal.kept, self.plan.seed).map_err(CliError::Runtime)?;
            let mut row = RuleRow::new(self.whole, &pruning.survey, proposal, &removed)?;
            if let Some(same) = proposals[..at].iter().position(|it| it.kept == proposal.kept) {
                let same = &pruning.rules[same];
                (row.judged, row.file, row.missing) = (same.judged.clone(), same.file.clone(), same.missing.clone());
                self.outcome.done += usize::from(row.judged.is_some());
                pruning.rules.push(row);
                self.write(pruning);
                continue;
            }
            pruning.rules.push(row);
            let is_stopped = self.one(proposal, &removed, pruning).is_break();
            self.outcome.interrupted = self.work.finish().filter(|_| is_stopped);
            if is_stopped {
                break;
            }
        }
        Ok(())
    }

    /// Fills in the last row; without the fine-tuning it is taken away again where that is interrupted.
    fn one(&mut self, proposal: &Proposal, removed: &Removed, pruning: &mut Pruning) -> ControlFlow<()> {
        let (rule, work) = (proposal.rule.to_string(), &mut *self.work);
        let mut follow = |event| follow(work, &rule, self.plan.epochs, &event);
        let tuned = match tune(removed, self.data, self.plan, self.device, &mut follow) {
            Ok(tuned) => tuned,
            Err(TrainError::Stopped) => {
                pruning.rules.pop();
                return ControlFlow::Break(());
            }
            Err(error) => {
                self.lacks(pruning, format!("not fine-tuned: {error}"));
                return ControlFlow::Continue(());
            }
        };
        let cost = self.tuned_alike.as_ref().and_then(|whole| drop_of(whole, &tuned.correct));
        let is_whole = proposal.kept.iter().all(|kept| *kept);
        if proposal.rule == Rule::Nothing {
            self.tuned_alike.get_or_insert_with(|| tuned.correct.clone());
        }
        let judged = Judged {
            removed: tuned.removed,
            tuned: rate(&tuned.correct),
            drop: drop_of(&self.before, &tuned.correct),
            cost: cost.filter(|_| !is_whole),
            scratch: None,
        };
        let path = self.output.model(proposal.rule);
        let row = pruning.rules.last().map(|row| row.story(pruning, &judged)).zip(path);
        let saved = row.map(|(story, path)| tuned.trained.save(&path, &story).map(|()| path));
        if let Some(row) = pruning.rules.last_mut() {
            row.judged = Some(judged);
            self.outcome.done += 1;
            if let Some(Ok(path)) = &saved {
                row.file = path.file_name().map(|it| it.to_string_lossy().into_owned());
            }
        }
        match saved {
            Some(Err(error)) => self.lacks(pruning, format!("its model is not written: {error}")),
            _ => self.write(pruning),
        }
        self.scratch(&rule, removed, pruning)
    }

    fn scratch(&mut self, rule: &str, removed: &Removed, pruning: &mut Pruning) -> ControlFlow<()> {
        let Some(plan) = self.scratch else { return ControlFlow::Continue(()) };
        // The same network with the same seed ends the same.
        let known = self.scratched.iter().find(|(network, _)| *network == removed.name).map(|it| it.1);
        let (name, work) = (format!("{rule} from scratch"), &mut *self.work);
        let mut follow = |event| follow(work, &name, plan.epochs, &event);
        let trained = match known {
            Some(rate) => Ok(rate),
            None => from_scratch(removed, self.data, plan, self.device, &mut follow),
        };
        match trained {
            Ok(rate) => {
                if known.is_none() {
                    self.scratched.push((removed.name.clone(), rate));
                }
                if let Some(judged) = pruning.rules.last_mut().and_then(|row| row.judged.as_mut()) {
                    judged.scratch = rate;
                }
                self.write(pruning);
            }
            Err(TrainError::Stopped) => {
                if let Some(row) = pruning.rules.last_mut() {
                    row.missing.push("not trained from scratch: interrupted".to_owned());
                }
                self.write(pruning);
                return ControlFlow::Break(());
            }
            Err(TrainError::Diverged { what, learning_rate }) => {
                self.lacks(pruning, format!("not trained from scratch: {what}; lower --scratch-lr ({learning_rate})"));
            }
            Err(error) => self.lacks(pruning, format!("not trained from scratch: {error}")),
        }
        ControlFlow::Continue(())
    }

    /// Says what the last row lacks.
    fn lacks(&mut self, pruning: &mut Pruning, reason: String) {
        if let Some(row) = pruning.rules.last_mut() {
            self.outcome.faults.push(CliError::Runtime(format!("rule {}: {reason}", row.rule)));
            row.missing.push(reason);
        }
        self.write(pruning);
    }

    fn write(&mut self, pruning: &Pruning) {
        self.unwritten = self.output.write_tables(pruning).err();
    }
}

/// Shows how far a training is.
fn follow(work: &mut Work, name: &str, epochs: usize, event: &TrainEvent) -> ControlFlow<()> {
    match *event {
        TrainEvent::Step { epoch, step, steps, loss, .. } => {
            let (name, note) = (format!("{name} {epoch}/{epochs}"), format!("loss {loss:.3}"));
            work.tell_with_note(&name, (step as u64, steps as u64), Some(&note))
        }
        TrainEvent::Epoch { .. } => work.go_on(),
    }
}

/// The rules, each once, what the others are compared with first; and the numbers that a type cannot hold back.
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
    rules.sort_by_key(|rule| *rule != Rule::Nothing);
    Ok(rules)
}
