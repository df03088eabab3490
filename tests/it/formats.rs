//! Reports against the schemas of their formats.

use std::path::Path;

use advmod::audit::plan::AuditPlan;
use advmod::report::change::baseline;
use advmod::report::{Evidence, FORMATS, Report, journal};
use serde_json::Value;

use crate::support::{advmod, root};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every place where it does not fit.
fn problems(schema: &Value, value: &Value) -> Vec<String> {
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
        ("an attack failed", report(&failed, GATES, TODAY)),
        ("with a baseline", with_baseline(&whole)),
    ]
}

/// The recorded run beside itself, and beside a run that was another in many ways.
fn with_baseline(journal: &str) -> Report {
    let (mut state, _) = journal::replay(journal);
    let mut earlier = Report::new(&state).unwrap();
    earlier.attacks[0].attack.params.insert("eps".to_owned(), "1/255".to_owned());
    earlier.attacks[1].attack.label = "cw".to_owned();
    earlier.attacks[1].peak_drop = None;
    earlier.clean.predictions.fill(0);
    let start = state.start.as_mut().unwrap();
    start.baseline = Some(Box::new(baseline(&earlier, "earlier/report.json")));
    Report::new(&state).unwrap()
}

fn rendered(report: &Report, format: &str) -> Vec<u8> {
    let format = FORMATS.iter().find(|it| it.name == format).unwrap();
    (format.render)(report, &Evidence::default())
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
    found["schema_version"] = 2.into();
    assert_eq!(problems(&schema, &found).len(), 3);
}
