//! Trains a built-in architecture with SGD.

mod adversarial;
mod batch;
mod plan;
mod ready;
mod sgd;
mod state;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, TchError, Tensor};

pub use adversarial::Adversarial;
pub use plan::TrainPlan;
pub(crate) use plan::{CROP_PADDING, FINE_TUNING, MOMENTUM, PAPER, STANDARD, default_milestones};
pub(crate) use ready::ready;
pub use state::Interrupted;
pub(crate) use state::Standing;

use crate::atomic_file;
use crate::data::{DataError, Dataset, DatasetInfo, Images};
use crate::model::format::{FormatError, write_safetensors};
use crate::model::interpreter::Interpreter;
use crate::model::metadata::ModelMetadata;
use crate::model::op::Mode;
use crate::model::program::{Program, Weight};
use crate::model::upload::{to_device, upload};
use crate::model::weights::FreshWeights;
use crate::model::zoo::Architecture;
pub(crate) use adversarial::ROBUST_IMAGES;
use adversarial::{Adversary, Learned};
use advmod_attacks::error::AttackError;
use advmod_attacks::victim::first_line;
use batch::{Normalizer, augmented, batches};
use sgd::Sgd;

#[derive(Clone, Debug, PartialEq)]
pub enum TrainEvent {
    Step {
        epoch: usize,
        step: usize,
        steps: usize,
        /// Mean cross-entropy over the epoch so far.
        loss: f64,
        /// Share of training images classified correctly over the epoch so far (augmented, in training mode).
        accuracy: f64,
    },
    Epoch {
        epoch: usize,
        learning_rate: f64,
        loss: f64,
        /// On the training images, as above.
        train_accuracy: f64,
        test: Accuracy,
    },
}

/// On the test images, in evaluation mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// Share classified correctly.
    pub clean: f64,
    /// Of an adversarial training: share of [`ROBUST_IMAGES`] that the training's own attack leaves correctly classified.
    pub robust: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{0}")]
    Unsuitable(String),
    /// Training diverged: what is not finite, and where.
    #[error("{what}; lower --lr ({learning_rate})")]
    Diverged { what: String, learning_rate: f64 },
    #[error("training was stopped; the checkpoints written so far are complete")]
    Stopped,
    #[error("the attack of --adversarial: {0}")]
    Attack(#[from] AttackError),
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
}

/// Is told what happens during a training; `Break` stops it.
pub type Report<'a> = dyn FnMut(TrainEvent) -> ControlFlow<()> + 'a;

/// The images of a training, and those that it is judged on.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    pub train: &'a dyn Dataset,
    pub test: &'a dyn Dataset,
}

impl<'a> Parts<'a> {
    /// All images of both, into memory.
    pub fn read(self) -> Result<[Images; 2], DataError> {
        let all = |data: &dyn Dataset| data.read(&(0..data.info().n).collect::<Vec<_>>());
        Ok([all(self.train)?, all(self.test)?])
    }

    /// What [`read`](Self::read) gave, with what it is part of.
    pub(crate) fn data(self, [train, test]: &'a [Images; 2], hashes: &'a [String; 2]) -> TrainData<'a> {
        TrainData { train, test, info: self.test.info(), hashes }
    }

    /// sha256 of the training and of the test images.
    pub(crate) fn hashes(self) -> Result<[String; 2], DataError> {
        let of = |data: &dyn Dataset| data.sha256(&(0..data.info().n).collect::<Vec<_>>());
        Ok([of(self.train)?, of(self.test)?])
    }
}

/// Trains on one part, measures on the other after each epoch, and writes the last epoch's weights to the plan's output.
///
/// The last epoch is kept, not the best one on the test images: choosing by the test images would flatter the number.
/// A training that goes on where an `interrupted` one was ends, with the same number of threads, in the same weights as without the interruption.
/// Returns the accuracy of what was written.
pub fn train(
    architecture: &dyn Architecture,
    parts: Parts<'_>,
    plan: &TrainPlan,
    device: Device,
    interrupted: Option<&Interrupted>,
    report: &mut Report<'_>,
) -> Result<Accuracy, TrainError> {
    // Before hours of training, not after them.
    ready(architecture, parts, plan, interrupted)?;
    let output = plan.output.as_path();
    atomic_file::check(output).map_err(|source| FormatError::Write { path: output.to_owned(), source })?;
    let hashes = parts.hashes()?;
    let images = parts.read()?;
    let data = parts.data(&images, &hashes);
    let program = fresh(architecture, plan.seed)?;
    let trained = fit(&architecture.name(), program, data, plan, device, interrupted, report)?;
    let accuracy = trained.accuracy(data.test)?;
    let robust = accuracy.robust.map_or(String::new(), |it| format!(", under this attack {it:.4}"));
    trained.save(output, &format!("{}; test accuracy {:.4}{robust}", plan.recipe(), accuracy.clean))?;
    Ok(accuracy)
}

