//! The one loop: loads, measures, attacks, and tells what happens as events.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use advmod_attacks::execute::Options;
use advmod_attacks::victim::Victim;
use crossbeam_channel::unbounded;

use super::control::{Control, Next};
use super::event::{
    AuditEvent, AuditStart, CleanCurves, DataSummary, EventSink, ModelSummary, Outcome, Pictures, SCHEMA_VERSION,
    Stage, Tool,
};
use super::gate::check_classes;
use super::plan::{AttackPlan, Job};
use super::preview::check_target;
use super::stage::attack::{self, AttackJob, Attacked, StageError};
use super::stage::carry::Broken;
use super::stage::clean;
use super::stage::curve::{self, CurveSettings, TraceError, tap_neighbors};
use super::stage::growth::{Growth, pictures};
use super::stage::normalization::Trial;
use super::stage::panic_line;
use super::stage::pixels::{ImagePixels, KeptPixels, PixelSource};
use crate::data::{self, DataError, Dataset, Images};
use crate::model::device::device_name;
use crate::model::format::FormatError;
use crate::model::load::{ModelError, load};
use crate::model::{Model, save_images, save_pixels};
use crate::modularity::{Groups, class_note, curve_notes};

/// In a run's folder: the clean images of all samples, as u8.
pub const CLEAN_FILE: &str = "clean.safetensors";

/// In a run's folder: one file per attack, `LABEL.safetensors`, with the adversarial images as f32.
pub const ADVERSARIAL_FOLDER: &str = "adversarial";

/// Why an audit cannot go on. A failed attack is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The adversarial images cannot be written.
    #[error(transparent)]
    Write(#[from] FormatError),
    /// Model, data and device do not go together.
    #[error("{0}")]
    Unsuitable(String),
    /// A gate names a class that the data does not have.
    #[error("{0}")]
    Gate(String),
}

/// Runs a job on a worker thread and hands its events to `take` on this one. `Break`, or the control, stops it soon. `folder` is where
/// pixels are written.
///
/// # Errors
/// What kept the audit from going on; events that came before are valid.
pub fn run_on_worker(
    job: Job,
    folder: Option<PathBuf>,
    control: &Control,
    take: &mut dyn FnMut(AuditEvent) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let (sender, events) = unbounded::<AuditEvent>();
    // Apart from the caller's flag, which says that a user wants to stop.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_seen = &stop;
        let worker = scope.spawn(move || {
            let mut sink = |event| {
                // A receiver that has gone away wants no more.
                let gone = sender.send(event).is_err();
                if gone || stop_seen.load(Ordering::Relaxed) || control.is_stopped() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            run(job, folder.as_deref(), control, &mut sink)
        });
        for event in events {
            if take(event).is_break() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        worker.join().unwrap_or_else(|panic| {
            let line = panic_line(panic.as_ref());
            Err(EngineError::Unsuitable(format!("the audit broke off: {line}; please report this")))
        })
    })
}

/// Runs a job to its end or until the sink says `Break`. Under an open control it then waits for more attacks.
pub fn run(
    mut job: Job,
    folder: Option<&Path>,
    control: &Control,
    sink: &mut dyn EventSink,
) -> Result<(), EngineError> {
    let begun = Instant::now();
    let device = job.device.resolve().map_err(EngineError::Unsuitable)?;
    job.plan.device = device_name(device);
    let model = load(job.model.as_deref(), &job.load, device)?;
    let dataset = data::open(job.data.as_deref(), &job.open)?;
    let mut audit = Audit::prepare(job, &model, dataset.as_ref(), (folder, control), sink)?;
    let mut worked = begun.elapsed();
    loop {
        let begun = Instant::now();
        let finished = audit.all();
        worked += begun.elapsed();
        let outcome = match finished {
            Ok(()) if audit.failures > 0 => Outcome::Failed,
            Ok(()) if audit.cancelled => Outcome::Interrupted,
            Ok(()) => Outcome::Complete,
            Err(Stop::Asked) => Outcome::Interrupted,
            Err(Stop::Error(error)) => {
                audit.finish(Outcome::Failed, Some(error.to_string()), worked);
                return Err(error);
            }
        };
        audit.finish(outcome, None, worked);
        if matches!(finished, Err(Stop::Asked)) || !control.wait_for_more() {
            return Ok(());
        }
    }
}

