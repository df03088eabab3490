//! `advmod export` through the real executable, against the run that it exports.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use advmod::data::Images;
use advmod::model::load::LoadOptions;
use advmod::report::export::{EXPORTS, Export, ExportError};
use advmod::store::pixels::{PixelFile, adversarial};
use advmod::verdict::Report;
use advmod_attacks::query::padded_logits;
use npyz::npz::NpzArchive;
use tch::{Device, Tensor};

use crate::support::{advmod, model, root};

/// A small run, and its report.
fn run(out: &Path, more: &[&str]) -> Report {
    let attacks =
        ["--attack", "fgsm:eps=0.02", "--attack", "pgd:steps=2,eps=0.02,target=7", "--samples", "40", "--threads", "1"];
    let output = advmod(&[&["audit", "--out", out.to_str().unwrap()], &attacks[..], more].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// Exit code and stderr.
fn export(run: &Path, format: &str, to: &Path, more: &[&str]) -> (i32, String) {
    let (run, to) = (run.to_str().unwrap(), to.to_str().unwrap());
    let output = advmod(&[&["export", run, "--format", format, "--output", to], more].concat()).output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Everything under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn arrays_hold_what_the_run_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (out, npz, tensors) = (folder.path().join("out"), folder.path().join("a/npz"), folder.path().join("tensors"));
    let report = run(&out, &[]);
    let (code, text) = export(&out, "npz", &npz, &[]);
    assert!(code == 0 && text.ends_with(&format!(" images: {}\n", npz.display())), "{text}");
    assert_eq!(files(&npz), [npz.join("fgsm.npz"), npz.join("pgd.npz")]);
    for attack in &report.attacks {
        let label = attack.attack.label.as_str();
        let mut file = NpzArchive::open(npz.join(format!("{label}.npz"))).unwrap();
        let mut integers = |name: &str| file.by_name(name).unwrap().unwrap().into_vec::<i64>().unwrap();
        let [y, indices, samples, predictions] = ["y", "indices", "samples", "predictions"].map(&mut integers);
        let success = file.by_name("success").unwrap().unwrap().into_vec::<bool>().unwrap();
        let x = file.by_name("x").unwrap().unwrap();
        assert_eq!(x.shape(), [attack.samples.len() as u64, 1, 28, 28]);
        let (x, x_clean) =
            (x.into_vec::<f32>().unwrap(), file.by_name("x_clean").unwrap().unwrap().into_vec::<u8>().unwrap());
        let mut clean = PixelFile::clean(&out).unwrap().unwrap();
        for (row, result) in attack.samples.iter().enumerate() {
            let sample = result.sample;
            let found = (samples[row], predictions[row], success[row]);
            assert_eq!(found, (sample as i64, i64::from(result.prediction), result.success));
            assert_eq!(
                (y[row], indices[row]),
                (i64::from(report.data.labels[sample]), report.data.indices[sample] as i64)
            );
            let pixels = 784 * row..784 * (row + 1);
            assert_eq!(x[pixels.clone()], adversarial(&out, label, sample).unwrap().unwrap().pixels);
            assert_eq!(x_clean[pixels], clean.picture(sample).unwrap().eight_bit());
        }
    }
    // The other format holds the same, and `--attack` picks.
    assert_eq!(export(&out, "safetensors", &tensors, &["--attack", "pgd", "--quiet"]), (0, String::new()));
    assert_eq!(files(&tensors), [tensors.join("pgd.safetensors")]);
    let bytes = std::fs::read(tensors.join("pgd.safetensors")).unwrap();
    let found = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut file = NpzArchive::open(npz.join("pgd.npz")).unwrap();
    let x: Vec<f32> = file.by_name("x").unwrap().unwrap().into_vec().unwrap();
    let of_tensor = |name: &str| found.tensor(name).unwrap().data().to_vec();
    assert_eq!(of_tensor("x"), x.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    assert_eq!(of_tensor("x_clean"), file.by_name("x_clean").unwrap().unwrap().into_vec::<u8>().unwrap());
    for name in ["y", "indices", "samples", "predictions"] {
        let column: Vec<i64> = file.by_name(name).unwrap().unwrap().into_vec().unwrap();
        assert_eq!(of_tensor(name), column.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    let success: Vec<bool> = file.by_name("success").unwrap().unwrap().into_vec().unwrap();
    assert_eq!(of_tensor("success"), success.iter().map(|&it| u8::from(it)).collect::<Vec<u8>>());
    // Equal runs give equal files.
    let again = folder.path().join("again");
    assert_eq!(export(&out, "npz", &again, &[]).0, 0);
    assert!(std::fs::read(again.join("pgd.npz")).unwrap() == std::fs::read(npz.join("pgd.npz")).unwrap());
}

/// The rows of a manifest.
fn manifest(folder: &Path) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_path(folder.join("manifest.csv")).unwrap().deserialize().map(Result::unwrap).collect()
}

#[test]
fn png_files_are_judged_again_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (out, png) = (folder.path().join("out"), folder.path().join("png"));
    let report = run(&out, &[]);
    let (code, text) = export(&out, "png", &png, &[]);
    assert!(code == 0 && text.contains("fgsm: 39 images, rounded to 8 bits; "), "{text}");
    let rows = manifest(&png);
    let results =
        || report.attacks.iter().flat_map(|attack| attack.samples.iter().map(move |it| (&attack.attack.label, it)));
    assert_eq!(rows.len(), results().count());
    assert_eq!(files(&png).len(), rows.len() + 1);
    let mut bytes = Vec::new();
    for (row, (label, result)) in rows.iter().zip(results()) {
        let class = &report.data.classes[report.data.labels[result.sample] as usize];
        let folder_name = class.replace('/', "_");
        assert_eq!(row["file"], format!("{label}/{folder_name}/{}.png", report.data.indices[result.sample]));
        let shown = image::open(png.join(&row["file"])).unwrap().into_luma8();
        let kept = adversarial(&out, label, result.sample).unwrap().unwrap();
        assert_eq!(shown.as_raw(), &kept.eight_bit());
        assert_eq!((&row["attack"], row["sample"].as_str()), (label, result.sample.to_string().as_str()));
        assert_eq!(
            (row["prediction"].as_str(), row["judged"].as_str()),
            (result.prediction.to_string().as_str(), "pixels before rounding")
        );
        bytes.extend(shown.into_raw());
    }
    // What the model says of exactly these bytes.
    let images = Images { pixels: bytes, shape: [rows.len(), 1, 28, 28], labels: vec![0; rows.len()] };
    let (pixels, _) = advmod::model::upload::upload(&images, Device::Cpu).unwrap();
    let logits = padded_logits(&model(None, &LoadOptions::default()), &pixels).unwrap();
    let classes: Vec<i64> = Vec::try_from(Tensor::argmax(&logits, 1, false)).unwrap();
    for ((row, class), (_, result)) in rows.iter().zip(classes).zip(results()) {
        assert_eq!(row["prediction_8bit"], class.to_string());
        let label = i64::from(report.data.labels[result.sample]);
        let meets_goal = result.target.map_or(class != label, |target| class == i64::from(target));
        assert_eq!(row["success_8bit"], meets_goal.to_string());
    }
    // 0.02 is 5.1 steps of 8 bits: rounding leaves five.
    assert!(rows.iter().any(|row| row["linf_8bit"] == (5.0_f64 / 255.0).to_string()));
}

#[test]
fn what_was_judged_with_8_bits_needs_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let (out, png, copy) =
        (folder.path().join("out"), folder.path().join("png"), folder.path().join("model.safetensors"));
    std::fs::copy(root().join("fixtures/resnet20-fashion-mnist.safetensors"), &copy).unwrap();
    let flags = ["--model", copy.to_str().unwrap()];
    run(&out, &[&flags[..], &["--eight-bit"]].concat());
    std::fs::remove_file(&copy).unwrap();
    let (code, text) = export(&out, "png", &png, &[]);
    assert!(code == 0 && text.contains("the pixels that were judged"), "{text}");
    for row in manifest(&png) {
        assert_eq!((&row["prediction_8bit"], &row["success_8bit"]), (&row["prediction"], &row["success"]));
        assert_eq!(row["judged"], "these pixels");
    }
}

#[test]
fn another_model_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (out, png, copy) =
        (folder.path().join("out"), folder.path().join("png"), folder.path().join("model.safetensors"));
    std::fs::copy(root().join("fixtures/resnet20-fashion-mnist.safetensors"), &copy).unwrap();
    run(&out, &["--model", copy.to_str().unwrap()]);
    // A weight of it has changed.
    let mut bytes = std::fs::read(&copy).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    let (code, text) = export(&out, "png", &png, &[]);
    assert!(code == 3 && text.contains("the model has changed") && text.contains("--unjudged"), "{text}");
    std::fs::remove_file(&copy).unwrap();
    let (code, text) = export(&out, "png", &png, &[]);
    assert!(code == 3 && text.contains("model.safetensors") && text.contains("--unjudged"), "{text}");
    assert!(text.lines().count() == 1 && !png.exists(), "{text}");
    let (code, text) = export(&out, "png", &png, &["--unjudged"]);
    assert!(code == 0 && text.contains("the verdicts are of the pixels before rounding"), "{text}");
    assert!(manifest(&png).iter().all(|row| !row.contains_key("success_8bit")));
}

#[test]
fn bad_input_gets_one_line_and_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    run(&path("out"), &[]);
    std::fs::create_dir(path("full")).unwrap();
    std::fs::write(path("full/mine.txt"), "keep").unwrap();
    let copy = |name: &str| {
        std::fs::create_dir_all(path(name).join("adversarial")).unwrap();
        for file in files(&path("out")) {
            std::fs::copy(&file, path(name).join(file.strip_prefix(path("out")).unwrap())).unwrap();
        }
    };
    copy("no-pixels");
    std::fs::remove_dir_all(path("no-pixels/adversarial")).unwrap();
    copy("no-clean");
    std::fs::remove_file(path("no-clean/clean.safetensors")).unwrap();
    copy("damaged");
    std::fs::write(path("damaged/adversarial/pgd.safetensors"), [0xff; 100]).unwrap();
    copy("foreign");
    std::fs::copy(path("foreign/clean.safetensors"), path("foreign/adversarial/pgd.safetensors")).unwrap();
    copy("partly");
    std::fs::remove_file(path("partly/adversarial/pgd.safetensors")).unwrap();
    copy("hostile");
    let report = std::fs::read_to_string(path("hostile/report.json")).unwrap();
    std::fs::write(
        path("hostile/report.json"),
        report.replace("\"label\": \"pgd\"", "\"label\": \"../out/adversarial/pgd\""),
    )
    .unwrap();
    let new = path("new");
    for (run, format, output, more, code, words) in [
        ("nowhere", "npz", "new", &[][..], 3, "nowhere"),
        ("full", "npz", "new", &[], 3, "no report.json"),
        ("out", "npy", "new", &[], 2, "did you mean npz?; known: npz, safetensors, png"),
        ("out", "npz", "new", &["--attack", "pdg"], 2, "did you mean pgd?; it has fgsm, pgd"),
        ("out", "npz", "new", &["--unjudged"], 2, "--unjudged is for png"),
        ("out", "npz", "new.npz", &[], 2, "give a folder"),
        ("out", "npz", "full", &[], 2, "the folder is not empty"),
        ("out", "npz", "full/mine.txt", &[], 2, "not a folder"),
        ("out", "npz", "full/mine.txt/new", &[], 3, "cannot export to"),
        ("no-pixels", "png", "new", &[], 3, "kept no pixels of these attacks"),
        ("no-clean", "npz", "new", &[], 3, "no clean.safetensors"),
        ("damaged", "npz", "new", &[], 3, "expected pixels as an audit writes them"),
        ("foreign", "npz", "new", &[], 3, "is of another run"),
        ("hostile", "npz", "new", &["--attack", "../out/adversarial/pgd"], 3, "kept no pixels of these attacks"),
    ] {
        let (found, text) = export(&path(run), format, &path(output), more);
        assert!(found == code && text.contains(words) && text.lines().count() == 1, "{run} {output}: {found} {text}");
        assert!(!new.exists() && !path("new.npz").exists(), "{run}");
    }
    assert_eq!(files(&path("full")), [path("full/mine.txt")]);
    let (code, text) = export(&path("partly"), "npz", &new, &[]);
    assert!(code == 0 && text.contains("pgd: left out"), "{text}");
    // Nothing is left beside the folders.
    let hidden = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .filter(|it| it.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn a_stopped_export_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (out, new) = (folder.path().join("out"), folder.path().join("new"));
    let report = run(&out, &[]);
    for format in EXPORTS {
        let unfinished = advmod::atomic_file::Folder::create(&new).unwrap();
        let mut third = |done, _| if done < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        let mut export = Export::open(&report, &out, &[0, 1], None, &mut third).unwrap();
        let written = (format.write)(&mut export, unfinished.path());
        assert!(matches!(written, Err(ExportError::Stopped)), "{}", format.name);
        drop(unfinished);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{}", format.name);
    }
}
