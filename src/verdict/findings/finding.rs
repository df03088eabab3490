//! What a finding says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A weakness of the model that the attacks found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Finding {
    /// Identifier of the weakness: the same in every audit that finds it.
    pub id: String,
    /// Name of the weakness in one line.
    pub title: String,
    /// How severe the weakness is, by the rule that the HTML and Markdown reports print.
    pub severity: Severity,
    /// Sentences that say what the severity rests on, and what else is known.
    pub evidence: Vec<String>,
    /// Whether a waiver of a gate accepts the weakness.
    pub status: FindingStatus,
    /// Entries of public catalogues under which the weakness falls.
    pub mapping: Vec<Mapping>,
    /// What to do about the weakness.
    pub recommendation: String,
    /// Command that looks for the weakness again.
    pub retest: Option<String>,
}

/// How severe a weakness is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FindingSeverity")]
pub(crate) enum Severity {
    /// Something to be aware of.
    Info,
    /// It matters little by itself.
    Low,
    /// It should be dealt with.
    Medium,
    /// It should be dealt with first.
    High,
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Whether somebody has accepted a weakness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingStatus {
    /// Nobody has accepted the weakness.
    Open,
    /// A waiver of a gate on the attack holds, and no other gate on it fails.
    Waived,
}

/// An entry of a public catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Mapping {
    /// Name of the catalogue with its version.
    pub catalogue: String,
    /// Number of the entry in the catalogue.
    pub id: String,
    /// Name of the entry in the catalogue.
    pub name: String,
}
