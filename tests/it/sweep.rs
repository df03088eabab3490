//! Sweeps of `advmod curve` through the real executable.

use std::ops::ControlFlow;
use std::path::Path;

use advmod::data::Selection;
use advmod::model::load::LoadOptions;
use advmod::modularity::Similarity;
use advmod::study::curve::{CurvePlan, measure};
use serde_json::Value;

use crate::support::{advmod, model, root};

fn curves(folder: &Path, flags: &[&str]) -> Vec<Value> {
    let out = folder.join("out");
    let common = ["curve", "--taps", "conv1,layer3.?", "--repeats", "2", "--threads", "1", "--out"];
    advmod(&[&common, &[out.to_str().unwrap()][..], flags].concat()).assert().success();
    let found: Value = serde_json::from_slice(&std::fs::read(out.join("curve.json")).unwrap()).unwrap();
    found["curves"].as_array().unwrap().clone()
}

#[test]
fn a_sweep_is_its_curves_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let swept =
        curves(folder.path(), &["--k", "3,7", "--samples", "60,100", "--similarity", "cosine,pearson", "--seed", "1"]);
    assert_eq!(swept.len(), 8);
    let mut expected = Vec::new();
    for samples in ["60", "100"] {
        for similarity in ["cosine", "pearson"] {
            for k in ["3", "7"] {
                let flags = ["--k", k, "--samples", samples, "--similarity", similarity, "--seed", "1"];
                expected.extend(curves(folder.path(), &flags));
            }
        }
    }
    // Bit for bit: lists for the largest k hold those for the smaller ones.
    assert_eq!(swept, expected);
    let settings: Vec<String> = swept
        .iter()
        .map(|it| format!("{} {} {}", it["curve"]["n"], it["curve"]["similarity"], it["curve"]["k"]))
        .collect();
    assert_eq!(settings[1..4], [r#"60 "cosine" 7"#, r#"60 "pearson" 3"#, r#"60 "pearson" 7"#]);
}

#[test]
fn a_sweep_has_a_row_per_setting_and_tap_and_a_line_per_curve() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let flags = ["curve", "--k", "3,5,3", "--first", "50,100", "--taps", "conv1,layer3.2", "--out", &out];
    let output = advmod(&flags).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    // k = 3 was given twice and is measured once.
    assert_eq!(text.lines().count(), 1 + 2 * 2 * 2, "{text}");
    let csv = std::fs::read_to_string(folder.path().join("curve.csv")).unwrap();
    assert!(csv.starts_with("model,tap_index,tap,n,k,similarity,repeat,q,random_init,q_null,"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 2 * 2 * 2 * 5);
    let svg = std::fs::read_to_string(folder.path().join("curve.svg")).unwrap();
    assert_eq!(svg.matches("class=\"line\"").count(), 2 * 4);
    assert!(svg.contains("N = 50, k = 3") && svg.contains("cosine"), "{svg}");
    let html = std::fs::read_to_string(folder.path().join("curve.html")).unwrap();
    let command = "advmod curve --k 3,5,3 --first 50,100 --taps conv1,layer3.2 --out ";
    assert!(html.contains(command) && html.contains("N = 50, k = 3") && html.trim_end().ends_with("</html>"), "{html}");
}

#[test]
fn random_weights_separate_less_and_their_seed_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let found = curves(folder.path(), &["--samples", "200", "--random-init", "0,1"]);
    assert_eq!(found, curves(folder.path(), &["--samples", "200", "--random-init", "0,1"]));
    let last = |it: &Value| it["curve"]["taps"].as_array().unwrap().last().unwrap()["q"].as_f64().unwrap();
    assert_eq!(found.iter().map(|it| it["random_init"].as_u64()).collect::<Vec<_>>(), [None, Some(0), Some(1)]);
    assert!(found[0]["sha256"].is_string() && found[1]["sha256"].is_null());
    assert!(last(&found[0]) > 0.7 && last(&found[1]) < 0.5 && last(&found[2]) < 0.5, "{found:?}");
    assert_ne!(found[1]["curve"], found[2]["curve"]);
    // A bare flag is seed 0.
    assert_eq!(curves(folder.path(), &["--samples", "200", "--random-init"])[..], found[..2]);
}

