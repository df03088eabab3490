//! One forward pass of a freshly translated program, which holds every value against the shape that the file says it has, and every
//! operator's result against a bound before it is computed.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::ImportError;
use super::translator::Origin;
use crate::model::apply::{Context, apply};
use crate::model::format::pt2::{Dim, ExportedProgram};
use crate::model::op::{Mode, Op, Size, WeightId};
use crate::model::program::Program;

/// Elements of one value per image: 1 GiB, a hundred times what the largest usual networks need.
const MOST_ELEMENTS: f64 = 268_435_456.0;

pub(super) fn run(
    program: &Program,
    origins: &[Origin],
    export: &ExportedProgram,
    symbol: Option<&str>,
    image: [i64; 4],
) -> Result<(), ImportError> {
    let _guard = tch::no_grad_guard();
    let weight = |id: WeightId| &program.weight(id).tensor;
    let context = Context { weight: &weight, mode: Mode::Evaluate, batch: image[0], in_place: false, node: 0 };
    let mut readers = vec![0_usize; program.value_count()];
    for input in program.nodes.iter().flat_map(|node| &node.inputs) {
        readers[input.index()] += 1;
    }
    let mut values: Vec<Option<Tensor>> = (0..program.value_count()).map(|_| None).collect();
    values[0] = Some(Tensor::zeros(image, (Kind::Float, Device::Cpu)));
    for (node, origin) in program.nodes.iter().zip(origins) {
        let inputs: Vec<&Tensor> = (node.inputs.iter())
            .map(|input| values[input.index()].as_ref().expect("a value lives until its last reader"))
            .collect();
        check_size(&node.op, &inputs, &context).map_err(|reason| origin.error(reason))?;
        let output = apply(&node.op, &inputs, &context)
            .map_err(|error| origin.error(advmod_attacks::victim::first_line(&error)))?;
        if let Some(shape) = origin.name.as_ref().and_then(|name| export.shapes.get(name)) {
            let expected: Option<Vec<i64>> = shape.iter().map(|dim| known(dim, symbol, image[0])).collect();
            if let Some(expected) = expected.filter(|expected| *expected != output.size()) {
                let found = output.size();
                return Err(origin.error(format!(
                    "makes a tensor of shape {found:?}, the file says {expected:?}; it is damaged or was changed by hand"
                )));
            }
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

/// A size, where only the number of images is open.
fn known(dim: &Dim, symbol: Option<&str>, batch: i64) -> Option<i64> {
    match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Symbol { name, times, .. } if Some(name.as_str()) == symbol => times.checked_mul(batch),
        _ => None,
    }
}

/// Refuses an operator whose result would be absurdly large, without computing it.
pub(super) fn check_size(op: &Op, inputs: &[&Tensor], context: &Context<'_>) -> Result<(), String> {
    // Floating point, so that no product overflows.
    let elements = result_elements(op, inputs, context)?;
    let most = MOST_ELEMENTS * context.batch as f64;
    if elements > most {
        return Err(format!("would make a tensor of {elements:.0} elements, more than the {most:.0} that are allowed"));
    }
    Ok(())
}

/// At least as many as the result (or a value on the way to it) has.
fn result_elements(op: &Op, inputs: &[&Tensor], context: &Context<'_>) -> Result<f64, String> {
    let weight_shape = |id: WeightId| (context.weight)(id).size();
    let shapes: Vec<Vec<i64>> = inputs.iter().map(|input| input.size()).collect();
    let first = shapes.first().map(Vec::as_slice).unwrap_or_default();
    let second = shapes.get(1).map(Vec::as_slice).unwrap_or_default();
    let product = |shape: &[i64]| shape.iter().map(|&size| size as f64).product::<f64>();
    let last = |shape: &[i64], back: usize| shape.len().checked_sub(back).map_or(1.0, |at| shape[at] as f64);
    let padded = |padding: [i64; 2]| {
        let sides = (last(first, 2) + 2.0 * padding[0] as f64) * (last(first, 1) + 2.0 * padding[1] as f64);
        product(&first[..first.len().saturating_sub(2)]) * sides.abs()
    };
    Ok(match op {
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::ExpandAs => broadcast(first, second),
        Op::MatMul => {
            let outer = |shape: &[i64]| shape[..shape.len().saturating_sub(2)].to_vec();
            broadcast(&outer(first), &outer(second)) * last(first, 2) * last(second, 1)
        }
        Op::Attention { .. } => {
            let scores = product(&first[..first.len().saturating_sub(1)]) * last(second, 2);
            scores.max(product(first))
        }
        Op::Einsum { equation } => einsum_elements(equation, &shapes)?,
        Op::Linear { weight, .. } => product(first) / last(first, 1).max(1.0) * last(&weight_shape(*weight), 2),
        Op::Conv2d { weight, geometry, .. } => {
            let outputs = weight_shape(*weight).first().map_or(1.0, |&outputs| outputs as f64);
            let inputs = last(first, 3).max(1.0);
            padded(geometry.padding) * (outputs / inputs).max(1.0)
        }
        Op::MaxPool2d { windows, .. } | Op::AvgPool2d { windows, .. } => padded(windows.padding),
        Op::AdaptiveAvgPool2d { output } => product(&first[..first.len().saturating_sub(2)]) * product(output).abs(),
        Op::Expand { size } => {
            size.iter().enumerate().fold(1.0, |all, (at, size)| {
                all * match *size {
                    // A kept dimension. An expansion may put new ones in front, but these have sizes.
                    Size::Fixed(-1) => last(first, first.len().saturating_sub(at).max(1)),
                    Size::Fixed(size) => size.abs() as f64,
                    Size::Batch(times) => times.abs() as f64 * context.batch as f64,
                }
            }) + product(first)
        }
        Op::Pad { pad, .. } => first.iter().rev().enumerate().fold(1.0, |all, (at, &size)| {
            let around = |side: usize| pad.get(2 * at + side).map_or(0.0, |&it| it as f64);
            all * (size as f64 + around(0) + around(1)).abs()
        }),
        Op::Cat { .. } => shapes.iter().map(|shape| product(shape)).sum(),
        _ => product(first),
    })
}

fn broadcast(first: &[i64], second: &[i64]) -> f64 {
    let at = |shape: &[i64], back: usize| shape.len().checked_sub(back).map_or(1, |at| shape[at]);
    (1..=first.len().max(second.len())).map(|back| at(first, back).max(at(second, back)) as f64).product()
}

/// Letters for dimensions, `,` between operands, `->` before the result.
fn einsum_elements(equation: &str, shapes: &[Vec<i64>]) -> Result<f64, String> {
    let unsupported = || format!("has the equation `{equation:.60}`, which is not supported");
    let (operands, result) = equation.split_once("->").ok_or_else(unsupported)?;
    let operands: Vec<&str> = operands.split(',').collect();
    if operands.len() != shapes.len() || operands.len() > 2 {
        return Err(unsupported());
    }
    let mut sizes = BTreeMap::new();
    for (letters, shape) in operands.iter().zip(shapes) {
        if letters.chars().count() != shape.len() || !letters.chars().all(|letter| letter.is_ascii_alphabetic()) {
            return Err(unsupported());
        }
        for (letter, &size) in letters.chars().zip(shape) {
            let known = sizes.entry(letter).or_insert(size);
            *known = size.max(*known);
        }
    }
    result
        .chars()
        .try_fold(1.0, |all, letter| sizes.get(&letter).map(|&size| all * size as f64))
        .ok_or_else(unsupported)
}
