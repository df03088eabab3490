//! Planted violations: each must be found.

use std::collections::BTreeSet;

use super::{room, unused, violations};
use crate::arrows::syntax::Files;

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
        "use crate::*; fn f() { model::load::load() }",
        "fn f() { use crate::*; model::load::load() }",
        "call! { use crate::model::{load::{self, load as l}, Model}; }",
        "call! { => use crate::{text, model::{load::load}}; }",
        "macro_rules! m { ($x:expr) => { crate::model::{load::load}; $x } }",
        "#[serde(with = \"crate::model::load::load\")] struct S;",
        "struct S { #[serde(default, with = \"super::super::model::load::load\")] x: u8 }",
        "#[derive(crate::model::load::load)] struct S;",
        "fn f() { mod inner { fn f() { super::super::super::model::load::load() } } }",
        "fn f() { mod inner { use crate::model::load::load; } }",
        "trait T { fn f(&self) { crate::model::load::load() } }",
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
        "trait X { #[cfg(test)] fn f() { crate::model::open() } }",
        "#[doc = \"crate::model::open\"] struct S;",
        "use crate::text::wrap; use super::html; mod model { pub fn open() {} } fn f() { model::open() }",
        "fn f(model: &X) { model.open(); let tch = 3; let fs = tch; }",
    ] {
        assert!(in_report(source).is_empty(), "{source}: {:?}", in_report(source));
    }
    // A file that is declared by tests only.
    let files = [("src/report/mod.rs", "#[cfg(test)]\nmod tests;"), ("src/report/tests.rs", "use crate::model::open;")];
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
    // Elsewhere too, but for what the folder's own file declares.
    let elsewhere = |own: &str| {
        let files = [("src/model/mod.rs", own), ("src/model/a.rs", a), ("src/model/load.rs", "pub fn load() {}")];
        let b = ("src/model/b.rs", "use super::Own; pub struct B; fn f(_: Own) { crate::model::a::A; }");
        found(&[&files[..], &[b]].concat())
    };
    let own = "pub mod a; mod b; mod load; pub struct Own; pub struct Model; pub fn open() {} fn f() { b::B }";
    assert_eq!(elsewhere(own), ["src/model: a cycle of a, b: a → b (B), b → a (A)"]);
    // A folder's own file is one of its files.
    let own = "pub struct Own; pub use a::A; fn f(_: A) {}";
    assert_eq!(
        cycle("use super::Own; pub struct A;", "", own),
        ["src/verdict: a cycle of a, mod: a → mod (Own), mod → a (A)"]
    );
}

#[test]
fn methods_in_another_file_than_their_type_count() {
    let cycle = |a: &str, b: &str| {
        let files = [("src/verdict/mod.rs", "mod a; mod b;"), ("src/verdict/a.rs", a), ("src/verdict/b.rs", b)];
        found(&files)
    };
    let b = "use super::a::A; impl A { pub fn work(&self) {} }";
    for a in [
        "pub struct A; impl A { fn f(&self) { self.work() } }",
        "pub struct A; fn f(a: &A) { assert!(a.work(), \"{}\", 1) }",
        "pub struct A; fn f(a: &A) { call!(a.work() => 1) }",
        "pub struct A; fn f(a: &A) { A::work(a) }",
    ] {
        assert_eq!(cycle(a, b), ["src/verdict: a cycle of a, b: a → b (work), b → a (A)"], "{a}");
    }
    let planned = "pub struct A; impl A { fn own(&self) {} fn f(&self) { self.own() } }";
    assert!(cycle(planned, b).is_empty());
}

#[test]
fn a_permission_that_nobody_uses_is_found() {
    let source = "use crate::text::wrap; fn f() { wrap() }";
    let files = [
        ("src/lib.rs", "pub mod stats; pub mod text; pub mod cli;"),
        ("src/stats.rs", ""),
        ("src/text.rs", "pub fn wrap() {}"),
    ];
    let with = |cli: &str| {
        let all = files
            .iter()
            .chain(&[("src/cli.rs", cli)])
            .map(|(file, source)| ((*file).to_owned(), (*source).to_owned()))
            .collect();
        unused(&all)
    };
    let none = "cli: text".to_owned();
    assert!(with("").contains(&none) && !with(source).contains(&none), "{:?}", with(source));
}

#[test]
fn long_functions_and_files_are_found() {
    let body = |lines: usize| format!("pub fn run() {{\n{}}}\n", "    run();\n".repeat(lines - 2));
    assert_eq!(found(&[("src/cli/mod.rs", &body(90))]), Vec::<String>::new());
    assert_eq!(found(&[("src/cli/mod.rs", &body(91))]), ["src/cli/mod.rs: run has 91 lines"]);
    for of in ["impl X", "trait X"] {
        let method = format!("{of} {{\n{}}}\n", body(91).replace("pub ", ""));
        assert_eq!(found(&[("src/cli/mod.rs", &method)]), ["src/cli/mod.rs: run has 91 lines"], "{of}");
    }
    let file = |lines: usize| "fn f() {}\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    assert_eq!(found(&[("src/text/mod.rs", &file(450))]), Vec::<String>::new());
    assert_eq!(found(&[("src/text/mod.rs", &file(451))]), ["src/text/mod.rs: 451 lines"]);
}
