//! Which modules of a network are its blocks: the points at which a person would look, read off the calls of modules.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `layer1.0`.
    pub path: String,
    /// `torchvision.models.resnet.BasicBlock`.
    pub class: String,
    /// The call around it, the whole model's excepted.
    pub parent: Option<usize>,
    /// What it returns, if that is one row (or several) per image: values are numbered in the order in which they are made.
    pub output: Option<usize>,
    /// Whether a convolution or linear layer is inside.
    pub weighted: bool,
    /// Whether it does something itself, besides calling modules.
    pub works: bool,
}

impl Call {
    /// Lists of modules: they are folders, not layers.
    fn is_container(&self) -> bool {
        self.class.starts_with("torch.nn.modules.container.")
    }
}

fn ancestors<'c>(calls: &'c [Call], call: &Call) -> impl Iterator<Item = usize> + use<'c> {
    std::iter::successors(call.parent, |&idx| calls[idx].parent)
}

/// The outermost modules of classes that occur several times, each with layers inside.
pub(crate) fn blocks_of(calls: &[Call]) -> BTreeSet<usize> {
    let has_children: BTreeSet<usize> = calls.iter().filter_map(|call| call.parent).collect();
    let composite = |idx: usize| calls[idx].weighted && has_children.contains(&idx) && !calls[idx].is_container();
    let mut paths: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for idx in (0..calls.len()).filter(|&idx| composite(idx)) {
        paths.entry(&calls[idx].class).or_default().insert(&calls[idx].path);
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
        let classes: BTreeSet<&str> = children[idx].iter().map(|&child| calls[child].class.as_str()).collect();
        let all_composite = children[idx].iter().all(|&child| composite(child));
        !calls[idx].works && all_composite && classes.len() == 1 && classes.is_subset(&repeated)
    };
    let mut stages: BTreeSet<&str> = repeated.clone();
    for (idx, call) in calls.iter().enumerate() {
        if !only_calls_blocks(idx) {
            stages.remove(call.class.as_str());
        }
    }
    let candidate = |idx: usize| {
        composite(idx) && repeated.contains(calls[idx].class.as_str()) && !stages.contains(calls[idx].class.as_str())
    };
    let outermost = |idx: usize| candidate(idx) && !ancestors(calls, &calls[idx]).any(candidate);
    let mut blocks: BTreeSet<usize> = (0..calls.len()).filter(|&idx| outermost(idx)).collect();

    // A block of which there is only one (Inception's reductions) stands beside others and is made of what they are made of.
    let mut inside: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); calls.len()];
    for idx in (0..calls.len()).filter(|&idx| candidate(idx)) {
        for around in ancestors(calls, &calls[idx]) {
            inside[around].insert(&calls[idx].class);
        }
    }
    let mut beside: BTreeMap<Option<usize>, BTreeSet<&str>> = BTreeMap::new();
    for &block in &blocks {
        beside.entry(calls[block].parent).or_default().extend(&inside[block]);
    }
    let lone: Vec<usize> = (0..calls.len())
        .filter(|&idx| composite(idx) && !repeated.contains(calls[idx].class.as_str()) && !inside[idx].is_empty())
        .filter(|&idx| beside.get(&calls[idx].parent).is_some_and(|theirs| inside[idx].is_subset(theirs)))
        .collect();
    for &idx in &lone {
        blocks.retain(|&block| !ancestors(calls, &calls[block]).any(|it| it == idx));
        blocks.insert(idx);
    }
    blocks
}

/// Outputs of the blocks, and of the first layer where no block holds it. None for a network without blocks.
pub(crate) fn block_outputs(calls: &[Call], blocks: &BTreeSet<usize>) -> Option<BTreeSet<usize>> {
    if blocks.len() < 2 {
        return None;
    }
    let first_block = blocks.iter().filter_map(|&idx| calls[idx].output).min();
    let inside = |call: &Call| ancestors(calls, call).any(|idx| blocks.contains(&idx));
    let first_layer = calls.iter().enumerate().find(|(idx, call)| call.weighted && call.works && !blocks.contains(idx));
    let stem = first_layer.filter(|(_, call)| !inside(call) && call.output < first_block);
    let stem = stem.and_then(|(_, call)| call.output);
    Some(blocks.iter().filter_map(|&idx| calls[idx].output).chain(stem).collect())
}

/// One name per module output. Where several modules end at the same value, a block wins, then the outermost that is no container.
pub(crate) fn names_of(output: usize, calls: &[Call], blocks: &BTreeSet<usize>) -> BTreeMap<usize, String> {
    let mut ending: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
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
        let path = &calls[idx].path;
        let mut name = path.clone();
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
