//! `advmod dynamics`: curve and accuracy of every checkpoint of a training.

use std::ops::ControlFlow;
use std::path::Path;

use tch::Device;

use super::args::{DynamicsArgs, Manner, MeasureArgs, OutputFormat};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::{self, Work};
use super::{CliError, Exit, print, setup};
use crate::confine::Needs;
use crate::data::Dataset;
use crate::measure::fit::CHECKPOINT_REPEATS;
use crate::model::load::{LoadOptions, load};
use crate::report::study::dynamics::{checkpoint_text, head_text, trends_text};
use crate::study::curve::CurvePlan;
use crate::study::dynamics::{add, check_alike, checkpoint, checkpoints};
use crate::study::results::dynamics::{Checkpoint, DynamicsResult};

pub(super) fn run(args: &DynamicsArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let how = &args.measure;
    let files = checkpoints(&args.folder).map_err(CliError::Runtime)?;
    let _made = make_folder(args.out.as_deref())?;
    let needs = Needs::default().reading([&args.folder]).writing(args.out.as_deref());
    let (device, data) = measure::begin(&how.run, &args.data.source, needs, manner)?;
    let plan = CurvePlan {
        k: args.taps.k(),
        similarity: args.taps.similarity.unwrap_or_default(),
        repeats: how.repeats.unwrap_or(CHECKPOINT_REPEATS),
        samples: args.data.selection(how.run.seed),
    };
    let options = setup::load_options(&how.read, how.trust, setup::tap_selection(args.taps.taps.as_deref()))?;
    let work = Work::new(how.run.progress, quiet)?;
    let mut measuring = Measuring { how, options, device, data: data.as_ref(), plan, work };
    let delivery = Delivery::new(args.out.as_deref(), how.run.format);
    let is_text = delivery.format == OutputFormat::Text;
    let mut outcome = Outcome::new("checkpoints", files.len());
    let mut result = DynamicsResult { data: data.info().name.clone(), ..DynamicsResult::default() };
    let mut written = Ok(());
    for file in &files {
        let found = measuring.one(file, Some(file) == files.last(), result.checkpoints.first());
        // A file that cannot be read or does not fit is no reason to lose the others.
        let ControlFlow::Continue(found) = outcome.settle(&mut measuring.work, found) else { break };
        let Some(checkpoint) = found else { continue };
        let told: Vec<String> = checkpoint.warnings.iter().map(|it| format!("{}: {it}", checkpoint.name)).collect();
        warn(&told, quiet);
        if is_text {
            // Each as soon as it is there: a training has many.
            let is_first = result.checkpoints.is_empty();
            let head = if is_first { head_text(&result.data, &checkpoint) } else { String::new() };
            print(&(head + &checkpoint_text(&checkpoint)))?;
        }
        add(&mut result, checkpoint);
        written = delivery.write(&result);
    }
    if outcome.done > 0 && is_text {
        print(&trends_text(&result))?;
    } else if outcome.done > 0 {
        delivery.print(&result)?;
    }
    let out = outcome.written(args.out.as_deref(), written);
    outcome.end(out)
}

struct Measuring<'a> {
    how: &'a MeasureArgs,
    options: LoadOptions,
    device: Device,
    data: &'a dyn Dataset,
    plan: CurvePlan,
    work: Work,
}

impl Measuring<'_> {
    fn one(&mut self, file: &Path, is_last: bool, first: Option<&Checkpoint>) -> Result<Checkpoint, CliError> {
        let model = load(Some(file), &self.options, self.device)?;
        let fault = |reason: String| CliError::at(file, reason);
        first.map_or(Ok(()), |first| check_alike(&model, first)).map_err(fault)?;
        // All are of one training: what holds for the last, which knows most, holds for the rest.
        let doubt = match is_last {
            true => {
                let file = (Some(file), &self.how.read);
                self.work.question_normalization(&model, self.data, self.plan.samples, file)
            }
            false => None,
        };
        let name = model.info().name.clone();
        let mut tell = |done, total| self.work.tell(&name, done, total);
        let mut measured = checkpoint(&model, self.data, &self.plan, &mut tell).map_err(fault)?;
        measured.warnings = doubt.into_iter().chain(measured.warnings).collect();
        Ok(measured)
    }
}
