//! Whether the attacks that ran are enough, compared with each other.

use std::collections::BTreeSet;

use advmod_attacks::attack::{AttackKind, AttackSpec};
use advmod_attacks::threat::Norm;
use advmod_attacks::victim::Access;

use super::check::{self, Found, names};
use crate::verdict::facts::{AttackResult, AttackStatus, Facts};

pub(super) fn complete(facts: &Facts) -> Found {
    let all = facts.attacks.len();
    let with = |status| facts.attacks.iter().find(|it| it.status == status);
    match (with(AttackStatus::Failed), with(AttackStatus::Incomplete)) {
        (Some(it), _) => Found::failed(format!("{} broke off", it.attack.label)),
        // What there is of it is right, and less than was asked for.
        (None, Some(it)) => Found::suspicious(format!("{} was stopped before its end", it.attack.label)),
        (None, None) => Found::ok(format!("{all} of {all}")),
    }
}

pub(super) fn iterated(facts: &Facts) -> Found {
    match check::complete(facts, |it| it.kind.repeats_steps()).next() {
        Some(it) => Found::ok(it.attack.label.clone()),
        None if facts.attacks.is_empty() => Found::not_run("no attack ran"),
        None => Found::suspicious(format!("add {}: one step says little", names(is_iterated))),
    }
}

fn is_one_step(spec: &AttackSpec) -> bool {
    spec.kind == AttackKind::OneStep
}

fn is_iterated(spec: &AttackSpec) -> bool {
    spec.kind.steps().is_some()
}

/// Whether, within the same budget, iterated attacks break what one step does.
pub(super) fn iterations(facts: &Facts) -> Found {
    let mut pairs = 0;
    for weaker in check::complete(facts, is_one_step) {
        for stronger in check::complete(facts, is_iterated) {
            if weaker.attack.budget() != stronger.attack.budget() {
                continue;
            }
            pairs += 1;
            let (a, b) = (broken(weaker), broken(stronger));
            let missed = a.difference(&b).count();
            let names = format!("{} and {}", weaker.attack.label, stronger.attack.label);
            // An image or two can go either way by the random start.
            if b.len() + 1.max(a.len() / 50) < a.len() {
                let text = format!("{names}: {} and {} broken; more steps should not break fewer", a.len(), b.len());
                return Found::failed(text);
            }
            if missed > 1.max(a.len() / 100) {
                return Found::suspicious(format!("{names}: {missed} images broken by one step only"));
            }
        }
    }
    match pairs {
        0 => {
            let (weak, strong) = (names(is_one_step), names(is_iterated));
            Found::not_run(format!("needs {weak} and {strong} at the same norm and ε"))
        }
        n => Found::ok(format!("{n} pair{}", if n == 1 { "" } else { "s" })),
    }
}

/// Attacks without gradients that do better than those with them are the mark of masked gradients.
pub(super) fn masking(facts: &Facts) -> Found {
    let with = |access: Access| check::complete(facts, move |it| it.access == access);
    let union = |access| with(access).flat_map(broken).collect::<BTreeSet<usize>>();
    let norms = |access| with(access).map(|it| it.attack.norm).collect::<BTreeSet<Norm>>();
    if [Access::Gradients, Access::Logits].into_iter().any(|access| with(access).next().is_none()) {
        let black_box = names(|it| it.access == Access::Logits);
        return Found::not_run(format!("needs {black_box} beside an attack with gradients"));
    }
    let (white, black) = (union(Access::Gradients), union(Access::Logits));
    // Two norms are two budgets: only within one is the comparison plain.
    let is_plain = norms(Access::Gradients) == norms(Access::Logits);
    match black.difference(&white).count() {
        0 => Found::ok(format!("{} and {} broken", black.len(), white.len())),
        n if black.len() > white.len() + 1.max(white.len() / 50) && is_plain => {
            Found::failed(format!("black-box attacks break more ({n} images alone): gradients are masked"))
        }
        n => Found::suspicious(format!("{n} images are broken by black-box attacks alone")),
    }
}

fn broken(attack: &AttackResult) -> BTreeSet<usize> {
    attack.samples.iter().filter(|it| it.success).map(|it| it.sample).collect()
}
