//! `advmod dynamics` and `advmod train --measure` through the real executable.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::studies::check_stored;
use crate::support::{advmod, make_data_set, root};

#[test]
fn the_dynamics_of_a_training_are_those_of_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    let recipe = ["--arch", "resnet20", "--epochs", "2", "--lr", "0.05", "--crop-padding", "0", "--threads", "1"];
    let files =
        ["--data", &path("images"), "--out", &path("m.safetensors"), "--checkpoints", &path("epochs"), "--measure"];
    let trained = advmod(&[&["train"], &recipe[..], &files].concat()).assert().success();
    let text = String::from_utf8(trained.get_output().stdout.clone()).unwrap();
    assert!(text.contains("epoch-002.safetensors") && text.contains("rank correlation"), "{text}");

    let flags = ["dynamics", &path("epochs"), "--data", &path("images"), "--threads", "1", "--out", &path("out")];
    let measured = advmod(&flags).assert().success();
    let text = String::from_utf8(measured.get_output().stdout.clone()).unwrap();
    let read = |file: String| -> Value { serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap() };
    let (during, after) = (read(path("epochs/dynamics.json")), read(path("out/dynamics.json")));
    assert_eq!(during, after);
    let checkpoints = after["checkpoints"].as_array().unwrap();
    assert_eq!(checkpoints.len(), 2);
    assert!(text.find("epoch-001").unwrap() < text.find("epoch-002").unwrap());
    // Ten classes of a hundred images: after two epochs the last tap separates them better than chance would.
    let last = &checkpoints[1];
    assert!(last["accuracy"]["low"].as_f64().unwrap() > 0.1, "{last}");
    let taps = last["curve"]["taps"].as_array().unwrap();
    assert!(taps.last().unwrap()["q"].as_f64().unwrap() > taps.last().unwrap()["null"].as_f64().unwrap() + 0.1);
    check_stored("dynamics", &folder.path().join("out"), text.as_bytes());
    let csv = std::fs::read_to_string(path("out/dynamics.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * taps.len());
    let svg = std::fs::read_to_string(path("out/dynamics.svg")).unwrap();
    // A curve per checkpoint; accuracy and three taps over the checkpoints; each again in the legend.
    assert_eq!(svg.matches("class=\"line\"").count(), 2 * (2 + 4));
}

#[test]
fn a_folder_without_checkpoints_is_an_error_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::create_dir(path("broken")).unwrap();
    std::fs::write(path("broken/epoch-1.pt"), "no model").unwrap();
    for (name, word) in [("empty", "no checkpoints"), ("nowhere", "nowhere"), ("broken", "epoch-1.pt")] {
        let output = advmod(&["dynamics", &path(name)]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && error.contains(word) && error.lines().count() == 1, "{error}");
    }
    let output = advmod(&["train", "--data", "x", "--arch", "y", "--out", "z", "--measure"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn damaged_checkpoints_are_named_and_the_others_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(path("epochs")).unwrap();
    let model = std::fs::read(root().join("fixtures/resnet20-fashion-mnist.safetensors")).unwrap();
    for (name, bytes) in [("0", &model[..9]), ("1", &model), ("2", &model[..10_000]), ("3", &model)] {
        std::fs::write(path(&format!("epochs/epoch-{name}.safetensors")), bytes).unwrap();
    }
    let (epochs, out) = (path("epochs"), path("out"));
    let flags = ["dynamics", &epochs, "--samples", "40", "--taps", "layer3.2", "--threads", "1", "--quiet"];
    let output = advmod(&[&flags[..], &["--out", &out]].concat()).output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(3), "{error}");
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("epoch-0.safetensors") && lines[1].contains("epoch-2.safetensors"));
    assert!(
        lines[1].contains("2 of 4 checkpoints are measured, and written to") && lines[1].ends_with(&out),
        "{error}"
    );
    assert!(text.contains("epoch-1.safetensors") && text.contains("rank correlation"), "{text}");
    let written: Value = serde_json::from_slice(&std::fs::read(path("out/dynamics.json")).unwrap()).unwrap();
    let names: Vec<&str> =
        written["checkpoints"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["epoch-1.safetensors", "epoch-3.safetensors"]);
    // What all of them lack is said once.
    let output = advmod(&["dynamics", &epochs, "--samples", "2000"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && error.lines().count() == 1 && output.stdout.is_empty(), "{error}");
}

#[cfg(unix)]
#[test]
fn what_was_measured_before_an_interruption_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for epoch in 1..=60 {
        let to = folder.path().join(format!("epoch-{epoch}.safetensors"));
        std::fs::copy(root().join("fixtures/resnet20-fashion-mnist.safetensors"), to).unwrap();
    }
    let out = folder.path().join("out");
    let mut child = Command::new(env!("CARGO_BIN_EXE_advmod"))
        .args(["dynamics", folder.path().to_str().unwrap(), "--samples", "64", "--taps", "layer3.?", "--threads", "1"])
        .args(["--out", out.to_str().unwrap()])
        .env_remove("LD_LIBRARY_PATH")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("epoch-2.")));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let table: Vec<String> = lines.collect();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(table.iter().any(|line| line.contains("rank correlation")), "{table:?}");
    let written: Value = serde_json::from_slice(&std::fs::read(out.join("dynamics.json")).unwrap()).unwrap();
    let measured = written["checkpoints"].as_array().unwrap().len();
    assert!((2..60).contains(&measured));
    assert!(
        said.contains(&format!("interrupted: {measured} of 60 checkpoints are measured, and written to")),
        "{said}"
    );
    assert!(out.join("dynamics.csv").exists() && out.join("dynamics.svg").exists());
}
