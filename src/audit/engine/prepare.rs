//! From a job to an audit with everything loaded and checked, and what it says of itself before it begins.

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use advmod_attacks::query::JUDGEMENTS;
use advmod_attacks::victim::{Victim as _, VictimError};

use super::chosen::Chosen;
use super::error::EngineError;
use super::loaded::Audit;
use crate::audit::allowed::Allowed;
use crate::audit::attack::{Budget, ResolvedAttack};
use crate::audit::baseline::Baseline;
use crate::audit::control::{Control, Waiting};
use crate::audit::event::{AuditEvent, AuditStart, DataSummary, LostSamples, ModelSummary, SCHEMA_VERSION, Sink, Tool};
use crate::audit::gate::check::check_classes;
use crate::audit::job::Job;
use crate::audit::preview::check_target;
use crate::audit::resolved::ResolvedPlan;
use crate::audit::resume;
use crate::audit::state::AuditState;
use crate::data::Images;
use crate::measure::answers::{self, Answers};
use crate::measure::company;
use crate::measure::fit::check_labels;
use crate::measure::pixels::ImagePixels;
use crate::measure::taps::CurveSettings;
use crate::model::{Model, ModelCost};
use crate::store::{Kept, RunFolder};
use advmod_attacks::threat::Norm;

#[derive(Debug)]
pub struct Run {
    pub(crate) job: Job,
    /// Where pixels are written: ready, and this run's alone.
    pub(crate) folder: Option<RunFolder>,
    /// Whether somebody looks on: then pixels and growing curves come as events too.
    pub pictures: bool,
    /// Whether a failed gate does not count for the exit code: the report says so.
    pub(crate) exit_zero: bool,
    /// What the results are compared with: the report that the plan names.
    pub(crate) baseline: Option<Box<Baseline>>,
    /// What an earlier, interrupted run of the same plan has done already; its pixels are in the folder.
    pub earlier: Option<Box<AuditState>>,
}

impl From<Job> for Run {
    fn from(job: Job) -> Self {
        Self { job, folder: None, pictures: false, exit_zero: false, baseline: None, earlier: None }
    }
}

/// Model and images of a job, which go together.
struct Loaded<'a> {
    model: &'a Model,
    answers: Answers,
    cost: ModelCost,
    chosen: Chosen<'a>,
    class_names: &'a [String],
    images: Images,
    /// As [`company::influence`] finds it; nothing is said of a model that is random anyway.
    batch_influence: Option<f64>,
    /// Images on which the model's ending decides, so that it stays.
    ending_decides: usize,
    /// Whether gradients pass operators that have none of their own.
    goes_straight: bool,
    /// Chosen images that were left out because they are the same as others, labels included.
    copies: usize,
}

impl<'a> Loaded<'a> {
    fn read(job: &Job, model: &'a mut Model, mut chosen: Chosen<'a>) -> Result<Self, EngineError> {
        let (dataset, indices) = (chosen.dataset, &chosen.indices);
        let info = dataset.info();
        let about_data = |problem: String| EngineError::Unsuitable(format!("{}: {problem}", info.name));
        let findings = model.check(info.channels, info.height, info.width).map_err(about_data)?;
        check_labels(model, dataset, indices).map_err(EngineError::Unsuitable)?;
        let classes = model.info().classes as usize;
        job.attacks.iter().try_for_each(|config| check_target(config, classes)).map_err(EngineError::Unsuitable)?;
        let values = info.channels * info.height * info.width;
        job.plan.attacks.iter().try_for_each(|it| check_reach(it, values)).map_err(EngineError::Unsuitable)?;
        let mut images = dataset.read(indices)?;
        let distinct = distinct(&images);
        let copies = indices.len() - distinct.len();
        if copies > 0 {
            images = images.subset(&distinct);
            chosen.indices = distinct.iter().map(|&at| chosen.indices[at]).collect();
        }
        let indices = &chosen.indices;
        let failed = |error: String| EngineError::Unsuitable(format!("libtorch: {error}"));
        let places: Vec<usize> = (0..indices.len()).collect();
        let source = ImagePixels { images: &images, places: &places, device: model.device() };
        let broken = |error: VictimError| failed(error.to_string());
        let ending_decides = match model.ending() {
            Some(_) => answers::ending_decides(model, &source, job.plan.batch).map_err(broken)?,
            None => 0,
        };
        if ending_decides > 0 {
            model.keep_ending();
        }
        let goes_straight = model.has_steps()
            && answers::loses_gradients(model, &source).map_err(broken)?
            && model.go_straight_through();
        let mut answers = answers::look(model, &source).map_err(broken)?;
        answers.is_random |= findings.not_deterministic;
        if answers.is_random {
            model.set_random();
        }
        let model: &'a Model = model;
        let class_names = if info.classes.is_empty() { &model.info().class_names } else { &info.classes };
        check_classes(&job.plan.gates, class_names, classes).map_err(EngineError::Gate)?;
        let cost = model.cost(info.height as i64, info.width as i64).map_err(failed)?;
        let batch_influence = match answers.is_random {
            true => None,
            false => company::influence(model, &source).map_err(broken)?,
        };
        Ok(Self {
            model,
            answers,
            cost,
            chosen,
            class_names,
            images,
            batch_influence,
            ending_decides,
            goes_straight,
            copies,
        })
    }

