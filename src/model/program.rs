//! [`Program`]: a network as a flat list of ATen-level operators.
//!
//! Every way into advmod (built-in architectures, exported programs) ends in a `Program`; everything after it (interpreter, folding, counting, taps)
//! knows nothing else about networks.

use tch::Tensor;

use crate::text::glob;

pub(crate) use super::op::{Comparison, ConvGeometry, Op, Size, Unary, WeightId, Windows};

/// A value that flows through a [`Program`]: its input (0), or the output of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// The value's position in tables indexed by value.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub op: Op,
    /// What it reads, in the operator's order.
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
    /// Path of the module whose output this is (`layer3.1.conv2`); the last node of a block carries the block's path.
    pub path: String,
}

/// A named point of the network whose output can be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    pub path: String,
    pub value: ValueId,
}

/// Which points of the network a curve measures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TapSelection {
    /// The architecture's own choice: the raw stem convolution and every block, or every convolution of a plain network.
    #[default]
    Default,
    /// Like `Default`, but after each unit's ReLU instead of the raw convolution.
    Relu,
    All,
    /// Module paths that match one of these patterns (`*` any characters, `?` one).
    Globs(Vec<String>),
}

impl TapSelection {
    /// Reads `default`, `relu`, `all`, or comma-separated patterns.
    pub fn parse(text: &str) -> Self {
        match text {
            "default" => Self::Default,
            "relu" => Self::Relu,
            "all" => Self::All,
            globs => Self::Globs(globs.split(',').map(|glob| glob.trim().to_owned()).collect()),
        }
    }

    /// That each pattern matches one of a network's module paths.
    pub fn check(&self, paths: &[&str]) -> Result<(), String> {
        let Self::Globs(globs) = self else { return Ok(()) };
        let useless = globs.iter().find(|glob| !paths.iter().any(|path| glob::matches(glob, path)));
        let Some(glob) = useless else { return Ok(()) };
        let some = paths.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        Err(format!("no tap matches `{glob}`; the module paths are {some}, … (advmod inspect --taps all)"))
    }

    /// Whether one of the patterns matches a path.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Globs(globs) => globs.iter().any(|glob| glob::matches(glob, path)),
            _ => true,
        }
    }
}

#[derive(Debug)]
pub struct Weight {
    /// Name as in the weight file, without prefixes.
    pub name: String,
    /// f32, frozen except in training.
    pub tensor: Tensor,
    /// Whether an optimizer updates it (false for running statistics).
    pub trainable: bool,
}

/// Shares the tensor's memory.
impl Clone for Weight {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), tensor: self.tensor.shallow_clone(), trainable: self.trainable }
    }
}

/// A network: nodes in execution order, weights, and the points that can be tapped.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// In execution order: a node reads only the input and outputs of earlier nodes.
    pub(crate) nodes: Vec<Node>,
    pub(crate) input: ValueId,
    pub(crate) output: ValueId,
    pub weights: Vec<Weight>,
    /// Taps of [`TapSelection::Default`], in forward order.
    pub default_taps: Vec<Tap>,
    /// Taps of [`TapSelection::Relu`], in forward order.
    pub(crate) relu_taps: Vec<Tap>,
    /// Channels of the pixels.
    pub channels: i64,
    pub classes: i64,
    /// The only batch size that the program can run, where it was exported for one.
    pub fixed_batch: Option<i64>,
}

impl Program {
    /// How many values the program has, its input included.
    pub(crate) fn value_count(&self) -> usize {
        self.nodes.len() + 1
    }

    pub(crate) fn weight(&self, id: WeightId) -> &Weight {
        &self.weights[id.0 as usize]
    }

    /// The taps that a selection means, in forward order. Empty when no path matches.
    pub(crate) fn taps(&self, selection: &TapSelection) -> Vec<Tap> {
        match selection {
            TapSelection::Default => self.default_taps.clone(),
            TapSelection::Relu => self.relu_taps.clone(),
            TapSelection::All | TapSelection::Globs(_) => {
                self.all_taps().into_iter().filter(|tap| selection.matches(&tap.path)).collect()
            }
        }
    }

    /// Every module output, in forward order. The input's normalization is not a module.
    fn all_taps(&self) -> Vec<Tap> {
        let named = self.nodes.iter().filter(|node| !node.path.is_empty());
        named.map(|node| Tap { path: node.path.clone(), value: node.output }).collect()
    }
}
