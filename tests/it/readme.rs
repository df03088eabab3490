//! The README's commands and its plan file, run as they stand there, on small files under the names that it uses.

use std::path::Path;

use advmod::audit::plan::AuditPlan;
use advmod::model::format::{Dtype, RawTensor, write_safetensors};
use advmod::model::weights::FreshWeights;
use advmod::model::zoo;

use crate::support::{advmod, make_data_set, root};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// Words of a shell line with single quotes.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.trim().chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the commands name: color models, 60 color images under both names, a little data set to train on.
fn make_files(folder: &Path) {
    for name in ["resnet20", "resnet32"] {
        let program = zoo::named(name, 3, 10).unwrap().build(&mut FreshWeights::new(0)).unwrap();
        let tensors: Vec<(String, RawTensor)> = (program.weights.iter())
            .map(|weight| {
                let values: Vec<f32> = Vec::try_from(weight.tensor.detach().view(-1)).unwrap();
                let shape = weight.tensor.size().iter().map(|&size| size as usize).collect();
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (weight.name.clone(), RawTensor { dtype: Dtype::F32, shape, bytes })
            })
            .collect();
        write_safetensors(&folder.join(format!("{name}.th")), &tensors, &std::collections::BTreeMap::new()).unwrap();
    }
    std::fs::copy(root().join("fixtures/tiny-resnet.pt2"), folder.join("model.pt2")).unwrap();
    // CIFAR-10 records; content decides the format.
    let records: Vec<u8> = (0..60_u32)
        .flat_map(|image| {
            (0..3073_u32).map(move |at| if at == 0 { image % 10 } else { image * 7919 + at * 104_729 } as u8)
        })
        .collect();
    std::fs::create_dir(folder.join("cifar-10-batches-py")).unwrap();
    std::fs::write(folder.join("cifar-10-batches-py/test_batch.bin"), &records).unwrap();
    std::fs::write(folder.join("images.npz"), &records).unwrap();
    make_data_set(&folder.join("fashion-mnist"));
}

#[test]
fn every_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    make_files(folder.path());
    let mut commands = 0;
    for line in readme().lines().filter(|line| line.starts_with("    advmod ")) {
        let mut words = shell_words(line);
        words.remove(0);
        // The same commands on less: the tests should not take hours.
        for word in &mut words {
            match word.as_str() {
                "/usr/share/datasets/fashion-mnist" => *word = "fashion-mnist".to_owned(),
                "500" => *word = "25".to_owned(),
                "12" => *word = "1".to_owned(),
                _ => *word = word.replace("steps=100", "steps=3"),
            }
        }
        // A run that goes on has its own plan.
        let is_new = words[0] == "audit" && !words.contains(&"--resume".to_owned());
        if is_new || (words[0] == "curve" && !words.contains(&"--samples".to_owned())) {
            words.extend(["--samples", "25", "--threads", "1"].map(str::to_owned));
        }
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        let assert = advmod(&arguments).current_dir(folder.path()).assert();
        let output = assert.get_output();
        if arguments[0] == "tui" {
            // There is no terminal here; that it says so means that it has understood its arguments.
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(2) && text.contains("needs a terminal"), "{line}\n{text}");
            continue;
        }
        // Untrained weights may classify nothing correctly, which is inconclusive but no failure of the command.
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 4)), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        commands += 1;
    }
    assert!(commands >= 12, "{commands} commands");
    assert!(folder.path().join("report/report.json").exists() && folder.path().join("curves/curve.csv").exists());
    assert!(folder.path().join("model.safetensors").exists() && folder.path().join("epochs").is_dir());
}

#[test]
fn the_plan_files_are_some() {
    let readme = readme();
    let plans = readme.split("```toml\n").skip(1).map(|rest| {
        let plan: AuditPlan = toml::from_str(rest.split("```").next().unwrap()).unwrap();
        plan.resolve().unwrap().plan
    });
    let (attacks, gates): (Vec<usize>, Vec<usize>) = plans.map(|plan| (plan.attacks.len(), plan.gates.len())).unzip();
    assert_eq!((attacks, gates), (vec![1, 2], vec![0, 1]));
}

#[test]
fn the_make_targets_exist() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let readme = readme();
    let targets = readme.lines().filter_map(|line| line.strip_prefix("    make "));
    let targets: Vec<&str> = targets.map(|rest| rest.split_whitespace().next().unwrap()).collect();
    assert_eq!(targets, ["audit", "test"]);
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "{target}");
    }
}
