//! `advmod train` through the real executable, and trainings that are interrupted.

use std::ops::ControlFlow;
use std::path::Path;

use advmod::data::{Dataset, OpenOptions, Split};
use advmod::model::format::{read_weights, write_safetensors};
use advmod::model::normalize::Normalization;
use advmod::model::zoo;
use advmod::study::train::{
    Accuracy, Adversarial, Interrupted, Parts, TrainError, TrainEvent, TrainPlan, checkpoint_file, train,
};
use serde_json::Value;
use tch::Device;

use crate::support::{advmod, stdout};

/// An IDX data set of bright and dark images, which one epoch learns.
fn little_data(folder: &std::path::Path) {
    for (part, n) in [("train", 256_u32), ("t10k", 64)] {
        let mut images = vec![0, 0, 8, 3];
        images.extend([n, 8, 8].map(u32::to_be_bytes).concat());
        let mut labels = vec![0, 0, 8, 1];
        labels.extend(n.to_be_bytes());
        for image in 0..n {
            images.extend((0..64_u32).map(|pixel| (image % 2 * 180 + (image * 31 + pixel * 7) % 50) as u8));
            labels.push((image % 2) as u8);
        }
        std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn train_makes_a_model_that_audit_takes_without_flags() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let data = folder.path().display().to_string();
    let file = folder.path().join("model.safetensors").display().to_string();
    let checkpoints = folder.path().join("epochs");
    let text = stdout(&[
        "train",
        "--data",
        &data,
        "--arch",
        "resnet20",
        "--epochs",
        "2",
        "--batch",
        "32",
        "--no-flip",
        "--crop-padding",
        "1",
        "--normalize",
        "mnist",
        "--out",
        &file,
        "--checkpoints",
        &checkpoints.display().to_string(),
    ]);
    assert!(text.contains("epoch   2/2") && text.contains("100.00 % on the test images"), "{text}");
    // Two epochs and what --resume needs.
    assert_eq!(std::fs::read_dir(&checkpoints).unwrap().count(), 2 + 1);
    let inspected: Value = serde_json::from_str(&stdout(&["inspect", "--model", &file, "--format", "json"])).unwrap();
    assert_eq!(
        (&inspected["architecture"], &inspected["normalization"]["name"]),
        (&"resnet20".into(), &"mnist".into())
    );
    let table = stdout(&["audit", "--model", &file, "--data", &data, "--first", "64", "--attacks", "fgsm"]);
    assert!(table.contains("100.0"), "{table}");
}

#[test]
fn the_same_seed_trains_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let data = folder.path().display().to_string();
    let train = |name: &str, seed: &str| {
        let file = folder.path().join(name);
        let out = file.display().to_string();
        let flags = [
            "train", "--data", &data, "--arch", "resnet8", "--epochs", "1", "--batch", "64", "--seed", seed, "--out",
            &out,
        ];
        stdout(&flags);
        advmod::model::format::read_weights(&file).unwrap().tensors
    };
    assert_eq!(train("a", "1"), train("b", "1"));
    assert_ne!(train("a", "1"), train("c", "2"));
}

fn recipe(folder: &Path) -> TrainPlan {
    TrainPlan {
        data: folder.to_owned(),
        output: folder.join("model.safetensors"),
        epochs: 3,
        batch: 64,
        learning_rate: 0.05,
        milestones: vec![3],
        momentum: 0.9,
        weight_decay: 5e-4,
        crop_padding: 1,
        flip: true,
        seed: 7,
        normalization: Normalization::none(),
        bf16: false,
        adversarial: None,
        checkpoints: None,
        measure: false,
    }
}

