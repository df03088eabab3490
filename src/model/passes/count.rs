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
    let batch = program.fixed_batch.unwrap_or(1);
    let image = Tensor::f_zeros([batch, program.channels, height, width], (Kind::Float, device))?;
    let mut shapes = vec![Vec::new(); program.nodes.len()];
    let mut elements = vec![0_i64; program.nodes.len()];
    let interpreter = Interpreter::new(program.shallow_clone());
    let _guard = tch::no_grad_guard();
    let _logits = interpreter.run_with_taps(&image, Mode::Evaluate, &taps, &mut |idx, output| {
        shapes[idx] = output.size().get(1..).unwrap_or_default().to_vec();
        elements[idx] = output.numel() as i64 / batch;
        Ok(())
    })?;
    let macs = program.nodes.iter().zip(&elements).map(|(node, elements)| match &node.op {
        // [O, C/groups, kh, kw] and [O, I]: each output element is a dot product over all but the first dimension.
        Op::Conv2d { weight, .. } | Op::Linear { weight, .. } => {
            let terms: i64 = program.weight(*weight).tensor.size()[1..].iter().product();
            (terms * elements) as u64
        }
        _ => 0,
    });
    let macs = macs.sum();
    let parameters =
        program.weights.iter().filter(|weight| weight.trainable).map(|weight| weight.tensor.numel() as u64);
    Ok(Cost { parameters: parameters.sum(), macs, shapes })
}
