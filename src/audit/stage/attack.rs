//! Runs one attack over its samples, batch by batch.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use advmod_attacks::attack::AttackError;
use advmod_attacks::config::AttackConfig;
use advmod_attacks::execute::{Options, Samples, execute};
use advmod_attacks::outcome::{Outcome, SampleOutcome};
use advmod_attacks::query::Progress;
use advmod_attacks::victim::{Victim, VictimError};
use tch::{Device, TchError, Tensor};

use super::pixels::ImagePixels;
use crate::audit::event::SampleResult;

/// What is done to which samples.
pub struct AttackJob<'a> {
    /// The model.
    pub victim: &'a dyn Victim,
    /// The attack.
    pub config: &'a AttackConfig,
    /// The samples to attack.
    pub source: ImagePixels<'a>,
    /// Seed and judgement.
    pub options: Options,
    /// Most samples per batch.
    pub batch: usize,
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

/// Attacks all samples. `on_batch` gets each batch's results; `progress(done)` counts thousandths of samples.
///
/// When the device runs out of memory the batch is halved; results do not depend on it. A panic in libtorch's bindings ends the attack,
/// not the program.
pub fn run(
    job: &AttackJob<'_>,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    on_batch: &mut dyn FnMut(Vec<SampleResult>) -> ControlFlow<()>,
) -> Result<Attacked, StageError> {
    let mut done = Collected::default();
    let mut batch = job.batch;
    let n = job.source.places.len();
    let mut start = 0;
    while start < n {
        let length = batch.min(n - start);
        let mut step = |it: Progress| {
            let share = f64::from(it.step) / f64::from(it.n_steps.max(1));
            progress((start * 1000) as u64 + (share * 1000.0 * length as f64) as u64)
        };
        match attack_batch(job, start, length, &mut step) {
            Ok(outcome) => {
                let results = done.take(job.source.places, start, outcome).map_err(|error| failed(&error))?;
                start += length;
                let flow = progress((start * 1000) as u64);
                if on_batch(results).is_break() || flow.is_break() {
                    return Err(StageError::Stopped(done.finish(job).map_err(|error| failed(&error))?));
                }
            }
            Err(AttackError::Cancelled) => {
                return Err(StageError::Stopped(done.finish(job).map_err(|error| failed(&error))?));
            }
            Err(AttackError::Victim(VictimError::OutOfMemory { .. })) if length > 1 => batch = length / 2,
            Err(error) => return Err(StageError::Failed(error.to_string())),
        }
    }
    done.finish(job).map_err(|error| failed(&error))
}

fn failed(error: &TchError) -> StageError {
    StageError::Failed(format!("libtorch: {}", crate::model::first_line(error)))
}

fn attack_batch(
    job: &AttackJob<'_>,
    start: usize,
    length: usize,
    step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Outcome, AttackError> {
    let run = || {
        let (pixels, labels) = job.source.batch(start..start + length).map_err(VictimError::from)?;
        let ids: Vec<u32> = job.source.places[start..start + length].iter().map(|&place| place as u32).collect();
        let samples = Samples { pixels: &pixels, labels: &labels, ids: &ids };
        execute(job.victim, job.config, &samples, job.options, step)
    };
    // Arithmetic on tensors panics where libtorch refuses it.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(VictimError::from_message(message.unwrap_or_else(|| "unknown panic".to_owned())).into())
    })
}

/// Batches so far.
#[derive(Default)]
struct Collected {
    samples: Vec<usize>,
    pixels: Vec<Tensor>,
    predictions: Vec<usize>,
    zero_gradients: usize,
}

impl Collected {
    fn take(&mut self, places: &[usize], start: usize, outcome: Outcome) -> Result<Vec<SampleResult>, TchError> {
        let attacked: Vec<usize> = (0..outcome.samples.len()).filter(|&row| outcome.samples[row].attacked).collect();
        let rows: Vec<i64> = attacked.iter().map(|&row| row as i64).collect();
        let rows = crate::model::upload::to_device(&Tensor::f_from_slice(&rows)?, outcome.adversarial.device())?;
        let pixels = outcome.adversarial.f_index_select(0, &rows)?;
        self.pixels.push(crate::model::upload::to_device(&pixels, Device::Cpu)?);
        let mut results = Vec::with_capacity(attacked.len());
        for row in attacked {
            let (place, sample) = (places[start + row], &outcome.samples[row]);
            self.samples.push(place);
            self.predictions.push(sample.adversarial.prediction as usize);
            self.zero_gradients += usize::from(sample.zero_gradients > 0);
            results.push(result(place, sample));
        }
        Ok(results)
    }

    fn finish(self, job: &AttackJob<'_>) -> Result<Attacked, TchError> {
        let pixels = match self.pixels.is_empty() {
            true => {
                let [_, channels, height, width] = job.source.images.shape.map(|size| size as i64);
                Tensor::f_zeros([0, channels, height, width], (tch::Kind::Float, Device::Cpu))?
            }
            false => Tensor::f_cat(&self.pixels, 0)?,
        };
        Ok(Attacked {
            samples: self.samples,
            pixels,
            predictions: self.predictions,
            zero_gradients: self.zero_gradients,
        })
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