/// Trains a ResNet-8 on [`little_data`] until a step of an epoch, if one is given.
fn run(
    plan: &TrainPlan,
    interrupted: Option<&Interrupted>,
    until: Option<(usize, usize)>,
) -> Result<Accuracy, TrainError> {
    let open = |split| -> Box<dyn Dataset> {
        advmod::data::open(Some(&plan.data), &OpenOptions { split, ..OpenOptions::default() }).unwrap()
    };
    let (images, test) = (open(Split::Train), open(Split::Test));
    let architecture = zoo::named("resnet8", 1, 2).unwrap();
    let parts = Parts { train: images.as_ref(), test: test.as_ref() };
    train(architecture.as_ref(), parts, plan, Device::Cpu, interrupted, &mut |event| match event {
        TrainEvent::Step { epoch, step, .. } if Some((epoch, step)) == until => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}

#[test]
fn an_interrupted_training_ends_in_the_weights_of_an_uninterrupted_one_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    for bf16 in [false, true] {
        let whole = TrainPlan { bf16, output: folder.path().join("whole.safetensors"), ..recipe(folder.path()) };
        run(&whole, None, None).unwrap();
        let epochs = folder.path().join(format!("epochs-{bf16}"));
        std::fs::create_dir(&epochs).unwrap();
        let cut = TrainPlan { bf16, checkpoints: Some(epochs.clone()), ..recipe(folder.path()) };
        // Twice in the middle of an epoch, which is begun again.
        assert!(matches!(run(&cut, None, Some((2, 3))), Err(TrainError::Stopped)));
        let once = Interrupted::read(&epochs).unwrap();
        assert_eq!((once.standing.epoch, &once.standing.plan), (1, &cut));
        assert!(matches!(run(&cut, Some(&once), Some((3, 1))), Err(TrainError::Stopped)));
        assert!(!cut.output.exists());
        run(&cut, Some(&Interrupted::read(&epochs).unwrap()), None).unwrap();
        assert_eq!(std::fs::read(&whole.output).unwrap(), std::fs::read(&cut.output).unwrap());
        assert_eq!(std::fs::read_dir(&epochs).unwrap().count(), 3 + 1);
        std::fs::remove_file(&cut.output).unwrap();
    }
    // Of no use, if nothing were rounded.
    let weights = |name: &str| read_weights(&checkpoint_file(&folder.path().join(name), 1)).unwrap().tensors;
    assert_ne!(weights("epochs-false"), weights("epochs-true"));
}

/// A seed per image and epoch, whatever came before: the attack of the second epoch is not that of the first.
#[test]
fn an_adversarial_training_can_be_interrupted_too() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let adversarial = |ratio, beta| Adversarial { attack: "pgd:eps=0.2,steps=2".to_owned(), ratio, beta };
    let mut outputs = Vec::new();
    for (name, adversarial) in [
        ("all", Some(adversarial(1.0, None))),
        ("half", Some(adversarial(0.5, None))),
        ("trades", Some(adversarial(1.0, Some(6.0)))),
        ("plain", None),
    ] {
        let output = |part: &str| folder.path().join(format!("{name}-{part}.safetensors"));
        let whole = TrainPlan { epochs: 2, adversarial, output: output("whole"), ..recipe(folder.path()) };
        let accuracy = run(&whole, None, None).unwrap();
        assert_eq!(accuracy.robust.is_some(), name != "plain");
        assert!(accuracy.robust.is_none_or(|robust| robust <= accuracy.clean), "{name}: {accuracy:?}");
        let epochs = folder.path().join(name);
        std::fs::create_dir(&epochs).unwrap();
        let cut = TrainPlan { checkpoints: Some(epochs.clone()), output: output("cut"), ..whole.clone() };
        assert!(matches!(run(&cut, None, Some((2, 2))), Err(TrainError::Stopped)));
        let again = run(&cut, Some(&Interrupted::read(&epochs).unwrap()), None).unwrap();
        assert_eq!(again, accuracy, "{name}");
        assert_eq!(std::fs::read(&whole.output).unwrap(), std::fs::read(&cut.output).unwrap(), "{name}");
        outputs.push(read_weights(&whole.output).unwrap().tensors);
    }
    for (at, output) in outputs.iter().enumerate() {
        assert!(!outputs[..at].contains(output), "two ways to train end in the same weights");
    }
}

#[test]
fn an_adversarial_training_says_how_much_withstands_its_attack() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, out) = (path(""), path("model.safetensors"));
    let usual = ["train", "--data", &data, "--arch", "resnet8", "--epochs", "1", "--crop-padding", "1", "--out", &out];
    for (flags, word) in [
        (&["--adversarial", "cw"][..], "looks for the smallest change"),
        (&["--adversarial", "pgd:target=1"], "has a target"),
        (&["--adversarial", "pdg"], "did you mean pgd?"),
        (&["--adversarial", "pgd:eps=0"], "must be greater than 0"),
        (&["--adversarial", "pgd", "--ratio", "1.5"], "--ratio 1.5: must be above 0, at most 1"),
        (&["--adversarial", "pgd", "--beta", "-1"], "--beta"),
        (&["--adversarial", "pgd", "--beta", "inf"], "--beta inf: must be a number above 0"),
        (&["--ratio", "0.5"], "--adversarial"),
        (&["--adversarial", "pgd", "--ratio", "0.5", "--beta", "6"], "--beta"),
    ] {
        let output = advmod(&[&usual[..], flags].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(word), "{flags:?} {error}");
        assert!(!Path::new(&out).exists());
    }
    let text = stdout(&[&usual[..], &["--adversarial", "fgsm:eps=0.05", "--ratio", "0.5"]].concat());
    assert!(text.contains("  robust ") && text.contains("% under fgsm:eps=0.05, of 64 of them"), "{text}");
    let header = read_weights(Path::new(&out)).unwrap().metadata;
    let is_recipe = |it: &String| it.contains("a share of 0.5 attacked by fgsm:eps=0.05; test accuracy");
    assert!(header.values().any(is_recipe), "{header:?}");
}

