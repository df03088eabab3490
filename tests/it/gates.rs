//! Gates through the real executable: exit codes, and what is printed and written.

use serde_json::Value;

use crate::support::advmod;

const FAST: &[&str] = &["audit", "--attack", "fgsm", "--attack", "pgd:steps=10", "--threads", "1", "--samples", "40"];

fn exit(more: &[&str]) -> (i32, String, String) {
    let output = advmod(&[FAST, more].concat()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_exit_code_says_what_the_gates_say() {
    let (code, text, _) = exit(&["--gate", "asr.pgd >= 10 %", "--gate", "accuracy.clean >= 0.5"]);
    assert!(code == 0 && text.contains("Result: PASS  0 of 2 gates failed"), "{code} {text}");
    let (code, text, _) = exit(&["--gate", "asr.pgd <= 10 %", "--gate", "accuracy.clean >= 0.5"]);
    assert!(code == 1 && text.contains("Result: FAIL  1 of 2 gates failed"), "{code} {text}");
    let (code, text, _) = exit(&["--gate", "asr.worst <= 0.1", "--exit-zero"]);
    assert!(
        code == 0 && text.ends_with("typed for this run: --exit-zero (a failed gate ends the program with 0)\n"),
        "{text}"
    );
    // 40 images are too few to tell 0.9 from 0.93.
    let (code, text, _) = exit(&["--gate", "accuracy.clean >= 0.9", "--exit-zero"]);
    assert!(code == 4 && text.contains("INCONCLUSIVE"), "{code} {text}");
}

/// One step proves no robustness: a gate that claims some cannot pass on it, unless somebody accepts that.
#[test]
fn a_gate_that_claims_robustness_passes_on_a_valid_report_only() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let run = |gates: &[&str], more: &[&str]| {
        let flags = ["audit", "--attacks", "fgsm", "--samples", "40", "--threads", "1"];
        let gates: Vec<&str> = gates.iter().flat_map(|gate| ["--gate", gate]).collect();
        let output = advmod(&[&flags[..], &gates, more].concat()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let gates = ["asr.fgsm <= 1", "accuracy.linf:8/255 >= 0", "accuracy.worst >= 0", "peak_drop.* <= 2"];
    let (code, text) = run(&gates, &[]);
    assert!(code == 4 && text.contains("attack validity: limited"), "{code} {text}");
    let reasons = text.matches("claims robustness").count();
    assert!(reasons == gates.len() && text.contains("--accept-limited"), "{reasons} {text}");
    // One that fails has failed all the same, and one that asks for harm needs no strong attack.
    let (code, text) = run(&["asr.fgsm <= 0.01", "asr.fgsm >= 0.01"], &[]);
    assert!(code == 1 && text.contains("1 of 2 gates failed"), "{code} {text}");
    let (code, text) = run(&["asr.fgsm <= 1"], &["--accept-limited", "--out", &out]);
    assert!(code == 0 && text.contains("limited, accepted with --accept-limited"), "{code} {text}");
    let file = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let report: Value = serde_json::from_str(&file("report.json")).unwrap();
    let validity = &report["validity"];
    assert_eq!((&report["plan"]["accept_limited"], &validity["verdict"]), (&true.into(), &"limited".into()));
    assert!(validity["reason"].as_str().unwrap().starts_with("an iterated attack runs"), "{validity}");
    for (name, text) in [
        ("report.md", "accepted with --accept-limited"),
        ("report.html", "accepted with --accept-limited"),
        ("report.sarif", "\"acceptLimited\": true"),
        ("report.junit.xml", "<property name=\"accept limited\" value=\"true\"/>"),
        ("report.plan.toml", "accept_limited = true"),
    ] {
        assert!(file(name).contains(text), "{name}");
    }
    assert_eq!(
        advmod(&["diff", &out, &out, "--gate", "regression(asr.fgsm) <= 0"]).output().unwrap().status.code(),
        Some(0)
    );
}

#[test]
fn a_gate_on_a_budget_counts_what_all_its_attacks_break() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let gates = ["asr.linf:8/255 >= 10 %", "accuracy.linf:8/255.class.* <= 1", "asr.l2:0.5 >= 0"];
    let flags =
        [&["--attack", "pgd:norm=l2,steps=10", "--out", &out][..], &gates.map(|gate| ["--gate", gate]).concat()]
            .concat();
    let (code, text, _) = exit(&flags);
    assert!(code == 0 && text.contains("worst case  L∞ ε 8/255  "), "{code} {text}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(format!("{out}/report.json")).unwrap()).unwrap();
    let budgets = report["budgets"].as_array().unwrap();
    assert_eq!((&budgets[0]["attacks"], budgets.len()), (&serde_json::json!(["fgsm", "pgd"]), 2));
    let within = |norm: &str, eps: f64| {
        let samples = report["attacks"].as_array().unwrap().iter().flat_map(|it| it["samples"].as_array().unwrap());
        let inside = samples.filter(|it| it["success"] == true && it[norm].as_f64().unwrap() <= eps + 1e-6);
        inside.map(|it| it["sample"].as_u64().unwrap()).collect::<std::collections::BTreeSet<u64>>().len()
    };
    let together = within("linf", 8.0 / 255.0);
    assert_eq!(budgets[0]["success_rate"]["count"], together);
    assert_eq!(budgets[1]["success_rate"]["count"], within("l2", 0.5));
    let clean = report["clean"]["accuracy"]["count"].as_u64().unwrap();
    assert_eq!(budgets[0]["adversarial_accuracy"]["count"], clean - together as u64);
}

#[test]
fn what_does_not_exist_is_said_before_anything_runs() {
    for (gate, word) in [
        ("asr.pdg <= 0.5", "did you mean pgd?"),
        ("asr.cw <= 0.5", "does not run cw"),
        ("asx.pgd <= 0.5", "did you mean asr?"),
        ("asr.pgd", "no comparison"),
        ("asr.pgd.class.Sneker <= 0.5", "did you mean Sneaker?"),
        ("asr.pgd.class.10 <= 0.5", "expected 0 to 9"),
        ("asr.linf:4/255 <= 0.5", "no untargeted attack of this audit tries linf:4/255; they try linf:8/255"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let (code, text, error) = exit(&["--gate", gate, "--out", &out.display().to_string()]);
        assert!(code == 2 && text.is_empty() && error.contains(word), "{code} {error}");
        assert!(!out.exists() && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn gates_and_waivers_of_a_plan_file_are_in_every_report() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("advmod.toml");
    let write = |expires: &str| {
        let text = format!(
            "seed = 0\n\n[[gate]]\nid = \"pgd\"\nexpr = \"asr.pgd <= 10 %\"\nreason = \"policy 7\"\n\n\
             [[waiver]]\ngate = \"pgd\"\nreason = \"old model\"\nexpires = \"{expires}\"\nowner = \"Ann\"\n"
        );
        std::fs::write(&plan, text).unwrap();
    };
    let out = folder.path().join("out");
    let flags = ["--plan", &plan.display().to_string(), "--force", "--out", &out.display().to_string()];
    write("9999-12-31");
    let (code, text, _) = exit(&flags);
    assert!(code == 0 && text.contains("1 waived") && text.contains("advmod.toml:5"), "{code} {text}");
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(
        (&report["gates"][0]["result"], &report["gates"][0]["measured_result"]),
        (&"waived".into(), &"fail".into())
    );
    let markdown = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("waived until 9999-12-31, Ann: old model") && markdown.contains("policy 7"));
    write("2020-01-01");
    let (code, text, _) = exit(&flags);
    assert!(code == 1 && text.contains("its waiver expired on 2020-01-01"), "{code} {text}");
    write("soon");
    let (code, _, error) = exit(&flags);
    assert!(code == 2 && error.contains("YYYY-MM-DD"), "{error}");
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
        (vec![out.as_str(), "--output", "report.pdf"], 2, "no format ends like this"),
        (vec![folder.path().join("out/adversarial").to_str().unwrap()], 3, "no report.json"),
        (vec!["Cargo.toml"], 3, "no report of advmod"),
        (vec!["/dev/zero"], 3, "not a regular file"),
    ] {
        let (found, _, error) = render(&arguments);
        assert!(found == code && error.contains(word), "{arguments:?} {found} {error}");
    }
}

#[test]
fn an_audit_writes_single_formats_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (code, text, _) =
        exit(&["-o", &path("a.sarif"), "-o", &path("b.JUnit.XML"), "--output", &path("c.txt"), "-o", &path("d.md")]);
    assert_eq!((code, &std::fs::read_to_string(path("c.txt")).unwrap()), (0, &text));
    let sarif: Value = serde_json::from_slice(&std::fs::read(path("a.sarif")).unwrap()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(std::fs::read_to_string(path("b.JUnit.XML")).unwrap().starts_with("<?xml"));
    assert!(std::fs::read_to_string(path("d.md")).unwrap().starts_with("# Adversarial audit"));
    for (file, code, word) in [("a.pdf", 2, "no format ends like this"), ("nowhere/a.md", 3, "nowhere/a.md")] {
        let (found, text, error) = exit(&["-o", &path(file)]);
        assert!(found == code && text.is_empty() && error.contains(word) && error.lines().count() == 1, "{error}");
    }
}

/// Where attacks cannot say anything, their failing says nothing: that is no pass.
#[test]
fn an_audit_whose_attacks_say_nothing_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    // Black images of every class: whatever the model says of them, it is right by chance only.
    let header = |kind: &[u8], sizes: &[u32]| -> Vec<u8> {
        kind.iter().copied().chain(sizes.iter().flat_map(|size| size.to_be_bytes())).collect()
    };
    let images = [header(&[0, 0, 8, 3], &[200, 28, 28]), vec![0; 200 * 28 * 28]].concat();
    let labels = [header(&[0, 0, 8, 1], &[200]), (0..200).map(|image| image % 10).collect()].concat();
    std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), images).unwrap();
    std::fs::write(folder.path().join("t10k-labels-idx1-ubyte"), labels).unwrap();
    let data = folder.path().display().to_string();
    let flags = ["audit", "--attacks", "fgsm", "--samples", "200", "--threads", "1", "--data", &data];
    let output = advmod(&[&flags[..], &["--gate", "accuracy.clean <= 50 %"]].concat()).output().unwrap();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("attack validity: failed") && text.contains("Result: PASS"), "{text}");
    assert!(output.status.code() == Some(4) && error.contains("attack validity failed"), "{error}");
    // A gate that failed has failed all the same.
    let output = advmod(&[&flags[..], &["--gate", "accuracy.clean >= 50 %"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
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
