//! The one loop: loads, measures, attacks, and tells what happens as events.

mod attacks;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use advmod_attacks::victim::Victim;
use crossbeam_channel::unbounded;

use super::control::{Control, Next};
use super::event::{
    AuditEvent, AuditStart, CleanCurves, EventSink, LostSamples, Outcome, Pictures, SCHEMA_VERSION, Stage,
};
use super::gate::check_classes;
use super::plan::{AttackPlan, Job};
use super::preview::check_target;
use super::resume;
use super::stage::carry::Broken;
use super::stage::kept::Kept;
use super::stage::panic_line;
use super::start::describe;
use super::state::AuditState;
use crate::data::{self, DataError, Dataset, Images};
use crate::measure::clean;
use crate::measure::normalization::Trial;
use crate::measure::pixels::{ImagePixels, KeptPixels, PixelSource};
use crate::measure::taps::{self, CurveSettings, TapNeighbors, TraceError, tap_neighbors};
use crate::model::device::device_name;
use crate::model::format::FormatError;
use crate::model::load::{ModelError, load};
use crate::model::{Model, save_images};
use crate::modularity::{Curve, Groups, class_note, curve_notes};
use crate::store::CLEAN_FILE;

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

/// Checks that an earlier run can go on, says so, and hands over what of it stands.
fn go_on(
    mut earlier: AuditState,
    now: &AuditStart,
    folder: Option<&Path>,
    sink: &mut dyn EventSink,
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
    let resumed = AuditEvent::Resumed { lost: lost.collect() };
    earlier.apply(&resumed);
    let _ = sink.emit(resumed);
    Ok(earlier)
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
    /// What an earlier run of the plan has done and this one need not do.
    earlier: AuditState,
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
        mut job: Job,
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
        let what = (model, &findings, &cost);
        let start = describe(&job, what, (info, class_names), (&images, &indices)).map_err(EngineError::Unsuitable)?;
        let earlier = if let Some(earlier) = job.earlier.take() {
            go_on(*earlier, &start, folder, sink)?
        } else {
            let _ = sink.emit(AuditEvent::Started { schema_version: SCHEMA_VERSION, start: Box::new(start) });
            AuditState::default()
        };
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
            earlier,
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
            let places: Vec<usize> = trial.places(everything.len()).into_iter().map(|at| everything[at]).collect();
            let labels: Vec<usize> = places.iter().map(|&place| self.labels[place]).collect();
            let source = ImagePixels { images: &self.images, places: &places, device: self.model.device() };
            let sink = &mut *self.sink;
            let mut progress = |done| sink.emit(AuditEvent::StageProgress { stage, done });
            let rival = trial.run(&source, &labels, &mut progress)?;
            if let Some(advice) = rival.and_then(|rival| rival.advice(own, given)) {
                self.warn(&advice);
            }
        }
        Ok(())
    }

    /// Predictions and curves of all clean images.
    fn clean(&mut self, everything: &[usize]) -> Result<Vec<u32>, Stop> {
        let predictions = match self.earlier.predictions.take() {
            Some(predictions) => predictions,
            None => self.classify(everything)?,
        };
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
            let shape = self.shape();
            let pictures = Pictures { attack: None, samples: everything.to_vec(), shape, pixels };
            self.emit(AuditEvent::Pictures(Arc::new(pictures)))?;
        }
        let curve = if let Some(curves) = self.earlier.clean_curves.take() {
            curves.true_labels
        } else {
            self.question_normalization(everything)?;
            self.clean_curves(everything, &predictions)?
        };
        let class_note = class_note(&self.labels, self.settings.classes, self.settings.k);
        curve_notes(&curve).iter().chain(&class_note).for_each(|note| self.warn(note));
        Ok(predictions)
    }

    fn classify(&mut self, everything: &[usize]) -> Result<Vec<u32>, Stop> {
        let stage = Stage::Clean;
        self.emit(AuditEvent::StageStarted { stage, total: everything.len() as u64 })?;
        let source = ImagePixels { images: &self.images, places: everything, device: self.model.device() };
        let sink = &mut *self.sink;
        let mut progress = |done| sink.emit(AuditEvent::StageProgress { stage, done });
        let (predictions, likeliest) = clean::predict(self.model, &source, self.job.plan.batch, &mut progress)?;
        self.emit(AuditEvent::CleanMeasured { predictions: predictions.clone(), likeliest })?;
        Ok(predictions)
    }

    /// Measures both clean curves; the one under the true labels comes back.
    fn clean_curves(&mut self, everything: &[usize], predictions: &[u32]) -> Result<Curve, Stop> {
        let stage = Stage::CleanCurve;
        self.emit(AuditEvent::StageStarted { stage, total: (everything.len() * self.taps.len()) as u64 })?;
        let found = self.neighbors(everything, None, stage, 0)?;
        let groups = Groups::new(everything.len(), self.job.plan.seed);
        let predicted: Vec<usize> = predictions.iter().map(|&class| class as usize).collect();
        let curve = |labels| taps::curve_with_intervals(&self.taps, &found, &self.settings, labels, &groups).0;
        let curves = CleanCurves { true_labels: curve(&self.labels), predicted_labels: curve(&predicted) };
        let curve = curves.true_labels.clone();
        self.emit(AuditEvent::CleanCurvesMeasured { curves })?;
        Ok(curve)
    }

    /// `[C, H, W]` of each image.
    fn shape(&self) -> [usize; 3] {
        let [_, channels, height, width] = self.images.shape;
        [channels, height, width]
    }

    /// Neighbours of samples, from their clean pixels or from these; `before` steps of the stage are done already.
    fn neighbors(
        &mut self,
        samples: &[usize],
        pixels: Option<&tch::Tensor>,
        stage: Stage,
        before: u64,
    ) -> Result<TapNeighbors, Stop> {
        let device = self.model.device();
        let clean = ImagePixels { images: &self.images, places: samples, device };
        let kept = pixels.map(|pixels| KeptPixels { pixels, device });
        let source: &dyn PixelSource = kept.as_ref().map_or(&clean, |kept| kept);
        let sink = &mut *self.sink;
        let mut progress = |done| sink.emit(AuditEvent::StageProgress { stage, done: before + done });
        Ok(tap_neighbors(self.model, source, &self.settings, &mut progress)?)
    }
}
