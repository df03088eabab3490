//! `curves.csv`: one row per curve and tap.

use super::{Evidence, cell, safe_cell};
use crate::modularity::Curve;
use crate::verdict::Report;

/// Long format: `attack` is `clean` for the curves over all samples.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut row = |cells: &[String]| writer.write_record(cells).expect("writing to memory cannot fail");
    let header = [
        "attack",
        "pixels",
        "labels",
        "tap_index",
        "tap",
        "n",
        "k",
        "similarity",
        "q",
        "q_low_95",
        "q_high_95",
        "q_null",
        "q_null_sd",
        "z",
        "q_drop",
        "q_drop_low_95",
        "q_drop_high_95",
        "largest_in_degree",
        "in_degree_skewness",
        "label_overlap",
        "zero_rows",
        "duplicates",
        "reason",
    ];
    row(&header.map(str::to_owned));
    let mut curve =
        |attack: &str, pixels: &str, labels: &str, curve: &Curve, drops: &[Option<crate::modularity::Interval>]| {
            for (index, point) in curve.taps.iter().enumerate() {
                let drop = drops.get(index).copied().flatten();
                let cells = [
                    safe_cell(attack),
                    pixels.to_owned(),
                    labels.to_owned(),
                    index.to_string(),
                    safe_cell(&point.tap),
                    curve.n.to_string(),
                    curve.k.to_string(),
                    curve.similarity.to_string(),
                    cell(point.q),
                    cell(point.interval.map(|it| it.low)),
                    cell(point.interval.map(|it| it.high)),
                    cell(point.null),
                    cell(point.null_std_dev),
                    cell(point.z),
                    cell(drop.map(|it| it.estimate)),
                    cell(drop.map(|it| it.low)),
                    cell(drop.map(|it| it.high)),
                    point.hubness.map_or(String::new(), |it| it.largest_in_degree.to_string()),
                    cell(point.hubness.map(|it| it.skewness)),
                    cell(point.label_overlap),
                    point.zero_rows.to_string(),
                    point.duplicates.to_string(),
                    safe_cell(point.reason.as_deref().unwrap_or_default()),
                ];
                row(&cells);
            }
        };
    if let Some(curves) = &report.clean.curves {
        curve("clean", "clean", "true", &curves.true_labels, &[]);
        curve("clean", "clean", "predicted", &curves.predicted_labels, &[]);
    }
    for attack in &report.attacks {
        if let Some(curves) = &attack.curves {
            let label = &attack.attack.label;
            curve(label, "clean", "true", &curves.clean, &[]);
            curve(label, "adversarial", "true", &curves.adversarial, &curves.drops);
            curve(label, "adversarial", "predicted", &curves.adversarial_predicted, &[]);
        }
    }
    writer.into_inner().expect("writing to memory cannot fail")
}
