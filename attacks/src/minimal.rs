//! What the searches for the smallest change share: schedules, sizes, and what counts as found.

use std::f64::consts::PI;

use tch::{Kind, Tensor};

use crate::best::{Best, Offer, Open};
use crate::error::AttackError;
use crate::query::Query;
use crate::rows;
use crate::threat::Norm;

/// From `first` to `last` by half a cosine, at a step of so many.
pub(crate) fn half_cosine(first: f64, last: f64, step: u32, steps: u32) -> f64 {
    last + (first - last) * (1.0 + (PI * f64::from(step) / f64::from(steps)).cos()) / 2.0
}

/// The size of each row's change in a norm, f64 `[N]`; for L0 the number of changed pixels.
pub(crate) fn size(norm: Norm, change: &Tensor) -> Tensor {
    match norm {
        Norm::L0 => rows::sum(&change.ne(0.0).any_dim(1, false).to_kind(Kind::Double)),
        Norm::L2 => rows::l2(change),
        Norm::Linf => rows::max_abs(change).to_kind(Kind::Double),
    }
}

/// The size of the largest change that leaves pixels in `[0, 1]`, f64 `[N]`.
pub(crate) fn largest(norm: Norm, original: &Tensor) -> Tensor {
    size(norm, &original.maximum(&(1.0 - original)))
}

/// Values `[N, C, H, W]` summed over the channels, `[N, 1, H, W]`.
pub(crate) fn channel_sum(values: &Tensor) -> Tensor {
    let channel = |at| values.narrow(1, at, 1);
    (1..values.size()[1]).fold(channel(0), |sum, at| sum + channel(at))
}

/// Keeps pixels that meet the goal where their change is the smallest so far.
pub(crate) fn keep_smallest(
    best: &mut Best,
    query: &mut Query<'_>,
    open: &Open,
    (pixels, size, is_met): (&Tensor, &Tensor, &Tensor),
    forwards: u32,
) -> Result<(), AttackError> {
    let score = (-size).to_kind(Kind::Float).masked_fill(&is_met.logical_not(), f64::NEG_INFINITY);
    let forwards = open.classes.full_like(i64::from(forwards));
    best.take(query, open, &Offer { pixels, score: &score, is_met, forwards: &forwards })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn half_a_cosine_begins_at_its_first_value_and_falls_towards_its_last() {
        assert_eq!(half_cosine(1.0, 0.01, 0, 10), 1.0);
        assert!((half_cosine(1.0, 0.0, 5, 10) - 0.5).abs() < 1e-12);
        assert!(half_cosine(1.0, 0.01, 9, 10) < 0.04);
    }

    #[test]
    fn a_pixel_counts_once_however_many_channels_changed() {
        let change = Tensor::from_slice(&[0.0_f32, 0.5, 0.0, 0.0, -0.25, 0.0]).reshape([1, 2, 1, 3]);
        let sizes = [Norm::L0, Norm::L2, Norm::Linf].map(|norm| f64::try_from(size(norm, &change)).unwrap());
        assert_eq!(sizes, [1.0, 0.3125_f64.sqrt(), 0.5]);
    }

    #[test]
    fn the_largest_change_reaches_the_farther_end_of_each_pixel() {
        let original = Tensor::from_slice(&[0.25_f32, 1.0]).reshape([1, 1, 1, 2]);
        assert_eq!(f64::try_from(largest(Norm::L2, &original)).unwrap(), 1.25);
    }
}
