//! Who may use whom: the arrows of ARCHITECTURE.md, cycles, and how long functions and files may be, read off the syntax of the source.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::Visit;

use crate::tidy::sources;

/// What each room may use, of this crate: rooms, parts of them, or single types that are plain data.
const ROOMS: &[(&str, &str)] = &[
    (
        "cli",
        "tui report verdict audit study measure store modularity model data stats text atomic_file input memory confine exit",
    ),
    (
        "tui",
        "report verdict audit study::results measure::clean::ClassProbability model::info::ModelSummary store modularity stats text atomic_file input memory",
    ),
    (
        "report",
        "verdict audit study::results measure::clean::ClassProbability measure::ProgressOf model::info::ModelSummary store modularity stats text atomic_file",
    ),
    ("verdict", "audit measure::clean::ClassProbability model::info::ModelSummary store modularity stats text exit"),
    ("audit", "measure store modularity model data stats text atomic_file input memory"),
    ("study", "measure store modularity model data stats text atomic_file input memory"),
    ("measure", "store modularity model data stats text"),
    ("store", "modularity model data stats text atomic_file input"),
    ("modularity", "stats text"),
    ("model", "data stats text pickle atomic_file input memory"),
    ("data", "text pickle input memory"),
    ("stats", ""),
    ("text", ""),
    ("pickle", "text"),
    ("atomic_file", ""),
    ("input", ""),
    ("memory", "exit"),
    ("confine", "atomic_file"),
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
        places: &["std::fs", "atomic_file"],
    },
    // Files are opened in one place, which refuses pipes and devices. Those of a run's folder are opened in another, and journals are opened
    // already.
    Ban {
        below: &["src/"],
        except: &["src/input.rs", "src/store/folder.rs", "src/atomic_file.rs", "src/confine/files.rs"],
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

/// Folders whose files use each other in one direction only.
const WITHOUT_CYCLES: &[&str] = &["verdict", "audit", "tui"];

const FUNCTION_LINES: usize = 90;
const FILE_LINES: usize = 450;

type Files = BTreeMap<String, String>;
type ModulePath = Vec<String>;

/// A module of one of the crates: where it is, what it declares, what it names.
#[derive(Default)]
struct Module {
    file: String,
    declared: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths outside of `use`, of macros too. One segment only tells which imports are used.
    paths: BTreeSet<Vec<String>>,
}

/// One leaf of a `use` tree. The name is `*` for a glob.
struct Import {
    path: Vec<String>,
    name: String,
    exported: bool,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(ModulePath),
    /// Something that a module declares.
    Item(ModulePath, String),
    /// A path of another crate.
    Outside(Vec<String>),
}

struct Tree {
    modules: BTreeMap<ModulePath, Module>,
}

/// Lengths of a file: its lines without tests, and its functions with their lines.
struct Lengths {
    lines: usize,
    functions: Vec<(String, usize)>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tokens = match &attribute.meta {
            syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string(),
            _ => String::new(),
        };
        tokens == "test" || tokens.starts_with("all (test")
    })
}

/// What an item's attributes and name are, where it has them.
fn item_parts(item: &syn::Item) -> (&[syn::Attribute], Option<&syn::Ident>) {
    use syn::Item;
    match item {
        Item::Const(it) => (&it.attrs, Some(&it.ident)),
        Item::Enum(it) => (&it.attrs, Some(&it.ident)),
        Item::Fn(it) => (&it.attrs, Some(&it.sig.ident)),
        Item::Macro(it) => (&it.attrs, it.ident.as_ref()),
        Item::Mod(it) => (&it.attrs, None),
        Item::Static(it) => (&it.attrs, Some(&it.ident)),
        Item::Struct(it) => (&it.attrs, Some(&it.ident)),
        Item::Trait(it) => (&it.attrs, Some(&it.ident)),
        Item::Type(it) => (&it.attrs, Some(&it.ident)),
        Item::Union(it) => (&it.attrs, Some(&it.ident)),
        Item::Impl(it) => (&it.attrs, None),
        Item::Use(it) => (&it.attrs, None),
        Item::ForeignMod(it) => (&it.attrs, None),
        _ => (&[], None),
    }
}

