//! `torch.export` archives (`.pt2`): a zip file of JSON and raw weight files, read as plain data.
//!
//! The layout is that of PyTorch 2.11 (archive version 0, schema 8): `models/model.json` with the graph,
//! `data/weights/model_weights_config.json` and `data/constants/model_constants_config.json` with names and layouts of the raw files
//! beside them. The sample inputs, which are a pickle, are not looked at.

mod schema;
mod weights;
mod wrapped;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::error::{EXPORT_AGAIN, FormatError, Source, printable};
use super::torch_zip::Archive;
use super::{RawTensor, sha256_of};
use schema::{InputSpec, SymInt};

/// An exported program, as it is written: nothing but its form has been checked.
#[derive(Clone, Debug)]
pub(crate) struct ExportedProgram {
    /// Graph inputs that are tensors out of the file: name in the graph → stored tensor.
    pub stored: Vec<(String, Stored)>,
    /// Graph inputs that the caller gives, in order.
    pub inputs: Vec<String>,
    /// What the graph returns, in order.
    pub outputs: Vec<String>,
    pub nodes: Vec<ExportNode>,
    pub shapes: BTreeMap<String, Vec<Dim>>,
    /// Numbers of the data types of all tensors.
    pub kinds: BTreeMap<String, i64>,
    pub integers: BTreeMap<String, Dim>,
    /// Version of PyTorch that wrote it, where it says so.
    pub torch_version: Option<String>,
    /// Of the file's bytes, in hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Name in the module (`layer1.0.conv1.weight`).
    pub name: String,
    /// Whether it is a parameter; else a buffer or a constant.
    pub parameter: bool,
    pub tensor: RawTensor,
    /// How its elements lie in memory when PyTorch has loaded it.
    pub stride: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct ExportNode {
    /// `torch.ops.aten.conv2d.default`.
    pub target: String,
    /// Those that differ from their default, by the names of the operator's schema.
    pub arguments: Vec<(String, Argument)>,
    /// Names of the tensors that it makes; none where it only checks something or makes integers.
    pub outputs: Vec<String>,
    pub modules: Vec<ModuleCall>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModuleCall {
    /// Tells a second call of the same module from the first.
    pub key: String,
    /// `layer1.0.conv1`; empty for the whole model.
    pub path: String,
    /// `torch.nn.modules.conv.Conv2d`.
    pub class: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    Fixed(i64),
    Symbol {
        name: String,
        times: i64,
        hint: Option<i64>,
    },
    /// Any other expression, as it is written.
    Other(String),
}

/// A literal integer, or the name of one that the graph computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Integer {
    Literal(i64),
    Named(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    None,
    Tensor(String),
    Tensors(Vec<Option<String>>),
    Integer(Integer),
    Integers(Vec<Integer>),
    Float(f64),
    Floats(Vec<f64>),
    Bool(bool),
    Text(String),
    /// A data type by its number.
    Kind(i64),
    /// A memory format by its number.
    Format(i64),
    /// Layout, device, …: how it is called.
    Other(String),
}

pub(super) fn read(source: Source<'_>) -> Result<ExportedProgram, FormatError> {
    let other =
        |what: &str| source.other(format!("is a torch.export archive that cannot be used: {what}; {EXPORT_AGAIN}"));
    let mut archive = Archive::open_around(source, "archive_format").map_err(|error| {
        if matches!(error, FormatError::Truncated { .. }) {
            error
        } else {
            other("it has no entry `archive_format`, so an older PyTorch wrote it")
        }
    })?;
    if !archive.has("models/model.json") {
        return Err(other("it holds no model named `model`"));
    }
    if archive.has("byteorder") && archive.entry("byteorder")?.trim_ascii() == b"big" {
        return Err(source.damaged("it was saved on a big-endian machine, which is not read"));
    }
    let entry = "models/model.json";
    let json = archive.entry(entry)?;
    // The major version alone is looked at before the rest, which it decides about.
    let version: VersionOnly = source.json(entry, &json)?;
    if version.schema_version.major != 8 {
        let schema::Version { major, minor } = version.schema_version;
        return Err(other(&format!("its schema has version {major}.{minor}, expected 8")));
    }
    let model: schema::Model = source.json(entry, &json)?;
    drop(json);
    let schema::GraphModule { graph, signature } = model.graph_module;
    let graph = wrapped::unwrapped(graph, 0)
        .map_err(|what| source.other(format!("is a torch.export archive that cannot be used: {what}")))?;

    let mut inputs = Vec::new();
    let mut files = Vec::new();
    for spec in signature.input_specs {
        match spec {
            InputSpec::Parameter { arg, parameter_name } => files.push((arg.name, parameter_name, true)),
            InputSpec::Buffer { arg, buffer_name } => files.push((arg.name, buffer_name, false)),
            InputSpec::TensorConstant { arg, tensor_constant_name } => {
                files.push((arg.name, tensor_constant_name, false));
            }
            InputSpec::UserInput { arg } => match tensor_name(&arg) {
                Some(name) => inputs.push(name),
                None if arg.contains_key("as_none") => (),
                None => return Err(other("one of its inputs is no tensor")),
            },
            // A number or text, which is in the graph where it is read.
            InputSpec::ConstantInput {} => (),
            InputSpec::CustomObj {} | InputSpec::Token {} => {
                return Err(other("one of its inputs is neither a tensor nor a weight"));
            }
        }
    }
    let mut outputs = Vec::new();
    for spec in &signature.output_specs {
        let Some(user) = spec.get("user_output") else {
            let kind = spec.keys().next().map_or("nothing", String::as_str);
            return Err(other(&format!("it changes its own state (`{}`); call model.eval() first", printable(kind))));
        };
        let arg = user.get("arg").and_then(Value::as_object);
        let name = arg.and_then(|arg| arg.get("as_tensor")?.get("name")?.as_str());
        outputs.extend(name.map(str::to_owned));
    }

    let wanted: BTreeSet<&str> = files.iter().map(|(_, name, _)| name.as_str()).collect();
    let mut room = source.expansion_limit();
    let mut tensors = BTreeMap::new();
    for kind in ["weights", "constants"] {
        tensors.extend(weights::read(source, &mut archive, kind, &wanted, &mut room)?);
    }
    let mut stored = Vec::with_capacity(files.len());
    for (graph_name, name, parameter) in files {
        let (tensor, stride) = (tensors.remove(&name))
            .ok_or_else(|| source.tensor(&name, "is needed but not in the archive; export the model again"))?;
        stored.push((graph_name, Stored { name, parameter, tensor, stride }));
    }

    let nodes = graph.nodes.into_iter().map(node).collect::<Result<Vec<_>, String>>();
    Ok(ExportedProgram {
        stored,
        inputs,
        outputs,
        nodes: nodes.map_err(|what| source.damaged(what))?,
        kinds: graph.tensor_values.iter().map(|(name, meta)| (name.clone(), meta.dtype)).collect(),
        shapes: graph
            .tensor_values
            .into_iter()
            .map(|(name, meta)| (name, meta.sizes.into_iter().map(dim).collect()))
            .collect(),
        integers: graph.sym_int_values.into_iter().map(|(name, it)| (name, dim(it))).collect(),
        torch_version: model.torch_version.map(|version| printable(&version)),
        sha256: sha256_of(source.bytes),
    })
}

#[derive(serde::Deserialize)]
struct VersionOnly {
    schema_version: schema::Version,
}

fn node(node: schema::Node) -> Result<ExportNode, String> {
    let mut arguments = Vec::with_capacity(node.inputs.len());
    for input in node.inputs {
        let Some((kind, value)) = input.arg.into_iter().next() else {
            return Err(format!("an argument of {} has no value", printable(&node.target)));
        };
        let argument = argument(&kind, &value).ok_or_else(|| {
            format!("an argument of {} is not understood ({})", printable(&node.target), printable(&kind))
        })?;
        arguments.push((input.name, argument));
    }
    let mut outputs = Vec::new();
    for output in &node.outputs {
        match (tensor_name(output), output.get("as_tensors").and_then(Value::as_array)) {
            (Some(name), _) => outputs.push(name),
            (None, Some(items)) => {
                for item in items {
                    let name = item.get("name").and_then(Value::as_str);
                    outputs.push(name.ok_or("a list of outputs has an item without a name")?.to_owned());
                }
            }
            (None, None) => (),
        }
    }
    let stack = node.metadata.get("nn_module_stack").and_then(Value::as_str).unwrap_or_default();
    Ok(ExportNode { target: node.target, arguments, outputs, modules: module_calls(stack) })
}

/// Modules inside modules that are looked at.
const DEEPEST: usize = 64;

/// `key,path,class;key,path,class`, outermost first.
fn module_calls(stack: &str) -> Vec<ModuleCall> {
    let call = |frame: &str| {
        let mut parts = frame.splitn(3, ',').map(printable);
        Some(ModuleCall { key: parts.next()?, path: parts.next()?, class: parts.next()? })
    };
    // PyTorch's name for nodes of its own, which lie in no module.
    let frames = stack.split(';').filter(|frame| !frame.starts_with("_empty_nn_module_stack"));
    frames.filter_map(call).take(DEEPEST).collect()
}

fn tensor_name(arg: &BTreeMap<String, Value>) -> Option<String> {
    Some(arg.get("as_tensor")?.get("name")?.as_str()?.to_owned())
}

fn argument(kind: &str, value: &Value) -> Option<Argument> {
    let name = |value: &Value| Some(value.get("name")?.as_str()?.to_owned());
    let list = |value: &Value| value.as_array().cloned();
    Some(match kind {
        "as_none" => Argument::None,
        "as_tensor" => Argument::Tensor(name(value)?),
        "as_tensors" => Argument::Tensors(list(value)?.iter().map(|it| name(it).map(Some)).collect::<Option<_>>()?),
        "as_optional_tensors" => {
            let item = |it: &Value| it.get("as_tensor").map_or(Some(None), |tensor| name(tensor).map(Some));
            Argument::Tensors(list(value)?.iter().map(item).collect::<Option<_>>()?)
        }
        "as_int" => Argument::Integer(Integer::Literal(value.as_i64()?)),
        "as_ints" => {
            Argument::Integers(list(value)?.iter().map(|it| it.as_i64().map(Integer::Literal)).collect::<Option<_>>()?)
        }
        "as_sym_int" => Argument::Integer(integer(value)?),
        "as_sym_ints" => Argument::Integers(list(value)?.iter().map(integer).collect::<Option<_>>()?),
        "as_float" => Argument::Float(float(value)?),
        "as_floats" => Argument::Floats(list(value)?.iter().map(float).collect::<Option<_>>()?),
        "as_bool" => Argument::Bool(value.as_bool()?),
        "as_scalar_type" => Argument::Kind(value.as_i64()?),
        "as_memory_format" => Argument::Format(value.as_i64()?),
        "as_string" => Argument::Text(value.as_str()?.to_owned()),
        _ => Argument::Other(kind.to_owned()),
    })
}

fn integer(value: &Value) -> Option<Integer> {
    match (value.get("as_int"), value.get("as_name")) {
        (Some(literal), _) => literal.as_i64().map(Integer::Literal),
        (None, Some(name)) => name.as_str().map(|name| Integer::Named(name.to_owned())),
        (None, None) => None,
    }
}

/// Numbers, and what JSON has no number for.
fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| match value.as_str()? {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    })
}

