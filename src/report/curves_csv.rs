//! `curves.csv`: one row per curve and tap.

use super::{Column, Evidence, cell, csv_columns, safe_cell};
use crate::modularity::{ClassShare, Curve, Interval, TapPoint};
use crate::verdict::Report;

struct Row<'a> {
    attack: &'a str,
    pixels: &'static str,
    labels: &'static str,
    curve: &'a Curve,
    index: usize,
    point: &'a TapPoint,
    drop: Option<Interval>,
    /// Of the nearest clean images that have the row's label.
    share: Option<ClassShare>,
}

/// Long format: `attack` is `clean` for the curves over all samples.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let columns: &[Column<Row<'_>>] = &[
        ("attack", |it| safe_cell(it.attack)),
        ("pixels", |it| it.pixels.to_owned()),
        ("labels", |it| it.labels.to_owned()),
        ("tap_index", |it| it.index.to_string()),
        ("tap", |it| safe_cell(&it.point.tap)),
        ("n", |it| it.curve.n.to_string()),
        ("k", |it| it.curve.k.to_string()),
        ("similarity", |it| it.curve.similarity.to_string()),
        ("q", |it| cell(it.point.q)),
        ("q_low_95", |it| cell(it.point.interval.map(|it| it.low))),
        ("q_high_95", |it| cell(it.point.interval.map(|it| it.high))),
        ("q_null", |it| cell(it.point.null)),
        ("q_null_sd", |it| cell(it.point.null_std_dev)),
        ("z", |it| cell(it.point.z)),
        ("q_drop", |it| cell(it.drop.map(|it| it.estimate))),
        ("q_drop_low_95", |it| cell(it.drop.map(|it| it.low))),
        ("q_drop_high_95", |it| cell(it.drop.map(|it| it.high))),
        ("clean_share", |it| cell(it.share.map(|it| it.clean))),
        ("share", |it| cell(it.share.map(|it| it.adversarial))),
        ("share_low_95", |it| cell(it.share.and_then(|it| it.interval).map(|it| it.low))),
        ("share_high_95", |it| cell(it.share.and_then(|it| it.interval).map(|it| it.high))),
        ("share_change", |it| cell(it.share.and_then(|it| it.change).map(|it| it.estimate))),
        ("share_change_low_95", |it| cell(it.share.and_then(|it| it.change).map(|it| it.low))),
        ("share_change_high_95", |it| cell(it.share.and_then(|it| it.change).map(|it| it.high))),
        ("largest_in_degree", |it| cell(it.point.hubness.map(|it| it.largest_in_degree))),
        ("in_degree_skewness", |it| cell(it.point.hubness.map(|it| it.skewness))),
        ("label_overlap", |it| cell(it.point.label_overlap)),
        ("zero_rows", |it| it.point.zero_rows.to_string()),
        ("duplicates", |it| it.point.duplicates.to_string()),
        ("reason", |it| safe_cell(it.point.reason.as_deref().unwrap_or_default())),
    ];
    let mut rows = Vec::new();
    if let Some(curves) = &report.clean.curves {
        rows.extend(taps("clean", "clean", "true", &curves.true_labels, &[], |_| None));
        rows.extend(taps("clean", "clean", "predicted", &curves.predicted_labels, &[], |_| None));
    }
    for attack in &report.attacks {
        if let Some(curves) = &attack.curves {
            let label = &attack.attack.label;
            let anchored = move |tap: usize| curves.anchored.as_ref().and_then(|it| it.taps.get(tap));
            let retained = move |tap| anchored(tap)?.retained;
            let captured = move |tap| anchored(tap)?.captured;
            rows.extend(taps(label, "clean", "true", &curves.clean, &[], |_| None));
            rows.extend(taps(label, "adversarial", "true", &curves.adversarial, &curves.drops, retained));
            rows.extend(taps(label, "adversarial", "predicted", &curves.adversarial_predicted, &[], captured));
        }
    }
    csv_columns(columns, rows)
}

fn taps<'a>(
    attack: &'a str,
    pixels: &'static str,
    labels: &'static str,
    curve: &'a Curve,
    drops: &'a [Option<Interval>],
    share: impl Fn(usize) -> Option<ClassShare> + 'a,
) -> impl Iterator<Item = Row<'a>> {
    curve.taps.iter().enumerate().map(move |(index, point)| {
        let drop = drops.get(index).copied().flatten();
        Row { attack, pixels, labels, curve, index, point, drop, share: share(index) }
    })
}
