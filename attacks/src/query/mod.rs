//! An attack's whole world: metered, seeded, cancellable access to the victim.
//!
//! `requires_grad`, `detach` and padding exist here only. Rows are named by sample ids: a row belongs to the sample of that
//! id, several rows may belong to one sample (candidates), and samples that are done may be left out.

mod padding;
mod stream;

use std::collections::HashMap;
use std::ops::ControlFlow;

use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use tch::{Kind, Tensor};

use crate::error::AttackError;
use crate::loss::margin;
use crate::rows;
use crate::threat::Goal;
use crate::victim::{Access, Victim, VictimError};
use stream::Streams;

pub(crate) use padding::padding;
pub use padding::{JUDGEMENTS, averaged_logits, decides_otherwise, judged_logits, padded, padded_logits};
pub(crate) use stream::stream;

/// How far an attack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step that begins, from 0.
    pub step: u32,
    /// How many there will be at most.
    pub n_steps: u32,
    /// How many samples are attacked.
    pub n_samples: usize,
    /// How many of them meet the goal so far, where the attack knows.
    pub n_broken: Option<usize>,
    /// Forwards so far, summed over the samples.
    pub forwards: u64,
    /// Backwards so far, summed over the samples.
    pub backwards: u64,
}

/// What one sample cost, and what was noticed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Images run through the victim.
    pub forwards: u64,
    pub backwards: u64,
    /// Gradients that were zero everywhere: a sign of masking.
    pub zero_gradients: u64,
    /// Gradients that were not finite somewhere; there they counted as 0.
    pub nonfinite_gradients: u64,
    /// Gradients of the margin that were taken because those of another loss were zero.
    pub fallbacks: u64,
    /// Forwards until the goal was first met, where the attack told.
    pub forwards_to_success: Option<u64>,
}

/// A loss per row, its logits and its gradient.
#[derive(Debug)]
pub struct Differentiated {
    /// `[N, K]`.
    pub logits: Tensor,
    /// `[N]`.
    pub loss: Tensor,
    /// Like the pixels; freshly made, the caller may change it in place.
    pub gradient: Tensor,
}

