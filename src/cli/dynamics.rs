//! `advmod dynamics`: curve and accuracy of every checkpoint of a training.

use std::ops::ControlFlow;

use super::args::{DynamicsArgs, Manner, OutputFormat};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::{self, Work};
use super::{CliError, Exit, print, setup};
use crate::confine::Needs;
use crate::measure::fit::CHECKPOINT_REPEATS;
use crate::report::study::dynamics::{checkpoint_text, head_text, trends_text};
use crate::study::curve::CurvePlan;
use crate::study::dynamics::{Measuring, checkpoints};

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
    let mut work = Work::new(how.run.progress, quiet)?;
    let measuring = Measuring { files: &files, options: &options, device, data: data.as_ref(), plan: &plan };
    let delivery = Delivery::new(args.out.as_deref(), how.run.format);
    let is_text = delivery.format == OutputFormat::Text;
    let (mut printed, mut written) = (Ok(()), Ok(()));
    let (result, each) = measuring.run(&mut work, &mut |result| {
        let Some(checkpoint) = result.checkpoints.last() else { return ControlFlow::Continue(()) };
        let told: Vec<String> = checkpoint.warnings.iter().map(|it| format!("{}: {it}", checkpoint.name)).collect();
        warn(&told, quiet);
        if is_text {
            // Each as soon as it is there: a training has many.
            let is_first = result.checkpoints.len() == 1;
            let head = if is_first { head_text(&result.data, checkpoint) } else { String::new() };
            printed = print(&(head + &checkpoint_text(checkpoint)));
        }
        written = delivery.write(result);
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    printed?;
    let mut outcome = Outcome::new("checkpoints", files.len()).after(each, &work);
    if outcome.done > 0 && is_text {
        print(&trends_text(&result))?;
    } else if outcome.done > 0 {
        delivery.print(&result)?;
    }
    let out = outcome.written(args.out.as_deref(), written);
    outcome.end(out)
}
