//! What is done, in the words of the report: every default filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use advmod_attacks::config::AttackConfig;
use advmod_attacks::threat::{Goal, Norm, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::gate::expr::Budget;
use super::plan::AuditPlan;
use crate::modularity::Similarity;

/// Every setting, in the words of the report. It names files as the user did, and says nothing of the machine but the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedPlan {
    /// In the order in which they run.
    pub attacks: Vec<ResolvedAttack>,
    /// What the results must meet.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// Where parameters that were not given came from.
    pub preset: String,
    /// Judged after rounding to 8 bits.
    pub eight_bit: bool,
    /// Neighbours per sample.
    pub k: usize,
    /// How representations are compared.
    pub similarity: Similarity,
    /// As given: `default`, `relu`, `all` or patterns.
    pub taps: String,
    /// `first N`, or `N drawn by seed`.
    pub selection: String,
    /// Of everything random.
    pub seed: u64,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Images per batch. Results do not depend on it.
    pub batch: usize,
    /// Processor threads.
    pub threads: usize,
    /// The command line that runs this again.
    pub command: String,
}

/// One attack with all its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedAttack {
    /// Unique within the plan: the name, with a number where it is there twice.
    pub label: String,
    /// As `advmod attacks` lists it.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Whether it aims at a class.
    pub targeted: bool,
    /// Norm, size and target, in short.
    pub summary: String,
    /// Every parameter in effect, as text.
    pub params: BTreeMap<String, String>,
    /// Place in the plan of the first attack of the ε sweep that this one belongs to. A sweep's attacks stand together, the smallest ε
    /// first, and differ in `eps` only.
    #[serde(default)]
    pub sweep: Option<usize>,
}

impl ResolvedAttack {
    /// How far it may change an image. A minimal attack may have no such bound.
    pub fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.norm()?, eps: self.params.get("eps")?.parse().ok()? })
    }

    /// How it measures changes.
    pub fn norm(&self) -> Option<Norm> {
        self.params.get("norm")?.parse().ok()
    }

    /// Whether it looks for changes within the budget alone, or for the smallest ones.
    pub fn tries(&self, budget: &Budget) -> bool {
        // Two ways to write one size differ in their last bits.
        let is_smaller = |own: Budget| own.eps.value() <= budget.eps.value() * (1.0 + 1e-9);
        self.norm() == Some(budget.norm) && self.budget().is_none_or(is_smaller)
    }

    /// Whether its success says how the model does within the budget: it may use all of it, and any wrong class will do.
    pub fn measures(&self, budget: &Budget) -> bool {
        let is_all = |own: Budget| own.eps.value() >= budget.eps.value() * (1.0 - 1e-9);
        !self.targeted && self.tries(budget) && self.budget().is_none_or(is_all)
    }

    /// `key=value` pairs in the order of the keys.
    pub fn parameters_text(&self) -> String {
        let pairs: Vec<String> = self.params.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(", ")
    }
}

/// An attack, or all attacks of a sweep (at least one), as one `--attack` takes them.
pub fn spec(sweep: &[ResolvedAttack]) -> String {
    let all =
        |key: &str| sweep.iter().filter_map(|attack| attack.params.get(key).cloned()).collect::<Vec<_>>().join("|");
    let pair = |(key, value): (&String, &String)| match key.as_str() {
        "eps" => format!("eps={}", all(key)),
        _ => format!("{key}={value}"),
    };
    let pairs: Vec<String> = sweep[0].params.iter().map(pair).collect();
    format!("{}:{}", sweep[0].name, pairs.join(","))
}

/// Names each attack uniquely and writes its parameters out; `sweeps` says for each to which sweep it belongs.
pub(super) fn label(attacks: &[AttackConfig], sweeps: &[Option<usize>]) -> Vec<ResolvedAttack> {
    let mut labelled: Vec<ResolvedAttack> = Vec::with_capacity(attacks.len());
    for (config, &sweep) in attacks.iter().zip(sweeps) {
        let name = config.spec.id.to_owned();
        let before = labelled.iter().filter(|other| other.name == name).count();
        let text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let params = config.params.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        let size = config.epsilon.map_or(String::new(), |epsilon| format!(" ε {epsilon}"));
        let aim = match config.goal {
            Goal::Untargeted => String::new(),
            Goal::Targeted(Target::Class(class)) => format!(" → class {class}"),
            Goal::Targeted(target) => format!(" → {target}"),
        };
        labelled.push(ResolvedAttack {
            label: if before == 0 { name.clone() } else { format!("{name}-{}", before + 1) },
            title: config.spec.title.to_owned(),
            targeted: config.goal.is_targeted(),
            summary: format!(
                "{}{size}{aim}",
                if config.norm.to_string() == "linf" {
                    "L∞".to_owned()
                } else {
                    config.norm.to_string().to_uppercase()
                }
            ),
            name,
            params,
            sweep,
        });
    }
    labelled
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