/// Access to the victim; see the module's text.
pub struct Query<'a> {
    victim: &'a dyn Victim,
    access: Access,
    /// Forwards that are averaged wherever one is asked for.
    draws: u32,
    slots: HashMap<u32, usize>,
    meters: Vec<Meter>,
    /// Gradients of each sample that were zero everywhere, and those that were not finite somewhere.
    gradients: [Tensor; 2],
    latest_slots: (Vec<u32>, Tensor),
    streams: Streams,
    step: u32,
    n_steps: u32,
    n_broken: Option<usize>,
    padding: u64,
    progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl<'a> Query<'a> {
    /// Access for one run of the attack `attack_id` on the samples `ids`, which must be distinct. Wherever the attack asks for a forward, so
    /// many `draws` are averaged, and their gradients with them.
    pub(crate) fn new(
        victim: &'a dyn Victim,
        (access, draws): (Access, u32),
        attack_id: &str,
        seed: u64,
        ids: &[u32],
        progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Self {
        let slots: HashMap<u32, usize> = ids.iter().enumerate().map(|(slot, &id)| (id, slot)).collect();
        debug_assert_eq!(slots.len(), ids.len(), "ids are distinct");
        let device = victim.device();
        let none = || Tensor::zeros([ids.len() as i64], (Kind::Int64, device));
        Query {
            victim,
            access,
            draws,
            slots,
            meters: vec![Meter::default(); ids.len()],
            gradients: [none(), none()],
            latest_slots: (Vec::new(), Tensor::zeros([0], (Kind::Int64, device))),
            streams: Streams::new(seed, attack_id),
            step: 0,
            n_steps: 1,
            n_broken: None,
            padding: 0,
            progress,
        }
    }

    pub fn n_classes(&self) -> i64 {
        self.victim.n_classes()
    }

    /// How many forwards the attack has asked for so far for a sample; averaged ones count as one.
    pub fn forwards(&self, id: u32) -> u64 {
        self.slots.get(&id).map_or(0, |&slot| self.meters[slot].forwards / u64::from(self.draws))
    }

    /// Logits `[N, K]` of `pixels`, whose rows belong to the samples `ids`. One forward per row, no gradients.
    ///
    /// A row that is not finite comes back as zeros, here and below: no class stands alone in it, so the label is not right.
    pub fn logits(&mut self, ids: &[u32], pixels: &Tensor) -> Result<Tensor, AttackError> {
        if self.access < Access::Logits {
            return Err(AttackError::InvalidInput("this attack declared that it needs labels only".to_owned()));
        }
        self.scores(ids, pixels)
    }

    /// Whether `pixels` meet the goal: whether their label is another one than their class to leave, or is their class to reach. One forward per
    /// row, and all that attacks on [`Access::Labels`] may ask.
    pub fn is_met(
        &mut self,
        ids: &[u32],
        pixels: &Tensor,
        classes: &Tensor,
        goal: Goal,
    ) -> Result<Vec<bool>, AttackError> {
        let logits = self.scores(ids, pixels)?;
        Ok(Vec::try_from(margin(&logits, classes, goal).gt(0.0)).map_err(VictimError::from)?)
    }

    fn scores(&mut self, ids: &[u32], pixels: &Tensor) -> Result<Tensor, AttackError> {
        let draws = self.draws;
        self.meter(ids, pixels, |meter| meter.forwards += u64::from(draws))?;
        self.padding += padding(ids.len()) * u64::from(draws);
        tch::no_grad(|| Ok(finite(&averaged_logits(self.victim, pixels, draws)?)))
    }

    /// A loss per row and its gradient in the pixels. One forward and one backward per row.
    ///
    /// `loss` maps logits `[N, K]` to `[N]`. The losses are summed before they are differentiated, so no row feels another.
    pub fn value_and_grad(
        &mut self,
        ids: &[u32],
        pixels: &Tensor,
        loss: &dyn Fn(&Tensor) -> Tensor,
    ) -> Result<Differentiated, AttackError> {
        let (logits, mut parts) = self.values_and_grads(ids, pixels, &[loss])?;
        let (loss, gradient) = parts.remove(0);
        Ok(Differentiated { logits, loss, gradient })
    }

    /// Several losses of the same logits: one forward and, per loss, one backward. Returns the logits `[N, K]` and per loss
    /// its value `[N]` and its gradient in the pixels. What is not finite in a gradient counts as 0.
    pub fn values_and_grads(
        &mut self,
        ids: &[u32],
        pixels: &Tensor,
        losses: &[&dyn Fn(&Tensor) -> Tensor],
    ) -> Result<(Tensor, Vec<(Tensor, Tensor)>), AttackError> {
        let graph = self.graph(ids, pixels, losses.len())?;
        let mut parts = Vec::with_capacity(losses.len());
        for (i, loss) in losses.iter().enumerate() {
            let (loss, gradient) = graph.differentiate(loss, i + 1 < losses.len())?;
            let gradient = self.finite_gradient(ids, &gradient);
            self.count(ZERO, ids, &is_zero(&gradient));
            parts.push((loss, gradient));
        }
        Ok((graph.logits.detach(), parts))
    }

    /// As [`value_and_grad`](Query::value_and_grad), for a loss that goes flat where the victim is sure of itself, as
    /// cross-entropy does in f32.
    ///
    /// Where a row's gradient is zero and its goal is not met, the gradient of its `margin` (positive where the goal is met)
    /// stands in, at the cost of one more backward. The scale of a margin does not matter to attacks that step by the
    /// direction of a gradient alone. What is not finite in either counts as 0.
    pub fn climb(
        &mut self,
        ids: &[u32],
        pixels: &Tensor,
        loss: &dyn Fn(&Tensor) -> Tensor,
        margin: &dyn Fn(&Tensor) -> Tensor,
    ) -> Result<Differentiated, AttackError> {
        let graph = self.graph(ids, pixels, 1)?;
        let logits = graph.logits.detach();
        let (loss, gradient) = graph.differentiate(loss, true)?;
        let mut gradient = self.finite_gradient(ids, &gradient);
        let is_open = margin(&logits).gt(0.0).logical_not(); // [N]
        let is_flat = is_zero(&gradient).logical_and(&is_open);
        // Also elsewhere than on the CPU this waits for the answer: another backward depends on it.
        let flat = Vec::<bool>::try_from(&is_flat).map_err(VictimError::from)?;
        if flat.contains(&true) {
            let (_, steeper) = graph.differentiate(margin, false)?;
            gradient = steeper.nan_to_num(0.0, 0.0, 0.0).where_self(&rows::broadcast(&is_flat, &gradient), &gradient);
            for (id, _) in ids.iter().zip(flat).filter(|(_, is_flat)| *is_flat) {
                let meter = &mut self.meters[self.slots[id]];
                meter.backwards += u64::from(self.draws);
                meter.fallbacks += 1;
            }
        }
        self.count(ZERO, ids, &is_zero(&gradient));
        Ok(Differentiated { logits, loss, gradient })
    }

    /// One forward that can be differentiated so many times.
    fn graph(&mut self, ids: &[u32], pixels: &Tensor, backwards: usize) -> Result<Graph, AttackError> {
        if self.access < Access::Gradients {
            return Err(AttackError::InvalidInput("this attack declared that it needs no gradients".to_owned()));
        }
        let draws = self.draws;
        self.meter(ids, pixels, |meter| {
            meter.forwards += u64::from(draws);
            meter.backwards += u64::from(draws) * backwards as u64;
        })?;
        self.padding += padding(ids.len()) * u64::from(draws);
        // A new variable on the same memory: the caller's tensor never requires gradients.
        let leaf = pixels.detach().set_requires_grad(true);
        let logits = tch::with_grad(|| averaged_logits(self.victim, &leaf, draws).map(|logits| finite(&logits)))?;
        Ok(Graph { leaf, logits })
    }

    /// Uniform numbers in `[-half_width, half_width)`, shaped like `like`, drawn per row from its sample's own stream.
    ///
    /// They are drawn on the CPU and uploaded, so they are the same on every device and whatever else is in the batch.
    pub fn uniform_like(&mut self, ids: &[u32], like: &Tensor, half_width: f64) -> Tensor {
        let half_width = half_width as f32;
        self.draw(ids, like, |rng| (2.0 * rand::RngExt::random::<f32>(rng) - 1.0) * half_width)
    }

    /// Standard normal numbers, drawn as in [`uniform_like`](Query::uniform_like).
    pub fn normal_like(&mut self, ids: &[u32], like: &Tensor) -> Tensor {
        self.draw(ids, like, |rng| rand::RngExt::sample(rng, StandardNormal))
    }

    /// The stream of random numbers of one sample, for attacks that draw on the CPU.
    pub fn rng(&mut self, id: u32) -> &mut ChaCha8Rng {
        self.streams.of(id)
    }

    /// Gives every sample a new stream of random numbers, for restart number `restart` (0 at the start).
    pub fn begin_restart(&mut self, restart: u64) {
        self.streams.begin_restart(restart);
    }

    /// Begins step `step` (from 0) of at most `n_steps`: reports progress, and errs if the run is to stop.
    pub fn step(&mut self, step: u32, n_steps: u32) -> Result<(), AttackError> {
        self.step = step;
        self.n_steps = n_steps;
        self.check()
    }

    /// Reports progress within the current step, and errs if the run is to stop; for steps of many forwards.
    pub fn check(&mut self) -> Result<(), AttackError> {
        let (step, n_steps) = (self.step, self.n_steps);
        let forwards = self.meters.iter().map(|meter| meter.forwards).sum();
        let backwards = self.meters.iter().map(|meter| meter.backwards).sum();
        let n_samples = self.meters.len();
        let progress = Progress { step, n_steps, n_samples, n_broken: self.n_broken, forwards, backwards };
        match (self.progress)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(AttackError::Cancelled),
        }
    }

    /// Tells how many samples meet the goal so far; shown with the next step's progress.
    pub fn tell_broken(&mut self, n_broken: usize) {
        self.n_broken = Some(n_broken);
    }

    /// Tells after how many of its [`forwards`](Query::forwards) a sample first met the goal; the smallest number told stands.
    pub fn tell_success(&mut self, id: u32, forwards: u64) {
        let forwards = forwards * u64::from(self.draws);
        if let Some(&slot) = self.slots.get(&id) {
            let known = &mut self.meters[slot].forwards_to_success;
            *known = Some(known.map_or(forwards, |known| known.min(forwards)));
        }
    }

    /// Ends the run: what each sample cost, in the order of the ids, the padding rows that were run, and the last step.
    pub(crate) fn finish(mut self) -> Result<(Vec<Meter>, u64, u32), AttackError> {
        let [zero, not_finite] = [ZERO, NOT_FINITE].map(|at| Vec::<i64>::try_from(&self.gradients[at]));
        let (zero, not_finite) = (zero.map_err(VictimError::from)?, not_finite.map_err(VictimError::from)?);
        for ((meter, zero), not_finite) in self.meters.iter_mut().zip(zero).zip(not_finite) {
            (meter.zero_gradients, meter.nonfinite_gradients) = (zero as u64, not_finite as u64);
        }
        Ok((self.meters, self.padding, self.step))
    }

    /// Counts and checks the rows of one call.
    fn meter(&mut self, ids: &[u32], rows: &Tensor, mut count: impl FnMut(&mut Meter)) -> Result<(), AttackError> {
        if ids.is_empty() || rows.size().first() != Some(&(ids.len() as i64)) {
            let message = format!("a query names {} samples for pixels of shape {:?}", ids.len(), rows.size());
            return Err(AttackError::InvalidInput(message));
        }
        for id in ids {
            match self.slots.get(id) {
                Some(&slot) => count(&mut self.meters[slot]),
                None => return Err(AttackError::InvalidInput(format!("a query names sample {id}, not in the batch"))),
            }
        }
        Ok(())
    }

    /// The gradient with 0 for what is not finite, which is counted.
    fn finite_gradient(&mut self, ids: &[u32], gradient: &Tensor) -> Tensor {
        self.count(NOT_FINITE, ids, &rows::max_abs(gradient).isfinite().logical_not());
        gradient.nan_to_num(0.0, 0.0, 0.0)
    }

    /// Counts rows, without waiting for the device.
    fn count(&mut self, what: usize, ids: &[u32], is_meant: &Tensor) {
        if self.latest_slots.0 != ids {
            let slots: Vec<i64> = ids.iter().map(|id| self.slots[id] as i64).collect();
            self.latest_slots = (ids.to_vec(), rows::upload(&slots, is_meant.device()));
        }
        let _ = self.gradients[what].index_add_(0, &self.latest_slots.1, &is_meant.to_kind(Kind::Int64));
    }

    fn draw(&mut self, ids: &[u32], like: &Tensor, number: impl Fn(&mut ChaCha8Rng) -> f32) -> Tensor {
        let n_per_row = like.size()[1..].iter().product::<i64>() as usize;
        let mut numbers = Vec::with_capacity(ids.len() * n_per_row);
        for &id in ids {
            let rng = self.streams.of(id);
            numbers.extend((0..n_per_row).map(|_| number(rng)));
        }
        rows::upload(&numbers, like.device()).reshape(like.size())
    }
}

