//! README and docs: their commands, run as they stand there in a fresh folder per page, their plan files, and their links.

mod commands;
mod links;

use std::io::Read as _;
use std::path::Path;

use advmod::audit::plan::AuditPlan;
use advmod::model::format::{Dtype, RawTensor, write_safetensors};
use advmod::model::weights::FreshWeights;
use advmod::model::zoo;

use crate::support::{advmod, root};

/// A page whose commands are run, and how many these are: none is lost because it is written in another way.
macro_rules! pages {
    ($($name:ident: $page:literal, $commands:literal;)*) => {
        $(#[test] fn $name() { run_page($page, $commands); })*
        const RUN: &[&str] = &[$($page),*];
    };
}

pages! {
    readme: "README.md", 10;
    attacks: "docs/attacks.md", 3;
    audit: "docs/audit.md", 15;
    ci: "docs/ci.md", 4;
    curves: "docs/curves.md", 16;
    data: "docs/data.md", 2;
    dynamics: "docs/dynamics.md", 1;
    gates: "docs/gates.md", 6;
    install: "docs/install.md", 3;
    models: "docs/models.md", 6;
    pruning: "docs/pruning.md", 2;
    reports: "docs/reports.md", 8;
    studies: "docs/studies.md", 9;
    terminal: "docs/terminal.md", 6;
    training: "docs/training.md", 8;
}

/// Pages in the order of their paths.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let mut names: Vec<String> = docs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let is_page = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "md");
    pages.extend(names.into_iter().filter(is_page).map(|name| format!("docs/{name}")));
    pages
}

fn text(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap()
}

#[test]
fn every_page_with_commands_is_run() {
    let with_commands = pages().into_iter().filter(|page| !commands::of(&text(page)).is_empty());
    let missing: Vec<String> = with_commands.filter(|page| !RUN.contains(&page.as_str())).collect();
    assert_eq!(missing, [""; 0]);
}

/// The first 200 of the embedded images, as training and as test images.
fn make_data_set(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for (name, size) in [("images.idx3", 784), ("labels.idx1", 1)] {
        let packed = std::fs::File::open(root().join(format!("fixtures/fashion-mnist-1000-{name}.gz"))).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        let header = if size == 1 { 8 } else { 16 };
        bytes.truncate(header + 200 * size);
        bytes[4..8].copy_from_slice(&200_u32.to_be_bytes());
        for part in ["train", "t10k"] {
            std::fs::write(folder.join(format!("{part}-{}-ubyte", name.replace('.', "-"))), &bytes).unwrap();
        }
    }
}

fn make_weights(path: &Path, architecture: &str) {
    let program = zoo::named(architecture, 3, 10).unwrap().build(&mut FreshWeights::new(0)).unwrap();
    let tensors: Vec<(String, RawTensor)> = (program.weights.iter())
        .map(|weight| {
            let values: Vec<f32> = Vec::try_from(weight.tensor.detach().view(-1)).unwrap();
            let shape = weight.tensor.size().iter().map(|&size| size as usize).collect();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (weight.name.clone(), RawTensor { dtype: Dtype::F32, shape, bytes })
        })
        .collect();
    write_safetensors(path, &tensors, &std::collections::BTreeMap::new()).unwrap();
}

/// What the pages name: networks of fresh weights, 60 colour images under two names, small data sets to train on.
fn make_files(folder: &Path) {
    for name in ["resnet20", "resnet32"] {
        make_weights(&folder.join(format!("{name}.th")), name);
    }
    std::fs::copy(root().join("fixtures/tiny-resnet.pt2"), folder.join("model.pt2")).unwrap();
    std::fs::copy(root().join("fixtures/resnet20-fashion-mnist.safetensors"), folder.join("model.safetensors"))
        .unwrap();
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
    make_data_set(&folder.join("fashion-10k"));
    std::fs::write(folder.join("advmod.toml"), "[[attack]]\nname = \"fgsm\"\n").unwrap();
}

/// Runs all commands of a page in one folder, in their order, on few images and for one epoch: tests should not take hours.
fn run_page(page: &str, expected: usize) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    make_files(folder);
    if page == "docs/ci.md" {
        std::fs::create_dir(folder.join("ci")).unwrap();
        let arguments = ["audit", "--plan", "advmod.toml", "--samples", "25", "--output", "ci/release.json"];
        advmod(&arguments).current_dir(folder).assert().success();
    }
    let found = commands::of(&text(page));
    for command in &found {
        let words = commands::shrunk(command);
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        if page == "docs/ci.md" && arguments[0] == "audit" {
            // Each job begins with a fresh checkout.
            let _ = std::fs::remove_dir_all(folder.join("advmod-report"));
        }
        let output = advmod(&arguments).current_dir(folder).output().unwrap();
        let (code, errors) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
        let is_fine = match arguments[0] {
            // There is no terminal here; that it says so means that it has understood its arguments.
            "tui" => code == Some(2) && errors.contains("needs a terminal"),
            // Untrained weights may classify nothing correctly, which is inconclusive but no failure of the command; and
            // gates may fail.
            "audit" | "diff" => matches!(code, Some(0 | 1 | 4)),
            _ => matches!(code, Some(0 | 4)),
        };
        assert!(is_fine, "{page}: {}\n{code:?}\n{errors}", arguments.join(" "));
    }
    assert_eq!(found.len(), expected, "commands of {page}");
}

#[test]
fn the_plan_files_are_some() {
    let mut plans = 0;
    for page in pages() {
        for rest in text(&page).split("```toml\n").skip(1) {
            let plan: AuditPlan = toml::from_str(rest.split("```").next().unwrap()).unwrap();
            let resolved = plan.resolve().unwrap().plan;
            assert!(!resolved.attacks.is_empty(), "{page}");
            plans += 1;
        }
    }
    assert_eq!(plans, 2);
}

#[test]
fn the_make_targets_exist() {
    let makefile = text("Makefile");
    let in_code: Vec<String> = pages().iter().flat_map(|page| commands::make_targets(&text(page))).collect();
    assert!(in_code.contains(&"audit".to_owned()) && in_code.contains(&"test".to_owned()), "{in_code:?}");
    for target in in_code {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}
