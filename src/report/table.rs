//! The result table: what an audit prints, and what the Markdown report begins with.

use super::wire::{AttackStatus, PeakResult, Report};
use super::{number, percent};

/// Column heads.
pub const HEAD: [&str; 9] =
    ["attack", "parameters", "success % [95 %] of n", "accuracy %", "L2", "L∞", "peak Q", "at tap", "peak drop"];

/// What the columns mean, in two lines.
const NOTE: &str = "\
success: of the correctly classified images; L2, L∞: means over the broken ones, pixels in [0, 1]
peak drop: peak Q of the attacked images when clean − when adversarial; the clean row is over all images
";

/// One row for the clean images and one per attack, cells as text.
pub fn rows(report: &Report) -> Vec<[String; 9]> {
    let peak =
        |peak: Option<&PeakResult>| (number(peak.map(|it| it.q), 3), peak.map_or("–".to_owned(), |it| it.tap.clone()));
    let (q, tap) = peak(report.clean.peak.as_ref());
    let accuracy = report.clean.accuracy.and_then(|it| it.value);
    let dash = || "–".to_owned();
    let mut rows = vec![["clean".to_owned(), dash(), dash(), percent(accuracy), dash(), dash(), q, tap, dash()]];
    for attack in &report.attacks {
        let rate = attack.success_rate;
        let (q, tap) = peak(attack.adversarial_peak.as_ref());
        let success = match (attack.status, rate.value) {
            (AttackStatus::Failed, _) => "failed".to_owned(),
            (_, None) => dash(),
            (status, value) => {
                let mark = if status == AttackStatus::Incomplete { " (incomplete)" } else { "" };
                format!("{} [{:.1}, {:.1}] of {}{mark}", percent(value), 100.0 * rate.low, 100.0 * rate.high, rate.of)
            }
        };
        let drop = attack.peak_drop.map_or_else(dash, |it| format!("{:.3} ± {:.3}", it.estimate, it.estimate - it.low));
        rows.push([
            attack.attack.label.clone(),
            attack.attack.summary.clone(),
            success,
            percent(attack.adversarial_accuracy.and_then(|it| it.value)),
            number(attack.l2.map(|it| it.mean), 3),
            number(attack.linf.map(|it| it.mean), 4),
            q,
            tap,
            drop,
        ]);
    }
    rows
}

/// The table in plain text, columns aligned.
pub fn text(report: &Report) -> String {
    let rows = rows(report);
    let head = HEAD.map(str::to_owned);
    let width =
        |column: usize| std::iter::once(&head).chain(&rows).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            // Names read from the left, numbers from the right.
            0 | 1 | 7 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line: Vec<String> = cells.collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text.push_str(NOTE);
    text
}
