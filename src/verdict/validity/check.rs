//! What a check says, and what checks share.

use std::collections::BTreeSet;

use advmod_attacks::attack::AttackSpec;
use advmod_attacks::catalog::ATTACKS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::facts::{AttackResult, AttackStatus, Facts};

/// One check of whether the attacks were strong enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValidityCheck {
    /// What must hold, as a sentence.
    pub check: String,
    /// Whether the checked statement holds.
    pub state: ValidityState,
    /// What was found, or what the check needs.
    pub found: String,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValidityState {
    /// The checked statement holds.
    Ok,
    /// The report does not have what the check needs.
    NotRun,
    /// The checked statement may not hold.
    Suspicious,
    /// The checked statement does not hold: the attacks understate how weak the model is.
    Failed,
}

impl ValidityState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotRun => "not run",
            Self::Suspicious => "suspicious",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn speaks_against(self) -> bool {
        self >= Self::Suspicious
    }
}

/// What may be concluded from a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValidityVerdict {
    /// No check speaks against the attacks: what they did not break may be counted as robust within the budgets that were tried.
    Valid,
    /// A check is in doubt: what the attacks broke counts, what they did not break is no evidence.
    Limited,
    /// A check does not hold: the attacks are known to understate how weak the model is.
    Failed,
}

impl ValidityVerdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

/// Whether the attacks were strong enough, check by check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// What may be concluded from the report.
    pub verdict: ValidityVerdict,
    /// Why it is not `valid`: the first check that failed or, where none did, the first that is in doubt.
    #[serde(default)]
    pub reason: Option<String>,
    /// The checks: always the same ones, in the same order.
    pub checks: Vec<ValidityCheck>,
    /// What speaks against each attack alone, in the plan's order.
    #[serde(default)]
    pub(crate) attacks: Vec<AttackValidity>,
}

/// What speaks against one attack, whatever the others do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AttackValidity {
    /// Label of the attack in the plan.
    pub attack: String,
    /// The worst state of all that was found.
    pub state: ValidityState,
    /// What speaks against the attack, or that nothing does.
    pub found: String,
}

/// What a check comes to, before it has its name.
pub(super) struct Found {
    pub(super) state: ValidityState,
    pub(super) text: String,
}

impl Found {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self { state: ValidityState::Ok, text: text.into() }
    }

    pub(super) fn not_run(text: impl Into<String>) -> Self {
        Self { state: ValidityState::NotRun, text: text.into() }
    }

    pub(super) fn suspicious(text: impl Into<String>) -> Self {
        Self { state: ValidityState::Suspicious, text: text.into() }
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { state: ValidityState::Failed, text: text.into() }
    }
}

/// Complete, untargeted attacks of a kind; an attack that this version does not know is of none.
pub(super) fn complete<'a>(
    facts: &Facts<'a>,
    is_meant: impl Fn(&AttackSpec) -> bool,
) -> impl Iterator<Item = &'a AttackResult> {
    facts.attacks.iter().filter(move |it| {
        let is_complete = it.status == AttackStatus::Complete && !it.attack.is_targeted();
        is_complete && it.attack.spec.is_some_and(&is_meant)
    })
}

/// Everything that the ensemble of an attack broke within its budget, or the attack itself outside of one: what is not shown to an attack,
/// because others of its ensemble broke it, is not missed by it.
pub(super) fn broken_together(facts: &Facts, attack: &AttackResult) -> BTreeSet<usize> {
    let is_meant = |it: &&AttackResult| it.attack.label == attack.attack.label || it.attack.is_with(&attack.attack);
    let samples = facts.attacks.iter().filter(is_meant).flat_map(|it| &it.samples);
    samples.filter(|it| it.success).map(|it| it.sample).collect()
}

/// Names of the attacks of a kind, to say what a check needs.
pub(super) fn names(is_meant: impl Fn(&AttackSpec) -> bool) -> String {
    let meant = ATTACKS.iter().filter(|spec| is_meant(spec)).map(|spec| spec.id);
    meant.collect::<Vec<_>>().join(" or ")
}
