//! `advmod labels`: images whose neighbours disagree with their label.

use super::args::{LabelsArgs, Manner};
use super::deliver::{Delivery, make_folder, warn};
use super::measure::{self, Work};
use super::{CliError, Exit, setup};
use crate::confine::Needs;
use crate::data::Selection;
use crate::measure::fit::DEFAULT_SEED;
use crate::model::load::load;
use crate::model::program::TapSelection;
use crate::report::study::TextOptions;
use crate::study::curve::CurvePlan;
use crate::study::labels::{MOST_RANKED, rank};

pub(super) fn run(args: &LabelsArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let _made = make_folder(args.out.as_deref())?;
    let needs = Needs::default().reading(&args.model.model).writing(args.out.as_deref());
    let (device, data) = measure::begin(&args.run, &args.source, needs, manner)?;
    let mut options =
        setup::load_options(&args.model.read, args.model.trust, setup::tap_selection(args.taps.as_deref()))?;
    let mut model = load(args.model.model.as_deref(), &options, device)?;
    if let (None, Some(last)) = (&args.taps, model.tap_paths().last()) {
        options.taps = TapSelection::Globs(vec![last.clone()]);
        model = load(args.model.model.as_deref(), &options, device)?;
    }
    let seed = args.run.seed.unwrap_or(DEFAULT_SEED);
    let n = data.info().n;
    let samples = match (args.first, args.samples) {
        (Some(n), _) => Selection::First(n),
        (None, Some(n)) => Selection::Sample { n, seed },
        (None, None) if n <= MOST_RANKED => Selection::All,
        (None, None) => Selection::Sample { n: MOST_RANKED, seed },
    };
    let plan = CurvePlan { k: args.k, similarity: args.similarity, repeats: 1, samples };
    let mut work = Work::new(args.run.progress, quiet)?;
    let file = (args.model.model.as_deref(), &args.model.read);
    let doubt = work.question_normalization(&model, data.as_ref(), samples, file);
    work.begin("labels");
    let ranked = rank(&model, data.as_ref(), &plan, &mut |done, total| work.tell("labels", done, total));
    if let Some(exit) = work.finish_whole() {
        return Ok(exit);
    }
    let mut result = ranked.map_err(CliError::Runtime)?;
    let left_out = (args.first.or(args.samples).is_none() && n > MOST_RANKED).then(|| {
        format!("{MOST_RANKED} of {n} images, drawn by --seed; --samples {n} compares all, which takes longer")
    });
    result.warnings = doubt.into_iter().chain(result.warnings).chain(left_out).collect();
    warn(&result.warnings, quiet);
    let delivery = Delivery::new(args.out.as_deref(), args.run.format);
    Delivery { text: TextOptions { top: args.top, ..delivery.text }, ..delivery }.whole(&result)
}
