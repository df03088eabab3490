//! SARIF 2.1.0: one result per gate that did not pass, and one where the attacks are not valid, for code scanning.

use serde_json::{Value, json};

use super::Evidence;
use crate::audit::event::Outcome;
use crate::audit::gate::expr::Quantity;
use crate::audit::gate::{Place, Severity};
use crate::text::json::pretty;
use crate::verdict::Report;
use crate::verdict::conclusion::Conclusion;
use crate::verdict::facts::AttackStatus;
use crate::verdict::gates::{GateResult, GateState, Verdict};
use crate::verdict::validity::ValidityVerdict;

struct Rule {
    id: &'static str,
    name: &'static str,
    /// What is wrong, in a sentence.
    text: &'static str,
    /// What it means and what to do.
    help: &'static str,
    /// `0.0` to `10.0`; code scanning sorts by it.
    severity: &'static str,
}

/// The last of [`RULES`].
const ATTACK_INVALID: usize = 6;

/// One per quantity that gates can bound, and the validity of the attacks. Their ids are part of the interface.
const RULES: [Rule; 7] = [
    Rule {
        id: "advmod/asr",
        name: "AttackSuccessRate",
        text: "The success rate of an attack is out of bounds",
        help: "Too many of the images that the model classifies correctly are broken by an attack within its budget. Adversarial training \
               at the ε of the attack is the usual remedy; a smaller ε, where the threat model allows it, belongs into the plan.",
        severity: "7.5",
    },
    Rule {
        id: "advmod/accuracy",
        name: "Accuracy",
        text: "An accuracy is out of bounds",
        help: "The model classifies too few images correctly, clean or under attack. For clean images check the normalization and the \
               data first; under attack, adversarial training is the usual remedy.",
        severity: "6.0",
    },
    Rule {
        id: "advmod/peak-drop",
        name: "PeakModularityDrop",
        text: "An attack changes the peak modularity by too much",
        help: "Where the network separates the true classes best, an attack pulls their communities apart. This is the number of the \
               modularity paper. It does not measure robustness: bound an accuracy too.",
        severity: "4.0",
    },
    Rule {
        id: "advmod/peak-q",
        name: "PeakModularity",
        text: "A peak modularity is out of bounds",
        help: "The largest modularity of a curve is not where the gate wants it: the network separates the classes less, or more, than \
               was agreed.",
        severity: "3.0",
    },
    Rule {
        id: "advmod/retention-drop",
        name: "RetentionDrop",
        text: "Attacked images leave their classes too often",
        help: "At the last tap, too many of the clean images that lie nearest to an attacked one are of another class than it. The curves of \
               the report show at which tap that begins.",
        severity: "5.5",
    },
    Rule {
        id: "advmod/captured-from",
        name: "CapturedFrom",
        text: "Attacked images lie among another class too early in the network",
        help: "From the tap that the report names, attacked images have more neighbours of the class that they are taken for than of their \
               own.",
        severity: "3.5",
    },
    Rule {
        id: "advmod/attack-invalid",
        name: "AttackInvalid",
        text: "The attacks may understate how weak the model is",
        help: "A check of the attacks themselves did not hold, so that low success rates do not mean that the model is robust. The report \
               names the checks and what was found; more steps, restarts, another loss, or attacks without gradients are the usual \
               remedies.",
        severity: "5.0",
    },
];

fn rule_of(quantity: Quantity) -> usize {
    match quantity {
        Quantity::SuccessRate => 0,
        Quantity::Accuracy => 1,
        Quantity::PeakDrop => 2,
        Quantity::PeakQ => 3,
        Quantity::RetentionDrop => 4,
        Quantity::CapturedFrom => 5,
    }
}

pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let verdict = Verdict::of(&report.gates);
    let artifacts = Artifacts::of(report);
    let failed = verdict.gates.iter().filter(|gate| gate.result != GateState::Pass);
    let mut results: Vec<Value> = failed.map(|gate| gate_result(report, gate, &artifacts)).collect();
    results.extend(invalid_attacks(report, &artifacts));
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "advmod",
                "semanticVersion": report.tool.version,
                "rules": RULES.each_ref().map(rule),
            } },
            "invocations": [invocation(report)],
            "artifacts": artifacts.0.iter().map(|(_, artifact)| artifact).collect::<Vec<_>>(),
            "results": results,
            "properties": {
                "model": report.model.name,
                "modelSha256": report.model.sha256,
                "data": report.data.name,
                "dataSha256": report.data.sha256,
                "seed": report.plan.seed,
                "samples": report.data.indices.len(),
                "attackValidity": report.validity.verdict,
                "acceptLimited": report.plan.accept_limited,
            },
        }],
    });
    pretty(&log)
}

fn rule(rule: &Rule) -> Value {
    const GATES: &str = "A gate fails where the whole 95 % interval of its metric misses its limit.";
    let gates = if rule.id == RULES[ATTACK_INVALID].id { "" } else { GATES };
    json!({
        "id": rule.id,
        "name": rule.name,
        "shortDescription": { "text": rule.text },
        "fullDescription": { "text": format!("{}.", rule.text) },
        "help": {
            "text": format!("{} {gates}", rule.help).trim_end(),
            "markdown": format!("**{}.** {}\n\n{gates}", rule.text, rule.help).trim_end(),
        },
        "properties": {
            "tags": ["security", "machine-learning", "external/cwe/cwe-1039"],
            "security-severity": rule.severity,
        },
    })
}

