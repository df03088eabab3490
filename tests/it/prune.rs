//! `advmod prune` through the real executable, and what it takes out.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use advmod::model::format::{Dtype, RawTensor, write_safetensors};
use advmod::model::interpreter::Interpreter;
use advmod::model::load::LoadOptions;
use advmod::model::op::Mode;
use advmod::model::program::Program;
use advmod::model::upload::upload;
use advmod::model::weights::FreshWeights;
use advmod::model::zoo;
use advmod::study::prune::{Whole, remove};
use advmod_attacks::victim::Victim as _;
use serde_json::Value;
use tch::{Device, Tensor};

use crate::studies::check_stored;
use crate::support::{advmod, first, make_data_set, model, root};

/// Fresh weights of a built-in architecture for one channel, as a file.
fn write_fresh(name: &str, path: &Path) {
    let program = zoo::named(name, 1, 10).unwrap().build(&mut FreshWeights::new(0)).unwrap();
    let raw = |tensor: &Tensor| {
        let values: Vec<f32> = Vec::try_from(tensor.detach().view(-1)).unwrap();
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        RawTensor { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    };
    let tensors: Vec<_> = program.weights.iter().map(|it| (it.name.clone(), raw(&it.tensor))).collect();
    write_safetensors(path, &tensors, &std::collections::BTreeMap::new()).unwrap();
}

fn logits(program: Program, pixels: &Tensor) -> Tensor {
    tch::no_grad(|| Interpreter::new(program).run(pixels, Mode::Evaluate)).unwrap()
}

#[test]
fn a_network_without_a_block_is_the_network_in_which_the_block_adds_nothing() {
    let model = model(None, &LoadOptions::default());
    let whole = Whole::of(&model, [28, 28]).unwrap();
    let (pixels, _) = upload(&first(None, 16), Device::Cpu).unwrap();
    let units = whole.units();
    assert_eq!(units.len(), 9);
    for gone in (0..9).filter(|&at| !units[at].changes_shape) {
        let kept: Vec<bool> = (0..9).map(|at| at != gone).collect();
        let removed = remove(&whole, &kept, 0).unwrap();
        assert!(removed.remade.is_empty());
        // Its last batch norm at 0: what goes into the block comes out, for it is not negative.
        let mut silent = whole.program.clone();
        for weight in &mut silent.weights {
            if weight.name.starts_with(&format!("{}.bn2.", units[gone].path)) && weight.trainable {
                weight.tensor = weight.tensor.zeros_like();
            }
        }
        let difference = (logits(removed.program, &pixels) - logits(silent, &pixels)).abs().max();
        assert!(difference.double_value(&[]) < 1e-4, "{}", units[gone].path);
    }
}

#[test]
fn convolutions_of_a_vgg_are_copied_where_they_fit_and_made_anew_where_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vgg.safetensors");
    write_fresh("vgg[1,2,2]-bn/8", &path);
    let model = model(Some(&path), &LoadOptions::default());
    assert_eq!(model.info().architecture, "vgg[1,2,2]-bn/8");
    let whole = Whole::of(&model, [28, 28]).unwrap();
    let weight = |program: &Program, name: &str| -> Tensor {
        program.weights.iter().find(|it| it.name == name).unwrap().tensor.detach()
    };
    // features: 0, pool 3, 4, 7, pool 10, 11, 14, pool 17. Without the second of the middle stage all numbers behind move by 3.
    let removed = remove(&whole, &[true, true, false, true, true], 1).unwrap();
    assert_eq!((removed.name.as_str(), removed.remade.len()), ("vgg[1,1,2]-bn/8", 0));
    for (new, old) in [("features.8.weight", "features.11.weight"), ("features.12.bias", "features.15.bias")] {
        assert_eq!(weight(&removed.program, new), weight(&whole.program, old), "{new}");
    }
    // Without the first, which doubles the channels, the second has another input.
    let removed = remove(&whole, &[true, false, true, true, true], 1).unwrap();
    assert_eq!(removed.remade, ["features.4.weight"]);
    assert_eq!(weight(&removed.program, "features.4.weight").size(), [16, 8, 3, 3]);
    assert_eq!(weight(&removed.program, "features.8.weight"), weight(&whole.program, "features.11.weight"));
}

