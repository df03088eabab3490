//! Names and numbers as a reader sees them.

use crate::modularity::Interval;
use crate::stats::rates::Rate;
use crate::text::numbers::{or_dash, thousands};

/// Longest name that is written out in a table.
pub(super) const NAME: usize = 80;

/// Longest sentence that holds names.
pub(in crate::report) const SENTENCE: usize = 1200;

/// At most so many characters; what is cut shows.
pub(in crate::report) fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        // One character less, for the dots.
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Module paths without the modules that all of them begin and end with.
pub(in crate::report) fn distinct(paths: &[String]) -> Vec<String> {
    let split: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
    let Some(first) = split.first().filter(|_| split.len() > 1) else { return paths.to_vec() };
    let shortest = split.iter().map(Vec::len).min().unwrap_or(0);
    let is_common = |part: &dyn Fn(&[&str]) -> String| split.iter().all(|path| part(path) == part(first));
    let head = (0..shortest).take_while(|&at| is_common(&|path| path[at].to_owned())).count().min(shortest - 1);
    let most = shortest - 1 - head;
    let end = (0..most).take_while(|&at| is_common(&|path| path[path.len() - 1 - at].to_owned())).count();
    split.iter().map(|path| path[head..path.len() - end].join(".")).collect()
}

/// A name from a file.
pub(in crate::report) fn name(text: &str) -> String {
    clip(text, NAME)
}

/// `93.5 % [90.1, 95.8]`, or a dash; lines break between the two only.
pub(super) fn rate(rate: &Rate) -> String {
    let [low, high] = [rate.low, rate.high].map(|it| 100.0 * it);
    or_dash(rate.value, |value| format!("{:.1}\u{a0}% [{low:.1},\u{a0}{high:.1}]", 100.0 * value))
}

/// `0.153 [0.120, 0.186]`.
pub(super) fn interval(it: &Interval) -> String {
    signed(&format!("{:.3} [{:.3}, {:.3}]", it.estimate, it.low, it.high))
}

/// With a minus sign as wide as a digit.
pub(in crate::report) fn signed(text: &str) -> String {
    text.replace('-', "−")
}

/// `1 234 567`, with narrow spaces.
pub(super) fn grouped(number: u64) -> String {
    thousands(number, '\u{202f}')
}

/// `2 h 5 min`, `3 min 12 s`, `4.2 s`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..100 => format!("{seconds:.1} s"),
        100..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((grouped(12), grouped(0)), ("12".to_owned(), "0".to_owned()));
        assert_eq!([4.21, 192.0, 7500.0].map(duration), ["4.2 s", "3 min 12 s", "2 h 5 min"]);
        assert_eq!(rate(&Rate::new(0, 0)), "–");
    }

    #[test]
    fn modules_that_all_paths_share_are_left_out() {
        let of = |paths: &[&str]| distinct(&paths.iter().map(|&it| it.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["net.a.0.conv", "net.a.1.conv", "net.b.1.conv"]), ["a.0", "a.1", "b.1"]);
        assert_eq!(of(&["net.a", "net.a"]), ["a", "a"]);
        assert_eq!(of(&["net", "net.a"]), ["net", "net.a"]);
        assert_eq!((of(&["net.a"]), of(&[])), (vec!["net.a".to_owned()], Vec::new()));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 3), "äö…");
    }
}
