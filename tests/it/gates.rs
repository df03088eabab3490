//! Gates through the real executable: exit codes, and what the report says of them.

use crate::support::advmod;

/// A quick audit of 60 images with these gates in a plan file; its exit code, what it prints, and its report.
fn run(plan: &str, flags: &[&str]) -> (i32, String, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plan.toml"), plan).unwrap();
    let common = ["audit", "--first", "60", "--attacks", "fgsm", "--plan", "plan.toml", "--out", "out"];
    let output = advmod(&[&common[..], flags].concat()).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    let report = std::fs::read(folder.path().join("out/report.json")).ok();
    let report = report.map_or(serde_json::Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    (output.status.code().unwrap(), text, report)
}

fn states(report: &serde_json::Value) -> Vec<&str> {
    report["gates"].as_array().unwrap().iter().map(|gate| gate["result"].as_str().unwrap()).collect()
}

const WAIVED: &str = "[[gate]]\nid = \"a\"\nexpr = \"asr.fgsm <= 1 %\"\n[[waiver]]\ngate = \"a\"\nreason = \"known\"\n";

#[test]
fn exit_codes_say_what_the_gates_come_to() {
    // FGSM breaks about two thirds of these images, and accuracy on them is above 90 %.
    for (plan, flags, code, states_wanted) in [
        ("", &["--gate", "asr.fgsm <= 100 %", "--gate", "accuracy.clean >= 0.5"][..], 0, &["pass", "pass"][..]),
        ("", &["--gate", "asr.* <= 1 %"], 1, &["fail"]),
        ("", &["--gate", "asr.* <= 1 %", "--exit-zero"], 0, &["fail"]),
        ("", &["--gate", "asr.fgsm <= 1 %", "--gate", "accuracy.clean >= 95 %"], 1, &["fail", "inconclusive"]),
        ("", &["--gate", "accuracy.clean >= 95 %"], 4, &["inconclusive"]),
        (&format!("{WAIVED}expires = 9999-12-31\n"), &[], 0, &["waived"]),
        (&format!("{WAIVED}expires = \"2020-01-31\"\n"), &[], 1, &["fail"]),
        ("[[gate]]\nexpr = \"asr.fgsm <= 1 %\"\nseverity = \"warning\"\n", &[], 0, &["fail"]),
    ] {
        let (exit, text, report) = run(plan, flags);
        assert_eq!(exit, code, "{flags:?}\n{plan}\n{text}");
        assert_eq!(states(&report), states_wanted, "{flags:?}\n{plan}\n{text}");
        assert!(text.contains("Result: "), "{text}");
    }
}

#[test]
fn gates_that_cannot_be_checked_end_the_run_before_it_begins() {
    for (plan, gate, words) in [
        ("", "asr.pdg <= 0.5", &["pdg", "fgsm"][..]),
        ("", "speed.fgsm <= 0.5", &["known: asr"]),
        ("", "asr.fgsm.class.ship <= 0.5", &["no class is called"]),
        ("[[waiver]]\ngate = \"b\"\nreason = \"x\"\nexpires = 2030-01-01\n", "asr.fgsm <= 0.5", &["waiver", "b"]),
    ] {
        let (exit, text, report) = run(plan, &["--gate", gate]);
        assert_eq!((exit, &report), (2, &serde_json::Value::Null), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn a_stored_run_renders_again_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let (code, table, _) = exit(&["--gate", "asr.pgd <= 10 %", "--out", &out]);
    assert_eq!(code, 1);
    let render = |arguments: &[&str]| {
        let summary = folder.path().join("summary.md");
        let mut command = advmod(&[&["report"], arguments].concat());
        let output = command.env("GITHUB_STEP_SUMMARY", summary).output().unwrap();
        (output.status.code().unwrap(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(render(&[&out]).1, table.as_bytes());
    for (format, file) in
        [("json", "report.json"), ("markdown", "report.md"), ("sarif", "report.sarif"), ("junit", "report.junit.xml")]
    {
        let stored = std::fs::read(folder.path().join("out").join(file)).unwrap();
        assert!(render(&[&out, "--format", format]).1 == stored, "{format}");
        let journal = format!("{out}/run.jsonl");
        assert!(render(&[&journal, "--format", format]).1 == stored, "{format} of the journal");
        let copy = folder.path().join(file).display().to_string();
        assert_eq!(render(&[&out, "--output", &copy]).0, 0);
        assert!(std::fs::read(copy).unwrap() == stored, "{file}");
    }
    let (_, github, _) = render(&[&out, "--format", "github"]);
    assert!(github.starts_with(b"::error title=gate asr.pgd"));
    assert!(std::fs::read_to_string(folder.path().join("summary.md")).unwrap().contains("**Result: FAIL"));
    for (arguments, code, word) in [
        (vec![out.as_str(), "--format", "sarfi"], 2, "known: text, json"),
        (vec![out.as_str(), "--output", "report.pdf"], 2, "no format has this ending"),
        (vec![folder.path().join("out/adversarial").to_str().unwrap()], 3, "no report.json"),
        (vec!["Cargo.toml"], 3, "no report of advmod"),
        (vec!["/dev/zero"], 3, "not a regular file"),
    ] {
        let (found, _, error) = render(&arguments);
        assert!(found == code && error.contains(word), "{arguments:?} {found} {error}");
    }
}

#[test]
fn shells_and_man_are_served() {
    let folder = tempfile::tempdir().unwrap();
    advmod(&["man", &folder.path().display().to_string()]).assert().success();
    assert!(folder.path().join("advmod-audit.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let output = advmod(&["completions", shell]).assert().success();
        assert!(String::from_utf8_lossy(&output.get_output().stdout).contains("exit-zero"), "{shell}");
    }
}
