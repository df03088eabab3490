//! `samples.csv`: one row per attack and attacked sample.

use super::{Evidence, cell, safe_cell};
use crate::verdict::Report;

/// Distances are of pixels in `[0, 1]`; `index` is the sample's place in the data set; `carried_from` is the attack of the same sweep whose
/// result this is; `broken_by_any` says the same of a sample in each of its rows.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut row = |cells: &[String]| writer.write_record(cells).expect("writing to memory cannot fail");
    let header = [
        "attack",
        "sample",
        "index",
        "label",
        "clean_prediction",
        "target",
        "adversarial_prediction",
        "success",
        "l0_pixels",
        "l2",
        "linf",
        "forwards",
        "backwards",
        "forwards_to_success",
        "carried_from",
        "broken_by_any",
    ];
    row(&header.map(str::to_owned));
    let label = |attack: usize| Some(report.attacks.get(attack)?.attack.label.as_str());
    let broken_by_any = |sample: usize, by_this: bool| {
        report.worst_case.as_ref().map_or(by_this, |worst| worst.broken.binary_search(&sample).is_ok())
    };
    for attack in &report.attacks {
        for sample in &attack.samples {
            let at = sample.sample;
            row(&[
                safe_cell(&attack.attack.label),
                at.to_string(),
                report.data.indices[at].to_string(),
                report.data.labels[at].to_string(),
                report.clean.predictions[at].to_string(),
                cell(sample.target),
                sample.prediction.to_string(),
                sample.success.to_string(),
                sample.l0.to_string(),
                sample.l2.to_string(),
                sample.linf.to_string(),
                sample.forwards.to_string(),
                sample.backwards.to_string(),
                cell(sample.forwards_to_success),
                sample.carried_from.and_then(label).map_or(String::new(), safe_cell),
                broken_by_any(at, sample.success).to_string(),
            ]);
        }
    }
    writer.into_inner().expect("writing to memory cannot fail")
}
