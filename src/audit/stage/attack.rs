//! Runs one attack over its samples, in batches on several workers.
//!
//! Small networks gain nothing from many threads on one batch and lose much when a thread is late. So on the processor each worker has a
//! batch and a thread of its own; on a GPU there is one worker. Results do not depend on either.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use advmod_attacks::attack::AttackError;
use advmod_attacks::config::AttackConfig;
use advmod_attacks::execute::{Options, Samples, execute};
use advmod_attacks::outcome::{Outcome, SampleOutcome};
use advmod_attacks::query::Progress;
use advmod_attacks::victim::{Victim as _, VictimError};
use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};
use tch::{Device, TchError, Tensor};

use super::pixels::ImagePixels;
use crate::audit::event::SampleResult;
use crate::model::Model;
use crate::model::upload::to_device;

/// What is done to which samples.
pub struct AttackJob<'a> {
    /// The model.
    pub model: &'a Model,
    /// The attack.
    pub config: &'a AttackConfig,
    /// The samples to attack.
    pub source: ImagePixels<'a>,
    /// Seed and judgement.
    pub options: Options,
    /// Most samples in work at once.
    pub batch: usize,
    /// Processor threads.
    pub threads: usize,
}

/// Adversarial pixels of the samples that were attacked.
#[derive(Debug)]
pub struct Attacked {
    /// Places of the samples in the list of samples.
    pub samples: Vec<usize>,
    /// f32 `[N, C, H, W]` on the processor, in the order of `samples`.
    pub pixels: Tensor,
    /// Class of each sample's adversarial pixels.
    pub predictions: Vec<usize>,
    /// Samples for which some gradient was exactly zero.
    pub zero_gradients: usize,
    /// Wall time of the attack alone, of the worker that took longest: without loading, judging and measuring.
    pub seconds: f64,
}

/// Why an attack ends early.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The caller said so. What was done before is in the batches already handed over.
    #[error("stopped")]
    Stopped(Attacked),
    /// The attack or the model.
    #[error("{0}")]
    Failed(String),
}

impl From<TchError> for StageError {
    fn from(error: TchError) -> Self {
        Self::Failed(format!("libtorch: {}", advmod_attacks::victim::first_line(&error)))
    }
}

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Attacks all samples. `on_batch` gets the batches' results in sample order; `progress(done)` counts thousandths of samples.
///
/// A `Break` from either stops after the batches in work. When the device runs out of memory a batch is halved. A panic in libtorch's
/// bindings ends the attack, not the program.
pub fn run(
    job: &AttackJob<'_>,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    on_batch: &mut dyn FnMut(Vec<SampleResult>) -> ControlFlow<()>,
) -> Result<Attacked, StageError> {
    let n = job.source.places.len();
    let workers = if job.model.device() == Device::Cpu { job.threads.clamp(1, n.max(1)) } else { 1 };
    let length = job.batch.min(n).div_ceil(workers).max(1);
    let shared = Shared {
        ranges: (0..n).step_by(length).map(|start| start..(start + length).min(n)).collect(),
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
    };
    let (sender, results) = unbounded();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            // Tensors may move to another thread but not be shared with it: each worker has its own handles on the same weights.
            let (model, sender, shared) = (job.model.share(), sender.clone(), &shared);
            let (config, source, options) = (job.config, &job.source, job.options);
            scope.spawn(move || {
                if model.device() == Device::Cpu {
                    tch::set_num_threads(1);
                }
                work(config, source, options, &model, shared, &sender);
            });
        }
        drop(sender);
        let mut done = Collected::default();
        let mut early: BTreeMap<usize, Vec<Outcome>> = BTreeMap::new();
        let mut failure = None;
        loop {
            match results.recv_timeout(TICK) {
                Ok((_, Err(error))) => {
                    shared.stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert(StageError::Failed(error.to_string()));
                }
                Ok((batch, Ok((outcomes, seconds)))) => {
                    done.seconds = done.seconds.max(seconds);
                    early.insert(batch, outcomes);
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // In sample order, whichever worker was first.
            while let Some(outcomes) = early.remove(&done.batches) {
                let range = shared.ranges[done.batches].clone();
                let batch = done.take(job.source.places, range, outcomes);
                // The other workers must not go on for a result that nobody will get.
                let batch = batch.inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))?;
                if on_batch(batch).is_break() {
                    shared.stop.store(true, Ordering::Relaxed);
                }
            }
            if progress(shared.done.load(Ordering::Relaxed)).is_break() {
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
        let complete = done.batches == shared.ranges.len();
        let attacked = done.finish(job)?;
        match failure {
            Some(failure) => Err(failure),
            None if complete => Ok(attacked),
            None => Err(StageError::Stopped(attacked)),
        }
    })
}

/// What the workers share.
struct Shared {
    ranges: Vec<Range<usize>>,
    next: AtomicUsize,
    stop: AtomicBool,
    /// Thousandths of samples.
    done: AtomicU64,
}

