//! What the gates come to: a pure function of the facts, the day on which the audit started among them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::change::regression;
use super::facts::Facts;
use super::metric::{Found, Missing, Reading, read};
use super::validity::{Validity, ValidityVerdict, only_peaks};
use crate::audit::baseline::Baseline;
use crate::audit::gate::expr::{GateExpr, Side};
use crate::audit::gate::{Day, Gate, Severity};
use crate::stats::rates::Measured;

/// The result of one gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    /// The gate as it was set, with its waiver.
    pub gate: Gate,
    /// The result that counts, waivers taken into account.
    pub result: GateState,
    /// The result before waivers are taken into account.
    pub measured_result: GateState,
    /// Whether the waiver's last day was before the day on which the audit started.
    pub waiver_expired: bool,
    /// One check per attack and class that the metric means, the one that decides first.
    pub checks: Vec<GateCheck>,
}

/// One measurement against a gate's limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateCheck {
    /// Name of the metric, with the attack and class in place of stars.
    pub metric: String,
    /// The measurement with its interval; absent where there was nothing to measure.
    pub measured: Option<Measured>,
    /// Result of this measurement alone.
    pub result: GateState,
    /// Why the result is neither pass nor fail.
    pub why: Option<String>,
}

/// Result of a gate or of one of its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateState {
    /// The whole interval is on the right side of the limit; where that claims robustness, the attacks are valid too.
    Pass,
    /// The gate did not pass, and a waiver accepts that.
    Waived,
    /// What the gate needs has not been measured yet.
    Pending,
    /// The interval is on both sides of the limit, there is nothing to measure, or robustness is claimed on a report that is not valid.
    Inconclusive,
    /// The whole interval is on the wrong side of the limit.
    Fail,
}

impl GateState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Waived => "waived",
            Self::Pending => "pending",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "FAIL",
        }
    }
}

impl GateResult {
    /// The measurement that decides. A gate has at least one.
    fn deciding(&self) -> Option<&GateCheck> {
        self.checks.first()
    }

    /// The deciding measurement with its interval, or why there is none.
    pub(crate) fn measured_text(&self) -> String {
        let quantity = self.gate.expr.metric.quantity;
        match self.deciding() {
            Some(GateCheck { measured: Some(it), .. }) => {
                let (low, high) = (quantity.show(it.low), quantity.show(it.high));
                let bare = |text: &str| text.trim_end_matches(" %").to_owned();
                format!("{} [{}, {}]", quantity.show(it.value), bare(&low), bare(&high))
            }
            Some(check) => check.why.clone().unwrap_or_default(),
            None => String::new(),
        }
    }

    /// Why the gate came out as it did, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let (name, limit) = (self.deciding().map_or("", |check| &check.metric), self.gate.expr.limit_text());
        let found = self.measured_text();
        let many = match self.checks.iter().filter(|check| check.result == self.measured_result).count() {
            0 | 1 => String::new(),
            n => format!(" (and {} more of {})", n - 1, self.checks.len()),
        };
        let measured = self.deciding().filter(|check| check.measured.is_some());
        let text = match (self.measured_result, measured.and_then(|check| check.why.as_ref())) {
            (GateState::Fail, _) => format!("{name} is {found}, which is not {limit}{many}"),
            (GateState::Pass, _) => format!("{name} is {found}, which is {limit}"),
            (_, Some(why)) => format!("{name} is {found}: {why}{many}"),
            (_, None) => format!("{name} was not measured: {found}{many}"),
        };
        match &self.gate.waiver {
            Some(it) if self.waiver_expired => format!("{text}; its waiver expired on {}", it.expires),
            Some(it) if self.result == GateState::Waived => {
                let owner = it.owner.as_ref().map_or(String::new(), |owner| format!(", {owner}"));
                format!("{text}; waived until {}{owner}: {}", it.expires, it.reason)
            }
            _ => text,
        }
    }
}

/// All gates together: plain data for the terminal, tables and exit codes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The worst of all gates that can fail the audit; absent without gates.
    pub result: Option<GateState>,
    pub gates: Vec<GateResult>,
}

impl Verdict {
    pub(crate) fn of(gates: &[GateResult]) -> Self {
        let counting = gates.iter().filter(|gate| gate.gate.severity == Severity::Error).map(|gate| gate.result);
        // A waived gate among passes is a pass; gates that only warn never fail.
        let worst = counting.map(|it| if it == GateState::Waived { GateState::Pass } else { it }).max();
        let result = worst.or((!gates.is_empty()).then_some(GateState::Pass));
        Self { result, gates: gates.to_vec() }
    }

    pub(crate) fn count(&self, state: GateState) -> usize {
        self.gates.iter().filter(|gate| gate.result == state).count()
    }

