//! The other commands through the real executable.

use std::ops::ControlFlow;

use advmod::model::load::LoadOptions;
use advmod::model::upload::upload;
use advmod::modularity::{Similarity, modularity, neighbors};
use serde_json::Value;
use tch::Device;

use crate::support::{advmod, first, model, root, stdout};

#[test]
fn inspect_shows_the_embedded_model() {
    let text = stdout(&["inspect"]);
    for word in ["resnet20", "269,434", "fashion-mnist", "layer3.2", "64×7×7", "Ankle boot"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let json: Value = serde_json::from_str(&stdout(&["inspect", "--format", "json", "--taps", "layer?.0"])).unwrap();
    assert_eq!(json["taps"].as_array().unwrap().len(), 3);
    let counts = json["counts"].as_array().unwrap();
    assert_eq!(counts[0]["macs"], json["macs"]);
    for count in counts {
        assert_eq!(count["flops"].as_u64().unwrap(), 2 * count["macs"].as_u64().unwrap());
        assert!(text.contains(count["convention"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn curve_repeats_over_disjoint_sets_and_writes_every_value() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let text = stdout(&["curve", "--samples", "150", "--repeats", "3", "--out", &out]);
    assert!(text.contains("3 repeat(s)") && text.contains("peak"), "{text}");
    let json: Value = serde_json::from_slice(&std::fs::read(folder.path().join("curve.json")).unwrap()).unwrap();
    let tap = &json["curves"][0]["curve"]["taps"][9];
    let repeats: Vec<f64> = serde_json::from_value(tap["repeats"].clone()).unwrap();
    let mean = repeats.iter().sum::<f64>() / 3.0;
    assert!((tap["q"].as_f64().unwrap() - mean).abs() < 1e-12 && tap["std_dev"].as_f64().unwrap() > 0.0);
    let csv = std::fs::read_to_string(folder.path().join("curve.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 10 * 3);
}

#[test]
fn a_curve_outlives_a_later_model_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let good = root().join("fixtures/resnet20-fashion-mnist.safetensors").display().to_string();
    let flags = ["curve", "--samples", "40", "--repeats", "1", "--taps", "layer3.2", "--threads", "1", "--quiet"];
    let (nowhere, out) = (path("nowhere.pt"), path("out"));
    let output = advmod(&[&flags[..], &["--out", &out, "--model", &good, &nowhere, &good]].concat()).output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), error.lines().count()), (Some(3), 1), "{error}");
    assert!(error.contains("nowhere.pt") && error.contains("2 of 3 networks are measured, and written to"), "{error}");
    assert_eq!(text.matches("peak").count(), 2, "{text}");
    let json: Value = serde_json::from_slice(&std::fs::read(path("out/curve.json")).unwrap()).unwrap();
    assert_eq!(json["curves"].as_array().unwrap().len(), 2);
    // The page says what is missing.
    assert!(std::fs::read_to_string(path("out/curve.html")).unwrap().contains("nowhere.pt: there is no such file"));
    // A folder that cannot be made is said before anything is measured.
    std::fs::write(path("file"), "").unwrap();
    for command in ["curve", "labels", "similarity"] {
        let output = advmod(&[command, "--out", &path("file")]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(3) && output.stdout.is_empty() && error.contains("cannot make"),
            "{error}"
        );
    }
}

#[test]
fn curve_over_more_samples_than_one_batch_is_that_of_all_at_once() {
    // 600 samples go through the model in two batches here, which are put together tap by tap, and in one below.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    stdout(&["curve", "--first", "600", "--repeats", "1", "--taps", "layer3.2,conv1", "--out", &out]);
    let json: Value = serde_json::from_slice(&std::fs::read(folder.path().join("curve.json")).unwrap()).unwrap();
    let taps = json["curves"][0]["curve"]["taps"].as_array().unwrap();
    assert_eq!(taps.iter().map(|tap| tap["tap"].as_str().unwrap()).collect::<Vec<_>>(), ["conv1", "layer3.2"]);
    let (model, images) = (model(None, &LoadOptions::default()), first(None, 600));
    let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
    let (pixels, _) = upload(&images, Device::Cpu).unwrap();
    let paths = model.tap_paths();
    let _logits = model
        .trace(&pixels, &mut |tap, rows| {
            if let Some(found) = taps.iter().find(|it| it["tap"] == paths[tap].as_str()) {
                let neighbors = neighbors(rows, Similarity::COSINE, 3, &mut |_| ControlFlow::Continue(())).unwrap();
                let q = modularity(&neighbors, 3, &labels, 10).unwrap().q;
                assert!((found["q"].as_f64().unwrap() - q).abs() < 1e-9, "{found} {q}");
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn attacks_are_listed_and_explained() {
    let list = stdout(&["attacks"]);
    assert!(list.contains("fgsm") && list.contains("pgd"));
    let one = stdout(&["attacks", "pgd"]);
    for word in ["Madry", "steps", "restarts", "8/255", "standard", "paper"] {
        assert!(one.contains(word), "{word} in\n{one}");
    }
    let json: Value = serde_json::from_str(&stdout(&["attacks", "--format", "json"])).unwrap();
    assert_eq!(json[0]["name"], "fgsm");
    assert!(json.as_array().unwrap().iter().all(|attack| attack["what"].as_str().unwrap().ends_with('.')));
    // Not on a terminal: 80 columns.
    assert!(list.contains("untargeted, targeted") && one.contains("The usual measure of robustness"));
    for line in [list, one].concat().lines().filter(|line| !line.contains("https://")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_binary_runs_from_any_folder() {
    let elsewhere = tempfile::tempdir().unwrap();
    advmod(&["--version"]).current_dir(elsewhere.path()).env_clear().assert().success();
}
