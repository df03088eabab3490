//! Results of studies through the real executable: against their schemas, and rendered again.

use std::path::Path;

use advmod::report::study::{STUDIES, Study, TextOptions};
use advmod::text::heatmap::Look;
use serde_json::Value;

use crate::formats::{json, problems};
use crate::support::{advmod, root, stdout};

fn study(name: &str) -> &'static Study {
    STUDIES.iter().find(|it| it.name == name).unwrap()
}

/// Checks what a study has written to a folder and printed: it fits its schema, and every format that is made of the stored file is what was
/// made of the fresh result. What is damaged is rendered or refused.
pub fn check_stored(name: &str, out: &Path, printed: &[u8]) {
    let (study, folder) = (study(name), out.to_str().unwrap());
    let stored = json(&out.join(study.file));
    assert_eq!(stored["study"], name);
    let schema = json(&root().join(format!("docs/{name}.schema.json")));
    jsonschema::meta::validate(&schema).unwrap();
    assert_eq!(problems(&schema, &stored), [""; 0], "{name}");
    let rendered =
        |flags: &[&str]| advmod(&[&["report", folder], flags].concat()).assert().success().get_output().stdout.clone();
    assert_eq!(String::from_utf8(rendered(&[])).unwrap(), String::from_utf8(printed.to_vec()).unwrap(), "{name}");
    for [format, file] in (study.formats)().into_iter().skip(1) {
        let Ok(written) = std::fs::read(out.join(file)) else { panic!("{name} has written no {file}") };
        assert!(written == rendered(&["--format", format]), "{file} is another when it is made again");
        let again = out.join(format!("again-{file}"));
        rendered(&["--output", again.to_str().unwrap()]);
        assert!(written == std::fs::read(again).unwrap(), "{file} is another when it is written again");
    }
    hostile(study, &stored);
}

/// Small results of the studies that need no training, in folders of their names.
fn measured(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let small = ["--threads", "1", "--taps", "conv1,layer3.2"];
    let run = path("run");
    let audit = ["audit", "--samples", "60", "--attack", "fgsm", "--attack", "pgd:steps=10", "--out", &run];
    advmod(&[&audit[..], &small].concat()).assert().success();
    // One attack that nothing is known of.
    std::fs::remove_file(folder.join("run/adversarial/pgd.safetensors")).unwrap();
    let commands: [(&str, &[&str]); 4] = [
        ("curve", &["--k", "2,3", "--first", "60", "--repeats", "20", "--random-init", "1"]),
        ("similarity", &["--first", "70", "--cka", "30"]),
        ("labels", &["--first", "60", "--k", "20"]),
        ("flow", &[&run, "--k", "5"]),
    ];
    let measure = |(name, flags): (&'static str, &[&str])| {
        let small: &[&str] = if name == "flow" { &[] } else { &small };
        let output = advmod(&[&[name], flags, small, &["--out", &path(name)]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && error.contains("warning: "), "{name} {error}");
        (name, output.stdout)
    };
    commands.map(measure).to_vec()
}

#[test]
fn every_format_is_the_same_when_it_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    for (name, printed) in measured(folder.path()) {
        let out = folder.path().join(name);
        check_stored(name, &out, &printed);
        let stored = json(&out.join(study(name).file));
        assert!(!stored["warnings"].as_array().unwrap().is_empty(), "{name}");
    }
    options_of_texts(folder.path());
    refused(folder.path());
}

/// The text of a stored result takes the flags of the command that measured it.
fn options_of_texts(folder: &Path) {
    let text = |name: &str, flags: &[&str]| {
        let path = folder.join(name).display().to_string();
        stdout(&[&["report", &path], flags].concat())
    };
    assert!(text("curve", &["--details"]).starts_with(&text("curve", &[])[..80]));
    assert!(
        text("curve", &["--details"]).contains("classes at layer3.2") && !text("curve", &[]).contains("classes at")
    );
    let rows = |text: &str| text.lines().count();
    assert_eq!(rows(&text("labels", &[])) - rows(&text("labels", &["--top", "5"])), 15);
}

/// What a stored file may say that no study says.
fn hostile(study: &Study, stored: &Value) {
    let text = TextOptions { details: true, ..TextOptions::new(Look::Colours) };
    let mut paths = Vec::new();
    walk(stored, "", &mut paths);
    for path in paths {
        for value in hostile_values(stored.pointer(&path).unwrap()) {
            let mut damaged = stored.clone();
            *damaged.pointer_mut(&path).unwrap() = value.clone();
            let bytes = serde_json::to_vec(&damaged).unwrap();
            // Rendered or refused in a line, never a panic; nothing that a terminal or a browser obeys, but in data for programs.
            for [format, _] in (study.formats)() {
                let outcome = (study.render)(&bytes, format, &text);
                match outcome.map(|bytes| String::from_utf8(bytes).unwrap()) {
                    Err(error) => assert!(error.lines().count() == 1 && !error.is_empty(), "{path} {error}"),
                    Ok(found) if ["text", "html", "svg"].contains(&format) => {
                        let is_safe = !found.contains("\u{1b}]") && (format == "text" || !found.contains("<script"));
                        assert!(is_safe, "{format} {path} {value}");
                    }
                    Ok(_) => (),
                }
            }
        }
    }
}

