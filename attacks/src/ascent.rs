//! The ascent of APGD: steps that are halved where they no longer help. `apgd` and `apgd-t` differ in what they climb, and how often.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::best::{Best, Open, Stop};
use crate::error::AttackError;
use crate::loss::{cross_entropy, dlr, dlr_towards, margin};
use crate::query::{Differentiated, Query};
use crate::rows;
use crate::threat::{Ball, Goal};

/// What is climbed.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Loss {
    Ce,
    Dlr,
    Margin,
}

/// Ascents of a number of steps each.
///
/// `z = P(x_k + η·d(g))`, `x_{k+1} = P(x_k + α(z − x_k) + (1 − α)(x_k − x_{k−1}))` with P the projection to ball ∩ `[0, 1]`, d the steepest
/// direction, g the gradient of the loss, and α = 0.75, at the first step 1. η begins at 2ε. At each of the checkpoints `w_j` it is halved, and
/// the ascent goes back to its best point, where the loss rose in fewer than 0.75 of the steps since `w_{j−1}`, or where neither η nor the best
/// loss has changed since then.
///
/// # Source
/// Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks", ICML 2020, algorithm 1
/// and section 3, <https://arxiv.org/abs/2003.01690>.
/// # Deviations
/// What is kept is the point with the largest margin, not that with the largest loss. Where the cross-entropy is flat, the margin is climbed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ascent {
    pub(crate) steps: u32,
    pub(crate) loss: Loss,
    pub(crate) stop: Stop,
    pub(crate) goal: Goal,
    pub(crate) ball: Ball,
}

/// Which of the ascents of an attack one is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// From 0.
    pub(crate) number: u32,
    pub(crate) of: u32,
}

impl Ascent {
    /// One ascent of the open samples from a random point at the edge of the ball; `aims`, `[n]`, are classes to approach where there are such.
    /// Those that are closed leave the aims, too.
    ///
    /// Per sample: a forward more than there are steps, and a backward per step, two where the cross-entropy is flat.
    pub(crate) fn run(
        &self,
        query: &mut Query<'_>,
        best: &mut Best,
        open: &mut Open,
        mut aims: Option<Tensor>,
        turn: Turn,
    ) -> Result<(), AttackError> {
        query.begin_restart(turn.number.into());
        query.step(turn.number * self.steps, turn.of * self.steps)?;
        let start = self.ball.random_edge(query, &open.ids, &open.original);
        let at = self.differentiate(query, open, aims.as_ref(), &start)?;
        offer(query, best, open, &start, &at.logits)?;
        let mut climber = Climber::new(start, at, 2.0 * self.ball.epsilon().value());
        let (mut checkpoints, mut last) = (checkpoints(self.steps).into_iter().peekable(), 0);
        for step in 0..self.steps {
            if step > 0 {
                query.step(turn.number * self.steps + step, turn.of * self.steps)?;
            }
            if self.stop == Stop::First
                && let Some(kept) = best.close_broken(query, open)?
            {
                if open.ids.is_empty() {
                    return Ok(());
                }
                climber = climber.keep(&kept);
                aims = aims.map(|aims| aims.index_select(0, &kept));
            }
            let moved = climber.step(self.ball, &open.original, step == 0);
            if step + 1 == self.steps {
                let logits = query.logits(&open.ids, &moved)?;
                offer(query, best, open, &moved, &logits)?;
                break;
            }
            let at = self.differentiate(query, open, aims.as_ref(), &moved)?;
            offer(query, best, open, &moved, &at.logits)?;
            climber.arrive(moved, at);
            if let Some(checkpoint) = checkpoints.next_if_eq(&(step + 1)) {
                climber.check(checkpoint - last);
                last = checkpoint;
            }
        }
        if self.stop == Stop::First {
            best.close_broken(query, open)?;
        }
        Ok(())
    }

