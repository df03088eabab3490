//! Attacks that attack what others of their ensemble left.

use serde_json::Value;

use crate::support::stdout;

fn run(flags: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let text = stdout(&[&["audit", "--threads", "1", "--taps", "fc", "--out", &out], flags].concat());
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    (text, serde_json::from_str(&report).unwrap())
}

#[test]
fn each_attack_of_an_ensemble_sees_what_the_others_left() {
    let (text, report) = run(&[
        "--samples",
        "40",
        "--attack",
        "fgsm:eps=2/255",
        "--attack",
        "pgd:eps=2/255,steps=3,ensemble=own",
        "--attack",
        "square:eps=2/255,queries=30,ensemble=own",
        "--gate",
        "asr.own >= 0.01",
    ]);
    let rate = |at: usize, key: &str| report["attacks"][at]["success_rate"][key].as_u64().unwrap();
    assert!(0 < rate(1, "count") && rate(1, "count") < rate(1, "of"), "{text}");
    assert_eq!(rate(2, "of"), rate(1, "of") - rate(1, "count"));
    let own = &report["ensembles"][0];
    let found = |key: &str| own["success_rate"][key].as_u64().unwrap();
    assert_eq!((found("count"), found("of")), (rate(1, "count") + rate(2, "count"), rate(1, "of")));
    assert_eq!((&own["label"], &own["published"]), (&"own".into(), &Value::Null));
    // An accuracy of all images is the ensemble's alone.
    assert_eq!(report["attacks"][1]["adversarial_accuracy"], Value::Null);
    assert!(
        text.contains("own, L∞ ε 2/255: pgd, square, each on what the others before it left; robust accuracy "),
        "{text}"
    );
    assert!(report["plan"]["command"].as_str().unwrap().contains("ensemble=own"), "{}", report["plan"]["command"]);
    // What the first broke is not missed by the second.
    let checks = report["validity"]["checks"].as_array().unwrap();
    let steps = checks.iter().find(|it| it["check"] == "iterations break at least what one step breaks").unwrap();
    assert_ne!(steps["state"], "failed", "{steps}");
}

#[test]
fn autoattack_has_one_robust_accuracy_and_says_which_version_it_is() {
    // So large that the first attack leaves nothing: the others have no image, and are complete all the same.
    let (text, report) =
        run(&["--first", "8", "--attack", "autoattack:eps=0.3", "--gate", "accuracy.autoattack <= 0.5"]);
    let labels: Vec<&str> =
        report["attacks"].as_array().unwrap().iter().map(|it| it["attack"]["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["apgd", "apgd-t", "fab-t", "square"]);
    let all = report["attacks"].as_array().unwrap().iter().all(|it| it["status"] == "complete");
    assert!(all && report["outcome"] == "complete", "{text}");
    assert_eq!(report["attacks"][3]["success_rate"]["of"], 0);
    let own = &report["ensembles"][0];
    assert_eq!(own["published"], "AutoAttack standard, version as published 2020");
    assert_eq!(own["adversarial_accuracy"]["count"], 0);
    assert!(
        text.contains("autoattack, L∞ ε 0.3: AutoAttack standard, version as published 2020; robust accuracy 0.0 ["),
        "{text}"
    );
}
