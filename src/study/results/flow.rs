//! What flow.json holds: where the adversarial images of each attack of a run lie among the clean ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StudyResult;
use super::similarity::is_square;
use crate::model::info::ModelSummary;
use crate::modularity::Similarity;

/// Where the adversarial images of a stored run lie among its clean images, as `advmod flow` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FlowResult {
    /// The model that the run attacked.
    pub model: ModelSummary,
    /// Name of the data set.
    pub data: String,
    /// Names of all classes of the model in label order, or their numbers where the data set does not name them.
    pub classes: Vec<String>,
    /// One entry for each attack of the run that was asked for.
    pub attacks: Vec<AttackFlow>,
    /// Sentences about this measurement that its reader should know.
    pub warnings: Vec<String>,
}

/// An attack of the run and where its images lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AttackFlow {
    /// Label of the attack in the run's report.
    pub attack: String,
    /// Where its images lie; absent when that cannot be said.
    pub flow: Option<Flow>,
    /// Why `flow` is absent.
    pub reason: Option<String>,
}

/// How an attack moves images among the clean ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Flow {
    /// Number of clean images that neighbours are taken from.
    pub reference: usize,
    /// Number of images that the attack broke; all other numbers are about these images.
    pub broken: usize,
    /// Number of clean neighbours that each image chooses.
    pub k: usize,
    /// How representations were compared with each other.
    pub similarity: Similarity,
    /// What the neighbours say at each tap, in forward order.
    pub taps: Vec<TapDetection>,
    /// Module path of the tap where the class flow is measured, which is the last one.
    pub tap: String,
    /// A row per true class and a column per class: the share of the clean images' neighbours that have the column's class. A row without broken
    /// images holds no numbers.
    pub clean: Vec<Vec<Option<f64>>>,
    /// A row per true class and a column per class: the share of the adversarial images' neighbours that have the column's class. A row without
    /// broken images holds no numbers.
    pub adversarial: Vec<Vec<Option<f64>>>,
}

/// How well neighbours tell adversarial images from clean ones at a tap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TapDetection {
    /// Module path of the tap.
    pub tap: String,
    /// Chance that more neighbours disagree with the prediction of an adversarial image than with that of a clean image, ties counted by half.
    /// Below one half, adversarial images agree more with their neighbours than clean images do.
    pub auc: Option<f64>,
    /// The 95 % interval of `auc` for other images of the same kind; absent for fewer than two broken images, or for only k + 1 images in all.
    pub auc_interval: Option<Auc>,
    /// The larger of `auc` and 1 − `auc`, for a detector that knows which way the difference goes.
    pub auc_two_sided: Option<f64>,
    /// Mean share of the neighbours of clean images that disagree with the prediction.
    pub clean_disagreement: Option<f64>,
    /// Mean share of the neighbours of adversarial images that disagree with the prediction.
    pub adversarial_disagreement: Option<f64>,
    /// Why the tap has no numbers.
    pub reason: Option<String>,
}

/// An area under the ROC curve with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Auc {
    /// Chance that the count of an adversarial image is larger than that of a clean one, ties counted by half.
    pub value: f64,
    /// Standard error of the value, from the jackknife.
    pub se: f64,
    /// Lower end of the interval, at least 0.
    pub low: f64,
    /// Upper end of the interval, at most 1.
    pub high: f64,
}

impl AttackFlow {
    /// The attack and why it was left out, if it was.
    pub(crate) fn left_out(&self) -> Option<String> {
        self.reason.as_ref().map(|reason| format!("{}: {reason}", self.attack))
    }
}

impl FlowResult {
    /// The attacks whose images could be placed, by their labels.
    pub(crate) fn found(&self) -> impl Iterator<Item = (&str, &Flow)> {
        self.attacks.iter().filter_map(|it| Some((it.attack.as_str(), it.flow.as_ref()?)))
    }
}

impl StudyResult for FlowResult {
    const STUDY: &'static str = "flow";
    const FILE: &'static str = "flow.json";

    fn check(&self) -> Result<(), String> {
        let n = self.classes.len();
        for (attack, flow) in self.found() {
            for rows in [&flow.clean, &flow.adversarial] {
                // Without neighbours at the last tap there is no matrix.
                if !(rows.is_empty() || is_square(rows, n)) {
                    return Err(format!("the class flow of {attack:?} is not of {n} classes"));
                }
            }
        }
        Ok(())
    }
}
