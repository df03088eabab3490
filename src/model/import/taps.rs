//! Which values are outputs of modules, and which of these a person would choose to look at.

use std::collections::BTreeMap;

use crate::model::blocks::{Call, block_outputs, blocks_of, names_of};
use crate::model::format::pt2::{Dim, ExportedProgram};
use crate::model::program::{Op, Program, Tap, ValueId};

/// Names the nodes that make a module's output, and fills in the default taps.
pub(super) fn assign(program: &mut Program, export: &ExportedProgram, made: &[Option<ValueId>], symbol: Option<&str>) {
    let calls = calls_of(program, export, made, symbol);
    let blocks = blocks_of(&calls);
    let names: BTreeMap<ValueId, String> = names_of(program.output.index(), &calls, &blocks)
        .into_iter()
        .map(|(value, name)| (ValueId(value as u32), name))
        .collect();
    for (value, name) in &names {
        program.nodes[value.index() - 1].path.clone_from(name);
    }
    let tap = |value: ValueId| names.get(&value).map(|name| Tap { path: name.clone(), value });
    if let Some(outputs) = block_outputs(&calls, &blocks) {
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

/// All calls in the order in which they begin.
fn calls_of(program: &Program, export: &ExportedProgram, made: &[Option<ValueId>], symbol: Option<&str>) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, &value) in export.nodes.iter().zip(made) {
        let Some(output) = node.outputs.first() else { continue };
        let shape = export.shapes.get(output).map(Vec::as_slice).unwrap_or_default();
        let rows = match shape.first() {
            Some(Dim::Symbol { name, .. }) => Some(name.as_str()) == symbol,
            Some(Dim::Fixed(rows)) => program.fixed_batch.is_some_and(|batch| rows % batch == 0),
            _ => false,
        };
        let op = value.and_then(|value| program.nodes.get(value.index().checked_sub(1)?)).map(|node| &node.op);
        let weighted = matches!(op, Some(Op::Conv2d { .. } | Op::Linear { .. }));
        let mut parent = None;
        for (depth, frame) in node.modules.iter().enumerate().skip(1) {
            let idx = *by_key.entry(&frame.key).or_insert_with(|| {
                let (path, class) = (frame.path.clone(), frame.class.clone());
                calls.push(Call { path, class, parent, output: None, weighted: false, works: false });
                calls.len() - 1
            });
            let call = &mut calls[idx];
            call.output = value.map(ValueId::index).filter(|&value| rows && value > 0);
            call.weighted |= weighted;
            call.works |= depth + 1 == node.modules.len();
            parent = Some(idx);
        }
    }
    calls
}
