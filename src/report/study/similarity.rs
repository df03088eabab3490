//! How alike taps are: matrices for people, as CSV and as a picture.

use std::fmt::Write as _;

use super::{StudyFile, StudyReport, TextOptions};
use crate::modularity::Interval;
use crate::report::svg::{Heatmap, heatmaps};
use crate::report::{cell, csv_table, safe_cell};
use crate::study::results::Subject;
use crate::study::results::similarity::{Matrix, SimilarityResult, differs};
use crate::text::heatmap::heatmap;
use crate::text::names::{column, harmless};

impl StudyReport for SimilarityResult {
    const FILES: &'static [StudyFile<Self>] = &[
        StudyFile::json(),
        StudyFile::new("difference.csv", "difference", |it| matrix_csv(&it.taps, &it.difference)),
        StudyFile::new("change.csv", "change", changes_csv),
        StudyFile::new("cka.csv", "cka", |it| matrix_csv(&it.taps, &it.cka)),
        StudyFile::new("similarity.svg", "svg", picture),
    ];

    fn text(&self, options: &TextOptions) -> String {
        let Self { of: Subject { model, data, .. }, n, k, similarity, cka_estimate, .. } = self;
        let names: Vec<String> = self.taps.iter().map(|tap| harmless(tap)).collect();
        let of = harmless(&format!("{model} on {data}, N = {n}"));
        let difference = heatmap(&names, &self.difference, largest(&self.difference), options.look);
        let cka = heatmap(&names, &self.cka, 1.0, options.look);
        let (steps, estimate) = (steps(&names, &self.change), harmless(cka_estimate));
        format!(
            "|Q_i − Q_j| of {of}, k = {k}, {similarity}\n{difference}\n{steps}\nlinear CKA ({estimate}) of {of}\n{cka}"
        )
    }
}

/// How Q changes from each tap to the next.
fn steps(names: &[String], changes: &[Vec<Option<Interval>>]) -> String {
    let width = column(names, 0);
    let mut text = "change of Q from tap to tap, 95 % paired intervals, each for itself\n".to_owned();
    for (at, pair) in names.windows(2).enumerate() {
        let line = match &changes[at][at + 1] {
            None => "–".to_owned(),
            Some(it) => {
                let word = if differs(it) { "" } else { "  not told apart" };
                format!("{:>+8.4} [{:+.4}, {:+.4}]{word}", it.estimate, it.low, it.high)
            }
        };
        writeln!(text, "  {:<width$} → {:<width$}  {line}", pair[0], pair[1]).expect("writing to memory cannot fail");
    }
    text
}

fn picture(result: &SimilarityResult) -> Vec<u8> {
    let covers = |it: &Option<Interval>| it.as_ref().is_some_and(|it| !differs(it));
    let marks = result.change.iter().map(|row| row.iter().map(covers).collect()).collect();
    let map = |title: &str, matrix: &Matrix, largest: f64, marks: Vec<Vec<bool>>| Heatmap {
        marks,
        title: title.to_owned(),
        names: result.taps.clone(),
        values: matrix.clone(),
        largest,
    };
    let difference = &result.difference;
    let maps = [
        map("|Q_i − Q_j|, · where 0 is in the 95 % interval", difference, largest(difference), marks),
        map("linear CKA", &result.cka, 1.0, Vec::new()),
    ];
    let description = format!("Difference of modularity and linear CKA between the taps of {}", result.of.model);
    heatmaps(&maps, &description).into_bytes()
}

fn largest(matrix: &Matrix) -> f64 {
    matrix.iter().flatten().flatten().copied().fold(0.0, f64::max)
}

/// A row for every two taps, the earlier one first.
fn changes_csv(SimilarityResult { taps, change, .. }: &SimilarityResult) -> Vec<u8> {
    let header = ["from", "to", "is_adjacent", "change", "se", "low_95", "high_95", "differs"];
    let rows = change.iter().enumerate().flat_map(|(a, row)| {
        row.iter().enumerate().skip(a + 1).map(move |(b, change)| {
            let names = [safe_cell(&taps[a]), safe_cell(&taps[b]), (b == a + 1).to_string()];
            let change = change.as_ref();
            let numbers = change.map(|it| [it.estimate, it.se, it.low, it.high]);
            let cells = [0, 1, 2, 3].map(|at| cell(numbers.map(|it| it[at])));
            [&names[..], &cells, &[cell(change.map(differs))]].concat()
        })
    });
    csv_table(&header, rows)
}

fn matrix_csv(taps: &[String], rows: &Matrix) -> Vec<u8> {
    let names = || taps.iter().map(|tap| safe_cell(tap));
    let header: Vec<String> = std::iter::once("tap".to_owned()).chain(names()).collect();
    let row =
        |(tap, row): (String, &Vec<Option<f64>>)| std::iter::once(tap).chain(row.iter().map(|it| cell(*it))).collect();
    csv_table(&header, names().zip(rows).map(row))
}
