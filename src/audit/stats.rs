//! Intervals and summaries of per-sample results.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A share with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// `count / of`; absent when `of` is 0.
    pub value: Option<f64>,
    /// Lower end, in `[0, 1]`.
    pub low: f64,
    /// Upper end, in `[0, 1]`.
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
        let n = of as f64;
        let p = count as f64 / n;
        let z2 = Z * Z;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        // At the ends the formula gives 0 and 1 up to rounding; say so exactly.
        let low = if count == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if count == of { 1.0 } else { (centre + half).min(1.0) };
        Self { count, of, value: Some(p), low, high }
    }
}

/// Mean and median of distances.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distances {
    /// Arithmetic mean.
    pub mean: f64,
    /// Middle value (mean of the two middle ones for an even number).
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Distances {
    /// Absent for no values.
    pub fn new(values: impl Iterator<Item = f64>) -> Option<Self> {
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
    fn distances_are_summed_up() {
        let distances = Distances::new([3.0, 1.0, 2.0, 10.0].into_iter()).unwrap();
        assert_eq!((distances.mean, distances.median, distances.max), (4.0, 2.5, 10.0));
        assert_eq!(Distances::new(std::iter::empty()), None);
    }
}
