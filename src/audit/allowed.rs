//! What a run was allowed by hand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What flags allowed a run that no plan can allow: they have to be typed for every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Allowed {
    /// Whether `--trust-torchscript` was typed, which lets libtorch run the code in a TorchScript file.
    pub trust_torchscript: bool,
    /// Whether `--exit-zero` was typed, with which the program ends with 0 where a gate failed.
    pub exit_zero: bool,
}

impl Allowed {
    /// What one of two parts of a run was allowed.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            trust_torchscript: self.trust_torchscript || other.trust_torchscript,
            exit_zero: self.exit_zero || other.exit_zero,
        }
    }

    /// For people; nothing where nothing was.
    pub(crate) fn line(self) -> Option<String> {
        let flags = [
            (self.trust_torchscript, "--trust-torchscript (libtorch may run the code in the model file)"),
            (self.exit_zero, "--exit-zero (a failed gate ends the program with 0)"),
        ];
        let typed: Vec<&str> = flags.iter().filter(|(is_typed, _)| *is_typed).map(|(_, text)| *text).collect();
        (!typed.is_empty()).then(|| format!("typed for this run: {}", typed.join(", ")))
    }
}
