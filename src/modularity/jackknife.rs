//! How sure Q is: the delete-group jackknife, alone and paired.
//!
//! Samples are split into G = 20 groups at random. Q is computed G times, each time without one group and with the
//! neighbours found again among the samples that stay. Never bootstrap samples instead: a repeated sample becomes its own
//! copy's nearest neighbour and lifts Q several times over.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::graph::{Sums, check_labels};
use super::neighbors::check_length;
use super::{ModularityError, Neighbors, modularity};
use crate::stats::mean;
use crate::stats::rates::Measured;

pub(crate) const GROUPS: usize = 20;

/// The 97.5 % quantile of Student's t with G − 1 = 19 degrees of freedom.
const T_QUANTILE: f64 = 2.093_024_054_408_263;

/// Standard errors to both sides that make so many intervals hold all at once in 95 of 100 cases (Bonferroni); [`Interval`] has those of one.
///
/// # Panics
/// For no interval.
pub(crate) fn t_quantile(intervals: usize) -> f64 {
    assert!(intervals > 0, "no interval has no quantile");
    let t = StudentsT::new(0.0, 1.0, GROUPS as f64 - 1.0).expect("19 degrees of freedom are positive");
    t.inverse_cdf(1.0 - 0.025 / intervals as f64)
}

/// Which group each sample belongs to; sizes differ by at most one.
///
/// Equal N and seed give equal groups, so matched curves share them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Below [`GROUPS`].
    pub(super) of_sample: Vec<u8>,
}

impl Groups {
    /// Splits `n` samples by a permutation drawn from `seed` (`ChaCha8`).
    pub fn new(n: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut of_sample = vec![0; n];
        for (place, &sample) in order.iter().enumerate() {
            of_sample[sample] = (place % GROUPS) as u8;
        }
        Self { of_sample }
    }
}

/// Q of all samples and of the samples without each group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Jackknife {
    pub estimate: f64,
    /// Q without group g, for g in 0..[`GROUPS`].
    pub replicates: Vec<f64>,
    pub groups: Groups,
}

impl Jackknife {
    /// The 95 % interval of Q.
    pub(crate) fn interval(&self) -> Interval {
        Interval::from_replicates(self.estimate, &self.replicates)
    }
}

/// A 95 % confidence interval by the delete-group jackknife: the samples are divided into G groups (20, where there are as many samples), and the
/// value is computed G more times, each time without one group. The interval is `estimate ± t · se`, t from Student's distribution with G − 1
/// degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The value for all samples; not corrected for bias.
    pub estimate: f64,
    /// Standard error: √((G − 1)/G) times the root of the summed squared deviations of the G values from their mean.
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

    fn from_replicates(estimate: f64, replicates: &[f64]) -> Self {
        let centre = mean(replicates).unwrap_or(estimate);
        let squares: f64 = replicates.iter().map(|q| (q - centre).powi(2)).sum();
        let g = replicates.len().max(1) as f64;
        let se = ((g - 1.0) / g * squares).sqrt();
        Self { estimate, se, low: estimate - T_QUANTILE * se, high: estimate + T_QUANTILE * se }
    }
}

/// Leaves each group out in turn and computes Q again from the candidate lists.
///
/// # Errors
/// As [`modularity`]; [`ModularityError::TooFewForInterval`] below [`GROUPS`] samples or where a deleted group leaves no
/// more than k; [`ModularityError::ExhaustedCandidates`] where a list is too short: longer lists (at most N − 1) cure it;
/// [`ModularityError::Undefined`] where a replicate has no weight.
pub(crate) fn jackknife(
    neighbors: &Neighbors,
    k: usize,
    labels: &[usize],
    n_classes: usize,
    groups: &Groups,
) -> Result<Jackknife, ModularityError> {
    let (n, candidates) = (neighbors.n(), neighbors.candidates());
    check_labels(labels, n, n_classes)?;
    check_length("groups", n, groups.of_sample.len())?;
    let estimate = modularity(neighbors, k, labels, n_classes)?.q;
    if n < GROUPS || n - n.div_ceil(GROUPS) <= k {
        return Err(ModularityError::TooFewForInterval { n, k });
    }
    let mut sums: Vec<Sums> = (0..GROUPS).map(|_| Sums::new(n_classes)).collect();
    let mut exhausted = 0;
    for i in 0..n {
        let mut short = false;
        for (left_out, sums) in (0_u8..).zip(&mut sums).filter(|(g, _)| *g != groups.of_sample[i]) {
            let kept = neighbors.row(i).filter(|&(j, _)| groups.of_sample[j as usize] != left_out).take(k);
            let mut found = 0;
            for (j, similarity) in kept {
                sums.add(labels[i], labels[j as usize], f64::from(similarity));
                found += 1;
            }
            short |= found < k;
        }
        exhausted += usize::from(short);
    }
    if exhausted > 0 {
        return Err(ModularityError::ExhaustedCandidates { rows: exhausted, k, candidates });
    }
    let without_group = |sums: &Sums| -> Result<f64, ModularityError> { Ok(sums.per_class()?.iter().sum()) };
    let replicates = sums.iter().map(without_group).collect::<Result<_, _>>()?;
    Ok(Jackknife { estimate, replicates, groups: groups.clone() })
}

