//! Curves as CSV.

use crate::modularity::TapRepeat;
use crate::report::{cell, csv_table, safe_cell};
use crate::study::results::curve::{CurveResult, ModelCurve};

/// A row for each model, setting, tap and repeat.
pub(super) fn curve_csv(CurveResult { curves, .. }: &CurveResult) -> Vec<u8> {
    let header = [
        "model",
        "tap_index",
        "tap",
        "n",
        "k",
        "similarity",
        "repeat",
        "q",
        "random_init",
        "q_null",
        "q_null_sd",
        "z",
        "label_overlap",
        "knn_accuracy",
        "largest_in_degree",
        "in_degree_skewness",
        "never_chosen",
        "reason",
    ];
    let rows = curves.iter().flat_map(|it| {
        let taps = it.details.iter().enumerate();
        taps.flat_map(move |(index, tap)| {
            let repeats = tap.repeats.iter().enumerate();
            repeats
                .map(move |(repeat, found)| [&before(it, index, &tap.tap)[..], &of_repeat(it, repeat, found)].concat())
        })
    });
    csv_table(&header, rows)
}

/// A row for each model, setting, tap and class.
pub(super) fn classes_csv(CurveResult { curves, .. }: &CurveResult) -> Vec<u8> {
    let header =
        ["model", "tap_index", "tap", "n", "k", "similarity", "class", "name", "q", "separation", "random_init"];
    let rows = curves.iter().flat_map(|it| {
        let taps = it.details.iter().enumerate();
        taps.flat_map(move |(index, tap)| {
            tap.classes.iter().map(move |class| {
                let cells = [
                    class.class.to_string(),
                    safe_cell(&it.class_name(class.class)),
                    class.q.to_string(),
                    cell(class.separation),
                    cell(it.random_init),
                ];
                [&before(it, index, &tap.tap)[..], &cells].concat()
            })
        })
    });
    csv_table(&header, rows)
}

/// The first columns.
fn before(it: &ModelCurve, index: usize, tap: &str) -> [String; 6] {
    [
        safe_cell(&it.model),
        index.to_string(),
        safe_cell(tap),
        it.curve.n.to_string(),
        it.curve.k.to_string(),
        it.curve.similarity.to_string(),
    ]
}

/// The rest; empty but for the reason where there is no Q.
fn of_repeat(it: &ModelCurve, repeat: usize, found: &TapRepeat) -> [String; 12] {
    [
        repeat.to_string(),
        cell(found.q),
        cell(it.random_init),
        cell(found.null),
        cell(found.null_std_dev),
        cell(found.z),
        cell(found.label_overlap),
        cell(found.knn_accuracy),
        cell(found.hubness.map(|hub| hub.largest_in_degree)),
        cell(found.hubness.map(|hub| hub.skewness)),
        cell(found.never_chosen),
        safe_cell(&cell(found.reason.as_ref())),
    ]
}
