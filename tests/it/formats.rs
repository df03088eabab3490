//! Reports against the schemas of their formats.

use std::path::Path;

use advmod::audit::journal;
use advmod::audit::plan::AuditPlan;
use advmod::report::{Evidence, FORMATS};
use advmod::verdict::Report;
use advmod::verdict::change::baseline;
use serde_json::Value;

use crate::support::{advmod, root};

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every place where it does not fit.
pub fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn journal_text() -> String {
    std::fs::read_to_string(root().join("fixtures/run.jsonl")).unwrap()
}

/// The recorded run, with gates (the text of a plan file).
pub fn report(journal: &str, gates: &str, day: &str) -> Report {
    let (mut state, _) = journal::replay(journal);
    let start = state.start.as_mut().unwrap();
    let plan = format!("{gates}\n[[attack]]\nname = 'fgsm'\n[[attack]]\nname = 'pgd'\n");
    let plan: AuditPlan = toml::from_str(&plan).unwrap();
    start.plan.gates = plan.resolve().unwrap().plan.gates;
    day.clone_into(&mut start.started);
    Report::new(&state).unwrap()
}

const TODAY: &str = "2026-01-01T00:00:00Z";
const GATES: &str = "[[gate]]\nid = 'a'\nexpr = 'asr.pgd <= 0.01'\n[[gate]]\nexpr = 'asr.* <= 0.01'\n[[gate]]\nexpr = 'peak_q.clean >= 0'\n\
                     [[waiver]]\ngate = 'a'\nreason = 'known'\nexpires = '2026-06-30'\nowner = 'Ann'\n";

