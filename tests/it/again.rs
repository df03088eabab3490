//! The plan in a report makes the report again.

use std::path::Path;

use serde_json::Value;

use crate::support::{advmod, make_data_set, root};

/// Runs in a folder; the exit code.
fn run(folder: &Path, arguments: &[&str]) -> i32 {
    let output = advmod(arguments).current_dir(folder).output().unwrap();
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// A report without what differs from run to run, and without the places of gates in the user's own file.
fn report(folder: &Path) -> Value {
    let mut report: Value = serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
    report.as_object_mut().unwrap().remove("timing").unwrap();
    let no_place = |gate: &mut Value| gate.as_object_mut().unwrap().remove("place").unwrap();
    report["plan"]["gates"].as_array_mut().unwrap().iter_mut().for_each(|gate| drop(no_place(gate)));
    report["gates"].as_array_mut().unwrap().iter_mut().for_each(|it| drop(no_place(&mut it["gate"])));
    report
}

/// The report that a plan gives, and gives again from what the report says; `code` is how both end.
fn twice(folder: &Path, name: &str, plan: &str, code: i32) -> Value {
    let (mine, first, second) = (format!("{name}.toml"), format!("{name}-1"), format!("{name}-2"));
    std::fs::write(folder.join(&mine), plan).unwrap();
    assert_eq!(run(folder, &["audit", "--quiet", "--plan", &mine, "--out", &first]), code, "{name}");
    let found = report(&folder.join(&first));
    let stored = found["plan_file"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(folder.join(&first).join("report.plan.toml")).unwrap(), stored);
    // As the report says: as typed in a shell, beside the plan where the command reads it.
    let command = found["plan"]["command"].as_str().unwrap();
    let is_by_plan =
        stored.contains("[[waiver]]") || ["severity = \"w", "id = ", "reason = "].iter().any(|it| stored.contains(it));
    assert_eq!(command == "advmod audit --plan report.plan.toml", is_by_plan, "{command}");
    if is_by_plan {
        std::fs::write(folder.join("report.plan.toml"), stored).unwrap();
    }
    let typed = command.replacen("advmod", env!("CARGO_BIN_EXE_advmod"), 1) + &format!(" --quiet --out {second}");
    let status = std::process::Command::new("sh").args(["-c", &typed]).current_dir(folder).output().unwrap().status;
    assert_eq!(status.code(), Some(code), "{name} again: {typed}");
    let again = report(&folder.join(&second));
    // Flags say of the same settings what they need to; the plan keeps what was written.
    for (key, value) in found.as_object().unwrap().iter().filter(|(key, _)| is_by_plan || *key != "plan_file") {
        assert!(*value == again[key], "{name}: {key} was {value}, is {}", again[key]);
    }
    found
}

const SMALL: &str = "threads = 1\nseed = 2\nbatch = 16\n[data]\nsamples = 40\n";

#[test]
fn gates_keep_their_severity_id_reason_and_waiver() {
    let folder = tempfile::tempdir().unwrap();
    let plan = format!(
        "{SMALL}[[attack]]\nname = \"fgsm\"\n\
         [[gate]]\nexpr = \"asr.fgsm <= 1 %\"\nseverity = \"warning\"\nid = \"soft\"\nreason = \"for information\"\n\
         [[gate]]\nexpr = \"asr.* <= 2 %\"\nid = \"hard\"\n[[gate]]\nexpr = \"accuracy.clean >= 10 %\"\n\
         [[waiver]]\ngate = \"hard\"\nreason = \"known\"\nexpires = 2999-12-31\nowner = \"me\"\n"
    );
    let found = twice(folder.path(), "gates", &plan, 0);
    let results: Vec<&str> =
        found["gates"].as_array().unwrap().iter().map(|it| it["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["fail", "waived", "pass"]);
    // Without severity and waiver the same plan fails.
    let bare: String =
        plan.lines().filter(|line| !line.starts_with("severity")).flat_map(|line| [line, "\n"]).collect();
    twice(folder.path(), "bare", &bare, 1);
}

#[test]
fn rounding_a_sweep_and_the_defaults_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let plan = format!(
        "eight_bit = true\npreset = \"quick\"\nstop = \"never\"\n{SMALL}[curve]\nk = 4\nsimilarity = \"pearson\"\ntaps = \"layer?.0\"\n\
         [[attack]]\nname = \"pgd\"\neps = [\"2/255\", \"8/255\"]\nsteps = 2\n[[attack]]\nname = \"fgsm\"\ntarget = \"random\"\n"
    );
    let found = twice(folder.path(), "sweep", &plan, 0);
    assert_eq!((found["attacks"].as_array().unwrap().len(), &found["plan"]["eight_bit"]), (3, &true.into()));
}

#[test]
fn a_baseline_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let base =
        ["audit", "--quiet", "--samples", "40", "--attacks", "fgsm", "--threads", "1", "--seed", "2", "--out", "base"];
    assert_eq!(run(folder.path(), &base), 0);
    let plan = format!(
        "baseline = \"base\"\naccept_limited = true\n{SMALL}[[attack]]\nname = \"fgsm\"\n[[gate]]\nexpr = \"regression(asr.fgsm) <= 0\"\n"
    );
    let found = twice(folder.path(), "baseline", &plan, 0);
    assert_eq!(found["changes"]["file"], "base", "{}", found["changes"]);
}

/// Model, data and baseline by relative paths, and the plan beside the report run from elsewhere.
#[test]
fn the_plan_beside_a_report_runs_from_any_folder() {
    let [folder, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let began = folder.path().join("began");
    std::fs::create_dir(&began).unwrap();
    make_data_set(&began.join("images"));
    std::fs::copy(root().join("fixtures/resnet20-fashion-mnist.safetensors"), began.join("net.safetensors")).unwrap();
    let base = ["audit", "--quiet", "--samples", "40", "--attacks", "fgsm", "--threads", "1", "--out", "base"];
    assert_eq!(run(&began, &base), 0);
    let flags = ["--model", "net.safetensors", "--data", "images", "--baseline", "base", "--out", "run"];
    assert_eq!(run(&began, &[&base[..8], &flags].concat()), 0);
    let found = report(&began.join("run"));
    assert!(found["plan_file"].as_str().unwrap().contains("file = \"net.safetensors\""), "{found}");
    let plan = began.join("run/report.plan.toml");
    let again = |more: &[&str]| {
        run(elsewhere.path(), &[&["audit", "--quiet", "--plan", plan.to_str().unwrap()], more].concat())
    };
    assert_eq!(again(&["--out", "again"]), 0);
    assert_eq!(report(&elsewhere.path().join("again")), found);
    // What the second run left runs again too; another model's path begins in the current folder, the others where they did.
    let second = elsewhere.path().join("again/report.plan.toml");
    let other = ["--plan", second.to_str().unwrap(), "--model", "began/net.safetensors", "--out", "3"];
    assert_eq!(run(folder.path(), &[&["audit", "--quiet"], &other[..]].concat()), 0);
    let third = report(&folder.path().join("3"));
    assert_eq!(third["changes"]["file"], began.join("base").to_str().unwrap());
    assert_eq!((&third["attacks"], &third["data"]), (&found["attacks"], &found["data"]));
    // Without the folder it began in the paths are as written, and missing here.
    std::fs::rename(&began, folder.path().join("gone")).unwrap();
    let moved = folder.path().join("gone/run/report.plan.toml");
    assert_eq!(run(elsewhere.path(), &["audit", "--plan", moved.to_str().unwrap()]), 3);
}

#[test]
fn a_plan_is_printed_from_any_report_and_not_replaced_by_its_own_run() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["audit", "--quiet", "--samples", "20", "--attacks", "fgsm", "--threads", "1"];
    assert_eq!(run(folder.path(), &[&flags[..], &["-o", "a.json", "-o", "a.toml", "--out", "a"]].concat()), 0);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("a.toml"), read("a/report.plan.toml"));
    let printed = advmod(&["report", "a.json", "--format", "plan"]).current_dir(folder.path()).output().unwrap().stdout;
    assert_eq!(String::from_utf8(printed).unwrap(), read("a.toml"));
    let before = read("a/report.plan.toml");
    assert_eq!(run(folder.path(), &["audit", "--plan", "a/report.plan.toml", "--out", "./a"]), 2);
    assert_eq!(read("a/report.plan.toml"), before);
}