/// The files that a report is about, each under the name that it has in there.
struct Artifacts(Vec<(String, Value)>);

impl Artifacts {
    fn of(report: &Report) -> Self {
        let file = |name: &str, sha256: &str, role: &str, text: &str| {
            json!({
                "location": { "uri": uri(name) },
                "roles": [role],
                "hashes": { "sha-256": sha256 },
                "description": { "text": text },
            })
        };
        let (model, data) = (&report.model, &report.data);
        let mut all = vec![
            (model.name.clone(), file(&model.name, &model.sha256, "analysisTarget", "the model")),
            (data.name.clone(), file(&data.name, &data.sha256, "referencedOnCommandLine", "the images")),
        ];
        for Place { file, .. } in report.gates.iter().filter_map(|gate| gate.gate.place.as_ref()) {
            if !all[2..].iter().any(|(name, _)| name == file) {
                let artifact = json!({ "location": { "uri": uri(file) }, "description": { "text": "the plan" } });
                all.push((file.clone(), artifact));
            }
        }
        Self(all)
    }

    /// A line of a plan; without one, the model, which is seldom in the repository.
    fn location(&self, place: Option<&Place>) -> Value {
        let (at, line) = place.map_or((0, 1), |place| {
            let at = self.0.iter().skip(2).position(|(name, _)| *name == place.file);
            (at.map_or(0, |at| at + 2), place.line)
        });
        json!({ "physicalLocation": {
            "artifactLocation": { "uri": uri(&self.0[at].0), "index": at },
            "region": { "startLine": line },
        } })
    }
}

fn invocation(report: &Report) -> Value {
    let notification = |level: &str, text: &str| json!({ "level": level, "message": { "text": message(text) } });
    let failed = report.attacks.iter().filter(|it| it.status == AttackStatus::Failed).map(|it| {
        let error = it.error.as_deref().unwrap_or_default();
        notification("error", &format!("{} failed: {error}", it.attack.label))
    });
    let warnings = report.warnings.iter().map(|warning| notification("warning", warning));
    let mut invocation = json!({
        "commandLine": report.plan.command,
        "executionSuccessful": report.outcome == Outcome::Complete,
        "toolExecutionNotifications": failed.chain(warnings).collect::<Vec<_>>(),
    });
    if let Some((exit, reason)) = Conclusion::of(report).exit() {
        invocation["exitCode"] = exit.code().into();
        invocation["exitCodeDescription"] = reason.into();
    }
    invocation
}

fn gate_result(report: &Report, gate: &GateResult, artifacts: &Artifacts) -> Value {
    let rule = rule_of(gate.gate.expr.metric.quantity);
    let level = match (gate.measured_result, gate.gate.severity) {
        (GateState::Fail, Severity::Error) => "error",
        _ => "warning",
    };
    let mut result = json!({
        "ruleId": RULES[rule].id,
        "ruleIndex": rule,
        "level": level,
        "message": { "text": message(&format!("gate {}: {}", gate.gate.id, gate.sentence())) },
        "locations": [artifacts.location(gate.gate.place.as_ref())],
        "partialFingerprints": { "gate/v1": format!("{}:{}", report.model.name, gate.gate.id) },
        "properties": { "gate": gate.gate.id, "expression": gate.gate.expr.to_string(), "result": gate.measured_result },
    });
    if let Some(waiver) = gate.gate.waiver.as_ref().filter(|_| gate.result == GateState::Waived) {
        let until = format!("{} (until {})", waiver.reason, waiver.expires);
        result["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": until }]);
    }
    result
}

/// Where the checks of the attacks speak against them.
fn invalid_attacks(report: &Report, artifacts: &Artifacts) -> Option<Value> {
    let level = match report.validity.verdict {
        ValidityVerdict::Valid => return None,
        ValidityVerdict::Limited => "warning",
        ValidityVerdict::Failed => "error",
    };
    let against = report.validity.against();
    let found: Vec<String> =
        against.iter().map(|it| format!("{}: {} ({})", it.check, it.found, it.state.word())).collect();
    let text = format!("attack validity: {}. {}", report.validity.verdict.word(), found.join("; "));
    let place = report.gates.iter().find_map(|gate| gate.gate.place.as_ref());
    Some(json!({
        "ruleId": RULES[ATTACK_INVALID].id,
        "ruleIndex": ATTACK_INVALID,
        "level": level,
        "message": { "text": message(&text) },
        "locations": [artifacts.location(place)],
        "partialFingerprints": { "validity/v1": report.model.name },
        "properties": { "verdict": report.validity.verdict, "checks": against.iter().map(|it| &it.check).collect::<Vec<_>>() },
    }))
}

/// A plain-text message: braces would be places for arguments, and `[…](…)` a link.
fn message(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}").replace("](", "] (")
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

    #[test]
    fn names_make_no_links() {
        assert_eq!(message("[here](http://x) {0} [1, 2]"), "[here] (http://x) {{0}} [1, 2]");
    }

    #[test]
    fn rules_have_ids_and_severities_of_their_own() {
        for (at, rule) in RULES.iter().enumerate() {
            assert!(RULES[..at].iter().all(|other| other.id != rule.id && other.severity != rule.severity));
        }
        let quantities = Quantity::ALL;
        for quantity in quantities {
            assert_eq!(RULES[rule_of(quantity)].id, format!("advmod/{}", quantity.name().replace('_', "-")));
        }
    }
}
