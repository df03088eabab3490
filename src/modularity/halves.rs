//! How sure Q is: what two random halves of the samples say of it, alone and paired.
//!
//! The samples are split into two halves at random, 64 times. In each half Q is computed with the neighbours found again among its own samples.
//! Two halves are independent samples of half the size, so what they say differs, squared, by twice the variance at that size on average, which
//! is four times that of all samples. The mean of a quarter of the squared differences estimates it, and it does so whether a sample acts alone
//! or, as in a graph of neighbours, through others: leaving out a few samples at a time counts what samples do together several times over
//! (`docs/statistics.md`).
//!
//! Never bootstrap samples instead: a repeated sample becomes its own copy's nearest neighbour and lifts Q several times over.

use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::graph::{Sums, check_labels};
use super::neighbors::check_length;
use super::{ModularityError, Neighbors, modularity};
use crate::stats::rates::Measured;

/// Each is a bit of a sample's [`u64`].
pub(crate) const SPLITS: usize = 64;

/// Fewer samples say nothing of how much Q varies.
const FEWEST: usize = 20;

/// The 97.5 % quantile of Student's t with 64 degrees of freedom, one per split.
const T_QUANTILE: f64 = 1.997_729_654_317_693_5;

/// Standard errors to both sides that make so many intervals hold all at once in 95 of 100 cases (Bonferroni); [`Interval`] has those of one.
///
/// # Panics
/// For no interval.
pub(crate) fn t_quantile(intervals: usize) -> f64 {
    assert!(intervals > 0, "no interval has no quantile");
    let t = StudentsT::new(0.0, 1.0, SPLITS as f64).expect("64 degrees of freedom are positive");
    t.inverse_cdf(1.0 - 0.025 / intervals as f64)
}

/// In which half of each split a sample is; the halves of a split differ by at most one sample.
///
/// Equal N give equal splits, so that matched curves share them, and so do two runs on the same images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// A bit per split for each sample.
    of_sample: Arc<[u64]>,
}

impl Splits {
    /// Splits `n` samples by permutations (`ChaCha8`).
    pub fn new(n: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut order: Vec<usize> = (0..n).collect();
        let mut of_sample = vec![0; n];
        for split in 0..SPLITS {
            order.shuffle(&mut random);
            order[..n / 2].iter().for_each(|&sample| of_sample[sample] |= 1 << split);
        }
        Self { of_sample: of_sample.into() }
    }

    /// Each sample's `k` nearest within its own half of each split: `visit(half, i, j, similarity)`, the halves numbered from 0 to 127.
    ///
    /// # Errors
    /// [`ModularityError::TooFewForInterval`] below [`FEWEST`] samples or where a half has no more than k;
    /// [`ModularityError::ExhaustedCandidates`] where a list is too short: longer lists (at most N − 1) cure it.
    pub(super) fn nearest(
        &self,
        neighbors: &Neighbors,
        k: usize,
        visit: &mut impl FnMut(usize, usize, usize, f64),
    ) -> Result<(), ModularityError> {
        let (n, candidates) = (neighbors.n(), neighbors.candidates());
        check_length("halves", n, self.of_sample.len())?;
        if n < FEWEST || n / 2 <= k {
            return Err(ModularityError::TooFewForInterval { n, k });
        }
        let mut exhausted = 0;
        for i in 0..n {
            let own = self.of_sample[i];
            let mut missing = [k; SPLITS];
            // The splits whose k are not yet found.
            let mut open = u64::MAX;
            for (j, similarity) in neighbors.row(i) {
                let mut shared = open & !(own ^ self.of_sample[j as usize]);
                while shared != 0 {
                    let split = shared.trailing_zeros() as usize;
                    shared &= shared - 1;
                    visit(2 * split + (own >> split & 1) as usize, i, j as usize, f64::from(similarity));
                    missing[split] -= 1;
                    if missing[split] == 0 {
                        open &= !(1 << split);
                    }
                }
                if open == 0 {
                    break;
                }
            }
            exhausted += usize::from(open != 0);
        }
        if exhausted > 0 {
            return Err(ModularityError::ExhaustedCandidates { rows: exhausted, k, candidates });
        }
        Ok(())
    }

    /// A value of all samples with what the halves say, in the order of [`Splits::nearest`].
    pub(super) fn replicates(&self, estimate: f64, halves: &[f64]) -> Replicates {
        let differences = halves.chunks_exact(2).map(|it| (it[0] - it[1]) / 2.0).collect();
        Replicates { estimate, differences, splits: self.clone() }
    }
}

