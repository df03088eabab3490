//! One forward pass of a freshly translated program, which holds every value against the shape that it was said to have.

use tch::{Device, Kind, Tensor};

use super::graph::Graph;
use super::{ImportError, first_line, kind};
use crate::memory;
use crate::model::apply::{Context, apply};
use crate::model::op::{Mode, WeightId};
use crate::model::program::{Program, Size};

/// Runs a program on black images; `graph` is what it was made from.
pub(super) fn run(program: &Program, graph: &Graph, image: [i64; 4]) -> Result<(), ImportError> {
    check_memory(program, graph, image[0])?;
    let _guard = tch::no_grad_guard();
    let weight = |id: WeightId| &program.weight(id).tensor;
    let context = Context { weight: &weight, mode: Mode::Evaluate, batch: image[0], in_place: false, node: 0 };
    let mut readers = readers(program);
    let mut values: Vec<Option<Tensor>> = (0..program.value_count()).map(|_| None).collect();
    values[0] = Some(Tensor::zeros(image, (Kind::Float, Device::Cpu)));
    for (node, origin) in program.nodes.iter().zip(&graph.origins) {
        let inputs: Vec<&Tensor> = (node.inputs.iter())
            .map(|input| values[input.index()].as_ref().expect("a value lives until its last reader"))
            .collect();
        let output = apply(&node.op, &inputs, &context).map_err(|error| origin.error(first_line(&error)))?;
        let expected: Vec<i64> =
            graph.shapes[node.output.index()].iter().map(|size: &Size| size.of(image[0])).collect();
        if output.size() != expected {
            let found = output.size();
            return Err(origin.error(format!("makes a tensor of shape {found:?} instead of {expected:?}")));
        }
        let kind = graph.kinds[node.output.index()];
        if output.kind() != kind {
            let (found, expected) = (kind::shown(output.kind()), kind::shown(kind));
            return Err(origin.error(format!("makes a tensor of {found} instead of {expected}")));
        }
        for input in &node.inputs {
            readers[input.index()] -= 1;
            if readers[input.index()] == 0 && *input != program.output {
                values[input.index()] = None;
            }
        }
        values[node.output.index()] = Some(output);
    }
    Ok(())
}

/// How many nodes still want each value.
fn readers(program: &Program) -> Vec<usize> {
    let mut readers = vec![0; program.value_count()];
    for input in program.nodes.iter().flat_map(|node| &node.inputs) {
        readers[input.index()] += 1;
    }
    readers
}

/// Refuses a program whose values, those that live at the same time, are more than the memory that is left: before any of them is made. A
/// value that is part of another counts as a whole one, and what an operator needs while it works does not count.
fn check_memory(program: &Program, graph: &Graph, batch: i64) -> Result<(), ImportError> {
    let Some(left) = memory::left() else { return Ok(()) };
    let bytes = |value: usize| {
        let elements: f64 = graph.shapes[value].iter().map(|size: &Size| size.of(batch) as f64).product();
        elements * graph.kinds[value].elt_size_in_bytes() as f64
    };
    let mut readers = readers(program);
    let mut live = bytes(0);
    for (node, origin) in program.nodes.iter().zip(&graph.origins) {
        live += bytes(node.output.index());
        if live > left as f64 {
            let gib = |bytes: f64| bytes / f64::from(1 << 30);
            return Err(origin.error(format!(
                "makes what is held at once {:.1} GiB for {batch} image(s), more than the {:.1} GiB of memory that are left (--memory)",
                gib(live),
                gib(left as f64)
            )));
        }
        for input in &node.inputs {
            readers[input.index()] -= 1;
            if readers[input.index()] == 0 && *input != program.output {
                live -= bytes(input.index());
            }
        }
    }
    Ok(())
}
