//! Lines and bands as the `d` of a path.

/// How numbers are written.
pub(in crate::report) type Show = fn(f64) -> String;

/// A line through points; gaps part it.
pub(in crate::report) fn line(points: &[Option<(f64, f64)>], show: Show) -> String {
    let mut path = String::new();
    for stretch in points.split(Option::is_none) {
        push(&mut path, stretch.iter().flatten().copied(), show);
    }
    path
}

/// An area between the upper and the lower ends, under every stretch of at least two places that have them.
pub(in crate::report) fn band(ends: &[Option<(f64, [f64; 2])>], show: Show) -> String {
    let mut path = String::new();
    for stretch in ends.split(Option::is_none).filter(|stretch| stretch.len() > 1) {
        let upper = stretch.iter().flatten().map(|&(x, [upper, _])| (x, upper));
        let lower = stretch.iter().rev().flatten().map(|&(x, [_, lower])| (x, lower));
        push(&mut path, upper.chain(lower), show);
        path.push('Z');
    }
    path
}

fn push(path: &mut String, points: impl Iterator<Item = (f64, f64)>, show: Show) {
    for (at, (x, y)) in points.enumerate() {
        path.extend([if at == 0 { "M" } else { "L" }, &show(x), " ", &show(y)]);
    }
}
