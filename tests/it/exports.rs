//! Exported programs and TorchScript against PyTorch.

use std::collections::BTreeMap;

use advmod::model::Model;
use advmod::model::load::LoadOptions;
use advmod::model::program::TapSelection;
use advmod_attacks::victim::Victim as _;
use tch::{Device, Kind, Tensor};

use crate::support::{model, root};

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
fn torchscript_is_the_same_network_with_the_same_taps() {
    for (name, golden) in golden() {
        for kind in ["traced", "scripted"] {
            let all = LoadOptions { taps: TapSelection::All, ..LoadOptions::default() };
            let open = |file: String, options: &LoadOptions| model(Some(&root().join("fixtures").join(file)), options);
            let script = open(format!("{name}-{kind}.pt"), &LoadOptions::default());
            let (logits, gradient) = run(&script, &images(3));
            let (logits_off, gradient_off) = (
                relative(&logits, &Tensor::from_slice(&golden.logits)),
                relative(&gradient, &Tensor::from_slice(&golden.gradient)),
            );
            assert!(logits_off < 1e-5, "{name} {kind}: logits are off by {logits_off}");
            assert!(gradient_off < 1e-5, "{name} {kind}: gradients are off by {gradient_off}");
            assert_eq!(script.tap_paths(), exported(&name).tap_paths(), "{name} {kind}");
            let every = |file: String| open(file, &all).tap_paths();
            assert_eq!(every(format!("{name}-{kind}.pt")), every(format!("{name}.pt2")), "{name} {kind}");
        }
    }
}

#[test]
fn default_taps_are_the_blocks() {
    assert_eq!(exported("tiny-resnet").tap_paths(), ["conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1"]);
    assert_eq!(exported("tiny-vit").tap_paths(), ["patches", "layers.0", "layers.1", "layers.2"]);
}

#[test]
fn every_module_of_an_export_can_be_tapped() {
    let path = root().join("fixtures/tiny-resnet.pt2");
    let all = LoadOptions { taps: TapSelection::All, ..LoadOptions::default() };
    let all = model(Some(&path), &all).tap_paths();
    for tap in ["conv1", "bn1", "relu", "layer1.0.conv1", "layer1.0.gate.1", "layer1.0", "layer2.1.shortcut", "fc"] {
        assert!(all.iter().any(|it| it == tap), "{tap} is not in {all:?}");
    }
    let some = LoadOptions { taps: TapSelection::parse("layer2.*.conv?,fc"), ..LoadOptions::default() };
    assert_eq!(
        model(Some(&path), &some).tap_paths(),
        ["layer2.0.conv1", "layer2.0.conv2", "layer2.1.conv1", "layer2.1.conv2", "fc"]
    );
}
