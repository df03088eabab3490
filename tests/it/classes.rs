//! Folders of images and the classes of a model, through the real executable.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{advmod, first};

/// The names that the embedded model has, as folders can have them; the first one has a slash.
const NAMES: [&str; 10] =
    ["top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// The first embedded images of these labels, in folders that `name` names.
fn pictures(root: &Path, labels: &[u32], name: impl Fn(u32) -> String) -> PathBuf {
    let images = first(None, 120);
    let [_, _, height, width] = images.shape;
    let all = images.pixels.chunks(height * width).zip(&images.labels).enumerate();
    for (at, (pixels, &label)) in all.filter(|(_, (_, label))| labels.contains(label)) {
        let folder = root.join(name(label));
        std::fs::create_dir_all(&folder).unwrap();
        let image = image::GrayImage::from_raw(width as u32, height as u32, pixels.to_vec()).unwrap();
        image.save(folder.join(format!("{at:03}.png"))).unwrap();
    }
    root.to_owned()
}

fn audit(data: &Path, more: &[&str]) -> (i32, Option<Value>, String) {
    let out = tempfile::tempdir().unwrap();
    let report = out.path().join("report.json");
    let fast = ["audit", "--attacks", "fgsm", "--preset", "quick", "--threads", "1", "--progress", "none"];
    let paths = ["--data", data.to_str().unwrap(), "-o", report.to_str().unwrap()];
    let output = advmod(&[&fast[..], &paths, more].concat()).output().unwrap();
    let text = std::fs::read_to_string(&report).ok().map(|text| serde_json::from_str(&text).unwrap());
    (output.status.code().unwrap(), text, String::from_utf8(output.stderr).unwrap())
}

fn accuracy(report: &Value) -> f64 {
    report["clean"]["accuracy"]["value"].as_f64().unwrap()
}

#[test]
fn folders_are_the_models_classes_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    // Three of ten, which in their order would be the first three; and fewer images than an audit takes where there are enough.
    let data = pictures(folder.path(), &[1, 3, 8], |label| NAMES[label as usize].to_owned());
    std::fs::create_dir(data.join("Emptied")).unwrap();
    let (_, report, text) = audit(&data, &[]);
    let report = report.expect(&text);
    assert!(accuracy(&report) > 0.85, "{}", accuracy(&report));
    assert!(text.contains("3 folders with images for 10 outputs") && text.contains("no classes: Emptied"), "{text}");
    assert_eq!(report["data"]["classes"][1], "Trouser");
    // A folder that the model does not know.
    std::fs::rename(data.join("Bag"), data.join("Bags")).unwrap();
    let (code, _, text) = audit(&data, &[]);
    assert!(code == 3 && text.contains("1 of 3 folders") && text.contains("Bags"), "{code} {text}");
    // Unless a list says which output it is.
    let list = folder.path().join("classes.csv");
    std::fs::write(&list, "Bags,8\nTrouser,1\nDress,3\n").unwrap();
    let (_, report, text) = audit(&data, &["--classes", list.to_str().unwrap()]);
    assert!(accuracy(&report.expect(&text)) > 0.85);
    let (code, _, text) = audit(&data, &["--classes", "nowhere.txt"]);
    assert!(code == 3 && text.contains("nowhere.txt"), "{code} {text}");
}

#[test]
fn labels_in_another_order_are_found_out() {
    let folder = tempfile::tempdir().unwrap();
    // Named by numbers that run the other way.
    let data = pictures(folder.path(), &(0..10).collect::<Vec<_>>(), |label| format!("{}", 19 - label));
    let (_, report, text) = audit(&data, &[]);
    let report = report.expect(&text);
    assert!(text.contains("labels in another order (0 as 9"), "{text}");
    assert_eq!(report["validity"]["verdict"], "failed");
    let reason = report["validity"]["reason"].as_str().unwrap().to_owned() + &text;
    assert!(reason.contains("permutation") || reason.contains("above chance"), "{reason}");
}

#[test]
fn one_image_is_attacked_without_a_curve() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report.json");
    let output = advmod(&["audit", "--first", "1", "--attacks", "fgsm", "--threads", "1", "-o", out.to_str().unwrap()]);
    let output = { output }.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&out).expect(&text)).unwrap();
    assert_eq!(report["attacks"][0]["success_rate"]["of"], 1);
    let tap = &report["attacks"][0]["curves"]["adversarial"]["taps"][0];
    assert!(tap["q"].is_null() && tap["reason"].as_str().unwrap().contains("more than k samples"), "{tap}");
    // What nobody can mean is asked about.
    let far =
        advmod(&["audit", "--first", "1", "--attack", "fgsm:norm=l2,eps=128", "--threads", "1"]).output().unwrap();
    let text = String::from_utf8_lossy(&far.stderr).into_owned();
    assert!(!far.status.success() && text.contains("did you mean 128/255?") && text.contains("28.0"), "{text}");
}

/// Three of the model's ten classes for training, two of them to judge on: by their order they would be others.
#[test]
fn pruning_and_training_find_folders_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (training, test) = (folder.path().join("images/train"), folder.path().join("images/test"));
    pictures(&training, &[1, 3, 8], |label| NAMES[label as usize].to_owned());
    pictures(&test, &[1, 8], |label| NAMES[label as usize].to_owned());
    let data = path("images");
    let usual = ["prune", "--data", &data, "--samples", "20", "--repeats", "1", "--threads", "1", "--epochs", "0"];
    let flags = ["--rule", "none", "--progress", "none", "--out", &path("pruned")];
    let output = advmod(&[&usual[..], &flags].concat()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.contains("3 folders with images for 10 outputs"), "{text}");
    let result = std::fs::read_to_string(folder.path().join("pruned/prune.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert!(result["accuracy"]["value"].as_f64().unwrap() > 0.85, "{}", result["accuracy"]);
    let train = |out: &str| {
        let flags = ["--arch", "resnet8/4", "--epochs", "1", "--batch", "16", "--threads", "1", "--progress", "none"];
        let output = advmod(&[&["train", "--data", &data, "--out", out], &flags[..]].concat()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_trained, text) = train(&path("small.safetensors"));
    assert!(is_trained, "{text}");
    // The classes are those of the training, whatever is there to judge on.
    let (code, report, text) = audit(&test, &["--model", &path("small.safetensors")]);
    assert!(report.is_some() && text.contains("2 folders with images for 3 outputs"), "{code} {text}");
    std::fs::rename(test.join("Bag"), test.join("Bags")).unwrap();
    let (is_trained, text) = train(&path("other.safetensors"));
    assert!(!is_trained && text.contains("Bags"), "{text}");
}
