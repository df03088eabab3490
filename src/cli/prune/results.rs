//! What `advmod prune` finds out.

use serde::Serialize;

use crate::cli::CliError;
use crate::stats::rates::{Measured, Rate};
use crate::study::prune::{Judged, Proposal, Removed, Repair, Size, Survey, Whole, size};

/// What `--format json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pruning {
    pub(super) model: String,
    pub(super) architecture: String,
    pub(super) sha256: String,
    pub(super) data: String,
    /// Whether rules a and b go by the estimates alone.
    pub(super) by_estimate: bool,
    pub(super) threshold: f64,
    /// How the rest was fine-tuned; absent for `--dry-run`.
    pub(super) recipe: Option<String>,
    /// How it was trained from fresh weights, with `--scratch`.
    pub(super) scratch_recipe: Option<String>,
    /// Names of the counts in every `macs`.
    pub(super) conventions: Vec<&'static str>,
    pub(super) size: Size,
    /// On the test images; absent for `--dry-run`.
    pub(super) accuracy: Option<Rate>,
    pub(super) survey: Survey,
    pub(super) rules: Vec<RuleRow>,
}

/// One rule's row.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RuleRow {
    pub(super) rule: String,
    /// What is left.
    pub(super) architecture: String,
    /// Units that are gone.
    pub(super) removed: Vec<String>,
    pub(super) repairs: Vec<Repair>,
    /// Weights that did not fit any more and were initialized afresh.
    pub(super) remade: Vec<String>,
    /// Sum of the ΔQ of the units that are gone.
    pub(super) delta_q: Option<f64>,
    pub(super) size: Size,
    pub(super) judged: Option<Judged>,
    /// The model's file.
    pub(super) file: Option<String>,
    /// What it lacks, and why.
    pub(super) missing: Vec<String>,
}

impl Pruning {
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data always has a JSON form") + "\n"
    }
}

impl RuleRow {
    /// A row without any training yet.
    pub(super) fn new(
        whole: &Whole,
        survey: &Survey,
        proposal: &Proposal,
        removed: &Removed,
    ) -> Result<Self, CliError> {
        let gone = || survey.units.iter().zip(&proposal.kept).filter(|(_, kept)| !**kept).map(|(unit, _)| unit);
        let deltas: Vec<Option<Measured>> = gone().map(|unit| unit.delta).collect();
        let sum: Option<f64> = deltas.iter().map(|delta| Some((*delta)?.value)).sum();
        Ok(Self {
            rule: proposal.rule.to_string(),
            architecture: removed.name.clone(),
            removed: gone().map(|unit| unit.unit.clone()).collect(),
            repairs: proposal.repairs.clone(),
            remade: removed.remade.clone(),
            delta_q: sum.filter(|_| !deltas.is_empty()),
            size: size(&removed.program, whole.size).map_err(CliError::Runtime)?,
            judged: None,
            file: None,
            missing: Vec::new(),
        })
    }

    /// What stands in the file about how it came about.
    pub(super) fn story(&self, pruning: &Pruning, judged: &Judged) -> String {
        let gone = if self.removed.is_empty() { "nothing".to_owned() } else { self.removed.join(", ") };
        format!(
            "{} (sha256 {}) without {gone} by rule {}; fine-tuned: {}; test accuracy {:.4}",
            pruning.architecture,
            pruning.sha256,
            self.rule,
            pruning.recipe.as_deref().unwrap_or("not"),
            judged.tuned.value.unwrap_or(0.0)
        )
    }
}
