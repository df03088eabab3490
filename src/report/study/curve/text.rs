//! Curves as tables for people.

use std::fmt::Write as _;

use crate::modularity::{TapDetails, TapPoint};
use crate::study::results::curve::{CurveResult, ModelCurve};
use crate::text::names::{column, tail};
use crate::text::numbers::{number, share};

/// A table per curve; or one of all, where they are of several settings.
pub(super) fn text(CurveResult { curves, .. }: &CurveResult, has_details: bool) -> Result<String, std::fmt::Error> {
    let setting = |it: &ModelCurve| (it.curve.n, it.curve.k, it.curve.similarity, it.random_init.is_some());
    let is_sweep = curves.iter().any(|it| it.random_init.is_some() || setting(it) != setting(&curves[0]));
    let mut text = if is_sweep { table(curves) } else { String::new() };
    for it in curves {
        if !is_sweep {
            text += &curve(it)?;
        }
        if has_details {
            text += &details(it, is_sweep)?;
        }
    }
    Ok(text)
}

/// The numbers of a tap, as both tables have them.
fn numbers(point: &TapPoint) -> String {
    let hub = point.hubness.map_or("–".to_owned(), |hub| hub.largest_in_degree.to_string());
    let [q, sd, null] = [point.q, point.std_dev, point.null].map(|value| number(value, 4));
    let (z, overlap) = (number(point.z, 1), share(point.label_overlap));
    let reason = point.reason.as_ref().filter(|_| point.q.is_none()).map_or(String::new(), |it| format!("  {it}"));
    format!("  {q:>7} {sd:>7} {null:>7} {z:>6}  {overlap:>10}  {hub:>11}{reason}\n")
}

const NUMBERS: &str = "   mean Q      sd    null      z  same label  largest hub\n";

fn curve(it: &ModelCurve) -> Result<String, std::fmt::Error> {
    let curve = &it.curve;
    let mut text = format!("{}\n", it.heading());
    let width = column(curve.taps.iter().map(|tap| &tap.tap), 3);
    write!(text, "  {:<width$}{NUMBERS}", "tap")?;
    for point in &curve.taps {
        write!(text, "  {:<width$}{}", point.tap, numbers(point))?;
    }
    if let Some(peak) = curve.peak() {
        writeln!(text, "  peak {:.4} at {}", peak.q, peak.tap)?;
    }
    Ok(text)
}

/// The table of a sweep: a row for each model, setting and tap.
fn table(curves: &[ModelCurve]) -> String {
    let model = |it: &ModelCurve| match it.random_init {
        None => tail(&it.model, 32),
        Some(seed) => format!("{}, random {seed}", tail(&it.model, 32)),
    };
    let width = column(&curves.iter().map(model).collect::<Vec<_>>(), "model".len());
    let tap_width = column(curves.iter().flat_map(|it| &it.curve.taps).map(|tap| &tap.tap), "tap".len());
    let mut text =
        format!("{:<width$}  repeats     N    k  {:<14}  {:<tap_width$}{NUMBERS}", "model", "similarity", "tap");
    for it in curves {
        let (model, curve) = (model(it), &it.curve);
        for point in &curve.taps {
            write!(
                text,
                "{model:<width$}  {:>7} {:>5} {:>4}  {:<14}  {:<tap_width$}{}",
                it.repeats(),
                curve.n,
                curve.k,
                curve.similarity,
                point.tap,
                numbers(point)
            )
            .expect("writing to memory cannot fail");
        }
    }
    text
}

/// What the graphs say beyond Q, tap by tap, and the classes at the last tap.
fn details(it: &ModelCurve, has_heading: bool) -> Result<String, std::fmt::Error> {
    let mut text = match has_heading {
        true => format!("\n{}\n", it.heading()),
        false => String::new(),
    };
    let width = column(it.details.iter().map(|tap| &tap.tap), 3);
    let head = "tap";
    writeln!(text, "  {head:<width$}  kNN accuracy  hub skewness  never chosen  weakest class")?;
    for (point, tap) in it.curve.taps.iter().zip(&it.details) {
        let (accuracy, never) = (share(tap.knn_accuracy), share(tap.never_chosen));
        let skewness = number(point.hubness.map(|hub| hub.skewness), 3);
        let weakest = tap.weakest().map_or("–".to_owned(), |class| {
            format!("{} (separation {})", it.class_name(class.class), number(class.separation, 3))
        });
        writeln!(text, "  {:<width$}  {accuracy:>12}  {skewness:>12}  {never:>12}  {weakest}", tap.tap)?;
    }
    if let Some(tap) = it.details.last() {
        text += &classes(it, tap)?;
    }
    Ok(text)
}

/// Most classes of a table for people; `classes.csv` has them all.
const CLASSES: usize = 20;

fn classes(it: &ModelCurve, tap: &TapDetails) -> Result<String, std::fmt::Error> {
    let mut classes = tap.weakest_first();
    let more = classes.len().saturating_sub(CLASSES);
    classes.truncate(CLASSES);
    let names: Vec<String> = classes.iter().map(|class| it.class_name(class.class)).collect();
    let width = column(&names, 5);
    let mut text = format!("  classes at {}, the weakest first; their shares sum to Q\n", tap.tap);
    let head = "class";
    writeln!(text, "  {head:<width$}  share of Q  separation")?;
    for (class, name) in classes.iter().zip(names) {
        let separation = number(class.separation, 3);
        writeln!(text, "  {name:<width$}  {:>10.4}  {separation:>10}", class.q)?;
    }
    if more > 0 {
        writeln!(text, "  and {more} more: --out DIR writes classes.csv")?;
    }
    Ok(text)
}
