//! Candidates: images with a few pixels changed, many per sample, shown to the victim in chunks.

use std::ops::Range;

use tch::{Kind, Tensor};

use crate::attack::Batch;
use crate::error::AttackError;
use crate::loss::{log_odds, margin};
use crate::query::Query;
use crate::rows;
use crate::threat::Goal;
use crate::victim::VictimError;

/// A list of changes, each of one image and of the same number of its pixels.
#[derive(Debug)]
pub(crate) struct Candidates {
    n_channels: usize,
    n_changed: usize,
    rows: Vec<i64>,
    positions: Vec<i64>,
    values: Vec<f32>,
}

impl Candidates {
    /// None yet. Each will change `n_changed` pixels of an image with `n_channels`.
    pub(crate) fn new(n_channels: usize, n_changed: usize) -> Self {
        Self { n_channels, n_changed, rows: Vec::new(), positions: Vec::new(), values: Vec::new() }
    }

    /// Adds a change of the batch's image `row`: `positions` are y·W + x, `values` holds each pixel's channels in turn. Of two
    /// changes of one pixel the later counts.
    pub(crate) fn push(&mut self, row: usize, positions: &[i64], values: &[f32]) {
        debug_assert_eq!((positions.len(), values.len()), (self.n_changed, self.n_changed * self.n_channels));
        self.rows.push(row as i64);
        self.positions.extend_from_slice(positions);
        // A scatter that names a place twice may write either value: both must be the same.
        for position in positions {
            let last = positions.iter().rposition(|other| other == position).unwrap_or(0);
            self.values.extend_from_slice(&values[last * self.n_channels..(last + 1) * self.n_channels]);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.positions.clear();
        self.values.clear();
    }

    /// Makes the changes in the `images` themselves, `[N, C, H, W]`; at most one candidate per image.
    pub(crate) fn apply_to(&self, images: &mut Tensor) {
        if !self.rows.is_empty() {
            let rows = rows::upload(&self.rows, images.device());
            let changed = self.make(images, &rows, 0..self.rows.len());
            let _ = images.index_copy_(0, &rows, &changed);
        }
    }

    /// The candidates `range`, `[n, C, H, W]`, made from `images`, whose rows they are `rows`.
    fn make(&self, images: &Tensor, rows: &Tensor, range: Range<usize>) -> Tensor {
        let mut shape = images.size();
        shape[0] = range.len() as i64;
        let (n, n_channels, n_changed) = (shape[0], shape[1], self.n_changed as i64);
        let mut made = images.flatten(2, 3).index_select(0, rows); // [n, C, H·W]
        if 0 < n_changed {
            let positions = &self.positions[range.start * self.n_changed..range.end * self.n_changed];
            let per_candidate = self.n_changed * self.n_channels;
            let values = &self.values[range.start * per_candidate..range.end * per_candidate];
            let positions = rows::upload(positions, images.device()).reshape([n, 1, n_changed]);
            let positions = positions.expand([n, n_channels, n_changed], false);
            let values = rows::upload(values, images.device()).reshape([n, n_changed, n_channels]);
            let _ = made.scatter_(2, &positions, &values.transpose(1, 2));
        }
        made.reshape(shape)
    }
}

/// How good a candidate is for the attacker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// Log-odds against the class to leave, or for the class to reach.
    pub(crate) log_odds: f64,
    /// Whether the goal is met.
    pub(crate) is_broken: bool,
}

/// Shows candidates to the victim.
#[derive(Debug)]
pub(crate) struct Scorer<'a> {
    batch: &'a Batch<'a>,
    k: u32,
    chunk: usize,
}

impl<'a> Scorer<'a> {
    /// For the samples of `batch`. A sample is broken when `k` classes or more are above the one to leave; a target is reached
    /// when it is above all others.
    ///
    /// Chunks hold twice as many rows as the batch: no gradients are kept, and a smaller batch means smaller chunks.
    pub(crate) fn new(batch: &'a Batch<'a>, k: u32) -> Self {
        Scorer { batch, k, chunk: (2 * batch.ids.len()).next_multiple_of(8).max(16) }
    }

