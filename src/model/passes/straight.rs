//! Straight through operators that no gradient passes: rounding, comparisons, whole numbers, `detach`.

use tch::Kind;

use crate::model::program::{Node, Op, Program, Unary, ValueId};

/// The same function with a gradient where it has steps: each step hands the gradient on as if it were not there (the straight-through
/// estimator, Bengio et al., arXiv:1308.3432; as an attack, the backward pass differentiable approximation of Athalye et al., ICML 2018, with
/// the identity as the approximation). Nothing where no operator stands in a gradient's way. Taps are not kept.
pub(crate) fn straight_through(program: &Program) -> Option<Program> {
    let mut pass =
        Pass { nodes: Vec::with_capacity(program.nodes.len()), places: vec![Place::default()], stood: false };
    for node in &program.nodes {
        pass.node(node);
    }
    let output = pass.places[program.output.index()].value;
    pass.stood.then(|| Program {
        nodes: pass.nodes,
        output,
        default_taps: Vec::new(),
        relu_taps: Vec::new(),
        ..program.clone()
    })
}

/// Where a value of the program is in the new one.
#[derive(Clone, Copy, Default)]
struct Place {
    value: ValueId,
    /// Its type, where its numbers are held as floating-point ones in place of it, because only these have gradients.
    stands_for: Option<Kind>,
}

struct Pass {
    nodes: Vec<Node>,
    /// Of each value of the program.
    places: Vec<Place>,
    /// Whether anything stood in a gradient's way.
    stood: bool,
}

impl Pass {
    fn node(&mut self, node: &Node) {
        let inputs: Vec<Place> = node.inputs.iter().map(|input| self.places[input.index()]).collect();
        let first = inputs.first().and_then(|input| input.stands_for);
        let straight = || Op::Straight { op: Box::new(node.op.clone()) };
        let (op, stands_for) = match &node.op {
            Op::Detach => (Op::Identity, first),
            Op::Cast { kind: Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 } => (node.op.clone(), None),
            Op::Cast { kind } => (straight(), Some(*kind)),
            Op::Unary(Unary::Compare(..)) => (straight(), Some(Kind::Bool)),
            Op::Unary(Unary::Round | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Sign) => (straight(), None),
            Op::Aten { call, output: 0 } if call.is_step() && first.is_none() => (straight(), None),
            op if inputs.iter().all(|input| input.stands_for == first)
                && (op.moves() || matches!(op, Op::Cat { .. })) =>
            {
                (op.clone(), first)
            }
            op => (op.clone(), None),
        };
        self.stood |= op != node.op;
        let keeps = op != node.op || stands_for.is_some() || matches!(op, Op::Cast { .. });
        let inputs = inputs.into_iter().map(|place| match place.stands_for {
            // What computes with whole numbers gets them.
            Some(kind) if !keeps => self.push(Op::Cast { kind }, vec![place.value], ""),
            _ => place.value,
        });
        let inputs = inputs.collect();
        let value = self.push(op, inputs, &node.path);
        self.places.push(Place { value, stands_for });
    }

    fn push(&mut self, op: Op, inputs: Vec<ValueId>, path: &str) -> ValueId {
        let output = ValueId(self.nodes.len() as u32 + 1);
        self.nodes.push(Node { op, inputs, output, path: path.to_owned() });
        output
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Tensor};

    use super::*;
    use crate::model::interpreter::Interpreter;
    use crate::model::op::Mode;
    use crate::model::program::{Comparison, Weight, WeightId};

    /// Each operator on the one before it; the result is weighed, so that gradients differ from place to place.
    fn chain(ops: &[Op]) -> Program {
        let weights = Tensor::from_slice(&[1.0_f32, -2.0, 3.0, 0.5, 4.0, -1.0]).view([2, 3]);
        let mut program = Program { channels: 3, classes: 2, ..Program::default() };
        program.weights.push(Weight { name: "w".to_owned(), tensor: weights, trainable: false });
        let end = [Op::Cast { kind: Kind::Float }, Op::Linear { weight: WeightId(0), bias: None }];
        for (at, op) in (0..).zip(ops.iter().chain(&end)) {
            let (inputs, output) = (vec![ValueId(at)], ValueId(at + 1));
            program.nodes.push(Node { op: op.clone(), inputs, output, path: String::new() });
            program.output = output;
        }
        program
    }

