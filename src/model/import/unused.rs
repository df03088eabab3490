//! Takes out what the logits do not depend on: auxiliary outputs, and results of which an operator makes several.

use super::graph::Graph;
use crate::model::blocks::Call;
use crate::model::program::ValueId;

/// Takes all nodes out of the graph that a value does not depend on; it and the calls get their new numbers.
pub(super) fn remove_unused(graph: &mut Graph, output: ValueId, calls: &[Call]) -> (ValueId, Vec<Call>) {
    let mut is_used = vec![false; graph.shapes.len()];
    (is_used[0], is_used[output.index()]) = (true, true);
    for node in graph.nodes.iter().rev() {
        if is_used[node.output.index()] {
            node.inputs.iter().for_each(|input| is_used[input.index()] = true);
        }
    }
    let mut count = 0;
    let ids = is_used.iter().map(|&is_used| {
        count += u32::from(is_used);
        is_used.then(|| ValueId(count - 1))
    });
    let ids: Vec<Option<ValueId>> = ids.collect();
    let new = |id: ValueId| ids[id.index()].unwrap_or_default();
    let mut values = is_used.iter();
    graph.shapes.retain(|_| values.next() == Some(&true));
    let mut values = is_used.iter();
    graph.kinds.retain(|_| values.next() == Some(&true));
    let mut values = is_used.iter();
    graph.sides.retain(|_| values.next() == Some(&true));
    let mut values = is_used.iter().skip(1);
    graph.origins.retain(|_| values.next() == Some(&true));
    graph.nodes.retain(|node| is_used[node.output.index()]);
    for node in &mut graph.nodes {
        node.output = new(node.output);
        node.inputs.iter_mut().for_each(|input| *input = new(*input));
    }
    let renumbered = |call: &Call| {
        let output = call.output.and_then(|output| ids[output]).map(ValueId::index).filter(|&output| output > 0);
        Call { output, ..call.clone() }
    };
    (new(output), calls.iter().map(renumbered).collect())
}
