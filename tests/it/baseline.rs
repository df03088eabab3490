//! `--baseline` and `advmod diff` through the real executable.

use serde_json::Value;

use crate::support::advmod;

fn output(arguments: &[&str]) -> (i32, String, String) {
    let output = advmod(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn regressions_are_found_against_a_stored_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let fast = ["audit", "--attacks", "fgsm", "--samples", "60", "--threads", "1", "--accept-limited"];
    let audit = |more: &[&str]| output(&[&fast[..], more].concat());
    assert_eq!(audit(&["--out", &path("before")]).0, 0);

    // The same again has not changed, which any tolerance accepts.
    let gates = ["--gate", "regression(asr.*) <= 0", "--gate", "regression(accuracy.clean.class.*) <= 0"];
    let (code, text, _) = audit(&[&["--baseline", &path("before"), "--out", &path("now")], &gates[..]].concat());
    assert!(code == 0 && text.contains("10 the same"), "{code} {text}");
    let report: Value = serde_json::from_slice(&std::fs::read(folder.path().join("now/report.json")).unwrap()).unwrap();
    assert_eq!(report["changes"]["changes"].as_array().unwrap().len(), 10);
    assert!(std::fs::read_to_string(folder.path().join("now/report.md")).unwrap().contains("## Since the baseline"));
    // The run itself can go on, and be rendered again, without the earlier report.
    std::fs::remove_dir_all(folder.path().join("before")).unwrap();
    let (code, again, _) = output(&["audit", "--resume", &path("now")]);
    assert_eq!((code, &again), (0, &text));
    assert_eq!(output(&["report", &path("now")]).1, text);

    // A model that was made worse: each third weight by a quarter or so.
    let mut weights = std::fs::read("fixtures/resnet20-fashion-mnist.safetensors").unwrap();
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    weights[header + 2..].iter_mut().step_by(12).for_each(|byte| *byte ^= 0x60);
    std::fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    let (code, _, error) = audit(&["--model", &path("model.safetensors"), "--out", &path("worse")]);
    assert!(code == 0 || code == 4, "{code} {error}");
    let (code, text, _) = output(&["diff", &path("now"), &path("worse")]);
    let accuracy = text.lines().find(|line| line.starts_with("accuracy.clean")).unwrap();
    assert!(code == 0 && text.contains("the same samples") && accuracy.ends_with("worse"), "{code} {text}");
    let gate = ["--gate", "regression(accuracy.clean) <= 2 %"];
    assert_eq!(output(&[&["diff", &path("now"), &path("worse")], &gate[..]].concat()).0, 1);
    let (code, text, _) =
        output(&["diff", &path("now"), &path("worse"), "--gate", "accuracy.clean >= 100 %", "--format", "json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(code == 1 && document["gates"][0]["result"] == "fail", "{code} {text}");
}

#[test]
fn a_worse_normalization_is_worse_or_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let audit = |name: &str, more: &[&str]| {
        let fast = ["audit", "--attacks", "fgsm", "--samples", "100", "--threads", "1", "--out", &path(name)];
        let (code, _, error) = output(&[&fast[..], more].concat());
        assert!(code == 0 || code == 4, "{code} {error}");
    };
    audit("before", &[]);
    // The first makes the network weaker all over. Under the second it sees all changes smaller: it classifies half of the images, and of
    // those, which are the easy ones, FGSM breaks fewer.
    for (normalization, asr) in [("0.0/0.5", "regressed"), ("0.8/0.5", "incomparable")] {
        audit("now", &["--normalize", normalization, "--force"]);
        let (_, text, _) = output(&["diff", &path("before"), &path("now"), "--format", "json"]);
        let document: Value = serde_json::from_str(&text).unwrap();
        let changes = document["changes"]["changes"].as_array().unwrap();
        let state = |metric: &str| changes.iter().find(|it| it["metric"] == metric).unwrap()["state"].clone();
        assert!(changes.iter().all(|it| it["state"] != "improved"), "{normalization} {text}");
        assert_eq!((state("accuracy.clean"), state("asr.fgsm")), ("regressed".into(), asr.into()), "{text}");
        assert_eq!(state("peak_q.clean"), "regressed", "{text}");
        let (code, text, _) = output(&["diff", &path("before"), &path("now"), "--gate", "regression(asr.fgsm) <= 2 %"]);
        assert!(code != 0 && text.contains("accuracy over all images: clean 9"), "{code} {text}");
    }
}

#[test]
fn a_regression_without_a_baseline_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere").display().to_string();
    for (arguments, code, word) in [
        (vec!["audit", "--gate", "regression(asr.*) <= 0"], 2, "--baseline"),
        (vec!["audit", "--baseline", &nowhere], 3, "nowhere"),
        (vec!["diff", &nowhere, &nowhere], 3, "nowhere"),
        (vec!["diff", &nowhere], 2, "<NOW>"),
    ] {
        let (found, text, error) = output(&arguments);
        assert!(found == code && text.is_empty() && error.contains(word), "{arguments:?} {found} {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
