//! What an audit comes to as a whole: every format and the exit code say the same.

use super::gates::{GateState, Verdict};
use super::report::Report;
use super::validity::ValidityVerdict;
use crate::audit::event::Outcome;
use crate::exit::Exit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    Interrupted,
    /// An attack, or the audit, broke off.
    BrokeOff,
    /// The model classifies no clean image correctly.
    NothingAttacked,
    GateFailed,
    /// No gate failed, and at least one could not be decided.
    GateUndecided,
    /// No gate failed, and the validity of the attacks did: that means nothing.
    ValidityFailed,
    Passed,
    NoGates,
}

impl Conclusion {
    pub(crate) fn of(report: &Report) -> Self {
        let has_failed = report.validity.verdict == ValidityVerdict::Failed;
        match (report.outcome, Verdict::of(&report.gates).result) {
            (Outcome::Interrupted, _) => Self::Interrupted,
            (Outcome::Failed, _) => Self::BrokeOff,
            (Outcome::Complete, _) if report.clean.accuracy.is_none_or(|it| it.count == 0) => Self::NothingAttacked,
            (Outcome::Complete, Some(GateState::Fail)) => Self::GateFailed,
            (Outcome::Complete, Some(GateState::Inconclusive | GateState::Pending)) => Self::GateUndecided,
            (Outcome::Complete, _) if has_failed => Self::ValidityFailed,
            (Outcome::Complete, Some(GateState::Pass | GateState::Waived)) => Self::Passed,
            (Outcome::Complete, None) => Self::NoGates,
        }
    }

    /// How the process ends, and why; unknown where a signal ended it.
    pub(crate) fn exit(self) -> Option<(Exit, &'static str)> {
        Some(match self {
            Self::Interrupted => return None,
            Self::BrokeOff => (Exit::Runtime, "an attack failed"),
            Self::NothingAttacked => (Exit::Inconclusive, "nothing was attacked"),
            Self::GateFailed => (Exit::GateFailed, "a gate failed; 0 with --exit-zero"),
            Self::GateUndecided => (Exit::Inconclusive, "a gate is inconclusive"),
            Self::ValidityFailed => (Exit::Inconclusive, "the validity of the attacks failed"),
            Self::Passed => (Exit::Pass, "every gate passed or is waived"),
            Self::NoGates => (Exit::Pass, "no gates"),
        })
    }
}