/// Why the stages end before their end.
enum Stop {
    Asked,
    Error(EngineError),
}

impl<E: Into<EngineError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl From<TraceError> for Stop {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::Stopped => Self::Asked,
            other => Self::Error(EngineError::Unsuitable(other.to_string())),
        }
    }
}

/// A job with everything loaded.
struct Audit<'a> {
    job: Job,
    model: &'a Model,
    images: Images,
    /// Place of each sample in the data.
    indices: Vec<usize>,
    labels: Vec<usize>,
    taps: Vec<String>,
    settings: CurveSettings,
    /// Samples that the model classifies correctly, once that is known.
    correct: Option<Vec<usize>>,
    /// What each sweep's smaller sizes have broken, by the sweep's first attack.
    broken: BTreeMap<usize, Broken>,
    /// Where pixels are written.
    folder: Option<&'a Path>,
    control: &'a Control,
    sink: &'a mut dyn EventSink,
    failures: usize,
    cancelled: bool,
}

impl<'a> Audit<'a> {
    fn prepare(
        job: Job,
        model: &'a Model,
        dataset: &dyn Dataset,
        (folder, control): (Option<&'a Path>, &'a Control),
        sink: &'a mut dyn EventSink,
    ) -> Result<Self, EngineError> {
        let (info, model_info) = (dataset.info(), model.info());
        let about_data = |problem: String| EngineError::Unsuitable(format!("{}: {problem}", info.name));
        let findings = model.check(info.channels, info.height, info.width).map_err(about_data)?;
        let indices = data::select(&job.selection, info.n)?;
        let classes = model_info.classes as usize;
        if let Some(&index) = indices.iter().find(|&&index| dataset.labels()[index] as usize >= classes) {
            return Err(EngineError::Unsuitable(format!(
                "{}: image {index} has label {}, the model ({}) has {classes} classes; give data that it was trained for",
                info.name,
                dataset.labels()[index],
                model_info.architecture
            )));
        }
        job.attacks.iter().try_for_each(|config| check_target(config, classes)).map_err(EngineError::Unsuitable)?;
        let class_names = if info.classes.is_empty() { &model_info.class_names } else { &info.classes };
        check_classes(&job.plan.gates, class_names, classes).map_err(EngineError::Gate)?;
        let images = dataset.read(&indices)?;
        let cost = model
            .cost(info.height as i64, info.width as i64)
            .map_err(|error| EngineError::Unsuitable(format!("libtorch: {error}")))?;
        let (mean, std) =
            model_info.normalization.for_channels(model_info.channels).map_err(EngineError::Unsuitable)?;
        let start = AuditStart {
            tool: Tool::this(),
            plan_file: job.plan_file(),
            plan: job.plan.clone(),
            model: ModelSummary {
                name: model_info.name.clone(),
                sha256: model_info.sha256.clone(),
                format: model_info.format.clone(),
                architecture: model_info.architecture.clone(),
                classes,
                parameters: cost.parameters,
                macs: cost.macs,
                is_random: findings.not_deterministic,
                gives_probabilities: findings.probabilities,
                normalization: model_info.normalization.name.clone(),
                mean,
                std,
            },
            data: DataSummary {
                name: info.name.clone(),
                format: info.format.to_owned(),
                split: info.split.map(|split| split.name().to_owned()),
                sha256: info.sha256.clone(),
                available: info.n,
                shape: [info.channels, info.height, info.width],
                classes: class_names.clone(),
                indices: indices.clone(),
                labels: images.labels.clone(),
            },
            taps: model.tap_paths(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        };
        let _ = sink.emit(AuditEvent::Started { schema_version: SCHEMA_VERSION, start: Box::new(start) });
        control.enqueue(job.plan.attacks.iter().map(|attack| attack.sweep).enumerate());
        let mut audit = Self {
            model,
            labels: images.labels.iter().map(|&label| label as usize).collect(),
            images,
            indices,
            taps: model.tap_paths(),
            settings: CurveSettings { k: job.plan.k, similarity: job.plan.similarity, classes },
            job,
            correct: None,
            broken: BTreeMap::new(),
            folder,
            control,
            sink,
            failures: 0,
            cancelled: false,
        };
        if findings.not_deterministic {
            audit.warn(
                "two forward passes of the same images differ: something random is in the network; results will vary",
            );
        }
        if findings.probabilities {
            audit.warn("the model's outputs look like probabilities, not logits: gradients through a softmax vanish; attack the logits");
        }
        if let Some(batch) = model.program().and_then(|program| program.fixed_batch) {
            audit.warn(&format!(
                "the model was exported for batches of {batch}: others run in pieces of {batch}, the last one filled up; exporting with a \
                 dynamic batch size is faster (advmod export-help)"
            ));
        }
        Ok(audit)
    }

    fn warn(&mut self, message: &str) {
        let _ = self.sink.emit(AuditEvent::Warned { message: message.to_owned() });
    }

    fn emit(&mut self, event: AuditEvent) -> Result<(), Stop> {
        if self.sink.emit(event).is_break() { Err(Stop::Asked) } else { Ok(()) }
    }

    fn finish(&mut self, outcome: Outcome, error: Option<String>, worked: Duration) {
        let _ = self.sink.emit(AuditEvent::Finished { outcome, seconds: worked.as_secs_f64(), error });
    }

    /// Everything that is left to do now.
    fn all(&mut self) -> Result<(), Stop> {
        if self.correct.is_none() {
            let everything: Vec<usize> = (0..self.labels.len()).collect();
            let predictions = self.clean(&everything)?;
            let is_correct = |&sample: &usize| predictions[sample] as usize == self.labels[sample];
            let correct: Vec<usize> = everything.into_iter().filter(is_correct).collect();
            if correct.is_empty() {
                self.warn("no clean image is classified correctly, so there is nothing to attack; check --normalize and the labels");
            }
            self.correct = Some(correct);
        }
        loop {
            // Between attacks too: a pause must not end with a stage that has no steps.
            self.control.wait_while_paused(&|| false);
            match self.control.next() {
                Next::Nothing => return Ok(()),
                Next::Cancelled(attack) => self.cancel(attack)?,
                Next::Add(planned) => self.add(&planned)?,
                Next::Run(attack) => self.attack(attack)?,
            }
        }
    }

    /// Puts an attack behind the plan's, as its user wrote it.
    fn add(&mut self, planned: &AttackPlan) -> Result<(), Stop> {
        let first = self.job.attacks.len();
        let added = self.job.add(planned, |config| check_target(config, self.settings.classes));
        match added {
            Ok(()) => {
                let plan = &self.job.plan;
                let (attacks, command) = (plan.attacks[first..].to_vec(), plan.command.clone());
                self.control.enqueue(attacks.iter().enumerate().map(|(at, attack)| (first + at, attack.sweep)));
                let plan_file = self.job.plan_file();
                self.emit(AuditEvent::AttacksAdded { attacks, command, plan_file })
            }
            Err(error) => self.emit(AuditEvent::AttackRefused { error: error.to_string() }),
        }
    }

    fn cancel(&mut self, attack: usize) -> Result<(), Stop> {
        self.cancelled = true;
        self.emit(AuditEvent::AttackCancelled { attack })
    }

    /// Says when the clean accuracy speaks for another normalization. Only what a flag decides is questioned.
    fn question_normalization(&mut self, everything: &[usize]) -> Result<(), Stop> {
        let given = self.job.load.normalization.is_some();
        let own = &self.model.info().normalization;
        if self.job.model.is_some() && (given || own.is_none()) {
            let stage = Stage::Normalization;
            let trial = Trial::new(self.model, self.labels.len(), self.job.plan.batch);
            self.emit(AuditEvent::StageStarted { stage, total: trial.steps() })?;
            let source = ImagePixels { images: &self.images, places: everything, device: self.model.device() };
            let sink = &mut *self.sink;
            let mut progress = |done| sink.emit(AuditEvent::StageProgress { stage, done });
            let rival = trial.run(&source, &self.labels, &mut progress)?;
            if let Some(advice) = rival.and_then(|rival| rival.advice(own, given)) {
                self.warn(&advice);
            }
        }
        Ok(())
    }

    /// Predictions and curves of all clean images.
    fn clean(&mut self, everything: &[usize]) -> Result<Vec<u32>, Stop> {
        let stage = Stage::Clean;
        self.emit(AuditEvent::StageStarted { stage, total: everything.len() as u64 })?;
        let source = ImagePixels { images: &self.images, places: everything, device: self.model.device() };
        let sink = &mut *self.sink;
        let mut progress = |done| sink.emit(AuditEvent::StageProgress { stage, done });
        let (predictions, likeliest) = clean::predict(self.model, &source, self.job.plan.batch, &mut progress)?;
        self.emit(AuditEvent::CleanMeasured { predictions: predictions.clone(), likeliest })?;
        if let Some(folder) = self.folder {
            let predictions: Vec<usize> = predictions.iter().map(|&class| class as usize).collect();
            let columns = [
                ("samples", everything),
                ("indices", &self.indices),
                ("labels", &self.labels),
                ("predictions", &predictions),
            ];
            save_images(&folder.join(CLEAN_FILE), &self.images, &columns)?;
        }
        if self.job.pictures {
            let pixels = self.images.pixels.iter().map(|&value| f32::from(value) / 255.0).collect();
            let shape = [self.images.shape[1], self.images.shape[2], self.images.shape[3]];
            let pictures = Pictures { attack: None, samples: everything.to_vec(), shape, pixels };
            self.emit(AuditEvent::Pictures(Arc::new(pictures)))?;
        }
        self.question_normalization(everything)?;

        let stage = Stage::CleanCurve;
        self.emit(AuditEvent::StageStarted { stage, total: (everything.len() * self.taps.len()) as u64 })?;
        let found = self.neighbors(everything, None, stage, 0)?;
        let groups = Groups::new(everything.len(), self.job.plan.seed);
        let predicted: Vec<usize> = predictions.iter().map(|&class| class as usize).collect();
        let curve = |labels| curve::curve_with_intervals(&self.taps, &found, &self.settings, labels, &groups).0;
        let curves = CleanCurves { true_labels: curve(&self.labels), predicted_labels: curve(&predicted) };
        let notes = curve_notes(&curves.true_labels);
        self.emit(AuditEvent::CleanCurvesMeasured { curves })?;
        let class_note = class_note(&self.labels, self.settings.classes, self.settings.k);
        notes.iter().chain(&class_note).for_each(|note| self.warn(note));
        Ok(predictions)
    }

    /// Neighbours of samples, from their clean pixels or from these; `before` steps of the stage are done already.
    fn neighbors(
        &mut self,
        samples: &[usize],
        pixels: Option<&tch::Tensor>,
        stage: Stage,
        before: u64,
    ) -> Result<curve::TapNeighbors, Stop> {
        let device = self.model.device();
        let clean = ImagePixels { images: &self.images, places: samples, device };
        let kept = pixels.map(|pixels| KeptPixels { pixels, device });
        let source: &dyn PixelSource = kept.as_ref().map_or(&clean, |kept| kept);
        let sink = &mut *self.sink;
        let mut progress = |done| sink.emit(AuditEvent::StageProgress { stage, done: before + done });
        Ok(tap_neighbors(self.model, source, &self.settings, &mut progress)?)
    }

    fn attack(&mut self, attack: usize) -> Result<(), Stop> {
        let stage = Stage::Attack { attack };
        let correct = self.correct.clone().unwrap_or_default();
        self.emit(AuditEvent::StageStarted { stage, total: (correct.len() * 1000) as u64 })?;
        let plan = &self.job.plan;
        // Only inside a sweep do results outlive their attack.
        let sweep = plan.attacks[attack].sweep;
        let job = AttackJob {
            model: self.model,
            config: &self.job.attacks[attack],
            source: ImagePixels { images: &self.images, places: &correct, device: self.model.device() },
            smaller: sweep.and_then(|first| self.broken.get(&first)),
            options: Options { seed: plan.seed, eight_bit: plan.eight_bit },
            batch: plan.batch,
            threads: plan.threads,
            control: self.control,
            place: attack,
        };
        let sink = std::cell::RefCell::new(&mut *self.sink);
        let mut progress = |done| sink.borrow_mut().emit(AuditEvent::StageProgress { stage, done });
        let mut growth = self.job.pictures.then(|| Growth::new(self.model, &self.settings, &self.images, &self.labels));
        let mut on_batch = |batch: attack::Judged<'_>| {
            let mut sink = sink.borrow_mut();
            let flow = sink.emit(AuditEvent::BatchAttacked { attack, samples: batch.results.to_vec() });
            let Some(growth) = &mut growth else { return flow };
            if let Some(pictures) = pictures(attack, &batch) {
                let _ = sink.emit(AuditEvent::Pictures(Arc::new(pictures)));
            }
            match growth.take(&batch, correct.len()) {
                Some(curves) if flow.is_continue() => sink.emit(AuditEvent::AttackCurvesGrew { attack, curves }),
                _ => flow,
            }
        };
        let attacked = match attack::run(&job, &mut progress, &mut on_batch) {
            Ok(attacked) => attacked,
            Err(StageError::Stopped(attacked)) => {
                self.save(attack, &attacked)?;
                let is_cancelled = self.control.is_cancelled(attack) && !self.control.is_stopped();
                return if is_cancelled { self.cancel(attack) } else { Err(Stop::Asked) };
            }
            Err(StageError::Failed(error)) => {
                self.failures += 1;
                return self.emit(AuditEvent::AttackFailed { attack, error });
            }
        };
        self.save(attack, &attacked)?;
        self.emit(AuditEvent::AttackFinished { attack, seconds: attacked.seconds })?;
        self.attack_warnings(attack, &attacked);
        if let Some(first) = sweep {
            // The pixels of broken samples are kept no longer than a larger size may need them.
            match self.job.plan.attacks.get(attack + 1).is_some_and(|next| next.sweep == sweep) {
                true => self.broken.entry(first).or_default().add(attack, &attacked).map_err(TraceError::from)?,
                false => drop(self.broken.remove(&first)),
            }
        }
        self.attack_curves(attack, &attacked)
    }

