//! Parameters and multiply-accumulate operations of a [`Program`].

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::model::interpreter::{Interpreter, Mode};
use crate::model::program::{Node, Op, Program, Tap};

/// What one forward pass of one image costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Trainable numbers: running statistics are not counted.
    pub parameters: u64,
    /// Multiply-accumulates of convolutions, linear layers, matrix products and attention; biases, normalization and activations are not
    /// counted.
    pub macs: u64,
    /// Shape of each node's output without the batch dimension, in node order.
    pub shapes: Vec<Vec<i64>>,
}

/// Runs one black image of `[channels, height, width]` through the program and counts.
///
/// # Errors
/// libtorch's message when the image does not fit the network.
pub fn count(program: &Program, height: i64, width: i64) -> Result<Cost, tch::TchError> {
    let taps: Vec<Tap> = program.nodes.iter().map(|node| Tap { path: node.path.clone(), value: node.output }).collect();
    let device = program.weights.first().map_or(tch::Device::Cpu, |weight| weight.tensor.device());
    let batch = program.fixed_batch.unwrap_or(1);
    let image = Tensor::f_zeros([batch, program.channels, height, width], (Kind::Float, device))?;
    // Of each value.
    let mut sizes = vec![Vec::new(); program.value_count()];
    sizes[program.input.index()] = image.size();
    let interpreter = Interpreter::new(program.shallow_clone());
    let _guard = tch::no_grad_guard();
    let _logits = interpreter.run_with_taps(&image, Mode::Evaluate, &taps, &mut |idx, output| {
        sizes[taps[idx].value.index()] = output.size();
        Ok(())
    })?;
    let macs: i64 = program.nodes.iter().map(|node| macs(program, node, &sizes)).sum();
    let parameters =
        program.weights.iter().filter(|weight| weight.trainable).map(|weight| weight.tensor.numel() as u64);
    let shape = |node: &Node| sizes[node.output.index()].get(1..).unwrap_or_default().to_vec();
    Ok(Cost {
        parameters: parameters.sum(),
        macs: (macs / batch) as u64,
        shapes: program.nodes.iter().map(shape).collect(),
    })
}

/// Of the whole batch.
fn macs(program: &Program, node: &Node, sizes: &[Vec<i64>]) -> i64 {
    let input = |idx: usize| node.inputs.get(idx).map_or(&[][..], |value| sizes[value.index()].as_slice());
    let elements = |size: &[i64]| size.iter().product::<i64>();
    let output = elements(&sizes[node.output.index()]);
    match &node.op {
        // [O, C/groups, kh, kw] and [O, I]: each output element is a dot product over all but the first dimension.
        Op::Conv2d { weight, .. } | Op::Linear { weight, .. } => {
            output * elements(&program.weight(*weight).tensor.size()[1..])
        }
        Op::MatMul => output * input(0).last().copied().unwrap_or(1),
        // Every query with every key, then every score with every value.
        Op::Attention { .. } => {
            let keys = input(1).iter().rev().nth(1).copied().unwrap_or(1);
            (elements(input(0)) + output) * keys
        }
        // One term for each setting of all indices.
        Op::Einsum { equation } => {
            let operands = equation.split("->").next().unwrap_or_default().split(',');
            let letters =
                operands.enumerate().flat_map(|(idx, letters)| letters.chars().zip(input(idx).iter().copied()));
            letters.collect::<BTreeMap<char, i64>>().into_values().product()
        }
        _ => 0,
    }
}
