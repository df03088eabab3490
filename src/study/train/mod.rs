//! Trains a built-in architecture with SGD.

mod batch;
mod ready;
mod sgd;
mod state;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

pub use ready::ready;
pub use state::{Interrupted, Standing};

use crate::atomic_file;
use crate::data::{DataError, Dataset, DatasetInfo, Images};
use crate::model::format::{FormatError, write_safetensors};
use crate::model::interpreter::Interpreter;
use crate::model::metadata::ModelMetadata;
use crate::model::normalize::Normalization;
use crate::model::op::Mode;
use crate::model::program::{Program, Weight};
use crate::model::upload::{to_device, upload};
use crate::model::weights::FreshWeights;
use crate::model::zoo::Architecture;
use advmod_attacks::victim::first_line;
use batch::{Normalizer, augmented, batches};
use sgd::Sgd;

/// The recipe, and where its results go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// Where the images were opened.
    pub data: PathBuf,
    /// For the last epoch's weights.
    pub output: PathBuf,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step; a last, smaller batch is used too, and a last image alone joins the batch before.
    pub batch: usize,
    /// Of the first epoch.
    pub learning_rate: f64,
    /// Epochs (counted from 1) before which the learning rate is divided by ten.
    pub milestones: Vec<usize>,
    /// SGD momentum.
    pub momentum: f64,
    /// L2 penalty, on every parameter.
    pub weight_decay: f64,
    /// Zero pixels added on each side before a random crop; 0 turns cropping off.
    pub crop_padding: usize,
    /// Mirror every second image left to right.
    pub flip: bool,
    /// Of initialization, order and augmentation.
    pub seed: u64,
    /// Applied inside the network.
    pub normalization: Normalization,
    /// Whether convolutions and matrix products round their inputs to bf16; weights and all else stay f32.
    pub bf16: bool,
    /// A folder for one file per epoch, and the state from which an interrupted training goes on.
    pub checkpoints: Option<PathBuf>,
    /// Whether the curve of each checkpoint is measured beside the training.
    pub measure: bool,
}

impl TrainPlan {
    /// Numbers that their types cannot hold back, and paths that the state of the training cannot hold.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub fn check(&self) -> Result<(), String> {
        if let Some(folder) = &self.checkpoints {
            for (flag, path) in [("data", &self.data), ("out", &self.output), ("checkpoints", folder)] {
                if path.to_str().is_none() {
                    let why =
                        "is no UTF-8, which a training that can go on needs; rename it, or leave out --checkpoints";
                    return Err(format!("--{flag} {}: {why}", path.display()));
                }
            }
        }
        let refuse = |flag: &str, value: f64, wanted: &str| Err(format!("--{flag} {value}: must be {wanted}"));
        match self {
            it if !(it.learning_rate.is_finite() && it.learning_rate > 0.0) => {
                refuse("lr", it.learning_rate, "a number above 0")
            }
            it if !(0.0..1.0).contains(&it.momentum) => refuse("momentum", it.momentum, "at least 0 and below 1"),
            it if !(it.weight_decay.is_finite() && it.weight_decay >= 0.0) => {
                refuse("weight-decay", it.weight_decay, "a number of at least 0")
            }
            it if it.epochs == 0 => refuse("epochs", 0.0, "at least 1"),
            it if it.batch == 0 => refuse("batch", 0.0, "at least 1"),
            _ => Ok(()),
        }
    }
}

/// What happens during training.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainEvent {
    /// A step is done.
    Step {
        /// From 1.
        epoch: usize,
        /// Steps done in this epoch.
        step: usize,
        /// Steps per epoch.
        steps: usize,
        /// Mean cross-entropy over the epoch so far.
        loss: f64,
        /// Share of training images classified correctly over the epoch so far (augmented, in training mode).
        accuracy: f64,
    },
    /// An epoch is done.
    Epoch {
        /// From 1.
        epoch: usize,
        /// Of the epoch.
        learning_rate: f64,
        /// Mean cross-entropy over the epoch.
        loss: f64,
        /// On the training images, as above.
        train_accuracy: f64,
        /// On the test images, in evaluation mode.
        test_accuracy: f64,
    },
}

/// Why training stops early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Writing a checkpoint or the model.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The data does not suit the network.
    #[error("{0}")]
    Unsuitable(String),
    /// Training diverged: what is not finite, and where.
    #[error("{what}; lower --lr ({learning_rate})")]
    Diverged {
        /// For readers.
        what: String,
        /// At the time.
        learning_rate: f64,
    },
    /// Stopped by the caller.
    #[error("training was stopped; the checkpoints written so far are complete")]
    Stopped,
    /// libtorch.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
}

