//! Curves as CSV.

use super::ModelCurve;
use crate::modularity::TapModularity;
use crate::report::safe_cell;

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
    ];
    let rows = curves.iter().flat_map(|it| {
        let taps = it.details.iter().enumerate();
        taps.flat_map(move |(index, tap)| {
            let repeats = tap.repeats.iter().enumerate();
            repeats
                .map(move |(repeat, found)| [&before(it, index, &tap.tap)[..], &of_repeat(it, repeat, found)].concat())
        })
    });
    csv(&header, rows)
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
    csv(&header, rows)
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

fn of_repeat(it: &ModelCurve, repeat: usize, found: &TapModularity) -> [String; 11] {
    let modularity = &found.modularity;
    [
        repeat.to_string(),
        modularity.q.to_string(),
        cell(it.random_init),
        modularity.null.to_string(),
        modularity.null_std_dev.to_string(),
        cell(modularity.z()),
        modularity.label_overlap.to_string(),
        found.knn_accuracy.to_string(),
        found.hubness.largest_in_degree.to_string(),
        found.hubness.skewness.to_string(),
        found.never_chosen.to_string(),
    ]
}

fn cell(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn csv(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).expect("writing to memory cannot fail");
    for row in rows {
        writer.write_record(row).expect("writing to memory cannot fail");
    }
    writer.into_inner().expect("writing to memory cannot fail")
}