#[test]
fn blocks_of_exported_programs_are_found_and_taken_out() {
    let (pixels, _) = upload(&first(None, 8), Device::Cpu).unwrap();
    for (name, paths, last_weights) in [
        // Two blocks change the shape.
        ("tiny-resnet", &["layer1.0", "layer2.0"][..], &["bn2.weight", "bn2.bias"][..]),
        // Each layer adds twice.
        (
            "tiny-vit",
            &["layers.0", "layers.1", "layers.2"],
            &["attention.out_proj.weight", "attention.out_proj.bias", "mlp.2.weight", "mlp.2.bias"],
        ),
    ] {
        let model = model(Some(&root().join(format!("fixtures/{name}.pt2"))), &LoadOptions::default());
        let whole = Whole::of(&model, [28, 28]).unwrap();
        let units = whole.units();
        assert_eq!(units.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), paths, "{name}");
        assert!(!whole.has_a_name());
        for gone in 0..units.len() {
            let kept: Vec<bool> = (0..units.len()).map(|at| at != gone).collect();
            let removed = remove(&whole, &kept, 0).unwrap();
            let prefix = format!("{}.", units[gone].path);
            assert!(!removed.program.weights.iter().any(|it| it.name.starts_with(&prefix)), "{name} {prefix}");
            assert!(!removed.program.default_taps.iter().any(|it| it.path == units[gone].path));
            assert_eq!(removed.program.default_taps.len() + 1, whole.program.default_taps.len());
            // Its branches end in zeros.
            let mut silent = whole.program.clone();
            let mut silenced = 0;
            for weight in &mut silent.weights {
                if weight.name.strip_prefix(&prefix).is_some_and(|rest| last_weights.contains(&rest)) {
                    weight.tensor = weight.tensor.zeros_like();
                    silenced += 1;
                }
            }
            assert_eq!(silenced, last_weights.len());
            let all = logits(whole.program.clone(), &pixels);
            let (silent, removed) = (logits(silent, &pixels), logits(removed.program, &pixels));
            assert!((&removed - &silent).abs().max().double_value(&[]) < 1e-4, "{name} {prefix}");
            assert!((&removed - &all).abs().max().double_value(&[]) > 1e-3, "{name} {prefix}");
        }
        // All of them: the additions follow each other.
        let removed = remove(&whole, &vec![false; units.len()], 0).unwrap();
        assert!(logits(removed.program, &pixels).isfinite().all().int64_value(&[]) == 1);
    }
}

#[test]
fn an_exported_network_is_fine_tuned_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    let fixture = root().join("fixtures/tiny-resnet.pt2").display().to_string();
    let recipe = ["--epochs", "2", "--lr", "0.1", "--batch", "25", "--crop-padding", "0"];
    let flags =
        [&["--samples", "60", "--repeats", "1", "--threads", "1", "--rule", "last,cka,a"], &recipe[..]].concat();
    let files = ["prune", "--model", &fixture, "--data", &path("images"), "--out", &path("out")];
    advmod(&[&files[..], &flags].concat()).assert().success();
    let json: Value = serde_json::from_slice(&std::fs::read(path("out/prune.json")).unwrap()).unwrap();
    let row = &json["rules"][0];
    assert_eq!(row["removed"], serde_json::json!(["layer2.0"]));
    assert!(row["file"].is_null() && row["size"]["parameters"].as_u64() < json["size"]["parameters"].as_u64());
    // Random weights learn something.
    let share = |it: &Value| it["value"].as_f64().unwrap();
    assert!(share(&row["judged"]["tuned"]) > share(&row["judged"]["removed"]) + 0.1, "{row}");
    assert_eq!(std::fs::read_dir(path("out")).unwrap().count(), 3);
}

