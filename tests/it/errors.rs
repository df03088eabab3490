//! Bad input: one line that says what, where and what to do; the right exit code; no panic, no file left behind.

use std::path::Path;

use advmod::model::builder::{Init, WeightSource as _};
use advmod::model::format::{Dtype, RawTensor, write_safetensors};
use advmod::model::weights::FreshWeights;
use advmod::model::zoo;

use crate::support::advmod;

/// Runs the program, expects this exit code and one line on stderr with all of these words.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let assert = advmod(arguments).assert().code(code);
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{arguments:?}:\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(errors[0].contains(word), "{arguments:?}: no `{word}` in {}", errors[0]);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

type Tensors = Vec<(String, RawTensor)>;

/// A model file of an architecture with fresh weights, changed by `edit`.
fn model_file(path: &Path, architecture: &str, edit: &dyn Fn(&mut Tensors)) {
    let program = zoo::named(architecture, 1, 10).unwrap().build(&mut FreshWeights::new(0)).unwrap();
    let tensors = program.weights.iter().map(|weight| {
        let values: Vec<f32> = Vec::try_from(weight.tensor.detach().view(-1)).unwrap();
        let shape = weight.tensor.size().iter().map(|&size| size as usize).collect();
        (
            weight.name.clone(),
            RawTensor { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|it| it.to_le_bytes()).collect() },
        )
    });
    let mut tensors = tensors.collect();
    edit(&mut tensors);
    write_safetensors(path, &tensors, &std::collections::BTreeMap::new()).unwrap();
}

#[test]
fn model_files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.pt");
    let path = text(&file);
    refused(&["audit", "--model", &path], 3, &["model.pt"]);
    for (content, word) in [
        (&b""[..], "empty"),
        (b"hello there", "model.pt"),
        (b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", "os.system"),
        (b"PK\x03\x04 but no archive", "model.pt"),
    ] {
        std::fs::write(&file, content).unwrap();
        refused(&["audit", "--model", &path], 3, &[word]);
        refused(&["inspect", "--model", &path], 3, &[word]);
    }
    refused(&["audit", "--model", &text(folder.path())], 3, &["regular file"]);
}

#[test]
fn weights_that_fit_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let path = text(&file);
    model_file(&file, "resnet20", &|tensors| tensors.retain(|(name, _)| name.starts_with("layer2")));
    refused(&["audit", "--model", &path], 3, &["fit no built-in architecture", "--arch"]);
    model_file(&file, "resnet20", &|tensors| tensors.retain(|(name, _)| name != "layer2.1.bn1.bias"));
    refused(&["audit", "--model", &path], 3, &["layer2.1.bn1.bias"]);
    // Weights of squeeze-and-excitation blocks: a plain ResNet of the same shapes is another network.
    model_file(&file, "resnet20", &|tensors| {
        let extra = RawTensor { dtype: Dtype::F32, shape: vec![1], bytes: vec![0; 4] };
        tensors.push(("layer1.0.se.fc1.weight".to_owned(), extra));
    });
    refused(&["audit", "--model", &path], 3, &["no place", "layer1.0.se.fc1.weight"]);
    model_file(&file, "resnet20", &|_| ());
    refused(&["audit", "--model", &path, "--arch", "resnet32"], 3, &["resnet32"]);
    refused(&["audit", "--model", &path, "--arch", "alexnet"], 2, &["alexnet", "resnet20"]);
    model_file(&file, "resnet20", &|tensors| tensors[3].1.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    refused(&["audit", "--model", &path], 3, &["not finite", "bn1"]);
}

#[test]
fn data_that_does_not_suit_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    let save = |name: &str, side: u32, color: bool| {
        let path = images.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let picture = image::DynamicImage::ImageRgb8(image::RgbImage::from_pixel(side, side, image::Rgb([9, 9, 200])));
        if color { picture.save(path).unwrap() } else { picture.to_luma8().save(path).unwrap() }
    };
    let path = text(&images);
    for n in 0..8 {
        save(&format!("cat/{n}.png"), 28, true);
    }
    refused(&["audit", "--data", &path, "--first", "8"], 3, &["3 channel", "takes 1"]);
    for n in 0..8 {
        save(&format!("cat/{n}.png"), 20, false);
    }
    refused(&["audit", "--data", &path, "--first", "8"], 3, &["20×20", "28×28", "--resize"]);
    for n in 0..8 {
        save(&format!("cat/{n}.png"), 28, false);
    }
    refused(&["audit", "--data", &path, "--first", "9"], 3, &["9 images", "has 8"]);
    std::fs::write(images.join("cat/5.png"), b"\x89PNG\r\n\x1a\nnonsense").unwrap();
    refused(&["audit", "--data", &path, "--first", "8"], 3, &["5.png"]);
    for n in 0..8 {
        save(&format!("cat/{n}.png"), 28, false);
    }
    for n in 0..11 {
        save(&format!("z{n:02}/0.png"), 28, false);
    }
    refused(&["audit", "--data", &path, "--first", "19"], 3, &["12 folders", "10 outputs"]);
    refused(&["audit", "--data", &text(&folder.path().join("none"))], 3, &["none"]);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    refused(&["audit", "--data", &text(&empty)], 3, &["empty"]);
}

