//! The folder of a run through the real executable: nothing in it is lost, and nothing outside of it is touched.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::advmod;

/// The smallest run that has every file.
const SMALL: &[&str] = &["audit", "--first", "8", "--attacks", "fgsm", "--threads", "1", "--progress", "none", "--out"];

/// What the README lists of a run's folder.
const FILES: &[&str] = &[
    "report.json",
    "report.html",
    "report.md",
    "report.sarif",
    "report.junit.xml",
    "curves.csv",
    "samples.csv",
    "report.plan.toml",
    "run.jsonl",
    "clean.safetensors",
    "adversarial/fgsm.safetensors",
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Exit code and stderr.
fn ended(arguments: &[&str]) -> (i32, String) {
    let output = advmod(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn small(out: &Path, more: &[&str]) -> (i32, String) {
    ended(&[SMALL, &[text(out)], more].concat())
}

/// Every file of the run and what is in it.
fn contents(out: &Path) -> Vec<Vec<u8>> {
    FILES.iter().map(|name| std::fs::read(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))).collect()
}

/// A run of the same folder that takes long enough to be stopped in the middle.
fn long(out: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advmod"));
    command.args(["audit", "--first", "8", "--batch", "4", "--threads", "1", "--attack", "fgsm"]);
    command.args(["--attack", "pgd:steps=400", "--out", text(out)]).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(journal: &Path, event: &str) {
    for _ in 0..1200 {
        std::thread::sleep(Duration::from_millis(50));
        if std::fs::read_to_string(journal).unwrap_or_default().contains(event) {
            return;
        }
    }
    panic!("no {event} within a minute");
}

#[test]
fn an_earlier_run_goes_only_by_force_and_only_for_one_that_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    assert_eq!(small(&out, &[]).0, 0);
    let before = contents(&out);
    let (code, error) = small(&out, &[]);
    assert_eq!((code, error.lines().count()), (2, 1), "{error}");
    assert!(["finished run", "--resume", "--force"].iter().all(|word| error.contains(word)), "{error}");
    // A second run that is killed leaves the first as it was, and can go on.
    let next = out.join(".advmod-next");
    let mut child = long(&out, &["--force"]);
    wait_for(&next.join("run.jsonl"), "attack_curves_measured");
    let (code, error) = small(&out, &["--force"]);
    assert!(code == 3 && error.contains("another run is writing there"), "{code} {error}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(contents(&out) == before);
    // So does one that is asked to stop.
    std::fs::remove_dir_all(&next).unwrap();
    let mut child = long(&out, &["--force"]);
    wait_for(&next.join("run.jsonl"), "attack_curves_measured");
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(contents(&out) == before && next.join("report.json").exists());
    let (code, error) = ended(&["audit", "--resume", text(&out), "--progress", "none"]);
    assert_eq!(code, 0, "{error}");
    assert!(contents(&out) != before && !next.exists());
    assert!(out.join("adversarial/pgd.safetensors").exists());
    // What the shorter run does not have is gone with the longer one.
    let (code, error) = small(&out, &["--force"]);
    assert_eq!(code, 0, "{error}");
    contents(&out);
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&out.join("adversarial")), ["fgsm.safetensors"]);
    assert_eq!(names(&out).len(), FILES.len());
}

#[test]
fn nothing_is_lost_however_long_cleaning_takes() {
    let folder = tempfile::tempdir().unwrap();
    let used = folder.path().join("used");
    for round in 0..2 {
        // Files as an earlier run of many attacks leaves them.
        std::fs::create_dir_all(used.join("adversarial")).unwrap();
        for number in 2..4000 {
            std::fs::write(used.join(format!("adversarial/fgsm-{number}.safetensors")), "").unwrap();
        }
        let (code, error) = small(&used, &["--force"]);
        assert_eq!(code, 0, "{error}");
        contents(&used);
        assert_eq!(std::fs::read_dir(used.join("adversarial")).unwrap().count(), 1);
        let fresh = folder.path().join(round.to_string());
        assert_eq!(small(&fresh, &[]).0, 0);
        contents(&fresh);
    }
}

#[test]
fn no_link_leads_a_run_out_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let secret = outside.join("secret");
    let part = "adversarial/fgsm.part";
    for name in FILES.iter().copied().chain([part, "adversarial"]) {
        for target in [&secret, &outside.join("none"), &outside] {
            std::fs::write(&secret, "outside").unwrap();
            let out = folder.path().join("out");
            std::fs::create_dir_all(out.join(name).parent().unwrap()).unwrap();
            symlink(target, out.join(name)).unwrap();
            for more in [&[][..], &["--force"]] {
                let (code, error) = small(&out, more);
                assert!(code == 3 && error.contains(name) && error.contains("link"), "{name}: {code} {error}");
            }
            assert_ne!(ended(&["audit", "--resume", text(&out)]).0, 0, "{name}");
            assert!(out.join(name).is_symlink(), "{name}");
            assert_eq!(std::fs::read_to_string(&secret).unwrap(), "outside", "{name}");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{name}");
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
}

#[test]
fn links_that_come_while_a_run_is_resumed_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (out, outside) = (folder.path().join("out"), folder.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    let mut child = long(&out, &[]);
    wait_for(&out.join("run.jsonl"), "attack_curves_measured");
    child.kill().unwrap();
    child.wait().unwrap();
    for name in ["adversarial/pgd.safetensors", "report.json", "adversarial"] {
        let path = out.join(name);
        if name == "adversarial" {
            std::fs::rename(&path, folder.path().join("moved")).unwrap();
        }
        symlink(outside.join("made"), &path).unwrap();
        let (code, error) = ended(&["audit", "--resume", text(&out), "--progress", "none"]);
        assert!(code == 3 && error.contains(name) && error.contains("link"), "{name}: {code} {error}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{name}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn files_that_are_not_of_a_run_are_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let foreign = ["notes.txt", "adversarial/mine.npy", "adversarial/fgsm.safetensors.bak"];
    std::fs::create_dir(out.join("adversarial")).unwrap();
    for name in foreign {
        std::fs::write(out.join(name), "mine").unwrap();
    }
    symlink("nowhere", out.join("link")).unwrap();
    for more in [&[][..], &["--force"]] {
        let (code, error) = small(out, more);
        assert_eq!(code, 0, "{error}");
        assert!(foreign.iter().chain(&["link"]).all(|name| error.contains(name)), "{error}");
        assert!(foreign.iter().all(|name| std::fs::read_to_string(out.join(name)).unwrap() == "mine"));
        contents(out);
    }
}
