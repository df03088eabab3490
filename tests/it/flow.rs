//! `advmod flow` through the real executable.

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
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
            let end = |name: &str| number(&tap["auc_interval"], name);
            assert!(0.0 <= end("low") && end("low") < auc && auc < end("high") && end("high") <= 1.0, "{tap}");
            // Of some hundred images.
            assert!((0.01..0.15).contains(&end("se")), "{tap}");
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

    // An attack with too few images, without any or with a damaged file does not keep the others from being measured.
    let fgsm = out.join("../run/adversarial/fgsm.safetensors");
    let all = std::fs::read(&fgsm).unwrap();
    let flow = |quiet: &[&str]| {
        let flags = [&["flow", run, "--out", files, "--format", "json"], quiet].concat();
        let output = advmod(&flags).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(std::fs::read(out.join("flow.json")).unwrap(), output.stdout);
        assert!(found["attacks"][0]["flow"]["taps"][0]["auc"].is_number(), "{found}");
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), found["attacks"].clone())
    };
    for (bytes, word) in [(Some(first_rows(&all, 10)), "the run kept 10, k = 10"), (None, "kept none of its pixels")] {
        bytes.map_or_else(|| std::fs::remove_file(&fgsm), |bytes| std::fs::write(&fgsm, bytes)).unwrap();
        let (code, error, attacks) = flow(&[]);
        assert!(code == Some(0) && error.contains("warning: left out: fgsm: "), "{error}");
        assert!(error.contains(word) && attacks[1]["reason"].as_str().unwrap().contains(word), "{error}{attacks}");
        assert!(attacks[1]["flow"].is_null() && attacks[0]["reason"].is_null());
        assert_eq!(flow(&["--quiet"]).1, "");
    }
    // Eleven images have ten neighbours each, and none to spare for an interval.
    std::fs::write(&fgsm, first_rows(&all, 11)).unwrap();
    let (code, error, attacks) = flow(&[]);
    let tap = &attacks[1]["flow"]["taps"][0];
    assert!(code == Some(0) && error.is_empty() && tap["auc"].is_number() && tap["auc_interval"].is_null(), "{tap}");
    std::fs::write(&fgsm, &all[..100]).unwrap();
    let (code, error, attacks) = flow(&[]);
    assert!(
        code == Some(3) && error.contains("fgsm.safetensors") && error.contains("1 of 2 attacks are measured, and")
    );
    assert_eq!((attacks.as_array().unwrap().len(), error.lines().count()), (1, 1), "{error}");

    std::fs::remove_file(format!("{run}/clean.safetensors")).unwrap();
    let output = advmod(&["flow", run]).output().unwrap();
    assert!(output.status.code() == Some(3) && output.stdout.is_empty(), "{output:?}");
}

/// A file of pixels with its first images only.
fn first_rows(bytes: &[u8], rows: usize) -> Vec<u8> {
    let all = SafeTensors::deserialize(bytes).unwrap();
    let part = |(name, tensor): (String, TensorView<'_>)| {
        let shape: Vec<usize> = std::iter::once(rows).chain(tensor.shape()[1..].iter().copied()).collect();
        let length = tensor.data().len() / tensor.shape()[0] * rows;
        (name, tensor.dtype(), shape, tensor.data()[..length].to_vec())
    };
    let parts: Vec<_> = all.tensors().into_iter().map(part).collect();
    let views = parts
        .iter()
        .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}
