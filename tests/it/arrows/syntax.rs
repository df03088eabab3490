//! What the source says: its modules, what they declare and import, which paths and methods they name.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::visit::Visit;

pub type Files = BTreeMap<String, String>;
pub type ModulePath = Vec<String>;

/// A module of one of the crates: where it is, what it declares, what it names.
#[derive(Default)]
pub struct Module {
    pub file: String,
    declared: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths outside of `use`, of macros too. One segment only tells which imports are used.
    paths: BTreeSet<Vec<String>>,
    /// Methods that are called, whatever on.
    calls: BTreeSet<String>,
    /// Functions in `impl` blocks, by the path of the type.
    methods: BTreeMap<Vec<String>, BTreeSet<String>>,
    /// Modules in the bodies of functions.
    inner: Vec<(String, Vec<syn::Item>)>,
}

/// One leaf of a `use` tree. The name is `*` for a glob.
struct Import {
    path: Vec<String>,
    name: String,
    exported: bool,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Module(ModulePath),
    /// Something that a module declares.
    Item(ModulePath, String),
    /// A path of another crate.
    Outside(Vec<String>),
}

pub struct Tree {
    pub modules: BTreeMap<ModulePath, Module>,
}

/// Lengths of a file: its lines without tests, and its functions with their lines.
pub struct Lengths {
    pub lines: usize,
    pub functions: Vec<(String, usize)>,
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
        if is_test(item_parts(item).0) {
            return;
        }
        match item {
            // Those of the module itself are read where they lie: this one is in the body of a function.
            syn::Item::Mod(inner) => {
                let items = inner.content.as_ref().map(|(_, items)| items.clone());
                self.0.inner.push((format!("{}'", inner.ident), items.unwrap_or_default()));
            }
            item => syn::visit::visit_item(self, item),
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let (None, syn::Type::Path(of)) = (&item.trait_, &*item.self_ty) {
            let functions = item.items.iter().filter_map(|it| match it {
                syn::ImplItem::Fn(function) if !is_test(&function.attrs) => Some(function.sig.ident.to_string()),
                _ => None,
            });
            self.0.methods.entry(names(&of.path)).or_default().extend(functions);
        }
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if !is_test(&function.attrs) {
            syn::visit::visit_trait_item_fn(self, function);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0.calls.insert(call.method.to_string());
        syn::visit::visit_expr_method_call(self, call);
    }

    /// Also what stands in strings there, such as `#[serde(with = "crate::text::hex")]`.
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        syn::visit::visit_attribute(self, attribute);
        if let syn::Meta::List(list) = &attribute.meta {
            paths_in_tokens(list.tokens.clone(), &[], &mut self.0.paths);
            in_strings(list.tokens.clone(), &mut self.0.paths);
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
        self.0.paths.insert(names(path));
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        syn::visit::visit_macro(self, call);
        // Where it reads as code, it is read as that, `use` and all.
        match syn::Block::parse_within.parse2(call.tokens.clone()) {
            Ok(statements) => {
                // What it declares lives as long as it does, and it is owned here alone.
                let mut inside = Module::default();
                for statement in &statements {
                    Collector(&mut inside).visit_stmt(statement);
                }
                self.0.imports.extend(inside.imports);
                self.0.paths.extend(inside.paths);
                self.0.calls.extend(inside.calls);
                self.0.inner.extend(inside.inner);
            }
            Err(_) => methods_in_tokens(call.tokens.clone(), &mut self.0.calls),
        }
        paths_in_tokens(call.tokens.clone(), &[], &mut self.0.paths);
    }
}

fn names(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
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

/// Paths in what is tokens only, also `a::{b, c::d}`.
fn paths_in_tokens(tokens: TokenStream, before: &[String], paths: &mut BTreeSet<Vec<String>>) {
    let mut path = before.to_vec();
    let mut colons = 0;
    let mut end = |path: &mut Vec<String>| {
        if path.len() > before.len() {
            paths.insert(path.clone());
        }
        path.clear();
        path.extend_from_slice(before);
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
            TokenTree::Punct(punct) if punct.as_char() == ':' && path.len() > before.len() => colons += 1,
            TokenTree::Group(group) => {
                let is_tree = colons == 2 && group.delimiter() == Delimiter::Brace;
                groups.push((if is_tree { path.clone() } else { before.to_vec() }, group.stream()));
                end(&mut path);
                colons = 0;
            }
            _ => {
                end(&mut path);
                colons = 0;
            }
        }
    }
    end(&mut path);
    for (before, group) in groups {
        paths_in_tokens(group, &before, paths);
    }
}

/// Paths in the strings among tokens.
fn in_strings(tokens: TokenStream, paths: &mut BTreeSet<Vec<String>>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => in_strings(group.stream(), paths),
            TokenTree::Literal(literal) => {
                let text = syn::parse_str::<syn::LitStr>(&literal.to_string()).map(|text| text.value());
                if let Ok(tokens) = text.unwrap_or_default().parse() {
                    paths_in_tokens(tokens, &[], paths);
                }
            }
            _ => (),
        }
    }
}