pub(crate) fn fresh(architecture: &dyn Architecture, seed: u64) -> Result<Program, TrainError> {
    architecture
        .build(&mut FreshWeights::new(seed))
        .map_err(|error| TrainError::Unsuitable(format!("cannot initialize {}: {error}", architecture.name())))
}

/// Images in memory, and what the test images are part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainData<'a> {
    pub train: &'a Images,
    pub test: &'a Images,
    /// Of the test images.
    pub info: &'a DatasetInfo,
    /// sha256 of the data that the training and the test images are part of.
    pub hashes: &'a [String; 2],
}

/// Trains a program from the weights that it has, or on from an `interrupted` training, and measures on the test images after each epoch.
/// `name`: of its architecture.
pub(crate) fn fit<'a>(
    name: &str,
    mut program: Program,
    data: TrainData<'a>,
    plan: &'a TrainPlan,
    device: Device,
    interrupted: Option<&Interrupted>,
    report: &mut Report<'_>,
) -> Result<Trained<'a>, TrainError> {
    for weight in &mut program.weights {
        let there = to_device(&weight.tensor.detach(), device)?.f_detach_copy()?;
        weight.tensor = there.f_set_requires_grad(weight.trainable)?;
    }
    let trained = Trained {
        normalization: Normalizer::new(plan, program.channels, device)?,
        network: Interpreter::new(program),
        device,
        name: name.to_owned(),
        plan,
        info: data.info,
        adversary: plan.adversarial.as_ref().map(Adversary::new).transpose().map_err(TrainError::Unsuitable)?,
    };
    let network = &trained.network;
    let mut sgd = Sgd::new(named(network).filter(|it| it.1.requires_grad()), plan.momentum, plan.weight_decay)?;
    let mut done = 0;
    if let Some(interrupted) = interrupted {
        interrupted.restore(state::entries(named(network), sgd.buffers()))?;
        done = interrupted.standing.epoch;
    }
    for epoch in done + 1..=plan.epochs {
        let seen = trained.epoch(epoch, epoch == done + 1, data.train, &mut sgd, report)?;
        let test = trained.accuracy(data.test)?;
        if let Some(folder) = &plan.checkpoints {
            let path = checkpoint_file(folder, epoch);
            trained.save(&path, &format!("epoch {epoch} of {}", plan.epochs))?;
            let standing = Standing::new(name, plan, epoch, test.clean, data.hashes);
            state::write(folder, &standing, state::entries(named(network), sgd.buffers()))?;
        }
        let done = TrainEvent::Epoch {
            epoch,
            learning_rate: plan.rate_of(epoch),
            loss: seen.loss(),
            train_accuracy: seen.accuracy(),
            test,
        };
        if report(done).is_break() && epoch < plan.epochs {
            return Err(TrainError::Stopped);
        }
    }
    Ok(trained)
}

#[derive(Default)]
struct Seen {
    loss_sum: f64,
    correct: i64,
    images: usize,
}

impl Seen {
    fn loss(&self) -> f64 {
        self.loss_sum / self.images as f64
    }

    fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }
}