    fn differentiate(
        &self,
        query: &mut Query<'_>,
        open: &Open,
        aims: Option<&Tensor>,
        pixels: &Tensor,
    ) -> Result<Differentiated, AttackError> {
        let margin = |logits: &Tensor| margin(logits, &open.classes, self.goal);
        match (self.loss, aims) {
            (Loss::Ce, _) => {
                let loss = |logits: &Tensor| cross_entropy(logits, &open.classes, self.goal);
                query.climb(&open.ids, pixels, &loss, &margin)
            }
            (Loss::Dlr, None) => {
                query.value_and_grad(&open.ids, pixels, &|logits| dlr(logits, &open.classes, self.goal))
            }
            (Loss::Dlr, Some(aims)) => {
                query.value_and_grad(&open.ids, pixels, &|logits| dlr_towards(logits, &open.classes, aims))
            }
            (Loss::Margin, _) => query.value_and_grad(&open.ids, pixels, &margin),
        }
    }
}

fn offer(
    query: &mut Query<'_>,
    best: &mut Best,
    open: &Open,
    pixels: &Tensor,
    logits: &Tensor,
) -> Result<(), AttackError> {
    // All open samples have been shown as often.
    let forwards = open.ids.first().map_or(0, |&id| query.forwards(id));
    best.offer(query, open, pixels, logits, forwards)
}

/// Where the open samples are in their ascent; all rows are theirs.
struct Climber {
    pixels: Tensor,
    previous: Tensor,
    gradient: Tensor,
    /// `[n]`, as all below but the pixels and the gradient.
    loss: Tensor,
    step: Tensor,
    best_pixels: Tensor,
    best_gradient: Tensor,
    best_loss: Tensor,
    /// Steps since the last checkpoint that made the loss larger.
    rises: Tensor,
    best_at_check: Tensor,
    was_halved: Tensor,
}

impl Climber {
    fn new(pixels: Tensor, at: Differentiated, step: f64) -> Self {
        Self {
            previous: pixels.shallow_clone(),
            best_pixels: pixels.shallow_clone(),
            best_gradient: at.gradient.shallow_clone(),
            best_loss: at.loss.shallow_clone(),
            best_at_check: at.loss.shallow_clone(),
            rises: at.loss.zeros_like(),
            step: at.loss.full_like(step),
            // Before the first checkpoint nothing was there to be the same.
            was_halved: at.loss.ones_like().to_kind(Kind::Bool),
            pixels,
            gradient: at.gradient,
            loss: at.loss,
        }
    }

    fn keep(&self, kept: &Tensor) -> Self {
        let of = |rows: &Tensor| rows.index_select(0, kept);
        Self {
            pixels: of(&self.pixels),
            previous: of(&self.previous),
            gradient: of(&self.gradient),
            loss: of(&self.loss),
            step: of(&self.step),
            best_pixels: of(&self.best_pixels),
            best_gradient: of(&self.best_gradient),
            best_loss: of(&self.best_loss),
            rises: of(&self.rises),
            best_at_check: of(&self.best_at_check),
            was_halved: of(&self.was_halved),
        }
    }

    /// Where the next step leads.
    fn step(&self, ball: Ball, original: &Tensor, is_first: bool) -> Tensor {
        let change = ball.direction(self.gradient.copy()) * rows::broadcast(&self.step, original);
        let straight = ball.project(original, &(&self.pixels + change));
        if is_first {
            return straight;
        }
        let momentum = (&self.pixels - &self.previous) * (1.0 - STRAIGHT);
        ball.project(original, &(&self.pixels + (straight - &self.pixels) * STRAIGHT + momentum))
    }

    fn arrive(&mut self, pixels: Tensor, at: Differentiated) {
        self.rises += at.loss.gt_tensor(&self.loss).to_kind(Kind::Float);
        let is_better = at.loss.gt_tensor(&self.best_loss);
        let rows = rows::broadcast(&is_better, &pixels);
        self.best_pixels = pixels.where_self(&rows, &self.best_pixels);
        self.best_gradient = at.gradient.where_self(&rows, &self.best_gradient);
        self.best_loss = at.loss.where_self(&is_better, &self.best_loss);
        self.previous = std::mem::replace(&mut self.pixels, pixels);
        self.gradient = at.gradient;
        self.loss = at.loss;
    }

