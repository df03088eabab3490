//! Folds batch normalization into the convolution in front of it.

use std::collections::BTreeSet;

use tch::{Kind, Tensor};

use crate::model::program::{Node, Op, Program, Tap, ValueId, Weight, WeightId};

/// The same function in evaluation mode with fewer operators: conv → batch norm becomes one convolution with
/// `w' = w · γ/√(σ² + ε)` and `b' = β + (b − μ) · γ/√(σ² + ε)`, computed in f64.
///
/// A convolution whose raw output is one of `taps` (or has another reader) stays as it is. Every tap's value keeps its id.
pub(crate) fn fold_batch_norm(program: &Program, taps: &[Tap]) -> Program {
    let mut folded = program.clone();
    let tapped: BTreeSet<ValueId> = taps.iter().map(|tap| tap.value).collect();
    let mut readers = vec![0_usize; program.value_count()];
    for input in program.nodes.iter().flat_map(|node| &node.inputs) {
        readers[input.index()] += 1;
    }
    // Value ids stay dense because a folded pair keeps two nodes' worth of ids: the pair's first node becomes the folded convolution
    // under the batch norm's id, and ids are renumbered at the end.
    let mut nodes: Vec<Node> = Vec::with_capacity(program.nodes.len());
    for node in &program.nodes {
        let conv = (nodes.last().cloned()).filter(|last| node.inputs == [last.output]);
        if let (Op::BatchNorm { .. }, Some(last)) = (&node.op, conv)
            && matches!(last.op, Op::Conv2d { .. })
            && readers[last.output.index()] == 1
            && !tapped.contains(&last.output)
        {
            nodes.pop();
            let op = fold_pair(program, &mut folded.weights, &last.op, &node.op);
            nodes.push(Node { op, inputs: last.inputs, output: node.output, path: node.path.clone() });
        } else {
            nodes.push(node.clone());
        }
    }
    renumber(&mut folded, nodes);
    folded
}

fn fold_pair(program: &Program, weights: &mut Vec<Weight>, conv: &Op, norm: &Op) -> Op {
    let Op::Conv2d { weight, bias, geometry } = conv else { unreachable!("the caller matched a convolution") };
    let Op::BatchNorm { weight: gamma, bias: beta, mean, variance, eps } = norm else {
        unreachable!("the caller matched a batch norm")
    };
    let value = |id: WeightId| program.weight(id).tensor.to_kind(Kind::Double);
    let scale = value(*gamma) / (value(*variance) + *eps).sqrt();
    let old_bias = bias.map_or_else(|| Tensor::zeros_like(&scale), value);
    let new_weight = value(*weight) * scale.view([-1, 1, 1, 1]);
    let new_bias = value(*beta) + (old_bias - value(*mean)) * &scale;
    let name = &program.weight(*weight).name;
    let mut push = |name: String, tensor: &Tensor| {
        weights.push(Weight { name, tensor: tensor.to_kind(Kind::Float), trainable: false });
        WeightId(weights.len() as u32 - 1)
    };
    Op::Conv2d {
        weight: push(format!("{name} (folded)"), &new_weight),
        bias: Some(push(format!("{name} (folded bias)"), &new_bias)),
        geometry: geometry.clone(),
    }
}

/// Gives the nodes' outputs the ids 1, 2, … again and drops weights that nothing reads.
pub(super) fn renumber(program: &mut Program, mut nodes: Vec<Node>) {
    let mut new_ids = vec![None; program.value_count()];
    new_ids[program.input.index()] = Some(program.input);
    for (idx, node) in nodes.iter_mut().enumerate() {
        for input in &mut node.inputs {
            *input = new_ids[input.index()].expect("a node reads what an earlier node made");
        }
        let id = ValueId(idx as u32 + 1);
        new_ids[node.output.index()] = Some(id);
        node.output = id;
    }
    program.output = new_ids[program.output.index()].expect("the output is made by the last node");
    let survive = |taps: &mut Vec<Tap>| {
        taps.retain_mut(|tap| match new_ids[tap.value.index()] {
            Some(id) => {
                tap.value = id;
                true
            }
            None => false,
        });
    };
    survive(&mut program.default_taps);
    survive(&mut program.relu_taps);

    program.nodes = nodes;
    drop_unused_weights(program);
}

/// Keeps the weights that a node reads, under new ids.
fn drop_unused_weights(program: &mut Program) {
    let used: BTreeSet<WeightId> = program.nodes.iter().flat_map(|node| node.op.weights()).collect();
    let mut new_ids = vec![None; program.weights.len()];
    let mut kept = Vec::with_capacity(used.len());
    for (idx, weight) in std::mem::take(&mut program.weights).into_iter().enumerate() {
        if used.contains(&WeightId(idx as u32)) {
            new_ids[idx] = Some(WeightId(kept.len() as u32));
            kept.push(weight);
        }
    }
    program.weights = kept;
    for id in program.nodes.iter_mut().flat_map(|node| node.op.weights_mut()) {
        *id = new_ids[id.0 as usize].expect("a used weight is kept");
    }
}
