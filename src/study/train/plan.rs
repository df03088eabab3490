//! The recipe of a training.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::adversarial::Adversarial;
use crate::model::normalize::Normalization;

/// The numbers that recipes differ in, where no flag gives them.
pub(crate) struct Defaults {
    pub epochs: usize,
    pub batch: usize,
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub milestones: fn(usize) -> Vec<usize>,
}

pub(crate) const STANDARD: Defaults =
    Defaults { epochs: 12, batch: 128, learning_rate: 0.1, weight_decay: 5e-4, milestones: default_milestones };

/// Of the modularity curve's authors. The paper does not give milestones; its code steps the schedule before each epoch, so that 50 and 100
/// come one epoch early.
pub(crate) const PAPER: Defaults =
    Defaults { epochs: 150, batch: 256, learning_rate: 0.01, weight_decay: 5e-3, milestones: |_| vec![50, 100] };

/// Of a network that is trained already.
pub(crate) const FINE_TUNING: Defaults = Defaults { epochs: 3, learning_rate: 0.01, ..STANDARD };

pub(crate) const MOMENTUM: f64 = 0.9;

pub(crate) const CROP_PADDING: usize = 4;

/// The recipe, and where its results go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    pub data: PathBuf,
    pub output: PathBuf,
    pub epochs: usize,
    /// Images per step; a last, smaller batch is used too, and a last image alone joins the batch before.
    pub batch: usize,
    /// Of the first epoch.
    pub learning_rate: f64,
    /// Epochs (counted from 1) before which the learning rate is divided by ten.
    pub milestones: Vec<usize>,
    pub momentum: f64,
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
    /// Attacks the images that are learned from.
    pub adversarial: Option<Adversarial>,
    /// A folder for one file per epoch, and the state from which an interrupted training goes on.
    pub checkpoints: Option<PathBuf>,
    /// Whether the curve of each checkpoint is measured beside the training.
    pub measure: bool,
}

impl TrainPlan {
    /// Numbers that their types cannot hold back, and paths that the state of the training cannot hold.
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
            it => it.adversarial.as_ref().map_or(Ok(()), Adversarial::check),
        }
    }

    pub fn recipe(&self) -> String {
        let mut milestones: Vec<usize> = self.milestones.iter().copied().filter(|it| *it <= self.epochs).collect();
        milestones.sort_unstable();
        let milestones = milestones.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        format!(
            "{} epoch(s), SGD lr {}{}, momentum {}, weight decay {}, batch {}, crop padding {}, flip {}, seed {}{}{}",
            self.epochs,
            self.learning_rate,
            if milestones.is_empty() { String::new() } else { format!(" (÷10 before epoch {milestones})") },
            self.momentum,
            self.weight_decay,
            self.batch,
            self.crop_padding,
            self.flip,
            self.seed,
            if self.bf16 { ", bf16" } else { "" },
            self.adversarial.as_ref().map_or(String::new(), |it| format!(", {}", it.recipe()))
        )
    }

    /// The learning rate of an epoch, counted from 1.
    pub(super) fn rate_of(&self, epoch: usize) -> f64 {
        let decays = self.milestones.iter().filter(|&&milestone| epoch >= milestone).count();
        self.learning_rate * 0.1_f64.powi(decays as i32)
    }
}

/// The epoch after 60 % and after 85 % of the way.
pub(crate) fn default_milestones(epochs: usize) -> Vec<usize> {
    vec![(epochs * 6).div_ceil(10) + 1, (epochs * 17).div_ceil(20) + 1]
}