/// Collects what a module names, but for what its inner modules and tests do.
struct Collector<'a>(&'a mut Module);

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !matches!(item, syn::Item::Mod(_)) && !is_test(item_parts(item).0) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let exported = !matches!(item.vis, syn::Visibility::Inherited);
        flatten(&item.tree, &mut Vec::new(), exported, &mut self.0.imports);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        syn::visit::visit_macro(self, call);
        paths_in_tokens(call.tokens.clone(), &mut self.0.paths);
    }
}

fn flatten(tree: &syn::UseTree, before: &mut Vec<String>, exported: bool, imports: &mut Vec<Import>) {
    let mut leaf = |last: Option<String>, name: String| {
        let path: Vec<String> = before.iter().cloned().chain(last).collect();
        imports.push(Import { path, name, exported });
    };
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, exported, imports);
            before.pop();
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|it| flatten(it, before, exported, imports)),
        syn::UseTree::Name(name) if name.ident == "self" => {
            let own = before.last().cloned().unwrap_or_default();
            leaf(None, own);
        }
        syn::UseTree::Name(name) => leaf(Some(name.ident.to_string()), name.ident.to_string()),
        syn::UseTree::Rename(rename) if rename.ident == "self" => leaf(None, rename.rename.to_string()),
        syn::UseTree::Rename(rename) => leaf(Some(rename.ident.to_string()), rename.rename.to_string()),
        syn::UseTree::Glob(_) => leaf(None, "*".to_owned()),
    }
}

/// Paths in the arguments of a macro, which are tokens only.
fn paths_in_tokens(tokens: TokenStream, paths: &mut BTreeSet<Vec<String>>) {
    let mut path = Vec::new();
    let mut colons = 0;
    let mut end = |path: &mut Vec<String>| {
        if !path.is_empty() {
            paths.insert(std::mem::take(path));
        }
    };
    let mut groups = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    end(&mut path);
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
            other => {
                end(&mut path);
                colons = 0;
                if let TokenTree::Group(group) = other {
                    groups.push(group.stream());
                }
            }
        }
    }
    end(&mut path);
    for group in groups {
        paths_in_tokens(group, paths);
    }
}

impl Tree {
    fn read(files: &Files) -> Self {
        let mut tree = Self { modules: BTreeMap::new() };
        for (name, file) in [("advmod", "src/lib.rs"), ("advmod_attacks", "attacks/src/lib.rs")] {
            if files.contains_key(file) {
                tree.read_file(files, file, vec![name.to_owned()]);
            }
        }
        tree
    }

