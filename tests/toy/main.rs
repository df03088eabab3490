//! That a new attack, data format or similarity is one file or entry and its line in a table: with the feature `toy`, three toys are in these
//! tables, and nothing else knows of them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Output;

use serde_json::Value;

/// Images of the toy format: each class is a bright bar at its own place, a little noisy.
fn make_images(path: &Path) {
    let mut bytes = b"toy!".to_vec();
    for image in 0..40_u32 {
        let class = image % 10;
        bytes.push(class as u8);
        bytes.extend((0..28 * 28).map(|at: u32| {
            let noise = (at * 31 + image * 17) % 23;
            (if at / 28 / 2 == class + 2 { 200 + noise } else { noise }) as u8
        }));
    }
    std::fs::write(path, bytes).unwrap();
}

fn advmod(folder: &Path, arguments: &str) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_advmod"));
    command.args(arguments.split(' ')).current_dir(folder).env_remove("LD_LIBRARY_PATH").output().unwrap()
}

fn stdout(folder: &Path, arguments: &str) -> String {
    let output = advmod(folder, arguments);
    assert!(output.status.success(), "{arguments}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a check of the attacks' validity found, by a part of its name.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["validity"]["checks"].as_array().unwrap();
    let is_it = |it: &&Value| it.to_string().contains(name);
    checks.iter().find(is_it).unwrap_or_else(|| panic!("{name}: {checks:#?}"))
}

/// An audit's report as JSON, whatever it concludes.
fn audit(folder: &Path, flags: &str) -> Value {
    let output = advmod(folder, &format!("audit --preset quick --threads 1 --progress none --format json {flags}"));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{flags}: {error}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn help_knows_the_toys() {
    let folder = tempfile::tempdir().unwrap();
    assert!(stdout(folder.path(), "attacks").contains("toy"));
    let help = stdout(folder.path(), "attacks toy");
    for part in ["Toy steps", "steps", "8/255", "Gradient steps"] {
        assert!(help.contains(part), "{part} is not in\n{help}");
    }
    assert!(stdout(folder.path(), "attacks --format json").contains("\"toy\""));
    for command in ["audit", "curve", "similarity", "labels"] {
        let help = stdout(folder.path(), &format!("{command} --help")).replace('\n', " ");
        let words: Vec<&str> = help.split_whitespace().collect();
        assert!(words.join(" ").contains("sample-centred") && words.join(" ").contains("toy"), "{help}");
    }
    std::fs::write(folder.path().join("noise"), "no images").unwrap();
    let refused = advmod(folder.path(), "audit --data noise");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("toy images"));
    let refused = advmod(folder.path(), "audit --attack toy:steps=0");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("toy.steps = 0: must be 1 to 1000"));
}

#[test]
fn an_audit_runs_and_reports_the_toys() {
    let folder = tempfile::tempdir().unwrap();
    make_images(&folder.path().join("images"));
    let report =
        audit(folder.path(), "--data images --samples 30 --attack toy:eps=0.1,steps=3 --similarity toy --out run");
    assert_eq!((&report["data"]["format"], &report["plan"]["similarity"]), (&"toy".into(), &"toy".into()));
    let attack = &report["attacks"][0]["attack"];
    assert_eq!((&attack["label"], &attack["title"]), (&"toy".into(), &"Toy steps".into()));
    assert_eq!(attack["params"]["steps"], "3");
    assert_eq!(report["clean"]["curves"]["true_labels"]["similarity"], "toy");
    // The stored plan names them too, and every format of the report.
    let plan = report["plan_file"].as_str().unwrap();
    assert!(plan.contains("similarity = \"toy\"") && plan.contains("name = \"toy\""), "{plan}");
    for file in
        ["report.plan.toml", "report.md", "report.html", "curves.csv", "samples.csv", "run.jsonl", "report.junit.xml"]
    {
        let text = std::fs::read_to_string(folder.path().join("run").join(file)).unwrap();
        assert!(text.contains("toy"), "{file}");
    }
    assert!(folder.path().join("run/adversarial/toy.safetensors").exists());
    assert!(stdout(folder.path(), "report run").contains("toy"));
    assert!(stdout(folder.path(), "flow run --k 1 --progress none").contains("toy"));
}

#[test]
fn checks_of_iterated_attacks_apply_to_the_toy() {
    let folder = tempfile::tempdir().unwrap();
    let alone = audit(folder.path(), "--first 60 --attacks fgsm");
    let found = check(&alone, "an iterated attack runs").to_string();
    assert!(found.contains("suspicious") && found.contains("toy"), "{found}");
    let both = audit(folder.path(), "--first 60 --attacks fgsm,toy");
    let found = check(&both, "an iterated attack runs").to_string();
    assert!(found.contains("\"ok\"") && found.contains("toy"), "{found}");
    assert!(check(&both, "one step breaks").to_string().contains("1 pair"), "{}", check(&both, "one step breaks"));
    // One step of the many is lazy, and breaks fewer images than one long step.
    let lazy = audit(folder.path(), "--first 60 --attacks fgsm --attack toy:steps=1,eps=8/255");
    let found = check(&lazy, "standard preset").to_string();
    assert!(found.contains("toy: 25 % of the standard preset's passes"), "{found}");
}

#[test]
fn curves_take_the_toy_similarity() {
    let folder = tempfile::tempdir().unwrap();
    make_images(&folder.path().join("images"));
    let text = stdout(
        folder.path(),
        "curve --data images --samples 20 --repeats 1 --threads 1 --progress none --similarity cosine,toy",
    );
    assert!(text.contains("toy"), "{text}");
}