    /// Halves the step where the steps since the last checkpoint were of little use.
    fn check(&mut self, period: u32) {
        let rose_seldom = self.rises.lt(RISES * f64::from(period));
        let is_stuck = self.was_halved.logical_not().logical_and(&self.best_loss.eq_tensor(&self.best_at_check));
        let is_halved = rose_seldom.logical_or(&is_stuck);
        let rows = rows::broadcast(&is_halved, &self.pixels);
        self.step = (&self.step * 0.5).where_self(&is_halved, &self.step);
        self.pixels = self.best_pixels.where_self(&rows, &self.pixels);
        self.gradient = self.best_gradient.where_self(&rows, &self.gradient);
        self.loss = self.best_loss.where_self(&is_halved, &self.loss);
        self.rises = self.rises.zeros_like();
        self.best_at_check = self.best_loss.shallow_clone();
        self.was_halved = is_halved;
    }
}

/// The paper's α: the weight of a step against that of the one before.
const STRAIGHT: f64 = 0.75;

/// The paper's ρ: the share of steps that should make the loss larger.
const RISES: f64 = 0.75;

/// The steps after which progress is checked: `w_j = ⌈p_j·N⌉` with `p_1 = 0.22` and `p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06)`.
fn checkpoints(steps: u32) -> Vec<u32> {
    let (mut percent, mut period) = (22, 22_u64);
    let mut all = Vec::new();
    while percent <= 100 {
        all.push((percent * u64::from(steps)).div_ceil(100) as u32);
        period = period.saturating_sub(3).max(6);
        percent += period;
    }
    all.dedup();
    all
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_come_as_in_the_paper() {
        assert_eq!(checkpoints(100), [22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(checkpoints(10), [3, 5, 6, 7, 8, 9, 10]);
        assert_eq!(checkpoints(1), [1]);
    }

    fn row(value: f32) -> Tensor {
        Tensor::from_slice(&[value])
    }

    fn at(loss: f32) -> Differentiated {
        let gradient = row(loss).reshape([1, 1, 1, 1]);
        Differentiated { logits: row(0.0), loss: row(loss), gradient }
    }

    /// A climber of one pixel whose pixels and gradient are its loss.
    fn climbed(losses: &[f32]) -> Climber {
        let mut climber = Climber::new(row(losses[0]).reshape([1, 1, 1, 1]), at(losses[0]), 1.0);
        losses[1..].iter().for_each(|&loss| climber.arrive(row(loss).reshape([1, 1, 1, 1]), at(loss)));
        climber
    }

    #[test]
    fn steps_are_halved_where_the_loss_rises_seldom_and_the_ascent_goes_back() {
        // Two rises of four steps: fewer than three.
        let mut climber = climbed(&[0.0, 1.0, 5.0, 3.0, 2.0]);
        climber.check(4);
        let numbers = [&climber.step, &climber.pixels, &climber.gradient, &climber.loss];
        assert_eq!(numbers.map(|it| it.double_value(&[])), [0.5, 5.0, 5.0, 5.0]);
        // Three are enough.
        let mut climber = climbed(&[0.0, 1.0, 2.0, 3.0, 2.5]);
        climber.check(4);
        let numbers = [&climber.step, &climber.pixels, &climber.best_loss];
        assert_eq!(numbers.map(|it| it.double_value(&[])), [1.0, 2.5, 3.0]);
        // They rise again, but not to the best: neither the step nor the best loss has changed.
        for loss in [2.6, 2.7, 2.8, 2.9] {
            climber.arrive(row(loss).reshape([1, 1, 1, 1]), at(loss));
        }
        climber.check(4);
        assert_eq!((climber.step.double_value(&[]), climber.pixels.double_value(&[])), (0.5, 3.0));
        // After a halving that alone is no reason.
        for loss in [2.6, 2.7, 2.8, 2.9] {
            climber.arrive(row(loss).reshape([1, 1, 1, 1]), at(loss));
        }
        climber.loss = row(3.0);
        climber.check(0);
        assert!((climber.step.double_value(&[]) - 0.5).abs() < f64::EPSILON);
    }
}