    /// What a run says of itself at this moment.
    fn start(&self, run: &Run) -> Result<AuditStart, String> {
        let (info, model) = (self.chosen.dataset.info(), self.model.info());
        let (mean, std) = model.normalization.for_channels(model.channels)?;
        let model_ending = self.model.ending().map(str::to_owned);
        Ok(AuditStart {
            tool: Tool::this(),
            plan_file: run.job.plan_file.clone(),
            base: base_of(&run.job),
            baseline: run.baseline.clone(),
            allowed: Allowed { trust_torchscript: run.job.load.trust_torchscript, exit_zero: run.exit_zero },
            plan: ResolvedPlan { device: self.model.device().into(), ..run.job.plan.clone() },
            model: ModelSummary {
                name: model.name.clone(),
                sha256: model.sha256.clone(),
                format: model.format.clone(),
                architecture: model.architecture.clone(),
                classes: model.classes as usize,
                parameters: self.cost.parameters,
                macs: self.cost.macs,
                is_random: self.answers.is_random,
                batch_influence: self.batch_influence,
                ending: model_ending,
                ending_decides: self.ending_decides,
                outputs: self.answers.outputs,
                normalization: model.normalization.name.clone(),
                mean,
                std,
            },
            data: DataSummary {
                name: info.name.clone(),
                format: info.format.to_owned(),
                split: info.split.map(|split| split.name().to_owned()),
                sha256: self.chosen.sha256.clone(),
                digests: self.images.digests(),
                available: info.n,
                shape: [info.channels, info.height, info.width],
                classes: self.class_names.to_vec(),
                indices: self.chosen.indices.clone(),
                labels: self.images.labels.clone(),
            },
            taps: self.model.tap_paths(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        })
    }
}

/// Reads what the job needs, says how it begins (or goes on), and what a reader of its results must know of the model.
pub(super) fn prepare<'a>(
    mut run: Run,
    model: &'a mut Model,
    chosen: Chosen<'a>,
    control: &'a Control,
    sink: &'a mut Sink<'a>,
) -> Result<Audit<'a>, EngineError> {
    let loaded = Loaded::read(&run.job, model, chosen)?;
    let model = loaded.model;
    let start = loaded.start(&run).map_err(EngineError::Unsuitable)?;
    let mut earlier = if let Some(earlier) = run.earlier.take() {
        go_on(*earlier, &start, run.folder.as_ref(), sink)?
    } else {
        let _ = sink(AuditEvent::Started { schema_version: SCHEMA_VERSION, start: Box::new(start) });
        AuditState::default()
    };
    let plan = &run.job.plan;
    control.enqueue((0..).zip(&plan.attacks).map(|(attack, it)| Waiting { attack, sweep: it.sweep }));
    let Loaded { answers, images, chosen, batch_influence, ending_decides, goes_straight, copies, .. } = loaded;
    let Chosen { indices, dataset, .. } = chosen;
    let classes = model.info().classes as usize;
    let mut audit = Audit {
        model,
        labels: images.labels.iter().map(|&label| label as usize).collect(),
        images,
        indices,
        taps: model.tap_paths(),
        settings: CurveSettings { k: plan.k, similarity: plan.similarity, classes },
        job: run.job,
        correct: None,
        controlled: std::mem::take(&mut earlier.controls),
        earlier,
        results: BTreeMap::new(),
        broken: BTreeMap::new(),
        folder: run.folder,
        pictures: run.pictures,
        control,
        sink,
        failures: 0,
        cancelled: false,
    };
    dataset.notes().iter().for_each(|note| audit.warn(note));
    if copies > 0 {
        audit.warn(&format!(
            "{copies} of {} images are copies of others and were left out: they say nothing new, and would make every interval too narrow",
            copies + audit.indices.len()
        ));
    }
    if goes_straight {
        audit.warn(STRAIGHT);
    }
    audit.warn_of_model(answers, batch_influence, ending_decides);
    Ok(audit)
}

