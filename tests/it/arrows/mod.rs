//! Who may use whom: the arrows of ARCHITECTURE.md, cycles, and how long functions and files may be, read off the syntax of the source.

mod planted;
mod syntax;

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::sources;
use syntax::{Files, Target, Tree, lengths};

/// What each room may use, of this crate: rooms, parts of them, or single types that are plain data.
const ROOMS: &[(&str, &str)] = &[
    (
        "cli",
        "tui report verdict audit study measure store modularity model data text atomic_file input memory confine exit",
    ),
    ("fuzzing", "report verdict audit study store model data text pickle"),
    (
        "tui",
        "report verdict audit study::results measure::clean::ClassProbability store modularity stats text atomic_file input memory",
    ),
    (
        "report",
        "verdict audit study::results measure::clean::ClassProbability measure::ProgressOf model::info::ModelSummary store modularity stats text",
    ),
    ("verdict", "audit measure::clean::ClassProbability model::info::ModelSummary modularity stats text exit"),
    ("audit", "measure store modularity model data stats text atomic_file input memory"),
    ("study", "measure store modularity model data stats text atomic_file input memory"),
    ("measure", "modularity model data text"),
    ("store", "model data atomic_file input"),
    ("modularity", "stats"),
    ("model", "data text pickle atomic_file input memory"),
    ("data", "text pickle input memory"),
    ("stats", ""),
    ("text", ""),
    ("pickle", ""),
    ("atomic_file", ""),
    ("input", ""),
    ("memory", "exit"),
    ("confine", "atomic_file memory"),
    ("exit", ""),
];

/// What the files below some places may not use, although the table above or another crate would let them.
struct Ban {
    below: &'static [&'static str],
    except: &'static [&'static str],
    places: &'static [&'static str],
}

const BANS: &[Ban] = &[
    // Tensors stay in their rooms.
    Ban {
        below: &["src/"],
        except: &[
            "src/model/",
            "src/modularity/kinds.rs",
            "src/modularity/similarity.rs",
            "src/modularity/cka.rs",
            "src/modularity/mod.rs",
            "src/audit/stage/",
            "src/audit/engine/",
            "src/measure/",
            "src/study/",
            "src/cli/",
        ],
        places: &["tch"],
    },
    // The command line sets the thread count and names devices; it sees no tensor. Results are plain data.
    Ban { below: &["src/cli/", "src/study/results/"], except: &[], places: &["tch::Tensor"] },
    // Reports are bytes: whoever asks for them writes them. Images are too many for that.
    Ban {
        below: &["src/report/", "src/verdict/"],
        except: &["src/report/export/"],
        places: &[
            "std::fs",
            "cap_std",
            "atomic_file",
            "store::pixels",
            "store::folder",
            "audit::run_dir",
            "audit::journal",
        ],
    },
    // Files are opened in one place, which refuses pipes and devices. Those of a run's folder are opened in another, journals are opened
    // already, and what the system says of itself is no user's file.
    Ban {
        below: &["src/"],
        except: &["src/input.rs", "src/store/folder.rs", "src/atomic_file.rs", "src/memory.rs", "src/confine/"],
        places: &["std::fs::read", "std::fs::read_to_string", "std::fs::File::open"],
    },
    // What judges, renders and shows results does not make any.
    Ban {
        below: &["src/report/", "src/verdict/", "src/tui/"],
        except: &[],
        places: &["audit::engine", "audit::stage", "std::process::Command"],
    },
    Ban {
        below: &["attacks/src/"],
        except: &[],
        places: &[
            "std::fs",
            "std::env",
            "std::net",
            "std::process",
            "anyhow",
            "clap",
            "serde_json",
            "tch::manual_seed",
        ],
    },
];

/// Folders whose files use each other in one direction only, also through methods that a type has in another file than its own.
const WITHOUT_CYCLES: &[&str] = &["src/verdict", "src/audit", "src/tui"];

/// Folders whose files name each other in one direction only. All of them may name what the folder's own file declares.
const IN_ONE_DIRECTION: &[&str] = &["src", "attacks/src"];

const FUNCTION_LINES: usize = 90;
const FILE_LINES: usize = 450;

fn is_below(path: &[String], place: &str) -> bool {
    let place: Vec<&str> = place.split("::").collect();
    path.len() >= place.len() && place.iter().zip(path).all(|(a, b)| a == b)
}

/// The room of a file of `src/`.
fn room(file: &str) -> Option<&str> {
    let rest = file.strip_prefix("src/")?;
    let room = rest.split('/').next()?.trim_end_matches(".rs");
    (room != "lib" && room != "main").then_some(room)
}

/// Where in this crate something is, if it is.
fn inside(target: &Target) -> Option<Vec<String>> {
    match target {
        Target::Module(path) => (path[0] == "advmod").then(|| path[1..].to_vec()),
        Target::Item(path, name) => (path[0] == "advmod").then(|| [&path[1..], std::slice::from_ref(name)].concat()),
        Target::Outside(_) => None,
    }
}

/// What the table of rooms permits and nobody uses, a line for each.
fn unused(files: &Files) -> Vec<String> {
    let tree = Tree::read(files);
    let targets = tree.targets();
    let uses = |from: &str, place: &str| {
        let mut of_room = targets.iter().filter(|(file, _)| room(file) == Some(from)).flat_map(|(_, targets)| targets);
        of_room.any(|target| inside(target).is_some_and(|path| is_below(&path, place)))
    };
    let permitted = ROOMS.iter().flat_map(|(room, may)| may.split_whitespace().map(move |place| (*room, place)));
    permitted.filter(|(room, place)| !uses(room, place)).map(|(room, place)| format!("{room}: {place}")).collect()
}

