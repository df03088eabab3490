//! Exported programs against PyTorch.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use advmod::model::Model;
use advmod::model::load::LoadOptions;
use advmod_attacks::victim::Victim as _;
use tch::{Device, Kind, Tensor};

use crate::support::{advmod, model, root};

/// What PyTorch computed; `fixtures/make_exports.py`.
#[derive(serde::Deserialize)]
struct Golden {
    logits: Vec<f32>,
    gradient: Vec<f32>,
}

fn golden() -> BTreeMap<String, Golden> {
    serde_json::from_slice(&std::fs::read(root().join("fixtures/exports.json")).unwrap()).unwrap()
}

fn exported(name: &str) -> Model {
    model(Some(&root().join(format!("fixtures/{name}.pt2"))), &LoadOptions::default())
}

/// The images of `fixtures/make_exports.py`.
fn images(count: i64) -> Tensor {
    let ramp = Tensor::arange(count * 28 * 28, (Kind::Double, Device::Cpu)) * 0.618_033_988_75;
    ramp.frac().to_kind(Kind::Float).view([count, 1, 28, 28])
}

/// Logits and the gradient of Σ (k + 1) · logit_k.
fn run(model: &Model, images: &Tensor) -> (Tensor, Tensor) {
    let pixels = images.copy().set_requires_grad(true);
    let logits = model.logits(&pixels).unwrap();
    let weights = Tensor::arange_start(1, model.n_classes() + 1, (Kind::Float, Device::Cpu));
    (&logits * weights).sum(Kind::Float).backward();
    (logits.detach(), pixels.grad())
}

/// Largest difference, in parts of the largest expected value.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    let expected = expected.view(found.size().as_slice());
    ((found - &expected).abs().max() / expected.abs().max()).double_value(&[])
}

#[test]
fn logits_and_input_gradients_are_pytorchs() {
    for (name, golden) in golden() {
        let model = exported(&name);
        let (logits, gradient) = run(&model, &images(3));
        let (logits_off, gradient_off) = (
            relative(&logits, &Tensor::from_slice(&golden.logits)),
            relative(&gradient, &Tensor::from_slice(&golden.gradient)),
        );
        assert!(logits_off < 1e-5, "{name}: logits are off by {logits_off}");
        assert!(gradient_off < 1e-5, "{name}: gradients are off by {gradient_off}");
    }
}

#[test]
fn default_taps_are_the_blocks() {
    assert_eq!(
        exported("tiny-resnet").tap_paths(),
        ["conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1"]
    );
    assert_eq!(exported("tiny-vit").tap_paths(), ["patches", "layers.0", "layers.1", "layers.2"]);
}

/// A Python with PyTorch and torchvision: `ADVMOD_PYTHON`, or the usual one. Says on stderr that the test is skipped where there is none.
fn python() -> Option<String> {
    let python = std::env::var("ADVMOD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_torch = Command::new(&python).args(["-c", "import torch, torchvision"]).output();
    if has_torch.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not eprintln: the harness would hide it.
    let _ = writeln!(std::io::stderr(), "test {test}: skipped, {python} has no torch and torchvision (set ADVMOD_PYTHON)");
    None
}

/// Audits a model with a step of FGSM that breaks some images and not others.
fn audit(folder: &Path, model: &str) -> serde_json::Value {
    let out = folder.join(format!("{model}.report"));
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    advmod(&["audit", "--model", &path(model), "--data", &path("images.npz"), "--input-size", "48"])
        .args(["--attack", "fgsm:eps=1/255", "--first", "64", "--progress", "none", "--out", out.to_str().unwrap()])
        .assert()
        .success();
    serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// Q per tap.
fn q(curve: &serde_json::Value) -> Vec<f64> {
    curve.as_array().unwrap().iter().map(|point| point["q"].as_f64().unwrap()).collect()
}

#[test]
fn one_network_gives_one_report_through_every_door() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(python).arg(root().join("fixtures/make_doors.py")).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let expected = audit(folder.path(), "weights.pt");
    println!("{}", serde_json::to_string_pretty(&expected).unwrap());
    for name in ["exported.pt2", "exported-for-5.pt2", "traced.pt", "scripted.pt"] {
        let found = audit(folder.path(), name);
        assert_eq!(found["taps"], expected["taps"], "{name}");
    }
}
