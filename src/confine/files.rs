//! Files, by Landlock (since Linux 5.13).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use super::Needs;

/// What libraries, drivers and the runtime read at any time. Nothing in it belongs to a user.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/lib",
    "/lib64",
    "/opt/rocm",
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/run/nvidia-persistenced",
];

/// Devices are read and written: terminals, random numbers, graphics cards.
const DEVICES: &str = "/dev";

/// The newest version of Landlock whose rights are asked for; an older kernel enforces those that it knows.
const NEWEST: ABI = ABI::V6;

pub(super) fn confine(needs: &Needs) -> io::Result<Result<&'static str, String>> {
    let read = AccessFs::from_read(NEWEST);
    let mut rules: Vec<(PathFd, BitFlags<AccessFs>)> = Vec::new();
    let optional = |path: &Path| PathFd::new(path).ok();
    for path in SYSTEM.iter().map(PathBuf::from).chain(libraries()) {
        rules.extend(optional(&path).map(|it| (it, rights(&path, read))));
    }
    rules.extend(optional(Path::new(DEVICES)).map(|it| (it, read | AccessFs::WriteFile | AccessFs::IoctlDev)));
    // A file that is missing is said by whoever opens it.
    for path in needs.reads.iter().collect::<BTreeSet<_>>() {
        rules.extend(optional(path).map(|it| (it, rights(path, read))));
    }
    for path in &needs.writes {
        let opened = PathFd::new(path).map_err(|error| io::Error::other(error.to_string()))?;
        rules.push((opened, rights(path, AccessFs::from_all(NEWEST) & !AccessFs::Execute)));
    }
    for path in needs.made.iter().collect::<BTreeSet<_>>() {
        rules.extend(optional(path).map(|it| (it, AccessFs::RemoveDir.into())));
    }
    Ok(match restrict(rules) {
        Ok(RulesetStatus::FullyEnforced) => Ok("Landlock"),
        Ok(RulesetStatus::PartiallyEnforced) => Ok("Landlock, as far as this kernel has it"),
        Ok(RulesetStatus::NotEnforced) => Err("this kernel has no Landlock, or has it switched off".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

fn restrict(rules: Vec<(PathFd, BitFlags<AccessFs>)>) -> Result<RulesetStatus, RulesetError> {
    let rules = rules.into_iter().map(|(path, rights)| Ok::<_, RulesetError>(PathBeneath::new(path, rights)));
    let ruleset: RulesetCreated = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    Ok(ruleset.add_rules(rules)?.restrict_self()?.ruleset)
}

/// Those of the rights that a file can have, where it is one.
fn rights(path: &Path, rights: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { rights } else { rights & AccessFs::from_file(NEWEST) }
}

/// The folders of the libraries in the process, and of those that libtorch loads later.
fn libraries() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut folders = BTreeSet::new();
    for path in maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..]))) {
        folders.extend(path.parent().map(Path::to_owned));
        if path.file_name().is_some_and(|name| name == "libtorch_cpu.so") {
            // FOLDER/torch/lib/libtorch_cpu.so, with the CUDA libraries in FOLDER/nvidia.
            folders.extend(path.ancestors().nth(3).map(|folder| folder.join("nvidia")));
        }
    }
    folders.into_iter().collect()
}
