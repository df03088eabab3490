//! The JSON of a `torch.export` archive, as PyTorch writes it. Fields that say nothing about the function are left out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct Model {
    pub(super) graph_module: GraphModule,
    pub(super) torch_version: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Version {
    pub(super) major: i64,
    pub(super) minor: i64,
}

#[derive(Deserialize)]
pub(super) struct GraphModule {
    pub(super) graph: Graph,
    pub(super) signature: Signature,
}

#[derive(Deserialize)]
pub(super) struct Graph {
    /// Of a graph inside another one.
    #[serde(default)]
    pub(super) inputs: Vec<BTreeMap<String, Value>>,
    #[serde(default)]
    pub(super) outputs: Vec<BTreeMap<String, Value>>,
    pub(super) nodes: Vec<Node>,
    pub(super) tensor_values: BTreeMap<String, TensorMeta>,
    #[serde(default)]
    pub(super) sym_int_values: BTreeMap<String, SymInt>,
}

#[derive(Deserialize)]
pub(super) struct Node {
    pub(super) target: String,
    pub(super) inputs: Vec<NamedArgument>,
    /// One key each: `as_tensor`, `as_tensors`, `as_sym_int`, …
    pub(super) outputs: Vec<BTreeMap<String, Value>>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct NamedArgument {
    pub(super) name: String,
    pub(super) arg: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct TensorMeta {
    pub(super) dtype: i64,
    pub(super) sizes: Vec<SymInt>,
    #[serde(default)]
    pub(super) strides: Vec<SymInt>,
    pub(super) storage_offset: Option<SymInt>,
}

/// A number, or an expression over symbols.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SymInt {
    AsInt(i64),
    AsExpr(Expression),
}

#[derive(Clone, Deserialize)]
pub(super) struct Expression {
    pub(super) expr_str: String,
    pub(super) hint: Option<Box<SymInt>>,
}

#[derive(Deserialize)]
pub(super) struct Signature {
    pub(super) input_specs: Vec<InputSpec>,
    pub(super) output_specs: Vec<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputSpec {
    Parameter { arg: Name, parameter_name: String },
    Buffer { arg: Name, buffer_name: String },
    TensorConstant { arg: Name, tensor_constant_name: String },
    UserInput { arg: BTreeMap<String, Value> },
    CustomObj {},
    Token {},
    ConstantInput {},
}

#[derive(Deserialize)]
pub(super) struct Name {
    pub(super) name: String,
}

/// `model_weights_config.json` and `model_constants_config.json`.
#[derive(Deserialize)]
pub(super) struct PayloadConfig {
    pub(super) config: BTreeMap<String, Payload>,
}

#[derive(Deserialize)]
pub(super) struct Payload {
    pub(super) path_name: String,
    #[serde(default)]
    pub(super) use_pickle: bool,
    pub(super) tensor_meta: Option<TensorMeta>,
}
