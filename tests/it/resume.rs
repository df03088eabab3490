//! `advmod audit --resume` through the real executable: kills at random moments, and folders in which a run cannot go on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{advmod, make_data_set};

/// A few seconds of fast and slow attacks, and a sweep, whose larger size takes over what the smaller one broke.
const PLAN: &[&str] = &[
    "audit",
    "--preset",
    "quick",
    "--samples",
    "32",
    "--batch",
    "8",
    "--threads",
    "1",
    "--attacks",
    "fgsm,jsma",
    "--attack",
    "pgd:eps=1/255|4/255,steps=5",
    "--attack",
    "one-pixel:search=random",
    "--gate",
    "asr.fgsm <= 10 %",
];

fn start(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advmod"));
    command.args(arguments).env_remove("LD_LIBRARY_PATH").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Everything that two runs of one plan must have in common, byte by byte.
fn results(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut report: Value = serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
    report.as_object_mut().unwrap().remove("timing").unwrap();
    let mut files = vec![("report.json".to_owned(), serde_json::to_vec(&report).unwrap())];
    for name in ["clean.safetensors", "curves.csv", "samples.csv", "report.sarif", "report.junit.xml"] {
        files.push((name.to_owned(), std::fs::read(folder.join(name)).unwrap()));
    }
    let mut pixels: Vec<_> =
        std::fs::read_dir(folder.join("adversarial")).unwrap().map(|it| it.unwrap().path()).collect();
    pixels.sort();
    files.extend(pixels.into_iter().map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())));
    for (name, _) in &mut files {
        *name = name.rsplit('/').next().unwrap().to_owned();
    }
    files
}

fn assert_same(folder: &Path, expected: &[(String, Vec<u8>)], seed: u64) {
    let found = results(folder);
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(expected), "seed {seed}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert!(found == expected, "{name} differs, seed {seed}");
    }
}

#[test]
fn a_run_that_is_killed_at_ten_random_moments_ends_in_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let fresh = |out: &Path| start(&[PLAN, &["--out", out.to_str().unwrap()]].concat());
    let begun = SystemTime::now();
    assert_eq!(fresh(&whole).status().unwrap().code(), Some(1));
    let lasts = begun.elapsed().unwrap();
    let expected = results(&whole);

    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = seed;
    let mut kills = 0;
    let mut rounds = 0;
    while kills < 10 {
        rounds += 1;
        assert!(rounds < 40, "the run ends before it can be killed, seed {seed}");
        let go_on = cut.join("run.jsonl").exists();
        let mut run = if go_on { start(&["audit", "--resume", cut.to_str().unwrap()]) } else { fresh(&cut) };
        let mut run = run.spawn().unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (random >> 33) as f64 / f64::from(1_u32 << 31);
        std::thread::sleep(Duration::from_millis(200) + lasts.mul_f64(0.5 * share));
        match run.try_wait().unwrap() {
            // A run that was killed before it had begun has nothing to go on with.
            Some(status) if status.code() == Some(3) => std::fs::remove_file(cut.join("run.jsonl")).unwrap(),
            Some(status) => {
                assert_eq!(status.code(), Some(1), "seed {seed}");
                assert_same(&cut, &expected, seed);
                std::fs::remove_dir_all(&cut).unwrap();
            }
            None => {
                // Every third time it is asked to stop, and has time to write what there is.
                if kills % 3 == 2 {
                    Command::new("kill").arg(run.id().to_string()).status().unwrap();
                    // No code: it had not begun to listen. 1: it was through already.
                    let code = run.wait().unwrap().code();
                    assert!(matches!(code, Some(143 | 1) | None), "{code:?}, seed {seed}");
                } else {
                    run.kill().unwrap();
                    run.wait().unwrap();
                }
                kills += 1;
            }
        }
    }
    if !cut.join("run.jsonl").exists() || std::fs::metadata(cut.join("run.jsonl")).unwrap().len() == 0 {
        fresh(&cut).status().unwrap();
    }
    let last = start(&["audit", "--resume", cut.to_str().unwrap()]).status().unwrap();
    assert_eq!(last.code(), Some(1), "seed {seed}");
    assert_same(&cut, &expected, seed);
}