/// A batch's number, and its outcomes with the seconds that the worker has attacked so far.
type BatchResult = (usize, Result<(Vec<Outcome>, f64), AttackError>);

/// Takes batches until there are none left or somebody says stop.
fn work(
    config: &AttackConfig,
    source: &ImagePixels<'_>,
    options: Options,
    model: &Model,
    shared: &Shared,
    sender: &Sender<BatchResult>,
) {
    let mut seconds = 0.0;
    while !shared.stop.load(Ordering::Relaxed) {
        let batch = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(range) = shared.ranges.get(batch) else { break };
        let whole = 1000 * range.len() as u64;
        let mut told = 0;
        let mut step = |it: Progress| {
            let now = whole * u64::from(it.step) / u64::from(it.n_steps.max(1));
            shared.done.fetch_add(now.saturating_sub(told), Ordering::Relaxed);
            told = told.max(now);
            // A wish to stop is met after the batch, so that no work is lost.
            ControlFlow::Continue(())
        };
        let result = attack_range(config, source, options, model, range.clone(), &mut step);
        shared.done.fetch_add(whole - told, Ordering::Relaxed);
        let result = result.map(|outcomes| {
            seconds += outcomes.iter().map(|outcome| outcome.cost.attack_seconds).sum::<f64>();
            (outcomes, seconds)
        });
        if sender.send((batch, result)).is_err() {
            break;
        }
    }
}

fn attack_range(
    config: &AttackConfig,
    source: &ImagePixels<'_>,
    options: Options,
    model: &Model,
    range: Range<usize>,
    step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Vec<Outcome>, AttackError> {
    let run = || {
        let (pixels, labels) = source.batch(range.clone()).map_err(VictimError::from)?;
        let ids: Vec<u32> = source.places[range.clone()].iter().map(|&place| place as u32).collect();
        let samples = Samples { pixels: &pixels, labels: &labels, ids: &ids };
        execute(model, config, &samples, options, step)
    };
    // Arithmetic on tensors panics where libtorch refuses it.
    let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(VictimError::from_message(message.unwrap_or_else(|| "unknown panic".to_owned())).into())
    });
    match outcome {
        Err(AttackError::Victim(VictimError::OutOfMemory { .. })) if range.len() > 1 => {
            let middle = range.start + range.len() / 2;
            let mut outcomes = attack_range(config, source, options, model, range.start..middle, step)?;
            outcomes.extend(attack_range(config, source, options, model, middle..range.end, step)?);
            Ok(outcomes)
        }
        outcome => Ok(vec![outcome?]),
    }
}

/// Batches so far, in sample order.
#[derive(Default)]
struct Collected {
    batches: usize,
    samples: Vec<usize>,
    pixels: Vec<Tensor>,
    predictions: Vec<usize>,
    zero_gradients: usize,
    seconds: f64,
}

impl Collected {
    fn take(
        &mut self,
        places: &[usize],
        range: Range<usize>,
        outcomes: Vec<Outcome>,
    ) -> Result<Vec<SampleResult>, TchError> {
        self.batches += 1;
        let mut results = Vec::with_capacity(range.len());
        let mut places = places[range].iter();
        for outcome in outcomes {
            let attacked: Vec<i64> =
                (0_i64..).zip(&outcome.samples).filter(|(_, sample)| sample.attacked).map(|(row, _)| row).collect();
            let rows = to_device(&Tensor::f_from_slice(&attacked)?, outcome.adversarial.device())?;
            self.pixels.push(to_device(&outcome.adversarial.f_index_select(0, &rows)?, Device::Cpu)?);
            for (sample, &place) in outcome.samples.iter().zip(places.by_ref()).filter(|(sample, _)| sample.attacked) {
                self.samples.push(place);
                self.predictions.push(sample.adversarial.prediction as usize);
                self.zero_gradients += usize::from(sample.zero_gradients > 0);
                results.push(result(place, sample));
            }
        }
        Ok(results)
    }

    fn finish(self, job: &AttackJob<'_>) -> Result<Attacked, TchError> {
        let [_, channels, height, width] = job.source.images.shape.map(|size| size as i64);
        let pixels = match self.pixels.is_empty() {
            true => Tensor::f_zeros([0, channels, height, width], (tch::Kind::Float, Device::Cpu))?,
            false => Tensor::f_cat(&self.pixels, 0)?,
        };
        let Self { samples, predictions, zero_gradients, seconds, .. } = self;
        Ok(Attacked { samples, pixels, predictions, zero_gradients, seconds })
    }
}

fn result(place: usize, sample: &SampleOutcome) -> SampleResult {
    SampleResult {
        sample: place,
        success: sample.success,
        prediction: sample.adversarial.prediction as u32,
        target: sample.target.map(|target| target as u32),
        l0: sample.l0 as u32,
        l2: sample.l2,
        linf: sample.linf,
        forwards: sample.forwards,
        backwards: sample.backwards,
    }
}
