//! `advmod audit` through the real executable.

use std::path::Path;
use std::time::Duration;

use advmod::audit::journal::replay;
use advmod::verdict::Report;
use advmod::verdict::facts::AttackStatus;
use serde_json::Value;

use crate::support::{advmod, root};

const FAST: &[&str] = &["audit", "--attack", "fgsm", "--attack", "pgd:steps=10", "--threads", "1"];

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

fn run(folder: &Path, samples: &str, more: &[&str]) -> Value {
    let out = folder.display().to_string();
    advmod(&[FAST, &["--out", &out, "--samples", samples], more].concat()).assert().success();
    report(folder)
}

/// At the size that it was trained for.
#[test]
fn a_hardened_network_withstands_what_breaks_the_plain_one() {
    let folder = tempfile::tempdir().unwrap();
    let withstood = |name: &str, model: &[&str]| {
        let out = folder.path().join(name);
        let flags =
            ["audit", "--attack", "pgd:eps=0.1,steps=10", "--samples", "100", "--out", &out.display().to_string()];
        advmod(&[&flags[..], model].concat()).output().unwrap();
        report(&out)["budgets"][0]["adversarial_accuracy"]["value"].as_f64().unwrap()
    };
    let hardened = root().join("fixtures/resnet18-8-fashion-mnist-linf.safetensors").display().to_string();
    let (plain, hardened) = (withstood("plain", &[]), withstood("hardened", &["--model", &hardened]));
    assert!(plain + 0.3 <= hardened, "{plain} {hardened}");
}

#[test]
fn the_embedded_model_is_audited_and_its_adversarial_peaks_are_lower() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let output =
        advmod(&[FAST, &["--samples", "120", "--out", &out.display().to_string()]].concat()).assert().success();
    let table = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    for word in ["clean", "fgsm", "pgd", "success %", "L2", "L∞", "retention", "captured", "peak drop"] {
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
    // z is what the columns beside it say, as in curve.csv.
    let mut reader = csv::Reader::from_reader(curves.as_bytes());
    let at = ["q", "q_null", "q_null_sd", "z"].map(|name| reader.headers().unwrap().iter().position(|it| it == name));
    for row in reader.records().map(Result::unwrap) {
        let [q, null, sd, z] = at.map(|at| row[at.unwrap()].parse::<f64>().unwrap());
        assert!(sd > 0.0 && (z - (q - null) / sd).abs() < 1e-9, "{row:?}");
    }
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
    let reports = ["1", "7", "256"].map(|batch| {
        let mut report = run(&folder.path().join(batch), "40", &["--batch", batch]);
        report.as_object_mut().unwrap().remove("timing").unwrap();
        report["plan"].as_object_mut().unwrap().remove("batch").unwrap();
        // The plan and the command name the batch too.
        report.as_object_mut().unwrap().remove("plan_file").unwrap();
        report.to_string().replace(&format!(" --batch {batch}"), "")
    });
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
    let text = "seed = 3\n[data]\nfirst = 60\n[[attack]]\nname = \"pgd\"\nsteps = 12\neps = \"4/255\"\n";
    std::fs::write(&plan, text).unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let flags = ["audit", "--seed", "3", "--first", "60", "--attack", "pgd:steps=12,eps=4/255", "--out"];
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

/// What report.json holds, as the types that wrote it.
fn typed(report: &Value) -> Report {
    serde_json::from_value(report.clone()).unwrap()
}

#[test]
fn what_a_smaller_size_broke_counts_at_every_larger_one() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = ["audit", "--first", "80", "--threads", "1", "--attack", "fgsm:eps=0.3|8/255|0.05", "--out"];
    let alone = ["audit", "--first", "80", "--threads", "1", "--attack", "fgsm:eps=0.3", "--out"];
    let run = |name: &str, arguments: &[&str]| {
        let out = folder.path().join(name);
        let output = advmod(&[arguments, &[&out.display().to_string()]].concat()).assert().success();
        (report(&out), String::from_utf8(output.get_output().stdout.clone()).unwrap())
    };
    let (swept, table) = run("sweep", &sweep);
    let (found, alone) = (typed(&swept), typed(&run("alone", &alone).0));
    let labels: Vec<&str> = found.attacks.iter().map(|attack| attack.attack.label.as_str()).collect();
    assert_eq!(labels, ["fgsm", "fgsm-2", "fgsm-3"]);
    let [small, _, large] = &found.attacks[..] else { panic!("three sizes") };
    let own = &alone.attacks[0];
    assert!(large.carried > 0 && large.success_rate.count == own.success_rate.count + large.carried);
    for (index, (sample, own)) in large.samples.iter().zip(&own.samples).enumerate() {
        match sample.carried_from {
            Some(from) => {
                let source = &found.attacks[from].samples[index];
                assert!(!own.success && sample.success && source.success && source.carried_from.is_none());
                assert_eq!((sample.prediction, sample.linf.to_bits()), (source.prediction, source.linf.to_bits()));
            }
            None => assert_eq!(sample, own),
        }
        assert!(sample.success || !small.samples[index].success);
    }
    // The carried images lie in the file of the larger size too.
    let pixels = |label: &str| {
        let path = folder.path().join(format!("sweep/adversarial/{label}.safetensors"));
        let file = advmod::model::format::read_weights(&path).unwrap();
        file.tensors.iter().find(|(name, _)| name == "pixels").unwrap().1.to_f32()
    };
    let at = large.samples.iter().position(|sample| sample.carried_from == Some(1)).unwrap();
    let image = at * 784..(at + 1) * 784;
    assert_eq!(pixels("fgsm-3")[image.clone()], pixels("fgsm-2")[image]);

    let [curve] = &found.sweeps[..] else { panic!("one sweep") };
    assert_eq!(curve.points.iter().map(|point| point.eps.to_string()).collect::<Vec<_>>(), ["8/255", "0.05", "0.3"]);
    assert!(curve.points.is_sorted_by(|a, b| a.success_rate.count <= b.success_rate.count));
    assert!(
        table.contains("success % by ε: 8/255 →") && table.contains(&format!("({} carried)", large.carried)),
        "{table}"
    );
    // Within the largest size, all sizes together break no more than its own attack.
    let worst = found.budgets.last().unwrap();
    assert_eq!(
        (worst.success_rate, worst.adversarial_accuracy),
        (Some(large.success_rate), large.adversarial_accuracy)
    );

    // The same again from the plan beside the report, in other batches.
    let plan = folder.path().join("sweep/report.plan.toml").display().to_string();
    let (again, _) = run("again", &["audit", "--plan", &plan, "--batch", "7", "--out"]);
    assert!(swept["attacks"] == again["attacks"] && swept["sweeps"] == again["sweeps"]);
}

