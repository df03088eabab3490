//! Adversarial training: each step learns from images that an attack has changed.

use std::ops::ControlFlow;

use advmod_attacks::attack::{Attack, Preset};
use advmod_attacks::config::{AttackConfig, find, parse_spec_string};
use advmod_attacks::execute::{Options, Samples, execute, perturb};
use advmod_attacks::victim::{Victim, VictimError};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

use super::{TrainError, Trained, cross_entropy};
use crate::data::Images;
use crate::model::op::Mode;
use crate::model::upload::upload;

/// How many test images, evenly spread over all, are attacked after each epoch.
pub(crate) const ROBUST_IMAGES: usize = 1000;

/// What attacks the images that are learned from, and what the loss makes of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adversarial {
    /// As it is typed: `pgd:eps=8/255,steps=7`.
    pub attack: String,
    /// Share of each step's images that are attacked; the others are learned from as they are.
    pub ratio: f64,
    /// With it, the loss is that of TRADES: the clean cross-entropy and, so many times, the divergence of the answer to the attacked image from
    /// that to the clean one.
    pub beta: Option<f64>,
}

impl Adversarial {
    /// The attack with all its values. Where it is iterated, its last iterate is taken as it is: to compare iterates would cost another forward
    /// and teach nothing. For TRADES it climbs the divergence that the loss descends.
    ///
    /// # Errors
    /// One line.
    fn config(&self) -> Result<AttackConfig, String> {
        let refuse = |why: String| format!("--adversarial {}: {why}", self.attack);
        let (id, mut given) = parse_spec_string(&self.attack).map_err(|error| refuse(error.to_string()))?;
        let spec = find(&id).map_err(|error| refuse(error.to_string()))?;
        let fitting = [("iterate", "last", true), ("loss", "kl", self.beta.is_some())];
        for (param, value, is_wanted) in fitting {
            if is_wanted && spec.params.iter().any(|it| it.name == param) && !given.contains_key(param) {
                given.insert(param.to_owned(), value.into());
            }
        }
        let config = AttackConfig::new(&id, Preset::Standard, &given).map_err(|error| refuse(error.to_string()))?;
        if matches!(config.attack, Attack::Minimal(_)) {
            return Err(refuse(
                "looks for the smallest change; give an attack within a budget, such as pgd".to_owned(),
            ));
        }
        if config.goal.is_targeted() {
            return Err(refuse("has a target; training needs an attack that leaves the right class".to_owned()));
        }
        Ok(config)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let is_ratio = 0.0 < self.ratio && self.ratio <= 1.0;
        if !is_ratio {
            return Err(format!("--ratio {}: must be above 0, at most 1", self.ratio));
        }
        if let Some(beta) = self.beta.filter(|beta| !(beta.is_finite() && 0.0 < *beta)) {
            return Err(format!("--beta {beta}: must be a number above 0"));
        }
        if self.beta.is_some() && self.ratio < 1.0 {
            return Err("--ratio: TRADES (--beta) weighs clean images itself; leave one of them out".to_owned());
        }
        self.config().map(drop)
    }

    pub(super) fn recipe(&self) -> String {
        match self.beta {
            Some(beta) => format!("TRADES beta {beta} against {}", self.attack),
            None if self.ratio < 1.0 => format!("a share of {} attacked by {}", self.ratio, self.attack),
            None => format!("attacked by {}", self.attack),
        }
    }
}

/// The attack of a training, ready to run.
#[derive(Debug)]
pub(super) struct Adversary<'a> {
    plan: &'a Adversarial,
    config: AttackConfig,
}

/// The images of one step.
pub(super) struct Learned<'a> {
    pub(super) pixels: &'a Tensor,
    pub(super) labels: &'a Tensor,
    /// Their places among the training images.
    pub(super) indices: &'a [usize],
    /// Of the epoch's attacks.
    pub(super) seed: u64,
}