#[test]
fn a_wrong_sweep_is_refused_in_one_line_before_anything_is_measured() {
    let export = root().join("fixtures/tiny-resnet.pt2").display().to_string();
    for (flags, code, word) in [
        (vec!["--k", "3,0"], 2, "at least 1"),
        (vec!["--k", "3,"], 2, "whole number"),
        (vec!["--similarity", "cosine,euclid"], 2, "euclid"),
        (vec!["--samples", "20", "--first", "20"], 2, "cannot be used with"),
        (vec!["--random-init", "x"], 2, "--random-init"),
        (vec!["--k", "3,30", "--samples", "100,30"], 3, "N = 30"),
        (vec!["--samples", "100,2000"], 3, "1000"),
        (vec!["--random-init", "--model", &export], 3, "tiny-resnet.pt2: does not tell"),
    ] {
        let output = advmod(&[&["curve"], &flags[..]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(word), "{flags:?} {error}");
        assert!(error.lines().count() == 1 && output.stdout.is_empty(), "{error}");
    }
}

#[test]
fn details_name_the_weakest_class_and_classes_sum_to_q() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let flags = ["curve", "--samples", "200", "--taps", "conv1,layer3.2", "--threads", "1", "--details", "--out", &out];
    let text = String::from_utf8(advmod(&flags).output().unwrap().stdout).unwrap();
    assert!(text.contains("kNN accuracy") && text.contains("classes at layer3.2, the weakest first"), "{text}");
    let found: Value = serde_json::from_slice(&std::fs::read(folder.path().join("curve.json")).unwrap()).unwrap();
    let read = |name: &str| csv::Reader::from_path(folder.path().join(name)).unwrap();
    let rows: Vec<_> = read("classes.csv").into_records().map(Result::unwrap).collect();
    let number = |text: &str| text.parse::<f64>().unwrap();
    for (index, (point, details)) in (found["curves"][0]["curve"]["taps"].as_array().unwrap().iter())
        .zip(found["curves"][0]["details"].as_array().unwrap())
        .enumerate()
    {
        let of_tap = || rows.iter().filter(|row| row[1] == index.to_string());
        let sum: f64 = of_tap().map(|row| number(&row[8])).sum();
        assert!((sum - point["q"].as_f64().unwrap()).abs() < 1e-12 && of_tap().count() == 10, "{index}");
        let weakest = of_tap().min_by(|a, b| number(&a[9]).total_cmp(&number(&b[9]))).unwrap();
        let line =
            text.lines().find(|line| line.contains("separation") && line.contains(point["tap"].as_str().unwrap()));
        assert!(line.unwrap().contains(&weakest[7]), "{line:?} {weakest:?}");
        // The neighbours' vote is right about as often as they have the same label.
        let accuracy = details["knn_accuracy"].as_f64().unwrap();
        assert!((accuracy - point["label_overlap"].as_f64().unwrap()).abs() < 0.1, "{details}");
    }
    let repeats: Vec<_> = read("curve.csv").into_records().map(Result::unwrap).collect();
    assert_eq!(repeats.len(), 2 * 5);
    assert!(repeats.iter().all(|row| number(&row[11]) > 20.0 && (0.0..1.0).contains(&number(&row[16]))), "{repeats:?}");
}

#[test]
fn the_progress_of_samples_of_several_batches_only_grows_and_ends_in_the_total() {
    let taps = advmod::model::program::TapSelection::parse("layer3.2,layer3.1");
    let model = model(None, &LoadOptions { taps, ..LoadOptions::default() });
    let data = advmod::data::open(None, &advmod::data::OpenOptions::default()).unwrap();
    let plan = CurvePlan { k: 3, similarity: Similarity::COSINE, repeats: 1, samples: Selection::First(600) };
    let mut told = Vec::new();
    let (curve, _) = measure(&model, data.as_ref(), &plan, &mut |done, total| {
        told.push((done, total));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((curve.n, curve.taps.len()), (600, 2));
    assert!(told.is_sorted() && told.len() > 10 && told.last() == Some(&(1200, 1200)), "{told:?}");
    let stopped = measure(&model, data.as_ref(), &plan, &mut |done, _| match done {
        // Within the first tap.
        300.. => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(stopped, Err("stopped".to_owned()));
}