#[test]
fn one_command_compares_rules_and_writes_models_that_load_without_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    let flags = ["--samples", "200", "--repeats", "2", "--epochs", "0", "--threads", "1", "--progress", "none"];
    let rules = "a,b,last:2,random:2,cka,smallest,largest,none";
    let files = ["prune", "--data", &path("images"), "--out", &path("out"), "--rule", rules];
    let output = advmod(&[&files[..], &flags].concat()).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.contains("(whole)") && text.contains("CKA with") && text.contains("269,434"), "{text}");
    let json: Value = serde_json::from_slice(&std::fs::read(path("out/prune.json")).unwrap()).unwrap();
    let row = |rule: &str| json["rules"].as_array().unwrap().iter().find(|it| it["rule"] == rule).unwrap();
    assert_eq!(row("last:2")["removed"], serde_json::json!(["layer3.1", "layer3.2"]));
    assert_eq!(row("last:2")["architecture"], "resnet[3,3,1]");
    assert_eq!((row("none")["removed"].as_array().unwrap().len(), &row("none")["size"]), (0, &json["size"]));
    assert_eq!(row("none")["judged"]["tuned"], json["accuracy"]);
    // The extremes are those of the units that can go.
    let units = json["survey"]["units"].as_array().unwrap();
    let removable = |unit: &&Value| !["layer2.0", "layer3.0"].iter().any(|it| unit["unit"] == *it);
    let delta = |unit: &Value| unit["delta"]["value"].as_f64().unwrap();
    let deltas: Vec<f64> = units.iter().filter(removable).map(delta).collect();
    let of = |rule: &str| row(rule)["delta_q"].as_f64().unwrap();
    let (least, most) = deltas.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &it| (a.min(it), b.max(it)));
    assert!((of("smallest:1") - least).abs() < 1e-12 && (of("largest:1") - most).abs() < 1e-12 && least < most);
    // ΔQ is the difference of the curve's points, inside its interval.
    let q = |unit: &Value| unit["q"].as_f64().unwrap();
    for pair in units.windows(2) {
        assert!((delta(&pair[1]) - (q(&pair[1]) - q(&pair[0]))).abs() < 1e-12);
        let it = &pair[1]["delta"];
        assert!(it["low"].as_f64() < it["value"].as_f64() && it["value"].as_f64() < it["high"].as_f64());
    }
    check_stored("prune", &folder.path().join("out"), text.as_bytes());
    let csv = std::fs::read_to_string(path("out/prune.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 8);
    assert!(std::fs::read_to_string(path("out/prune.svg")).unwrap().contains("class=\"line\""));

    // What was written computes what was removed, with the accuracy of the table.
    let file = folder.path().join("out/last-2.safetensors");
    let (loaded, embedded) = (model(Some(&file), &LoadOptions::default()), model(None, &LoadOptions::default()));
    assert_eq!(loaded.info().architecture, "resnet[3,3,1]");
    assert_eq!(loaded.info().normalization, embedded.info().normalization);
    let whole = Whole::of(&embedded, [28, 28]).unwrap();
    let kept: Vec<bool> = (0..9).map(|at| at < 7).collect();
    let removed = remove(&whole, &kept, 0).unwrap();
    let (pixels, labels) = upload(&first(None, 1000), Device::Cpu).unwrap();
    let written = loaded.program().unwrap().clone();
    assert_eq!(logits(written, &pixels), logits(removed.program, &pixels));
    let correct = tch::no_grad(|| loaded.logits(&pixels)).unwrap().argmax(1, false).eq_tensor(&labels);
    let correct = i64::try_from(correct.sum(tch::Kind::Int64)).unwrap();
    assert_eq!(row("last:2")["judged"]["tuned"]["count"].as_i64().unwrap(), correct);
}

#[test]
fn fine_tuning_repairs_what_removal_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    let flags = ["--samples", "100", "--repeats", "1", "--epochs", "1", "--threads", "1", "--crop-padding", "0"];
    let files = ["--data", &path("images"), "--rule", "last:2", "--out", &path("m.safetensors"), "--format", "json"];
    let output = advmod(&[&["prune"], &files[..], &flags].concat()).assert().success();
    let json: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let judged = &json["rules"][0]["judged"];
    let (removed, tuned) = (judged["removed"]["value"].as_f64().unwrap(), judged["tuned"]["value"].as_f64().unwrap());
    assert!(tuned > removed + 0.05, "{removed} {tuned}");
    let drop = judged["drop"]["value"].as_f64().unwrap();
    assert!((drop - (json["accuracy"]["value"].as_f64().unwrap() - tuned)).abs() < 1e-12);
    assert_eq!(json["rules"][0]["file"], "m.safetensors");
    let inspected = advmod(&["inspect", "--model", &path("m.safetensors")]).assert().success();
    assert!(String::from_utf8_lossy(&inspected.get_output().stdout).contains("resnet[3,3,1]"));
}

