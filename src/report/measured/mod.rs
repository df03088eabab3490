//! Clean curves of one or several models and settings, as files: JSON, CSV, SVG (the page is in `html/`).

mod picture;
mod tables;

use serde::Serialize;

use crate::modularity::{Curve, TapDetails};

pub(super) use picture::groups;
pub use picture::{picture, q_range};
pub use tables::{classes_csv, curve_csv};

/// One curve of one model, as JSON has it.
#[derive(Clone, Debug, Serialize)]
pub struct ModelCurve {
    /// As typed: two files may have the same name.
    pub model: String,
    /// What it is.
    pub architecture: String,
    /// Of the file; random weights have none.
    pub sha256: Option<String>,
    /// Seed of random weights.
    pub random_init: Option<u64>,
    /// On what.
    pub data: String,
    /// In label order; empty where unknown.
    pub class_names: Vec<String>,
    /// Q per tap.
    pub curve: Curve,
    /// What the graphs say beyond Q, by tap.
    pub details: Vec<TapDetails>,
}

impl ModelCurve {
    /// What was measured with which settings, in a line.
    pub fn heading(&self) -> String {
        let Self { model, architecture, data, curve, .. } = self;
        let random = self.random_init.map_or(String::new(), |seed| format!(", random weights {seed}"));
        format!(
            "{model} ({architecture}{random}) on {data}: N = {}, k = {}, {}, {} repeat(s)",
            curve.n,
            curve.k,
            curve.similarity,
            self.repeats()
        )
    }

    /// Sets of samples that were measured.
    pub fn repeats(&self) -> usize {
        self.details.iter().map(|tap| tap.repeats.len()).max().unwrap_or(0)
    }

    /// A class's name, or else its label.
    pub fn class_name(&self, class: usize) -> String {
        self.class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

/// The end of a long path, which tells files apart.
pub fn tail(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    format!("…{}", name.chars().skip(length + 1 - most).collect::<String>())
}
