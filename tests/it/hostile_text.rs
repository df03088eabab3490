//! Texts inside of files that a terminal, a page or a CI system would obey: none reaches one as it is.

use std::path::Path;

use serde_json::Value;

use crate::support::{advmod, root};
use crate::torchscript::changed;

/// Sets a title, clears the screen, turns the direction of writing, begins a command of a CI system, ends a page's script and begins another.
const HOSTILE: &str = "x\u{1b}]0;t\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{8}\r\n::error::planted\n##[error]planted\t</script><script>planted";

/// Runs a command and reads all that it says. Nothing of it may be obeyed.
fn said(arguments: &[&str], format: &str) -> String {
    let output = advmod(arguments).output().unwrap();
    assert!(matches!(output.status.code(), Some(0..=4)), "{arguments:?}: {output:?}");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    check(&text, format, &format!("{arguments:?}"));
    text
}

fn check(text: &str, format: &str, whose: &str) {
    assert!(!text.contains("panicked") && !text.contains("please report"), "{whose}: {text}");
    let is_obeyed = |letter: char| {
        letter.is_control() && !matches!(letter, '\n' | '\t')
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    // JSON and the formats made of it have escapes of their own.
    let found = text.chars().find(|&letter| is_obeyed(letter) && !(letter == '\r' && format.ends_with("csv")));
    assert_eq!(found, None, "{whose}: {}", text.escape_debug());
    // A page shows the plan as it is written.
    if matches!(format, "html" | "svg") {
        return assert!(!text.contains("<script>planted") && !text.contains("</script><script"), "{whose}");
    }
    for line in text.lines() {
        assert!(!line.starts_with("##[") && !line.starts_with("::error::planted"), "{whose}: {line}");
        assert!(!line.starts_with("::") || format == "github", "{whose}: {line}");
    }
}

/// Every text of a document becomes the hostile one, but for those under these keys: what would not be read at all shows nothing.
fn plant(value: &mut Value, kept: &[&str]) {
    match value {
        Value::String(text) => HOSTILE.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| plant(item, kept)),
        Value::Object(fields) => {
            fields.iter_mut().filter(|(key, _)| !kept.contains(&key.as_str())).for_each(|(_, it)| plant(it, kept));
        }
        _ => (),
    }
}

