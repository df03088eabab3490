//! What dynamics.json holds: the curves and accuracies of a training's checkpoints, as plain data.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::modularity::Curve;
use crate::stats::rates::Rate;

/// The file as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dynamics {
    /// In the order of the training.
    pub checkpoints: Vec<Checkpoint>,
    /// Name of the data set.
    pub data: String,
    /// Tap by tap.
    pub taps: Vec<TapTrend>,
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// File name.
    pub name: String,
    /// Of the file.
    pub sha256: String,
    /// On the samples of the curve, all repeats together.
    pub accuracy: Rate,
    /// Clean curve.
    pub curve: Curve,
}

impl Checkpoint {
    /// The number in its name (`epoch-012.safetensors`: 12), or its place, counted from 1.
    pub fn number(&self, place: usize) -> String {
        let stem = self.name.split('.').next().unwrap_or_default();
        let digits: String =
            stem.chars().rev().take_while(char::is_ascii_digit).collect::<Vec<_>>().into_iter().rev().collect();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() { (place + 1).to_string() } else { digits.to_owned() }
    }
}

/// How a tap's Q goes with the accuracy over the checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TapTrend {
    /// Where.
    pub tap: String,
    /// Q of the first checkpoint.
    pub first: Option<f64>,
    /// Q of the last one.
    pub last: Option<f64>,
    /// Spearman's rank correlation of Q and accuracy; absent for fewer than three checkpoints, and where one of the two never changes.
    pub rank_correlation: Option<f64>,
}

/// Name of the file in the folder that `advmod dynamics --out` and `advmod train --measure` write to.
pub const FILE: &str = "dynamics.json";

/// Reads such a file.
///
/// # Errors
/// One line, when it cannot be read or is something else.
pub fn read(path: &Path) -> Result<Dynamics, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        format!("{}: not a dynamics.json of advmod ({error}); measure it again with advmod dynamics", path.display())
    })
}
