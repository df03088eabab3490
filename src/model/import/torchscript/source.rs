//! The code of an archive: parsed, and its classes and functions by their names.
//!
//! The parser and the tree that it makes are recursive, so how deep the text is nested is looked at before, on its tokens.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{Expr, ModModule, Stmt, StmtClassDef, StmtFunctionDef};
use ruff_python_parser::{Mode, lexer, parse_module};
use ruff_text_size::{Ranged, TextSize};

use crate::model::import::{ImportError, shown};

/// Tokens between a statement's outermost expression and its innermost.
const DEEPEST: usize = 1000;
/// Blocks inside blocks.
const MOST_INDENTS: usize = 64;
/// Brackets inside brackets.
const MOST_BRACKETS: usize = 256;
/// Letters of a name.
const LONGEST_NAME: usize = 1000;

/// A file of code.
#[derive(Debug)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    /// Where its lines end.
    ends: Vec<usize>,
    tree: ModModule,
}

impl File<'_> {
    pub(super) fn line(&self, at: TextSize) -> usize {
        1 + self.ends.partition_point(|end| *end < at.to_usize())
    }
}

fn line_of(text: &str, at: TextSize) -> usize {
    1 + text.get(..at.to_usize()).unwrap_or(text).matches('\n').count()
}

/// Parses all files.
pub(super) fn parse(code: &BTreeMap<String, String>) -> Result<Vec<File<'_>>, ImportError> {
    let parsed = code.iter().map(|(name, text)| {
        let wrong = |line: usize, what: &str| ImportError(format!("line {line} of code/{}: {what}", shown(name)));
        check_depth(text).map_err(|(line, what)| wrong(line, what))?;
        let tree =
            parse_module(text).map_err(|error| wrong(line_of(text, error.range().start()), "is no TorchScript"))?;
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Ok(File { name, ends, tree: tree.into_syntax() })
    });
    parsed.collect()
}

/// That the text is not nested deeper than a network's is; else the line and what is wrong.
fn check_depth(text: &str) -> Result<(), (usize, &'static str)> {
    let too_long = |line: &str| {
        line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word.len() > LONGEST_NAME)
    };
    if let Some(line) = text.lines().position(too_long) {
        return Err((line + 1, "has a word longer than any network's"));
    }
    let mut lexer = lexer::lex(text, Mode::Module);
    // Per open bracket: tokens since it was opened, or since the last comma in it.
    let (mut open, mut total, mut indents, mut line) = (vec![0_usize], 0_usize, 0_usize, 1_usize);
    loop {
        match lexer.next_token() {
            TokenKind::EndOfFile => return Ok(()),
            TokenKind::Newline => {
                (open, total) = (vec![0], 0);
                line += 1;
                continue;
            }
            TokenKind::NonLogicalNewline => {
                line += 1;
                continue;
            }
            TokenKind::Indent => indents += 1,
            TokenKind::Dedent => indents = indents.saturating_sub(1),
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => {
                total += 1;
                open.push(1);
            }
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                total -= open.pop().unwrap_or(0);
                // The pair goes on as one thing that something else may follow.
                match open.last_mut() {
                    Some(around) => *around += 1,
                    None => open.push(1),
                }
                total += 1;
            }
            TokenKind::Comma => total -= std::mem::take(open.last_mut().expect("never empty")),
            TokenKind::FStringStart | TokenKind::TStringStart | TokenKind::IpyEscapeCommand | TokenKind::Unknown => {
                return Err((line, "is no TorchScript"));
            }
            _ => {
                total += 1;
                *open.last_mut().expect("never empty") += 1;
            }
        }
        if total > DEEPEST || indents > MOST_INDENTS || open.len() > MOST_BRACKETS {
            return Err((line, "is nested deeper than any network's code"));
        }
    }
}

/// A function or method, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) code: &'a StmtFunctionDef,
}

#[derive(Debug)]
pub(super) struct Class<'a> {
    /// `__torch__.torch.nn.modules.conv.Conv2d`.
    pub(super) name: String,
    pub(super) file: &'a File<'a>,
    /// What it is derived from: `Module`, `Enum`, `NamedTuple`, …
    pub(super) base: &'a str,
    pub(super) methods: BTreeMap<&'a str, &'a StmtFunctionDef>,
    /// In order, with their value where the code gives one.
    pub(super) fields: Vec<(&'a str, Option<&'a Expr>)>,
    /// Where each field is first named.
    pub(super) places: BTreeMap<&'a str, usize>,
    pub(super) parameters: BTreeSet<&'a str>,
}

