//! Which values are outputs of modules, and which of these a person would choose to look at.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::format::pt2::{Dim, ExportedProgram, Outputs};
use crate::model::program::{Op, Program, Tap, ValueId};

/// One call of one module.
struct Call<'a> {
    path: &'a str,
    class: &'a str,
    /// The call around it, the whole model's excepted.
    parent: Option<usize>,
    /// What its last node made, if that is one row (or several) per image.
    output: Option<ValueId>,
    /// Whether a convolution or linear layer is inside.
    weighted: bool,
    /// Whether it does something itself, besides calling modules.
    works: bool,
}

impl Call<'_> {
    /// Lists of modules: they are folders, not layers.
    fn is_container(&self) -> bool {
        self.class.starts_with("torch.nn.modules.container.")
    }
}

/// Names the nodes that make a module's output, and fills in the default taps.
pub(super) fn assign(program: &mut Program, export: &ExportedProgram, made: &[Option<ValueId>], symbol: Option<&str>) {
    let calls = calls_of(program, export, made, symbol);
    let blocks = blocks_of(&calls);
    let names = names_of(program.output, &calls, &blocks);
    for (value, name) in &names {
        program.nodes[value.index() - 1].path.clone_from(name);
    }
    let tap = |value: ValueId| names.get(&value).map(|name| Tap { path: name.clone(), value });
    if blocks.len() >= 2 {
        let first_block = blocks.iter().filter_map(|&idx| calls[idx].output).min();
        let inside = |call: &Call<'_>| ancestors(&calls, call).any(|idx| blocks.contains(&idx));
        // The stem: the first layer, if no block holds it.
        let stem = calls.iter().enumerate().find(|(idx, call)| call.weighted && call.works && !blocks.contains(idx));
        let stem =
            stem.filter(|(_, call)| !inside(call) && call.output < first_block).and_then(|(_, call)| call.output);
        let values: BTreeSet<ValueId> = blocks.iter().filter_map(|&idx| calls[idx].output).chain(stem).collect();
        program.default_taps = values.into_iter().filter_map(tap).collect();
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
fn calls_of<'a>(
    program: &Program,
    export: &'a ExportedProgram,
    made: &[Option<ValueId>],
    symbol: Option<&str>,
) -> Vec<Call<'a>> {
    let mut calls: Vec<Call<'a>> = Vec::new();
    let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, &value) in export.nodes.iter().zip(made) {
        let Outputs::Tensors(outputs) = &node.outputs else { continue };
        let shape = export.shapes.get(&outputs[0]).map(Vec::as_slice).unwrap_or_default();
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
                let (path, class) = (frame.path.as_str(), frame.class.as_str());
                calls.push(Call { path, class, parent, output: None, weighted: false, works: false });
                calls.len() - 1
            });
            let call = &mut calls[idx];
            call.output = value.filter(|value| rows && value.index() > 0);
            call.weighted |= weighted;
            call.works |= depth + 1 == node.modules.len();
            parent = Some(idx);
        }
    }
    calls
}

fn ancestors<'c>(calls: &'c [Call<'_>], call: &Call<'_>) -> impl Iterator<Item = usize> + 'c {
    std::iter::successors(call.parent, |&idx| calls[idx].parent)
}

/// The outermost modules of classes that occur several times, each with layers inside.
fn blocks_of(calls: &[Call<'_>]) -> BTreeSet<usize> {
    let has_children: BTreeSet<usize> = calls.iter().filter_map(|call| call.parent).collect();
    let composite = |idx: usize| calls[idx].weighted && has_children.contains(&idx) && !calls[idx].is_container();
    let mut paths: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (idx, call) in calls.iter().enumerate().filter(|(idx, _)| composite(*idx)) {
        _ = idx;
        paths.entry(call.class).or_default().insert(call.path);
    }
    let repeated: BTreeSet<&str> =
        paths.into_iter().filter(|(_, paths)| paths.len() >= 2).map(|(class, _)| class).collect();
    // The nearest calls below each call that are no containers.
    let mut children: Vec<Vec<usize>> = calls.iter().map(|_| Vec::new()).collect();
    for (idx, call) in calls.iter().enumerate().filter(|(_, call)| !call.is_container()) {
        if let Some(parent) = ancestors(calls, call).find(|&idx| !calls[idx].is_container()) {
            children[parent].push(idx);
        }
    }
    // A stage does nothing but call blocks of one class; of several stages the blocks are meant.
    let only_calls_blocks = |idx: usize| {
        let classes: BTreeSet<&str> = children[idx].iter().map(|&child| calls[child].class).collect();
        let all_composite = children[idx].iter().all(|&child| composite(child));
        !calls[idx].works && all_composite && classes.len() == 1 && classes.is_subset(&repeated)
    };
    let mut stages: BTreeSet<&str> = repeated.clone();
    for (idx, call) in calls.iter().enumerate() {
        if !only_calls_blocks(idx) {
            stages.remove(call.class);
        }
    }
    let candidate =
        |idx: usize| composite(idx) && repeated.contains(calls[idx].class) && !stages.contains(calls[idx].class);
    let outermost = |idx: usize| candidate(idx) && !ancestors(calls, &calls[idx]).any(candidate);
    let mut blocks: BTreeSet<usize> = (0..calls.len()).filter(|&idx| outermost(idx)).collect();

    // A block of which there is only one (Inception's reductions) stands beside others and is made of what they are made of.
    let inside = |block: usize| {
        let within = (0..calls.len()).filter(move |&idx| ancestors(calls, &calls[idx]).any(|it| it == block));
        within.filter(|&idx| candidate(idx)).map(|idx| calls[idx].class).collect::<BTreeSet<&str>>()
    };
    let lone: Vec<usize> = (0..calls.len())
        .filter(|&idx| composite(idx) && !repeated.contains(calls[idx].class) && !inside(idx).is_empty())
        .filter(|&idx| {
            let beside = blocks.iter().filter(|&&block| calls[block].parent == calls[idx].parent);
            let theirs: BTreeSet<&str> = beside.flat_map(|&block| inside(block)).collect();
            inside(idx).is_subset(&theirs)
        })
        .collect();
    for &idx in &lone {
        blocks.retain(|&block| !ancestors(calls, &calls[block]).any(|it| it == idx));
        blocks.insert(idx);
    }
    blocks
}

/// One name per module output. Where several modules end at the same value, a block wins, then the outermost that is no container.
fn names_of(output: ValueId, calls: &[Call<'_>], blocks: &BTreeSet<usize>) -> BTreeMap<ValueId, String> {
    let mut ending: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
    for (idx, call) in calls.iter().enumerate() {
        if let Some(value) = call.output {
            ending.entry(value).or_default().push(idx);
        }
    }
    let mut names = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (value, candidates) in ending {
        let block = candidates.iter().find(|idx| blocks.contains(idx));
        let layer = candidates.iter().find(|&&idx| !calls[idx].is_container());
        // The logits are the last layer's, not those of the module that holds the whole network.
        let chosen = block.or(if value == output { candidates.last() } else { layer }).or(candidates.last());
        let Some(&idx) = chosen else { continue };
        let path = calls[idx].path;
        let mut name = path.to_owned();
        let mut call = 1;
        // A module that is called again gets a number, as PyTorch has it.
        while !used.insert(name.clone()) {
            name = format!("{path}@{call}");
            call += 1;
        }
        names.insert(value, name);
    }
    names
}