/// Trains on `train`, measures on `test` after each epoch, and writes the last epoch's weights to the plan's output.
///
/// The last epoch is kept, not the best one on the test images: choosing by the test images would flatter the number.
/// A training that goes on where an `interrupted` one was ends, with the same number of threads, in the same weights as without the interruption.
/// Returns the test accuracy of what was written.
pub fn train(
    architecture: &dyn Architecture,
    (train, test): (&dyn Dataset, &dyn Dataset),
    plan: &TrainPlan,
    device: Device,
    interrupted: Option<&Interrupted>,
    report: &mut dyn FnMut(TrainEvent) -> ControlFlow<()>,
) -> Result<f64, TrainError> {
    // Before hours of training, not after them.
    ready(architecture, (train, test), plan, interrupted)?;
    let output = plan.output.as_path();
    atomic_file::check(output).map_err(|source| FormatError::Write { path: output.to_owned(), source })?;
    let hashes = [train, test].map(|dataset| dataset.info().sha256.as_str());
    let all = |dataset: &dyn Dataset| dataset.read(&(0..dataset.info().n).collect::<Vec<_>>());
    let (train_images, test_images) = (all(train)?, all(test)?);

    let data = TrainData { train: &train_images, test: &test_images, info: test.info(), hashes };
    let program = fresh(architecture, plan.seed)?;
    let trained = fit_on(&architecture.name(), program, data, plan, device, interrupted, report)?;
    let test_accuracy = share(&trained.correct(&test_images)?);
    trained.save(output, &format!("{}; test accuracy {test_accuracy:.4}", plan.recipe()))?;
    Ok(test_accuracy)
}

/// A network with its first weights.
///
/// # Errors
/// The weight that cannot be made.
pub fn fresh(architecture: &dyn Architecture, seed: u64) -> Result<Program, TrainError> {
    architecture
        .build(&mut FreshWeights::new(seed))
        .map_err(|error| TrainError::Unsuitable(format!("cannot initialize {}: {error}", architecture.name())))
}

/// Images in memory, and what the test images are part of.
#[derive(Clone, Copy, Debug)]
pub struct TrainData<'a> {
    /// To train on.
    pub train: &'a Images,
    /// To measure on.
    pub test: &'a Images,
    /// Of the test images.
    pub info: &'a DatasetInfo,
    /// sha256 of the data that the training and the test images are part of.
    pub hashes: [&'a str; 2],
}

/// Trains a program from the weights that it has, and measures on the test images after each epoch. `name`: of its architecture.
///
/// # Errors
/// [`TrainError::Stopped`] where `report` says so; a loss or weight that is not finite; libtorch's message.
pub fn fit<'a>(
    name: &str,
    program: Program,
    data: TrainData<'a>,
    plan: &'a TrainPlan,
    device: Device,
    report: &mut dyn FnMut(TrainEvent) -> ControlFlow<()>,
) -> Result<Trained<'a>, TrainError> {
    fit_on(name, program, data, plan, device, None, report)
}

