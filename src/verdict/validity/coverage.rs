//! Whether the attacks that ran are enough, compared with each other.

use std::collections::BTreeSet;

use advmod_attacks::attack::{AttackKind, AttackSpec};
use advmod_attacks::threat::Norm;
use advmod_attacks::victim::Access;

use super::check::{self, Found, ValidityState, names};
use super::controls;
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

/// An iterated attack that breaks nothing, at any of its sizes, is the surest sign of one that does not work; unless a large ε breaks all.
pub(super) fn iterated(facts: &Facts) -> Found {
    let iterated = || check::complete(facts, |it| it.kind.repeats_steps());
    let breaks = |it: &AttackResult| it.success_rate.count > 0;
    let in_vain = |it: &&AttackResult| {
        let of_name =
            iterated().filter(|other| other.attack.name == it.attack.name && other.attack.norm == it.attack.norm);
        let is_left_nothing = it.attack.ensemble.is_some() && !check::broken_together(facts, it).is_empty();
        it.success_rate.of > 0 && !of_name.into_iter().any(breaks) && !is_left_nothing
    };
    let is_proven = controls::large_eps(facts).state == ValidityState::Ok;
    match iterated().find(in_vain).filter(|_| !is_proven).or_else(|| iterated().next()) {
        Some(it) if in_vain(&it) && !is_proven => {
            Found::suspicious(format!("{} breaks none of {} images", it.attack.label, it.success_rate.of))
        }
        Some(it) => Found::ok(it.attack.label.clone()),
        None if facts.attacks.is_empty() => Found::not_run("no attack ran"),
        None => match facts.attacks.iter().find(|it| it.attack.spec.is_some_and(is_iterated)) {
            // It is there; what is missing is its end, or that it may go anywhere.
            Some(it) if it.attack.is_targeted() => {
                Found::suspicious(format!("{} is targeted: run it untargeted, too", it.attack.label))
            }
            Some(it) => Found::suspicious(format!("{} is not complete: one step says little", it.attack.label)),
            None => Found::suspicious(format!("add {}: one step says little", names(is_iterated))),
        },
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
            let (a, b) = (broken(weaker), check::broken_together(facts, stronger));
            // None of none says nothing.
            if a.is_empty() && b.is_empty() {
                continue;
            }
            pairs += 1;
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
            Found::not_run(format!("needs {weak} and {strong} at the same norm and ε, and images that either breaks"))
        }
        n => Found::ok(format!("{n} pair{}", if n == 1 { "" } else { "s" })),
    }
}

/// Attacks without gradients that do better than those with them are the mark of masked gradients. Compared within each budget, and where
/// both are without a bound, within their norm.
pub(super) fn masking(facts: &Facts) -> Found {
    let with = |is_black_box: bool| check::complete(facts, move |it| (it.access < Access::Gradients) == is_black_box);
    let (mut compared, mut doubt) = (Vec::new(), None);
    for budget in facts.budgets() {
        let inside = |is_black_box| {
            let tried = with(is_black_box).filter(|it| it.attack.tries(&budget)).flat_map(|it| &it.samples);
            tried.filter(|it| facts.breaks_within(it, &budget)).map(|it| it.sample).collect::<BTreeSet<usize>>()
        };
        let has = |is_black_box| with(is_black_box).any(|it| it.attack.tries(&budget));
        if has(false) && has(true) {
            compared.push((budget.summary(), inside(false), inside(true), true));
        }
    }
    for norm in [Norm::L0, Norm::L2, Norm::Linf] {
        let is_meant = |it: &&AttackResult| it.attack.norm == norm && it.attack.epsilon.is_none();
        let union = |is_black_box| with(is_black_box).filter(is_meant).flat_map(broken).collect::<BTreeSet<usize>>();
        let has = |is_black_box| with(is_black_box).any(|it| is_meant(&it));
        if has(false) && has(true) {
            compared.push((norm.sign().to_owned(), union(false), union(true), false));
        }
    }
    compared.retain(|(_, white, black, _)| !white.is_empty() || !black.is_empty());
    for (within, white, black, is_bounded) in &compared {
        let alone = black.difference(white).count();
        if black.len() > white.len() + 1.max(white.len() / 50) {
            return Found::failed(format!(
                "within {within} black-box attacks break more ({alone} images alone): gradients are masked"
            ));
        }
        // Without a bound the attacks may go to different lengths.
        if alone > 0 && (*is_bounded || black.len() > white.len()) {
            doubt.get_or_insert(format!("within {within} {alone} images are broken by black-box attacks alone"));
        }
    }
    let counts =
        compared.iter().map(|(within, white, black, _)| format!("{within}: {} and {}", black.len(), white.len()));
    match (doubt, compared.is_empty()) {
        (Some(text), _) => Found::suspicious(text),
        (None, false) => Found::ok(format!("{} broken", counts.collect::<Vec<_>>().join("; "))),
        (None, true) => {
            let black_box = names(|it| it.access < Access::Gradients);
            Found::not_run(format!("needs {black_box} beside an attack with gradients, of the same norm"))
        }
    }
}

fn broken(attack: &AttackResult) -> BTreeSet<usize> {
    attack.samples.iter().filter(|it| it.success).map(|it| it.sample).collect()
}
