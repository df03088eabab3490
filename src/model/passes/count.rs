//! Parameters and multiply-accumulate operations of a [`Program`].

use tch::{Kind, Tensor};

use crate::model::interpreter::{Interpreter, Mode};
use crate::model::program::{Op, Program, Tap};

/// What one forward pass of one image costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Trainable numbers: running statistics are not counted.
    pub parameters: u64,
    /// Multiply-accumulates of the convolutions and linear layers; biases, normalization and activations are not counted.
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
    let image = Tensor::f_zeros([1, program.channels, height, width], (Kind::Float, device))?;
    let mut shapes = vec![Vec::new(); program.nodes.len()];
    let interpreter = Interpreter::new(program.shallow_clone());
    let _guard = tch::no_grad_guard();
    let _logits = interpreter.run_with_taps(&image, Mode::Evaluate, &taps, &mut |idx, output| {
        shapes[idx] = output.size()[1..].to_vec();
        Ok(())
    })?;
    let macs = program.nodes.iter().zip(&shapes).map(|(node, shape)| match &node.op {
        Op::Conv2d { weight, .. } => {
            // [O, C/groups, kh, kw]: each output element is a dot product over all but the first dimension.
            let kernel: i64 = program.weight(*weight).tensor.size()[1..].iter().product();
            (kernel * shape.iter().product::<i64>()) as u64
        }
        Op::Linear { weight, .. } => program.weight(*weight).tensor.numel() as u64,
        _ => 0,
    });
    let macs = macs.sum();
    let parameters =
        program.weights.iter().filter(|weight| weight.trainable).map(|weight| weight.tensor.numel() as u64);
    Ok(Cost { parameters: parameters.sum(), macs, shapes })
}
