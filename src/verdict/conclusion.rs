//! What an audit comes to as a whole: every format and the exit code say the same.

use super::gates::{GateState, Verdict};
use super::report::Report;
use super::validity::ValidityVerdict;
use crate::audit::event::Outcome;
use crate::exit::Exit;

/// The one thing that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// It was stopped before its end.
    Interrupted,
    /// An attack, or the audit, broke off.
    BrokeOff,
    /// The model classifies no clean image correctly.
    NothingAttacked,
    /// At least one gate failed.
    GateFailed,
    /// No gate failed, and at least one could not be decided.
    GateUndecided,
    /// No gate failed, and the attacks are too weak for that to mean anything.
    AttacksInvalid,
    /// Every gate passed or is waived.
    Passed,
    NoGates,
}

impl Conclusion {
    pub fn of(report: &Report) -> Self {
        let is_invalid = report.validity.verdict == ValidityVerdict::Invalid;
        match (report.outcome, Verdict::of(&report.gates).result) {
            (Outcome::Interrupted, _) => Self::Interrupted,
            (Outcome::Failed, _) => Self::BrokeOff,
            (Outcome::Complete, _) if report.clean.accuracy.is_none_or(|it| it.count == 0) => Self::NothingAttacked,
            (Outcome::Complete, Some(GateState::Fail)) => Self::GateFailed,
            (Outcome::Complete, Some(GateState::Inconclusive | GateState::Pending)) => Self::GateUndecided,
            (Outcome::Complete, _) if is_invalid => Self::AttacksInvalid,
            (Outcome::Complete, Some(GateState::Pass | GateState::Waived)) => Self::Passed,
            (Outcome::Complete, None) => Self::NoGates,
        }
    }

    /// How the process ends; unknown where a signal ended it.
    pub fn exit(self) -> Option<Exit> {
        match self {
            Self::Interrupted => None,
            Self::BrokeOff => Some(Exit::Runtime),
            Self::NothingAttacked | Self::GateUndecided | Self::AttacksInvalid => Some(Exit::Inconclusive),
            Self::GateFailed => Some(Exit::GateFailed),
            Self::Passed | Self::NoGates => Some(Exit::Pass),
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::Interrupted => "it was stopped before its end",
            Self::BrokeOff => "an attack failed",
            Self::NothingAttacked => "nothing was attacked",
            Self::GateFailed => "a gate failed; 0 with --exit-zero",
            Self::GateUndecided => "a gate is inconclusive",
            Self::AttacksInvalid => "the attacks are not valid",
            Self::Passed => "every gate passed or is waived",
            Self::NoGates => "no gates",
        }
    }
}
