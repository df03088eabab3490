//! Means, rates and their intervals.

pub mod rates;

/// Arithmetic mean; none of no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// Unbiased standard deviation (divides by n − 1); none of fewer than two values.
pub fn std_dev(values: &[f64]) -> Option<f64> {
    let centre = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Smallest and largest of the finite values; none of no values.
pub fn finite_range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.into_iter().filter(|it| it.is_finite());
    finite.map(|it| (it, it)).reduce(|(low, high), (it, _)| (low.min(it), high.max(it)))
}
