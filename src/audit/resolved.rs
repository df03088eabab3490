//! What is done, in the words of the report: every default filled in.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attack::{ResolvedAttack, spec};
use super::gate::Gate;
use super::plan::AuditPlan;
use crate::modularity::Similarity;

/// Every setting of the audit. It names files as the user did, and says nothing about the machine but the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedPlan {
    /// The attacks in the order in which they run.
    pub attacks: Vec<ResolvedAttack>,
    /// The gates that the results must meet.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// Preset that parameters come from where the plan does not give them.
    pub preset: String,
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
    pub device: String,
    /// Number of images per batch; results do not depend on it.
    pub batch: usize,
    /// Number of processor threads used.
    pub threads: usize,
    /// The command line that runs this again.
    pub command: String,
}

/// The command line that runs the plan again, every attack's parameters written out.
pub(crate) fn command(
    plan: &AuditPlan,
    attacks: &[ResolvedAttack],
    n: usize,
    seed: u64,
    k: usize,
    threads: usize,
) -> String {
    let mut words = vec!["advmod".to_owned(), "audit".to_owned()];
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([format!("--{name}"), quoted(&value)]);
        }
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    flag("model", path(&plan.model.file));
    flag("arch", plan.model.arch.clone());
    flag("normalize", plan.model.normalize.clone());
    flag("input-size", plan.model.input_size.map(|size| size.to_string()));
    flag("data", path(&plan.data.path));
    flag("split", plan.data.split.clone());
    flag(if plan.data.first.is_some() { "first" } else { "samples" }, Some(n.to_string()));
    flag("resize", plan.data.resize.map(|size| size.to_string()));
    flag("crop", plan.data.crop.map(|size| size.to_string()));
    // One flag per sweep, so that the same samples are carried over again.
    for sweep in attacks.chunk_by(|a, b| a.sweep.is_some() && a.sweep == b.sweep) {
        flag("attack", Some(spec(sweep)));
    }
    // Every parameter is written out; the report still says where they came from.
    flag("preset", plan.preset.clone());
    flag("baseline", path(&plan.baseline));
    flag("k", Some(k.to_string()));
    flag("similarity", plan.curve.similarity.map(|similarity| similarity.to_string()));
    flag("taps", plan.curve.taps.clone());
    flag("seed", Some(seed.to_string()));
    flag("device", plan.device.clone());
    // The order of summation in matrix products depends on the number of threads: same threads, same bits.
    flag("threads", Some(threads.to_string()));
    for gate in &plan.gate {
        flag("gate", Some(gate.expr.get_ref().clone()));
    }
    if plan.eight_bit == Some(true) {
        words.push("--eight-bit".to_owned());
    }
    words.join(" ")
}

/// A word for a POSIX shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(
            (quoted("a/b-1.pt"), quoted("it's"), quoted("")),
            ("a/b-1.pt".into(), "'it'\\''s'".into(), "''".into())
        );
    }
}
