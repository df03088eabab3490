//! What labels.json holds: every image with what its neighbours say of its label.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StudyResult, Subject};
use crate::modularity::Similarity;

/// Images ranked by how much the representations of a network disagree with their labels, as `advmod labels` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LabelsResult {
    #[serde(flatten)]
    pub of: Subject,
    /// SHA-256 of the data set's files, in hexadecimal.
    pub data_sha256: String,
    /// Names of the classes in label order; empty where the data set does not name them.
    pub classes: Vec<String>,
    /// Number of images that were compared with each other.
    pub n: usize,
    /// Number of neighbours that each image chooses.
    pub k: usize,
    /// How representations were compared with each other.
    pub similarity: Similarity,
    /// Module paths of the taps that were compared, in forward order.
    pub taps: Vec<String>,
    /// All compared images, the one with the most doubtful label first.
    pub samples: Vec<RankedSample>,
    /// Sentences about this measurement that its reader should know.
    pub warnings: Vec<String>,
}

/// An image and what its neighbours say of its label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RankedSample {
    /// Position of the image in the data set, counted from 0.
    pub index: usize,
    /// Label of the image in the data set.
    pub label: usize,
    /// Class among those of its neighbours that would raise Q most at the last tap; the label itself where no other would.
    pub suggested: usize,
    /// The image's part in Q, averaged over the taps; images are ranked by it.
    pub q: f64,
    /// Share of the image's edge weight that stays in its class at the last tap, beyond chance.
    pub agreement: f64,
    /// How much Q would grow at the last tap with the suggested label.
    pub gain: f64,
    /// Number of its k neighbours at the last tap that have the same label.
    pub same_label: usize,
}

impl LabelsResult {
    /// A class's name, or else its label.
    pub(crate) fn class_name(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

impl StudyResult for LabelsResult {
    const STUDY: &'static str = "labels";
    const FILE: &'static str = "labels.json";

    fn check(&self) -> Result<(), String> {
        match self.samples.len() {
            found if found == self.n => Ok(()),
            found => Err(format!("{found} samples, expected n = {}", self.n)),
        }
    }
}
