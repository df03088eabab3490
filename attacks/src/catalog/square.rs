//! Square: random search with square patches, asking for class scores only.

use std::fmt::Display;

use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, BudgetAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::error::{AttackError, ParamError};
use crate::loss::margin;
use crate::query::Query;
use crate::rows;
use crate::threat::{Ball, Norm};
use crate::victim::{Access, VictimError};

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "square",
    title: "Square",
    what: "Changes random squares of the image to the edge of the budget and keeps what lowers the margin, asking for class scores only. \
           The black-box attack of AutoAttack: what it breaks beyond gradient attacks shows that gradients are masked.",
    kind: AttackKind::Search,
    access: Access::Logits,
    norms: &[Norm::Linf, Norm::L2],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Andriushchenko, Croce, Flammarion, Hein",
        title: "Square Attack: a query-efficient black-box adversarial attack via random search",
        venue: "ECCV",
        year: 2020,
        url: "https://arxiv.org/abs/1912.00049",
    },
    params: &[
        ParamDoc {
            name: "queries",
            default: "5000",
            range: "1 to 1000000",
            help: "Images shown to the model per sample",
        },
        ParamDoc {
            name: "p",
            default: "0.8",
            range: "> 0, at most 1",
            help: "Share of the image that the first squares cover; later ones are smaller by a fixed schedule",
        },
        ParamDoc {
            name: "rescale",
            default: "false",
            range: "true, false",
            help: "Whether the schedule, made for 10000 queries, is rescaled to the number of queries",
        },
    ],
    presets: &[
        Preset::Quick.values(Norm::Linf, "eps=8/255,queries=300", "standard with fewer queries"),
        Preset::Quick.values(Norm::L2, "eps=0.5,queries=300", "as for linf"),
        Preset::Standard.values(
            Norm::Linf,
            "eps=8/255,queries=5000,p=0.8",
            "AutoAttack's settings, RobustBench's budget",
        ),
        Preset::Standard.values(Norm::L2, "eps=0.5,queries=5000,p=0.8", "AutoAttack's settings, RobustBench's budget"),
        Preset::Paper.values(
            Norm::Linf,
            "eps=0.05,queries=10000,p=0.05,rescale=true",
            "the Square paper's values for ImageNet; AdverTorch has no such attack",
        ),
        Preset::Paper.values(
            Norm::L2,
            "eps=5,queries=10000,p=0.1,rescale=true",
            "the Square paper's values for ImageNet; AdverTorch has no such attack",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// Random search over squares, keeping a candidate where the margin moves towards the goal.
///
/// L∞: starts with vertical stripes of ±ε per channel; then a square of side `√(p·h·w)` at a random place is set to ±ε per channel. L2:
/// starts with a tiling of a fixed pattern whose halves have opposite signs; then the mass of one window moves into another, where it is
/// added to that pattern, and the whole is scaled to ε. `p` falls with the number of queries by the paper's steps. A sample is done at its
/// first success.
///
/// # Source
/// The paper's algorithms 1 to 3; AutoAttack's constants and its order of operations.
/// # Deviations
/// Each sample has squares of its own, drawn from its own stream, so that a result does not depend on the batch. Squares may touch the lower
/// and right edges; sides are clipped to the shorter side of the image. The margin is the loss for targets, too.
/// # Cost
/// One forward per query; the start counts as one.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    queries: u32,
    p: f64,
    rescale: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { queries: 5000, p: 0.8, rescale: false }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { queries, p, .. } = params;
    check("queries", &queries, (1..=1_000_000).contains(&queries), "must be 1 to 1000000")?;
    check("p", &p, 0.0 < p && p <= 1.0, "must be greater than 0 and at most 1")?;
    Ok(Attack::Budget(Box::new(params)))
}

impl BudgetAttack for Params {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: self.queries.into(), backwards: 0 }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError> {
        let device = batch.pixels.device();
        let frame = Frame::of(batch.pixels, ball);
        let originals = plain_rows(batch.pixels)?;
        let mut best = originals.clone();
        let mut scores = vec![f32::NEG_INFINITY; best.len()];
        let mut open: Vec<usize> = (0..best.len()).collect();
        for step in 0..self.queries {
            query.step(step, self.queries)?;
            let ids: Vec<u32> = open.iter().map(|&row| batch.ids[row]).collect();
            let mut candidates = Vec::with_capacity(open.len() * frame.len());
            for (&row, &id) in open.iter().zip(&ids) {
                let rng = query.rng(id);
                candidates.push(match step {
                    0 => frame.start(rng, &originals[row]),
                    // The start was the first query.
                    step => frame.next(rng, &originals[row], &best[row], self.share(step - 1)),
                });
            }
            let shape = [open.len() as i64, frame.channels as i64, frame.height as i64, frame.width as i64];
            let pixels = rows::upload(&candidates.concat(), device).reshape(shape);
            let logits = query.logits(&ids, &pixels)?;
            let places: Vec<i64> = open.iter().map(|&row| row as i64).collect();
            let classes = batch.classes.index_select(0, &rows::upload(&places, device));
            let margins = Vec::<f32>::try_from(margin(&logits, &classes, batch.goal)).map_err(VictimError::from)?;
            for ((&row, candidate), &score) in open.iter().zip(candidates).zip(&margins) {
                if score > scores[row] {
                    (best[row], scores[row]) = (candidate, score);
                }
            }
            for &row in open.iter().filter(|&&row| scores[row] > 0.0) {
                let id = batch.ids[row];
                query.tell_success(id, query.forwards(id));
            }
            open.retain(|&row| scores[row] <= 0.0);
            query.tell_broken(best.len() - open.len());
            if open.is_empty() {
                break;
            }
        }
        Ok(rows::upload(&best.concat(), device).reshape(batch.pixels.size()))
    }
}

