//! What dynamics.json holds: the curves and accuracies of a training's checkpoints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StudyResult;
use crate::modularity::Curve;
use crate::stats::rates::Rate;

/// Curves and accuracies of the checkpoints of a training, as `advmod dynamics` and `advmod train --measure` write them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DynamicsResult {
    /// The checkpoints in the order of the training.
    pub checkpoints: Vec<Checkpoint>,
    /// Name of the data set that they were measured on.
    pub data: String,
    /// How Q goes with the accuracy over the checkpoints, for each tap in forward order.
    pub taps: Vec<TapTrend>,
}

/// What was measured of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Checkpoint {
    /// Name of the checkpoint's file without its folders.
    pub name: String,
    /// SHA-256 of the checkpoint's file, in hexadecimal.
    pub sha256: String,
    /// Accuracy on the images of the curve, all repeats together.
    pub accuracy: Rate,
    /// Clean modularity curve of the checkpoint.
    pub curve: Curve,
    /// Sentences about this measurement that its reader should know; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a tap's Q goes with the accuracy over the checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TapTrend {
    /// Module path of the tap.
    pub tap: String,
    /// Q of the first checkpoint; absent where it has none.
    pub first: Option<f64>,
    /// Q of the last checkpoint; absent where it has none.
    pub last: Option<f64>,
    /// Spearman's rank correlation of Q and accuracy; absent for fewer than three checkpoints, and where one of the two never changes.
    pub rank_correlation: Option<f64>,
}

impl Checkpoint {
    /// The number in its name (`epoch-012.safetensors`: 12), or its place, counted from 1.
    pub(crate) fn number(&self, place: usize) -> String {
        let stem = self.name.split('.').next().unwrap_or_default();
        let digits: String =
            stem.chars().rev().take_while(char::is_ascii_digit).collect::<Vec<_>>().into_iter().rev().collect();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() { (place + 1).to_string() } else { digits.to_owned() }
    }
}

impl StudyResult for DynamicsResult {
    const STUDY: &'static str = "dynamics";
    const FILE: &'static str = "dynamics.json";

    fn check(&self) -> Result<(), String> {
        let Some(first) = self.checkpoints.first() else { return Ok(()) };
        let taps = || first.curve.taps.iter().map(|it| &it.tap);
        if let Some(other) = self.checkpoints.iter().find(|it| !taps().eq(it.curve.taps.iter().map(|it| &it.tap))) {
            return Err(format!("{} has other taps than {}", other.name, first.name));
        }
        if taps().eq(self.taps.iter().map(|it| &it.tap)) { Ok(()) } else { Err("taps without a trend".to_owned()) }
    }
}