/// What breaks the rules, a line for each.
fn violations(files: &Files) -> Vec<String> {
    let tree = Tree::read(files);
    let targets = tree.targets();
    let mut found = BTreeSet::new();
    for (file, targets) in &targets {
        let Some(room) = room(file) else { continue };
        let Some((_, may)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            found.insert(format!("{file}: room {room} is not in the table of rooms"));
            continue;
        };
        for target in targets {
            let Some(path) = inside(target) else { continue };
            let may = path.first().is_none_or(|first| first == room || !ROOMS.iter().any(|(name, _)| name == first))
                || may.split(' ').any(|place| is_below(&path, place));
            if !may {
                found.insert(format!("{file}: uses {}", path.join("::")));
            }
        }
    }
    for (file, target) in targets.iter().flat_map(|(file, targets)| targets.iter().map(move |target| (file, target))) {
        let path = match target {
            Target::Module(path) => path[1..].to_vec(),
            Target::Item(path, name) => [&path[1..], std::slice::from_ref(name)].concat(),
            Target::Outside(path) => path.clone(),
        };
        let is_banned = |ban: &&Ban| {
            let starts = |places: &[&str]| places.iter().any(|place| file.starts_with(place));
            starts(ban.below) && !starts(ban.except) && ban.places.iter().any(|place| is_below(&path, place))
        };
        if BANS.iter().any(|ban| is_banned(&ban)) {
            found.insert(format!("{file}: uses {}", path.join("::")));
        }
    }
    for folder in WITHOUT_CYCLES {
        found.extend(cycles(&tree, &targets, folder, true));
    }
    for folder in IN_ONE_DIRECTION {
        found.extend(cycles(&tree, &targets, folder, false));
    }
    for file in targets.keys().filter(|file| file.starts_with("src/")) {
        let lengths = lengths(&files[*file]);
        if lengths.lines > FILE_LINES {
            found.insert(format!("{file}: {} lines", lengths.lines));
        }
        for (name, lines) in lengths.functions.iter().filter(|it| room(file) == Some("cli") && it.1 > FUNCTION_LINES) {
            found.insert(format!("{file}: {name} has {lines} lines"));
        }
    }
    found.into_iter().collect()
}

/// Cycles between the entries of a folder and of the folders in it; a folder counts as one entry. A strict look counts methods and the folder's
/// own file, too.
fn cycles(tree: &Tree, targets: &BTreeMap<&str, BTreeSet<Target>>, folder: &str, strict: bool) -> Vec<String> {
    let entry = |file: &str, folder: &str| -> Option<String> {
        let name = file.strip_prefix(folder)?.strip_prefix('/')?.split('/').next()?.trim_end_matches(".rs");
        (strict || !["mod", "lib", "main"].contains(&name)).then(|| name.to_owned())
    };
    let called = if strict { tree.called() } else { BTreeMap::new() };
    let folders: BTreeSet<&str> = targets.keys().filter_map(|file| Some(file.rsplit_once('/')?.0)).collect();
    let mut found = Vec::new();
    for folder in folders.iter().filter(|it| **it == folder || it.starts_with(&format!("{folder}/"))) {
        // Each edge with something that makes it one.
        let mut edges: BTreeMap<String, BTreeMap<String, &str>> = BTreeMap::new();
        for (file, targets) in targets {
            let Some(from) = entry(file, folder) else { continue };
            let uses = targets.iter().filter_map(|target| match target {
                Target::Item(path, name) => Some((entry(&tree.modules[path].file, folder)?, name.as_str())),
                _ => None,
            });
            let methods = called.get(file).into_iter().flatten();
            let uses = uses.chain(methods.filter_map(|(to, name)| Some((entry(to, folder)?, *name))));
            let uses: BTreeMap<String, &str> = uses.filter(|(to, _)| *to != from).collect();
            edges.entry(from).or_default().extend(uses);
        }
        let reach = |from: &str| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(at) = open.pop() {
                for to in edges.get(at).into_iter().flat_map(BTreeMap::keys) {
                    if seen.insert(to.as_str()) {
                        open.push(to);
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|it| (it.as_str(), reach(it))).collect();
        let mut done = BTreeSet::new();
        for (from, to) in &reached {
            if to.contains(from) && !done.contains(from) {
                let knot: Vec<&str> =
                    reached.keys().copied().filter(|it| to.contains(it) && reached[it].contains(from)).collect();
                done.extend(knot.iter().copied());
                let inside = edges.iter().flat_map(|(from, to)| to.iter().map(move |(to, why)| (from, to, why)));
                let inside =
                    inside.filter(|(from, to, _)| knot.contains(&from.as_str()) && knot.contains(&to.as_str()));
                let arrows: Vec<String> = inside.map(|(from, to, why)| format!("{from} → {to} ({why})")).collect();
                found.push(format!("{folder}: a cycle of {}: {}", knot.join(", "), arrows.join(", ")));
            }
        }
    }
    found
}

fn all_sources() -> Files {
    let both = [sources("src"), sources("attacks/src")].concat();
    both.into_iter().map(|(path, source)| (path.to_str().unwrap().to_owned(), source)).collect()
}

#[test]
fn the_source_keeps_to_its_arrows() {
    let found = violations(&all_sources());
    assert!(found.is_empty(), "{found:#?}");
    let unused = unused(&all_sources());
    assert!(unused.is_empty(), "permitted and used by nobody: {unused:#?}");
}
