//! Curves as CSV.

use super::ModelCurve;
use crate::modularity::{Modularity, ModularityError, TapModularity};
use crate::report::{cell, csv_table, safe_cell};

/// A row for each model, setting, tap and repeat.
pub fn curve_csv(curves: &[ModelCurve]) -> Vec<u8> {
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
pub fn classes_csv(curves: &[ModelCurve]) -> Vec<u8> {
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
fn of_repeat(it: &ModelCurve, repeat: usize, found: &Result<TapModularity, ModularityError>) -> [String; 12] {
    let (measured, reason) = (found.as_ref().ok(), found.as_ref().err());
    let modularity = measured.map(|it| &it.modularity);
    [
        repeat.to_string(),
        cell(modularity.map(|it| it.q)),
        cell(it.random_init),
        cell(modularity.map(|it| it.null)),
        cell(modularity.map(|it| it.null_std_dev)),
        cell(modularity.and_then(Modularity::z)),
        cell(modularity.map(|it| it.label_overlap)),
        cell(measured.map(|it| it.knn_accuracy)),
        cell(measured.map(|it| it.hubness.largest_in_degree)),
        cell(measured.map(|it| it.hubness.skewness)),
        cell(measured.map(|it| it.never_chosen)),
        safe_cell(&cell(reason)),
    ]
}
