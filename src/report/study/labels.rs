//! Doubtful labels: a table for people, and all of them as CSV.

use std::fmt::Write as _;

use super::{StudyFile, StudyReport, TextOptions};
use crate::report::{Column, csv_columns, safe_cell};
use crate::study::results::Subject;
use crate::study::results::labels::{LabelsResult, RankedSample};
use crate::text::names::{column, harmless};

impl StudyReport for LabelsResult {
    const FILES: &'static [StudyFile<Self>] = &[StudyFile::json(), StudyFile::new("labels.csv", "csv", csv)];

    const FLAGS: &'static [&'static str] = &["--top"];

    fn text(&self, options: &TextOptions) -> String {
        harmless(&table(self, options.top).expect("writing to memory cannot fail"))
    }
}

fn table(result: &LabelsResult, top: usize) -> Result<String, std::fmt::Error> {
    let LabelsResult { of: Subject { model, architecture, data, .. }, n, k, similarity, samples, .. } = result;
    let other = samples.iter().filter(|it| it.suggested != it.label).count();
    let shown = &samples[..top.min(samples.len())];
    let name = |class| result.class_name(class);
    let width = |of: fn(&RankedSample) -> usize, least: usize| {
        column(&shown.iter().map(|it| name(of(it))).collect::<Vec<_>>(), least)
    };
    let (label, suggested) = (width(|it| it.label, 5), width(|it| it.suggested, 14));
    let taps = result.taps.join(", ");
    let mut text = format!(
        "{model} ({architecture}) on {data}: N = {n}, k = {k}, {similarity}, {taps}\n\
         {other} of {n} images would suit another class better\n"
    );
    writeln!(text, "   image  {:<label$}  {:<suggested$}  same label  agreement     N·q", "label", "neighbours say")?;
    for it in shown {
        let same = format!("{} of {k}", it.same_label);
        let (own, better) = (name(it.label), name(it.suggested));
        writeln!(
            text,
            "{:>8}  {own:<label$}  {better:<suggested$}  {same:>10}  {:>9.3}  {:>6.2}",
            it.index,
            it.agreement,
            *n as f64 * it.q
        )?;
    }
    Ok(text)
}

fn csv(result: &LabelsResult) -> Vec<u8> {
    let columns: &[Column<(&LabelsResult, usize, &RankedSample)>] = &[
        ("rank", |(_, place, _)| (place + 1).to_string()),
        ("index", |(.., it)| it.index.to_string()),
        ("label", |(.., it)| it.label.to_string()),
        ("label_name", |(result, _, it)| safe_cell(&result.class_name(it.label))),
        ("suggested", |(.., it)| it.suggested.to_string()),
        ("suggested_name", |(result, _, it)| safe_cell(&result.class_name(it.suggested))),
        ("q", |(.., it)| it.q.to_string()),
        ("agreement", |(.., it)| it.agreement.to_string()),
        ("gain", |(.., it)| it.gain.to_string()),
        ("same_label", |(.., it)| it.same_label.to_string()),
    ];
    csv_columns(columns, result.samples.iter().enumerate().map(|(place, it)| (result, place, it)))
}