    fn logits_and_gradient(program: Program) -> (Tensor, Tensor) {
        let pixels = Tensor::from_slice(&[0.2_f32, 0.6, 300.7]).view([1, 3]).set_requires_grad(true);
        let logits = Interpreter::new(program).run(&pixels, Mode::Evaluate).unwrap();
        let gradient = match logits.requires_grad() {
            true => {
                Tensor::run_backward(&[logits.narrow(1, 0, 1).sum(Kind::Float)], &[&pixels], false, false).remove(0)
            }
            false => pixels.zeros_like(),
        };
        (logits.detach(), gradient)
    }

    #[test]
    fn no_number_changes_and_gradients_pass_every_step() {
        let weights = Tensor::from_slice(&[1.0_f32, -2.0, 3.0]).view([1, 3]);
        let compare = Op::Unary(Unary::Compare(Comparison::Greater, 0.5));
        for (steps, scale) in [
            (vec![Op::Unary(Unary::Scale(63.0)), Op::Unary(Unary::Round), Op::Unary(Unary::Over(63.0))], 1.0),
            (vec![Op::Detach], 1.0),
            (vec![compare.clone(), Op::Identity, Op::Unsqueeze { dim: 0 }, Op::Squeeze { dim: 0 }], 1.0),
            // 300 is 44 in eight bits.
            (vec![Op::Cast { kind: Kind::Uint8 }, Op::Cast { kind: Kind::Int64 }], 1.0),
            (vec![Op::Cast { kind: Kind::Double }, Op::Cast { kind: Kind::Bool }], 1.0),
            (vec![Op::Unary(Unary::Scale(2.0)), Op::Unary(Unary::Sign), Op::Unary(Unary::Floor)], 2.0),
            (vec![compare, Op::Cast { kind: Kind::Int64 }], 1.0),
        ] {
            let program = chain(&steps);
            let (logits, _) = logits_and_gradient(program.clone());
            let (same, gradient) = logits_and_gradient(straight_through(&program).expect("it has steps"));
            assert_eq!(same, logits, "{steps:?}");
            let off = (gradient - &weights * scale).abs().max().double_value(&[]);
            assert!(off < 1e-6, "{steps:?}");
        }
        let infinite = Tensor::from_slice(&[f32::INFINITY, 0.5, 1.5]).view([1, 3]).set_requires_grad(true);
        let rounding = straight_through(&chain(&[Op::Unary(Unary::Round)])).unwrap();
        let logits = Interpreter::new(rounding).run(&infinite, Mode::Evaluate).unwrap();
        assert!(logits.isfinite().logical_not().all() == Tensor::from(true), "{logits:?}");
        assert!(logits.isnan().any() == Tensor::from(false), "{logits:?}");
    }

    #[test]
    fn a_smooth_program_is_left_alone() {
        assert!(straight_through(&chain(&[Op::Relu, Op::Unary(Unary::Tanh)])).is_none());
    }

    #[test]
    fn what_computes_with_whole_numbers_gets_them() {
        let program = chain(&[Op::Cast { kind: Kind::Int64 }, Op::Unary(Unary::Abs)]);
        let (logits, _) = logits_and_gradient(program.clone());
        let straight = straight_through(&program).unwrap();
        assert!(matches!(straight.nodes[1].op, Op::Cast { kind: Kind::Int64 }), "{:?}", straight.nodes);
        assert_eq!(logits_and_gradient(straight).0, logits);
        assert_eq!(Device::Cpu, logits.device());
    }
}
