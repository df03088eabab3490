//! Networks whose gradients are masked, made from the embedded one, whose accuracy is near 0 within the budget: no gate that claims
//! robustness passes on any of them. TorchScript keeps a network's own gradients, `detach` among them.

use std::collections::BTreeMap;
use std::path::Path;

use advmod::model::format::{Dtype, RawTensor, write_safetensors};
use advmod::model::load::LoadOptions;
use advmod::model::program::Weight;
use advmod_attacks::victim::Victim as _;
use serde_json::Value;
use tch::{CModule, Kind, Tensor};

use crate::support::{advmod, first, model, write_idx};

/// What is made of pixels and the logits of the embedded network at other pixels.
pub type Mask = fn(&dyn Fn(&Tensor) -> Tensor, &Tensor) -> Tensor;

/// A network with a mask: its name, what it is, and what the attacks' validity comes to. `scripts/check_masked.py` has three times as many, through
/// every door.
const MASKS: [(&str, Mask, &str); 14] = [
    ("negated gradient", |logits, pixels| logits(pixels).detach() * 2.0 - logits(pixels), "failed"),
    (
        "decoy gradient",
        |logits, pixels| {
            let decoy = (pixels.flatten(1, -1) * 3.0).sin().narrow(1, 300, 10) * 5.0;
            logits(pixels).detach() + &decoy - decoy.detach()
        },
        "failed",
    ),
    ("rounded input", |logits, pixels| logits(&((pixels * 63.0).round() / 63.0)), "failed"),
    ("stairs", |logits, pixels| logits(&((pixels * 255.0).round() * (2.0 / 255.0) - pixels)), ""),
    ("gradient of 1e-30", |logits, pixels| logits(&(pixels * 1e-30 + (pixels - pixels * 1e-30).detach())), ""),
    ("logits + 10⁶", |logits, pixels| logits(pixels) + 1e6, ""),
    ("rounded logits", |logits, pixels| (logits(pixels) * 10.0).round() / 10.0, "failed"),
    ("sigmoid end", |logits, pixels| logits(pixels).sigmoid(), ""),
    ("softmax end", |logits, pixels| logits(pixels).softmax(-1, Kind::Float), ""),
    ("sharp softmax end", |logits, pixels| (logits(pixels) * 30.0).softmax(-1, Kind::Float), ""),
    ("dropout on", |logits, pixels| logits(&pixels.dropout(0.05, true)), ""),
    (
        "statistics of the batch",
        |logits, pixels| logits(&(pixels - pixels.mean_dim([0_i64].as_slice(), true, Kind::Float) * 0.1)),
        "failed",
    ),
    (
        "negated for bright images",
        |logits, pixels| {
            let bright = pixels.mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Float).gt(0.25).unsqueeze(1);
            let logits = logits(pixels);
            (logits.detach() * 2.0 - &logits).where_self(&bright, &logits)
        },
        "",
    ),
    ("nothing", |logits, pixels| logits(pixels), "valid"),
];

pub fn save(mask: Mask, file: &Path) {
    let network = model(None, &LoadOptions::default());
    let images = first(None, 2);
    let values: Vec<f32> = images.pixels.iter().map(|&value| f32::from(value) / 255.0).collect();
    let example = Tensor::from_slice(&values).reshape([2, 1, 28, 28]);
    let logits = |pixels: &Tensor| network.logits(pixels).unwrap();
    let mut forward = |inputs: &[Tensor]| vec![mask(&logits, &inputs[0])];
    CModule::create_by_tracing("Masked", "forward", &[example], &mut forward).unwrap().save(file).unwrap();
}

pub fn audit(folder: &Path, attacks: &str, more: &[&str]) -> (Option<i32>, Value) {
    let out = folder.join("out");
    let flags = ["audit", "--threads", "1", "--attacks", attacks, "--out", out.to_str().unwrap()];
    let samples: &[&str] = if more.contains(&"--samples") { &[] } else { &["--samples", "16"] };
    let output = advmod(&[&flags, samples, more].concat()).output().unwrap();
    let text = std::fs::read_to_string(out.join("report.json"));
    let text = text.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), serde_json::from_str(&text).unwrap())
}

const CLAIMS: [&str; 8] = [
    "--gate",
    "accuracy.linf:8/255 >= 10 %",
    "--gate",
    "asr.pgd <= 50 %",
    "--gate",
    "accuracy.worst >= 10 %",
    "--gate",
    "retention_drop.pgd <= 0.2",
];