fn resumed(folder: &Path) -> (i32, String, String) {
    let output = advmod(&["audit", "--resume", folder.to_str().unwrap()]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_missing_is_made_again_and_a_complete_run_only_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let flags = ["audit", "--attacks", "fgsm", "--attack", "pgd:steps=10", "--samples", "64", "--threads", "1"];
    let output = advmod(&[&flags[..], &["--out", out.to_str().unwrap()]].concat()).assert().success();
    let table = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let expected = results(&out);
    let (code, again, _) = resumed(&out);
    assert_eq!((code, &again), (0, &table));
    assert_same(&out, &expected, 0);
    // Half of the events, a damaged line, and no pixels of what was complete.
    let journal = std::fs::read_to_string(out.join("run.jsonl")).unwrap();
    let fgsm = journal.lines().position(|line| line.contains("attack_curves_measured")).unwrap();
    let kept: Vec<&str> = journal.lines().take(fgsm + 3).collect();
    std::fs::write(out.join("run.jsonl"), kept.join("\n") + "\n{\"event\":\"batch_att\n").unwrap();
    std::fs::remove_dir_all(out.join("adversarial")).unwrap();
    std::fs::create_dir(out.join("adversarial")).unwrap();
    std::fs::remove_file(out.join("clean.safetensors")).unwrap();
    let (code, again, error) = resumed(&out);
    assert_eq!((code, &again), (0, &table));
    assert!(error.contains("are gone, they are made again"), "{error}");
    assert_same(&out, &expected, 0);
}

#[test]
fn a_run_that_cannot_go_on_says_why_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (out, model) = (folder.path().join("out"), folder.path().join("model.safetensors"));
    std::fs::copy("fixtures/resnet20-fashion-mnist.safetensors", &model).unwrap();
    let flags = ["audit", "--attacks", "fgsm", "--samples", "20", "--model", model.to_str().unwrap()];
    advmod(&[&flags[..], &["--out", out.to_str().unwrap()]].concat()).assert().success();
    let before = std::fs::read(out.join("run.jsonl")).unwrap();
    let trailing = std::fs::read(&model).unwrap();
    // One bit of one weight.
    let mut changed = trailing.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&model, changed).unwrap();
    let (code, table, error) = resumed(&out);
    assert!(code == 3 && table.is_empty() && error.contains("the model has changed"), "{code} {error}");
    std::fs::remove_file(&model).unwrap();
    let (code, _, error) = resumed(&out);
    assert!(code == 3 && error.contains("no such file"), "{code} {error}");
    assert_eq!(std::fs::read(out.join("run.jsonl")).unwrap(), before);
    for (text, word) in [("", "has not begun"), ("no journal\n", "has not begun")] {
        std::fs::write(out.join("run.jsonl"), text).unwrap();
        let (code, _, error) = resumed(&out);
        assert!(code == 3 && error.contains(word), "{code} {error}");
        assert_eq!(std::fs::read_to_string(out.join("run.jsonl")).unwrap(), text);
    }
    let (code, _, error) = resumed(&folder.path().join("nowhere"));
    assert!(code == 3 && error.contains("run.jsonl") && error.lines().count() == 1, "{code} {error}");
    let with_flag = advmod(&["audit", "--resume", out.to_str().unwrap(), "--seed", "3"]).output().unwrap();
    assert_eq!(with_flag.status.code(), Some(2));
}