#[test]
fn the_worst_case_of_a_budget_and_the_queries_are_in_every_output() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let more = ["--first", "60", "--attack", "pgd:steps=10,stop=first,norm=l2,eps=0.4", "--out", &out];
    let output = advmod(&[FAST, &more].concat()).assert().success();
    let table = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let report = typed(&report(folder.path()));
    // What L2 PGD broke counts within the L∞ budget too where it lies inside, and only there.
    let worst = &report.budgets[0];
    let (own, other) = report.attacks.split_at(2);
    let inside = other[0].samples.iter().filter(|it| it.success && it.linf <= 8.0 / 255.0 + 1e-6);
    let of_own = own.iter().flat_map(|it| &it.samples).filter(|it| it.success);
    let broken: std::collections::BTreeSet<usize> = of_own.chain(inside).map(|it| it.sample).collect();
    let rate = worst.success_rate.unwrap();
    assert_eq!((rate.count, rate.of), (broken.len(), own[0].samples.len()));
    let row = table.lines().find(|line| line.starts_with("worst case  L∞ ε 8/255")).unwrap();
    assert!(row.contains(&format!("{:.1} [", 100.0 * rate.value.unwrap())), "{row}");
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(markdown.contains("| worst case | L∞ ε 8/255 |") && markdown.contains("## Distances and queries"));
    let csv = std::fs::read_to_string(folder.path().join("samples.csv")).unwrap();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    assert_eq!(
        lines.next().unwrap()[11..],
        ["forwards", "backwards", "forwards_to_success", "carried_from", "breaks_within"]
    );
    let lines: Vec<Vec<&str>> = lines.collect();
    let inside = lines.iter().filter(|line| line[15].split(' ').any(|budget| budget == "linf:8/255"));
    let found: std::collections::BTreeSet<usize> = inside.map(|line| line[1].parse().unwrap()).collect();
    assert_eq!(found, broken);
    // Which stops at the first success, so that is the last forward pass.
    assert!(lines.iter().filter(|line| line[0] == "pgd-2" && line[7] == "true").all(|line| line[11] == line[13]));
}

#[test]
fn a_run_that_cannot_start_leaves_earlier_results_alone() {
    let folder = tempfile::tempdir().unwrap();
    let before = run(folder.path(), "30", &[]);
    let out = folder.path().display().to_string();
    for (more, code) in [(&[][..], 2), (&["--force"], 3)] {
        advmod(&[&["audit", "--model", "no/such.pt", "--out", &out], more].concat()).assert().code(code);
        assert!(report(folder.path()) == before);
        assert!(!folder.path().join(".advmod-next").exists());
    }
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
    wait_for(out, "attack_curves_measured")
}

/// Waits until the journal has such an event.
fn wait_for(out: &Path, event: &str) -> String {
    for _ in 0..1200 {
        std::thread::sleep(Duration::from_millis(50));
        let text = std::fs::read_to_string(out.join("run.jsonl")).unwrap_or_default();
        if text.contains(event) {
            return text;
        }
    }
    panic!("no {event} within a minute");
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
        assert!(["run.jsonl", "clean.safetensors", "adversarial"].contains(&name.as_str()), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_batch_that_takes_too_long_is_given_up_and_finished_ones_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_advmod"));
    // One image per batch. Those that break are done at once, the first that does not would take the better part of an hour.
    command.args(["audit", "--first", "60", "--batch", "1", "--threads", "1"]);
    command.args(["--attack", "pgd:eps=4/255,steps=100000,stop=first", "--out"]).arg(folder.path());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_for(folder.path(), "batch_attacked");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let asked = std::time::Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_mins(1), "{:?}", asked.elapsed());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("5 s to finish") && said.contains("incomplete"), "{said}");
    let report = typed(&report(folder.path()));
    let attack = &report.attacks[0];
    assert_eq!(attack.status, AttackStatus::Incomplete);
    assert!((1..60).contains(&attack.samples.len()), "{}", attack.samples.len());
    let file = folder.path().join("adversarial/pgd.safetensors");
    let file = advmod::model::format::read_weights(&file).unwrap();
    let pixels = &file.tensors.iter().find(|(name, _)| name == "pixels").unwrap().1;
    assert_eq!(pixels.shape[0], attack.samples.len());
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
