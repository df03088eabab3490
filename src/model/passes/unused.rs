//! Drops weights that nothing reads.

use std::collections::BTreeSet;

use crate::model::program::{Program, WeightId};

/// Keeps the weights that a node reads, under new ids.
pub fn drop_unused_weights(program: &mut Program) {
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