fn write_safetensors(path: &Path, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let bytes = std::fs::read(root().join("fixtures/resnet20-fashion-mnist.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(header.as_object_mut().unwrap());
    let header = serde_json::to_vec(&header).unwrap();
    std::fs::write(path, [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + length..]].concat()).unwrap();
}

/// A list of model files with hostile texts in them, each with whether it still opens.
fn models(folder: &Path) -> Vec<(String, bool)> {
    let mut files = Vec::new();
    let mut add = |name: &str, opens: bool| {
        files.push((folder.join(name).display().to_string(), opens));
        folder.join(name)
    };
    write_safetensors(&add("names.safetensors", true), |header| {
        let about: Value = serde_json::from_str(header["__metadata__"]["advmod"].as_str().unwrap()).unwrap();
        let mut planted = about.clone();
        plant(&mut planted, &["architecture"]);
        header
            .insert("__metadata__".to_owned(), serde_json::json!({ "advmod": planted.to_string(), HOSTILE: HOSTILE }));
    });
    write_safetensors(&add("architecture.safetensors", false), |header| {
        let about = header["__metadata__"]["advmod"]
            .as_str()
            .unwrap()
            .replace("\"resnet20\"", &serde_json::json!(HOSTILE).to_string());
        header.insert("__metadata__".to_owned(), serde_json::json!({ "advmod": about }));
    });
    write_safetensors(&add("tensor.safetensors", false), |header| {
        let tensor = header.remove("fc.weight").unwrap();
        header.insert(HOSTILE.to_owned(), tensor);
    });
    write_safetensors(&add("dtype.safetensors", false), |header| header["fc.weight"]["dtype"] = HOSTILE.into());
    let text = serde_json::json!(HOSTILE).to_string();
    let inner = text.trim_matches('"');
    for (name, from, opens) in [
        ("module.pt2", "L__self__conv1,conv1,torch.nn.modules.conv.Conv2d", true),
        ("version.pt2", "2.11.0+cu130", true),
        ("operator.pt2", "torch.ops.aten.conv2d.default", false),
        ("weight.pt2", "conv1.weight", true),
        ("argument.pt2", "as_ints", false),
    ] {
        changed("tiny-resnet.pt2", from, inner, &add(name, opens));
    }
    for (name, from, to) in [
        ("operator.pt", "torch.batch_norm(", "torch.batch_\u{202e}norm("),
        ("text.pt", "maxpool = self.maxpool", "maxpool = \"\u{1b}[2J\u{202e}\""),
        ("statement.pt", "maxpool = self.maxpool", "raise Exception(\"\u{1b}[2J\u{202e}\\n::error::planted\")"),
        (
            "print.pt",
            "maxpool = self.maxpool",
            "maxpool = self.maxpool\n    print(\"\u{1b}[2J\u{202e}\\n::error::planted\")",
        ),
    ] {
        changed("tiny-resnet-scripted.pt", from, to, &add(name, false));
    }
    let line = HOSTILE.replace(['\n', '\r'], "");
    let global = [b"\x80\x02c".as_slice(), line.as_bytes(), b"\n", line.as_bytes(), b"\n)R."].concat();
    std::fs::write(add("global.pt", false), global).unwrap();
    let key = [b"\x80\x02}X".as_slice(), &(HOSTILE.len() as u32).to_le_bytes(), HOSTILE.as_bytes(), b"]s."].concat();
    std::fs::write(add("key.pt", false), key).unwrap();
    files
}

#[test]
fn texts_in_model_files_are_only_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (file, opens) in models(folder.path()) {
        let text = said(&["inspect", "--model", &file], "text");
        assert_eq!(!text.starts_with("error") && !text.contains("\nerror"), opens, "{file}: {text}");
        let json = advmod(&["inspect", "--model", &file, "--format", "json"]).output().unwrap().stdout;
        assert!(!opens || serde_json::from_slice::<Value>(&json).is_ok(), "{file}");
        check(&String::from_utf8(json).unwrap(), "json", &file);
        let arguments = ["curve", "--model", &file, "--samples", "20", "--progress", "plain"];
        said(&arguments, "text");
    }
}

#[test]
fn texts_in_a_model_and_a_plan_are_only_shown_in_reports() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (model, _) = models(folder.path()).swap_remove(0);
    let text = toml::Value::String(HOSTILE.to_owned());
    let plan = format!(
        "[[gate]]\nid = {text}\nreason = {text}\nexpr = 'asr.fgsm <= 1 %'\n[[waiver]]\ngate = {text}\nreason = {text}\nexpires = 2099-01-01\n"
    );
    std::fs::write(path("plan.toml"), plan).unwrap();
    let (plan, out) = (path("plan.toml"), path("out"));
    said(
        &[
            "audit",
            "--plan",
            &plan,
            "--model",
            &model,
            "--attacks",
            "fgsm",
            "--first",
            "24",
            "--threads",
            "1",
            "--out",
            &out,
        ],
        "text",
    );
    for (file, format) in [
        ("report.json", "json"),
        ("report.md", "markdown"),
        ("report.html", "html"),
        ("report.sarif", "sarif"),
        ("report.junit.xml", "junit"),
        ("curves.csv", "csv"),
        ("samples.csv", "csv"),
        ("run.jsonl", "json"),
        ("report.plan.toml", "toml"),
    ] {
        check(&std::fs::read_to_string(Path::new(&out).join(file)).unwrap(), format, file);
    }
}

/// A small result of each study, as the fuzzers begin with it.
fn results() -> impl Iterator<Item = Value> {
    let files = std::fs::read_dir(root().join("fuzz/seeds/study")).unwrap();
    files.map(|file| serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap())
}