impl<'a> Class<'a> {
    pub(super) fn field(&self, name: &str) -> Option<&'a Expr> {
        self.fields.get(*self.places.get(name)?)?.1
    }

    /// Whether functions of the module's user run before or after it. Those of the modules inside it stand in the code that calls them.
    pub(super) fn has_hooks(&self) -> bool {
        let hooks = ["__forward_pre_hooks__", "__forward_hooks__"].map(|name| self.field(name)?.as_list_expr());
        hooks.into_iter().flatten().any(|list| !list.elts.is_empty())
    }
}

/// All classes and functions by their names.
#[derive(Debug, Default)]
pub(super) struct Library<'a> {
    pub(super) classes: BTreeMap<String, Class<'a>>,
    pub(super) functions: BTreeMap<String, Function<'a>>,
}

impl<'a> Library<'a> {
    pub(super) fn new(files: &'a [File<'a>]) -> Result<Self, ImportError> {
        let mut library = Self::default();
        let twice =
            |name: &str| ImportError(format!("`{}` is defined twice, so that readers would differ", shown(name)));
        for file in files {
            let module = file.name.strip_suffix(".py").unwrap_or(file.name).replace('/', ".");
            for statement in &file.tree.body {
                match statement {
                    Stmt::ClassDef(code) => {
                        let name = format!("{module}.{}", code.name.as_str());
                        if library.classes.insert(name.clone(), class(name.clone(), file, code)).is_some() {
                            return Err(twice(&name));
                        }
                    }
                    Stmt::FunctionDef(code) => {
                        let name = format!("{module}.{}", code.name.as_str());
                        if library.functions.insert(name.clone(), Function { file, code }).is_some() {
                            return Err(twice(&name));
                        }
                    }
                    // Nothing else that a file may hold is ever run.
                    _ => (),
                }
            }
        }
        Ok(library)
    }
}

fn class<'a>(name: String, file: &'a File<'a>, code: &'a StmtClassDef) -> Class<'a> {
    let base = code.arguments.as_ref().and_then(|it| it.args.first()).and_then(Expr::as_name_expr);
    let base = base.map_or("", |base| base.id.as_str());
    let mut class = Class {
        name,
        file,
        base,
        methods: BTreeMap::new(),
        fields: Vec::new(),
        places: BTreeMap::new(),
        parameters: BTreeSet::new(),
    };
    for statement in &code.body {
        match statement {
            Stmt::FunctionDef(method) => _ = class.methods.insert(method.name.as_str(), method),
            Stmt::AnnAssign(field) => {
                let named = field.target.as_name_expr();
                class.fields.extend(named.map(|named| (named.id.as_str(), field.value.as_deref())));
            }
            Stmt::Assign(field) => {
                let Some(named) = field.targets.first().and_then(Expr::as_name_expr) else { continue };
                let texts = |list: &'a Expr| {
                    let members = list.as_list_expr().map(|list| list.elts.iter()).into_iter().flatten();
                    members.filter_map(|member| Some(member.as_string_literal_expr()?.value.to_str()))
                };
                match named.id.as_str() {
                    "__parameters__" => class.parameters = texts(&field.value).collect(),
                    name => class.fields.push((name, Some(&field.value))),
                }
            }
            _ => (),
        }
    }
    for (place, (name, _)) in class.fields.iter().enumerate() {
        class.places.entry(name).or_insert(place);
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_nesting_passes_and_deep_nesting_does_not() {
        let list = format!("x = [{}]\n", "1, ".repeat(100_000));
        check_depth(&list).unwrap();
        check_depth(&"x = f(g(a, h(b)))\n".repeat(10_000)).unwrap();
        let blocks: Vec<String> = (0..100).map(|depth| format!("{}if x:\n", " ".repeat(depth))).collect();
        let blocks = blocks.concat() + &" ".repeat(100) + "x\n";
        let deep: [String; 8] = [
            format!("x = {}0{}\n", "[0, ".repeat(5000), "]".repeat(5000)),
            format!("x = {}1{}\n", "(".repeat(5000), ")".repeat(5000)),
            format!("x = {}1\n", "-".repeat(5000)),
            format!("x = {}\n", "not ".repeat(5000)),
            format!("x = a{}\n", ".b".repeat(5000)),
            format!("x = a{}\n", "()".repeat(5000)),
            format!("x = {}1\n", "1 + ".repeat(5000)),
            blocks,
        ];
        for text in deep {
            assert!(check_depth(&text).is_err(), "{text:.40}");
        }
    }

    #[test]
    fn errors_name_their_line() {
        let code = BTreeMap::from([("a.py".to_owned(), "x = 1\ny = )\n".to_owned())]);
        assert_eq!(parse(&code).unwrap_err().to_string(), "line 2 of code/a.py: is no TorchScript");
    }
}