/// Names after a dot and before a parenthesis.
fn methods_in_tokens(tokens: TokenStream, calls: &mut BTreeSet<String>) {
    let mut last: Vec<TokenTree> = Vec::new();
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            if let [.., TokenTree::Punct(dot), TokenTree::Ident(name)] = &last[..]
                && dot.as_char() == '.'
                && group.delimiter() == Delimiter::Parenthesis
            {
                calls.insert(name.to_string());
            }
            methods_in_tokens(group.stream(), calls);
        }
        last.push(token);
    }
}

impl Tree {
    pub fn read(files: &Files) -> Self {
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
        for (name, items) in std::mem::take(&mut module.inner) {
            self.read_items(files, file, folder, [&path[..], &[name]].concat(), &items);
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
            let declares = self.modules.contains_key(&[&from[..], &[name.to_owned()]].concat())
                || self.modules[&from].declared.contains(name)
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

    /// By the file that a method is called in: the files that it may be in, with the method. A type has methods in other files than its own;
    /// who names the type and calls a method of such a name, or has methods of the type, uses that file.
    pub fn called(&self) -> BTreeMap<&str, BTreeMap<&str, &str>> {
        let mut foreign: BTreeMap<Target, Vec<(&str, &BTreeSet<String>)>> = BTreeMap::new();
        let mut own: BTreeMap<&str, BTreeSet<Target>> = BTreeMap::new();
        for (path, module) in &self.modules {
            for (of, methods) in &module.methods {
                let of = self.resolve(path, of, 0);
                own.entry(&module.file).or_default().insert(of.clone());
                if matches!(&of, Target::Item(at, _) if self.modules[at].file != module.file) {
                    foreign.entry(of).or_default().push((&module.file, methods));
                }
            }
        }
        let targets = self.targets();
        let mut called: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for (of, places) in &foreign {
            let Target::Item(at, _) = of else { continue };
            for module in self.modules.values() {
                let names = module.file == self.modules[at].file
                    || targets[module.file.as_str()].contains(of)
                    || own.get(module.file.as_str()).is_some_and(|own| own.contains(of));
                for (file, methods) in places.iter().filter(|(file, _)| names && *file != module.file) {
                    let qualified = |name: &str| {
                        module.paths.iter().any(|it| it.len() > 1 && it.last().is_some_and(|last| last == name))
                    };
                    let method = methods.iter().find(|name| module.calls.contains(*name) || qualified(name));
                    called.entry(&module.file).or_default().extend(method.map(|name| (*file, name.as_str())));
                }
            }
        }
        called
    }

    /// Everything that each file leads to. `Target::Module` means an import that alone uses nothing.
    pub fn targets(&self) -> BTreeMap<&str, BTreeSet<Target>> {
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

pub fn lengths(source: &str) -> Lengths {
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
        fn visit_trait_item_fn(&mut self, it: &'ast syn::TraitItemFn) {
            if let Some(block) = &it.default {
                self.function(&it.sig, block);
            }
            syn::visit::visit_trait_item_fn(self, it);
        }
    }
    let mut reader = Reader { tests: Vec::new(), functions: Vec::new() };
    reader.visit_file(&syn::parse_file(source).unwrap());
    let in_tests = |line: usize| reader.tests.iter().any(|&(from, to)| (from..=to).contains(&line));
    let lines = (1..).zip(source.lines()).filter(|(at, line)| !line.trim().is_empty() && !in_tests(*at)).count();
    Lengths { lines, functions: reader.functions }
}
