//! The invariants of ARCHITECTURE.md, read off the source.

use std::path::PathBuf;

use advmod::audit::event::AuditEvent;
use advmod::audit::state::AuditState;
use advmod::verdict::Report;

use crate::support::{root, stdout};

pub fn sources(folder: &str) -> Vec<(PathBuf, String)> {
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
fn attacks_print_nothing() {
    nowhere(&["attacks/src"], &[], &["println!", "print!", "eprintln!", "eprint!"]);
}

#[test]
fn unsafe_code_is_in_three_files() {
    nowhere(
        &["src", "attacks/src"],
        &["src/memory.rs", "src/model/aten/boxed.rs", "src/model/native.rs", "src/model/script/shim.rs"],
        &["unsafe "],
    );
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
    let binding = |name: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{name} = {{ version = \"=")));
        line.unwrap().split('"').next().unwrap()
    };
    assert_eq!(binding("tch"), binding("torch-sys"));
}

#[test]
fn the_versions_of_the_program_agree() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(stdout(&["--version"]), format!("advmod {version}\n"));
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.lines().any(|line| line.starts_with(&format!("## {version}"))), "CHANGELOG.md has no {version}");
}

#[test]
fn every_file_of_the_map_exists() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut named = 0;
    for line in map.lines() {
        let words: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        // A row of the map names what is in its rooms, the paths of its first cell.
        let cell = line.strip_prefix('|').and_then(|rest| rest.split('|').next()).unwrap_or_default();
        let rooms: Vec<PathBuf> = cell.split('`').skip(1).step_by(2).map(|room| root().join(room)).collect();
        for word in words {
            let is_path = word.ends_with('/') || [".rs", ".py", ".toml"].iter().any(|ending| word.ends_with(ending));
            if is_path && !word.starts_with('.') {
                let found = rooms.iter().any(|room| room.join(word).exists()) || root().join(word).exists();
                assert!(found, "there is no {word}: {line}");
                named += 1;
            }
        }
    }
    assert!(named > 80, "{named}");
}
