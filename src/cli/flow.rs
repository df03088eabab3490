//! `advmod flow`: where the adversarial images of a stored run lie among the clean ones.

use std::ops::ControlFlow;
use std::path::Path;

use super::args::{FlowArgs, Manner, TrustArgs};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::Work;
use super::{CliError, Exit, export, report, setup};
use crate::audit::event::SampleResult;
use crate::confine::Needs;
use crate::model::load::load;
use crate::study::flow::{self, AttackedSample, FlowModel, StoredRun};
use crate::study::results::flow::AttackFlow;
use crate::verdict::Report;

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
    let mut outcome = Outcome::new("attacks", attacks.len());
    let mut flows: Vec<AttackFlow> = Vec::new();
    let run = StoredRun {
        folder: &folder,
        shape: report.data.shape,
        labels: &report.data.labels,
        classes: report.model.classes,
    };
    for attack in attacks.iter().map(|&at| &report.attacks[at]) {
        let label = &attack.attack.label;
        let samples: Vec<AttackedSample> = attack.samples.iter().map(attacked).collect();
        let images = match run.images(label, &samples) {
            Ok(images) => images,
            Err(problem) => {
                outcome.faults.push(runtime(problem));
                continue;
            }
        };
        if let Some(reason) = images.too_few(args.k) {
            flows.push(AttackFlow { attack: label.clone(), flow: None, reason: Some(reason) });
            continue;
        }
        let steps = model.steps(&images);
        work.begin(label);
        let flow = model.flow(&images, args.k, similarity, &mut |done| work.tell(label, done, steps));
        match outcome.settle(&mut work, flow.map_err(|problem| runtime(format!("{label}: {problem}")))) {
            ControlFlow::Break(()) => break,
            ControlFlow::Continue(None) => (),
            ControlFlow::Continue(flow) => flows.push(AttackFlow { attack: label.clone(), flow, reason: None }),
        }
    }
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

fn attacked(result: &SampleResult) -> AttackedSample {
    AttackedSample { sample: result.sample, prediction: result.prediction, is_broken: result.success }
}