/// The 95 % interval of `Q_clean − Q_adversarial` over the same samples and groups. What both share cancels.
///
/// # Errors
/// [`ModularityError::Unpaired`] if the groups differ.
pub(crate) fn paired_difference(clean: &Jackknife, adversarial: &Jackknife) -> Result<Interval, ModularityError> {
    if clean.groups != adversarial.groups || clean.replicates.len() != adversarial.replicates.len() {
        return Err(ModularityError::Unpaired);
    }
    let replicates: Vec<f64> = clean.replicates.iter().zip(&adversarial.replicates).map(|(c, a)| c - a).collect();
    Ok(Interval::from_replicates(clean.estimate - adversarial.estimate, &replicates))
}

/// How many candidates per sample make it practically impossible (below 10⁻⁹ over all rows and groups) that a list runs
/// out when a group is left out; never more than N − 1, which cannot run out. For N = 500 and k = 3: 14.
///
/// Of a list of L = k + m a random group holds more than m with a chance of at most exp(−L · KL((m+1)/L ‖ 1/G)), by
/// Chernoff's bound, which sampling without replacement keeps.
pub fn candidates_for(n: usize, k: usize) -> usize {
    let most = n.saturating_sub(1);
    let share = 1.0 / GROUPS as f64;
    let budget = (1e-9 / (n.max(1) * GROUPS) as f64).ln();
    let enough = |&length: &usize| {
        let hit = (length - k + 1) as f64 / length as f64;
        let miss = 1.0 - hit;
        let other = if miss > 0.0 { miss * (miss / (1.0 - share)).ln() } else { 0.0 };
        hit > share && -(length as f64) * (hit * (hit / share).ln() + other) < budget
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

    #[test]
    fn groups_are_even_seeded_and_complete() {
        let groups = Groups::new(103, 5);
        assert_eq!(groups, Groups::new(103, 5));
        assert_ne!(groups, Groups::new(103, 6));
        let size = |g| groups.of_sample.iter().filter(|&&of| usize::from(of) == g).count();
        assert!((0..GROUPS).all(|g| (5..=6).contains(&size(g))));
    }

    #[test]
    fn replicates_equal_graphs_built_without_the_group() {
        let (n, k) = (60, 3);
        let (s, labels) = dense(n, 0.2, 0);
        let groups = Groups::new(n, 1);
        let neighbors = Neighbors::from_dense(n, &s, candidates_for(n, k)).unwrap();
        let found = jackknife(&neighbors, k, &labels, 4, &groups).unwrap();
        assert_eq!(found.replicates.len(), GROUPS);
        for (g, replicate) in found.replicates.iter().enumerate() {
            let kept: Vec<usize> = (0..n).filter(|&i| usize::from(groups.of_sample[i]) != g).collect();
            let sub: Vec<f32> =
                kept.iter().flat_map(|&i| kept.iter().map(|&j| s[i * n + j]).collect::<Vec<_>>()).collect();
            let sub_labels: Vec<usize> = kept.iter().map(|&i| labels[i]).collect();
            let rebuilt = Neighbors::from_dense(kept.len(), &sub, k).unwrap();
            let expected = modularity(&rebuilt, k, &sub_labels, 4).unwrap().q;
            assert!((replicate - expected).abs() < 1e-12, "group {g}: {replicate}, expected {expected}");
        }
    }

    #[test]
    fn the_interval_is_the_delete_group_formula() {
        let replicates: Vec<f64> = (0..20).map(|g| if g < 10 { 0.4 } else { 0.6 }).collect();
        let interval = Interval::from_replicates(0.52, &replicates);
        // Σ (Q_(g) − 0.5)² = 20 · 0.01, times 19/20.
        let se = 0.19_f64.sqrt();
        assert!((interval.se - se).abs() < 1e-12 && (interval.estimate - 0.52).abs() < 1e-12);
        assert!((interval.high - 0.52 - 2.093_024_054 * se).abs() < 1e-8);
        assert!((interval.low - 0.52 + 2.093_024_054 * se).abs() < 1e-8);
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        assert!((t_quantile(1) - T_QUANTILE).abs() < 1e-9);
        // 99.5 %, and 99.75 %, of 19 degrees of freedom.
        assert!((t_quantile(5) - 2.860_934_606).abs() < 1e-6 && (t_quantile(10) - 3.173_724_5).abs() < 1e-5);
    }

    #[test]
    fn for_a_mean_the_formula_is_the_textbook_standard_error() {
        // The jackknife of a mean of one value per group has s²/n exactly.
        let values: Vec<f64> = (0..20).map(|i| f64::from(i * i % 13)).collect();
        let total: f64 = values.iter().sum();
        let replicates: Vec<f64> = values.iter().map(|value| (total - value) / 19.0).collect();
        let expected = crate::stats::std_dev(&values).unwrap() / 20_f64.sqrt();
        assert!((Interval::from_replicates(total / 20.0, &replicates).se - expected).abs() < 1e-12);
    }

    #[test]
    fn pairing_cancels_what_both_share() {
        let (n, k) = (200, 3);
        let groups = Groups::new(n, 3);
        let of = |within, seed| {
            let (s, labels) = dense(n, within, seed);
            let neighbors = Neighbors::from_dense(n, &s, candidates_for(n, k)).unwrap();
            jackknife(&neighbors, k, &labels, 4, &groups).unwrap()
        };
        let (clean, adversarial) = (of(0.3, 0), of(0.02, 0));
        let none = paired_difference(&clean, &clean).unwrap();
        assert!(none.estimate.abs() < 1e-15 && none.se < 1e-15);
        let drop = paired_difference(&clean, &adversarial).unwrap();
        assert!((drop.estimate - (clean.estimate - adversarial.estimate)).abs() < 1e-15);
        assert!(drop.low > 0.0 && clean.interval().se > 0.0);
        let elsewhere = Jackknife { groups: Groups::new(n, 4), ..adversarial };
        assert_eq!(paired_difference(&clean, &elsewhere), Err(ModularityError::Unpaired));
    }

    #[test]
    fn short_lists_are_reported_and_longer_ones_cure_it() {
        let (s, labels) = dense(40, 0.2, 0);
        let groups = Groups::new(40, 0);
        let of = |candidates| {
            let neighbors = Neighbors::from_dense(40, &s, candidates).unwrap();
            jackknife(&neighbors, 3, &labels, 4, &groups)
        };
        // With no margin, every list loses someone as soon as one of its three is deleted.
        assert_eq!(of(3), Err(ModularityError::ExhaustedCandidates { rows: 40, k: 3, candidates: 3 }));
        assert_eq!(of(candidates_for(40, 3)), of(39));
        assert!(of(39).is_ok());
    }

    #[test]
    fn too_few_samples_have_no_interval_but_say_why() {
        let of = |n: usize, k: usize| {
            let (s, labels) = dense(n, 0.2, 0);
            let neighbors = Neighbors::from_dense(n, &s, n - 1).unwrap();
            jackknife(&neighbors, k, &labels, 4, &Groups::new(n, 0))
        };
        assert_eq!(of(19, 3), Err(ModularityError::TooFewForInterval { n: 19, k: 3 }));
        assert_eq!(of(21, 19), Err(ModularityError::TooFewForInterval { n: 21, k: 19 }));
        assert!(of(21, 18).is_ok());
        let (s, labels) = dense(30, 0.2, 0);
        let neighbors = Neighbors::from_dense(30, &s, 20).unwrap();
        let expected = ModularityError::Length { what: "groups", expected: 30, found: 29 };
        assert_eq!(jackknife(&neighbors, 3, &labels, 4, &Groups::new(29, 0)), Err(expected));
    }

    #[test]
    fn candidate_counts_have_a_margin_and_an_end() {
        assert_eq!(candidates_for(500, 3), 14);
        assert_eq!((candidates_for(10, 3), candidates_for(4, 3), candidates_for(0, 3)), (9, 3, 0));
        assert!((100..1000).contains(&candidates_for(100_000, 100)));
        assert!(candidates_for(1_000_000, 3) < 24);
    }
}
