//! `advmod flow` through the real executable.

use serde_json::Value;

use crate::support::advmod;

#[test]
fn broken_images_leave_their_class_for_the_predicted_one() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out) = (folder.path().join("run"), folder.path().join("out"));
    let (run, files) = (run.to_str().unwrap(), out.to_str().unwrap());
    let flags = ["--samples", "150", "--threads", "1", "--attack", "pgd:steps=10", "--attack", "fgsm", "--out", run];
    advmod(&[&["audit"], &flags[..]].concat()).assert().success();
    let output = advmod(&["flow", run, "--k", "5", "--out", files]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("neighbours at layer3.2 after the attack"), "{text}");
    let found: Value = serde_json::from_slice(&std::fs::read(out.join("flow.json")).unwrap()).unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(format!("{run}/report.json")).unwrap()).unwrap();
    for (attack, reported) in found["attacks"].as_array().unwrap().iter().zip(report["attacks"].as_array().unwrap()) {
        let flow = &attack["flow"];
        assert_eq!(attack["attack"], reported["attack"]["label"]);
        assert_eq!(flow["broken"], reported["success_rate"]["count"]);
        // Rows are shares; before the attack most neighbours are of the own class, afterwards fewer.
        let mut own = [0.0; 2];
        for (sum, name) in own.iter_mut().zip(["clean", "adversarial"]) {
            for (class, row) in flow[name].as_array().unwrap().iter().enumerate() {
                let row: Vec<f64> = row.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
                assert!(row.is_empty() || (row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{flow}");
                *sum += row.get(class).copied().unwrap_or(0.0);
            }
        }
        assert!(own[0] > own[1] + 2.0, "{own:?}");
        let taps = flow["taps"].as_array().unwrap();
        assert_eq!(taps.len(), 10);
        let number = |tap: &Value, name: &str| tap[name].as_f64().unwrap();
        for tap in taps {
            let (auc, two_sided) = (number(tap, "auc"), number(tap, "auc_two_sided"));
            assert!((0.0..=1.0).contains(&auc) && two_sided >= 0.5 && (two_sided - auc.max(1.0 - auc)).abs() < 1e-12);
        }
        // In the first tap the pixels still look like their own class, which the prediction is not.
        assert!(number(&taps[0], "auc") > 0.7 && number(&taps[0], "auc") > number(&taps[9], "auc"), "{taps:?}");
    }
    let rows = |name: &str| csv::Reader::from_path(out.join(name)).unwrap().into_records().count();
    assert_eq!((rows("flow.csv"), rows("detection.csv")), (2 * 100, 2 * 10));
    assert_eq!(std::fs::read_to_string(out.join("flow.svg")).unwrap().matches("</svg>").count(), 1);

    // What is not there is said in one line.
    for (flags, code, word) in [
        (vec![run, "--attack", "cw"], 2, "no attack \"cw\""),
        (vec![run, "--k", "200"], 3, "k = 200"),
        (vec!["nowhere"], 3, "nowhere"),
    ] {
        let output = advmod(&[&["flow"], &flags[..]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(word), "{flags:?} {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    std::fs::remove_file(format!("{run}/clean.safetensors")).unwrap();
    let output = advmod(&["flow", run]).output().unwrap();
    assert!(output.status.code() == Some(3) && output.stdout.is_empty(), "{output:?}");
}
