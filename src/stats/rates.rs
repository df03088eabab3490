//! Intervals and summaries of per-sample results.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A share of samples with its 95 % Wilson interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// Number of samples that count.
    pub count: usize,
    /// Number of samples altogether.
    pub of: usize,
    /// The share `count / of`; absent when `of` is 0.
    pub value: Option<f64>,
    /// Lower end of the interval, in `[0, 1]`.
    pub low: f64,
    /// Upper end of the interval, in `[0, 1]`.
    pub high: f64,
}

/// Two-sided 95 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

impl Rate {
    /// The Wilson score interval: right also at 0 % and 100 %, where the usual one has no width.
    ///
    /// # Source
    /// Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.
    pub fn new(count: usize, of: usize) -> Self {
        if of == 0 {
            return Self { count, of, value: None, low: 0.0, high: 1.0 };
        }
        let p = count as f64 / of as f64;
        let (low, high) = wilson(p, of as f64);
        Self { count, of, value: Some(p), low, high }
    }
}

/// Wilson's 95 % interval of a share `p` of `n` independent samples; `n > 0` need not be whole.
pub(crate) fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends the formula gives 0 and 1 up to rounding; say so exactly.
    let low = if p > 0.0 { (centre - half).max(0.0) } else { 0.0 };
    let high = if p < 1.0 { (centre + half).min(1.0) } else { 1.0 };
    (low, high)
}

/// A value with its 95 % interval: Wilson's for shares, that of random halves for modularity, Newcombe's for differences of shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// The measured value itself.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl From<Rate> for Measured {
    fn from(rate: Rate) -> Self {
        Self { value: rate.value.unwrap_or(f64::NAN), low: rate.low, high: rate.high }
    }
}

impl Measured {
    /// A mean over `n` samples of numbers from 0 to 1, which varies at most as that of zeros and ones does.
    pub(crate) fn mean_share(value: f64, n: usize) -> Self {
        let (low, high) = wilson(value, n as f64);
        Self { value, low, high }
    }

    /// `self − other` of two shares of different samples; nothing where one is of none.
    ///
    /// # Source
    /// Newcombe, "Interval Estimation for the Difference Between Independent Proportions", Statistics in Medicine 17, 1998, method 10.
    #[must_use]
    pub(crate) fn minus(self, other: Self) -> Self {
        self.minus_correlated(other, 0.0)
    }

    /// `self − other`, whose errors have this correlation.
    fn minus_correlated(self, other: Self, correlation: f64) -> Self {
        let value = self.value - other.value;
        let reach = |a: f64, b: f64| (a * a - 2.0 * correlation * a * b + b * b).max(0.0).sqrt();
        let below = reach(self.value - self.low, other.high - other.value);
        let above = reach(self.high - self.value, other.value - other.low);
        Self { value, low: value - below, high: value + above }
    }

    /// The other way round: what is better becomes worse.
    #[must_use]
    pub(crate) fn negated(self) -> Self {
        // Not −x, which makes a negative zero of zero.
        Self { value: 0.0 - self.value, low: 0.0 - self.high, high: 0.0 - self.low }
    }
}

/// How two shares of the same samples differ, from how many samples count in both, in the first only, in the second only, and in none:
/// first − second. Absent for no samples.
///
/// # Source
/// Newcombe, "Improved Confidence Intervals for the Difference Between Binomial Proportions Based on Paired Data", Statistics in Medicine
/// 17, 1998, method 10.
pub(crate) fn paired_difference([both, first, second, none]: [usize; 4]) -> Option<Measured> {
    let n = both + first + second + none;
    if n == 0 {
        return None;
    }
    let [a, b, c, d] = [both, first, second, none].map(|count| count as f64);
    let product = a * d - b * c;
    // The continuity correction holds for positive correlations only.
    let numerator = if product > 0.0 { (product - n as f64 / 2.0).max(0.0) } else { product };
    let denominator = ((a + b) * (c + d) * (a + c) * (b + d)).sqrt();
    let correlation = if denominator > 0.0 { numerator / denominator } else { 0.0 };
    let share = |count| Measured::from(Rate::new(count, n));
    Some(share(both + first).minus_correlated(share(both + second), correlation))
}

