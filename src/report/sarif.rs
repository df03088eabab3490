//! SARIF 2.1.0: one result per gate that did not pass, for code scanning.

use serde_json::{Value, json};

use super::gates::{GateResult, GateState, Verdict};
use super::{Evidence, Report};
use crate::audit::event::Outcome;
use crate::audit::gate::Severity;
use crate::audit::gate::expr::Quantity;

/// One kind of finding per quantity that gates can bound.
const RULES: [(Quantity, &str, &str); 4] = [
    (Quantity::SuccessRate, "asr", "The success rate of an attack is out of bounds"),
    (Quantity::Accuracy, "accuracy", "An accuracy is out of bounds"),
    (Quantity::PeakDrop, "peak-drop", "An attack changes the peak modularity by too much"),
    (Quantity::PeakQ, "peak-q", "A peak modularity is out of bounds"),
];

pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let verdict = Verdict::of(report);
    let rules = RULES.map(|(_, id, text)| {
        json!({
            "id": format!("advmod/{id}"),
            "shortDescription": { "text": text },
            "help": { "text": "A gate fails where the whole 95 % interval of its metric misses its limit. Adversarial training is the usual remedy." },
            "properties": {
                "tags": ["security", "machine-learning", "external/cwe/cwe-1039"],
                "security-severity": "5.0",
            },
        })
    });
    let results: Vec<Value> =
        verdict.gates.iter().filter(|gate| gate.result != GateState::Pass).map(|gate| result(report, gate)).collect();
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "advmod", "semanticVersion": report.tool.version, "rules": rules } },
            "invocations": [{
                "commandLine": report.plan.command,
                "executionSuccessful": report.outcome == Outcome::Complete,
            }],
            "results": results,
            "properties": {
                "model": report.model.name,
                "modelSha256": report.model.sha256,
                "data": report.data.name,
                "dataSha256": report.data.sha256,
                "seed": report.plan.seed,
                "samples": report.data.indices.len(),
            },
        }],
    });
    let mut bytes = serde_json::to_vec_pretty(&log).expect("plain data always has a JSON form");
    bytes.push(b'\n');
    bytes
}

fn result(report: &Report, gate: &GateResult) -> Value {
    let rule = RULES.iter().position(|(quantity, ..)| *quantity == gate.gate.expr.metric.quantity).unwrap_or(0);
    let level = match (gate.measured_result, gate.gate.severity) {
        (GateState::Fail, Severity::Error) => "error",
        _ => "warning",
    };
    // The model itself is seldom in the repository; the line of the gate is.
    let (file, line) = match &gate.gate.place {
        Some(place) => (&place.file, place.line),
        None => (&report.model.name, 1),
    };
    let mut result = json!({
        "ruleId": format!("advmod/{}", RULES[rule].1),
        "ruleIndex": rule,
        "level": level,
        "message": { "text": format!("gate {}: {}", gate.gate.id, gate.sentence()) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(file) },
            "region": { "startLine": line },
        } }],
        "partialFingerprints": { "gate/v1": format!("{}:{}", report.model.name, gate.gate.id) },
        "properties": { "gate": gate.gate.id, "expression": gate.gate.expr.to_string(), "result": gate.measured_result },
    });
    if let Some(waiver) = gate.gate.waiver.as_ref().filter(|_| gate.result == GateState::Waived) {
        let until = format!("{} (until {})", waiver.reason, waiver.expires);
        result["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": until }]);
    }
    result
}

/// A path as a URI reference: everything but letters, digits and `-._~/` in percent signs.
fn uri(path: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    path.bytes().map(|byte| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("ci/my plan:1.toml"), "ci/my%20plan%3A1.toml");
    }
}