    fn read_file(&mut self, files: &Files, file: &str, path: ModulePath) {
        let parsed = syn::parse_file(&files[file]).unwrap_or_else(|error| panic!("{file}: {error}"));
        let folder = match file.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs")) => folder.to_owned(),
            _ => file.strip_suffix(".rs").unwrap_or(file).to_owned(),
        };
        self.read_items(files, file, &folder, path, &parsed.items);
    }

    fn read_items(&mut self, files: &Files, file: &str, folder: &str, path: ModulePath, items: &[syn::Item]) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items {
            let (attributes, name) = item_parts(item);
            if is_test(attributes) {
                continue;
            }
            module.declared.extend(name.map(ToString::to_string));
            let syn::Item::Mod(inner) = item else {
                Collector(&mut module).visit_item(item);
                continue;
            };
            let name = inner.ident.to_string();
            let path = [&path[..], std::slice::from_ref(&name)].concat();
            let folder = format!("{folder}/{name}");
            if let Some((_, items)) = &inner.content {
                self.read_items(files, file, &folder, path, items);
            } else {
                let candidates = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
                let found = candidates.iter().find(|it| files.contains_key(*it));
                self.read_file(files, found.unwrap_or_else(|| panic!("{file}: mod {name}")), path);
            }
        }
        self.modules.insert(path, module);
    }

    /// Where a path leads that stands in a module.
    fn resolve(&self, here: &ModulePath, path: &[String], depth: usize) -> Target {
        let outside = || Target::Outside(path.to_vec());
        let Some(first) = path.first() else { return Target::Module(here.clone()) };
        match first.as_str() {
            "crate" => self.descend(here[..1].to_vec(), &path[1..], depth),
            "self" => self.descend(here.clone(), &path[1..], depth),
            "super" if here.len() > 1 => {
                let above = here[..here.len() - 1].to_vec();
                match path.get(1).map(String::as_str) {
                    Some("super") => self.resolve(&above, &path[1..], depth),
                    _ => self.descend(above, &path[1..], depth),
                }
            }
            _ if self.member(here, first) => self.descend(here.clone(), path, depth),
            _ if self.modules.contains_key(std::slice::from_ref(first)) => {
                self.descend(vec![first.clone()], &path[1..], depth)
            }
            _ => outside(),
        }
    }

    /// Whether a name means something in a module without being said to come from elsewhere.
    fn member(&self, module: &ModulePath, name: &str) -> bool {
        let found = &self.modules[module];
        self.modules.contains_key(&[&module[..], &[name.to_owned()]].concat())
            || found.declared.contains(name)
            || found.imports.iter().any(|import| import.name == name)
            || self.globbed(module, name, 0).is_some()
    }

    /// The module that a glob import takes a name from.
    fn globbed(&self, module: &ModulePath, name: &str, depth: usize) -> Option<ModulePath> {
        if depth > 4 {
            return None;
        }
        self.modules[module].imports.iter().filter(|import| import.name == "*").find_map(|import| {
            // Through the path's own first segment only: a glob is not looked for through globs.
            let named = matches!(import.path.first().map(String::as_str), Some("crate" | "self" | "super"));
            let child = |first| self.modules.contains_key(&[&module[..], &[first]].concat());
            if !named && !import.path.first().cloned().is_some_and(child) {
                return None;
            }
            let Target::Module(from) = self.resolve(module, &import.path, depth + 1) else { return None };
            let declares = self.modules[&from].declared.contains(name)
                || self.modules[&from].imports.iter().any(|import| import.exported && import.name == name);
            declares.then_some(from)
        })
    }

    fn descend(&self, module: ModulePath, rest: &[String], depth: usize) -> Target {
        let Some(name) = rest.first() else { return Target::Module(module) };
        if name == "self" {
            return self.descend(module, &rest[1..], depth);
        }
        let child = [&module[..], std::slice::from_ref(name)].concat();
        if self.modules.contains_key(&child) {
            return self.descend(child, &rest[1..], depth);
        }
        let found = &self.modules[&module];
        if found.declared.contains(name) || depth > 8 {
            return Target::Item(module, name.clone());
        }
        if let Some(import) = found.imports.iter().find(|import| import.name == *name && import.path != *rest) {
            return match self.resolve(&module, &import.path, depth + 1) {
                Target::Module(at) => self.descend(at, &rest[1..], depth + 1),
                Target::Outside(path) => Target::Outside([&path[..], &rest[1..]].concat()),
                item @ Target::Item(..) => item,
            };
        }
        match self.globbed(&module, name, depth) {
            Some(from) => self.descend(from, rest, depth + 1),
            None => Target::Item(module, name.clone()),
        }
    }

    /// Everything that each file leads to. `Target::Module` means an import that alone uses nothing.
    fn targets(&self) -> BTreeMap<&str, BTreeSet<Target>> {
        let mut all: BTreeMap<&str, BTreeSet<Target>> = BTreeMap::new();
        for (path, module) in &self.modules {
            let found = all.entry(&module.file).or_default();
            let used = |name: &str| module.paths.iter().any(|path| path.first().is_some_and(|first| first == name));
            for import in &module.imports {
                let target = self.import_target(path, import);
                // A name that is only handed on is used by those who take it.
                match target {
                    Target::Item(at, _) if import.exported && !used(&import.name) => found.insert(Target::Module(at)),
                    other => found.insert(other),
                };
            }
            let paths = module.paths.iter().filter(|it| it.len() > 1);
            found.extend(paths.map(|it| self.resolve(path, it, 0)));
        }
        all
    }

    fn import_target(&self, here: &ModulePath, import: &Import) -> Target {
        let first = import.path.first().map_or("", String::as_str);
        let child = [&here[..], &[first.to_owned()]].concat();
        match self.modules.contains_key(&child) || matches!(first, "crate" | "self" | "super") {
            true => self.resolve(here, &import.path, 0),
            false if self.modules.contains_key(std::slice::from_ref(&first.to_owned())) => {
                self.descend(vec![first.to_owned()], &import.path[1..], 0)
            }
            // Of another import (`use super::x; use x::Y;`) or another crate.
            false if import.path.len() > 1 => self.resolve(here, &import.path, 0),
            false => Target::Outside(import.path.clone()),
        }
    }
}

