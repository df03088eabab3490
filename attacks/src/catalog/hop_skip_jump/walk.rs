//! The walk of one sample: which images it asks about, and what it makes of the answers.

use rand::{Rng, RngExt as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::Params;
use crate::threat::Norm;

/// An image's shape. Images are lists of values, channel by channel, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    channels: usize,
    height: usize,
    width: usize,
    norm: Norm,
}

impl Frame {
    pub(super) fn new(shape: &[i64], norm: Norm) -> Self {
        let size = |at: usize| shape[at] as usize;
        Self { channels: size(1), height: size(2), width: size(3), norm }
    }

    fn len(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Blocks of random colours, so many pixels wide.
    fn blocks(self, rng: &mut impl Rng, side: usize) -> Vec<f32> {
        let (rows, columns) = (self.height.div_ceil(side), self.width.div_ceil(side));
        let colours: Vec<f32> = (0..self.channels * rows * columns).map(|_| rng.random::<f32>()).collect();
        let colour = |place: usize| {
            let (channel, within) = (place / (self.height * self.width), place % (self.height * self.width));
            let (row, column) = (within / self.width / side, within % self.width / side);
            colours[(channel * rows + row) * columns + column]
        };
        (0..self.len()).map(colour).collect()
    }

    /// A direction of L2 length 1: uniform among all for L2, along a uniform point of a cube for L∞.
    fn direction(self, rng: &mut impl Rng) -> Vec<f32> {
        let draw = |_| match self.norm {
            Norm::L2 => rng.sample(StandardNormal),
            Norm::L0 | Norm::Linf => 2.0 * rng.random::<f32>() - 1.0,
        };
        let mut direction: Vec<f32> = (0..self.len()).map(draw).collect();
        to_length_one(&mut direction);
        direction
    }

    fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        let change = a.iter().zip(b).map(|(a, b)| a - b);
        match self.norm {
            Norm::L2 => length(change),
            Norm::L0 | Norm::Linf => change.fold(0.0, |most, it| it.abs().max(most)).into(),
        }
    }

    /// The share of the way from one image to another: along the line for L2, as far as each value may go for L∞.
    fn between(self, original: &[f32], far: &[f32], share: f64) -> Vec<f32> {
        match self.norm {
            Norm::L2 => {
                let share = share as f32;
                original.iter().zip(far).map(|(original, far)| original + (far - original) * share).collect()
            }
            Norm::L0 | Norm::Linf => {
                let most = (self.distance(original, far) * share) as f32;
                let value = |(original, far): (&f32, &f32)| far.clamp(original - most, original + most);
                original.iter().zip(far).map(|pair| value(pair).clamp(0.0, 1.0)).collect()
            }
        }
    }

    /// Halvings after which bisection is at the paper's θ.
    fn halvings(self) -> u32 {
        let power = if self.norm == Norm::L2 { 1.5 } else { 2.0 };
        // More would be lost in f32.
        (power * (self.len() as f64).log2()).ceil().min(24.0) as u32
    }
}