impl Params {
    /// The share of the image that the squares of an iteration (from 0) cover.
    fn share(&self, iteration: u32) -> f64 {
        let iteration = match self.rescale {
            true => u64::from(iteration) * SCHEDULE_QUERIES / u64::from(self.queries),
            false => u64::from(iteration),
        };
        let halvings = SCHEDULE.iter().filter(|&&after| iteration > after).count();
        self.p / f64::from(1_u32 << halvings)
    }
}

/// After these iterations the share is halved.
const SCHEDULE: [u64; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];

/// What the schedule was made for.
const SCHEDULE_QUERIES: u64 = 10_000;

/// An image's shape, and how far it may change. Images are lists of values, channel by channel, row by row.
struct Frame {
    channels: usize,
    height: usize,
    width: usize,
    norm: Norm,
    eps: f32,
}

/// A square of an image.
#[derive(Clone, Copy)]
struct Window {
    top: usize,
    left: usize,
    side: usize,
}

impl Frame {
    fn of(pixels: &Tensor, ball: Ball) -> Self {
        let shape: Vec<usize> = pixels.size().iter().map(|&size| size as usize).collect();
        let (channels, height, width) = (shape[1], shape[2], shape[3]);
        Self { channels, height, width, norm: ball.norm(), eps: ball.epsilon().value() as f32 }
    }

    fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Places of a window's values in one channel, row by row.
    fn places(&self, channel: usize, window: Window) -> impl Iterator<Item = usize> + use<> {
        let (start, width) = (channel * self.height * self.width, self.width);
        let rows = window.top..window.top + window.side;
        rows.flat_map(move |y| (window.left..window.left + window.side).map(move |x| start + y * width + x))
    }

    fn window(&self, rng: &mut impl Rng, side: usize) -> Window {
        let (top, left) = (rng.random_range(0..=self.height - side), rng.random_range(0..=self.width - side));
        Window { top, left, side }
    }

    fn start(&self, rng: &mut impl Rng, original: &[f32]) -> Vec<f32> {
        if self.norm == Norm::L2 {
            return self.scaled(original, self.tiles(rng));
        }
        let stripes: Vec<f32> = (0..self.channels * self.width).map(|_| self.eps * sign(rng)).collect();
        let moved = original.iter().enumerate().map(|(place, value)| {
            let (channel, column) = (place / (self.height * self.width), place % self.width);
            (value + stripes[channel * self.width + column]).clamp(0.0, 1.0)
        });
        moved.collect()
    }

    fn next(&self, rng: &mut impl Rng, original: &[f32], best: &[f32], share: f64) -> Vec<f32> {
        let area = (self.height * self.width) as f64;
        let side = ((share * area).sqrt().round() as usize).clamp(1, self.height.min(self.width));
        if self.norm == Norm::L2 {
            return self.next_l2(rng, original, best, side);
        }
        let window = self.window(rng, side);
        let mut next = best.to_vec();
        for channel in 0..self.channels {
            let change = self.eps * sign(rng);
            for place in self.places(channel, window) {
                next[place] = (original[place] + change).clamp(0.0, 1.0);
            }
        }
        next
    }