fn lengths(source: &str) -> Lengths {
    struct Reader {
        tests: Vec<(usize, usize)>,
        functions: Vec<(String, usize)>,
    }
    impl Reader {
        fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let (from, to) = (signature.span().start().line, block.span().end().line);
            self.functions.push((signature.ident.to_string(), to + 1 - from));
        }
    }
    impl<'ast> Visit<'ast> for Reader {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            let (attributes, _) = item_parts(item);
            if is_test(attributes) {
                self.tests.push((item.span().start().line, item.span().end().line));
            } else {
                syn::visit::visit_item(self, item);
            }
        }
        fn visit_item_fn(&mut self, it: &'ast syn::ItemFn) {
            self.function(&it.sig, &it.block);
            syn::visit::visit_item_fn(self, it);
        }
        fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
            self.function(&it.sig, &it.block);
            syn::visit::visit_impl_item_fn(self, it);
        }
    }
    let mut reader = Reader { tests: Vec::new(), functions: Vec::new() };
    reader.visit_file(&syn::parse_file(source).unwrap());
    let in_tests = |line: usize| reader.tests.iter().any(|&(from, to)| (from..=to).contains(&line));
    let lines = (1..).zip(source.lines()).filter(|(at, line)| !line.trim().is_empty() && !in_tests(*at)).count();
    Lengths { lines, functions: reader.functions }
}

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
            let (inside, path) = match target {
                Target::Module(path) => (path[0] == "advmod", path[1..].to_vec()),
                Target::Item(path, name) => (path[0] == "advmod", [&path[1..], std::slice::from_ref(name)].concat()),
                Target::Outside(path) => (false, path.clone()),
            };
            let may = !inside
                || path.first().is_none_or(|first| first == room || !ROOMS.iter().any(|(name, _)| name == first))
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
        found.extend(cycles(&tree, &targets, &format!("src/{folder}")));
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

/// Cycles between the entries of a folder and of the folders in it; a folder counts as one entry.
fn cycles(tree: &Tree, targets: &BTreeMap<&str, BTreeSet<Target>>, folder: &str) -> Vec<String> {
    let entry = |file: &str, folder: &str| -> Option<String> {
        Some(file.strip_prefix(folder)?.strip_prefix('/')?.split('/').next()?.trim_end_matches(".rs").to_owned())
    };
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
}

mod planted {
    use super::*;

