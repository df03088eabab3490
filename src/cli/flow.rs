//! `advmod flow`: where the adversarial images of a stored run lie among the clean ones.

use std::path::Path;

use super::args::{FlowArgs, Manner, TrustArgs};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::Work;
use super::{CliError, Exit, export, report, setup};
use crate::audit::event::SampleResult;
use crate::confine::Needs;
use crate::model::load::load;
use crate::study::flow::{self, AttackedSample, FlowModel, StoredAttack, StoredRun};
use crate::study::results::flow::AttackFlow;
use crate::verdict::Report;
use crate::verdict::facts::AttackResult;

pub(super) fn run(args: &FlowArgs, manner: Manner) -> Result<Exit, CliError> {
    let quiet = manner.quiet;
    let (report, folder) = report::read(&args.run)?;
    let attacks = export::attacks(&report, &args.attack)?;
    let runtime = |problem: String| CliError::at(&args.run, problem);
    let similarity = args.similarity.unwrap_or(report.plan.similarity);
    let _made = make_folder(args.out.as_deref())?;
    let how = (Needs::default().writing(args.out.as_deref()), manner);
    let model = model(&report, &folder, args.trust, how).map_err(runtime)?;
    let mut work = Work::new(args.progress, quiet)?;
    let run = StoredRun {
        folder: &folder,
        shape: report.data.shape,
        labels: &report.data.labels,
        classes: report.model.classes,
    };
    let stored: Vec<StoredAttack<'_>> = attacks.iter().map(|&at| stored(&report.attacks[at])).collect();
    let (flows, each) = run.flows(&model, &stored, (args.k, similarity), &mut work);
    let mut outcome = Outcome::new("attacks", attacks.len()).after(each, &work);
    outcome.faults = outcome.faults.into_iter().map(|fault| runtime(fault.to_string())).collect();
    if outcome.done == 0 {
        outcome.faults.extend(flows.iter().filter_map(AttackFlow::left_out).map(runtime));
        return outcome.end(None);
    }
    let result = flow::result(report.model, report.data.name, &report.data.classes, flows);
    warn(&result.warnings, quiet);
    outcome.deliver(&result, &Delivery::new(args.out.as_deref(), args.format))
}

/// The run's model, by the plan in its report.
fn model(report: &Report, folder: &Path, trust: TrustArgs, how: (Needs, Manner)) -> Result<FlowModel, String> {
    let job = setup::job_of(report, folder, trust, how)?;
    let model = load(job.model.as_deref(), &job.load, job.plan.device.resolve()?).map_err(|error| error.to_string())?;
    Ok(FlowModel::new(model, report.data.shape))
}

fn stored(attack: &AttackResult) -> StoredAttack<'_> {
    let sample =
        |it: &SampleResult| AttackedSample { sample: it.sample, prediction: it.prediction, is_broken: it.success };
    StoredAttack { label: &attack.attack.label, samples: attack.samples.iter().map(sample).collect() }
}