/// Logits that know how they came from the pixels.
struct Graph {
    leaf: Tensor,
    logits: Tensor,
}

impl Graph {
    /// A loss per row `[N]` and its gradient in the pixels; the losses are summed, so no row feels another.
    fn differentiate(
        &self,
        loss: &dyn Fn(&Tensor) -> Tensor,
        keep_graph: bool,
    ) -> Result<(Tensor, Tensor), AttackError> {
        let loss = tch::with_grad(|| loss(&self.logits)); // [N]
        if !loss.requires_grad() {
            return Err(not_differentiable());
        }
        // A vector is differentiated as its sum. Returns the gradient and writes to no `.grad`.
        let gradients =
            Tensor::f_run_backward(&[&loss], &[&self.leaf], keep_graph, false).map_err(VictimError::from)?;
        let gradient = gradients.into_iter().next().filter(Tensor::defined).ok_or_else(not_differentiable)?;
        Ok((loss.detach(), gradient.detach().contiguous()))
    }
}

/// Which rows have a gradient that is zero everywhere, `[N]`.
fn is_zero(gradient: &Tensor) -> Tensor {
    rows::max_abs(gradient).eq(0.0)
}

/// Logits with zeros in each row that is not finite; see [`Query::logits`].
fn finite(logits: &Tensor) -> Tensor {
    logits.masked_fill(&logits.isfinite().logical_not().any_dim(1, true), 0.0)
}

/// What is counted of gradients.
const ZERO: usize = 0;
const NOT_FINITE: usize = 1;

fn not_differentiable() -> AttackError {
    let message = "its logits are not differentiable in its pixels; use an attack that needs logits only";
    VictimError::Unusable(message.to_owned()).into()
}

#[cfg(test)]
mod tests;