    /// What breaks the rules in a little house of these files: `src/lib.rs` has their rooms, and everything that they name is somewhere.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let common = [
            ("src/cli/mod.rs", "pub fn run() {}"),
            ("src/model/mod.rs", "pub mod load; pub struct Model; pub fn open() {}"),
            ("src/model/load.rs", "pub struct Options; pub fn load() {}"),
            ("src/text/mod.rs", "pub fn wrap() {}"),
        ];
        let mut all: Files =
            common.iter().chain(files).map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect();
        let rooms: BTreeSet<String> = all.keys().filter_map(|file| room(file)).map(str::to_owned).collect();
        all.insert("src/lib.rs".to_owned(), rooms.iter().flat_map(|room| ["pub mod ", room.as_str(), ";\n"]).collect());
        violations(&all)
    }

    fn in_report(source: &str) -> Vec<String> {
        found(&[("src/report/mod.rs", "pub mod html;"), ("src/report/html/mod.rs", source)])
    }

    #[test]
    fn every_kind_of_path_is_followed() {
        let load = "src/report/html/mod.rs: uses model::load::load";
        for source in [
            "use crate::model::load::load;",
            "use crate::{text, model::{self, load::{Options, load}}};",
            "use crate::model::load::{load as read};",
            "use super::super::model::load::load;",
            "use crate::model::load::*; fn f() { load::load() }",
            "use crate::model as m; fn f() { m::load::load(); }",
            "use crate::model; use model::load; fn f() { load::load(); }",
            "use crate::model::load; fn f() { self::load::load(); }",
            "fn f() { crate::model::load::load(); }",
            "fn f() { super::super::model::load::load(); }",
            "fn f() { println!(\"{}\", crate::model::load::load()); }",
            "fn f() { assert!(vec![(1, crate::model::load::load())].is_empty()); }",
            "fn f() { let call = || { use crate::model::load::load; load() }; }",
            "mod inner { fn f() { super::super::super::model::load::load() } }",
            "#[cfg(unix)] fn f() { crate::model::load::load() }",
            "impl X { fn f(&self) { crate::model::load::load() } }",
        ] {
            assert!(in_report(source).iter().any(|line| line == load), "{source}: {:?}", in_report(source));
        }
        for (source, uses) in [
            ("fn f(_: crate::model::Model) {}", "model::Model"),
            ("struct S { options: Option<crate::model::load::Options> }", "model::load::Options"),
            ("fn f(x: X) { match x { crate::model::Model => {} } }", "model::Model"),
            ("impl crate::model::Model {}", "model::Model"),
            ("use std::{fmt, fs};", "std::fs"),
            ("fn f() { std::fs::read(\"x\"); }", "std::fs::read"),
            ("use tch::Tensor;", "tch::Tensor"),
            ("fn f() -> tch::Tensor { todo!() }", "tch::Tensor"),
        ] {
            let found = in_report(source);
            assert_eq!(found, [format!("src/report/html/mod.rs: uses {uses}")], "{source}");
        }
    }

    #[test]
    fn what_is_handed_on_is_followed_to_where_it_is_declared() {
        let files = [
            ("src/verdict/mod.rs", "pub mod inner;"),
            ("src/verdict/inner.rs", "pub use crate::model::Model;"),
            ("src/report/mod.rs", "use crate::verdict::inner::Model;"),
        ];
        let expected = ["src/report/mod.rs: uses model::Model", "src/verdict/inner.rs: uses model"].map(str::to_owned);
        assert_eq!(found(&files), expected);
    }

    #[test]
    fn comments_strings_tests_and_permitted_paths_are_no_violations() {
        for source in [
            "//! use crate::model::load;\n// crate::model::open()\n/* std::fs */",
            "/// As [`crate::model::open`].\nfn f() -> &'static str { \"crate::model::open() std::fs::read()\" }",
            "#[cfg(test)] mod tests { use crate::model::open; }",
            "#[cfg(test)] use crate::model::open;\n#[cfg(test)]\nfn f() { crate::model::open() }",
            "impl X { #[cfg(test)] fn f() { crate::model::open() } }",
            "use crate::text::wrap; use super::html; mod model { pub fn open() {} } fn f() { model::open() }",
            "fn f(model: &X) { model.open(); let tch = 3; let fs = tch; }",
        ] {
            assert!(in_report(source).is_empty(), "{source}: {:?}", in_report(source));
        }
        // A file that is declared by tests only.
        let files =
            [("src/report/mod.rs", "#[cfg(test)]\nmod tests;"), ("src/report/tests.rs", "use crate::model::open;")];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn siblings_and_what_is_above_are_out_of_reach() {
        for (from, to) in [
            ("study", "audit"),
            ("audit", "study"),
            ("report", "cli"),
            ("tui", "cli"),
            ("verdict", "report"),
            ("modularity", "model"),
            ("data", "model"),
            ("text", "stats"),
            ("tui", "study"),
            ("tui", "model"),
            ("unheard", "text"),
        ] {
            let (from_file, to_file) = (format!("src/{from}/mod.rs"), format!("src/{to}/mod.rs"));
            let source = format!("use crate::{to}::wrap;");
            let target = if to == "text" { "pub fn wrap() {}" } else { "pub fn wrap() {} pub mod load; " };
            let files = [(from_file.as_str(), source.as_str()), (&to_file, target)];
            let mut files = files.to_vec();
            let load = format!("src/{to}/load.rs");
            files.extend((to != "text").then_some((load.as_str(), "pub struct Options;")));
            assert_eq!(found(&files).len(), 1, "{from} → {to}: {:?}", found(&files));
        }
        let results = [
            ("src/study/mod.rs", "pub mod results; pub fn sweep() {}"),
            ("src/study/results.rs", "pub struct Curve;"),
            ("src/report/mod.rs", "use crate::study::{self, results::Curve}; fn f() { study::sweep() }"),
        ];
        assert!(found(&results).contains(&"src/report/mod.rs: uses study::sweep".to_owned()));
        assert!(!found(&results).iter().any(|line| line.contains("results")));
    }

    #[test]
    fn cycles_are_found_through_any_path_but_not_through_what_is_only_handed_on() {
        let cycle = |a: &str, b: &str, own: &str| {
            let modules = format!("mod a; mod b; {own}");
            let files = [("src/verdict/mod.rs", modules.as_str()), ("src/verdict/a.rs", a), ("src/verdict/b.rs", b)];
            found(&files)
        };
        let (a, b) = ("use super::b::B; pub struct A;", "pub struct B; fn f() { crate::verdict::a::A; }");
        let expected = ["src/verdict: a cycle of a, b: a → b (B), b → a (A)".to_owned()];
        assert_eq!(cycle(a, b, ""), expected);
        assert_eq!(
            cycle("use super::B; pub struct A;", "use super::A; pub struct B;", "pub use a::A; pub use b::B;"),
            ["src/verdict: a cycle of a, b: a → b (B), b → a (A)"]
        );
        assert!(cycle("use super::B; pub struct A;", "pub struct B;", "pub use a::A; pub use b::B;").is_empty());
        // A folder's own file is one of its files.
        let own = "pub struct Own; pub use a::A; fn f(_: A) {}";
        assert_eq!(
            cycle("use super::Own; pub struct A;", "", own),
            ["src/verdict: a cycle of a, mod: a → mod (Own), mod → a (A)"]
        );
    }

    #[test]
    fn long_functions_and_files_are_found() {
        let body = |lines: usize| format!("pub fn run() {{\n{}}}\n", "    run();\n".repeat(lines - 2));
        assert_eq!(found(&[("src/cli/mod.rs", &body(90))]), Vec::<String>::new());
        assert_eq!(found(&[("src/cli/mod.rs", &body(91))]), ["src/cli/mod.rs: run has 91 lines"]);
        let method = format!("impl X {{\n{}}}\n", body(91));
        assert_eq!(found(&[("src/cli/mod.rs", &method)]), ["src/cli/mod.rs: run has 91 lines"]);
        let file = |lines: usize| "fn f() {}\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
        assert_eq!(found(&[("src/text/mod.rs", &file(450))]), Vec::<String>::new());
        assert_eq!(found(&[("src/text/mod.rs", &file(451))]), ["src/text/mod.rs: 451 lines"]);
    }
}
