//! What prune.json holds: what was measured of a network's units, and what became of each rule's proposal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StudyResult, Subject};
use crate::modularity::Similarity;
use crate::stats::rates::{Measured, Rate};

/// Which units of a network its modularity curve calls superfluous, and what it costs to remove them, as `advmod prune` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PruneResult {
    #[serde(flatten)]
    pub of: Subject,
    /// Whether rules a and b went by the estimates alone instead of their 95 % intervals.
    pub by_estimate: bool,
    /// The ΔQ that rule a asked of a unit.
    pub threshold: f64,
    /// How the pruned networks were fine-tuned; absent where nothing was trained.
    pub recipe: Option<String>,
    /// How the pruned networks were trained from fresh weights; absent where they were not.
    pub scratch_recipe: Option<String>,
    /// Names of the conventions by which multiply-accumulates are counted, in the order of every `macs`.
    pub conventions: Vec<String>,
    /// What the whole network costs.
    pub size: Size,
    /// Test accuracy of the whole network; absent where nothing was trained.
    pub accuracy: Option<Rate>,
    /// What was measured of the units.
    pub survey: Survey,
    /// The rules in the order in which they were judged.
    pub rules: Vec<RuleResult>,
    /// Rules that were asked for and are not judged yet, or were not before an interruption; absent when all are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

/// What a network costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Size {
    /// Number of trainable parameters.
    pub parameters: u64,
    /// Multiply-accumulates per image by each of the `conventions`.
    pub macs: [u64; 3],
}

/// What was measured of the units of a network, on training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Survey {
    /// Number of images in each repeat.
    pub n: usize,
    /// Number of neighbours that each image chooses.
    pub k: usize,
    /// How representations were compared with each other.
    pub similarity: Similarity,
    /// Number of disjoint sets of images that were measured.
    pub repeats: usize,
    /// Module paths of all taps, in forward order.
    pub taps: Vec<String>,
    /// Q of each tap: the mean over the repeats.
    pub q: Vec<f64>,
    /// The units that could be removed, in forward order.
    pub units: Vec<UnitPoint>,
    /// Sentences about this measurement that its reader should know.
    pub warnings: Vec<String>,
}

/// What was measured of one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UnitPoint {
    /// Module path of the unit.
    pub unit: String,
    /// Stage that the unit belongs to, counted from 0.
    pub stage: usize,
    /// Q at the unit's output: the mean over the repeats.
    pub q: f64,
    /// ΔQ: Q minus Q of the tap before; absent for the first tap.
    pub delta: Option<Measured>,
    /// Q minus the largest Q of all taps before, with an interval that holds whichever of them is the largest.
    pub margin: Option<Measured>,
    /// Linear CKA with the tap before; absent where no rule needed it.
    pub cka: Option<f64>,
}

/// A rule, what it removes, and what became of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RuleResult {
    /// The rule as `--rule` takes it.
    pub rule: String,
    /// Architecture of what is left.
    pub architecture: String,
    /// Module paths of the units that were removed.
    pub removed: Vec<String>,
    /// Units that the rule would have removed and that had to stay.
    pub repairs: Vec<Repair>,
    /// Names of the weights that did not fit any more and were initialized afresh.
    pub remade: Vec<String>,
    /// Sum of the ΔQ of the removed units; absent where none was removed or one has no ΔQ.
    pub delta_q: Option<f64>,
    /// What the pruned network costs.
    pub size: Size,
    /// Accuracies of the pruned network; absent where it was not fine-tuned.
    pub judged: Option<Judged>,
    /// Name of the pruned model's file; absent where none was written.
    pub file: Option<String>,
    /// What is missing here, and why.
    pub missing: Vec<String>,
}

/// A unit that a rule would have removed and that had to stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Repair {
    /// Module path of the unit.
    pub unit: String,
    /// Why the unit had to stay.
    pub why: String,
}

/// Accuracies of a pruned network on the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Judged {
    /// Accuracy right after the removal, without any training.
    pub removed: Rate,
    /// Accuracy after the pruned network was fine-tuned.
    pub tuned: Rate,
    /// Accuracy of the whole network minus that after fine-tuning, on the same images.
    pub drop: Option<Measured>,
    /// Accuracy of the whole network after the same fine-tuning minus that of the pruned one: what the removal alone costs. Absent where nothing
    /// was removed, or the whole network was not fine-tuned.
    pub cost: Option<Measured>,
    /// Accuracy of the same network trained from fresh weights; absent where it was not.
    pub scratch: Option<Rate>,
}

impl PruneResult {
    /// Whether a rule was asked for.
    pub(crate) fn asks_for(&self, rule: &str) -> bool {
        self.rules.iter().map(|it| &it.rule).chain(&self.pending).any(|it| it == rule)
    }
}

impl StudyResult for PruneResult {
    const STUDY: &'static str = "prune";
    const FILE: &'static str = "prune.json";

    fn check(&self) -> Result<(), String> {
        let Self { conventions, survey, .. } = self;
        match () {
            () if conventions.len() != self.size.macs.len() => {
                Err(format!("{} conventions, expected {}", conventions.len(), self.size.macs.len()))
            }
            () if survey.q.len() != survey.taps.len() => {
                Err(format!("Q of {} taps, expected {}", survey.q.len(), survey.taps.len()))
            }
            () => Ok(()),
        }
    }
}
