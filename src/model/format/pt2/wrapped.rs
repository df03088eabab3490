//! Parts of a graph that PyTorch keeps as graphs of their own, because they run without gradients or in another precision: they are put back
//! in their places.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::error::printable;
use super::schema::{Graph, NamedArgument, Node};

/// Graphs inside each other.
const DEEPEST: usize = 16;
const WRAPS: &str = "torch.ops.higher_order.wrap_with_";

/// The graph with all such parts in their places.
pub(super) fn unwrapped(mut graph: Graph, depth: usize) -> Result<Graph, String> {
    if depth > DEEPEST {
        return Err(format!("it has more than {DEEPEST} graphs inside each other"));
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for (index, node) in nodes.into_iter().enumerate() {
        match node.target.strip_prefix(WRAPS).map(str::to_owned) {
            Some(kind) => unwrap(&mut graph, node, &kind, (index, depth))?,
            None => graph.nodes.push(node),
        }
    }
    Ok(graph)
}

fn unwrap(graph: &mut Graph, mut node: Node, kind: &str, (index, depth): (usize, usize)) -> Result<(), String> {
    let wrong = |what: &str| format!("its part {} {what}", printable(&node.target));
    let at = node.inputs.iter().position(|input| input.arg.contains_key("as_graph"));
    let at = at.ok_or_else(|| wrong("has no graph"))?;
    let setting = |name: &str, at: usize| node.inputs.get(at).and_then(|input| input.arg.get(name)).cloned();
    let end =
        match kind {
            "set_grad_enabled" => match setting("as_bool", 0) {
                Some(Value::Bool(true)) => "alias",
                // No gradient leaves it.
                _ => "detach",
            },
            "autocast" => match setting("as_bool", 2) {
                Some(Value::Bool(false)) => "alias",
                _ => return Err(
                    "a part of it runs under autocast, in another precision; export the model without torch.autocast"
                        .to_owned(),
                ),
            },
            _ => return Err(wrong("is not supported")),
        };
    let inner = node.inputs[at].arg.remove("as_graph").and_then(|mut it| it.get_mut("graph").map(Value::take));
    let inner: Graph =
        serde_json::from_value(inner.unwrap_or_default()).map_err(|_| wrong("has a graph that cannot be read"))?;
    let mut inner = unwrapped(inner, depth + 1)?;
    let given = &node.inputs[at + 1..];
    if given.len() != inner.inputs.len() {
        return Err(wrong("is given another number of values than it takes"));
    }
    // What it is given has the outer graph's name; what it makes gets a name that nothing outside can have.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (formal, given) in inner.inputs.iter().zip(given) {
        match (name_of(formal), name_of(&given.arg)) {
            (Some(formal), Some(given)) => _ = names.insert(formal, given),
            _ if formal == &given.arg => (),
            _ => return Err(wrong("is given what it does not take")),
        }
    }
    let renamed = |names: &BTreeMap<String, String>, name: &str| {
        names.get(name).cloned().unwrap_or_else(|| format!("{depth}.{index}/{name}"))
    };
    for mut part in std::mem::take(&mut inner.nodes) {
        for value in part
            .inputs
            .iter_mut()
            .flat_map(|input| input.arg.values_mut())
            .chain(part.outputs.iter_mut().flat_map(BTreeMap::values_mut))
        {
            rename(value, &|name| renamed(&names, name));
        }
        graph.nodes.push(part);
    }
    for (name, meta) in std::mem::take(&mut inner.tensor_values) {
        if !names.contains_key(&name) {
            graph.tensor_values.insert(renamed(&names, &name), meta);
        }
    }
    for (name, size) in std::mem::take(&mut inner.sym_int_values) {
        if !names.contains_key(&name) {
            graph.sym_int_values.insert(renamed(&names, &name), size);
        }
    }
    let made: Vec<String> = node.outputs.iter().flat_map(names_of).collect();
    if made.len() != inner.outputs.len() {
        return Err(wrong("makes another number of values than its graph"));
    }
    for (outer, inside) in made.into_iter().zip(&inner.outputs) {
        let inside =
            name_of(inside).map(|name| renamed(&names, &name)).ok_or_else(|| wrong("makes what is no tensor"))?;
        let tensor = |name: &str| BTreeMap::from([("as_tensor".to_owned(), json!({ "name": name }))]);
        graph.nodes.push(Node {
            target: format!("torch.ops.aten.{end}.default"),
            inputs: vec![NamedArgument { name: "self".to_owned(), arg: tensor(&inside) }],
            outputs: vec![tensor(&outer)],
            metadata: node.metadata.clone(),
        });
    }
    Ok(())
}

/// The name of a tensor or an integer that the graph computes.
fn name_of(argument: &BTreeMap<String, Value>) -> Option<String> {
    let tensor = argument.get("as_tensor").and_then(|it| it.get("name"));
    let size = || argument.get("as_sym_int").and_then(|it| it.get("as_name"));
    tensor.or_else(size).and_then(Value::as_str).map(str::to_owned)
}

fn names_of(output: &BTreeMap<String, Value>) -> Vec<String> {
    let list = output.get("as_tensors").and_then(Value::as_array);
    let listed = list.into_iter().flatten().filter_map(|it| it.get("name")?.as_str().map(str::to_owned));
    name_of(output).into_iter().chain(listed).collect()
}

/// Gives everything that an argument names another name.
fn rename(value: &mut Value, new: &impl Fn(&str) -> String) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, new)),
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(name) if key == "name" || key == "as_name" => *name = new(name),
                    field => rename(field, new),
                }
            }
        }
        _ => (),
    }
}
