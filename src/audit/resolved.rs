//! What is done, in the words of the report: every default filled in.

use advmod_attacks::attack::Preset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attack::ResolvedAttack;
use super::gate::Gate;
use crate::model::device::DeviceChoice;
use crate::modularity::Similarity;
use crate::store::PLAN_FILE;

/// The settings that the results depend on, with defaults filled in, and the command that applies them again. The model and data files are in that
/// command, and described in `model` and `data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedPlan {
    /// The attacks in the order in which they run.
    pub attacks: Vec<ResolvedAttack>,
    /// The gates that the results must meet.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// Whether gates that claim robustness may pass on a report whose validity is `limited`.
    #[serde(default)]
    pub accept_limited: bool,
    /// Preset that parameters come from where the plan does not give them.
    #[schemars(with = "String")]
    pub preset: Preset,
    /// Whether adversarial images are judged after rounding to 8 bits.
    pub eight_bit: bool,
    /// Number of nearest neighbours k of each sample in the graph.
    pub k: usize,
    /// How representations of samples are compared.
    pub similarity: Similarity,
    /// Choice of taps as given: `default`, `relu`, `all` or patterns of module paths.
    pub taps: String,
    /// How samples were chosen: `first N`, or `N drawn by seed`.
    pub selection: String,
    /// Seed for all randomness of the audit.
    pub seed: u64,
    /// Device that did the work: `cpu` or `cuda:N`.
    // Before the model is loaded, the one that was asked for.
    #[schemars(with = "String")]
    pub device: DeviceChoice,
    /// Number of images per batch; results do not depend on it.
    pub batch: usize,
    /// Number of processor threads used.
    pub threads: usize,
    /// The command line that runs this again; where it names `report.plan.toml`, `plan_file` is the content of that file.
    pub command: String,
}

impl ResolvedPlan {
    /// Whether the plan file has to be there for the command.
    pub(crate) fn command_reads_plan(&self) -> bool {
        self.command.ends_with(PLAN_FILE)
    }
}
