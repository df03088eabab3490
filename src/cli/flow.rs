//! `advmod flow`: where the adversarial images of a stored run lie among the clean ones.

use std::ops::ControlFlow;
use std::path::Path;

use super::args::{FlowArgs, Manner, TrustArgs};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::Work;
use super::{CliError, Exit, export, report, setup};
use crate::confine::Needs;
use crate::model::load::load;
use crate::store::pixels::{PictureError, PixelFile};
use crate::store::{CLEAN_FILE, adversarial_file};
use crate::study::flow::{AttackedImages, FlowModel};
use crate::study::results::flow::{AttackFlow, FlowResult};
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
    let mut outcome = Outcome::new("attacks", attacks.len());
    let mut flows: Vec<AttackFlow> = Vec::new();
    for attack in attacks.iter().map(|&at| &report.attacks[at]) {
        let label = &attack.attack.label;
        let images = match images(&report, attack, &folder) {
            Ok(images) => images.unwrap_or_default(),
            Err(problem) => {
                outcome.faults.push(runtime(problem));
                continue;
            }
        };
        if let Some(reason) = too_few(images.labels.len(), args.k) {
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
    let left_out = flows.iter().filter_map(|it| Some(format!("{}: {}", it.attack, it.reason.as_ref()?)));
    if outcome.done == 0 {
        outcome.faults.extend(left_out.map(runtime));
        return outcome.end(None);
    }
    let result = FlowResult {
        warnings: left_out.map(|reason| format!("left out: {reason}")).collect(),
        classes: class_names(&report),
        data: report.data.name.clone(),
        model: report.model,
        attacks: flows,
    };
    warn(&result.warnings, quiet);
    outcome.deliver(&result, &Delivery::new(args.out.as_deref(), args.format))
}

/// Why so few images have no neighbours to speak of.
fn too_few(n: usize, k: usize) -> Option<String> {
    match n {
        0 => Some("the run kept none of its pixels".to_owned()),
        _ => (n <= k).then(|| format!("needs more than k images: the run kept {n}, k = {k}; lower --k")),
    }
}

/// The run's model, by the plan in its report.
fn model(report: &Report, folder: &Path, trust: TrustArgs, how: (Needs, Manner)) -> Result<FlowModel, String> {
    let job = setup::job_of(report, folder, trust, how)?;
    let model = load(job.model.as_deref(), &job.load, job.device.resolve()?).map_err(|error| error.to_string())?;
    Ok(FlowModel::new(model, report.data.shape))
}

/// The names of all classes of the model, or else their labels.
fn class_names(report: &Report) -> Vec<String> {
    let name = |class: usize| report.data.classes.get(class).cloned().unwrap_or_else(|| class.to_string());
    (0..report.model.classes).map(name).collect()
}

/// An attack's images, clean and adversarial; none where the run kept none.
fn images(report: &Report, attack: &AttackResult, folder: &Path) -> Result<Option<AttackedImages>, String> {
    let label = &attack.attack.label;
    let open = |file: Result<_, PictureError>| file.map_err(|error| error.to_string());
    let Some(mut adversarial) = open(PixelFile::adversarial(folder, label))? else { return Ok(None) };
    let Some(mut clean) = open(PixelFile::clean(folder))? else {
        return Err(format!("{CLEAN_FILE} is not there; give the folder as the audit left it"));
    };
    let unfit = |file: &str| format!("{file} is of another run; give the folder as the audit left it");
    if [&clean, &adversarial].iter().any(|file| file.shape() != report.data.shape) {
        return Err(unfit(&format!("{CLEAN_FILE} or {}", adversarial_file("*"))));
    }
    let mut images = AttackedImages::default();
    for (row, place) in adversarial.samples().to_vec().into_iter().enumerate() {
        let found = usize::try_from(place).ok().and_then(|sample| {
            let at = attack.samples.binary_search_by_key(&sample, |it| it.sample).ok()?;
            let original = clean.samples().binary_search(&place).ok()?;
            Some((&attack.samples[at], *report.data.labels.get(sample)? as usize, original))
        });
        let Some((result, class, original)) = found else {
            return Err(unfit(&adversarial_file(label)));
        };
        if class.max(result.prediction as usize) >= report.model.classes {
            return Err(unfit("the report"));
        }
        let picture = |file: &mut PixelFile, row| file.picture(row).map_err(|error| error.to_string());
        images.clean.extend(picture(&mut clean, original)?.pixels);
        images.adversarial.extend(picture(&mut adversarial, row)?.pixels);
        images.labels.push(class);
        images.predictions.push(result.prediction as usize);
        images.is_broken.push(result.success);
    }
    Ok(Some(images))
}
