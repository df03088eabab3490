//! What curve.json holds: clean curves of one or several models and settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StudyResult;
use crate::modularity::{Curve, TapDetails};

/// Clean modularity curves of one or several models and settings, as `advmod curve` writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CurveResult {
    /// Version of the advmod that measured the curves.
    pub advmod: String,
    /// Version of the libtorch that computed them.
    pub libtorch: String,
    /// The command that measures the curves again.
    pub command: String,
    /// One entry for each model and setting.
    pub curves: Vec<ModelCurve>,
    /// Sentences about this measurement that its reader should know.
    pub warnings: Vec<String>,
}

/// One curve of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ModelCurve {
    /// Path of the model's file as it was given to the command, or `embedded`.
    pub model: String,
    /// Architecture of the model, such as `resnet20`.
    pub architecture: String,
    /// SHA-256 of the model's file, in hexadecimal; absent for random weights.
    pub sha256: Option<String>,
    /// Seed of the random weights that the model was given; absent for the weights of its file.
    pub random_init: Option<u64>,
    /// Name of the data set.
    pub data: String,
    /// Names of the classes in label order; empty where the data set does not name them.
    pub class_names: Vec<String>,
    /// The curve: Q at each tap, in forward order.
    pub curve: Curve,
    /// What the graphs say beyond Q, one entry for each tap of the curve.
    pub details: Vec<TapDetails>,
}

impl ModelCurve {
    /// What was measured with which settings, in a line.
    pub(crate) fn heading(&self) -> String {
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
    pub(crate) fn repeats(&self) -> usize {
        self.details.iter().map(|tap| tap.repeats.len()).max().unwrap_or(0)
    }

    /// A class's name, or else its label.
    pub(crate) fn class_name(&self, class: usize) -> String {
        self.class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

impl StudyResult for CurveResult {
    const STUDY: &'static str = "curve";
    const FILE: &'static str = "curve.json";

    fn check(&self) -> Result<(), String> {
        let fits =
            |it: &&ModelCurve| it.curve.taps.iter().map(|tap| &tap.tap).eq(it.details.iter().map(|tap| &tap.tap));
        match self.curves.iter().find(|it| !fits(it)) {
            None => (),
            Some(it) => return Err(format!("the details of {:?} are not of the curve's taps", it.model)),
        }
        let points = self.curves.iter().flat_map(|it| &it.curve.taps);
        let numbers = points.flat_map(|tap| [tap.q, tap.null, tap.std_dev]).flatten();
        match numbers.into_iter().find(|it| it.abs() > 1.0) {
            None => Ok(()),
            Some(it) => Err(format!("a modularity is {it:e}, expected −1 to 1")),
        }
    }
}