#[test]
fn the_same_network_from_scratch_has_its_own_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    write_fresh("vgg[1,2]-bn/8", &folder.path().join("vgg.safetensors"));
    let flags = ["--samples", "100", "--repeats", "1", "--threads", "1", "--rule", "last,smallest", "--epochs", "0"];
    let scratch =
        ["--scratch", "--scratch-epochs", "4", "--scratch-lr", "0.05", "--batch", "20", "--crop-padding", "0"];
    let files = ["prune", "--data", &path("images"), "--model", &path("vgg.safetensors"), "--out", &path("out")];
    let output = advmod(&[&files[..], &flags, &scratch].concat()).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.contains("from scratch: 4 epoch(s), SGD lr 0.05 (÷10 before epoch 4)"), "{text}");
    let json: Value = serde_json::from_slice(&std::fs::read(path("out/prune.json")).unwrap()).unwrap();
    let rows = json["rules"].as_array().unwrap();
    // Fine-tuning did nothing to the fresh weights; the training from scratch did.
    let share = |row: &Value, what: &str| row["judged"][what]["value"].as_f64().unwrap();
    assert_eq!(rows[0]["judged"]["tuned"], rows[0]["judged"]["removed"]);
    assert!(share(&rows[0], "scratch") > share(&rows[0], "tuned") + 0.1, "{rows:?}");
    // Both rules leave the same network, which was trained once.
    assert_eq!(rows[0]["judged"], rows[1]["judged"]);
    let csv = std::fs::read_to_string(path("out/prune.csv")).unwrap();
    assert!(csv.lines().nth(1).unwrap().ends_with(&share(&rows[0], "scratch").to_string()), "{csv}");
    // Alone, the flags would do nothing.
    let refused = advmod(&[&files[..], &["--scratch-epochs", "4"]].concat()).output().unwrap();
    assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("--scratch"));
}

#[test]
fn what_goes_wrong_with_a_rule_does_not_cost_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    write_fresh("vgg[1,2]-bn/8", &folder.path().join("vgg.safetensors"));
    let files = ["prune", "--data", &path("images"), "--model", &path("vgg.safetensors"), "--out", &path("out")];
    let flags = ["--samples", "100", "--repeats", "1", "--threads", "1", "--epochs", "1", "--crop-padding", "0"];
    let scratch = ["--rule", "last,none", "--scratch", "--scratch-lr", "1e30", "--batch", "50"];
    let output = advmod(&[&files[..], &flags, &scratch].concat()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    for rule in ["none", "last:1"] {
        assert!(error.contains(&format!("rule {rule}: not trained from scratch: ")), "{error}");
    }
    assert!(
        error.contains("lower --scratch-lr") && error.contains("2 of 2 rules are measured, and written to"),
        "{error}"
    );
    let json: Value = serde_json::from_slice(&std::fs::read(path("out/prune.json")).unwrap()).unwrap();
    let rows = json["rules"].as_array().unwrap();
    // What the others are compared with comes first.
    assert_eq!((&rows[0]["rule"], &rows[1]["rule"]), (&"none".into(), &"last:1".into()));
    let share = |row: usize| rows[row]["judged"]["tuned"]["value"].as_f64().unwrap();
    let cost = rows[1]["judged"]["cost"]["value"].as_f64().unwrap();
    assert!((cost - (share(0) - share(1))).abs() < 1e-12 && rows[0]["judged"]["cost"].is_null());
    assert!(folder.path().join("out/last-1.safetensors").exists());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("below none") && text.contains("last:1: not trained from scratch"), "{text}");

    // A model that cannot be written leaves its row.
    std::fs::create_dir_all(path("taken/last-1.safetensors")).unwrap();
    let files = ["prune", "--data", &path("images"), "--model", &path("vgg.safetensors"), "--out", &path("taken")];
    let output = advmod(&[&files[..], &flags, &["--rule", "last"]].concat()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && error.contains("rule last:1: its model is not written"), "{error}");
    let json: Value = serde_json::from_slice(&std::fs::read(path("taken/prune.json")).unwrap()).unwrap();
    assert!(json["rules"][0]["judged"]["tuned"]["value"].is_number());
}

#[cfg(unix)]
#[test]
fn what_was_done_before_an_interruption_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    let flags = ["--samples", "100", "--repeats", "1", "--threads", "1", "--batch", "10", "--epochs", "6"];
    let rules = ["none", "last:1", "last:2", "last:3", "last:4"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_advmod"))
        .args(["prune", "--data", &path("images"), "--out", &path("out"), "--rule", &rules.join(",")])
        .args(flags)
        .env_remove("LD_LIBRARY_PATH")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let json = folder.path().join("out/prune.json");
    // It is there from the curve on, without rules at first.
    let is_begun = || std::fs::read_to_string(&json).is_ok_and(|it| it.contains("\"tuned\""));
    while !is_begun() {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let written: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let done = written["rules"].as_array().unwrap().len();
    assert!((1..rules.len()).contains(&done), "{done}");
    let said = String::from_utf8(output.stderr).unwrap();
    let missing = format!("interrupted: not done: --rule {}", rules[done..].join(","));
    assert!(said.contains(&missing), "{said}");
    assert_eq!(written["pending"], serde_json::json!(rules[done..]));
    assert!(String::from_utf8(output.stdout).unwrap().contains("\nnone "));
    let models = std::fs::read_dir(path("out"))
        .unwrap()
        .filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "safetensors"));
    assert_eq!(models.count(), done);
}

