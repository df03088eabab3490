//! Whether the attacks were strong enough for their failures to mean anything.
//!
//! What a check looks at comes from the table of attacks, never from a name: an attack that is added to it is checked as its kind is.
//!
//! # Source
//! Carlini et al., "On Evaluating Adversarial Robustness", arXiv:1902.06705, 2019.

mod check;
mod controls;
mod coverage;
mod effort;
mod sweeps;
mod target;

use super::across::Sweep;
use super::facts::{AttackResult, AttackStatus, Facts};
use crate::audit::event::ControlKind;
use check::Found;
pub use check::ValidityVerdict;
pub(crate) use check::{AttackValidity, Validity, ValidityCheck, ValidityState};
pub(super) use target::only_peaks;

impl Validity {
    pub(super) fn of(facts: &Facts, sweeps: &[Sweep]) -> Self {
        let checks = checks(facts, sweeps);
        let first = |state| checks.iter().find(|it| it.state == state);
        let (verdict, against) = match (first(ValidityState::Failed), first(ValidityState::Suspicious)) {
            (Some(it), _) => (ValidityVerdict::Failed, Some(it)),
            (None, Some(it)) => (ValidityVerdict::Limited, Some(it)),
            (None, None) => (ValidityVerdict::Valid, None),
        };
        let reason = against.map(|it| format!("{}: {}", it.check, it.found));
        let attacks = facts.attacks.iter().map(|it| alone(facts, it)).collect();
        Self { verdict, reason, checks, attacks }
    }

    /// `limited: the steps can cross the budget: …`
    pub(crate) fn line(&self) -> String {
        let reason = self.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        format!("{}{reason}", self.verdict.word())
    }

    /// Checks that speak against the attacks, the gravest first.
    pub(crate) fn against(&self) -> Vec<&ValidityCheck> {
        let mut against: Vec<_> = self.checks.iter().filter(|it| it.state.speaks_against()).collect();
        against.sort_by_key(|it| std::cmp::Reverse(it.state));
        against
    }

    pub(crate) fn count(&self, state: ValidityState) -> usize {
        self.checks.iter().filter(|it| it.state == state).count()
    }
}

fn checks(facts: &Facts, sweeps: &[Sweep]) -> Vec<ValidityCheck> {
    let all = [
        ("every planned attack is complete", coverage::complete(facts)),
        ("the model answers alike when asked twice", target::deterministic(facts)),
        ("an image's logits do not depend on the other images of its batch", target::batch(facts)),
        ("the attacked outputs are logits", target::logits(facts)),
        ("the images are of several classes", target::several_classes(facts)),
        ("clean accuracy is above chance and above always giving one class", target::clean_accuracy(facts)),
        ("the labels are in the model's order", target::order(facts)),
        ("an iterated attack runs and breaks something", coverage::iterated(facts)),
        ("iterations break at least what one step breaks", coverage::iterations(facts)),
        ("black-box attacks break nothing that white-box attacks miss", coverage::masking(facts)),
        ("gradients are finite and not zero", target::gradients(facts)),
        ("the margin rises along its gradient as the gradient says", controls::gradient(facts)),
        ("noise of the same size breaks nothing that the attacks left", controls::breaks(facts, ControlKind::Noise)),
        (
            "a black-box search of the same size breaks nothing that the attacks left",
            controls::breaks(facts, ControlKind::BlackBox),
        ),
        ("a large ε breaks every image", controls::large_eps(facts)),
        ("the steps can cross the budget", effort::reach(facts)),
        ("more steps would hardly break more", effort::convergence(facts)),
        ("attacks that leave images spend what the standard preset does", effort::effort(facts)),
        ("success grows with ε", sweeps::growth(facts, sweeps)),
        ("a sweep ends where every image breaks", sweeps::saturation(facts, sweeps)),
        ("gates bound more than modularity", target::gates(facts)),
    ];
    all.map(|(check, Found { state, text })| ValidityCheck { check: check.to_owned(), state, found: text }).into()
}

fn alone(facts: &Facts, attack: &AttackResult) -> AttackValidity {
    let mut against = Vec::new();
    match attack.status {
        AttackStatus::Complete => (),
        AttackStatus::Incomplete => against.push(Found::suspicious("it was stopped before its end")),
        AttackStatus::Failed => against.push(Found::failed("it broke off")),
    }
    against.extend(target::zero_gradients(attack));
    let doubts = [effort::short_steps(attack), effort::late(attack), effort::weak(facts, attack)];
    against.extend(doubts.into_iter().flatten().map(Found::suspicious));
    let state = against.iter().map(|it| it.state).max().unwrap_or(ValidityState::Ok);
    let texts: Vec<String> = against.into_iter().map(|it| it.text).collect();
    let found = match texts.is_empty() {
        true if attack.is_whole() => "it breaks every image".to_owned(),
        true => "nothing speaks against it".to_owned(),
        false => texts.join("; "),
    };
    AttackValidity { attack: attack.attack.label.clone(), state, found }
}

#[cfg(test)]
mod tests;
