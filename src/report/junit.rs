//! JUnit XML: one test per gate, so that a build server counts the passes too.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::gates::{GateResult, GateState, Verdict};
use super::{Evidence, Report};
use crate::audit::gate::Severity;

pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let mut suite = TestSuite::new("gates");
    for (name, value) in [
        ("model", report.model.name.clone()),
        ("model sha256", report.model.sha256.clone()),
        ("data sha256", report.data.sha256.clone()),
        ("seed", report.plan.seed.to_string()),
        ("samples", report.data.indices.len().to_string()),
    ] {
        suite.add_property((name, value.as_str()));
    }
    suite.add_test_cases(Verdict::of(report).gates.iter().map(case));
    let mut out = quick_junit::Report::new("advmod");
    out.add_test_suite(suite);
    out.to_string().expect("text is XML once its control characters are gone").into_bytes()
}

/// Failed: `failure`; could not be decided: `error`; waived, or only a warning: `skipped`.
fn case(gate: &GateResult) -> TestCase {
    let mut status = match (gate.result, gate.gate.severity) {
        (GateState::Pass, _) => TestCaseStatus::success(),
        (GateState::Waived, _) | (_, Severity::Warning) => TestCaseStatus::skipped(),
        (GateState::Fail, _) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        (GateState::Inconclusive | GateState::Pending, _) => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if gate.result != GateState::Pass {
        status.set_message(gate.sentence());
    }
    let mut case = TestCase::new(gate.gate.id.as_str(), status);
    case.set_classname(gate.gate.expr.metric.quantity.name());
    case.set_system_out(gate.sentence());
    case
}