#[test]
fn the_state_of_a_training_is_not_taken_for_what_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let epochs = folder.path().join("epochs");
    std::fs::create_dir(&epochs).unwrap();
    let message = |found: Result<Interrupted, TrainError>| found.unwrap_err().to_string();
    assert!(message(Interrupted::read(&epochs)).contains("no training can go on from here"));
    let plan = TrainPlan { epochs: 1, checkpoints: Some(epochs.clone()), ..recipe(folder.path()) };
    run(&plan, None, None).unwrap();
    let state = epochs.join("training.state");
    let bytes = std::fs::read(&state).unwrap();

    // Other images under the same names.
    let images = folder.path().join("train-images-idx3-ubyte");
    let mut other = std::fs::read(&images).unwrap();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&images, &other).unwrap();
    let refused = run(&plan, Some(&Interrupted::read(&epochs).unwrap()), None).unwrap_err().to_string();
    assert!(refused.contains("not the images"), "{refused}");
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&images, &other).unwrap();

    let whole = read_weights(&state).unwrap();
    for (is, becomes, word) in [
        ("\"version\":3", "\"version\":2", "another version"),
        ("\"batch\":64", "\"batch\":0", "--batch 0: must be at least 1"),
        ("\"epoch\":1,", "\"epoch\":2,", "epoch 2 of 1"),
        ("\"seed\":7", "\"seed\":-7", "invalid value"),
    ] {
        let changed = |(key, value): (&String, &String)| {
            assert!(value.contains(is), "{value}");
            (key.clone(), value.replace(is, becomes))
        };
        write_safetensors(&state, &whole.tensors, &whole.metadata.iter().map(changed).collect()).unwrap();
        let problem = message(Interrupted::read(&epochs));
        assert!(problem.contains(word) && problem.lines().count() == 1, "{problem}");
    }
    write_safetensors(&state, &whole.tensors[1..], &whole.metadata).unwrap();
    let refused = run(&plan, Some(&Interrupted::read(&epochs).unwrap()), None).unwrap_err().to_string();
    assert!(refused.contains("is not in it"), "{refused}");
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    assert!(message(Interrupted::read(&epochs)).contains("training.state"));
}

/// An error in one line that says this, before anything is written to `folder`.
fn refused(flags: &[&str], folder: &Path, word: &str) {
    let files = || std::fs::read_dir(folder).unwrap().count();
    let before = files();
    let output = advmod(flags).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(2 | 3)) && error.lines().count() == 1, "{flags:?} {error}");
    assert!(error.contains(word) && output.stdout.is_empty() && files() == before, "{flags:?} {error}");
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, out) = (path(""), path("model.safetensors"));
    std::fs::create_dir_all(path("pictures/a")).unwrap();
    std::fs::create_dir_all(path("pictures/b")).unwrap();
    for class in ["a", "b"] {
        image::GrayImage::new(28, 28).save(path(&format!("pictures/{class}/0.png"))).unwrap();
    }
    let vgg = ["train", "--data", &data, "--out", &out, "--arch", "vgg11-bn/8", "--crop-padding", "1"];
    refused(&[&vgg[..], &["--checkpoints", &path("epochs")]].concat(), folder.path(), "8×8");
    let usual = ["train", "--out", &out, "--arch", "resnet8", "--epochs", "1"];
    refused(&[&usual[..], &["--data", &data, "--crop-padding", "8"]].concat(), folder.path(), "--crop-padding 8");
    refused(&[&usual[..], &["--data", &path("pictures")]].concat(), folder.path(), "no train and test part");
    refused(&["curve", "--data", &path("pictures"), "--split", "train"], folder.path(), "leave out --split train");
    // Of one image at a time nothing can be averaged where a channel is a single pixel.
    let tiny = ["train", "--data", &data, "--out", &out, "--arch", "resnet18-imagenet/8", "--crop-padding", "1"];
    refused(&[&tiny[..], &["--batch", "1", "--progress", "none"]].concat(), folder.path(), "raise --batch");
    // 256 images: the last one alone goes with those before it.
    advmod(&[&tiny[..], &["--batch", "255", "--epochs", "1"]].concat()).assert().success();
    advmod(&["inspect", "--model", &out]).assert().success();

    // One label of many makes a class that nobody has.
    let wrong = [&usual[..], &["--data", &data, "--crop-padding", "1"]].concat();
    for (part, n, word) in [("train", 256, "200 (training image 255)"), ("t10k", 64, "200 (test image 63)")] {
        let labels = folder.path().join(format!("{part}-labels-idx1-ubyte"));
        let right = std::fs::read(&labels).unwrap();
        let mut bytes = right.clone();
        assert_eq!(bytes.len(), 8 + n);
        bytes[7 + n] = 200;
        std::fs::write(&labels, bytes).unwrap();
        refused(&wrong, folder.path(), word);
        std::fs::write(&labels, right).unwrap();
    }
}

