//! TorchScript through the real executable: translated, or refused with its line, and run by libtorch only where that was typed.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::support::{advmod, root, stdout};

/// A fixture with another text in its code, or in the JSON of its program.
pub fn changed(name: &str, from: &str, to: &str, path: &Path) {
    let bytes = std::fs::read(root().join("fixtures").join(name)).unwrap();
    let mut old = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut new = ZipWriter::new(Cursor::new(Vec::new()));
    let mut changes = 0;
    for index in 0..old.len() {
        let mut entry = old.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let name = entry.name().unwrap().to_string();
        if name.rsplit_once('.').is_some_and(|it| matches!(it.1, "py" | "json")) {
            let text = String::from_utf8(bytes).unwrap();
            changes += text.matches(from).count();
            bytes = text.replace(from, to).into_bytes();
        }
        new.start_file(name, SimpleFileOptions::default()).unwrap();
        new.write_all(&bytes).unwrap();
    }
    assert!(changes > 0, "{from} is not in {name}");
    std::fs::write(path, new.finish().unwrap().into_inner()).unwrap();
}

fn refusal(arguments: &[&str]) -> String {
    let output = advmod(arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn an_operator_that_is_not_known_is_refused_with_its_line_and_two_ways_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.pt");
    changed("tiny-resnet-scripted.pt", "torch.sigmoid(", "torch.from_file(", &path);
    let model = path.to_str().unwrap();
    let message = refusal(&["inspect", "--model", model]);
    for part in
        ["line ", " of code/__torch__/", "`torch.from_file` is not supported", "torch.export", "--trust-torchscript"]
    {
        assert!(message.contains(part), "{message}");
    }
    // No plan can say it.
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, format!("[model]\nfile = {model:?}\ntrust_torchscript = true\n")).unwrap();
    let message = refusal(&["audit", "--plan", plan.to_str().unwrap(), "--progress", "none"]);
    assert!(message.contains("unknown field `trust_torchscript`"), "{message}");
}

#[test]
fn code_that_prints_or_loops_ends_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.pt");
    for (code, expected) in [
        ("print(\"\u{1b}[2J\")\n    ", "the function `print` is not supported"),
        ("while True:\n      pass\n    ", "too many steps"),
    ] {
        let method = "\n    weight = self.weight\n    bias = self.bias\n    return torch.linear(input, weight, bias)";
        changed("tiny-resnet-scripted.pt", method, &format!("\n    {code}{}", &method[5..]), &path);
        let message = refusal(&["inspect", "--model", path.to_str().unwrap()]);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn libtorch_runs_a_file_where_that_was_typed() {
    let path = root().join("fixtures/tiny-resnet-traced.pt");
    let inspect = |more: &[&str]| {
        let arguments = ["inspect", "--model", path.to_str().unwrap(), "--input-size", "28", "--format", "json"];
        serde_json::from_str::<serde_json::Value>(&stdout(&[&arguments, more].concat())).unwrap()
    };
    let (translated, trusted) = (inspect(&[]), inspect(&["--trust-torchscript"]));
    assert!(translated["macs"].is_u64() && trusted["macs"].is_null(), "{translated} {trusted}");
    assert_eq!(translated["taps"], trusted["taps"]);
    assert_eq!(translated["parameters"], trusted["parameters"]);
}

#[test]
fn a_report_says_that_a_file_was_trusted_and_its_plan_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = root().join("fixtures/tiny-resnet-traced.pt");
    let model = ["--model", path.to_str().unwrap(), "--input-size", "28", "--trust-torchscript", "--exit-zero"];
    let few = ["--samples", "8", "--attacks", "fgsm", "--threads", "1", "--quiet", "--out", "run"];
    let output = advmod(&[&["audit"], &model[..], &few].concat()).current_dir(folder.path()).output().unwrap();
    let line = "typed for this run: --trust-torchscript (libtorch may run the code in the model file), --exit-zero (a failed gate ends the \
                program with 0)";
    assert!(String::from_utf8(output.stdout).unwrap().contains(line));
    let read = |name: &str| std::fs::read_to_string(folder.path().join("run").join(name)).unwrap();
    for name in ["report.md", "report.html"] {
        assert!(read(name).contains(line), "{name}");
    }
    let report: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(report["allowed"], serde_json::json!({"trust_torchscript": true, "exit_zero": true}));
    for text in [&report["plan"], &report["plan_file"]] {
        assert!(!["trust", "exit-zero", "exit_zero"].iter().any(|word| text.to_string().contains(word)), "{text}");
    }
}

/// Where the kernel has Landlock; elsewhere the last run warns, and writes.
#[test]
fn a_trusted_module_that_writes_a_file_is_stopped_by_the_confinement() {
    let folder = tempfile::tempdir().unwrap();
    let (model, written) = (folder.path().join("net.pt"), folder.path().join("written.bin"));
    changed("writing-scripted.pt", "written.bin", written.to_str().unwrap(), &model);
    let path = model.to_str().unwrap();
    let audit = ["curve", "--trust-torchscript", "--samples", "20", "--k", "3", "--progress", "none", "--model", path];
    assert!(!written.exists());
    let open = advmod(&[&audit[..], &["--no-sandbox"]].concat()).output().unwrap();
    assert!(written.exists(), "{open:?}");
    std::fs::remove_file(&written).unwrap();
    let doctor = stdout(&["doctor"]);
    let is_confined = doctor.lines().any(|line| line.starts_with("confined to files   yes"));
    let confined = advmod(&audit).output().unwrap();
    assert_eq!(!written.exists(), is_confined, "{doctor}{confined:?}");
    // Without the user's word nothing of it runs at all.
    let message = refusal(&["curve", "--samples", "20", "--progress", "none", "--model", path]);
    assert!(message.contains("line ") && message.contains("--trust-torchscript") && !written.exists(), "{message}");
}