    fn attack_warnings(&mut self, attack: usize, attacked: &Attacked) {
        let (label, of) = (self.job.plan.attacks[attack].label.clone(), attacked.samples.len());
        let n = attacked.results.iter().filter(|it| it.zero_gradients > 0).count();
        if n > 0 {
            self.warn(&format!(
                "{label}: {n} of {of} samples had a gradient of exactly zero; the model is overconfident or masks gradients"
            ));
        }
        let overshoots = || attacked.results.iter().map(|it| it.overshoot).filter(|&it| it > 0.0);
        if let Some(largest) = overshoots().max_by(f64::total_cmp) {
            let n = overshoots().count();
            self.warn(&format!(
                "{label}: the attack's own pixels of {n} of {of} samples were outside of its budget or of [0, 1], by up to {largest:.2e}; \
                 they were put back inside before they were judged"
            ));
        }
    }

    fn attack_curves(&mut self, attack: usize, attacked: &Attacked) -> Result<(), Stop> {
        let stage = Stage::AttackCurve { attack };
        let half = (attacked.samples.len() * self.taps.len()) as u64;
        self.emit(AuditEvent::StageStarted { stage, total: 2 * half })?;
        let clean = self.neighbors(&attacked.samples, None, stage, 0)?;
        let adversarial = self.neighbors(&attacked.samples, Some(&attacked.pixels), stage, half)?;
        let labels: Vec<usize> = attacked.samples.iter().map(|&sample| self.labels[sample]).collect();
        let groups = Groups::new(labels.len(), self.job.plan.seed);
        let pair = (&clean, &adversarial);
        let curves = curve::attack_curves(&self.taps, pair, &self.settings, (&labels, &attacked.predictions), &groups);
        self.emit(AuditEvent::AttackCurvesMeasured { attack, curves: Box::new(curves) })
    }

    /// Writes the adversarial pixels with what is needed to find the originals.
    fn save(&self, attack: usize, attacked: &Attacked) -> Result<(), Stop> {
        if let Some(folder) = self.folder {
            let path =
                folder.join(ADVERSARIAL_FOLDER).join(format!("{}.safetensors", self.job.plan.attacks[attack].label));
            let of_samples =
                |values: &[usize]| -> Vec<usize> { attacked.samples.iter().map(|&it| values[it]).collect() };
            let columns = [
                ("samples", &attacked.samples[..]),
                ("indices", &of_samples(&self.indices)),
                ("labels", &of_samples(&self.labels)),
                ("predictions", &attacked.predictions),
            ];
            save_pixels(&path, &attacked.pixels, &columns)?;
        }
        Ok(())
    }
}