#[test]
fn a_training_does_not_get_into_the_folder_of_another() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, out, epochs) = (path(""), path("model.safetensors"), path("epochs"));
    let flags = ["train", "--data", &data, "--arch", "resnet8", "--epochs", "1", "--crop-padding", "1", "--out", &out];
    let again = [&flags[..], &["--checkpoints", &epochs, "--measure"]].concat();
    advmod(&again).assert().success();
    let read = |name: &str| std::fs::read(folder.path().join("epochs").join(name)).unwrap();
    let (state, dynamics) = (read("training.state"), read("dynamics.json"));
    refused(&again, folder.path(), "--resume");
    // Nor does what was measured come from other images.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    little_data(&other);
    std::fs::write(other.join("t10k-labels-idx1-ubyte"), [&[0, 0, 8, 1, 0, 0, 0, 64][..], &[1; 64]].concat()).unwrap();
    std::fs::remove_file(path("epochs/dynamics.json")).unwrap();
    refused(&["train", "--resume", &epochs, "--data", &path("other")], &folder.path().join("epochs"), "not the images");
    advmod(&["train", "--resume", &epochs]).assert().success();
    assert_eq!((read("training.state"), read("dynamics.json")), (state.clone(), dynamics));
    // Without its state it is another training all the same.
    std::fs::remove_file(path("epochs/training.state")).unwrap();
    refused(&again, folder.path(), "give another folder");
    std::fs::write(path("epochs/training.state"), &state[..state.len() / 2]).unwrap();
    refused(&["train", "--resume", &epochs], folder.path(), "begin the training anew");
}

#[cfg(unix)]
#[test]
fn a_training_that_can_go_on_needs_names_in_utf8() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let data = folder.path().display().to_string();
    let out = folder.path().join("model.safetensors").display().to_string();
    let epochs = folder.path().join(std::ffi::OsStr::from_bytes(b"epochs\xff"));
    let mut command = advmod(&["train", "--data", &data, "--arch", "resnet8", "--out", &out, "--checkpoints"]);
    let output = command.arg(&epochs).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("--checkpoints") && error.contains("UTF-8"), "{error}");
    assert!(!epochs.exists());
}

#[test]
fn resume_takes_the_recipe_from_the_folder_and_measures_what_was_not() {
    let folder = tempfile::tempdir().unwrap();
    little_data(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, out, epochs) = (path(""), path("model.safetensors"), path("epochs"));
    let begin = ["train", "--data", &data, "--arch", "resnet8", "--epochs", "2", "--out", &out, "--threads", "1"];
    advmod(&[&begin[..], &["--checkpoints", &epochs, "--measure"]].concat()).assert().success();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (model, dynamics) = (read("model.safetensors"), read("epochs/dynamics.json"));
    std::fs::remove_file(path("epochs/dynamics.json")).unwrap();
    // The threads are those that it began with, and others are said.
    for (threads, warns) in [(&["--threads", "2"][..], true), (&[], false)] {
        let again = ["train", "--resume", &epochs, "--out", &path("again.safetensors")];
        let output = advmod(&[&again[..], threads].concat()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains("2 of 2 epochs are done"), "{said}");
        assert_eq!(said.contains("began with --threads 1"), warns, "{said}");
    }
    assert_eq!(read("again.safetensors"), model);
    assert_eq!(read("epochs/dynamics.json"), dynamics);
    for (flags, word) in [(&["--resume", &epochs, "--lr", "0.1"][..], "--lr"), (&["--resume", &data], "epoch was done")]
    {
        let output = advmod(&[&["train"], flags].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(word) && error.lines().count() == 1, "{error}");
    }
}