/// The places of a document; of a list only the first and the last.
fn walk(value: &Value, at: &str, paths: &mut Vec<String>) {
    paths.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, it)| walk(it, &format!("{at}/{key}"), paths)),
        Value::Array(items) => (items.iter().enumerate())
            .filter(|(place, _)| *place == 0 || place + 1 == items.len())
            .for_each(|(place, it)| walk(it, &format!("{at}/{place}"), paths)),
        _ => (),
    }
}

fn hostile_values(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => {
            let twice: Vec<Value> = items.iter().chain(items).cloned().collect();
            vec![Value::Array(Vec::new()), items.iter().skip(1).cloned().collect(), twice.into()]
        }
        Value::Number(_) => vec![1e300.into(), u64::MAX.into(), Value::Null],
        Value::String(_) => vec!["\u{1b}]0;x\u{7}<script>".into(), "x".repeat(70_000).into()],
        _ => vec![Value::Null, 1.into()],
    }
}

/// Files and formats that there are not.
fn refused(folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    let stored = std::fs::read_to_string(folder.join("curve/curve.json")).unwrap();
    for (name, text) in [
        ("newer.json", stored.replacen("\"schema_version\": 1", "\"schema_version\": 2", 1)),
        ("unknown.json", stored.replacen("\"study\": \"curve\"", "\"study\": \"curves\"", 1)),
        ("other.json", stored.replacen("\"study\": \"curve\"", "\"study\": \"labels\"", 1)),
        ("half.json", stored[..stored.len() / 2].to_owned()),
        ("list.json", "[]".to_owned()),
        ("curve/labels.json", String::new()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    for (flags, code, words) in [
        (vec![path("newer.json")], 3, ["newer.json: has schema version 2", "reads 1"]),
        (vec![path("unknown.json")], 3, ["no study of advmod is called \"curves\"", "known: curve, "]),
        (vec![path("other.json")], 3, ["other.json: not a labels.json of advmod", "measure it again"]),
        (vec![path("half.json")], 3, ["half.json", "no report of advmod"]),
        (vec![path("list.json")], 3, ["list.json", "no report of advmod"]),
        (vec![path("curve")], 2, ["curve.json, labels.json", "give one of these files"]),
        (
            vec![path("curve/curve.json"), "--format".to_owned(), "sarif".to_owned()],
            2,
            ["\"sarif\"", "text, json, csv, classes"],
        ),
        (vec![path("labels"), "--output".to_owned(), path("x.html")], 2, ["\"html\"", "known: text, json, csv"]),
        (vec![path("labels"), "--details".to_owned()], 2, ["the text of advmod labels", "does not take --details"]),
        (
            vec![path("curve/curve.json"), "--details".to_owned(), "--format=csv".to_owned()],
            2,
            ["the csv of", "does not take --details"],
        ),
        (
            vec![path("run"), "--top".to_owned(), "3".to_owned()],
            2,
            ["--top is for the text of a study", "run is an audit"],
        ),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let output = advmod(&[&["report"], &flags[..]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(code) && words.iter().all(|word| error.contains(word)),
            "{flags:?} {error}"
        );
        assert!(error.lines().count() == 1 && output.stdout.is_empty(), "{error}");
    }
}

#[test]
fn each_schema_is_published_and_its_descriptions_are_sentences() {
    for study in STUDIES {
        let printed = advmod(&["schema", study.name]).output().unwrap().stdout;
        let published = root().join(format!("docs/{}.schema.json", study.name));
        let hint = format!("write it anew: advmod schema {0} > docs/{0}.schema.json", study.name);
        assert!(std::fs::read(published).is_ok_and(|published| published == printed), "{hint}");
        let mut paths = Vec::new();
        let schema: Value = serde_json::from_slice(&printed).unwrap();
        walk(&schema, "", &mut paths);
        for path in paths.iter().filter(|path| path.ends_with("/description")) {
            let Some(text) = schema.pointer(path).unwrap().as_str() else { continue };
            assert!(
                text.split_whitespace().count() >= 4 && text.ends_with('.') && !text.contains("[`"),
                "{path}: {text}"
            );
        }
    }
    let output = advmod(&["schema", "x"]).output().unwrap();
    assert!(
        output.status.code() == Some(2) && String::from_utf8(output.stderr).unwrap().contains("known: audit, curve")
    );
}