fn length(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

fn to_length_one(values: &mut [f32]) {
    let length = length(values.iter().copied()).max(TINY) as f32;
    for value in values {
        *value /= length;
    }
}

const TINY: f64 = 1e-12;

/// Starts that are tried; with each the grain is twice as coarse, down to a single colour, and then as fine as can be again.
const STARTS: u32 = 100;

/// Halvings of a step before it is given up.
const SHORTENINGS: u32 = 25;

/// Fewer directions say nothing of the boundary.
const FEWEST: u32 = 5;

#[derive(Debug)]
enum Stage {
    /// Looking for an image of another class.
    Start {
        tried: u32,
    },
    /// Between the original and `far`, which is adversarial; `low` is not, `high` is, as shares of the way.
    Bisect {
        far: Vec<f32>,
        low: f64,
        high: f64,
        left: u32,
    },
    /// Estimating a direction at the boundary.
    Estimate(Estimate),
    /// A step of this length along the direction, and how often it may still be halved.
    Leap {
        direction: Vec<f32>,
        length: f64,
        left: u32,
    },
    Done,
}

#[derive(Debug)]
struct Estimate {
    delta: f64,
    /// Directions still to be asked about.
    left: u32,
    n: u32,
    n_adversarial: u32,
    /// Sums of all directions, and of those that are adversarial less the others.
    all: Vec<f32>,
    signed: Vec<f32>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Walk {
    frame: Frame,
    original: Vec<f32>,
    rng: ChaCha8Rng,
    queries: u32,
    evaluations: u32,
    used: u32,
    first_success: Option<u32>,
    nearest: Vec<f32>,
    distance: f64,
    /// On the boundary, once it was reached.
    at: Vec<f32>,
    /// Directions taken so far.
    n_leaps: u32,
    stage: Stage,
}

impl Walk {
    pub(super) fn new(frame: Frame, original: Vec<f32>, rng: ChaCha8Rng, params: &Params) -> Self {
        Self {
            frame,
            nearest: original.clone(),
            at: original.clone(),
            original,
            rng,
            queries: params.queries,
            evaluations: params.evaluations,
            used: 0,
            first_success: None,
            distance: f64::INFINITY,
            n_leaps: 0,
            stage: Stage::Start { tried: 0 },
        }
    }

    pub(super) fn n_queries(&self) -> u32 {
        self.used
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// The query that was the first to be answered with another class.
    pub(super) fn first_success(&self) -> Option<u32> {
        self.first_success
    }

    /// The nearest adversarial image, or the original.
    pub(super) fn into_nearest(self) -> Vec<f32> {
        self.nearest
    }

    /// Images to ask about, at most so many; none when the walk is done.
    pub(super) fn ask(&mut self, most: usize) -> Vec<Vec<f32>> {
        let most = (self.queries - self.used).min(most as u32);
        if most == 0 {
            self.stage = Stage::Done;
        }
        match &self.stage {
            Stage::Start { tried } => {
                let sides = self.frame.height.max(self.frame.width).next_power_of_two().ilog2() + 1;
                vec![self.frame.blocks(&mut self.rng, 1 << (tried % sides))]
            }
            Stage::Bisect { far, low, high, .. } => {
                vec![self.frame.between(&self.original, far, f64::midpoint(*low, *high))]
            }
            Stage::Estimate(estimate) => {
                let (n, delta) = (estimate.left.min(most), estimate.delta as f32);
                let (frame, at, rng) = (self.frame, &self.at, &mut self.rng);
                let near = |direction: Vec<f32>| {
                    at.iter().zip(direction).map(|(at, to)| (at + delta * to).clamp(0.0, 1.0)).collect()
                };
                (0..n).map(|_| near(frame.direction(rng))).collect()
            }
            Stage::Leap { direction, length, .. } => {
                let length = *length as f32;
                vec![self.at.iter().zip(direction).map(|(at, to)| (at + length * to).clamp(0.0, 1.0)).collect()]
            }
            Stage::Done => Vec::new(),
        }
    }

    /// Takes the answers to the images asked about: whether each is adversarial.
    pub(super) fn learn(&mut self, images: Vec<Vec<f32>>, answers: &[bool]) {
        for (image, &is_adversarial) in images.into_iter().zip(answers) {
            self.used += 1;
            if is_adversarial {
                self.first_success.get_or_insert(self.used);
                let distance = self.frame.distance(&self.original, &image);
                if distance < self.distance {
                    (self.distance, self.nearest) = (distance, image.clone());
                }
            }
            let stage = std::mem::replace(&mut self.stage, Stage::Done);
            self.stage = self.next(stage, image, is_adversarial);
        }
    }

    fn next(&mut self, stage: Stage, image: Vec<f32>, is_adversarial: bool) -> Stage {
        match stage {
            Stage::Start { .. } | Stage::Leap { .. } if is_adversarial => self.bisect(image),
            Stage::Start { tried } if tried + 1 < STARTS => Stage::Start { tried: tried + 1 },
            Stage::Bisect { far, low, high, left } => {
                let middle = f64::midpoint(low, high);
                let (low, high) = if is_adversarial { (low, middle) } else { (middle, high) };
                if is_adversarial {
                    self.at = image;
                }
                match left {
                    0 | 1 => self.estimate(),
                    _ => Stage::Bisect { far, low, high, left: left - 1 },
                }
            }
            Stage::Estimate(mut estimate) => {
                let sign = if is_adversarial { 1.0 } else { -1.0 };
                for (place, (near, at)) in image.iter().zip(&self.at).enumerate() {
                    // What was left of the direction in the box.
                    estimate.all[place] += near - at;
                    estimate.signed[place] += sign * (near - at);
                }
                estimate.left -= 1;
                estimate.n += 1;
                estimate.n_adversarial += u32::from(is_adversarial);
                if estimate.left > 0 { Stage::Estimate(estimate) } else { self.leap(&estimate) }
            }
            // The step was in vain: another direction.
            Stage::Leap { left: 0, .. } => self.estimate(),
            Stage::Leap { direction, length, left } => Stage::Leap { direction, length: length / 2.0, left: left - 1 },
            Stage::Start { .. } | Stage::Done => Stage::Done,
        }
    }

    fn bisect(&mut self, far: Vec<f32>) -> Stage {
        self.at.clone_from(&far);
        Stage::Bisect { far, low: 0.0, high: 1.0, left: self.frame.halvings() }
    }

    fn estimate(&mut self) -> Stage {
        self.n_leaps += 1;
        let wanted = (f64::from(self.evaluations) * f64::from(self.n_leaps).sqrt()) as u32;
        // The step behind it and the way back to the boundary are part of the budget.
        let back = self.frame.halvings() + 2;
        let left = wanted.min((self.queries - self.used).saturating_sub(back));
        if left < FEWEST.min(self.evaluations) {
            return Stage::Done;
        }
        let distance = self.frame.distance(&self.original, &self.at);
        let delta = if self.n_leaps == 1 { 0.1 } else { distance / self.frame.len() as f64 };
        let zeros = || vec![0.0; self.frame.len()];
        Stage::Estimate(Estimate { delta, left, n: 0, n_adversarial: 0, all: zeros(), signed: zeros() })
    }

    fn leap(&mut self, estimate: &Estimate) -> Stage {
        let mean = 2.0 * (estimate.n_adversarial as f32 / estimate.n as f32) - 1.0;
        // Where all answers are the same, their mean says where to go.
        let weight = if mean.abs() < 1.0 { mean } else { 0.0 };
        let sums = estimate.signed.iter().zip(&estimate.all);
        let mut direction: Vec<f32> = sums.map(|(signed, all)| signed - weight * all).collect();
        match self.frame.norm {
            Norm::L2 => to_length_one(&mut direction),
            Norm::L0 | Norm::Linf => direction.iter_mut().filter(|it| **it != 0.0).for_each(|it| *it = it.signum()),
        }
        let distance = self.frame.distance(&self.original, &self.at);
        let length = distance / f64::from(self.n_leaps).sqrt();
        Stage::Leap { direction, length, left: SHORTENINGS }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn frame(norm: Norm) -> Frame {
        Frame::new(&[1, 2, 3, 4], norm)
    }

    /// A plane through the middle of the box: the distance to it is known.
    #[test]
    fn a_walk_ends_near_the_nearest_point_of_a_plane() {
        for (norm, exact) in [(Norm::L2, 0.25 * 24.0_f64.sqrt()), (Norm::Linf, 0.25)] {
            let params = Params { queries: 3000, evaluations: 30 };
            let mut walk = Walk::new(frame(norm), vec![0.25; 24], ChaCha8Rng::seed_from_u64(3), &params);
            let mut n = 0;
            loop {
                let images = walk.ask(7);
                if images.is_empty() {
                    break;
                }
                n += images.len();
                let answers: Vec<bool> = images.iter().map(|it| it.iter().sum::<f32>() > 12.0).collect();
                walk.learn(images, &answers);
            }
            assert!(n == 3000 || n > 2900 && walk.is_done(), "{n}");
            let found = frame(norm).distance(&[0.25; 24], &walk.nearest);
            assert!(walk.nearest.iter().sum::<f32>() > 12.0);
            assert!(exact <= found && found < 1.1 * exact, "{norm}: {found} for {exact}");
        }
    }

    #[test]
    fn starts_grow_coarser_down_to_one_colour() {
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        for (side, colours) in [(1, 24), (2, 8), (4, 2)] {
            let mut values = frame(Norm::L2).blocks(rng, side);
            values.sort_by(f32::total_cmp);
            values.dedup();
            assert_eq!(values.len(), colours, "{side}");
        }
    }

    #[test]
    fn half_the_way_is_along_the_line_or_within_half_of_the_largest_change() {
        let (original, far) = ([0.5, 0.5, 0.5], [1.0, 0.75, 0.5]);
        assert_eq!(frame(Norm::L2).between(&original, &far, 0.5), [0.75, 0.625, 0.5]);
        assert_eq!(frame(Norm::Linf).between(&original, &far, 0.5), [0.75, 0.75, 0.5]);
    }
}
