//! The invariants of ARCHITECTURE.md, read off the source.

use std::path::{Path, PathBuf};

use advmod::audit::event::AuditEvent;
use advmod::audit::state::AuditState;
use advmod::verdict::Report;

use crate::support::root;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.strip_prefix(root()).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Code without its comments and without what follows `#[cfg(test)]`.
fn code(source: &str) -> String {
    let before_tests = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn nowhere(folders: &[&str], except: &[&str], words: &[&str]) {
    for (path, source) in folders.iter().flat_map(|folder| sources(folder)) {
        if except.iter().any(|exception| path.starts_with(exception)) {
            continue;
        }
        for word in words {
            assert!(!code(&source).contains(word), "{} contains {word}", path.display());
        }
    }
}

#[test]
fn tensors_stay_in_their_rooms() {
    let rooms = [
        "src/model",
        "src/modularity/similarity.rs",
        "src/modularity/cka.rs",
        "src/modularity/mod.rs",
        "src/audit/stage",
        "src/audit/engine",
        "src/measure",
        "src/study",
        "src/cli",
    ];
    nowhere(&["src"], &rooms, &["tch::"]);
    // The command line sets the thread count and names devices; it sees no tensor.
    nowhere(&["src/cli"], &[], &["tch::Tensor", "Tensor::"]);
}

#[test]
fn the_attack_crate_knows_no_file_terminal_or_format() {
    nowhere(
        &["attacks/src"],
        &[],
        &["std::fs", "std::env", "println!", "anyhow", "clap", "serde_json", "tch::manual_seed"],
    );
}

#[test]
fn arrows_point_down() {
    nowhere(&["src/data"], &[], &["crate::model", "crate::audit", "crate::report", "crate::cli"]);
    nowhere(&["src/model"], &[], &["crate::modularity", "crate::audit", "crate::report", "crate::cli", "crate::study"]);
    nowhere(&["src/modularity"], &[], &["crate::model", "crate::data", "crate::audit", "crate::report", "crate::cli"]);
    nowhere(&["src/audit"], &[], &["crate::report", "crate::cli", "crate::study"]);
    // The terminal interface stands beside the command line, which starts it: it sees events and reports, no model and no file format.
    nowhere(&["src/tui"], &[], &["crate::cli", "crate::model", "crate::data", "crate::study", "crate::audit::engine"]);
    let below = ["src/report", "src/study", "src/audit", "src/modularity", "src/model", "src/data"];
    nowhere(&below, &[], &["crate::tui"]);
    nowhere(&["src/report"], &[], &["crate::cli", "crate::model", "crate::data", "crate::study"]);
    nowhere(&["src/study"], &[], &["crate::cli", "crate::report"]);
}

#[test]
fn unsafe_code_is_in_two_files() {
    nowhere(&["src", "attacks/src"], &["src/model/native.rs", "src/model/script/shim.rs"], &["unsafe "]);
}

#[test]
fn events_state_and_report_hold_no_tensor() {
    // A tensor is not Sync: with one in any of these, this does not compile.
    fn plain<T: Send + Sync + 'static>() {}
    plain::<AuditEvent>();
    plain::<AuditState>();
    plain::<Report>();
}

#[test]
fn every_module_says_what_it_is() {
    for (path, source) in [sources("src"), sources("attacks/src"), sources("tests")].concat() {
        assert!(source.starts_with("//!"), "{}", path.display());
    }
}

#[test]
fn the_versions_of_libtorch_agree() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("libtorch = \"{}\"", advmod::LIBTORCH_VERSION)));
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains(&format!("## {}", env!("CARGO_PKG_VERSION"))) || changelog.contains("## Unreleased"));
    assert!(Path::new(env!("CARGO_BIN_EXE_advmod")).exists());
}
