//! The one loop: loads, measures, attacks, and tells what happens as events.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use advmod_attacks::execute::Options;
use advmod_attacks::victim::Victim;
use crossbeam_channel::unbounded;

use super::event::{
    AuditEvent, AuditStart, CleanCurves, DataSummary, EventSink, ModelSummary, Outcome, SCHEMA_VERSION, Stage,
};
use super::plan::Job;
use super::stage::attack::{self, AttackJob, Attacked, StageError};
use super::stage::carry::Broken;
use super::stage::clean;
use super::stage::curve::{self, CurveSettings, TraceError, tap_neighbors};
use super::stage::normalization::best_rival;
use super::stage::panic_line;
use super::stage::pixels::{ImagePixels, KeptPixels, PixelSource};
use crate::data::{self, DataError, Dataset, Images};
use crate::model::device::device_name;
use crate::model::format::FormatError;
use crate::model::load::{ModelError, load};
use crate::model::{Model, save_pixels};
use crate::modularity::{Groups, class_note, curve_notes};

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
}

/// Runs a job on a worker thread and hands its events to `take` on this one. `Break`, or the flag, stops it soon.
///
/// # Errors
/// What kept the audit from going on; events that came before are valid.
pub fn run_on_worker(
    job: Job,
    adversarial: Option<PathBuf>,
    cancel: &Arc<AtomicBool>,
    take: &mut dyn FnMut(AuditEvent) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let (sender, events) = unbounded::<AuditEvent>();
    // Apart from the caller's flag, which says that a user wants to stop.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (flag, stop_seen) = (cancel.clone(), &stop);
        let worker = scope.spawn(move || {
            let mut sink = |event| {
                // A receiver that has gone away wants no more.
                let gone = sender.send(event).is_err();
                if gone || stop_seen.load(Ordering::Relaxed) || flag.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            run(job, adversarial.as_deref(), &mut sink)
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

/// Runs a job to its end or until the sink says `Break`.
pub fn run(mut job: Job, adversarial: Option<&Path>, sink: &mut dyn EventSink) -> Result<(), EngineError> {
    let begun = Instant::now();
    let device = job.device.resolve().map_err(EngineError::Unsuitable)?;
    job.plan.device = device_name(device);
    let model = load(job.model.as_deref(), &job.load, device)?;
    let dataset = data::open(job.data.as_deref(), &job.open)?;
    let mut audit = Audit::prepare(&job, &model, dataset.as_ref(), sink)?;
    let finished = audit.all(adversarial);
    let outcome = match finished {
        Ok(()) if audit.failures > 0 => Outcome::Failed,
        Ok(()) => Outcome::Complete,
        Err(Stop::Asked) => Outcome::Interrupted,
        Err(Stop::Error(error)) => {
            audit.warn(&format!("the audit broke off: {error}"));
            let seconds = begun.elapsed().as_secs_f64();
            let _ = audit.sink.emit(AuditEvent::Finished { outcome: Outcome::Failed, seconds });
            return Err(error);
        }
    };
    let _ = audit.sink.emit(AuditEvent::Finished { outcome, seconds: begun.elapsed().as_secs_f64() });
    Ok(())
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
    job: &'a Job,
    model: &'a Model,
    images: Images,
    /// Place of each sample in the data.
    indices: Vec<usize>,
    labels: Vec<usize>,
    taps: Vec<String>,
    settings: CurveSettings,
    sink: &'a mut dyn EventSink,
    failures: usize,
}

impl<'a> Audit<'a> {
    fn prepare(
        job: &'a Job,
        model: &'a Model,
        dataset: &dyn Dataset,
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
        for config in &job.attacks {
            if let advmod_attacks::threat::Goal::Targeted(advmod_attacks::threat::Target::Class(class)) = config.goal
                && class >= model_info.classes
            {
                return Err(EngineError::Unsuitable(format!(
                    "{}.target = {class}: the model has {classes} classes, the last is {}",
                    config.spec.id,
                    classes - 1
                )));
            }
        }
        let images = dataset.read(&indices)?;
        let cost = model
            .cost(info.height as i64, info.width as i64)
            .map_err(|error| EngineError::Unsuitable(format!("libtorch: {error}")))?;
        let (mean, std) =
            model_info.normalization.for_channels(model_info.channels).map_err(EngineError::Unsuitable)?;
        let start = AuditStart {
            plan: job.plan.clone(),
            model: ModelSummary {
                name: model_info.name.clone(),
                sha256: model_info.sha256.clone(),
                format: model_info.format.clone(),
                architecture: model_info.architecture.clone(),
                classes,
                parameters: cost.parameters,
                macs: cost.macs,
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
                classes: if info.classes.is_empty() { model_info.class_names.clone() } else { info.classes.clone() },
                indices: indices.clone(),
                labels: images.labels.clone(),
            },
            taps: model.tap_paths(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        };
        let _ = sink.emit(AuditEvent::Started { schema_version: SCHEMA_VERSION, start: Box::new(start) });
        let mut audit = Self {
            job,
            model,
            labels: images.labels.iter().map(|&label| label as usize).collect(),
            images,
            indices,
            taps: model.tap_paths(),
            settings: CurveSettings { k: job.plan.k, similarity: job.plan.similarity, classes },
            sink,
            failures: 0,
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

    fn all(&mut self, adversarial: Option<&Path>) -> Result<(), Stop> {
        let everything: Vec<usize> = (0..self.labels.len()).collect();
        let predictions = self.clean(&everything)?;
        let correct: Vec<usize> =
            everything.into_iter().filter(|&sample| predictions[sample] as usize == self.labels[sample]).collect();
        if correct.is_empty() {
            self.warn("no clean image is classified correctly, so there is nothing to attack; check --normalize and the labels");
        }
        let mut broken = Broken::default();
        for (attack, resolved) in self.job.plan.attacks.iter().enumerate() {
            // Only inside a sweep do results outlive their attack.
            if resolved.sweep.is_none_or(|first| first == attack) {
                broken = Broken::default();
            }
            self.attack(attack, &correct, &mut broken, adversarial)?;
        }
        Ok(())
    }

    /// Says when the clean accuracy speaks for another normalization. Only what a flag decides is questioned.
    fn question_normalization(&mut self, everything: &[usize]) -> Result<(), Stop> {
        let given = self.job.load.normalization.is_some();
        let own = &self.model.info().normalization;
        if self.job.model.is_some() && (given || own.is_none()) {
            let source = ImagePixels { images: &self.images, places: everything, device: self.model.device() };
            let rival = best_rival(self.model, &source, &self.labels)?;
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
        let predictions = clean::predict(self.model, &source, self.job.plan.batch, &mut progress)?;
        self.emit(AuditEvent::CleanMeasured { predictions: predictions.clone() })?;
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

    fn attack(
        &mut self,
        attack: usize,
        correct: &[usize],
        broken: &mut Broken,
        adversarial: Option<&Path>,
    ) -> Result<(), Stop> {
        let stage = Stage::Attack { attack };
        self.emit(AuditEvent::StageStarted { stage, total: (correct.len() * 1000) as u64 })?;
        let plan = &self.job.plan;
        let job = AttackJob {
            model: self.model,
            config: &self.job.attacks[attack],
            source: ImagePixels { images: &self.images, places: correct, device: self.model.device() },
            smaller: Some(broken),
            options: Options { seed: plan.seed, eight_bit: plan.eight_bit },
            batch: plan.batch,
            threads: plan.threads,
        };
        let sink = std::cell::RefCell::new(&mut *self.sink);
        let mut progress = |done| sink.borrow_mut().emit(AuditEvent::StageProgress { stage, done });
        let mut on_batch = |samples| sink.borrow_mut().emit(AuditEvent::BatchAttacked { attack, samples });
        let attacked = match attack::run(&job, &mut progress, &mut on_batch) {
            Ok(attacked) => attacked,
            Err(StageError::Stopped(attacked)) => {
                self.save(attack, &attacked, adversarial)?;
                return Err(Stop::Asked);
            }
            Err(StageError::Failed(error)) => {
                self.failures += 1;
                return self.emit(AuditEvent::AttackFailed { attack, error });
            }
        };
        self.save(attack, &attacked, adversarial)?;
        self.emit(AuditEvent::AttackFinished { attack, seconds: attacked.seconds })?;
        self.attack_warnings(attack, &attacked);
        if self.job.plan.attacks.get(attack + 1).is_some_and(|next| next.sweep.is_some_and(|first| first <= attack)) {
            broken.add(attack, &attacked).map_err(TraceError::from)?;
        }
        self.attack_curves(attack, &attacked)
    }

    fn attack_warnings(&mut self, attack: usize, attacked: &Attacked) {
        let job = self.job;
        let (label, of) = (&job.plan.attacks[attack].label, attacked.samples.len());
        if attacked.zero_gradients > 0 {
            let n = attacked.zero_gradients;
            self.warn(&format!(
                "{label}: {n} of {of} samples had a gradient of exactly zero; the model is overconfident or masks gradients"
            ));
        }
        if let (n @ 1.., largest) = attacked.overshot {
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
    fn save(&self, attack: usize, attacked: &Attacked, folder: Option<&Path>) -> Result<(), Stop> {
        if let Some(folder) = folder {
            let path = folder.join(format!("{}.safetensors", self.job.plan.attacks[attack].label));
            let of_samples = |values: &[usize]| attacked.samples.iter().map(|&sample| values[sample]).collect();
            let columns = [
                ("samples", attacked.samples.clone()),
                ("indices", of_samples(&self.indices)),
                ("labels", of_samples(&self.labels)),
                ("predictions", attacked.predictions.clone()),
            ];
            save_pixels(&path, &attacked.pixels, &columns)?;
        }
        Ok(())
    }
}