fn dim(size: SymInt) -> Dim {
    match size {
        SymInt::AsInt(size) => Dim::Fixed(size),
        SymInt::AsExpr(expression) => {
            let hint = match expression.hint.as_deref() {
                Some(SymInt::AsInt(hint)) => Some(*hint),
                _ => None,
            };
            product(&expression.expr_str).map_or_else(
                || Dim::Other(printable(&expression.expr_str)),
                |(name, times)| Dim::Symbol { name, times, hint },
            )
        }
    }
}

/// Reads `Symbol('s77', …)` and `Mul(Integer(4), Symbol('s77', …))`, which is how SymPy writes a multiple of a symbol.
fn product(expression: &str) -> Option<(String, i64)> {
    let (times, symbol) = match expression.strip_prefix("Mul(Integer(") {
        Some(rest) => {
            let (times, rest) = rest.split_once("), ")?;
            (times.parse().ok()?, rest.strip_suffix(')')?)
        }
        None => (1, expression),
    };
    let rest = symbol.strip_prefix("Symbol('")?;
    let (name, rest) = rest.split_once('\'')?;
    // Nothing but the symbol's own assumptions may follow.
    (rest.ends_with(')') && !rest.contains('(')).then(|| (name.to_owned(), times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_of_a_symbol_are_understood() {
        let symbol = "Symbol('s77', positive=True, integer=True)";
        assert_eq!(product(symbol), Some(("s77".to_owned(), 1)));
        assert_eq!(product(&format!("Mul(Integer(64), {symbol})")), Some(("s77".to_owned(), 64)));
        assert_eq!(product(&format!("Add({symbol}, Integer(1))")), None);
        assert_eq!(product(&format!("Mul({symbol}, {symbol})")), None);
    }

    #[test]
    fn module_stacks_are_lists_of_calls() {
        let calls = module_calls("L__self__,,a.Net;L__self__relu@1,relu,torch.nn.ReLU");
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[1].key.as_str(), calls[1].path.as_str()), ("L__self__relu@1", "relu"));
        let none = "_empty_nn_module_stack_from_metadata_hook";
        assert_eq!(module_calls(&format!("{none},{none},{none}")), []);
    }
}