    /// One score per candidate, made from `images`, which are the batch's in their present state. One forward each.
    ///
    /// Asks between chunks whether to stop, so that one step may have many candidates.
    pub(crate) fn score(
        &self,
        query: &mut Query<'_>,
        images: &Tensor,
        candidates: &Candidates,
    ) -> Result<Vec<Score>, AttackError> {
        let n = candidates.rows.len();
        let mut parts = Vec::with_capacity(n.div_ceil(self.chunk));
        for start in (0..n).step_by(self.chunk) {
            query.check()?;
            let range = start..n.min(start + self.chunk);
            let ids: Vec<u32> =
                candidates.rows[range.clone()].iter().map(|&row| self.batch.ids[row as usize]).collect();
            let rows = rows::upload(&candidates.rows[range.clone()], images.device());
            let logits = query.logits(&ids, &candidates.make(images, &rows, range))?;
            let classes = self.batch.classes.index_select(0, &rows);
            let log_odds = log_odds(&logits, &classes, self.batch.goal);
            let is_broken = self.is_broken(&logits, &classes).to_kind(Kind::Double);
            parts.push(Tensor::stack(&[log_odds, is_broken], 1)); // [n, 2]
        }
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        // One transfer for all chunks.
        let scores = Vec::<f64>::try_from(Tensor::cat(&parts, 0).flatten(0, 1)).map_err(VictimError::from)?;
        Ok(scores.chunks_exact(2).map(|pair| Score { log_odds: pair[0], is_broken: 0.5 < pair[1] }).collect())
    }

    fn is_broken(&self, logits: &Tensor, classes: &Tensor) -> Tensor {
        if self.batch.goal == Goal::Untargeted && 1 < self.k {
            let own = logits.gather(1, &classes.unsqueeze(1), false); // [n, 1]
            let n_above = logits.gt_tensor(&own).sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64);
            n_above.ge(i64::from(self.k))
        } else {
            margin(logits, classes, self.batch.goal).gt(0.0)
        }
    }
}

/// Number and score of the best of the `scores` that meet the goal, and the number of the first that does.
pub(crate) fn best_broken(scores: &[Score]) -> Option<Broken> {
    let broken = || scores.iter().enumerate().filter(|(_, score)| score.is_broken);
    let (first, _) = broken().next()?;
    // Of equals the first: `max_by` would take the last.
    let (best, score) = broken().rev().max_by(|(_, a), (_, b)| a.log_odds.total_cmp(&b.log_odds))?;
    Some(Broken { best, log_odds: score.log_odds, first })
}

/// What [`best_broken`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Broken {
    pub(crate) best: usize,
    pub(crate) log_odds: f64,
    pub(crate) first: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.flatten(0, -1)).unwrap()
    }

    #[test]
    fn a_change_lands_on_its_row_and_column_in_all_channels_and_nowhere_else() {
        let mut images = Tensor::zeros([2, 2, 2, 3], (Kind::Float, Device::Cpu));
        let mut candidates = Candidates::new(2, 1);
        candidates.push(1, &[5], &[0.25, 0.75]);
        candidates.apply_to(&mut images);
        let mut expected = vec![0.0_f32; 24];
        (expected[12 + 5], expected[18 + 5]) = (0.25, 0.75);
        assert_eq!(values(&images), expected);
    }

    #[test]
    fn of_two_changes_of_one_pixel_the_later_counts() {
        let mut images = Tensor::zeros([1, 1, 1, 3], (Kind::Float, Device::Cpu));
        let mut candidates = Candidates::new(1, 3);
        candidates.push(0, &[2, 0, 2], &[0.1, 0.2, 0.3]);
        candidates.apply_to(&mut images);
        assert_eq!(values(&images), [0.2, 0.0, 0.3]);
    }

    #[test]
    fn the_best_is_broken_and_of_equals_the_first() {
        let score = |log_odds, is_broken| Score { log_odds, is_broken };
        let scores = [score(9.0, false), score(1.0, true), score(2.0, true), score(2.0, true)];
        assert_eq!(best_broken(&scores), Some(Broken { best: 2, log_odds: 2.0, first: 1 }));
        assert_eq!(best_broken(&scores[..1]), None);
    }
}
