//! Runs a [`Program`] on libtorch.

use tch::{TchError, Tensor};

use super::VisitTap;
use super::apply::{Context, apply};
use super::op::Mode;
use super::program::{Op, Program, Tap, WeightId};

/// A [`Program`] with the order in which its values can be dropped and overwritten.
///
/// Autograd works through it: gradients flow to pixels (and to weights, where these require them).
#[derive(Clone, Debug)]
pub struct Interpreter {
    program: Program,
    /// Values that no later node reads, per node.
    released: Vec<Vec<usize>>,
    /// Whether the node may write its result over its first input.
    in_place: Vec<bool>,
}

impl Interpreter {
    pub fn new(program: Program) -> Self {
        let mut last_use: Vec<usize> = (0..program.value_count()).map(|value| value.saturating_sub(1)).collect();
        let mut readers = vec![0_usize; program.value_count()];
        for (idx, node) in program.nodes.iter().enumerate() {
            for input in &node.inputs {
                last_use[input.index()] = idx;
                readers[input.index()] += 1;
            }
        }
        let mut released = vec![Vec::new(); program.nodes.len()];
        for (value, &node) in last_use.iter().enumerate() {
            if value != program.output.index() && !program.nodes.is_empty() {
                released[node].push(value);
            }
        }
        let in_place = (0..program.nodes.len()).map(|idx| may_overwrite(&program, &readers, idx)).collect();
        Self { program, released, in_place }
    }

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
    pub(crate) fn run_with_taps(
        &self,
        pixels: &Tensor,
        mode: Mode,
        taps: &[Tap],
        visit: &mut VisitTap<'_>,
    ) -> Result<Tensor, TchError> {
        let batch = pixels.size().first().copied().unwrap_or(0);
        if let Some(fixed) = self.program.fixed_batch.filter(|&fixed| fixed != batch) {
            return self.run_in_pieces(pixels, fixed, mode, taps, visit);
        }
        let mut values: Vec<Option<Tensor>> = (0..self.program.value_count()).map(|_| None).collect();
        values[self.program.input.index()] = Some(pixels.shallow_clone());
        for (idx, node) in self.program.nodes.iter().enumerate() {
            let output = self.apply(idx, &values, mode, batch)?;
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

    /// Runs a program that takes only batches of `fixed` images: the last piece is filled up with copies of its last image.
    fn run_in_pieces(
        &self,
        pixels: &Tensor,
        fixed: i64,
        mode: Mode,
        taps: &[Tap],
        visit: &mut VisitTap<'_>,
    ) -> Result<Tensor, TchError> {
        let total = pixels.size()[0];
        let mut logits = Vec::new();
        let mut outputs: Vec<Vec<Tensor>> = taps.iter().map(|_| Vec::new()).collect();
        for start in (0..total).step_by(fixed as usize) {
            let len = fixed.min(total - start);
            let mut piece = pixels.f_narrow(0, start, len)?;
            if len < fixed {
                let mut size = piece.size();
                size[0] = fixed - len;
                let last = piece.f_narrow(0, len - 1, 1)?.f_expand(size, false)?;
                piece = Tensor::f_cat(&[&piece, &last], 0)?;
            }
            let all = self.run_with_taps(&piece, mode, taps, &mut |idx, output| {
                // A tap may hold several rows per image.
                let rows = output.size()[0] / fixed * len;
                outputs[idx].push(output.f_narrow(0, 0, rows)?.f_detach_copy()?);
                Ok(())
            })?;
            logits.push(all.f_narrow(0, 0, len)?);
        }
        for (idx, pieces) in outputs.iter().enumerate() {
            visit(idx, &Tensor::f_cat(pieces, 0)?)?;
        }
        Tensor::f_cat(&logits, 0)
    }

    fn apply(&self, idx: usize, values: &[Option<Tensor>], mode: Mode, batch: i64) -> Result<Tensor, TchError> {
        let (node, in_place) = (&self.program.nodes[idx], self.in_place[idx]);
        let inputs: Vec<&Tensor> = (node.inputs.iter())
            .map(|input| values[input.index()].as_ref().expect("values live until their last use"))
            .collect();
        let weight = |id: WeightId| &self.program.weight(id).tensor;
        apply(&node.op, &inputs, &Context { weight: &weight, mode, batch, in_place, node: idx })
    }
}

/// A node may write over its first input when it is that value's only reader and the operator that made it does not need its own
/// output for its gradient. Whether the sum has room there is seen when it is computed.
///
/// The only reader, not merely the last one: an earlier reader may have made a view of the same memory. The operators that may have made
/// the value all write into memory of their own, so it is itself no view of another.
fn may_overwrite(program: &Program, readers: &[usize], idx: usize) -> bool {
    let node = &program.nodes[idx];
    let Some(&input) = node.inputs.first() else { return false };
    if !matches!(node.op, Op::Relu | Op::Add) || input == program.input || input == program.output {
        return false;
    }
    let maker = &program.nodes[input.index() - 1].op;
    readers[input.index()] == 1
        && matches!(maker, Op::Conv2d { .. } | Op::BatchNorm { .. } | Op::Linear { .. } | Op::Add)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::model::program::{Node, ValueId, Weight};

    #[test]
    fn a_sum_that_is_larger_than_its_first_value_is_not_written_over_it() {
        // [N, 4] → linear → [N, 1], plus the images.
        let weight = Tensor::ones([1, 4], (Kind::Float, Device::Cpu));
        let node = |op, inputs: &[u32], output| Node {
            op,
            inputs: inputs.iter().copied().map(ValueId).collect(),
            output: ValueId(output),
            path: String::new(),
        };
        for order in [[1, 0], [0, 1]] {
            let program = Program {
                nodes: vec![
                    node(Op::Linear { weight: WeightId(0), bias: None }, &[0], 1),
                    node(Op::Add, &order, 2),
                    node(Op::Relu, &[2], 3),
                ],
                output: ValueId(3),
                weights: vec![Weight { name: "w".to_owned(), tensor: weight.shallow_clone(), trainable: true }],
                ..Program::default()
            };
            let images = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, -1.0, 0.0, 0.0, 0.0]).view([2, 4]);
            let sums = Interpreter::new(program).run(&images, Mode::Evaluate).unwrap();
            let expected = Tensor::from_slice(&[11.0_f32, 12.0, 13.0, 14.0, 0.0, 0.0, 0.0, 0.0]).view([2, 4]);
            assert_eq!(sums, expected, "{order:?}");
        }
    }
}
