//! JUnit XML: one test per gate, in the suite of what it bounds, and one per check of the attacks, so that a build server counts the
//! passes too.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::Evidence;
use crate::audit::gate::Severity;
use crate::audit::gate::expr::Subject;
use crate::verdict::Report;
use crate::verdict::facts::AttackResult;
use crate::verdict::gates::{GateResult, GateState, Verdict};
use crate::verdict::validity::{ValidityCheck, ValidityState};

pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let verdict = Verdict::of(&report.gates);
    let gates = |home: Home| {
        let cases = verdict.gates.iter().filter(move |gate| Home::of(report, gate) == home).map(gate_case);
        cases.collect::<Vec<_>>()
    };
    let mut suites = vec![("clean".to_owned(), None, gates(Home::Clean))];
    for (at, attack) in report.attacks.iter().enumerate() {
        suites.push((attack.attack.label.clone(), Some(attack), gates(Home::Attack(at))));
    }
    suites.push(("worst case".to_owned(), None, gates(Home::Worst)));
    suites.push(("gates".to_owned(), None, gates(Home::Several)));
    suites.push(("attack validity".to_owned(), None, report.validity.checks.iter().map(validity_case).collect()));
    let mut out = quick_junit::Report::new("advmod");
    for (name, attack, cases) in suites {
        let mut suite = TestSuite::new(name.as_str());
        for (name, value) in properties(report, attack) {
            suite.add_property((name.as_str(), value.as_str()));
        }
        suite.add_test_cases(cases);
        out.add_test_suite(suite);
    }
    let text = out.to_string().expect("text is XML once its control characters are gone");
    // The schema that Jenkins checks against knows this count for suites, not for all of them together.
    text.replacen(&format!(" skipped=\"{}\"", out.skipped), "", 1).into_bytes()
}

/// The suite that a gate belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    Clean,
    Attack(usize),
    Worst,
    /// A star means more than one attack.
    Several,
}

impl Home {
    fn of(report: &Report, gate: &GateResult) -> Self {
        match &gate.gate.expr.metric.subject {
            Subject::Clean => Self::Clean,
            Subject::Worst => Self::Worst,
            Subject::Within(_) => Self::Several,
            subject @ Subject::Attacks(_) => {
                let mut meant = (0..report.attacks.len()).filter(|&at| subject.fits(&report.attacks[at].attack.label));
                match (meant.next(), meant.next()) {
                    (Some(one), None) => Self::Attack(one),
                    _ => Self::Several,
                }
            }
        }
    }
}

fn properties(report: &Report, attack: Option<&AttackResult>) -> Vec<(String, String)> {
    let mut all = vec![
        ("model".to_owned(), report.model.name.clone()),
        ("model sha256".to_owned(), report.model.sha256.clone()),
        ("data sha256".to_owned(), report.data.sha256.clone()),
        ("seed".to_owned(), report.plan.seed.to_string()),
        ("samples".to_owned(), report.data.indices.len().to_string()),
        ("attack validity".to_owned(), report.validity.line()),
        ("accept limited".to_owned(), report.plan.accept_limited.to_string()),
    ];
    if let Some(attack) = attack {
        all.extend(attack.attack.params());
        all.push(("attacked".to_owned(), attack.success_rate.of.to_string()));
        all.push(("broken".to_owned(), attack.success_rate.count.to_string()));
    }
    all
}

/// Failed: `failure`; could not be decided: `error`; waived, or only a warning: `skipped`.
fn gate_case(gate: &GateResult) -> TestCase {
    let mut status = match (gate.result, gate.gate.severity) {
        (GateState::Pass, _) => TestCaseStatus::success(),
        (GateState::Waived, _) | (_, Severity::Warning) => TestCaseStatus::skipped(),
        (GateState::Fail, _) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        (GateState::Inconclusive | GateState::Pending, _) => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if gate.result != GateState::Pass {
        status.set_message(gate.sentence()).set_type(gate.result.word());
    }
    let mut case = TestCase::new(gate.gate.id.as_str(), status);
    case.set_classname(format!("gate.{}", gate.gate.expr.metric.quantity.name()));
    case.set_system_out(gate.sentence());
    case
}

/// What does not hold: `failure`; what may not, or could not be checked: `skipped`.
fn validity_case(check: &ValidityCheck) -> TestCase {
    let mut status = match check.state {
        ValidityState::Ok => TestCaseStatus::success(),
        ValidityState::NotRun | ValidityState::Suspicious => TestCaseStatus::skipped(),
        ValidityState::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if check.state != ValidityState::Ok {
        status.set_message(format!("{}: {}", check.state.word(), check.found)).set_type(check.state.word());
    }
    let mut case = TestCase::new(check.check.as_str(), status);
    case.set_classname("validity");
    case.set_system_out(check.found.as_str());
    case
}