#[test]
fn a_run_goes_on_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    std::fs::copy("fixtures/resnet20-fashion-mnist.safetensors", here("model.safetensors")).unwrap();
    make_data_set(&here("fashion-mnist"));
    let flags =
        ["audit", "--attacks", "fgsm", "--samples", "20", "--model", "model.safetensors", "--data", "fashion-mnist"];
    let begin =
        |out: &str| advmod(&[&flags[..], &["--out", out]].concat()).current_dir(folder.path()).assert().success();
    begin("out");
    let expected = results(&here("out"));
    let cut = || {
        let journal = std::fs::read_to_string(here("out/run.jsonl")).unwrap();
        let kept: Vec<&str> = journal.lines().take_while(|line| !line.contains("batch_attacked")).collect();
        std::fs::write(here("out/run.jsonl"), kept.join("\n") + "\n").unwrap();
        std::fs::remove_file(here("out/report.json")).unwrap();
    };
    cut();
    let (code, _, error) = resumed(&here("out"));
    assert_eq!(code, 0, "{error}");
    assert_same(&here("out"), &expected, 0);
    // Asked about again from elsewhere, too.
    let out = here("out").display().to_string();
    let flow = advmod(&["flow", &out, "--k", "3"]).output().unwrap();
    assert_eq!(flow.status.code(), Some(0), "{}", String::from_utf8_lossy(&flow.stderr));
    // What lies beside a run that was moved away with it is found there.
    std::fs::create_dir(here("moved")).unwrap();
    cut();
    std::fs::rename(here("model.safetensors"), here("out/model.safetensors")).unwrap();
    std::fs::rename(here("fashion-mnist"), here("out/fashion-mnist")).unwrap();
    std::fs::rename(here("out"), here("moved/out")).unwrap();
    let (code, _, error) = resumed(&here("moved/out"));
    assert_eq!(code, 0, "{error}");
    assert_same(&here("moved/out"), &expected, 0);
}

#[test]
fn what_a_run_names_is_hashed_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let model = path("model.safetensors");
    std::fs::copy("fixtures/resnet20-fashion-mnist.safetensors", &model).unwrap();
    let images = folder.path().join("images");
    let draw = |shade: u8| {
        for (class, number) in (0..10_u8).flat_map(|class| [(class, 0), (class, 1)]) {
            let class = images.join(class.to_string());
            std::fs::create_dir_all(&class).unwrap();
            let picture = image::GrayImage::from_pixel(28, 28, image::Luma([shade + number]));
            picture.save(class.join(format!("{number}.png"))).unwrap();
        }
    };
    draw(100);
    let out = path("out");
    let flags = ["audit", "--attacks", "fgsm", "--first", "20", "--model", &model, "--data", images.to_str().unwrap()];
    let output = advmod(&[&flags[..], &["--out", &out]].concat()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&output.stderr));
    let run = |arguments: &[&str]| {
        let output = advmod(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let good = std::fs::read(&model).unwrap();
    // No model at all: whoever read it would say so.
    std::fs::write(&model, "hello").unwrap();
    let new = path("new");
    for arguments in
        [&["audit", "--resume", &out][..], &["flow", &out], &["export", &out, "--format", "png", "--output", &new]]
    {
        let (code, error) = run(arguments);
        assert!(code == 3 && error.contains("the model has changed") && error.lines().count() == 1, "{error}");
    }
    std::fs::write(&model, good).unwrap();
    // Names and sizes of the files are the same.
    draw(200);
    let (code, error) = run(&["audit", "--resume", &out]);
    assert!(code == 3 && error.contains("the data have changed"), "{error}");
    draw(100);
    assert_ne!(run(&["audit", "--resume", &out]).0, 3);
    let journal = std::fs::read_to_string(folder.path().join("out/run.jsonl")).unwrap();
    std::fs::write(folder.path().join("out/run.jsonl"), journal.replacen("seed = 0", "seed = 1", 1)).unwrap();
    let (code, error) = run(&["audit", "--resume", &out]);
    assert!(code == 3 && error.contains("does not say what its settings say"), "{error}");
}
