//! Finds operators at a network's end that keep the order of the classes, and takes them out: through a softmax or a sigmoid gradients vanish
//! wherever the network is sure of itself, and a scale decides how soon cross-entropy goes flat. What is before them are the logits.

use tch::Tensor;

use crate::model::program::{Op, Program, Unary, ValueId};

/// A program without its ending.
#[derive(Debug)]
pub(crate) struct WithoutEnding {
    pub program: Program,
    /// What was taken out, in execution order: `scale 100, softmax`.
    pub ending: String,
}

/// The program up to its logits; nothing where it ends in logits already. Operators that only give the output another shape stay.
pub(crate) fn without_ending(program: &Program) -> Option<WithoutEnding> {
    let mut shortened = program.clone();
    let mut names = Vec::new();
    let mut value = program.output;
    while let Some(at) = value.index().checked_sub(1) {
        let node = &program.nodes[at];
        match &node.op {
            Op::Identity
            | Op::Dropout { .. }
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Select { .. } => value = node.inputs[0],
            op => {
                let Some((name, from)) = keeps_order(program, op, &node.inputs) else { break };
                let node = &mut shortened.nodes[at];
                (node.op, node.inputs) = (Op::Identity, vec![from]);
                names.push(name);
                value = from;
            }
        }
    }
    names.reverse();
    (!names.is_empty()).then(|| WithoutEnding { program: shortened, ending: names.join(", ") })
}

/// The name of an operator that maps each image's scores to scores in the same order, and which input these are. Some (a clamp) may make equals
/// of what was not equal: whether that happens is seen on images.
fn keeps_order(program: &Program, op: &Op, inputs: &[ValueId]) -> Option<(String, ValueId)> {
    let first = *inputs.first()?;
    // A constant of one value for all classes, and which input is the other one.
    let with_constant = |at: usize| -> Option<(f64, ValueId)> {
        let constant = *inputs.get(at)?;
        let Op::Constant { weight } = program.nodes.get(constant.index().checked_sub(1)?)?.op else { return None };
        let tensor: &Tensor = &program.weight(weight).tensor;
        (tensor.numel() == 1).then(|| (tensor.double_value(&vec![0; tensor.dim()]), inputs[1 - at]))
    };
    let name = match op {
        Op::Softmax { dim: 1 | -1 } => "softmax".to_owned(),
        Op::LogSoftmax { dim: 1 | -1 } => "log_softmax".to_owned(),
        Op::Relu => "relu".to_owned(),
        Op::Unary(function) => match function {
            Unary::Sigmoid => "sigmoid".to_owned(),
            Unary::Tanh => "tanh".to_owned(),
            Unary::Hardsigmoid => "hardsigmoid".to_owned(),
            Unary::Exp => "exp".to_owned(),
            Unary::Clamp { .. } => "clamp".to_owned(),
            Unary::LeakyRelu { slope } if *slope > 0.0 => "leaky_relu".to_owned(),
            Unary::Elu { alpha } if *alpha > 0.0 => "elu".to_owned(),
            Unary::Scale(factor) if is_positive(*factor) => format!("scale {factor}"),
            Unary::Shift(offset) if offset.is_finite() => format!("shift {offset}"),
            _ => return None,
        },
        Op::Mul => {
            let (factor, from) = with_constant(1).or_else(|| with_constant(0)).filter(|it| is_positive(it.0))?;
            return Some((format!("scale {factor}"), from));
        }
        Op::Div => {
            let (divisor, from) = with_constant(1).filter(|it| is_positive(it.0))?;
            return Some((format!("scale 1/{divisor}"), from));
        }
        Op::Add => {
            let (offset, from) = with_constant(1).or_else(|| with_constant(0)).filter(|it| it.0.is_finite())?;
            return Some((format!("shift {offset}"), from));
        }
        Op::Sub => {
            let (offset, from) = with_constant(1).filter(|it| it.0.is_finite())?;
            return Some((format!("shift {}", -offset), from));
        }
        _ => return None,
    };
    Some((name, first))
}

fn is_positive(factor: f64) -> bool {
    factor.is_finite() && factor > 0.0
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::model::interpreter::Interpreter;
    use crate::model::op::Mode;
    use crate::model::program::{Node, Weight, WeightId};

    /// Two channels' means, and then these operators.
    fn ending_in(ops: &[Op]) -> Program {
        let mut program = Program { channels: 2, classes: 2, ..Program::default() };
        let two = Tensor::from_slice(&[2.0_f32]);
        program.weights.push(Weight { name: "two".to_owned(), tensor: two, trainable: false });
        let mean = Op::Mean { dims: vec![2, 3], keep: false };
        for op in std::iter::once(&mean).chain(ops) {
            let last = ValueId(program.nodes.len() as u32);
            let inputs = match op {
                Op::Constant { .. } => vec![],
                Op::Mul | Op::Sub => vec![ValueId(last.0 - 1), last],
                _ => vec![last],
            };
            let output = ValueId(last.0 + 1);
            program.nodes.push(Node { op: op.clone(), inputs, output, path: String::new() });
            program.output = output;
        }
        program
    }

    fn ending(ops: &[Op]) -> Option<String> {
        without_ending(&ending_in(ops)).map(|it| it.ending)
    }

    #[test]
    fn what_keeps_the_order_of_the_classes_goes_and_the_logits_stay() {
        let constant = Op::Constant { weight: WeightId(0) };
        let (softmax, sigmoid) = (Op::Softmax { dim: 1 }, Op::Unary(Unary::Sigmoid));
        let pixels = (Tensor::arange(24, (Kind::Float, Device::Cpu)) * 0.618).frac().view([3, 2, 2, 2]);
        let run = |program: Program| Interpreter::new(program).run(&pixels, Mode::Evaluate).unwrap();
        let logits = run(ending_in(&[]));
        for (ops, name) in [
            (vec![softmax.clone()], "softmax"),
            (vec![Op::Identity, Op::Unary(Unary::Scale(100.0)), sigmoid.clone(), Op::Identity], "scale 100, sigmoid"),
            (vec![constant.clone(), Op::Mul], "scale 2"),
            (vec![Op::Unary(Unary::Shift(-1.0)), constant.clone(), Op::Sub, sigmoid], "shift -1, shift -2, sigmoid"),
        ] {
            let found = without_ending(&ending_in(&ops)).unwrap();
            assert_eq!(found.ending, name);
            assert_eq!(run(found.program), logits, "{name}");
        }
        // Over the images, or the other way round, or no ending at all.
        for ops in
            [vec![], vec![Op::Softmax { dim: 0 }], vec![Op::Unary(Unary::Scale(-2.0))], vec![Op::Unary(Unary::Neg)]]
        {
            assert_eq!(ending(&ops), None, "{ops:?}");
        }
        assert_eq!(ending(&[Op::Unary(Unary::Neg), softmax]).as_deref(), Some("softmax"));
    }
}