#[test]
fn a_dry_run_only_proposes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("images");
    make_data_set(&data);
    let flags = ["--samples", "100", "--repeats", "1", "--threads", "1", "--dry-run", "--by-estimate", "--rule", "a,b"];
    let data = data.display().to_string();
    let output = advmod(&[&["prune", "--data", &data], &flags[..]].concat()).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.contains("(whole)") && !text.contains("fine-tun"), "{text}");
}

#[test]
fn what_cannot_be_pruned_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_data_set(&folder.path().join("images"));
    write_fresh("vgg[1,1]-bn/8", &folder.path().join("vgg.safetensors"));
    write_fresh("resnet8", &folder.path().join("shallow.safetensors"));
    let fixture = |name: &str| root().join("fixtures").join(name).display().to_string();
    std::fs::create_dir(path("test-only")).unwrap();
    for name in ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"] {
        std::fs::copy(folder.path().join("images").join(name), folder.path().join("test-only").join(name)).unwrap();
    }
    for class in ["a", "b"] {
        std::fs::create_dir_all(folder.path().join("no-parts").join(class)).unwrap();
        image::GrayImage::new(28, 28).save(folder.path().join("no-parts").join(class).join("0.png")).unwrap();
    }
    let images = path("images");
    let usual = ["prune", "--repeats", "1", "--threads", "1", "--epochs", "0"];
    let data = ["--data", &images];
    for (more, code, word) in [
        (&[&data[..], &["--model", &path("shallow.safetensors")]].concat()[..], 3, "too shallow"),
        (&[&data[..], &["--rule", "last:9"]].concat(), 3, "only 6 of 9"),
        (&[&data[..], &["--rule", "best"]].concat(), 2, "no rule"),
        (&[&data[..], &["--threshold", "nan"]].concat(), 2, "--threshold"),
        (&[&data[..], &["--rule", "a,b", "--out", &path("x.safetensors")]].concat(), 2, "give a folder"),
        (&[&data[..], &["--samples", "2"]].concat(), 3, "N = 2"),
        (&["--data", &path("nowhere")], 3, "nowhere"),
        (&["--data", &path("test-only")], 3, "no train images"),
        (&["--data", &path("no-parts")], 3, "train/"),
        (
            &[&data[..], &["--model", &fixture("tiny-resnet.pt2"), "--out", &path("y.safetensors")]].concat(),
            2,
            "give --out a folder",
        ),
        (&[&data[..], &["--model", &path("vgg.safetensors")]].concat(), 3, "too shallow"),
    ] {
        let output = advmod(&[&usual[..], more].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(code) && error.contains(word) && error.lines().count() == 1,
            "{more:?}: {:?} {error}",
            output.status.code()
        );
    }
    assert!(!folder.path().join("x.safetensors").exists());
    // Images that the curve does not look at are trained on all the same.
    for (part, n) in [("train", 300_u32), ("t10k", 50)] {
        let head = |kind: u8, sizes: &[u32]| {
            [&[0, 0, 8, kind][..], &sizes.iter().flat_map(|it| it.to_be_bytes()).collect::<Vec<_>>()].concat()
        };
        let mut labels: Vec<u8> = (0..n).map(|at| (at % 10) as u8).collect();
        if part == "train" {
            labels[299] = 77;
        }
        std::fs::create_dir_all(path("labels")).unwrap();
        let pixels = (0..n * 784).map(|at| (at * 7919 % 251) as u8).collect::<Vec<_>>();
        std::fs::write(path(&format!("labels/{part}-images-idx3-ubyte")), [head(3, &[n, 28, 28]), pixels].concat())
            .unwrap();
        std::fs::write(path(&format!("labels/{part}-labels-idx1-ubyte")), [head(1, &[n]), labels].concat()).unwrap();
    }
    let output = advmod(&[&usual[..], &["--data", &path("labels"), "--samples", "20"]].concat()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && error.contains("image 299 has label 77"), "{error}");
    let flags = ["--data", &images, "--scratch", "--scratch-lr", "-1"];
    let error = advmod(&[&usual[..], &flags].concat()).output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&error).contains("--scratch-lr -1: must be"));
}
