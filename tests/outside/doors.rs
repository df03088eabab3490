//! One network through every door, and what `advmod export-help` says: with a Python that has PyTorch and torchvision.

use std::path::Path;
use std::process::Command;

use advmod::model::load::{LoadOptions, load};
use tch::Device;

use crate::support::{advmod, largest_difference, model, root};
use crate::{Test, tests};

pub const TESTS: &[Test] =
    tests![one_network_gives_one_report_through_every_door, the_python_of_export_help_makes_files_that_open,];

fn python() -> String {
    std::env::var("ADVMOD_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

pub fn has_python() -> bool {
    let has_torch = Command::new(python()).args(["-c", "import torch, torchvision"]).output();
    has_torch.is_ok_and(|output| output.status.success())
}

/// Audits a model with a step of FGSM that breaks some images and not others.
fn audit(folder: &Path, model: &str) -> serde_json::Value {
    let out = folder.join(format!("{model}.report"));
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    advmod(&["audit", "--model", &path(model), "--data", &path("images.npz"), "--input-size", "48"])
        .args(["--attack", "fgsm:eps=0.02/255", "--first", "64", "--progress", "none", "--out", out.to_str().unwrap()])
        .assert()
        .success();
    serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// Q per tap of the clean images, and of the attacked images before and after.
fn curves(report: &serde_json::Value) -> Vec<f64> {
    let q = |curve: &serde_json::Value| -> Vec<f64> {
        curve["taps"].as_array().unwrap().iter().map(|tap| tap["repeats"][0].as_f64().unwrap()).collect()
    };
    let attacked = &report["attacks"][0]["curves"];
    [q(&report["clean"]["curves"]["true_labels"]), q(&attacked["clean"]), q(&attacked["adversarial"])].concat()
}

/// Which samples FGSM broke.
fn broken(report: &serde_json::Value) -> Vec<bool> {
    report["attacks"][0]["samples"].as_array().unwrap().iter().map(|it| it["success"].as_bool().unwrap()).collect()
}

fn one_network_gives_one_report_through_every_door() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(python()).arg(root().join("fixtures/make_doors.py")).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let expected = audit(folder.path(), "weights.pt");
    let successes = broken(&expected).iter().filter(|success| **success).count();
    assert!((8..=56).contains(&successes), "{successes} of 64 broken: the test would see little");
    for name in ["exported.pt2", "exported-for-5.pt2", "traced.pt", "scripted.pt"] {
        let found = audit(folder.path(), name);
        assert_eq!(found["taps"], expected["taps"], "{name}");
        assert_eq!(found["clean"]["predictions"], expected["clean"]["predictions"], "{name}");
        assert_eq!(found["model"]["parameters"], expected["model"]["parameters"], "{name}");
        assert_eq!(broken(&found), broken(&expected), "{name}");
        let apart = largest_difference(&curves(&found), &curves(&expected));
        assert!(apart < 1e-3, "{name}: curves are {apart} apart");
        assert_eq!(found["model"]["macs"], expected["model"]["macs"], "{name}");
        let pieces = found["warnings"].to_string().contains("exported for batches of 5");
        assert_eq!(pieces, name == "exported-for-5.pt2", "{}", found["warnings"]);
    }
}

fn the_python_of_export_help_makes_files_that_open() {
    let help = advmod(&["export-help"]).assert().success().get_output().stdout.clone();
    let help = String::from_utf8(help).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut script = "import torch, torchvision\nmodel = torchvision.models.mobilenet_v3_small(num_classes=10)\n\
                      images = torch.rand(2, 3, 64, 64)\ntorch.save(model, 'whole.pt')\n"
        .to_owned();
    // safetensors' Python package may be missing; its format has tests of its own.
    let lines = help.lines().filter_map(|line| line.strip_prefix("    "));
    for line in lines.filter(|line| !line.contains("safetensors")) {
        script += line;
        script += "\n";
    }
    let ran = Command::new(python()).current_dir(folder.path()).args(["-c", &script]).output().unwrap();
    assert!(ran.status.success(), "{script}\n{}", String::from_utf8_lossy(&ran.stderr));
    for name in ["model.pt2", "traced.pt", "scripted.pt"] {
        let path = folder.path().join(name);
        let model = model(Some(&path), &LoadOptions::default());
        assert_eq!((model.info().channels, model.info().classes), (3, 10), "{name}");
        assert!(model.tap_paths().len() > 10, "{name}: {:?}", model.tap_paths());
    }
    let whole = load(Some(&folder.path().join("whole.pt")), &LoadOptions::default(), Device::Cpu).unwrap_err();
    let message = whole.to_string();
    for part in ["MobileNetV3", "torch.load(", "torch.export.save(", "nothing of it was run"] {
        assert!(message.contains(part), "{message}");
    }
    // MobileNet's weights alone fit nothing that is built in.
    let weights = load(Some(&folder.path().join("weights.pt")), &LoadOptions::default(), Device::Cpu).unwrap_err();
    assert!(weights.to_string().contains("advmod export-help"), "{weights}");
}