/// Reports of every kind, by name.
pub fn every_kind() -> Vec<(&'static str, Report)> {
    let whole = journal_text();
    let lines: Vec<&str> = whole.lines().collect();
    let first = |n: usize| lines[..n].join("\n");
    let failed =
        [&lines[..12], &[r#"{"event":"attack_failed","attack":1,"error":"out of memory"}"#]].concat().join("\n");
    vec![
        ("without gates", report(&whole, "", TODAY)),
        ("waived and failed", report(&whole, GATES, TODAY)),
        ("expired", report(&whole, GATES, "2026-07-01T00:00:00Z")),
        ("passed", report(&whole, "[[gate]]\nexpr = 'accuracy.clean >= 0.5'", TODAY)),
        ("inconclusive", report(&whole, "[[gate]]\nexpr = 'accuracy.clean >= 0.9'", TODAY)),
        ("a warning", report(&whole, "[[gate]]\nexpr = 'asr.worst <= 0.1'\nseverity = 'warning'", TODAY)),
        ("just begun", report(&first(1), GATES, TODAY)),
        ("interrupted", report(&first(8), GATES, TODAY)),
        ("suspicious", report(&whole.replace("\"is_random\":false", "\"is_random\":true"), "", TODAY)),
        ("an attack failed", report(&failed, GATES, TODAY)),
        ("with a baseline", with_baseline(&whole)),
    ]
}

/// The recorded run beside itself, and beside a run that was another in many ways.
fn with_baseline(journal: &str) -> Report {
    let (mut state, _) = journal::replay(journal);
    let mut earlier = Report::new(&state).unwrap();
    earlier.attacks[0].attack.epsilon = "1/255".parse().ok();
    "cw".clone_into(&mut earlier.attacks[1].attack.label);
    earlier.attacks[1].peak_drop = None;
    earlier.clean.predictions.as_mut().unwrap().fill(0);
    let start = state.start.as_mut().unwrap();
    start.baseline = Some(Box::new(baseline(&earlier.facts(), "earlier/report.json")));
    Report::new(&state).unwrap()
}

fn rendered(report: &Report, format: &str) -> Vec<u8> {
    let format = FORMATS.iter().find(|it| it.name == format).unwrap();
    (format.render)(report, &Evidence::default())
}

/// OASIS' schema of SARIF.
pub fn sarif_schema() -> Value {
    let text = std::fs::read_to_string(root().join("fixtures/schemas/sarif-2.1.0.json")).unwrap();
    // A bracket that closes nothing: the validator takes it for no pattern.
    serde_json::from_str(&text.replace("{2}]?$", "{2}$")).unwrap()
}

#[test]
fn the_published_schema_is_the_one_that_is_printed() {
    let printed = advmod(&["schema"]).output().unwrap().stdout;
    let published = std::fs::read(root().join("docs/report.schema.json")).unwrap();
    assert!(printed == published, "write it anew: advmod schema > docs/report.schema.json");
}

#[test]
fn reports_fit_the_published_schema() {
    let schema = json(&root().join("docs/report.schema.json"));
    jsonschema::meta::validate(&schema).unwrap();
    for (name, report) in every_kind() {
        let found: Value = serde_json::from_slice(&rendered(&report, "json")).unwrap();
        assert_eq!(problems(&schema, &found), [""; 0], "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let flags = ["audit", "--samples", "40", "--threads", "1", "--out", out.to_str().unwrap()];
    let attacks = ["--attack", "fgsm:eps=1/255|8/255", "--attack", "pgd:steps=2,target=random"];
    let gates = ["--gate", "asr.*.class.* <= 0.5", "--gate", "peak_drop.fgsm <= 1", "--exit-zero"];
    let output = advmod(&[&flags[..], &attacks, &gates].concat()).output().unwrap();
    assert!(output.status.success() || output.status.code() == Some(4), "{output:?}");
    let mut found = json(&out.join("report.json"));
    assert_eq!(found["sweeps"].as_array().unwrap().len(), 1);
    assert_eq!(problems(&schema, &found), [""; 0]);
    // The schema says no to what no report holds.
    found["attacks"][0]["samples"][0]["l2"] = Value::Null;
    found["clean"].as_object_mut().unwrap().remove("predictions");
    found["schema_version"] = 1.into();
    assert_eq!(problems(&schema, &found).len(), 3);
}

/// Names that are none, of gates, files, classes, models.
fn hostile(name: &str) -> Report {
    let mut report = report(&journal_text(), GATES, TODAY);
    let place = advmod::audit::gate::Place { file: name.to_owned(), line: 1 };
    for gate in &mut report.gates {
        (gate.gate.id, gate.gate.reason, gate.gate.place) =
            (name.to_owned(), Some(name.to_owned()), Some(place.clone()));
    }
    (report.model.name, report.data.name) = (name.to_owned(), name.to_owned());
    report.warnings.push(name.to_owned());
    name.clone_into(&mut report.plan.command);
    report
}

fn results(sarif: &Value) -> &Vec<Value> {
    sarif["runs"][0]["results"].as_array().unwrap()
}

#[test]
fn sarif_fits_the_schema_of_oasis() {
    let schema = sarif_schema();
    let long = "x".repeat(10_000);
    let names = [
        "<script>alert(1)</script>",
        "\"'`|&]]>",
        "a\n::error::b",
        "\u{1b}[2J\u{0}",
        "\u{fffd}",
        "",
        "//",
        "[a](b)",
        &long,
    ];
    let mut all = every_kind();
    all.extend(names.map(|name| ("hostile", hostile(name))));
    for (kind, report) in &all {
        let found: Value = serde_json::from_slice(&rendered(report, "sarif")).unwrap();
        assert_eq!(problems(&schema, &found), [""; 0], "{kind}");
        let is_valid = report.validity.verdict == advmod::verdict::validity::ValidityVerdict::Valid;
        let against = results(&found).iter().filter(|it| it["ruleId"] == "advmod/attack-invalid").count();
        assert_eq!(against, usize::from(!is_valid), "{kind}");
        if ["suspicious", "an attack failed"].contains(kind) {
            let level = if *kind == "suspicious" { "warning" } else { "error" };
            assert_eq!(results(&found).last().unwrap()["level"], level, "{kind}");
            assert!(
                results(&found).last().unwrap()["message"]["text"]
                    .as_str()
                    .unwrap()
                    .contains(&report.validity.checks[usize::from(*kind == "suspicious")].found)
            );
        }
        for result in results(&found) {
            let rule = &found["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], result["ruleId"]);
            let location = &result["locations"][0]["physicalLocation"]["artifactLocation"];
            let artifact = &found["runs"][0]["artifacts"][location["index"].as_u64().unwrap() as usize];
            assert_eq!(artifact["location"]["uri"], location["uri"]);
        }
    }
    // The schema is one that says no.
    let mut found: Value = serde_json::from_slice(&rendered(&all[0].1, "sarif")).unwrap();
    found["runs"][0]["invocations"][0]["exit"] = 0.into();
    assert_eq!(problems(&schema, &found).len(), 1);
}

#[test]
fn sarif_says_what_each_kind_of_report_comes_to() {
    for (kind, gates, code) in [
        ("without gates", 0, Some(0)),
        ("waived and failed", 2, Some(1)),
        ("expired", 2, Some(1)),
        ("passed", 0, Some(0)),
        ("inconclusive", 1, Some(4)),
        ("a warning", 1, Some(0)),
        ("just begun", 3, None),
        ("interrupted", 2, None),
    ] {
        let all = every_kind();
        let report = &all.iter().find(|(name, _)| *name == kind).unwrap().1;
        let found: Value = serde_json::from_slice(&rendered(report, "sarif")).unwrap();
        let of_gates = results(&found).iter().filter(|it| it["properties"]["gate"].is_string());
        assert_eq!(of_gates.clone().count(), gates, "{kind}: {found:#}");
        assert_eq!(found["runs"][0]["invocations"][0]["exitCode"].as_u64(), code, "{kind}");
        let waived = of_gates.filter(|it| it["suppressions"].is_array()).count();
        assert_eq!(waived, usize::from(kind == "waived and failed"), "{kind}");
        assert_eq!(found["runs"][0]["artifacts"][0]["hashes"]["sha-256"], report.model.sha256);
    }
}

#[test]
fn junit_counts_every_gate_once_and_every_check() {
    let names = ["<script>", "]]>", "a\n\u{1b}\u{0}", "\u{fffe}", ""];
    let mut all = every_kind();
    all.extend(names.map(|name| ("hostile", hostile(name))));
    for (kind, report) in all {
        let text = String::from_utf8(rendered(&report, "junit")).unwrap();
        let found = quick_junit::Report::deserialize_from_str(&text).unwrap();
        let suites: Vec<&str> = found.test_suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(suites, ["clean", "fgsm", "pgd", "worst case", "gates", "attack validity"], "{kind}");
        let count =
            |suites: &[quick_junit::TestSuite]| suites.iter().map(|suite| suite.test_cases.len()).sum::<usize>();
        assert_eq!(count(&found.test_suites[..5]), report.gates.len(), "{kind}");
        assert_eq!(count(&found.test_suites[5..]), report.validity.checks.len(), "{kind}");
        for suite in &found.test_suites {
            let elements =
                |word: &str| suite.test_cases.iter().filter(|it| format!("{:?}", it.status).contains(word)).count();
            assert_eq!(suite.failures, elements("kind: Failure"), "{kind}");
            assert_eq!(suite.errors, elements("kind: Error"), "{kind}");
            assert_eq!(suite.skipped, elements("Skipped"), "{kind}");
        }
        if kind == "waived and failed" {
            let places = found.test_suites.iter().map(|suite| (suite.test_cases.len(), suite.skipped, suite.failures));
            assert_eq!(places.take(5).collect::<Vec<_>>(), [(1, 0, 0), (0, 0, 0), (1, 1, 0), (0, 0, 0), (1, 0, 1)]);
            assert!(text.contains("waived until 2026-06-30, Ann: known"));
        }
    }
}

#[test]
fn sarif_has_the_exit_code_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let weak = "pgd:steps=1,step=0.0001,random_start=false";
    for (attack, gate, code) in [
        ("pgd:steps=10", "asr.pgd >= 10 %", 0),
        ("pgd:steps=10", "asr.pgd <= 10 %", 1),
        ("pgd:steps=10", "accuracy.clean >= 0.9", 4),
        // What one step breaks and this does not makes the attacks invalid.
        (weak, "accuracy.clean >= 0.5", 4),
    ] {
        let flags =
            ["audit", "--attack", "fgsm", "--attack", attack, "--gate", gate, "--samples", "40", "--threads", "1"];
        let output = advmod(&flags).arg("--force").arg("--out").arg(&out).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let sarif = json(&out.join("report.sarif"));
        assert_eq!(sarif["runs"][0]["invocations"][0]["exitCode"], code, "{gate}");
        let invalid =
            results(&sarif).iter().any(|it| it["ruleId"] == "advmod/attack-invalid" && it["level"] == "error");
        assert_eq!(invalid, attack == weak);
    }
}