    fn next_l2(&self, rng: &mut impl Rng, original: &[f32], best: &[f32], side: usize) -> Vec<f32> {
        let shorter = self.height.min(self.width);
        // An odd side of at least 3, where the image has room for it.
        let side = (side.max(3) | 1).min(if shorter % 2 == 1 { shorter } else { shorter - 1 }).max(1);
        let mut change: Vec<f32> = best.iter().zip(original).map(|(best, original)| best - original).collect();
        let (to, from) = (self.window(rng, side), self.window(rng, side));
        let left = (self.eps.powi(2) - square_sum(change.iter().copied())).max(0.0) / self.channels as f32;
        let area = self.height * self.width;
        let mut is_in_windows = vec![false; area];
        self.places(0, to).chain(self.places(0, from)).for_each(|place| is_in_windows[place] = true);
        let pattern = pattern(rng, side);
        let mut added = Vec::with_capacity(self.channels);
        for channel in 0..self.channels {
            let old: Vec<f32> = self.places(channel, to).map(|place| change[place]).collect();
            let in_windows = change[channel * area..].iter().zip(&is_in_windows).filter(|(_, is_in)| **is_in);
            let mass = (left + square_sum(in_windows.map(|(value, _)| *value))).sqrt();
            let (length, sign) = (square_sum(old.iter().copied()).sqrt() + TINY, sign(rng));
            let new: Vec<f32> = pattern.iter().zip(old).map(|(value, old)| sign * value + old / length).collect();
            let length = square_sum(new.iter().copied()).sqrt() + TINY;
            added.push(new.into_iter().map(|value| value / length * mass).collect::<Vec<f32>>());
        }
        for channel in 0..self.channels {
            self.places(channel, from).for_each(|place| change[place] = 0.0);
        }
        for (channel, values) in added.into_iter().enumerate() {
            self.places(channel, to).zip(values).for_each(|(place, value)| change[place] = value);
        }
        self.scaled(original, change)
    }

    /// A change of patterns side by side, a fifth of the shorter side each.
    fn tiles(&self, rng: &mut impl Rng) -> Vec<f32> {
        let side = (self.height.min(self.width) / 5).max(1);
        let mut change = vec![0.0; self.len()];
        let margins = [self.height, self.width].map(|length| length % side / 2);
        for row in 0..self.height / side {
            for column in 0..self.width / side {
                let window = Window { top: margins[0] + row * side, left: margins[1] + column * side, side };
                let pattern = pattern(rng, side);
                for channel in 0..self.channels {
                    let sign = sign(rng);
                    self.places(channel, window).zip(&pattern).for_each(|(place, value)| change[place] = sign * value);
                }
            }
        }
        change
    }

    /// The original moved by a change that is scaled to ε.
    fn scaled(&self, original: &[f32], change: Vec<f32>) -> Vec<f32> {
        let factor = self.eps / (square_sum(change.iter().copied()).sqrt() + TINY);
        original.iter().zip(change).map(|(value, change)| (value + change * factor).clamp(0.0, 1.0)).collect()
    }
}

const TINY: f32 = 1e-12;

fn sign(rng: &mut impl Rng) -> f32 {
    if rng.random::<bool>() { 1.0 } else { -1.0 }
}

/// Summed in f64: small changes of many values must not be lost.
fn square_sum(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>() as f32
}

/// The paper's η: two rectangles of concentric rings, of opposite signs, upright or lying; of length 1.
fn pattern(rng: &mut impl Rng, side: usize) -> Vec<f32> {
    let upper = side / 2;
    let (above, below) = (rings(upper, side), rings(side - upper, side));
    let mut pattern: Vec<f32> = above.into_iter().chain(below.into_iter().map(|value| -value)).collect();
    let length = square_sum(pattern.iter().copied()).sqrt() + TINY;
    for value in &mut pattern {
        *value /= length;
    }
    if rng.random::<bool>() {
        return (0..side * side).map(|place| pattern[place % side * side + place / side]).collect();
    }
    pattern
}

/// Rectangles round the middle, the n-th of weight 1/n², added up; of length 1.
fn rings(height: usize, width: usize) -> Vec<f32> {
    let mut values = vec![0.0; height * width];
    let middle = [height / 2, width / 2];
    for ring in 0..=middle[0].max(middle[1]) {
        let span = |middle: usize, length: usize| middle.saturating_sub(ring)..(middle + ring + 1).min(length);
        for y in span(middle[0], height) {
            for x in span(middle[1], width) {
                values[y * width + x] += 1.0 / (ring as f32 + 1.0).powi(2);
            }
        }
    }
    let length = square_sum(values.iter().copied()).sqrt() + TINY;
    for value in &mut values {
        *value /= length;
    }
    values
}

