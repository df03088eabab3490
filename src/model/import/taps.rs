//! Which values are outputs of modules, and which of these a person would choose to look at.

use std::collections::BTreeMap;

use crate::model::blocks::{Call, block_outputs, blocks_of, names_of};
use crate::model::program::{Node, Op, Program, Tap, ValueId};

/// Names the nodes that make a module's output, and fills in the default taps. The calls are in the order in which they begin.
pub(super) fn assign(program: &mut Program, calls: &[Call]) {
    let blocks = blocks_of(calls);
    let names = names_of(program.output.index(), calls, &blocks);
    let names: BTreeMap<ValueId, String> = match calls.is_empty() {
        true => layers(program),
        false => names.into_iter().map(|(value, name)| (ValueId(value as u32), name)).collect(),
    };
    for (value, name) in &names {
        program.nodes[value.index() - 1].path.clone_from(name);
    }
    let tap = |value: ValueId| names.get(&value).map(|name| Tap { path: name.clone(), value });
    if let Some(outputs) = block_outputs(calls, &blocks) {
        program.default_taps = outputs.into_iter().filter_map(|value| tap(ValueId(value as u32))).collect();
        program.relu_taps.clone_from(&program.default_taps);
        return;
    }
    let makes = |value: ValueId| &program.nodes[value.index() - 1].op;
    let of_kind = |wanted: fn(&Op) -> bool| -> Vec<ValueId> {
        names.keys().copied().filter(|&value| value != program.output && wanted(makes(value))).collect()
    };
    let convolutions = of_kind(|op| matches!(op, Op::Conv2d { .. }));
    let units = match convolutions.len() {
        0 | 1 => of_kind(|op| matches!(op, Op::Conv2d { .. } | Op::Linear { .. })),
        _ => convolutions,
    };
    let after = |value: ValueId| activation_after(program, value);
    let relu: Vec<Tap> = units.iter().filter_map(|&value| tap(after(value)).or_else(|| tap(value))).collect();
    program.default_taps = units.into_iter().filter_map(tap).collect();
    program.relu_taps = relu;
    if program.default_taps.is_empty() {
        program.default_taps = tap(program.output).into_iter().collect();
        program.relu_taps.clone_from(&program.default_taps);
    }
}

/// Names for the layers of a network that has lost its modules, as frozen TorchScript has: `conv2d.0`, `linear.0`.
fn layers(program: &Program) -> BTreeMap<ValueId, String> {
    let mut counts = [0_usize; 2];
    let name = |node: &Node| {
        let (kind, count) = match node.op {
            Op::Conv2d { .. } => ("conv2d", &mut counts[0]),
            Op::Linear { .. } => ("linear", &mut counts[1]),
            _ => return None,
        };
        *count += 1;
        Some((node.output, format!("{kind}.{}", *count - 1)))
    };
    program.nodes.iter().filter_map(name).collect()
}

/// The unit's activation, past its normalization; else the value itself.
fn activation_after(program: &Program, value: ValueId) -> ValueId {
    let reader = |value: ValueId| {
        let mut all = program.nodes.iter().filter(|node| node.inputs.contains(&value));
        all.next().filter(|_| all.next().is_none())
    };
    let mut at = value;
    while let Some(node) = reader(at) {
        match node.op {
            Op::BatchNorm { .. } | Op::GroupNorm { .. } | Op::LayerNorm { .. } => at = node.output,
            Op::Relu | Op::Unary(_) => return node.output,
            _ => break,
        }
    }
    value
}