impl<'a> Adversary<'a> {
    pub(super) fn new(plan: &'a Adversarial) -> Result<Self, String> {
        Ok(Self { plan, config: plan.config()? })
    }

    /// Logits of what is learned from, and the loss.
    pub(super) fn learn(
        &self,
        trained: &Trained<'_>,
        batch: &Learned<'_>,
        dropped: &mut ChaCha8Rng,
    ) -> Result<(Tensor, Tensor), TrainError> {
        let changed = self.change(trained, batch)?;
        let Some(beta) = self.plan.beta else {
            let logits = trained.learning(&changed, dropped)?;
            let loss = cross_entropy(&logits, batch.labels)?;
            return Ok((logits, loss));
        };
        let clean = trained.learning(batch.pixels, dropped)?;
        let logits = trained.learning(&changed, dropped)?;
        let log = |logits: &Tensor| logits.f_log_softmax(-1, Kind::Float);
        let divergence = log(&logits)?.f_kl_div(&log(&clean)?, Reduction::Sum, true)?;
        let weight = beta / batch.indices.len() as f64;
        let loss = cross_entropy(&clean, batch.labels)?.f_add(&divergence.f_mul_scalar(weight)?)?;
        Ok((logits, loss))
    }

    /// The images with the first ones, as many as are to be, attacked. Their order is random already.
    ///
    /// The network is attacked in evaluation mode, as it will be used: its running averages do not move with each of the attack's steps, and
    /// what becomes of an image depends on no other of its batch.
    fn change(&self, trained: &Trained<'_>, batch: &Learned<'_>) -> Result<Tensor, TrainError> {
        let n = batch.indices.len();
        let n_attacked = ((self.plan.ratio * n as f64).round() as usize).clamp(1, n);
        let ids: Vec<u32> = batch.indices[..n_attacked].iter().map(|&index| index as u32).collect();
        let part = |of: &Tensor| of.f_narrow(0, 0, n_attacked as i64);
        let (pixels, labels) = (part(batch.pixels)?, part(batch.labels)?);
        let samples = Samples { pixels: &pixels, labels: &labels, ids: &ids };
        let go_on = &mut |_| ControlFlow::Continue(());
        let changed = perturb(&Evaluated(trained), &self.config, &samples, batch.seed, go_on)?;
        let rest = batch.pixels.f_narrow(0, n_attacked as i64, (n - n_attacked) as i64)?;
        Ok(Tensor::f_cat(&[changed, rest], 0)?)
    }

    /// The share of [`ROBUST_IMAGES`] that the attack leaves correctly classified. It is the same attack each time, also in its random numbers.
    pub(super) fn robust(&self, trained: &Trained<'_>, test: &Images) -> Result<f64, TrainError> {
        let all = test.labels.len();
        let places: Vec<usize> = (0..all.min(ROBUST_IMAGES)).map(|at| at * all / all.min(ROBUST_IMAGES)).collect();
        let mut robust = 0;
        for part in places.chunks(250) {
            let (pixels, labels) = upload(&test.subset(part), trained.device)?;
            let ids: Vec<u32> = part.iter().map(|&place| place as u32).collect();
            let samples = Samples { pixels: &pixels, labels: &labels, ids: &ids };
            let options = Options { seed: trained.plan.seed, eight_bit: false };
            let go_on = &mut |_| ControlFlow::Continue(());
            let outcome = execute(&Evaluated(trained), &self.config, &samples, options, go_on)?;
            robust += outcome.samples.iter().filter(|it| it.attacked && !it.success).count();
        }
        Ok(robust as f64 / places.len().max(1) as f64)
    }
}

/// The network in training as others will use it.
struct Evaluated<'a, 'b>(&'a Trained<'b>);

impl Victim for Evaluated<'_, '_> {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        Ok(self.0.network.run(&self.0.normalization.apply(pixels)?, Mode::Evaluate)?)
    }

    fn n_classes(&self) -> i64 {
        self.0.network.program().classes
    }

    fn device(&self) -> Device {
        self.0.device
    }
}
