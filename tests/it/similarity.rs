//! `advmod similarity` through the real executable.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use advmod::data::{DataError, Dataset, DatasetInfo, Images, OpenOptions, Selection};
use advmod::model::format::{Dtype, RawTensor, write_safetensors};
use advmod::model::load::LoadOptions;
use advmod::model::program::TapSelection;
use advmod::model::weights::FreshWeights;
use advmod::model::zoo;
use advmod::study::curve::sets;
use advmod::study::similarity::{CkaPlan, linear_cka};
use serde_json::Value;

use crate::support::{advmod, model};

#[test]
fn taps_are_compared_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let flags = ["similarity", "--samples", "100", "--threads", "1", "--out", out.to_str().unwrap()];
    let text = String::from_utf8(advmod(&flags).output().unwrap().stdout).unwrap();
    assert!(text.contains("linear CKA (full)") && text.contains("layer3.2") && !text.contains('\u{1b}'), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("similarity.json")).unwrap()).unwrap();
    let n = report["taps"].as_array().unwrap().len();
    let at = |matrix: &str, a: usize, b: usize| report[matrix][a][b].as_f64().unwrap();
    let q = |tap: usize| report["q"][tap].as_f64().unwrap();
    for a in 0..n {
        assert!((at("cka", a, a) - 1.0).abs() < 1e-9 && at("difference", a, a) == 0.0);
        for b in 0..n {
            assert!((0.0..=1.0 + 1e-9).contains(&at("cka", a, b)));
            assert_eq!(report["cka"][a][b], report["cka"][b][a]);
            assert!((at("difference", a, b) - (q(a) - q(b)).abs()).abs() < 1e-12);
        }
    }
    // Neighbouring taps are more alike than the two ends.
    assert!(at("cka", 0, 1) > at("cka", 0, n - 1));
    // The change from tap to tap has the sign that the curve shows, and an interval around it.
    assert!(text.contains("change of Q from tap to tap"), "{text}");
    for a in 0..n {
        assert!(report["change"][a][a].is_null());
        for b in (0..n).filter(|b| *b != a) {
            let part = |name: &str| report["change"][a][b][name].as_f64().unwrap();
            assert!((part("estimate") - (q(b) - q(a))).abs() < 1e-12 && part("low") < part("estimate"));
            let back = report["change"][b][a]["se"].as_f64().unwrap();
            assert!((part("se") - back).abs() < 1e-12 && part("se") > 0.0);
        }
    }
    let rows: Vec<_> =
        csv::Reader::from_path(out.join("change.csv")).unwrap().into_records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), n * (n - 1) / 2);
    // The whole network tells classes apart better than its stem does; the first block is no better or worse than that.
    let row = |from: &str, to: &str| rows.iter().find(|row| &row[0] == from && &row[1] == to).unwrap();
    assert_eq!(&row("conv1", "layer3.2")[7], "true");
    assert_eq!((&row("conv1", "layer1.0")[2], &row("conv1", "layer1.0")[7]), ("true", "false"));
    for file in ["difference.csv", "cka.csv"] {
        let csv = std::fs::read_to_string(out.join(file)).unwrap();
        assert!(csv.lines().count() == n + 1 && csv.lines().all(|line| line.split(',').count() == n + 1), "{csv}");
    }
    let svg = std::fs::read_to_string(out.join("similarity.svg")).unwrap();
    assert_eq!(svg.matches("</rect>").count(), 2 * n * n);
}

#[test]
fn samples_beyond_the_last_whole_batch_are_told_and_not_used() {
    let flags = ["similarity", "--first", "70", "--cka", "30", "--taps", "conv1,layer3.2", "--format", "json"];
    let output = advmod(&flags).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("over 60 of the 70 samples"), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["cka_samples"], &report["n"]), (&Value::from(60), &Value::from(70)));
    assert_eq!(report["cka_absent"], serde_json::json!([null, null]));
}

/// The embedded images class by class, as folders of images come.
#[derive(Debug)]
struct Sorted {
    info: DatasetInfo,
    images: Images,
}

impl Sorted {
    fn new() -> Self {
        let mixed = advmod::data::open(None, &OpenOptions::default()).unwrap();
        let mut places: Vec<usize> = (0..mixed.info().n).collect();
        places.sort_by_key(|&place| mixed.labels()[place]);
        Self { info: mixed.info().clone(), images: mixed.read(&places).unwrap() }
    }
}