/// Weights, and what batch normalization has averaged.
fn check_finite(program: &Program, epoch: usize, learning_rate: f64) -> Result<(), TrainError> {
    // Weights first: what diverges reaches the averages too.
    let (trained, averaged): (Vec<_>, Vec<_>) = program.weights.iter().partition(|weight| weight.trainable);
    for weight in trained.into_iter().chain(averaged) {
        if bool::try_from(weight.tensor.isfinite().all())? {
            continue;
        }
        let what = format!("{} is not finite in epoch {epoch}", weight.name);
        return Err(match weight.trainable {
            true => TrainError::Diverged { what, learning_rate },
            false => TrainError::Unsuitable(format!(
                "{what}: batch normalization needs more than one value per channel; raise --batch, or give larger images"
            )),
        });
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Trained<'a> {
    network: Interpreter,
    normalization: Normalizer,
    device: Device,
    name: String,
    plan: &'a TrainPlan,
    info: &'a DatasetInfo,
    adversary: Option<Adversary<'a>>,
}

/// Streams of the seed for dropout; those for order and augmentation are the epochs'.
const DROPOUT: u64 = 1 << 63;
/// Streams of the seed for the attacks on what is learned from.
const ADVERSARY: u64 = 1 << 62;

fn named(network: &Interpreter) -> impl Iterator<Item = (&str, &Tensor)> {
    network.program().weights.iter().map(|weight: &Weight| (weight.name.as_str(), &weight.tensor))
}

/// Where the checkpoint of an epoch is.
pub fn checkpoint_file(folder: &Path, epoch: usize) -> PathBuf {
    folder.join(format!("epoch-{epoch:03}.safetensors"))
}

impl Trained<'_> {
    /// Goes once through the images. Of the first epoch the first step's weights are checked too.
    fn epoch(
        &self,
        epoch: usize,
        is_first: bool,
        images: &Images,
        sgd: &mut Sgd,
        report: &mut Report<'_>,
    ) -> Result<Seen, TrainError> {
        let Self { network, device, plan, .. } = self;
        let learning_rate = plan.rate_of(epoch);
        let stream = |number| {
            let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
            random.set_stream(number);
            random
        };
        let (mut random, mut dropped) = (stream(epoch as u64), stream(DROPOUT | epoch as u64));
        let attack_seed = stream(ADVERSARY | epoch as u64).random();
        let mut order: Vec<usize> = (0..images.labels.len()).collect();
        order.shuffle(&mut random);
        let steps = batches(&order, plan.batch).count();
        let mut seen = Seen::default();
        for (step, indices) in (1..).zip(batches(&order, plan.batch)) {
            let batch = augmented(images, indices, plan, &mut random);
            let (pixels, labels) = upload(&batch, *device)?;
            let (logits, loss) = match &self.adversary {
                None => {
                    let logits = self.learning(&pixels, &mut dropped)?;
                    let loss = cross_entropy(&logits, &labels)?;
                    (logits, loss)
                }
                Some(adversary) => {
                    let batch = Learned { pixels: &pixels, labels: &labels, indices, seed: attack_seed };
                    adversary.learn(self, &batch, &mut dropped)?
                }
            };
            sgd.step(&loss, learning_rate)?;
            seen.loss_sum += f64::try_from(&loss)? * indices.len() as f64;
            seen.correct += count_correct(&logits, &labels)?;
            seen.images += indices.len();
            let (loss, accuracy) = (seen.loss(), seen.accuracy());
            if !loss.is_finite() {
                let what = format!("the loss is not finite in epoch {epoch}, step {step}");
                return Err(TrainError::Diverged { what, learning_rate });
            }
            if is_first && step == 1 {
                // Not only after hours.
                check_finite(network.program(), epoch, learning_rate)?;
            }
            if report(TrainEvent::Step { epoch, step, steps, loss, accuracy }).is_break() {
                return Err(TrainError::Stopped);
            }
        }
        check_finite(network.program(), epoch, learning_rate)?;
        Ok(seen)
    }

    /// Logits of images to learn from.
    fn learning(&self, pixels: &Tensor, dropped: &mut ChaCha8Rng) -> Result<Tensor, TchError> {
        let mode = Mode::Train { momentum: 0.1, seed: dropped.random(), bf16: self.plan.bf16 };
        self.network.run(&self.normalization.apply(pixels)?, mode)
    }

    fn accuracy(&self, test: &Images) -> Result<Accuracy, TrainError> {
        let clean = share(&self.correct(test)?);
        let robust = self.adversary.as_ref().map(|it| it.robust(self, test)).transpose()?;
        Ok(Accuracy { clean, robust })
    }

    /// Which images it classifies correctly, in evaluation mode.
    pub(crate) fn correct(&self, images: &Images) -> Result<Vec<bool>, TrainError> {
        let _guard = tch::no_grad_guard();
        let n = images.labels.len();
        let mut correct = Vec::with_capacity(n);
        for start in (0..n).step_by(500) {
            let places: Vec<usize> = (start..(start + 500).min(n)).collect();
            let (pixels, labels) = upload(&images.subset(&places), self.device)?;
            let logits = self.network.run(&self.normalization.apply(&pixels)?, Mode::Evaluate)?;
            let found = logits.f_argmax(1, false)?.f_eq_tensor(&labels)?.f_to_kind(Kind::Uint8)?;
            correct.extend(Vec::<u8>::try_from(found)?.into_iter().map(|it| it == 1));
        }
        Ok(correct)
    }

    /// Writes it so that it loads without flags; `training` says to readers how it came about.
    pub(crate) fn save(&self, path: &Path, training: &str) -> Result<(), TrainError> {
        let mut tensors = Vec::new();
        for weight in &self.network.program().weights {
            tensors.push((weight.name.clone(), state::raw(&weight.tensor)?));
        }
        let metadata = ModelMetadata {
            architecture: self.name.clone(),
            // Names of other classes than the network's would be worse than none.
            classes: Some(&self.info.classes)
                .filter(|names| names.len() as i64 == self.network.program().classes)
                .cloned()
                .unwrap_or_default(),
            normalization: self.plan.normalization.clone(),
            input_size: [self.info.height as i64, self.info.width as i64],
            training: format!("{} on {}: {training}", self.name, self.info.name),
        };
        write_safetensors(path, &tensors, &metadata.to_header())?;
        Ok(())
    }
}

fn share(correct: &[bool]) -> f64 {
    correct.iter().filter(|correct| **correct).count() as f64 / correct.len().max(1) as f64
}

fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    logits.f_cross_entropy_loss::<Tensor>(labels, None, tch::Reduction::Mean, -100, 0.0)
}

fn count_correct(logits: &Tensor, labels: &Tensor) -> Result<i64, TchError> {
    i64::try_from(logits.f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?)
}
