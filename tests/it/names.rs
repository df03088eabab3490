//! Files and folders whose names are no UTF-8, or hold what means something to a terminal, a page or a spreadsheet.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::formats::{json, problems, sarif_schema};
use crate::support::{advmod, first, root};

/// Valid in no encoding, with line breaks, quotes, markup, an escape sequence and a formula.
const UGLY: &[u8] = b"=1+1 \xff\xfe'\"<script>alert(1)</script>\n::error::x\r\t\x1b[2J`$(x)`,;|&{0}[a](b)";

fn ugly(before: &str) -> OsString {
    OsString::from_vec([before.as_bytes(), UGLY].concat().into_iter().filter(|&byte| byte != b'/').collect())
}

/// No panic, and nothing on the terminal that it would obey.
fn run(arguments: &[&OsStr]) -> Output {
    let output = advmod(&[]).args(arguments).output().unwrap();
    for text in [&output.stdout, &output.stderr].map(|bytes| std::str::from_utf8(bytes).unwrap()) {
        assert!(!text.contains("panicked") && !text.contains('\u{1b}'), "{arguments:?}: {text}");
    }
    assert!(matches!(output.status.code(), Some(0..=4)), "{output:?}");
    output
}

/// An image folder of the embedded images, and the embedded model as a file.
fn make_files(folder: &Path) -> (PathBuf, PathBuf) {
    let (model, data) = (folder.join(ugly("model")), folder.join(ugly("data")));
    std::fs::copy(root().join("fixtures/resnet20-fashion-mnist.safetensors"), &model).unwrap();
    let images = first(None, 60);
    for (place, (pixels, label)) in images.pixels.chunks_exact(784).zip(&images.labels).enumerate() {
        let class = data.join(ugly(&label.to_string()));
        std::fs::create_dir_all(&class).unwrap();
        let image = image::GrayImage::from_raw(28, 28, pixels.to_vec()).unwrap();
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let mut name = ugly(&place.to_string());
        name.push(".png");
        std::fs::write(class.join(name), bytes.into_inner()).unwrap();
    }
    (model, data)
}

#[test]
fn a_run_over_ugly_names_writes_valid_files() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = make_files(folder.path());
    let (out, plan) = (folder.path().join(ugly("out")), folder.path().join(ugly("plan")));
    std::fs::write(
        &plan,
        "[[gate]]\nid = '=1+1 <b>'\nexpr = 'asr.fgsm <= 0.01'\n[[gate]]\nexpr = 'asr.*.class.* <= 0.01'\n",
    )
    .unwrap();
    let text = OsStr::new;
    let inputs = [text("--model"), model.as_os_str(), text("--data"), data.as_os_str()];
    let flags = ["--attacks", "fgsm", "--samples", "40", "--threads", "1", "--normalize", "fashion-mnist"].map(text);
    let files = [text("--plan"), plan.as_os_str(), text("--out"), out.as_os_str()];
    let output = run(&[&[text("audit")], &inputs[..], &flags, &files].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    let report = json(&out.join("report.json"));
    assert_eq!(problems(&json(&root().join("docs/report.schema.json")), &report), [""; 0]);
    assert_eq!(report["plan_file"], serde_json::Value::Null);
    assert!(report["clean"]["accuracy"]["value"].as_f64().unwrap() > 0.8, "{}", report["clean"]["accuracy"]);
    assert_eq!(problems(&sarif_schema(), &json(&out.join("report.sarif"))), [""; 0]);
    let read = |name: &str| String::from_utf8(std::fs::read(out.join(name)).unwrap()).unwrap();
    let junit = quick_junit::Report::deserialize_from_str(&read("report.junit.xml")).unwrap();
    assert_eq!(junit.test_suites.iter().find(|suite| suite.name.as_str() == "fgsm").unwrap().test_cases.len(), 2);
    for name in ["curves.csv", "samples.csv"] {
        for record in csv::Reader::from_reader(read(name).as_bytes()).records() {
            assert!(record.unwrap().iter().all(|cell| !cell.starts_with('=')), "{name}");
        }
    }
    let markdown = read("report.md");
    assert!(!markdown.contains('\u{1b}') && !markdown.contains("\n::error"));
    // Only as code, where it is text.
    assert!(markdown.lines().all(|line| line.starts_with("    ") || !line.contains("<script")), "{markdown}");
    let page = read("report.html");
    assert!(!page.contains("<script") && !page.contains('\u{1b}') && page.contains("&lt;script&gt;alert(1)"));
    for line in read("run.jsonl").lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    for format in ["text", "json", "markdown", "html", "curves", "samples", "sarif", "junit", "github"] {
        let output = run(&[text("report"), out.as_os_str(), text("--format"), text(format)]);
        assert!(output.status.success(), "{format}: {output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(format != "github" || shown.lines().all(|line| line.starts_with("::")), "{shown}");
    }

    // What has no text cannot stand in a plan: the rounded pixels are not judged, and it says so in one line.
    let images = folder.path().join(ugly("images"));
    let export = [text("export"), out.as_os_str(), text("--format"), text("png"), text("--output"), images.as_os_str()];
    let output = run(&export);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && error.contains("--unjudged") && error.lines().count() == 1, "{error}");
    let output = run(&[&export[..], &[text("--unjudged")]].concat());
    assert!(output.status.success(), "{output:?}");
    let mut rows = 0;
    for record in csv::Reader::from_path(images.join("manifest.csv")).unwrap().records() {
        let record = record.unwrap();
        assert!(images.join(&record[0]).is_file() && record.iter().all(|cell| !cell.starts_with('=')), "{record:?}");
        rows += 1;
    }
    assert_eq!(rows, report["attacks"][0]["samples"].as_array().unwrap().len());
    assert_eq!(std::fs::read_dir(images.join("fgsm")).unwrap().count(), report["classes"].as_array().unwrap().len());
    assert_eq!(std::fs::read_dir(&images).unwrap().count(), 2);
}

#[test]
fn ugly_names_that_do_not_exist_or_hold_nothing_get_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = OsStr::new;
    let (missing, empty) = (folder.path().join(ugly("missing")), folder.path().join(ugly("empty")));
    std::fs::write(&empty, "").unwrap();
    for path in [&missing, &empty] {
        for (command, flag) in [
            ("audit", "--model"),
            ("audit", "--data"),
            ("audit", "--plan"),
            ("inspect", "--model"),
            ("curve", "--data"),
        ] {
            // An empty plan is one: what it says is all default.
            let more = if command == "audit" {
                &["--samples", "10", "--attacks", "fgsm", "--quiet"].map(text)[..]
            } else {
                &[]
            };
            let output = run(&[&[text(command), text(flag), path.as_os_str()], more].concat());
            let is_empty_plan = flag == "--plan" && path == &empty;
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(
                is_empty_plan || output.status.code() == Some(3) || output.status.code() == Some(2),
                "{command} {flag}: {error}"
            );
            assert!(is_empty_plan || error.lines().count() == 1, "{command} {flag}: {error}");
        }
        let output = run(&[text("report"), path.as_os_str()]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
    let name = OsStr::from_bytes(b"\xff");
    for arguments in [
        &[text("audit"), text("--attacks"), name][..],
        &[text("audit"), text("--gate"), name],
        &[text("report"), missing.as_os_str(), text("--format"), name],
        &[name],
    ] {
        let output = run(arguments);
        assert!(output.status.code() == Some(2) && String::from_utf8(output.stderr).unwrap().lines().count() == 1);
    }
}
