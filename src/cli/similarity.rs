//! `advmod similarity`: how alike a model's taps are.

use super::args::{CkaArg, Manner, SimilarityArgs};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::{self, Work};
use super::{CliError, Exit, setup};
use crate::confine::Needs;
use crate::measure::fit::DEFAULT_SEED;
use crate::model::load::load;
use crate::study::curve::CurvePlan;
use crate::study::similarity::{Cka, CkaPlan, linear_cka, paired_curve};

pub(super) fn run(args: &SimilarityArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let _made = make_folder(args.out.as_deref())?;
    let needs = Needs::default().reading(&args.model.model).writing(args.out.as_deref());
    let (device, data) = measure::begin(&args.run, &args.data.source, needs, manner)?;
    let options =
        setup::load_options(&args.model.read, args.model.trust, setup::tap_selection(args.taps.taps.as_deref()))?;
    let model = load(args.model.model.as_deref(), &options, device)?;
    let samples = args.data.selection(args.run.seed);
    let plan =
        CurvePlan { k: args.taps.k(), similarity: args.taps.similarity.unwrap_or_default(), repeats: 1, samples };
    let seed = args.run.seed.unwrap_or(DEFAULT_SEED);
    let estimate = match args.cka {
        CkaArg::Full => CkaPlan::Full,
        CkaArg::Batches(of) => CkaPlan::Batches { of, seed },
    };
    // Before the curve, which takes its time.
    estimate.at_once(samples.n(), model.tap_paths().len()).map_err(CliError::Usage)?;
    let mut work = Work::new(args.run.progress, quiet)?;
    let file = (args.model.model.as_deref(), &args.model.read);
    let doubt = work.question_normalization(&model, data.as_ref(), samples, file);
    let paired = paired_curve(&model, data.as_ref(), &plan, &mut |done, total| work.tell("curve", done, total));
    if let Some(exit) = work.finish_whole() {
        return Ok(exit);
    }
    let paired = paired.map_err(CliError::Runtime)?;
    let mut outcome = Outcome { done: 1, ..Outcome::new("parts", 2) };
    let mut tell = |done, total| work.tell("CKA", done, total);
    let cka = linear_cka(&model, data.as_ref(), &samples, estimate, &mut tell);
    outcome.interrupted = work.finish();
    let cka = match (cka, outcome.interrupted) {
        (Ok(cka), _) => {
            outcome.interrupted = None;
            outcome.done += 1;
            cka
        }
        (Err(fault), None) => {
            outcome.faults.push(CliError::Runtime(format!("CKA: {fault}")));
            Cka::missing(paired.curve.taps.len(), "it could not be measured")
        }
        // The curve is whole all the same.
        (_, Some(_)) => Cka::missing(paired.curve.taps.len(), "interrupted"),
    };
    let result = paired.compared(&model, data.as_ref(), estimate, doubt, cka);
    warn(&result.warnings, quiet);
    outcome.deliver(&result, &Delivery::new(args.out.as_deref(), args.run.format))
}
