//! The list of operators that may be called, and what their schemas say.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tch::Kind;

/// An operator of the list.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Without `aten::`.
    pub name: &'static str,
    pub overload: &'static str,
    /// As libtorch writes it.
    pub text: &'static str,
    pub arguments: Vec<Formal>,
    /// Whether what it makes may share memory with its first argument.
    pub is_view: bool,
    /// Whether it makes a list of tensors.
    pub makes_list: bool,
}

/// The same operator has the same schema.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// An argument of a schema.
#[derive(Debug)]
pub(crate) struct Formal {
    pub name: &'static str,
    pub kind: Type,
    /// Whether it may be None.
    pub is_optional: bool,
    pub has_default: bool,
    /// Whether it is only given by its name.
    pub by_name: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Tensor,
    Tensors,
    /// A number of any kind.
    Scalar,
    Integer,
    Integers,
    Number,
    Numbers,
    Flag,
    Text,
    /// A data type.
    Kind,
    /// Layout, device, memory format, generator: always what the operator takes by itself.
    Other,
}

/// The list, by name.
static ALLOWED: LazyLock<BTreeMap<&str, Vec<Schema>>> = LazyLock::new(|| {
    let mut by_name: BTreeMap<&str, Vec<Schema>> = BTreeMap::new();
    for line in include_str!("allowed.txt").lines().filter(|line| line.starts_with("aten::")) {
        let schema = parse(line).expect("a line of the list is a schema");
        by_name.entry(schema.name).or_default().push(schema);
    }
    by_name
});

/// The operator of this name and overload (`default` is none), if it may be called.
pub(crate) fn find(name: &str) -> Option<&'static Schema> {
    let (name, overload) = name.split_once('.')?;
    let overload = if overload == "default" { "" } else { overload };
    called(name).iter().find(|schema| schema.overload == overload)
}

/// All overloads of an operator that may be called.
pub(crate) fn called(name: &str) -> &'static [Schema] {
    ALLOWED.get(name).map(Vec::as_slice).unwrap_or_default()
}

/// Reads `aten::name.overload(Tensor self, int[2] size=1, *, bool flag) -> Tensor`.
pub(super) fn parse(text: &'static str) -> Option<Schema> {
    let (head, rest) = text.strip_prefix("aten::")?.split_once('(')?;
    let (arguments, returns) = rest.rsplit_once(") -> ")?;
    let (name, overload) = head.split_once('.').unwrap_or((head, ""));
    let mut by_name = false;
    let mut formals = Vec::new();
    for part in separated(arguments) {
        if part == "*" {
            by_name = true;
            continue;
        }
        let (what, default) = match part.split_once('=') {
            Some((what, default)) => (what, Some(default)),
            None => (part, None),
        };
        let (kind, name) = what.rsplit_once(' ')?;
        let (kind, is_optional) = type_of(kind)?;
        formals.push(Formal { name, kind, is_optional, has_default: default.is_some(), by_name });
    }
    let is_view = returns.contains("(a");
    let returns = returns.trim_start_matches('(').trim_end_matches(')');
    let made = separated(returns);
    let is_tensor = |it: &&str| matches!(it.split(['(', ' ', '[']).next(), Some("Tensor"));
    if made.is_empty() || !made.iter().all(is_tensor) {
        return None;
    }
    Some(Schema {
        name,
        overload,
        text,
        arguments: formals,
        is_view,
        makes_list: made.iter().any(|it| it.contains("[]")),
    })
}

/// What commas separate, but for those in brackets.
fn separated(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => (),
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// The type of an argument, and whether it may be None; nothing for types that no file may give, such as those that are written to.
fn type_of(text: &str) -> Option<(Type, bool)> {
    let (text, is_optional) = match text.strip_suffix('?') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (element, is_list) = match text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
        Some((element, _)) => (element, true),
        None => (text, false),
    };
    let element = element.trim_end_matches('?');
    let element = match element.split_once('(') {
        Some((_, alias)) if alias.contains('!') => return None,
        Some((element, _)) => element,
        None => element,
    };
    let kind = match (element, is_list) {
        ("Tensor", false) => Type::Tensor,
        ("Tensor", true) => Type::Tensors,
        ("Scalar", false) => Type::Scalar,
        ("int" | "SymInt", false) => Type::Integer,
        ("int" | "SymInt", true) => Type::Integers,
        ("float", false) => Type::Number,
        ("float", true) => Type::Numbers,
        ("bool", false) => Type::Flag,
        ("str", false) => Type::Text,
        ("ScalarType", false) => Type::Kind,
        ("Layout" | "Device" | "MemoryFormat" | "Generator", false) => Type::Other,
        _ => return None,
    };
    Some((kind, is_optional))
}

/// The number that libtorch has for a data type.
pub(super) fn code_of(kind: Kind) -> i64 {
    match kind {
        Kind::Uint8 => 0,
        Kind::Int8 => 1,
        Kind::Int16 => 2,
        Kind::Int => 3,
        Kind::Int64 => 4,
        Kind::Half => 5,
        Kind::Float => 6,
        Kind::Double => 7,
        Kind::Bool => 11,
        Kind::BFloat16 => 15,
        _ => -1,
    }
}
