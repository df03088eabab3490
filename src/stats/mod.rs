//! Means, rates and their intervals.

pub(crate) mod permutation;
pub mod rates;

/// Arithmetic mean; none of no values.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// Unbiased standard deviation (divides by n − 1); none of fewer than two values.
pub(crate) fn std_dev(values: &[f64]) -> Option<f64> {
    let centre = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least this: a distance between the ticks of an axis.
pub(crate) fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].map(|it| it * decade).into_iter().find(|it| *it >= least).unwrap_or(10.0 * decade)
}

/// Smallest and largest of the finite values; none of no values.
pub(crate) fn finite_range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.into_iter().filter(|it| it.is_finite());
    finite.map(|it| (it, it)).reduce(|(low, high), (it, _)| (low.min(it), high.max(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_not_too_small() {
        for (least, step) in [(0.1, 0.1), (0.11, 0.2), (0.2, 0.2), (0.3, 0.5), (0.6, 1.0), (1.0, 1.0), (70.0, 100.0)] {
            assert!((round_step(least) - step).abs() < 1e-12, "{least}");
        }
    }

    #[test]
    fn ranges_leave_out_what_is_not_finite() {
        assert_eq!(finite_range([2.0, f64::NAN, -1.0, f64::INFINITY]), Some((-1.0, 2.0)));
        assert_eq!(finite_range([f64::NAN]), None);
    }
}