fn plain_rows(pixels: &Tensor) -> Result<Vec<Vec<f32>>, AttackError> {
    #[expect(clippy::disallowed_methods, reason = "brings values to the processor, chooses no device for the victim")]
    let pixels = pixels.to_device(Device::Cpu);
    Ok(Vec::<Vec<f32>>::try_from(pixels.flatten(1, -1)).map_err(VictimError::from)?)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn frame(norm: Norm, eps: f32) -> Frame {
        Frame { channels: 2, height: 12, width: 9, norm, eps }
    }

    fn length(change: &[f32]) -> f32 {
        square_sum(change.iter().copied()).sqrt()
    }

    fn change(frame: &Frame, next: &[f32]) -> Vec<f32> {
        next.iter().take(frame.len()).map(|value| value - 0.5).collect()
    }

    #[test]
    fn the_share_is_halved_by_the_papers_schedule() {
        let params = Params { queries: 5000, p: 0.8, rescale: false };
        let shares = [0, 10, 11, 51, 201, 8001].map(|iteration| params.share(iteration));
        assert_eq!(shares, [0.8, 0.8, 0.4, 0.2, 0.1, 0.8 / 512.0]);
        assert_eq!(Params { rescale: true, ..params }.share(6), 0.4);
    }

    #[test]
    fn linf_candidates_are_at_the_edge_of_the_budget_and_differ_in_one_square() {
        let (frame, rng) = (frame(Norm::Linf, 0.25), &mut ChaCha8Rng::seed_from_u64(1));
        let original = vec![0.5; frame.len()];
        let start = frame.start(rng, &original);
        // Stripes: each column is of one colour per channel.
        assert!(start.chunks(9).collect::<Vec<_>>().chunks(12).all(|rows| rows.iter().all(|row| row == &rows[0])));
        assert!(change(&frame, &start).iter().all(|value| value.abs() == 0.25));
        let next = frame.next(rng, &original, &start, 0.1);
        let n_changed = next.iter().zip(&start).filter(|(a, b)| a != b).count();
        // √(0.1 · 108) = 3.3: a square of 3 × 3 in two channels.
        assert!(0 < n_changed && n_changed <= 18, "{n_changed}");
        assert!(change(&frame, &next).iter().all(|value| value.abs() == 0.25));
    }

    #[test]
    fn l2_candidates_have_the_length_of_the_budget() {
        let (frame, rng) = (frame(Norm::L2, 0.75), &mut ChaCha8Rng::seed_from_u64(1));
        let original = vec![0.5; frame.len()];
        let mut best = frame.start(rng, &original);
        for share in [0.8, 0.4, 0.1, 0.01] {
            assert!((length(&change(&frame, &best)) - 0.75).abs() < 1e-5);
            let next = frame.next(rng, &original, &best, share);
            assert_ne!(next, best);
            best = next;
        }
    }

    /// A channel's mass stays its own: what one has in the windows does not weigh in the others.
    #[test]
    fn l2_windows_move_the_mass_of_their_own_channel() {
        let (frame, rng) = (frame(Norm::L2, 0.75), &mut ChaCha8Rng::seed_from_u64(1));
        let original = vec![0.5; frame.len()];
        // All of the budget lies in the second channel.
        let value = 0.75 / 108.0_f32.sqrt();
        let best: Vec<f32> =
            original.iter().enumerate().map(|(i, it)| if i < 108 { *it } else { it + value }).collect();
        for _ in 0..20 {
            let next = change(&frame, &frame.next(rng, &original, &best, 0.1));
            assert!(length(&next[..108]) < 1e-3 && length(&next[108..]) > 0.74, "{}", length(&next[..108]));
        }
    }

    #[test]
    fn patterns_have_length_one_and_two_signs() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        for side in 1..8 {
            let pattern = pattern(rng, side);
            assert!((length(&pattern) - 1.0).abs() < 1e-5, "{side}");
            assert_eq!(side > 1, pattern.iter().any(|&value| value > 0.0), "{side}");
        }
        // The middle is heaviest.
        let rings = rings(3, 5);
        assert!(rings.iter().all(|&value| value <= rings[7]));
    }

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("queries=0", "square.queries = 0: must be 1 to 1000000"),
            ("p=0", "square.p = 0: must be greater than 0 and at most 1"),
            ("p=1.5", "square.p = 1.5: must be greater than 0 and at most 1"),
        ] {
            let (id, table) = crate::config::parse_spec_string(&format!("square:{values}")).unwrap();
            let error = crate::config::AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
