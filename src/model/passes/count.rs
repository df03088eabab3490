//! Parameters and multiply-accumulate operations of a [`Program`].

use std::collections::BTreeMap;

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::model::interpreter::Interpreter;
use crate::model::op::Mode;
use crate::model::program::{Node, Op, Program, Tap};

/// What is counted as a multiply-accumulate. Tools differ, so a number without its convention says little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Convention {
    /// Convolutions, linear layers, matrix products and attention; no biases, no normalization.
    ConvLinear,
    /// The rules of thop 0.0.31, whose numbers Lu et al., ECCV 2022, print as FLOPs.
    Thop,
    /// The rules of fvcore 0.1.5.
    Fvcore,
}

impl Convention {
    /// All of them, in the order of [`Cost::macs`].
    pub(crate) const ALL: [Self; 3] = [Self::ConvLinear, Self::Thop, Self::Fvcore];

    /// As `--format json` prints it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ConvLinear => "conv-linear",
            Self::Thop => "thop",
            Self::Fvcore => "fvcore",
        }
    }

    /// What it counts, in a few words.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::ConvLinear => "convolutions, linear layers, matrix products and attention",
            Self::Thop => {
                "convolutions with their biases, linear layers, 2 per element of batch norms, average pooling"
            }
            Self::Fvcore => {
                "convolutions, linear layers, matrix products, 2 per element of batch norms, 5 of other norms, adaptive pooling"
            }
        }
    }
}

/// What one forward pass of one image costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Trainable numbers: running statistics are not counted.
    pub parameters: u64,
    /// Multiply-accumulates by [`Convention::ConvLinear`].
    pub macs: u64,
    /// Multiply-accumulates by each convention, in the order of [`Convention::ALL`].
    pub by_convention: [u64; Convention::ALL.len()],
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
    let interpreter = Interpreter::new(program.clone());
    let _guard = tch::no_grad_guard();
    let _logits = interpreter.run_with_taps(&image, Mode::Evaluate, &taps, &mut |idx, output| {
        sizes[taps[idx].value.index()] = output.size();
        Ok(())
    })?;
    let by_convention = Convention::ALL.map(|convention| {
        let macs: i64 = program.nodes.iter().map(|node| counted(program, node, &sizes, convention)).sum();
        (macs / batch) as u64
    });
    let parameters =
        program.weights.iter().filter(|weight| weight.trainable).map(|weight| weight.tensor.numel() as u64);
    let shape = |node: &Node| sizes[node.output.index()].get(1..).unwrap_or_default().to_vec();
    Ok(Cost {
        parameters: parameters.sum(),
        macs: by_convention[Convention::ConvLinear as usize],
        by_convention,
        shapes: program.nodes.iter().map(shape).collect(),
    })
}

/// By a convention, of the whole batch.
fn counted(program: &Program, node: &Node, sizes: &[Vec<i64>], convention: Convention) -> i64 {
    let elements = |size: &[i64]| size.iter().product::<i64>();
    let input = node.inputs.first().map_or(&[][..], |value| sizes[value.index()].as_slice());
    let output = sizes[node.output.index()].as_slice();
    let products = || macs(program, node, sizes);
    match (convention, &node.op) {
        (Convention::ConvLinear, _) | (Convention::Thop, Op::Linear { .. }) => products(),
        // Subtract and divide, scale and shift: two each, in both tools.
        (_, Op::BatchNorm { .. }) => 2 * elements(input),
        (_, Op::AdaptiveAvgPool2d { .. }) if input == output && input.ends_with(&[1, 1]) => 0,
        (Convention::Thop, Op::Conv2d { bias, .. }) => products() + bias.map_or(0, |_| elements(output)),
        (Convention::Thop, Op::AvgPool2d { .. }) => elements(output),
        (Convention::Thop, Op::AdaptiveAvgPool2d { output: wanted }) => {
            let window: i64 = input.iter().rev().zip(wanted.iter().rev()).map(|(from, to)| from / to).product();
            (window + 1) * elements(output)
        }
        // What has no module.
        (Convention::Thop, _) | (Convention::Fvcore, Op::Attention { .. }) => 0,
        (Convention::Fvcore, Op::LayerNorm { weight, .. } | Op::GroupNorm { weight, .. }) => {
            elements(input) * if weight.is_some() { 5 } else { 4 }
        }
        (Convention::Fvcore, Op::AdaptiveAvgPool2d { .. }) => elements(input),
        (Convention::Fvcore, _) => products(),
    }
}

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
        Op::Aten { call, .. } => {
            let inputs: Vec<&[i64]> = (0..node.inputs.len()).map(input).collect();
            call.macs(&inputs, &sizes[node.output.index()])
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::FreshWeights;
    use crate::model::zoo::named;

    fn cost(name: &str) -> Cost {
        let program = named(name, 3, 10).expect(name).build(&mut FreshWeights::new(0)).unwrap();
        count(&program, 32, 32).unwrap()
    }

    #[test]
    fn fvcore_counts_the_same() {
        // fvcore 0.1.5.post20221221 on the same networks in PyTorch, the ResNets with torchvision's head.
        for (name, macs) in [
            ("vgg11-bn", 153_596_928),
            ("vgg[1,1,4,3,1]-bn", 257_483_776),
            ("resnet18", 556_659_712),
            ("resnet50", 1_304_727_552),
        ] {
            assert_eq!(cost(name).by_convention[Convention::Fvcore as usize], macs, "{name}");
        }
    }

    #[test]
    fn the_papers_networks_cost_what_thop_says() {
        // Run through thop 0.0.31.post2005241907 in PyTorch.
        for (name, parameters, macs) in [
            ("vgg11-bn", 9_756_426, 153_748_480),
            ("vgg19-bn", 20_565_834, 399_569_920),
            ("vgg19_6-bn", 6_400_842, 257_920_000),
            ("cresnet18", 11_173_962, 556_660_234),
            ("cresnet50", 23_520_842, 1_304_729_610),
            ("resnet56", 853_018, 126_550_656),
            ("resnet[2,3,6]", 487_002, 50_348_672),
        ] {
            let cost = cost(name);
            assert_eq!((cost.parameters, cost.by_convention[Convention::Thop as usize]), (parameters, macs), "{name}");
        }
        // Of these the operations are known to 10⁴.
        for (name, parameters, millions) in [
            ("vgg13-bn", 9_941_322, 229.54),
            ("vgg16-bn", 15_253_578, 314.56),
            ("vgg19_1-bn", 18_205_002, 390.13),
            ("vgg[1,1,4,3,1]-bn", 10_937_610, 257.67),
            ("cresnet34", 21_282_122, 1161.46),
            ("cresnet101", 42_512_970, 2520.23),
            ("cresnet152", 58_156_618, 3736.51),
            ("cresnet152_5", 52_570_698, 3379.01),
            ("cresnet152_30", 24_641_098, 1591.52),
        ] {
            let cost = cost(name);
            let macs = cost.by_convention[Convention::Thop as usize] as f64 / 1e6;
            assert_eq!(cost.parameters, parameters, "{name}");
            assert!((macs - millions).abs() <= 0.0051, "{name}: {macs}");
        }
    }
}