/// Mean, median and maximum of a quantity over samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distances {
    /// Arithmetic mean of the values.
    pub mean: f64,
    /// Middle value (mean of the two middle ones for an even number).
    pub median: f64,
    /// Largest of the values.
    pub max: f64,
}

impl Distances {
    /// Absent for no values.
    pub(crate) fn new(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len();
        let max = *values.last()?;
        let median = f64::midpoint(values[(n - 1) / 2], values[n / 2]);
        Some(Self { mean: values.iter().sum::<f64>() / n as f64, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe, Statistics in Medicine 17, 1998, table I, method 3: 81 of 263 and 0 of 20.
        let rate = Rate::new(81, 263);
        assert!((rate.low - 0.2553).abs() < 5e-5 && (rate.high - 0.3662).abs() < 5e-5, "{rate:?}");
        let none = Rate::new(0, 20);
        assert!(none.low == 0.0 && (none.high - 0.1611).abs() < 5e-5, "{none:?}");
        assert!(Rate::new(20, 20).high >= 1.0 && Rate::new(20, 20).low < 1.0);
    }

    #[test]
    fn nothing_attacked_has_no_rate() {
        let rate = Rate::new(0, 0);
        assert_eq!((rate.value, rate.low, rate.high), (None, 0.0, 1.0));
    }

    #[test]
    fn differences_of_shares_are_newcombes() {
        // Newcombe, Statistics in Medicine 17, 1998, table II, method 10: 56/70 − 48/80, 9/10 − 3/10, 10/10 − 0/20.
        let share = |count, of| Measured::from(Rate::new(count, of));
        for (first, second, low, high) in
            [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)]
        {
            let found = share(first.0, first.1).minus(share(second.0, second.1));
            assert!((found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5, "{found:?}");
        }
    }

    /// Probability of each count of a multinomial distribution over four cells.
    fn tables(n: usize, p: [f64; 4]) -> Vec<([usize; 4], f64)> {
        let factorial = |n: usize| (1..=n).map(|it| it as f64).product::<f64>();
        let mut all = Vec::new();
        for a in 0..=n {
            for b in 0..=n - a {
                for c in 0..=n - a - b {
                    let cells = [a, b, c, n - a - b - c];
                    let ways = factorial(n) / cells.iter().map(|&cell| factorial(cell)).product::<f64>();
                    let chance: f64 = cells.iter().zip(p).map(|(&cell, p)| p.powi(cell as i32)).product();
                    all.push((cells, ways * chance));
                }
            }
        }
        all
    }

    #[test]
    fn paired_intervals_cover_what_they_claim() {
        // All tables of 40 pairs: the chance that the interval holds the true difference. Newcombe found means of about 0.95, never far below.
        for p in [[0.3, 0.1, 0.2, 0.4], [0.05, 0.05, 0.15, 0.75], [0.6, 0.02, 0.08, 0.3], [0.1, 0.4, 0.4, 0.1]] {
            let truth = p[1] - p[2];
            let covers = |cells| paired_difference(cells).is_some_and(|it| (it.low..=it.high).contains(&truth));
            let covered: f64 = tables(40, p).iter().filter(|(cells, _)| covers(*cells)).map(|(_, chance)| chance).sum();
            assert!((0.93..0.985).contains(&covered), "{p:?}: {covered}");
        }
        // Positively correlated pairs tell more than two separate samples.
        let (paired, apart) = (
            paired_difference([30, 5, 1, 14]).unwrap(),
            Measured::from(Rate::new(35, 50)).minus(Rate::new(31, 50).into()),
        );
        assert!(paired.high - paired.low < 0.6 * (apart.high - apart.low), "{paired:?} {apart:?}");
        assert_eq!(paired_difference([0; 4]), None);
    }

    #[test]
    fn distances_are_summed_up() {
        let distances = Distances::new([3.0, 1.0, 2.0, 10.0].into_iter()).unwrap();
        assert_eq!((distances.mean, distances.median, distances.max), (4.0, 2.5, 10.0));
        assert_eq!(Distances::new(std::iter::empty()), None);
    }
}