#[test]
fn flags_that_make_no_sense() {
    for (arguments, words) in [
        (&["audit", "--attacks", "fgsn"][..], &["fgsn", "fgsm"][..]),
        (&["audit", "--attack", "pgd:stepz=3"], &["stepz", "steps"]),
        (&["audit", "--attack", "pgd:eps=-1"], &["eps", "-1", "greater than 0"]),
        (&["audit", "--attack", "pgd:eps=8/0"], &["eps"]),
        (&["audit", "--attack", "pgd:eps=2/255|8/0"], &["eps = 8/0"]),
        (&["audit", "--attack", "pgd:eps=2/255|4/255|2/255"], &["2/255 is there twice"]),
        (&["audit", "--attack", "all:steps=3"], &["all", "known: fgsm"]),
        (&["audit", "--attack", "pgd:steps=0"], &["steps"]),
        (&["audit", "--attack", "pgd:steps"], &["key=value"]),
        (&["audit", "--normalize", "imagenot"], &["imagenot", "imagenet"]),
        (&["audit", "--preset", "fast"], &["fast", "standard"]),
        (&["audit", "--plan", "no/plan.toml"], &["no/plan.toml"]),
        (&["audit", "--attack", "fgsm:target=12"], &["target = 12", "10 classes"]),
    ] {
        let code = if words.contains(&"10 classes") { 3 } else { 2 };
        refused(arguments, code, words);
    }
    for arguments in [
        &["audit", "--first", "5", "--samples", "5"][..],
        &["audit", "--k", "0"],
        &["audit", "--nope"],
        &["frobnicate"],
        &[],
    ] {
        advmod(arguments).assert().code(2);
    }
}

#[test]
fn no_gpu_and_no_such_gpu() {
    refused(&["audit", "--device", "cuda:4096"], 3, &["cuda:4096"]);
    refused(&["curve", "--device", "cuda:4096"], 3, &["cuda:4096"]);
}

#[test]
fn folders_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    refused(&["audit", "--out", &text(&file.join("inside"))], 3, &["file", "--out"]);
    // Files that may not grow take the place of a full disk.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 1; exec '{}' audit --samples 20 --attacks fgsm --out '{}'",
        env!("CARGO_BIN_EXE_advmod"),
        text(&folder.path().join("full"))
    );
    let output = std::process::Command::new("sh").args(["-c", &limited]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(["run.jsonl", "too large", "--out"].iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn a_model_that_gets_nothing_right_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    // Logit 9 always wins, and no sample is of class 9 after the first.
    model_file(&file, "resnet20", &|tensors| {
        let (_, bias) = tensors.iter_mut().find(|(name, _)| name == "fc.bias").unwrap();
        bias.bytes.copy_from_slice(
            &[[0_f32; 5], [0.0, 0.0, 0.0, 0.0, 1e6]]
                .concat()
                .iter()
                .flat_map(|it| it.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
    });
    let data = folder.path().join("images");
    for n in 0..8 {
        std::fs::create_dir_all(data.join("a")).unwrap();
        image::GrayImage::from_pixel(28, 28, image::Luma([n * 30])).save(data.join(format!("a/{n}.png"))).unwrap();
    }
    let arguments = ["audit", "--model", &text(&file), "--data", &text(&data), "--first", "8", "--attacks", "fgsm"];
    let assert = advmod(&arguments).assert().code(4);
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("inconclusive"), "{stderr}");
}

#[test]
fn an_architecture_too_deep_for_the_images_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    model_file(&file, "vgg11", &|_| ());
    // 28 pixels survive four halvings, not five.
    refused(&["audit", "--model", &text(&file), "--samples", "20"], 3, &["28×28", "do not fit"]);
}

#[test]
fn fresh_weights_depend_on_seed_and_name_only() {
    let draw = |seed, name| {
        Vec::<f32>::try_from(FreshWeights::new(seed).weight(name, &[4], Init::Uniform { fan: 4 }, false).unwrap())
            .unwrap()
    };
    assert_eq!(draw(1, "a"), draw(1, "a"));
    assert_ne!(draw(1, "a"), draw(2, "a"));
    assert_ne!(draw(1, "a"), draw(1, "b"));
}