/// What a masked network's audit must come to: no gate that claims robustness passes, nor does the run.
fn check(name: &str, (code, report): (Option<i32>, Value), validity: &str) {
    let found = &report["validity"];
    let results: Vec<&Value> = report["gates"].as_array().unwrap().iter().map(|it| &it["result"]).collect();
    assert!(report["clean"]["accuracy"]["count"].as_u64().unwrap() > 5, "{name} is right on clean images");
    assert!(results.len() == 4 && results.iter().all(|result| *result != "pass"), "{name}: {results:?} {found}");
    assert!(matches!(code, Some(1 | 4)), "{name}: {code:?}");
    assert!(validity.is_empty() || found["verdict"] == validity, "{name}: {found}");
    // What a control breaks counts as broken: at least half of these images.
    let accuracy = report["budgets"][0]["adversarial_accuracy"]["value"].as_f64().unwrap();
    assert!(accuracy <= 0.5, "{name}: accuracy {accuracy} within the budget");
}

#[test]
fn no_gate_passes_on_a_masked_network() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("masked.pt");
    for (name, mask, validity) in MASKS {
        save(mask, &file);
        let file = file.display().to_string();
        // What libtorch traces here has operators that its own exports do not.
        let model = ["--model", &file, "--input-size", "28", "--trust-torchscript", "--samples", "8", "--force"];
        let preset = ["--preset", if name == "nothing" { "standard" } else { "quick" }];
        check(name, audit(folder.path(), "pgd", &[&model[..], &preset, &CLAIMS].concat()), validity);
    }
}

/// As weights alone: the last layer's, times a number.
#[test]
fn no_gate_passes_on_scaled_logits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scaled.safetensors");
    let network = model(None, &LoadOptions::default());
    for factor in [30.0, 1e4, 1e-6] {
        let tensor = |weight: &Weight| {
            let is_last = weight.name.starts_with("fc.");
            let values = Vec::<f32>::try_from((&weight.tensor * if is_last { factor } else { 1.0 }).view(-1)).unwrap();
            let shape = weight.tensor.size().iter().map(|&size| size as usize).collect();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (weight.name.clone(), RawTensor { dtype: Dtype::F32, shape, bytes })
        };
        let tensors: Vec<(String, RawTensor)> = network.program().unwrap().weights.iter().map(tensor).collect();
        write_safetensors(&file, &tensors, &BTreeMap::new()).unwrap();
        let file = file.display().to_string();
        let flags =
            ["--model", &file, "--normalize", "fashion-mnist", "--samples", "8", "--force", "--preset", "quick"];
        check(&format!("logits × {factor}"), audit(folder.path(), "pgd", &[&flags[..], &CLAIMS].concat()), "");
    }
}

/// The same network, unmasked and asked for what it holds, passes: the controls raise no false alarm.
#[test]
fn a_true_claim_passes_on_a_plain_network() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--attack", "pgd:eps=0.25/255", "--gate", "accuracy.linf:0.25/255 >= 50 %"];
    let (code, report) = audit(folder.path(), "pgd", &small);
    assert_eq!((code, &report["validity"]["verdict"]), (Some(0), &"valid".into()), "{}", report["validity"]);
    let kinds: Vec<&str> =
        report["controls"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert!(["gradient", "noise", "black_box"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}

/// On one class alone a network that always answers with it would be right everywhere, under any attack.
#[test]
fn images_of_one_class_prove_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let images = first(None, 400);
    let places: Vec<usize> = (0..400).filter(|&at| images.labels[at] == 8).collect();
    let chosen = images.subset(&places);
    write_idx(folder.path(), &chosen.pixels, &chosen.labels);
    let data = folder.path().display().to_string();
    let (code, report) = audit(
        folder.path(),
        "pgd",
        &[
            "--data",
            &data,
            "--attack",
            "fgsm:eps=0.1/255",
            "--gate",
            "accuracy.linf:0.1/255 >= 10 %",
            "--accept-limited",
        ],
    );
    assert_eq!((code, &report["validity"]["verdict"]), (Some(4), &"failed".into()), "{}", report["validity"]);
    assert!(report["validity"]["reason"].as_str().unwrap().contains("are of class 8"), "{}", report["validity"]);
}

/// Copies say nothing new: only distinct images count.
#[test]
fn copies_of_images_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let images = first(None, 12);
    write_idx(folder.path(), &images.pixels.repeat(5), &images.labels.repeat(5));
    let data = folder.path().display().to_string();
    let out = folder.path().join("out");
    let flags = ["audit", "--data", &data, "--first", "60", "--threads", "1", "--attacks", "fgsm", "--out"];
    advmod(&[&flags[..], &[out.to_str().unwrap()]].concat()).assert().success();
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["clean"]["accuracy"]["of"], 12);
    assert!(
        report["warnings"][0].as_str().unwrap().starts_with("48 of 60 images are copies"),
        "{}",
        report["warnings"]
    );
}