#[test]
fn texts_in_results_of_studies_are_only_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("planted.json").display().to_string();
    assert_eq!(results().count(), 6);
    for mut result in results() {
        plant(&mut result, &["study", "similarity", "outputs"]);
        std::fs::write(&file, result.to_string()).unwrap();
        for format in ["text", "json", "svg", "html", "csv"] {
            let text = said(&["report", &file, "--format", format], format);
            let is_other = text.contains("has no format");
            assert!(!text.starts_with("error") || is_other && format != "text" && format != "json", "{text}");
        }
    }
}

#[test]
fn texts_in_a_journal_are_only_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.jsonl").display().to_string();
    let journal = std::fs::read_to_string(root().join("fixtures/run.jsonl")).unwrap();
    // What is one of a few words, or a number, would not be read.
    let kept = [
        "event",
        "eps",
        "norm",
        "similarity",
        "kind",
        "tap",
        "taps",
        "iterate",
        "goal",
        "control",
        "outcome",
        "stage",
        "preset",
        "device",
        "outputs",
    ];
    let planted = journal.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        plant(&mut event, &kept);
        event.to_string() + "\n"
    });
    std::fs::write(&file, planted.collect::<String>()).unwrap();
    for format in ["text", "json", "markdown", "html", "curves", "samples", "sarif", "junit", "github"] {
        let text = said(&["report", &file, "--format", format], if format == "curves" { "csv" } else { format });
        assert!(text.contains("planted") || matches!(format, "curves" | "samples" | "github"), "{format}: {text}");
    }
    said(&["diff", &file, &file], "text");
}

/// Folders, files and lists whose names are texts: the first two classes of the embedded images under the hostile name.
#[test]
fn texts_in_data_are_only_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let line = HOSTILE.replace('/', "|");
    let shown = |arguments: &[&str]| {
        let text = said(&[&["curve", "--samples", "2", "--k", "1", "--progress", "none"], arguments].concat(), "text");
        assert!(text.contains("planted"), "{arguments:?}: {text}");
    };
    // A class, an image that is none, and one that is broken.
    for class in [&line, "b"] {
        std::fs::create_dir_all(path("images").join(class)).unwrap();
        image::GrayImage::new(28, 28).save(path("images").join(class).join("1.png")).unwrap();
    }
    std::fs::write(path("images").join("b").join(line.clone() + ".gif"), "GIF89a").unwrap();
    shown(&["--data", path("images").to_str().unwrap()]);
    std::fs::write(path("images").join("b").join(line.clone() + ".png"), b"\x89PNG\r\n\x1a\n").unwrap();
    shown(&["--data", path("images").to_str().unwrap()]);
    // Names of classes, twice: the second is refused by its name.
    let list = path("classes.json");
    std::fs::write(&list, serde_json::json!([HOSTILE, HOSTILE]).to_string()).unwrap();
    shown(&["--data", path("images").to_str().unwrap(), "--classes", list.to_str().unwrap()]);
    // The arrays of an archive.
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path("images.npz")).unwrap());
    zip.start_file(line.clone() + ".npy", zip::write::SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap();
    shown(&["--data", path("images.npz").to_str().unwrap()]);
    // CIFAR's names of classes, and a global of a batch.
    std::fs::create_dir(path("cifar")).unwrap();
    let batch = std::fs::read(root().join("fuzz/seeds/cifar_python/00")).unwrap();
    let length = usize::from(u16::from_le_bytes([batch[0], batch[1]]));
    std::fs::write(path("cifar/test_batch"), &batch[2..2 + length]).unwrap();
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let names = std::iter::repeat_n(text(HOSTILE), 10).collect::<Vec<_>>().concat();
    let meta = [b"\x80\x02}".as_slice(), &text("label_names"), b"](", &names, b"es."].concat();
    std::fs::write(path("cifar/batches.meta"), meta).unwrap();
    said(&["curve", "--samples", "1", "--k", "1", "--data", path("cifar").to_str().unwrap()], "text");
    let one = HOSTILE.replace(['\n', '\r'], "");
    let global = [b"\x80\x02c".as_slice(), one.as_bytes(), b"\n", one.as_bytes(), b"\n)R."].concat();
    std::fs::write(path("cifar/test_batch"), global).unwrap();
    shown(&["--data", path("cifar").to_str().unwrap()]);
}
