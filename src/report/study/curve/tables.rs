//! Curves as CSV.

use crate::modularity::{ClassQ, TapDetails, TapRepeat};
use crate::report::{Column, cell, csv_columns, safe_cell};
use crate::study::results::curve::{CurveResult, ModelCurve};

/// A part of a tap: one of its repeats, or of its classes.
struct Row<'a, P> {
    it: &'a ModelCurve,
    index: usize,
    tap: &'a TapDetails,
    number: usize,
    part: &'a P,
}

fn table<'a, P>(curves: &'a [ModelCurve], parts: fn(&TapDetails) -> &[P], columns: &[Column<Row<'a, P>>]) -> Vec<u8> {
    let before: [Column<Row<'a, P>>; 6] = [
        ("model", |row| safe_cell(&row.it.model)),
        ("tap_index", |row| row.index.to_string()),
        ("tap", |row| safe_cell(&row.tap.tap)),
        ("n", |row| row.it.curve.n.to_string()),
        ("k", |row| row.it.curve.k.to_string()),
        ("similarity", |row| row.it.curve.similarity.to_string()),
    ];
    let rows = curves.iter().flat_map(|it| {
        it.details.iter().enumerate().flat_map(move |(index, tap)| {
            let parts = parts(tap).iter().enumerate();
            parts.map(move |(number, part)| Row { it, index, tap, number, part })
        })
    });
    csv_columns(&[&before, columns].concat(), rows)
}

/// A row for each model, setting, tap and repeat; cells are empty, but for the reason, where there is no Q.
pub(super) fn curve_csv(CurveResult { curves, .. }: &CurveResult) -> Vec<u8> {
    let columns: &[Column<Row<'_, TapRepeat>>] = &[
        ("repeat", |row| row.number.to_string()),
        ("q", |row| cell(row.part.q)),
        ("random_init", |row| cell(row.it.random_init)),
        ("q_null", |row| cell(row.part.null)),
        ("q_null_sd", |row| cell(row.part.null_std_dev)),
        ("z", |row| cell(row.part.z)),
        ("label_overlap", |row| cell(row.part.label_overlap)),
        ("knn_accuracy", |row| cell(row.part.knn_accuracy)),
        ("largest_in_degree", |row| cell(row.part.hubness.map(|hub| hub.largest_in_degree))),
        ("in_degree_skewness", |row| cell(row.part.hubness.map(|hub| hub.skewness))),
        ("never_chosen", |row| cell(row.part.never_chosen)),
        ("reason", |row| safe_cell(&cell(row.part.reason.as_ref()))),
    ];
    table(curves, |tap| &tap.repeats, columns)
}

/// A row for each model, setting, tap and class.
pub(super) fn classes_csv(CurveResult { curves, .. }: &CurveResult) -> Vec<u8> {
    let columns: &[Column<Row<'_, ClassQ>>] = &[
        ("class", |row| row.part.class.to_string()),
        ("name", |row| safe_cell(&row.it.class_name(row.part.class))),
        ("q", |row| row.part.q.to_string()),
        ("separation", |row| cell(row.part.separation)),
        ("random_init", |row| cell(row.it.random_init)),
    ];
    table(curves, |tap| &tap.classes, columns)
}