    /// `FAIL  1 of 3 gates failed, 1 waived, 0 inconclusive`; absent without gates.
    pub(crate) fn line(&self) -> Option<String> {
        let word = match self.result? {
            GateState::Pass | GateState::Waived => "PASS",
            GateState::Pending => "PENDING",
            GateState::Inconclusive => "INCONCLUSIVE",
            GateState::Fail => "FAIL",
        };
        let (all, failed) = (self.gates.len(), self.count(GateState::Fail));
        let (waived, unclear) = (self.count(GateState::Waived), self.count(GateState::Inconclusive));
        let pending = match self.count(GateState::Pending) {
            0 => String::new(),
            n => format!(", {n} pending"),
        };
        let s = if all == 1 { "" } else { "s" };
        Some(format!("{word}  {failed} of {all} gate{s} failed, {waived} waived, {unclear} inconclusive{pending}"))
    }
}

/// What these gates come to. `is_running`: what is missing may still come.
pub(crate) fn evaluate(
    facts: &Facts,
    gates: &[Gate],
    baseline: Option<&Baseline>,
    validity: &Validity,
    is_running: bool,
) -> Vec<GateResult> {
    let today = Day::parse(facts.started).ok();
    let is_accepted = facts.plan.accept_limited;
    let of_peaks = || (only_peaks(gates) && !is_accepted).then(|| ONLY_PEAKS.to_owned());
    let doubt = doubt(validity, is_accepted).or_else(of_peaks);
    let result = |gate: &Gate| {
        let metric = &gate.expr.metric;
        let doubt = doubt.as_deref().filter(|_| gate.expr.claims_robustness());
        let checks = read(facts, metric).into_iter().map(|reading| {
            let reading = match metric.is_regression {
                true => regression(facts, baseline, metric, &reading),
                false => reading,
            };
            check(&gate.expr, reading, doubt, is_running)
        });
        of_gate(gate, checks.collect(), today.as_ref())
    };
    gates.iter().map(result).collect()
}

fn of_gate(gate: &Gate, mut checks: Vec<GateCheck>, today: Option<&Day>) -> GateResult {
    // The worst first; among equals the one whose interval reaches farthest to the wrong side. The sort is stable.
    let reach = |check: &GateCheck| {
        let upwards = gate.expr.op.holds(f64::NEG_INFINITY, gate.expr.limit);
        check.measured.map_or(f64::NEG_INFINITY, |it| if upwards { it.value } else { -it.value })
    };
    checks.sort_by(|a, b| b.result.cmp(&a.result).then(reach(b).total_cmp(&reach(a))));
    let measured_result = checks.first().map_or(GateState::Inconclusive, |check| check.result);
    // Without a day, nothing is known to be in time.
    let waiver_expired = gate.waiver.as_ref().is_some_and(|waiver| today.is_none_or(|today| *today > waiver.expires));
    let is_waived = gate.waiver.is_some()
        && !waiver_expired
        && matches!(measured_result, GateState::Fail | GateState::Inconclusive);
    let result = if is_waived { GateState::Waived } else { measured_result };
    GateResult { gate: gate.clone(), result, measured_result, waiver_expired, checks }
}

/// Also of gates that a stored report is asked about later.
const ONLY_PEAKS: &str = "peak Q alone claims no robustness: a model that is wholly broken can pass; add a gate on accuracy, asr or retention_drop";

/// Why images that the attacks left are no evidence of robustness, unless they are.
fn doubt(validity: &Validity, accept_limited: bool) -> Option<String> {
    let remedy = match validity.verdict {
        ValidityVerdict::Valid => return None,
        ValidityVerdict::Limited if accept_limited => return None,
        ValidityVerdict::Limited => ", or with --accept-limited on a limited one",
        ValidityVerdict::Failed => "",
    };
    Some(format!(
        "attack validity is {}; a gate that claims robustness passes on a valid report{remedy}",
        validity.line()
    ))
}

/// `doubt`: why the measurement cannot make a gate pass.
fn check(expr: &GateExpr, reading: Reading, doubt: Option<&str>, is_running: bool) -> GateCheck {
    let measured = reading.found.as_ref().ok().map(|found| found.measured);
    let unclear = if is_running { GateState::Pending } else { GateState::Inconclusive };
    let (result, why) = match reading.found {
        Ok(Found { measured: it, .. }) => match (expr.op.side(it.low, it.high, expr.limit), doubt) {
            (Side::Right, None) => (GateState::Pass, None),
            (Side::Right, Some(doubt)) => (unclear, Some(doubt.to_owned())),
            (Side::Wrong, _) => (GateState::Fail, None),
            (Side::Both, _) => {
                let limit = expr.limit_text();
                let why = format!("the interval lies on both sides of {limit}; more samples narrow it");
                (GateState::Inconclusive, Some(why))
            }
        },
        Err(Missing::NotDone(why)) if is_running => (GateState::Pending, Some(why)),
        Err(Missing::NotDone(why) | Missing::NotMeasurable(why)) => (GateState::Inconclusive, Some(why)),
    };
    GateCheck { metric: reading.metric.to_string(), measured, result, why }
}
