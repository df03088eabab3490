//! `advmod prune`: takes out units that do not separate the classes any further, and says what it costs.

mod output;
mod plan;

use tch::Device;

use super::args::{Manner, OutputFormat, PruneArgs};
use super::deliver::{Delivery, Outcome, warn};
use super::measure::Work;
use super::{CliError, Exit, print, say, setup};
use crate::confine::Needs;
use crate::data::Dataset;
use crate::measure::classes::Matched;
use crate::measure::fit::check_labels;
use crate::model::Model;
use crate::model::load::load;
use crate::report::study::prune::{rules_text, units_text};
use crate::study::prune::{Asked, Proposal, Rule, Trainings, Whole, begin, judge, propose, survey};
use crate::study::results::Subject;
use crate::study::results::prune::{PruneResult, Survey};
use crate::study::train::Parts;
use output::{Desk, Models};
use plan::{Recipes, rules, survey_plan};

pub(super) fn run(args: &PruneArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let rules = rules(args)?;
    let models = Models::new(args, &rules)?;
    let needs = Needs::default().reading(&args.model.model).reading_data([&args.data]).writing(models.folder());
    manner.confine(&needs.writing_files(args.out.as_ref().filter(|_| models.folder().is_none())))?;
    setup::set_threads(args.run.threads)?;
    let device = args.run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    let [training, test] = setup::open_parts(&args.data, "pruning")?;
    let options =
        setup::load_options(&args.model.read, args.model.trust, setup::tap_selection(args.taps.taps.as_deref()))?;
    let model = load(args.model.model.as_deref(), &options, device)?;
    let fitting = |data| fitting(&model, data).map_err(CliError::Runtime);
    let (training, test) = (fitting(training.as_ref())?, fitting(test.as_ref())?);
    let parts = Parts { train: &training, test: &test };
    let size = [test.info().height as i64, test.info().width as i64];
    let whole = Whole::of(&model, size).map_err(CliError::Runtime)?;
    if !whole.has_a_name() {
        models.cannot_be_loaded(&whole.name(), quiet)?;
    }
    let recipes = Recipes::new(args, model.info().normalization.clone())?;
    let job = Job { args, rules, model, whole, parts, recipes, device };
    let mut work = Work::new(args.run.progress, quiet)?;
    let survey = job.survey(&mut work);
    if let Some(exit) = work.finish() {
        let rules: Vec<String> = job.rules.iter().map(Rule::to_string).collect();
        return Ok(stopped(exit, &rules));
    }
    let survey = survey.map_err(CliError::Runtime)?;
    let mut result = job.begin(survey).map_err(CliError::Runtime)?;
    let proposals = job.propose(&result.survey).map_err(CliError::Runtime)?;
    warn(&result.survey.warnings, quiet);
    let delivery = Delivery::new(models.folder(), args.run.format);
    let is_text = delivery.format == OutputFormat::Text;
    // A reader that is gone misses the rest; the training goes on.
    let printed = if is_text { print(&units_text(&result)) } else { Ok(()) };
    // Before hours of training, not after them.
    delivery.write(&result)?;
    let outcome = if args.dry_run {
        result.pending.clear();
        result.rules = proposals.into_iter().map(|it| it.row).collect();
        Outcome { done: result.rules.len(), ..Outcome::new("rules", result.rules.len()) }
    } else {
        let models = Some(&models).filter(|_| job.whole.has_a_name());
        job.judge(&proposals, &mut result, Desk { work: &mut work, models, delivery: &delivery, unwritten: None })?
    };
    if is_text {
        print(&rules_text(&result))?;
    } else {
        delivery.print(&result)?;
    }
    printed?;
    let Some(exit) = outcome.interrupted else { return outcome.end(delivery.out) };
    for fault in &outcome.faults {
        say(&format!("error: {}", fault.message(false)));
    }
    Ok(stopped(exit, &result.pending))
}

/// The data with the model's classes. Fine-tuning and judging see every image, whatever the curve is measured on.
fn fitting<'a>(model: &Model, data: &'a dyn Dataset) -> Result<Matched<'a>, String> {
    let data = Matched::new(data, model)?;
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    check_labels(model, &data, &(0..info.n).collect::<Vec<_>>())?;
    Ok(data)
}

fn stopped(exit: Exit, missing: &[String]) -> Exit {
    say(&match missing {
        [] => "interrupted: all rules are fine-tuned, not all of them trained from scratch".to_owned(),
        missing => format!("interrupted: not done: --rule {}", missing.join(",")),
    });
    exit
}

/// What is pruned by which rules, and how what is left is trained.
struct Job<'a> {
    args: &'a PruneArgs,
    rules: Vec<Rule>,
    model: Model,
    whole: Whole,
    parts: Parts<'a>,
    recipes: Recipes,
    device: Device,
}

impl Job<'_> {
    fn survey(&self, work: &mut Work) -> Result<Survey, String> {
        let Self { args, model, parts, .. } = self;
        let plan = survey_plan(args, &self.rules);
        let file = (args.model.model.as_deref(), &args.model.read);
        let doubt = work.question_normalization(model, parts.train, plan.curve.samples, file);
        let mut tell = |what: &'static str, done, total| work.tell(what, done, total);
        let mut survey = survey(model, &self.whole, parts.train, &plan, &mut tell)?;
        let few = (survey.repeats < args.repeats)
            .then(|| format!("{} repeat(s) instead of {}: the data holds no more", survey.repeats, args.repeats));
        let notes = parts.train.notes().iter().cloned();
        survey.warnings = notes.chain(few).chain(doubt).chain(survey.warnings).collect();
        Ok(survey)
    }

    fn begin(&self, survey: Survey) -> Result<PruneResult, String> {
        let Self { args, rules, model, whole, parts, recipes, .. } = self;
        let asked = Asked {
            rules,
            by_estimate: args.by_estimate,
            threshold: args.threshold,
            tuning: (!args.dry_run).then_some(&recipes.tuning),
            scratch: recipes.scratch.as_ref(),
        };
        begin(Subject::new(model.info(), parts.test.info()), whole, &asked, survey)
    }

    fn propose(&self, survey: &Survey) -> Result<Vec<Proposal>, String> {
        let (is_sure, seed) = (!self.args.by_estimate, self.recipes.tuning.seed);
        self.rules.iter().map(|rule| propose(&self.whole, survey, *rule, is_sure, seed)).collect()
    }

    /// Every proposal becomes a row of the result, as far as nothing goes wrong with it.
    fn judge(&self, proposals: &[Proposal], result: &mut PruneResult, mut desk: Desk<'_>) -> Result<Outcome, CliError> {
        let Self { whole, parts, recipes, device, .. } = self;
        let (hashes, images) = (parts.hashes()?, parts.read()?);
        let trainings = Trainings {
            data: parts.data(&images, &hashes),
            tuning: &recipes.tuning,
            scratch: recipes.scratch.as_ref(),
            device: *device,
        };
        let judgement = judge(whole, proposals, trainings, result, &mut desk)?;
        Ok(Outcome {
            done: result.rules.iter().filter(|row| row.judged.is_some()).count(),
            faults: judgement.faults.into_iter().map(CliError::Runtime).chain(desk.unwritten).collect(),
            interrupted: desk.work.finish().filter(|_| judgement.is_stopped),
            ..Outcome::new("rules", proposals.len())
        })
    }
}