/// A value of all samples, and by how much its two halves differ in each split.
#[derive(Debug, Clone, PartialEq)]
pub struct Replicates {
    pub estimate: f64,
    /// Half the difference between the two halves of each split: as large as the standard error, on the average of squares.
    pub(crate) differences: Vec<f64>,
    pub(crate) splits: Splits,
}

impl Replicates {
    /// The difference of two values of the same samples and splits.
    pub(crate) fn minus(&self, other: &Self) -> Result<Self, ModularityError> {
        if self.splits != other.splits {
            return Err(ModularityError::Unpaired);
        }
        let differences = self.differences.iter().zip(&other.differences).map(|(a, b)| a - b).collect();
        Ok(Self { estimate: self.estimate - other.estimate, differences, splits: self.splits.clone() })
    }

    /// The 95 % interval of the value.
    pub fn interval(&self) -> Interval {
        Interval::from_differences(self.estimate, &self.differences)
    }
}

/// A 95 % confidence interval from random halves: the samples are split into two halves 64 times, and the value is computed in each half, with
/// neighbours of its own. The interval is `estimate ± t · se`, t from Student's distribution with 64 degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The value for all samples; not corrected for bias.
    pub estimate: f64,
    /// Standard error: root of the mean of a quarter of the squared differences between the two halves.
    pub se: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl From<Interval> for Measured {
    fn from(it: Interval) -> Self {
        Self { value: it.estimate, low: it.low, high: it.high }
    }
}

impl Interval {
    /// The other way round.
    pub(super) fn negated(self) -> Self {
        Self { estimate: 0.0 - self.estimate, se: self.se, low: 0.0 - self.high, high: 0.0 - self.low }
    }

    pub(crate) fn from_differences(estimate: f64, differences: &[f64]) -> Self {
        let squares: f64 = differences.iter().map(|it| it.powi(2)).sum();
        let se = (squares / differences.len().max(1) as f64).sqrt();
        Self { estimate, se, low: estimate - T_QUANTILE * se, high: estimate + T_QUANTILE * se }
    }
}

/// Q of all samples and of the halves of each split, each half's graph from the candidate lists.
///
/// # Errors
/// As [`modularity`] and [`Splits::nearest`]; [`ModularityError::Undefined`] where a half has no weight.
pub(crate) fn modularity_of_halves(
    neighbors: &Neighbors,
    k: usize,
    labels: &[usize],
    n_classes: usize,
    splits: &Splits,
) -> Result<Replicates, ModularityError> {
    check_labels(labels, neighbors.n(), n_classes)?;
    let estimate = modularity(neighbors, k, labels, n_classes)?.q;
    let mut sums: Vec<Sums> = (0..2 * SPLITS).map(|_| Sums::new(n_classes)).collect();
    splits.nearest(neighbors, k, &mut |half, i, j, similarity| sums[half].add(labels[i], labels[j], similarity))?;
    let of_half = |sums: &Sums| -> Result<f64, ModularityError> { Ok(sums.per_class()?.iter().sum()) };
    let halves = sums.iter().map(of_half).collect::<Result<Vec<f64>, _>>()?;
    Ok(splits.replicates(estimate, &halves))
}

/// The 95 % interval of `a − b`, two values of the same samples with the same splits, such as `Q_clean − Q_adversarial`. What both share cancels.
///
/// # Errors
/// [`ModularityError::Unpaired`] if the splits differ.
pub fn paired_difference(a: &Replicates, b: &Replicates) -> Result<Interval, ModularityError> {
    Ok(a.minus(b)?.interval())
}

