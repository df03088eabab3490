//! Residual blocks of any program, and the program without some of them.

use std::collections::BTreeMap;

use super::count::count;
use super::fold::renumber;
use crate::model::program::{Node, Op, Program, ValueId};

/// A tapped block that adds something to its input. Without it, its input goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResidualBlock {
    pub path: String,
    /// Its additions from the last to the first, with what goes around each.
    additions: Vec<(ValueId, ValueId)>,
}

/// The residual blocks among the default taps: those that end in additions (and perhaps a ReLU) of a value and something that is computed
/// from it alone, of the same shape.
///
/// # Errors
/// libtorch's message when an image of this height and width does not fit the network.
pub(crate) fn residual_blocks(program: &Program, height: i64, width: i64) -> Result<Vec<ResidualBlock>, tch::TchError> {
    let shapes = count(program, height, width)?.shapes;
    let maker = |value: ValueId| value.index().checked_sub(1).map(|idx| &program.nodes[idx]);
    let shape = |value: ValueId| value.index().checked_sub(1).map(|idx| &shapes[idx]);
    let is_tap = |value: ValueId| program.default_taps.iter().any(|tap| tap.value == value);
    let block = |tap: &crate::model::program::Tap| {
        let mut at = tap.value;
        if let Some(Node { op: Op::Relu, inputs, .. }) = maker(at) {
            at = inputs[0];
        }
        let mut additions = Vec::new();
        while let Some(around) = maker(at).and_then(|node| goes_around(program, node))
            && shape(around) == shape(at)
        {
            additions.push((at, around));
            at = around;
            if is_tap(at) {
                break;
            }
        }
        (!additions.is_empty()).then(|| ResidualBlock { path: tap.path.clone(), additions })
    };
    Ok(program.default_taps.iter().filter_map(block).collect())
}

/// Of an addition, the operand that the other one is computed from, if from nothing else but weights.
fn goes_around(program: &Program, node: &Node) -> Option<ValueId> {
    let (Op::Add, [a, b]) = (&node.op, node.inputs.as_slice()) else { return None };
    [(*a, *b), (*b, *a)].into_iter().find(|(around, branch)| comes_from(program, *branch, *around)).map(|it| it.0)
}

/// Whether a value is computed from `source` and weights alone.
fn comes_from(program: &Program, value: ValueId, source: ValueId) -> bool {
    let mut seen = vec![false; program.value_count()];
    let mut open = vec![value];
    let mut reached = false;
    while let Some(value) = open.pop() {
        if value == source {
            reached = true;
            continue;
        }
        if std::mem::replace(&mut seen[value.index()], true) {
            continue;
        }
        // The pixels.
        let Some(idx) = value.index().checked_sub(1) else { return false };
        open.extend(&program.nodes[idx].inputs);
    }
    reached && value != source
}

/// The program without these blocks, and without what only they used.
pub(crate) fn without(program: &Program, blocks: &[&ResidualBlock]) -> Program {
    let instead: BTreeMap<ValueId, ValueId> = blocks.iter().flat_map(|it| it.additions.iter().copied()).collect();
    let follow = |mut value: ValueId| {
        while let Some(around) = instead.get(&value) {
            value = *around;
        }
        value
    };
    let mut smaller = program.clone();
    smaller.output = follow(program.output);
    let mut nodes = program.nodes.clone();
    let mut used = vec![false; program.value_count()];
    used[smaller.output.index()] = true;
    for node in nodes.iter_mut().rev() {
        node.inputs.iter_mut().for_each(|input| *input = follow(*input));
        if used[node.output.index()] {
            node.inputs.iter().for_each(|input| used[input.index()] = true);
        }
    }
    nodes.retain(|node| used[node.output.index()]);
    for taps in [&mut smaller.default_taps, &mut smaller.relu_taps] {
        taps.retain(|tap| !blocks.iter().any(|block| block.path == tap.path));
    }
    renumber(&mut smaller, nodes);
    smaller
}