impl Audit<'_> {
    fn warn_of_model(&mut self, answers: Answers, batch_influence: Option<f64>, ending_decides: usize) {
        if answers.is_random {
            self.warn(&format!(
                "two forward passes of the same images differ: something random is in the network (dropout, noise, random crops); attacks average \
                 logits and gradients over {JUDGEMENTS} passes where eot=… says nothing else, each image is judged {JUDGEMENTS} times, and it \
                 counts as broken if half of that is wrong"
            ));
        }
        if let Some(share) = batch_influence {
            self.warn(&format!(
                "the logits of an image change with the other images of its batch (by {:.1} % of the largest): no result can be relied on; call \
                 model.eval() before exporting, and keep statistics of the batch out of the network",
                100.0 * share
            ));
        }
        if let Some(ending) = self.model.ending() {
            self.warn(&format!(
                "the model ends in {ending}: attacked are the logits before that, which give every clean image the same class"
            ));
        }
        if ending_decides > 0 {
            self.warn(&format!(
                "the model ends in operators without which it would give {ending_decides} clean images another class: it is attacked as it is"
            ));
        }
        if let Some(doubt) = answers.outputs.doubt() {
            self.warn(&format!(
                "the model's outputs {doubt}: gradients vanish there; give a model that ends in logits"
            ));
        }
        if let Some(batch) = self.model.program().and_then(|program| program.fixed_batch) {
            self.warn(&format!(
                "the model was exported for batches of {batch}: others run in pieces of {batch}, the last one filled up; exporting with a \
                 dynamic batch size is faster (advmod export-help)"
            ));
        }
    }
}

/// What is said where gradients pass operators that have none of their own.
const STRAIGHT: &str = "the network's own gradients are lost in rounding, casts, comparisons or detach: it is attacked straight through them, with \
                        gradients as if they were not there; every answer is the network's own";

/// Asks what was meant by an ε that no image of so many values can use up: from black to white is the longest way.
fn check_reach(attack: &ResolvedAttack, values: usize) -> Result<(), String> {
    let diagonal = (values as f64).sqrt();
    let Some(Budget { norm: Norm::L2, eps }) = attack.budget().filter(|it| it.eps.value() > diagonal) else {
        return Ok(());
    };
    let meant = if eps.to_string().contains('/') { String::new() } else { format!("; did you mean {eps}/255?") };
    Err(format!(
        "{}: ε = {eps} in L2 is more than any image can change: from black to white are {diagonal:.1}, with pixels in [0, 1]{meant}",
        attack.label
    ))
}

/// Where the relative paths of a job begin, if it has any.
fn base_of(job: &Job) -> Option<String> {
    let plan = job.written();
    let folder = plan.base.clone().or_else(|| std::env::current_dir().ok()).filter(|_| plan.has_relative_paths())?;
    folder.to_str().map(str::to_owned)
}

/// Places of images that are not the same as an earlier one, with the same label.
fn distinct(images: &Images) -> Vec<usize> {
    let mut seen = HashSet::new();
    let size = images.image_size().max(1);
    let all = images.pixels.chunks(size).zip(&images.labels).enumerate();
    all.filter(|(_, image)| seen.insert(*image)).map(|(at, _)| at).collect()
}

/// Checks that an earlier run can go on, says so, and hands over what of it stands.
fn go_on(
    mut earlier: AuditState,
    now: &AuditStart,
    folder: Option<&RunFolder>,
    sink: &mut Sink<'_>,
) -> Result<AuditState, EngineError> {
    let begun = earlier.start.as_ref().ok_or_else(|| EngineError::Unsuitable("the run has not begun".to_owned()))?;
    resume::check(begun, now).map_err(EngineError::Unsuitable)?;
    let labels = begun.plan.attacks.iter().map(|attack| &attack.label);
    let lost = (0..).zip(labels).zip(&earlier.attacks).filter_map(|((attack, label), state)| {
        let kept = folder.map(|folder| Kept::read(folder, label, now.data.shape).samples()).unwrap_or_default();
        let samples: Vec<usize> =
            state.samples.iter().map(|it| it.sample).filter(|sample| !kept.contains(sample)).collect();
        (!samples.is_empty()).then_some(LostSamples { attack, samples })
    });
    let resumed = AuditEvent::Resumed { lost: lost.collect(), allowed: now.allowed };
    earlier.apply(&resumed);
    let _ = sink(resumed);
    Ok(earlier)
}
