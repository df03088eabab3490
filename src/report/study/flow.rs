//! Class flow: tables for people, CSV, and a matrix per attack before and after it.

use std::fmt::Write as _;

use super::{StudyFile, StudyReport, TextOptions};
use crate::report::svg::{Heatmap, heatmaps};
use crate::report::{Column, cell, csv_columns, csv_table, safe_cell};
use crate::study::results::flow::{Flow, FlowResult, TapDetection};
use crate::text::heatmap::{Look, heatmap};
use crate::text::names::{column, harmless};
use crate::text::numbers::{number, share};

/// Most classes of a matrix for people, and of one in a picture.
const CLASSES: usize = 16;
const DRAWN: usize = 100;

impl StudyReport for FlowResult {
    const FILES: &'static [StudyFile<Self>] = &[
        StudyFile::json(),
        StudyFile::new("flow.csv", "csv", csv),
        StudyFile::new("detection.csv", "detection", detection_csv),
        StudyFile::new("flow.svg", "svg", picture).unless(|it| {
            (it.classes.len() > DRAWN).then(|| format!("no picture of more than {DRAWN} classes; flow.csv has all"))
        }),
    ];

    fn text(&self, options: &TextOptions) -> String {
        let text =
            |(label, flow)| text(label, flow, &self.classes, options.look).expect("writing to memory cannot fail");
        self.found().map(text).collect()
    }
}

fn text(label: &str, flow: &Flow, classes: &[String], look: Look) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "{}: {} broken images among {} clean ones, k = {}, {}\n",
        harmless(label),
        flow.broken,
        flow.reference,
        flow.k,
        flow.similarity
    );
    let width = column(flow.taps.iter().map(|tap| &tap.tap), 3);
    writeln!(
        text,
        "  {:<width$}    AUC  [95 %]          neighbours that disagree with the prediction: clean, adversarial",
        "tap"
    )?;
    for tap in &flow.taps {
        let auc = number(tap.auc, 3);
        let interval = tap.auc_interval.map_or("–".to_owned(), |it| format!("[{:.3}, {:.3}]", it.low, it.high));
        let (before, after) = (share(tap.clean_disagreement), share(tap.adversarial_disagreement));
        let reason = tap.reason.as_deref().map_or(String::new(), |it| format!("  {}", harmless(it)));
        writeln!(text, "  {:<width$}  {auc:>5}  {interval:<14}  {before:>7}  {after:>7}{reason}", harmless(&tap.tap))?;
    }
    if flow.broken > 0 && classes.len() <= CLASSES {
        let names: Vec<String> = classes.iter().map(|name| harmless(name)).collect();
        let tap = harmless(&flow.tap);
        writeln!(
            text,
            "\n  neighbours at {tap} after the attack: true class (row), share of each class in label order (column)"
        )?;
        text += &heatmap(&names, &flow.adversarial, 1.0, look);
    } else if flow.broken > 0 {
        writeln!(text, "\n  the largest flows at {} (--out DIR writes all)", harmless(&flow.tap))?;
        for (share, from, to) in largest(flow).into_iter().take(10) {
            writeln!(text, "  {:>5.1} %  {} → {}", 100.0 * share, harmless(&classes[from]), harmless(&classes[to]))?;
        }
    }
    text.push('\n');
    Ok(text)
}

/// Shares of other classes, the largest first.
fn largest(flow: &Flow) -> Vec<(f64, usize, usize)> {
    let rows = flow.adversarial.iter().enumerate();
    let mut found: Vec<(f64, usize, usize)> = rows
        .flat_map(|(from, row)| row.iter().enumerate().filter_map(move |(to, share)| Some(((*share)?, from, to))))
        .filter(|(_, from, to)| from != to)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

fn picture(result: &FlowResult) -> Vec<u8> {
    let map = |title: String, values: &[Vec<Option<f64>>]| Heatmap {
        title,
        names: result.classes.clone(),
        values: values.to_vec(),
        largest: 1.0,
        marks: Vec::new(),
    };
    let both = |(label, flow): (&str, &Flow)| {
        [map(format!("{label}: clean"), &flow.clean), map(format!("{label}: adversarial"), &flow.adversarial)]
    };
    let maps: Vec<Heatmap> = result.found().flat_map(both).collect();
    heatmaps(&maps, "Classes (columns) of the clean neighbours of broken images by true class (rows)").into_bytes()
}

/// A row for each attack and two classes.
fn csv(result: &FlowResult) -> Vec<u8> {
    let classes = &result.classes;
    let rows = result.found().flat_map(|(label, flow)| {
        let pairs = flow.clean.iter().zip(&flow.adversarial).enumerate();
        pairs.flat_map(move |(from, (clean, adversarial))| {
            clean.iter().zip(adversarial).enumerate().map(move |(to, (clean, adversarial))| {
                let names = [label, flow.tap.as_str(), &classes[from], &classes[to]].map(safe_cell);
                [&names[..], &[cell(*clean), cell(*adversarial)]].concat()
            })
        })
    });
    csv_table(&["attack", "tap", "true_class", "neighbour_class", "clean_share", "adversarial_share"], rows)
}

/// A row for each attack and tap.
fn detection_csv(result: &FlowResult) -> Vec<u8> {
    let columns: &[Column<(&str, &TapDetection)>] = &[
        ("attack", |(label, _)| safe_cell(label)),
        ("tap", |(_, tap)| safe_cell(&tap.tap)),
        ("auc", |(_, tap)| cell(tap.auc)),
        ("auc_se", |(_, tap)| cell(tap.auc_interval.map(|it| it.se))),
        ("auc_low_95", |(_, tap)| cell(tap.auc_interval.map(|it| it.low))),
        ("auc_high_95", |(_, tap)| cell(tap.auc_interval.map(|it| it.high))),
        ("auc_two_sided", |(_, tap)| cell(tap.auc_two_sided)),
        ("clean_disagreement", |(_, tap)| cell(tap.clean_disagreement)),
        ("adversarial_disagreement", |(_, tap)| cell(tap.adversarial_disagreement)),
    ];
    csv_columns(columns, result.found().flat_map(|(label, flow)| flow.taps.iter().map(move |tap| (label, tap))))
}
