//! Signals and special files: nothing is waited for that may never come, and whoever is asked to end does.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::advmod;
use crate::torchscript::changed;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_regular_file_is_refused_wherever_a_file_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pipe(&at("pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    // Where a folder is given, files in it are meant.
    for name in ["run", "study", "idx"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    pipe(&at("run/run.jsonl"));
    pipe(&at("study/curve.json"));
    pipe(&at("idx/t10k-images-idx3-ubyte"));
    let mut all: Vec<Vec<String>> = Vec::new();
    for file in [at("pipe"), at("socket"), "/dev/zero".into()] {
        for flag in ["--model", "--data", "--plan", "--baseline", "--resume"] {
            all.push(vec!["audit".to_owned(), flag.to_owned(), text(&file).to_owned()]);
        }
        for command in ["report", "inspect", "export --format npz --output new", "flow", "diff", "train --resume"] {
            let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            words.push(text(&file).to_owned());
            words.extend((command == "diff").then(|| text(&file).to_owned()));
            all.push(words);
        }
    }
    for command in ["report", "audit --resume", "audit --out", "flow", "audit --baseline"] {
        all.push(command.split(' ').map(str::to_owned).chain([text(&at("run")).to_owned()]).collect());
    }
    all.push(vec!["report".to_owned(), text(&at("study")).to_owned()]);
    all.push(vec!["audit".to_owned(), "--data".to_owned(), text(&at("idx")).to_owned()]);
    for words in all {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = advmod(&words).current_dir(folder.path()).timeout(Duration::from_secs(20)).output();
        let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(2 | 3)), "{words:?}: {:?} {error}", output.status);
        assert!(error.lines().count() == 1 && !error.contains("report this"), "{words:?}: {error}");
    }
}

/// Asks a command to end after a while, and says how long it took and with which code it ended.
fn asked(arguments: &[&str], after: Duration, signal: &str) -> (Duration, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advmod"));
    let mut child = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    assert!(child.try_wait().unwrap().is_none(), "{arguments:?} was too fast to be asked");
    let begun = Instant::now();
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
    let code = child.wait().unwrap().code();
    (begun.elapsed(), code)
}

#[test]
fn one_signal_ends_what_has_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    for class in ["a", "b"] {
        std::fs::create_dir_all(images.join(class)).unwrap();
        let first = images.join(class).join("0.png");
        let noise = |x: u32, y: u32| image::Luma([(x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) as u8]);
        image::GrayImage::from_fn(500, 500, noise).save(&first).unwrap();
        for number in 1..30_000 {
            std::fs::hard_link(&first, images.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
    let out = folder.path().join("out");
    let large = ["audit", "--data", text(&images), "--samples", "60000", "--input-size", "500", "--out", text(&out)];
    // The model is tried when it is opened, on images that grow to 6,224 pixels, for minutes.
    let model = folder.path().join("huge.pt");
    let grown = "x = torch.pad(x, [3000, 3000, 3000, 3000])\n    for _i in range(400):\n      x = torch.sigmoid(x)\n    maxpool = self.maxpool";
    changed("tiny-resnet-scripted.pt", "maxpool = self.maxpool", grown, &model);
    let trial = ["audit", "--model", text(&model), "--first", "8", "--out", text(&out)];
    // One image is enough to make the network work for long.
    let slow = ["audit", "--data", text(&images), "--first", "8", "--input-size", "500", "--out", text(&out)];
    for (arguments, after) in [(&large[..], 700), (&slow, 3000), (&trial, 3000)] {
        for (signal, code) in [("TERM", 143), ("INT", 130)] {
            let (took, found) = asked(arguments, Duration::from_millis(after), signal);
            // No code: it had not begun to listen, and ended all the same.
            assert!(found.is_none_or(|found| found == code), "{found:?}");
            assert!(took < Duration::from_secs(2), "{took:?}");
            assert!(!out.join("report.json").exists());
        }
    }
}