impl Dataset for Sorted {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn labels(&self) -> &[u32] {
        &self.images.labels
    }

    fn sha256(&self, _: &[usize]) -> Result<String, DataError> {
        Ok(String::new())
    }

    fn read(&self, places: &[usize]) -> Result<Images, DataError> {
        Ok(self.images.subset(places))
    }
}

#[test]
fn the_order_of_the_file_says_nothing() {
    let (mixed, sorted) = (advmod::data::open(None, &OpenOptions::default()).unwrap(), Sorted::new());
    let options = LoadOptions { taps: TapSelection::parse("layer2.2,layer3.2"), ..LoadOptions::default() };
    let network = model(None, &options);
    let batches = CkaPlan::Batches { of: 100, seed: 0 };
    let cka = |data: &dyn Dataset| {
        let go_on = &mut |_, _| ControlFlow::Continue(());
        linear_cka(&network, data, &Selection::All, batches, go_on).unwrap().matrix[0][1].unwrap()
    };
    // Batches of one class each would be 0.06 off.
    assert!((cka(mixed.as_ref()) - cka(&sorted)).abs() < 0.02);
    // Repeats are random samples: not five images of each of the ten classes in all of them.
    let sets = sets(&sorted, Selection::Sample { n: 50, seed: 0 }, 20).unwrap();
    let of_class = |set: &[usize], class: u32| set.iter().filter(|&&at| sorted.images.labels[at] == class).count();
    let is_even = |set: &[usize]| (0..10).all(|class| (4..=6).contains(&of_class(set, class)));
    assert_eq!(sets.len(), 20);
    assert!(sets.iter().filter(|set| is_even(set)).count() < 5);
    let mut all = sets.concat();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..1000));
}

#[test]
fn what_cannot_be_compared_is_said_in_one_line() {
    for (flags, code, word) in [
        (vec!["--cka", "3"], 2, "at least 4"),
        (vec!["--cka", "some"], 2, "expected full"),
        (vec!["--cka", "100", "--samples", "3", "--k", "1"], 2, "it needs 4"),
        (vec!["--samples", "20000"], 2, "too many for CKA of 10 taps, which has room for 5181; give --cka 500"),
        (vec!["--samples", "2000"], 3, "1000"),
        (vec!["--model", "nowhere.pt"], 3, "nowhere.pt"),
    ] {
        let output = advmod(&[&["similarity"], &flags[..]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(word), "{flags:?} {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// The embedded network with random weights and a first convolution of zeros: every image looks the same from there on.
fn blind_model(path: &Path) {
    let program = zoo::named("resnet20", 1, 10).unwrap().build(&mut FreshWeights::new(0)).unwrap();
    let tensors: Vec<(String, RawTensor)> = (program.weights.iter())
        .map(|weight| {
            let mut values: Vec<f32> = Vec::try_from(weight.tensor.detach().view(-1)).unwrap();
            if weight.name == "conv1.weight" {
                values.fill(0.0);
            }
            let shape = weight.tensor.size().iter().map(|&size| size as usize).collect();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (weight.name.clone(), RawTensor { dtype: Dtype::F32, shape, bytes })
        })
        .collect();
    write_safetensors(path, &tensors, &BTreeMap::new()).unwrap();
}

#[test]
fn a_model_that_sees_no_difference_has_reasons_instead_of_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().join("blind.safetensors"), folder.path().join("out"));
    blind_model(&model);
    for cka in ["full", "20"] {
        let flags = ["similarity", "--samples", "60", "--cka", cka, "--threads", "1"];
        let files = ["--model", model.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let output = advmod(&[&flags[..], &files].concat()).output().unwrap();
        let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && text.contains('–') && !text.contains("NaN"), "{text}{error}");
        assert!(error.contains("conv1 has no CKA: all samples have the same representation"), "{error}");
        let report: Value = serde_json::from_slice(&std::fs::read(out.join("similarity.json")).unwrap()).unwrap();
        assert_eq!(
            (&report["cka"][0][0], &report["q"][0], &report["difference"][0][0]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert!(report["cka_absent"][0].is_string() && report["q_absent"][0].is_string());
    }
}
