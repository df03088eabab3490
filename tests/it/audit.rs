//! `advmod audit` through the real executable.

use std::path::Path;
use std::time::Duration;

use advmod::report::Report;
use advmod::report::journal::replay;
use serde_json::Value;

use crate::support::advmod;

const FAST: &[&str] = &["audit", "--attack", "fgsm", "--attack", "pgd:steps=3", "--threads", "1"];

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

fn run(folder: &Path, samples: &str, more: &[&str]) -> Value {
    let out = folder.display().to_string();
    advmod(&[FAST, &["--out", &out, "--samples", samples], more].concat()).assert().success();
    report(folder)
}

#[test]
fn the_embedded_model_is_audited_and_its_adversarial_peaks_are_lower() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let output =
        advmod(&[FAST, &["--samples", "120", "--out", &out.display().to_string()]].concat()).assert().success();
    let table = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    for word in ["clean", "fgsm", "pgd", "success %", "L2", "L∞", "peak Q", "at tap", "peak drop"] {
        assert!(table.contains(word), "{word} in\n{table}");
    }
    let report: Report = serde_json::from_value(report(&out)).unwrap();
    let clean = report.clean.peak.unwrap();
    for attack in &report.attacks {
        let peak = attack.adversarial_peak.as_ref().unwrap();
        assert!(peak.q < clean.q, "{}", attack.attack.label);
        assert!(attack.peak_drop.unwrap().low > 0.0, "{}", attack.attack.label);
        assert_eq!(attack.success_rate.of, report.clean.accuracy.unwrap().count);
    }
    for file in [
        "report.md",
        "curves.csv",
        "samples.csv",
        "run.jsonl",
        "adversarial/fgsm.safetensors",
        "adversarial/pgd.safetensors",
    ] {
        assert!(std::fs::metadata(out.join(file)).unwrap().len() > 0, "{file}");
    }
    let curves = std::fs::read_to_string(out.join("curves.csv")).unwrap();
    // Two clean curves and three per attack, each of ten taps, and the head.
    assert_eq!(curves.lines().count(), 1 + 10 * (2 + 3 * 2));
}

#[test]
fn two_runs_differ_in_timing_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut reports = ["a", "b"].map(|name| run(&folder.path().join(name), "120", &[]));
    for report in &mut reports {
        report.as_object_mut().unwrap().remove("timing").unwrap();
    }
    assert!(reports[0] == reports[1]);
}

#[test]
fn results_do_not_depend_on_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut reports = ["1", "7", "256"].map(|batch| run(&folder.path().join(batch), "40", &["--batch", batch]));
    for report in &mut reports {
        report.as_object_mut().unwrap().remove("timing").unwrap();
        report["plan"].as_object_mut().unwrap().remove("batch").unwrap();
    }
    assert!(reports[0] == reports[1]);
    assert!(reports[0] == reports[2]);
}

#[test]
fn adversarial_pixels_on_disk_are_within_the_budget_of_the_images() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path(), "60", &[]);
    let file = advmod::model::format::read_weights(&folder.path().join("adversarial/pgd.safetensors")).unwrap();
    let tensor = |name: &str| &file.tensors.iter().find(|(it, _)| it == name).unwrap().1;
    let pixels = tensor("pixels").to_f32();
    let data = advmod::data::open(None, &advmod::data::OpenOptions::default()).unwrap();
    let indices: Vec<usize> = serde_json::from_value(report["data"]["indices"].clone()).unwrap();
    let samples: Vec<usize> = tensor("samples").to_f32().iter().map(|&sample| indices[sample as usize]).collect();
    assert_eq!(samples.len(), report["attacks"][1]["samples"].as_array().unwrap().len());
    let images = data.read(&samples).unwrap();
    for (pixel, byte) in pixels.iter().zip(&images.pixels) {
        assert!((pixel - f32::from(*byte) / 255.0).abs() < 8.0 / 255.0 + 1e-6);
    }
}

#[test]
fn a_plan_file_gives_what_the_flags_give_and_flags_win() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "seed = 3\n[data]\nfirst = 60\n[[attack]]\nname = \"pgd\"\nsteps = 2\neps = \"4/255\"\n";
    std::fs::write(&plan, text).unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let flags = ["audit", "--seed", "3", "--first", "60", "--attack", "pgd:steps=2,eps=4/255", "--out"];
    advmod(&[&flags[..], &[&a.display().to_string()]].concat()).assert().success();
    let flags = ["audit", "--plan", &plan.display().to_string(), "--out", &b.display().to_string()];
    advmod(&flags).assert().success();
    let [a, b] = [a, b].map(|folder| {
        let mut report = report(&folder);
        report.as_object_mut().unwrap().remove("timing").unwrap();
        report
    });
    assert!(a == b);
}

#[test]
fn the_command_in_the_report_runs_the_same_audit_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(&folder.path().join("a"), "50", &[]);
    let command = first["plan"]["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let out = folder.path().join("b").display().to_string();
    advmod(&[&words[..], &["--out", &out]].concat()).assert().success();
    assert!(first["attacks"] == report(&folder.path().join("b"))["attacks"]);
}

#[test]
fn a_run_that_cannot_start_leaves_earlier_results_alone() {
    let folder = tempfile::tempdir().unwrap();
    let before = run(folder.path(), "30", &[]);
    let out = folder.path().display().to_string();
    advmod(&["audit", "--model", "no/such.pt", "--out", &out]).assert().code(3);
    assert!(report(folder.path()) == before);
    let new = folder.path().join("new");
    advmod(&["audit", "--model", "no/such.pt", "--out", &new.display().to_string()]).assert().code(3);
    assert!(!new.exists());
}

/// A run that takes long enough to be stopped in the middle.
fn long_run(out: &Path) -> std::process::Child {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_advmod"));
    command.args([
        "audit",
        "--samples",
        "400",
        "--batch",
        "16",
        "--threads",
        "1",
        "--attack",
        "fgsm",
        "--attack",
        "pgd:steps=100",
    ]);
    command.arg("--out").arg(out).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

/// Waits until the journal has the whole of the first attack.
fn wait_for_fgsm(out: &Path) -> String {
    for _ in 0..1200 {
        std::thread::sleep(Duration::from_millis(50));
        let text = std::fs::read_to_string(out.join("run.jsonl")).unwrap_or_default();
        if text.contains("attack_curves_measured") {
            return text;
        }
    }
    panic!("the first attack did not finish within a minute");
}

#[test]
fn a_killed_run_leaves_a_readable_journal_and_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = long_run(folder.path());
    wait_for_fgsm(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let text = std::fs::read_to_string(folder.path().join("run.jsonl")).unwrap();
    let (state, unreadable) = replay(&text);
    assert!(unreadable <= 1);
    assert!(!state.attacks[0].samples.is_empty() && state.clean_curves.is_some());
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(name == "run.jsonl" || name == "adversarial", "{name}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_writes_what_is_done_marked_incomplete() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = long_run(folder.path());
        wait_for_fgsm(folder.path());
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let report = report(folder.path());
        assert_eq!(report["outcome"], "interrupted");
        assert_eq!(report["attacks"][0]["status"], "complete");
        assert_eq!(report["attacks"][1]["status"], "incomplete");
        assert!(std::fs::read_to_string(folder.path().join("report.md")).unwrap().contains("Incomplete"));
    }
}