/// As [`fit`]; goes on where an interrupted training was.
fn fit_on<'a>(
    name: &str,
    mut program: Program,
    data: TrainData<'a>,
    plan: &'a TrainPlan,
    device: Device,
    interrupted: Option<&Interrupted>,
    report: &mut dyn FnMut(TrainEvent) -> ControlFlow<()>,
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
    };
    let Trained { network, normalization, .. } = &trained;
    let mut sgd = Sgd::new(named(network).filter(|it| it.1.requires_grad()), plan.momentum, plan.weight_decay)?;
    let mut done = 0;
    if let Some(interrupted) = interrupted {
        interrupted.restore(named(network), sgd.buffers())?;
        done = interrupted.standing.epoch;
    }

    let n = data.train.labels.len();
    let steps = batches(&vec![0; n], plan.batch).count();
    for epoch in done + 1..=plan.epochs {
        let decays = plan.milestones.iter().filter(|&&milestone| epoch >= milestone).count();
        let learning_rate = plan.learning_rate * 0.1_f64.powi(decays as i32);
        let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
        random.set_stream(epoch as u64);
        let mut dropped = ChaCha8Rng::seed_from_u64(plan.seed);
        dropped.set_stream(DROPOUT | epoch as u64);
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut random);
        let (mut loss_sum, mut correct, mut seen) = (0.0, 0, 0);
        for (step, indices) in batches(&order, plan.batch).enumerate() {
            let batch = augmented(data.train, indices, plan, &mut random);
            let (pixels, labels) = upload(&batch, device)?;
            let mode = Mode::Train { momentum: 0.1, seed: dropped.random(), bf16: plan.bf16 };
            let logits = network.run(&normalization.apply(&pixels)?, mode)?;
            let loss = logits.f_cross_entropy_loss::<Tensor>(&labels, None, tch::Reduction::Mean, -100, 0.0)?;
            sgd.step(&loss, learning_rate)?;
            loss_sum += f64::try_from(&loss)? * indices.len() as f64;
            correct += count_correct(&logits, &labels)?;
            seen += indices.len();
            let (loss, accuracy) = (loss_sum / seen as f64, correct as f64 / seen as f64);
            if !loss.is_finite() {
                let what = format!("the loss is not finite in epoch {epoch}, step {}", step + 1);
                return Err(TrainError::Diverged { what, learning_rate });
            }
            if (epoch, step) == (done + 1, 0) {
                // Not only after hours.
                check_finite(network.program(), epoch, learning_rate)?;
            }
            if report(TrainEvent::Step { epoch, step: step + 1, steps, loss, accuracy }).is_break() {
                return Err(TrainError::Stopped);
            }
        }
        check_finite(network.program(), epoch, learning_rate)?;
        let test_accuracy = share(&trained.correct(data.test)?);
        let (loss, train_accuracy) = (loss_sum / seen as f64, correct as f64 / seen as f64);
        if let Some(folder) = &plan.checkpoints {
            let path = checkpoint_file(folder, epoch);
            trained.save(&path, &format!("epoch {epoch} of {}", plan.epochs))?;
            let standing = Standing::new(name, plan, (epoch, test_accuracy), data.hashes);
            state::write(folder, &standing, named(network), sgd.buffers())?;
        }
        let done = TrainEvent::Epoch { epoch, learning_rate, loss, train_accuracy, test_accuracy };
        if report(done).is_break() && epoch < plan.epochs {
            return Err(TrainError::Stopped);
        }
    }
    Ok(trained)
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

/// A trained network.
#[derive(Debug)]
pub struct Trained<'a> {
    network: Interpreter,
    normalization: Normalizer,
    device: Device,
    name: String,
    plan: &'a TrainPlan,
    info: &'a DatasetInfo,
}

/// Streams of the seed for dropout; those for order and augmentation are the epochs'.
const DROPOUT: u64 = 1 << 63;

/// A network's weights with their names.
fn named(network: &Interpreter) -> impl Iterator<Item = (&str, &Tensor)> {
    network.program().weights.iter().map(|weight: &Weight| (weight.name.as_str(), &weight.tensor))
}

/// Where the checkpoint of an epoch is.
pub fn checkpoint_file(folder: &Path, epoch: usize) -> PathBuf {
    folder.join(format!("epoch-{epoch:03}.safetensors"))
}

impl Trained<'_> {
    /// Which images it classifies correctly, in evaluation mode.
    ///
    /// # Errors
    /// libtorch's message.
    pub fn correct(&self, images: &Images) -> Result<Vec<bool>, TrainError> {
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
    ///
    /// # Errors
    /// The file that cannot be written.
    pub fn save(&self, path: &Path, training: &str) -> Result<(), TrainError> {
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

impl TrainPlan {
    /// For readers.
    pub fn recipe(&self) -> String {
        let mut milestones: Vec<usize> = self.milestones.iter().copied().filter(|it| *it <= self.epochs).collect();
        milestones.sort_unstable();
        let milestones = milestones.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        format!(
            "{} epoch(s), SGD lr {}{}, momentum {}, weight decay {}, batch {}, crop padding {}, flip {}, seed {}{}",
            self.epochs,
            self.learning_rate,
            if milestones.is_empty() { String::new() } else { format!(" (÷10 before epoch {milestones})") },
            self.momentum,
            self.weight_decay,
            self.batch,
            self.crop_padding,
            self.flip,
            self.seed,
            if self.bf16 { ", bf16" } else { "" }
        )
    }
}

/// How many of them are true.
fn share(correct: &[bool]) -> f64 {
    correct.iter().filter(|correct| **correct).count() as f64 / correct.len().max(1) as f64
}

fn count_correct(logits: &Tensor, labels: &Tensor) -> Result<i64, TchError> {
    i64::try_from(logits.f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?)
}
