//! A training's dynamics: a line per checkpoint and the trends for people, every point as CSV, curves over taps and over checkpoints as SVG.

use std::fmt::Write as _;

use super::curve::q_range;
use super::{StudyFile, StudyReport, TextOptions};
use crate::modularity::TapPoint;
use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::report::{Column, cell, csv_columns, safe_cell};
use crate::study::results::dynamics::{Checkpoint, DynamicsResult};
use crate::text::names::{column, harmless, tail};
use crate::text::numbers::number;

impl StudyReport for DynamicsResult {
    const FILES: &'static [StudyFile<Self>] = &[
        StudyFile::json(),
        StudyFile::new("dynamics.csv", "csv", csv),
        StudyFile::new("dynamics.svg", "svg", |it| picture(&it.checkpoints).into_bytes()),
    ];

    fn text(&self, _: &TextOptions) -> String {
        let head = self.checkpoints.first().map(|first| head_text(&self.data, first));
        head.into_iter().chain(self.checkpoints.iter().map(checkpoint_text)).chain([trends_text(self)]).collect()
    }
}

/// Letters of a checkpoint's name.
const NAME: usize = 28;

/// Q of so many taps stands in the table.
const COLUMNS: usize = 6;

/// The taps of the table: evenly spread, with the first and the last.
fn columns(checkpoint: &Checkpoint) -> impl Iterator<Item = usize> {
    let n = checkpoint.curve.taps.len();
    (0..n.min(COLUMNS)).map(move |it| if n <= COLUMNS { it } else { it * (n - 1) / (COLUMNS - 1) })
}

/// The head of the table, with the taps of a checkpoint.
pub(crate) fn head_text(data: &str, it: &Checkpoint) -> String {
    let curve = &it.curve;
    let taps: Vec<String> = columns(it).map(|tap| format!("{:>12}", tail(&curve.taps[tap].tap, 11))).collect();
    harmless(&format!(
        "Q by tap on {data}: N = {}, k = {}, {}\n{:<NAME$} {:>8}{}\n",
        curve.n,
        curve.k,
        curve.similarity,
        "checkpoint",
        "accuracy",
        taps.concat()
    ))
}

/// A checkpoint's line of the table.
pub(crate) fn checkpoint_text(it: &Checkpoint) -> String {
    let accuracy = it.accuracy.value.map_or("–".to_owned(), |value| format!("{:.2} %", 100.0 * value));
    let taps: Vec<String> = columns(it).map(|tap| format!("{:>12}", number(it.curve.taps[tap].q, 4))).collect();
    harmless(&format!("{:<NAME$} {accuracy:>8}{}\n", tail(&it.name, NAME), taps.concat()))
}

/// How Q goes with the accuracy, tap by tap.
pub(crate) fn trends_text(result: &DynamicsResult) -> String {
    let mut text = String::from(
        "\nrank correlation of Q and accuracy over the checkpoints, and Q of the first and the last one\n",
    );
    let width = column(result.taps.iter().map(|it| &it.tap), 3);
    for it in &result.taps {
        let [first, last] = [it.first, it.last].map(|q| number(q, 4));
        writeln!(text, "  {:<width$}  {:>6}  {first:>7} → {last:>7}", it.tap, number(it.rank_correlation, 2))
            .expect("writing to memory cannot fail");
    }
    harmless(&text)
}

fn csv(result: &DynamicsResult) -> Vec<u8> {
    let columns: &[Column<(usize, &Checkpoint, usize, &TapPoint)>] = &[
        ("checkpoint", |(_, it, ..)| safe_cell(&it.name)),
        ("number", |(place, ..)| (place + 1).to_string()),
        ("accuracy", |(_, it, ..)| cell(it.accuracy.value)),
        ("tap_index", |(_, _, index, _)| index.to_string()),
        ("tap", |(.., point)| safe_cell(&point.tap)),
        ("n", |(_, it, ..)| it.curve.n.to_string()),
        ("k", |(_, it, ..)| it.curve.k.to_string()),
        ("similarity", |(_, it, ..)| it.curve.similarity.to_string()),
        ("q", |(.., point)| cell(point.q)),
        ("q_std_dev", |(.., point)| cell(point.std_dev)),
        ("null", |(.., point)| cell(point.null)),
    ];
    let rows =
        result.checkpoints.iter().enumerate().flat_map(|(place, it)| {
            it.curve.taps.iter().enumerate().map(move |(index, point)| (place, it, index, point))
        });
    csv_columns(columns, rows)
}

/// A curve per checkpoint; and, over the checkpoints, accuracy and Q of three taps.
fn picture(checkpoints: &[Checkpoint]) -> String {
    let Some(first) = checkpoints.first() else { return charts(&[], "no checkpoints") };
    charts(
        &[by_tap(checkpoints, first), over_time(checkpoints, first)],
        "Modularity by tap of each checkpoint, and accuracy and modularity over the checkpoints",
    )
}

fn by_tap(checkpoints: &[Checkpoint], first: &Checkpoint) -> LineChart {
    let steps = (checkpoints.len().max(2) - 1) as f64;
    let curve = |(place, it): (usize, &Checkpoint)| {
        let values = it.curve.taps.iter().map(|point| point.q);
        Line::new(&it.number(place), values, Colour::Step(place as f64 / steps))
    };
    LineChart {
        title: format!("Q by tap for each checkpoint, N = {}, k = {}", first.curve.n, first.curve.k),
        places: first.curve.taps.iter().map(|it| it.tap.clone()).collect(),
        range: q_range(checkpoints.iter().map(|it| &it.curve), &[]),
        lines: checkpoints.iter().enumerate().map(curve).collect(),
        is_joined: true,
    }
}

fn over_time(checkpoints: &[Checkpoint], first: &Checkpoint) -> LineChart {
    let taps = &first.curve.taps;
    let accuracy = || checkpoints.iter().map(|it| it.accuracy.value);
    let mut places = vec![0, taps.len().saturating_sub(1) / 2, taps.len().saturating_sub(1)];
    places.dedup();
    let mut lines = vec![Line::new("accuracy", accuracy(), Colour::Own(1))];
    for (tap, colour) in places.into_iter().zip([0, 2, 3]).filter(|(tap, _)| *tap < taps.len()) {
        let values = checkpoints.iter().map(|it| it.curve.taps.get(tap).and_then(|point| point.q));
        lines.push(Line::new(&format!("Q {}", taps[tap].tap), values, Colour::Own(colour)));
    }
    LineChart {
        title: "accuracy and Q by checkpoint".to_owned(),
        places: checkpoints.iter().enumerate().map(|(place, it)| it.number(place)).collect(),
        range: q_range(checkpoints.iter().map(|it| &it.curve), &accuracy().flatten().collect::<Vec<_>>()),
        lines,
        is_joined: true,
    }
}
