//! The one loop: loads, measures, attacks, and tells what happens as events.

mod attacks;
mod chosen;
mod clean;
mod controls;
mod prepare;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use advmod_attacks::victim::Victim;
use crossbeam_channel::unbounded;

use super::baseline::Baseline;
use super::control::{Control, Next, Waiting};
use super::event::{AuditEvent, ControlResult, Outcome, SampleResult, Sink, Stage};
use super::job::Job;
use super::plan::AttackPlan;
use super::plan_file::Again;
use super::preview::check_target;
use super::stage::carry::Broken;
use super::stage::panic_line;
use super::state::AuditState;
use crate::data::{self, DataError, Images};
use crate::measure::pixels::{ImagePixels, KeptPixels, PixelSource};
use crate::measure::taps::{CurveSettings, TapNeighbors, TraceError, tap_neighbors};
use crate::model::Model;
use crate::model::format::FormatError;
use crate::model::load::{ModelError, load};
use crate::store::RunFolder;
use chosen::Chosen;

const OUT_OF_MEMORY: &str = "out of memory; give fewer images (--samples), a smaller --batch, or fewer --threads";

/// Why an audit cannot go on. A failed attack is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Write(#[from] FormatError),
    /// Model, data and device do not go together.
    #[error("{0}")]
    Unsuitable(String),
    /// A gate names a class that the data does not have.
    #[error("{0}")]
    Gate(String),
}

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

/// Runs a job on a worker thread and hands its events to `take` on this one. `Break`, or the control, stops it soon. Events before an error are valid.
pub fn run_on_worker(job: Run, control: &Control, take: &mut Sink<'_>) -> Result<(), EngineError> {
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
            run(job, control, &mut sink)
        });
        for event in events {
            if take(event).is_break() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        worker.join().unwrap_or_else(|panic| {
            let line = panic_line(panic.as_ref());
            let lower = line.to_lowercase();
            // As libtorch says it, on the processor and on a GPU.
            Err(EngineError::Unsuitable(
                match ["allocate memory", "out of memory"].iter().any(|it| lower.contains(it)) {
                    true => OUT_OF_MEMORY.to_owned(),
                    false => format!("the audit broke off: {line}; please report this"),
                },
            ))
        })
    })
}

/// Runs a job to its end or until the sink says `Break`. Under an open control it then waits for more attacks.
fn run(run: Run, control: &Control, sink: &mut Sink<'_>) -> Result<(), EngineError> {
    let begun = Instant::now();
    let device = run.job.device.resolve().map_err(EngineError::Unsuitable)?;
    // The data first, and no image of them yet: those of a stored run are compared with what it says before a file of it is loaded.
    let dataset = data::open(run.job.data.as_deref(), &run.job.open)?;
    let chosen = Chosen::new(&run.job, dataset.as_ref())?;
    let mut model = load(run.job.model.as_deref(), &run.job.load, device)?;
    let mut audit = Audit::prepare(run, &mut model, chosen, control, sink)?;
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
    /// What an earlier run of the plan has done and this one need not do.
    earlier: AuditState,
    /// What each attack did, by its place in the plan.
    results: BTreeMap<usize, Vec<SampleResult>>,
    /// Controls that were made, also before an interruption.
    controlled: Vec<ControlResult>,
    /// What each sweep's smaller sizes have broken, by the sweep's first attack.
    broken: BTreeMap<usize, Broken>,
    /// Where pixels are written.
    folder: Option<RunFolder>,
    pictures: bool,
    control: &'a Control,
    sink: &'a mut Sink<'a>,
    failures: usize,
    cancelled: bool,
}

impl Audit<'_> {
    fn warn(&mut self, message: &str) {
        let _ = (self.sink)(AuditEvent::Warned { message: message.to_owned() });
    }

    fn emit(&mut self, event: AuditEvent) -> Result<(), Stop> {
        if (self.sink)(event).is_break() { Err(Stop::Asked) } else { Ok(()) }
    }

    fn finish(&mut self, outcome: Outcome, error: Option<String>, worked: Duration) {
        let _ = (self.sink)(AuditEvent::Finished { outcome, seconds: worked.as_secs_f64(), error });
    }

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
                Next::Nothing => return self.controls(),
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
                self.controlled.clear();
                let attacks = self.job.plan.attacks[first..].to_vec();
                self.control.enqueue((first..).zip(&attacks).map(|(attack, it)| Waiting { attack, sweep: it.sweep }));
                let Again { command, plan_file } = Again::of(&self.job);
                self.emit(AuditEvent::AttacksAdded { attacks, command, plan_file })
            }
            Err(error) => self.emit(AuditEvent::AttackRefused { error }),
        }
    }

    fn cancel(&mut self, attack: usize) -> Result<(), Stop> {
        self.cancelled = true;
        self.emit(AuditEvent::AttackCancelled { attack })
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
        self.model.seed(self.job.plan.seed, 0);
        let device = self.model.device();
        let clean = ImagePixels { images: &self.images, places: samples, device };
        let kept = pixels.map(|pixels| KeptPixels { pixels, device });
        let source: &dyn PixelSource = kept.as_ref().map_or(&clean, |kept| kept);
        let sink = &mut *self.sink;
        let mut progress = |done| sink(AuditEvent::StageProgress { stage, done: before + done });
        Ok(tap_neighbors(self.model, source, &self.settings, &mut progress)?)
    }
}