/// How many candidates per sample make it practically impossible (below 10⁻⁹ over all rows and splits) that a list holds fewer than k of a
/// sample's own half; never more than N − 1, which cannot run out. For N = 500 and k = 3: 58.
///
/// Of a list of L the other half holds more than L − k with a chance of at most exp(−L · KL((L − k + 1)/L ‖ share of the other half)), by
/// Chernoff's bound, which sampling without replacement keeps.
pub fn candidates_for(n: usize, k: usize) -> usize {
    let most = n.saturating_sub(1);
    let other_half = n.div_ceil(2) as f64 / most.max(1) as f64;
    let budget = (1e-9 / (n.max(1) * SPLITS) as f64).ln();
    let enough = |&length: &usize| {
        let hit = (length - k + 1) as f64 / length as f64;
        let miss = 1.0 - hit;
        let other = if miss > 0.0 { miss * (miss / (1.0 - other_half)).ln() } else { 0.0 };
        hit > other_half && -(length as f64) * (hit * (hit / other_half).ln() + other) < budget
    };
    (k.max(1)..most).find(enough).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distinct similarities, higher inside a class; samples i and i + 4 share a label.
    fn dense(n: usize, within: f32, seed: usize) -> (Vec<f32>, Vec<usize>) {
        let noise = |i: usize, j: usize| ((i.min(j) * 7919 + i.max(j) * 104_729 + seed) % 1009) as f32 / 2018.0;
        let value = |i: usize, j: usize| noise(i, j) + if i % 4 == j % 4 { within } else { 0.0 };
        let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
        (pairs.map(|(i, j)| value(i, j)).collect(), (0..n).map(|i| i % 4).collect())
    }

    fn members(splits: &Splits, half: usize) -> Vec<usize> {
        let is_in = |it: &u64| (it >> (half / 2) & 1) as usize == half % 2;
        (0..splits.of_sample.len()).filter(|&i| is_in(&splits.of_sample[i])).collect()
    }

    #[test]
    fn halves_are_even_and_different() {
        let splits = Splits::new(103);
        assert_eq!(splits, Splits::new(103));
        let of_split: Vec<Vec<usize>> = (0..SPLITS).map(|split| members(&splits, 2 * split)).collect();
        assert!(of_split.iter().all(|half| half.len() == 52));
        assert!((0..SPLITS).all(|split| members(&splits, 2 * split + 1).len() == 51));
        let distinct: std::collections::BTreeSet<_> = of_split.iter().collect();
        assert_eq!(distinct.len(), SPLITS);
    }

    #[test]
    fn halves_equal_graphs_built_of_their_samples_alone() {
        let (n, k) = (60, 3);
        let (s, labels) = dense(n, 0.2, 0);
        let splits = Splits::new(n);
        let neighbors = Neighbors::from_dense(n, &s, candidates_for(n, k)).unwrap();
        let found = modularity_of_halves(&neighbors, k, &labels, 4, &splits).unwrap();
        assert_eq!(found.differences.len(), SPLITS);
        let rebuilt = |half| {
            let kept = members(&splits, half);
            let sub: Vec<f32> =
                kept.iter().flat_map(|&i| kept.iter().map(|&j| s[i * n + j]).collect::<Vec<_>>()).collect();
            let sub_labels: Vec<usize> = kept.iter().map(|&i| labels[i]).collect();
            let rebuilt = Neighbors::from_dense(kept.len(), &sub, k).unwrap();
            modularity(&rebuilt, k, &sub_labels, 4).unwrap().q
        };
        for (split, difference) in found.differences.iter().enumerate() {
            let expected = (rebuilt(2 * split) - rebuilt(2 * split + 1)) / 2.0;
            assert!((difference - expected).abs() < 1e-12, "split {split}: {difference}, expected {expected}");
        }
    }

    #[test]
    fn the_interval_is_as_wide_as_the_halves_differ() {
        let differences: Vec<f64> = (0..SPLITS).map(|split| if split % 2 == 0 { 0.01 } else { -0.03 }).collect();
        let interval = Interval::from_differences(0.52, &differences);
        let se = 0.0005_f64.sqrt();
        assert!((interval.se - se).abs() < 1e-12 && (interval.estimate - 0.52).abs() < 1e-12);
        assert!((interval.high - 0.52 - 1.997_729_654 * se).abs() < 1e-9);
        assert!((interval.low - 0.52 + 1.997_729_654 * se).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        assert!((t_quantile(1) - T_QUANTILE).abs() < 1e-9);
        // 99.5 %, and 99.75 %, of 64 degrees of freedom.
        assert!((t_quantile(5) - 2.654_854_3).abs() < 1e-6 && (t_quantile(10) - 2.907_612_6).abs() < 1e-6);
    }

    /// Over all splits the mean square would be s²/n; over 64 it comes near.
    #[test]
    fn for_a_mean_the_standard_error_is_the_textbook_s() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i * i % 13)).collect();
        let splits = Splits::new(500);
        let mean_of = |half| {
            let members = members(&splits, half);
            members.iter().map(|&i| values[i]).sum::<f64>() / members.len() as f64
        };
        let halves: Vec<f64> = (0..2 * SPLITS).map(mean_of).collect();
        let found = splits.replicates(0.0, &halves).interval().se;
        let expected = crate::stats::std_dev(&values).unwrap() / 500_f64.sqrt();
        assert!((found / expected - 1.0).abs() < 0.2, "{found}, expected {expected}");
    }

    /// The mean distance to the nearest of other samples: what the jackknife calls 1.4 times as uncertain as it is. The truth comes from other
    /// samples of the same kind.
    #[test]
    fn for_nearest_neighbours_the_standard_error_is_the_spread_over_samples() {
        let (n, sets) = (100, 200);
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let splits = Splits::new(n);
        let mut values = Vec::new();
        let mut squares = 0.0;
        for _ in 0..sets {
            let mut noise = || (0..12).map(|_| rand::RngExt::random_range(&mut random, -0.5..0.5)).sum::<f64>();
            let places: Vec<[f64; 3]> = (0..n).map(|_| [noise(), noise(), noise()]).collect();
            let close = |i: usize, j: usize| {
                let squares: f64 = places[i].iter().zip(&places[j]).map(|(a, b)| (a - b).powi(2)).sum();
                (1.0 - squares.sqrt() / 20.0) as f32
            };
            let dense: Vec<f32> = (0..n * n).map(|at| close(at / n, at % n)).collect();
            let neighbors = Neighbors::from_dense(n, &dense, candidates_for(n, 1)).unwrap();
            let mut halves = [(0.0, 0); 2 * SPLITS];
            let add = &mut |half: usize, _, _, similarity: f64| {
                halves[half] = (halves[half].0 + similarity, halves[half].1 + 1);
            };
            splits.nearest(&neighbors, 1, add).unwrap();
            let halves = halves.map(|(sum, of)| sum / f64::from(of));
            let value = (0..n).map(|i| f64::from(neighbors.row(i).next().unwrap().1)).sum::<f64>() / n as f64;
            values.push(value);
            squares += splits.replicates(value, &halves).interval().se.powi(2);
        }
        let ratio = (squares / f64::from(sets)).sqrt() / crate::stats::std_dev(&values).unwrap();
        assert!((0.85..1.25).contains(&ratio), "{ratio}");
    }

    #[test]
    fn pairing_cancels_what_both_share() {
        let (n, k) = (200, 3);
        let splits = Splits::new(n);
        let of = |within, seed| {
            let (s, labels) = dense(n, within, seed);
            let neighbors = Neighbors::from_dense(n, &s, candidates_for(n, k)).unwrap();
            modularity_of_halves(&neighbors, k, &labels, 4, &splits).unwrap()
        };
        let (clean, adversarial) = (of(0.3, 0), of(0.02, 0));
        let none = paired_difference(&clean, &clean).unwrap();
        assert!(none.estimate.abs() < 1e-15 && none.se < 1e-15);
        let drop = paired_difference(&clean, &adversarial).unwrap();
        assert!((drop.estimate - (clean.estimate - adversarial.estimate)).abs() < 1e-15);
        assert!(drop.low > 0.0 && clean.interval().se > 0.0);
        let elsewhere = Replicates { splits: Splits::new(n + 1), ..adversarial };
        assert_eq!(paired_difference(&clean, &elsewhere), Err(ModularityError::Unpaired));
    }

    #[test]
    fn short_lists_are_reported_and_longer_ones_cure_it() {
        let (s, labels) = dense(40, 0.2, 0);
        let splits = Splits::new(40);
        let of = |candidates| {
            let neighbors = Neighbors::from_dense(40, &s, candidates).unwrap();
            modularity_of_halves(&neighbors, 3, &labels, 4, &splits)
        };
        // With no margin, every list misses someone as soon as one of its three is in the other half.
        assert_eq!(of(3), Err(ModularityError::ExhaustedCandidates { rows: 40, k: 3, candidates: 3 }));
        assert_eq!(of(candidates_for(40, 3)), of(39));
        assert!(of(39).is_ok());
    }

    #[test]
    fn too_few_samples_have_no_interval_but_say_why() {
        let of = |n: usize, k: usize| {
            let (s, labels) = dense(n, 0.2, 0);
            let neighbors = Neighbors::from_dense(n, &s, n - 1).unwrap();
            modularity_of_halves(&neighbors, k, &labels, 4, &Splits::new(n))
        };
        assert_eq!(of(19, 3), Err(ModularityError::TooFewForInterval { n: 19, k: 3 }));
        assert_eq!(of(21, 10), Err(ModularityError::TooFewForInterval { n: 21, k: 10 }));
        assert!(of(21, 9).is_ok());
        let (s, labels) = dense(30, 0.2, 0);
        let neighbors = Neighbors::from_dense(30, &s, 29).unwrap();
        let expected = ModularityError::Length { what: "halves", expected: 30, found: 29 };
        assert_eq!(modularity_of_halves(&neighbors, 3, &labels, 4, &Splits::new(29)), Err(expected));
    }

    #[test]
    fn candidate_counts_have_a_margin_and_an_end() {
        assert_eq!(candidates_for(500, 3), 58);
        assert_eq!((candidates_for(10, 3), candidates_for(4, 3), candidates_for(0, 3)), (9, 3, 0));
        assert!((200..500).contains(&candidates_for(100_000, 100)));
        assert!(candidates_for(1_000_000, 3) < 80);
    }
}
