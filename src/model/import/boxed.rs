//! Exported programs with operators that only libtorch knows, with graphs inside graphs, and with several outputs.

use std::path::Path;

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::hostile::{MODEL, RESNET, changed, nodes};
use super::{Imported, import};
use crate::model::format::{ModelFile, read_model_from};
use crate::model::interpreter::Interpreter;
use crate::model::op::{Mode, Op};

fn opened(bytes: &[u8]) -> Result<Imported, String> {
    match read_model_from(bytes, Path::new("model.pt2")).map_err(|error| error.to_string())? {
        ModelFile::Export(export) => import(&export).map_err(|error| error.to_string()),
        _ => panic!("it is an export"),
    }
}

fn logits(imported: Imported) -> Tensor {
    let [rows, columns] = imported.input_size.unwrap();
    let shape = [3, imported.program.channels, rows, columns];
    let pixels = (Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)) * 0.618).frac().view(shape);
    Interpreter::new(imported.program).run(&pixels, Mode::Evaluate).unwrap()
}

/// The network with another operator in place of each ReLU, with more arguments.
fn with(target: &str, more: &Value) -> Result<Imported, String> {
    opened(&changed(RESNET, MODEL, |model| {
        for node in nodes(model).iter_mut().filter(|node| node["target"] == "torch.ops.aten.relu_.default") {
            node["target"] = json!(target);
            node["inputs"].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
        }
    }))
}

fn argument(name: &str, kind: &str, value: &Value) -> Value {
    json!({"name": name, "arg": {kind: value}, "kind": 1})
}

#[test]
fn what_only_libtorch_computes_is_called_and_written_over_its_argument() {
    let relu = logits(opened(RESNET).unwrap());
    // max(x, 0), in other words.
    for (target, more) in [
        (
            "torch.ops.aten.threshold.default",
            json!([argument("threshold", "as_int", &json!(0)), argument("value", "as_int", &json!(0))]),
        ),
        (
            "torch.ops.aten.threshold_.default",
            json!([argument("threshold", "as_float", &json!(0.0)), argument("value", "as_int", &json!(0))]),
        ),
        ("torch.ops.aten.clamp_min.default", json!([argument("min", "as_int", &json!(0))])),
    ] {
        let imported = with(target, &more).unwrap();
        assert!(imported.program.nodes.iter().all(|node| node.op != Op::Relu), "{target}");
        let off = (logits(imported) - &relu).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{target}: {off}");
    }
}

#[test]
fn nothing_else_is_called_and_nothing_is_larger_than_a_network_needs() {
    let many = json!([argument("repeats", "as_ints", &json!([1, 1, 4096, 4096]))]);
    for (target, more, message) in [
        ("torch.ops.aten.from_file.default", json!([]), "is not supported"),
        ("torch.ops.aten._print.default", json!([]), "is not supported"),
        ("torch.ops.aten.resize_.default", json!([]), "is not supported"),
        ("torch.ops.aten.bernoulli.default", json!([]), "is not supported"),
        ("torch.ops.aten.special_bessel_j0.default", json!([]), "is not supported"),
        ("torch.ops.prims.collapse.default", json!([]), "is not supported"),
        ("torch.ops.aten.repeat.default", many, "elements"),
        ("torch.ops.aten.softplus.default", json!([argument("beta", "as_string", &json!("x"))]), "is not a number"),
        ("torch.ops.aten.softplus.default", json!([argument("gamma", "as_int", &json!(1))]), "has an argument `gamma`"),
        ("torch.ops.aten.cumsum.default", json!([argument("dim", "as_int", &json!(99))]), "Dimension out of range"),
        ("torch.ops.aten.amax.default", json!([]), "takes images out of their batch, or joins them"),
        ("torch.ops.aten.cumsum.default", json!([]), "its argument `dim` is missing"),
    ] {
        let error = with(target, &more).unwrap_err();
        assert!(error.contains(message) && !error.contains('\n'), "{target}: {error}");
    }
}

