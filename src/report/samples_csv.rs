//! `samples.csv`: one row per attack and attacked sample.

use super::Report;
use super::curves_csv::safe;

/// Distances are of pixels in `[0, 1]`; `index` is the sample's place in the data set.
pub(super) fn render(report: &Report) -> Vec<u8> {
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
    ];
    row(&header.map(str::to_owned));
    for attack in &report.attacks {
        for sample in &attack.samples {
            let at = sample.sample;
            row(&[
                safe(&attack.attack.label),
                at.to_string(),
                report.data.indices[at].to_string(),
                report.data.labels[at].to_string(),
                report.clean.predictions[at].to_string(),
                sample.target.map_or(String::new(), |target| target.to_string()),
                sample.prediction.to_string(),
                sample.success.to_string(),
                sample.l0.to_string(),
                sample.l2.to_string(),
                sample.linf.to_string(),
                sample.forwards.to_string(),
                sample.backwards.to_string(),
            ]);
        }
    }
    writer.into_inner().expect("writing to memory cannot fail")
}
