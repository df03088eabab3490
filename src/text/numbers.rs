//! Numbers for people.

/// A number with something between its groups of three digits.
pub(crate) fn thousands(number: u64, separator: char) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// The first of many numbers, and how many more there are: `3, 7, 8 and 12 more`.
pub(crate) fn listed(numbers: &[usize]) -> String {
    const MOST: usize = 10;
    let first: Vec<String> = numbers.iter().take(MOST).map(ToString::to_string).collect();
    let more = numbers.len().saturating_sub(MOST);
    format!("{}{}", first.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// What there is, or a dash.
pub(crate) fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

/// A number for people: so many digits, or a dash.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    or_dash(value, |value| format!("{value:.digits$}"))
}

/// A mean count for people: a digit after the point only where it tells something.
pub(crate) fn count(value: Option<f64>) -> String {
    number(value, usize::from(value.is_none_or(|value| value < 99.95)))
}

/// A share in percent with one digit and the sign, or a dash.
pub(crate) fn share(value: Option<f64>) -> String {
    or_dash(value, |value| format!("{:.1} %", 100.0 * value))
}

/// A share in percent with one digit, or a dash.
pub(crate) fn percent(value: Option<f64>) -> String {
    or_dash(value, |value| format!("{:.1}", 100.0 * value))
}