/// Puts the first ReLU into a graph of its own.
fn wrapped(kind: &str, settings: &Value) -> Result<Imported, String> {
    opened(&changed(RESNET, MODEL, |model| {
        let meta = model["graph_module"]["graph"]["tensor_values"].clone();
        let all = nodes(model);
        let at = all.iter().position(|node| node["target"] == "torch.ops.aten.relu_.default").unwrap();
        let (input, output) = (all[at]["inputs"][0]["arg"].clone(), all[at]["outputs"].clone());
        let name = |it: &Value| it["as_tensor"]["name"].as_str().unwrap().to_owned();
        let mut inner = all[at].clone();
        inner["target"] = json!("torch.ops.aten.relu.default");
        inner["inputs"][0]["arg"] = json!({"as_tensor": {"name": "inside"}});
        inner["outputs"] = json!([{"as_tensor": {"name": "made"}}]);
        let graph = json!({
            "inputs": [{"as_tensor": {"name": "inside"}}],
            "outputs": [{"as_tensor": {"name": "made"}}],
            "nodes": [inner],
            "tensor_values": {"inside": meta[name(&input)], "made": meta[name(&output[0])]},
            "sym_int_values": {},
        });
        let mut inputs: Vec<Value> =
            settings.as_array().unwrap().iter().map(|it| json!({"name": "", "arg": it, "kind": 1})).collect();
        inputs.push(json!({"name": "", "arg": {"as_graph": {"name": "submod", "graph": graph}}, "kind": 1}));
        inputs.push(json!({"name": "", "arg": input, "kind": 1}));
        all[at]["target"] = json!(format!("torch.ops.higher_order.{kind}"));
        all[at]["inputs"] = json!(inputs);
        all[at]["outputs"] = json!([{"as_tensors": [output[0]["as_tensor"]]}]);
    }))
}

#[test]
fn graphs_inside_the_graph_are_put_in_their_places() {
    let plain = logits(opened(RESNET).unwrap());
    let off = |it: Imported| (logits(it) - &plain).abs().max().double_value(&[]);
    let without = wrapped("wrap_with_set_grad_enabled", &json!([{"as_bool": false}])).unwrap();
    assert!(without.program.nodes.iter().any(|node| node.op == Op::Detach), "no gradient leaves it");
    assert!(off(without) < 1e-6);
    let with = wrapped("wrap_with_set_grad_enabled", &json!([{"as_bool": true}])).unwrap();
    assert!(with.program.nodes.iter().all(|node| node.op != Op::Detach));
    let autocast = |enabled: bool| {
        let settings = json!([{"as_string": "cpu"}, {"as_scalar_type": 13}, {"as_bool": enabled}, {"as_bool": false}]);
        wrapped("wrap_with_autocast", &settings)
    };
    assert!(off(autocast(false).unwrap()) < 1e-6);
    let error = autocast(true).unwrap_err();
    assert!(error.contains("autocast"), "{error}");
    let error = wrapped("wrap_with_hooks", &json!([])).unwrap_err();
    assert!(error.contains("is not supported"), "{error}");
}

#[test]
fn one_of_several_outputs_is_taken_where_it_is_clear_which() {
    let and = |other: &str| {
        opened(&changed(RESNET, MODEL, |model| {
            let specs = model["graph_module"]["signature"]["output_specs"].as_array_mut().unwrap();
            let mut second = specs[0].clone();
            second["user_output"]["arg"]["as_tensor"]["name"] = json!(other);
            specs.push(second);
        }))
    };
    let names = |at: usize| {
        let ModelFile::Export(export) = read_model_from(RESNET, Path::new("model.pt2")).unwrap() else { panic!() };
        let nodes: Vec<_> = export.nodes.iter().filter(|node| !node.outputs.is_empty()).collect();
        nodes[at.min(nodes.len() - 1)].outputs[0].clone()
    };
    let imported = and(&names(0)).unwrap();
    assert_eq!(imported.note.as_deref(), Some("the one of its 2 outputs that is [N, classes]"));
    let error = and(&names(usize::MAX)).unwrap_err();
    assert!(error.starts_with("it returns 2 tensors"), "{error}");
}
