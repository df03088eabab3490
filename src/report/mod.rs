//! An audit's results as bytes: one file per format, none of which reads or writes anything.

pub mod across;
pub mod gates;
pub mod metric;
pub mod wire;

mod curves_csv;
mod json;
mod markdown;
mod samples_csv;

pub mod journal;
pub mod lines;
pub mod pixels;
pub mod run_dir;
pub mod table;

pub use curves_csv::safe as safe_cell;
pub use wire::Report;

/// A report format.
pub struct Format {
    /// Name of its file in a run's folder.
    pub file: &'static str,
    /// Renders a report.
    pub render: fn(&Report) -> Vec<u8>,
}

/// Every format that a run's folder holds. A new one is a file and a line here.
pub static FORMATS: &[Format] = &[
    Format { file: "report.json", render: json::render },
    Format { file: "report.md", render: markdown::render },
    Format { file: "curves.csv", render: curves_csv::render },
    Format { file: "samples.csv", render: samples_csv::render },
];

/// A number for people: so many digits, or a dash.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// A mean count for people: a digit after the point only where it tells something.
fn count(value: Option<f64>) -> String {
    number(value, usize::from(value.is_none_or(|value| value < 99.95)))
}

/// `L∞`, `L2`, `L0`.
fn norm_sign(norm: &str) -> String {
    if norm == "linf" { "L∞".to_owned() } else { norm.to_uppercase() }
}

/// A share in percent with one digit, or a dash.
fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.1}", 100.0 * value))
}
