//! The recorded run, for tests.

use super::Report;
use crate::audit::journal::replay;
use crate::audit::state::AuditState;

/// The journal of an audit with FGSM and PGD.
pub(crate) const JOURNAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/run.jsonl"));

pub(crate) fn recorded_state() -> AuditState {
    replay(JOURNAL).0
}

pub(crate) fn recorded() -> Report {
    Report::new(&recorded_state()).unwrap()
}
