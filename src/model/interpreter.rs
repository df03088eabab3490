//! Runs a [`Program`] on libtorch.

use tch::{TchError, Tensor};

use super::program::{Node, Op, Program, Tap, WeightId};

/// Whether batch statistics are used and dropout drops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Running statistics, no dropout: the function that is audited.
    Evaluate,
    /// Batch statistics, which also move the running ones.
    Train {
        /// Share of the batch's statistics in the new running ones.
        momentum: f64,
    },
}

/// A [`Program`] with the order in which its values can be dropped and overwritten.
///
/// Autograd works through it: gradients flow to pixels (and to weights, where these require them).
#[derive(Debug)]
pub struct Interpreter {
    program: Program,
    /// Values that no later node reads, per node.
    released: Vec<Vec<usize>>,
    /// Whether the node may write its result over its first input.
    in_place: Vec<bool>,
}

impl Interpreter {
    /// Plans the run of a program.
    pub fn new(program: Program) -> Self {
        let mut last_use: Vec<usize> = (0..program.value_count()).map(|value| value.saturating_sub(1)).collect();
        for (idx, node) in program.nodes.iter().enumerate() {
            for input in &node.inputs {
                last_use[input.index()] = idx;
            }
        }
        let mut released = vec![Vec::new(); program.nodes.len()];
        for (value, &node) in last_use.iter().enumerate() {
            if value != program.output.index() && !program.nodes.is_empty() {
                released[node].push(value);
            }
        }
        let in_place = (0..program.nodes.len()).map(|idx| may_overwrite(&program, &last_use, idx)).collect();
        Self { program, released, in_place }
    }

    /// The program that is run.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Logits `[N, K]` of pixels `[N, C, H, W]`.
    pub fn run(&self, pixels: &Tensor, mode: Mode) -> Result<Tensor, TchError> {
        self.run_with_taps(pixels, mode, &[], &mut |_, _| Ok(()))
    }

    /// Like [`run`](Self::run), and hands each tap's output to `visit(tap index, output)` while it is alive.
    ///
    /// The output may be overwritten after `visit` returns: copy what must stay.
    pub fn run_with_taps(
        &self,
        pixels: &Tensor,
        mode: Mode,
        taps: &[Tap],
        visit: &mut dyn FnMut(usize, &Tensor) -> Result<(), TchError>,
    ) -> Result<Tensor, TchError> {
        let mut values: Vec<Option<Tensor>> = (0..self.program.value_count()).map(|_| None).collect();
        values[self.program.input.index()] = Some(pixels.shallow_clone());
        for (idx, node) in self.program.nodes.iter().enumerate() {
            let output = self.apply(node, &mut values, self.in_place[idx], mode)?;
            for (tap_idx, tap) in taps.iter().enumerate() {
                if tap.value == node.output {
                    visit(tap_idx, &output)?;
                }
            }
            for &value in &self.released[idx] {
                values[value] = None;
            }
            values[node.output.index()] = Some(output);
        }
        Ok(values[self.program.output.index()].take().unwrap_or_else(|| pixels.shallow_clone()))
    }

    fn apply(
        &self,
        node: &Node,
        values: &mut [Option<Tensor>],
        in_place: bool,
        mode: Mode,
    ) -> Result<Tensor, TchError> {
        let mut first =
            values[node.inputs[0].index()].as_ref().expect("values live until their last use").shallow_clone();
        let weight = |id: WeightId| &self.program.weight(id).tensor;
        match &node.op {
            Op::Normalize { mean, std } => first.f_sub(weight(*mean))?.f_div(weight(*std)),
            Op::Conv2d { weight: w, bias, geometry: g } => {
                first.f_conv2d(weight(*w), bias.map(weight), g.stride, g.padding, g.dilation, g.groups)
            }
            Op::Linear { weight: w, bias } => first.f_linear(weight(*w), bias.map(weight)),
            Op::BatchNorm { weight: w, bias, mean, variance, eps } => {
                let (training, momentum) = match mode {
                    Mode::Evaluate => (false, 0.0),
                    Mode::Train { momentum } => (true, momentum),
                };
                let (mean, variance) = (Some(weight(*mean)), Some(weight(*variance)));
                first.f_batch_norm(
                    Some(weight(*w)),
                    Some(weight(*bias)),
                    mean,
                    variance,
                    training,
                    momentum,
                    *eps,
                    true,
                )
            }
            Op::Relu if in_place => first.f_relu_(),
            Op::Relu => first.f_relu(),
            Op::Add => {
                let second = values[node.inputs[1].index()].as_ref().expect("values live until their last use");
                if in_place { first.f_add_(second) } else { first.f_add(second) }
            }
            Op::MaxPool2d { kernel, stride, padding } => {
                first.f_max_pool2d([*kernel; 2], [*stride; 2], [*padding; 2], [1, 1], false)
            }
            Op::AdaptiveAvgPool2d { output } => first.f_adaptive_avg_pool2d(output),
            Op::Flatten => first.f_flatten(1, -1),
            Op::PadShortcut { stride, before, after } => {
                let kept = first.f_slice(2, 0, None, *stride)?.f_slice(3, 0, None, *stride)?;
                kept.f_constant_pad_nd([0, 0, 0, 0, *before, *after])
            }
            Op::Dropout { p } => match mode {
                Mode::Evaluate => Ok(first),
                Mode::Train { .. } => first.f_dropout(*p, true),
            },
        }
    }
}

/// A node may write over its first input when nothing reads that value later and the operator that made it does not need its own
/// output for its gradient.
fn may_overwrite(program: &Program, last_use: &[usize], idx: usize) -> bool {
    let node = &program.nodes[idx];
    if !matches!(node.op, Op::Relu | Op::Add) || node.inputs[0] == program.input {
        return false;
    }
    let input = node.inputs[0];
    let read_once = last_use[input.index()] == idx && node.inputs.iter().filter(|&&it| it == input).count() == 1;
    let maker = &program.nodes[input.index() - 1].op;
    read_once && matches!(maker, Op::Conv2d { .. } | Op::BatchNorm { .. } | Op::Linear { .. } | Op::Add)
}
