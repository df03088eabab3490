//! Residual networks: ResNet-18…152 (CIFAR or `ImageNet` stem) and the CIFAR ResNets of depth 6n + 2.
//!
//! He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The stride of a bottleneck sits on its 3×3 convolution, as in
//! torchvision and pytorch-cifar.
//!
//! `cresnet` names are the networks of Lu et al., ECCV 2022 (CIFAR stem, a 1×1 convolution as head); `_5` to `_30` behind ResNet-152 count the
//! blocks that these authors took out of its third stage, and `resnet[2,3,6]` is what they left of ResNet-56.

use super::{
    Architecture, Family, Remainder, Shapes, Unit, divisor_of, divisor_suffix, indices, parse_stages, place_of,
    split_divisor,
};
use crate::model::builder::{Builder, WeightError, WeightSource};
use crate::model::program::{ConvGeometry, Op, Program, ValueId, Windows};

pub(crate) const FAMILY: Family = Family { title: "ResNet", names: NAMES, infer, named };

const NAMES: &str = "resnet8 resnet14 resnet20 resnet32 resnet44 resnet56 resnet110 resnet20-b resnet32-b \
     resnet44-b resnet56-b resnet110-b resnet18 resnet34 resnet50 resnet101 resnet152 resnet18-imagenet \
     resnet34-imagenet resnet50-imagenet resnet101-imagenet resnet152-imagenet cresnet18 cresnet34 cresnet50 \
     cresnet101 cresnet152 cresnet152_5 cresnet152_11 cresnet152_16 cresnet152_21 cresnet152_26 cresnet152_30 \
     resnet152_5 resnet152_11 resnet152_16 resnet152_21 resnet152_26 resnet152_30 resnet[2,3,6]";

/// Widths of the networks with three stages.
const SMALL: [i64; 3] = [16, 32, 64];

/// Widths of the networks with four stages.
const LARGE: [i64; 4] = [64, 128, 256, 512];

/// The large networks: what stands behind `resnet`, kind of block, blocks per stage.
const DEPTHS: [(&str, Block, [usize; 4]); 11] = [
    ("18", Block::Basic, [2, 2, 2, 2]),
    ("34", Block::Basic, [3, 4, 6, 3]),
    ("50", Block::Bottleneck, [3, 4, 6, 3]),
    ("101", Block::Bottleneck, [3, 4, 23, 3]),
    ("152", Block::Bottleneck, [3, 8, 36, 3]),
    ("152_5", Block::Bottleneck, [3, 8, 31, 3]),
    ("152_11", Block::Bottleneck, [3, 8, 25, 3]),
    ("152_16", Block::Bottleneck, [3, 8, 20, 3]),
    ("152_21", Block::Bottleneck, [3, 8, 15, 3]),
    ("152_26", Block::Bottleneck, [3, 8, 10, 3]),
    ("152_30", Block::Bottleneck, [3, 8, 6, 3]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stem {
    /// 3×3 convolution, stride 1.
    Cifar,
    /// 7×7 convolution, stride 2, then 3×3 max pooling, stride 2.
    ImageNet,
}

/// What joins blocks whose input and output differ in shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortcut {
    /// Option A: subsample and pad with zero channels.
    Pad,
    /// Option B: 1×1 convolution and batch norm.
    Project,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1 convolutions; the output is four times as wide as the middle.
    Bottleneck,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ResNet {
    stem: Stem,
    block: Block,
    shortcut: Shortcut,
    /// Width of each stage's 3×3 convolutions.
    widths: Vec<i64>,
    blocks: Vec<usize>,
    stem_width: i64,
    channels: i64,
    classes: i64,
    /// The head is a 1×1 convolution, as in the paper's CIFAR ResNets.
    conv_head: bool,
}

impl ResNet {
    fn out_width(&self, stage: usize) -> i64 {
        self.widths[stage] * if self.block == Block::Bottleneck { 4 } else { 1 }
    }

    /// What the widths of its name were divided by, where they have one.
    fn divisor(&self) -> Option<i64> {
        let full = if self.widths.len() == SMALL.len() { &SMALL[..] } else { &LARGE[..] };
        divisor_of(&self.widths, full).filter(|_| self.stem_width == self.widths[0])
    }

    /// The depth that gave the network its name, if it has one.
    fn depth(&self) -> Option<String> {
        self.divisor()?;
        if self.widths.len() == LARGE.len() {
            let found = DEPTHS.iter().find(|(_, block, blocks)| *block == self.block && blocks[..] == self.blocks[..]);
            return found.map(|(depth, ..)| (*depth).to_owned());
        }
        let same = self.block == Block::Basic && self.blocks.windows(2).all(|pair| pair[0] == pair[1]);
        same.then(|| (6 * self.blocks[0] + 2).to_string())
    }

    /// Channels that enter a block.
    fn inputs(&self, stage: usize, idx: usize) -> i64 {
        match (stage, idx) {
            (0, 0) => self.stem_width,
            (_, 0) => self.out_width(stage - 1),
            _ => self.out_width(stage),
        }
    }

    fn residual_block(&self, b: &mut Builder, x: ValueId, stage: usize, idx: usize, inputs: i64) -> Built {
        let path = format!("layer{}.{idx}", stage + 1);
        let (width, outputs) = (self.widths[stage], self.out_width(stage));
        let stride = if stage > 0 && idx == 0 { 2 } else { 1 };
        let unit = |b: &mut Builder, x, n: usize, shape: [i64; 4], geometry| -> Built {
            let x = b.conv(x, shape, geometry, false, &format!("{path}.conv{n}"))?;
            b.batch_norm(x, shape[0], &format!("{path}.bn{n}"))
        };
        let relu = |b: &mut Builder, x, n: usize| b.node(Op::Relu, &[x], &format!("{path}.relu{n}"));
        let mut y;
        match self.block {
            Block::Basic => {
                y = unit(b, x, 1, [width, inputs, 3, 3], ConvGeometry::square(stride, 1))?;
                y = relu(b, y, 1);
                y = unit(b, y, 2, [outputs, width, 3, 3], ConvGeometry::square(1, 1))?;
            }
            Block::Bottleneck => {
                y = unit(b, x, 1, [width, inputs, 1, 1], ConvGeometry::square(1, 0))?;
                y = relu(b, y, 1);
                y = unit(b, y, 2, [width, width, 3, 3], ConvGeometry::square(stride, 1))?;
                y = relu(b, y, 2);
                y = unit(b, y, 3, [outputs, width, 1, 1], ConvGeometry::square(1, 0))?;
            }
        }
        let mut short = x;
        if stride != 1 || inputs != outputs {
            match self.shortcut {
                Shortcut::Project => {
                    let path = format!("{path}.downsample");
                    let geometry = ConvGeometry::square(stride, 0);
                    short = b.conv(x, [outputs, inputs, 1, 1], geometry, false, &format!("{path}.0"))?;
                    short = b.batch_norm(short, outputs, &format!("{path}.1"))?;
                }
                Shortcut::Pad => {
                    let before = (outputs - inputs) / 2;
                    let op = Op::PadShortcut { stride, before, after: outputs - inputs - before };
                    short = b.node(op, &[x], &format!("{path}.shortcut"));
                }
            }
        }
        let sum = b.node(Op::Add, &[y, short], &format!("{path}.add"));
        let output = b.node(Op::Relu, &[sum], &path);
        b.tap(output);
        Ok(output)
    }
}

type Built = Result<ValueId, WeightError>;

impl Architecture for ResNet {
    fn name(&self) -> String {
        let stem = if self.stem == Stem::ImageNet { "-imagenet" } else { "" };
        let head = if self.conv_head { "c" } else { "" };
        // Option A is what the small CIFAR networks are known by; the others only come with projections.
        let shortcut = if self.widths.len() == 3 && self.shortcut == Shortcut::Project { "-b" } else { "" };
        let width = divisor_suffix(self.divisor().unwrap_or(1));
        let depth = self.depth().unwrap_or_else(|| {
            let block = if self.block == Block::Bottleneck { "-bottleneck" } else { "" };
            format!("{:?}{block}", self.blocks).replace(' ', "")
        });
        format!("{head}resnet{depth}{shortcut}{stem}{width}")
    }

    fn channels(&self) -> i64 {
        self.channels
    }

    fn classes(&self) -> i64 {
        self.classes
    }

    fn expected_size(&self) -> Option<i64> {
        // A CIFAR stem keeps the resolution; fed with color images it was made for 32×32.
        (self.stem == Stem::Cifar && self.channels == 3).then_some(32)
    }

    fn build(&self, source: &mut dyn WeightSource) -> Result<Program, WeightError> {
        let (mut b, input) = Builder::new(source);
        let (kernel, geometry) = match self.stem {
            Stem::Cifar => (3, ConvGeometry::square(1, 1)),
            Stem::ImageNet => (7, ConvGeometry::square(2, 3)),
        };
        let raw = b.conv(input, [self.stem_width, self.channels, kernel, kernel], geometry, false, "conv1")?;
        let normed = b.batch_norm(raw, self.stem_width, "bn1")?;
        let mut x = b.node(Op::Relu, &[normed], "relu");
        b.tap_unit(raw, x);
        if self.stem == Stem::ImageNet {
            x = b.node(Op::MaxPool2d { windows: Windows::square(3, 2, 1), dilation: [1; 2] }, &[x], "maxpool");
        }
        let mut width = self.stem_width;
        for stage in 0..self.blocks.len() {
            for idx in 0..self.blocks[stage] {
                x = self.residual_block(&mut b, x, stage, idx, width)?;
                width = self.out_width(stage);
            }
        }
        // The small networks' code calls a function here, the others' a module: tools that count modules tell them apart.
        let pool = match self.widths.len() == SMALL.len() {
            true => Op::Mean { dims: vec![-1, -2], keep: true },
            false => Op::AdaptiveAvgPool2d { output: [1, 1] },
        };
        x = b.node(pool, &[x], "avgpool");
        if self.conv_head {
            x = b.conv(x, [self.classes, width, 1, 1], ConvGeometry::square(1, 0), true, "fc")?;
            b.node(Op::FLATTEN, &[x], "flatten");
        } else {
            x = b.node(Op::FLATTEN, &[x], "flatten");
            b.linear(x, width, self.classes, "fc")?;
        }
        Ok(b.finish(self.channels, self.classes))
    }

    fn units(&self) -> Vec<Unit> {
        let unit = |(stage, idx)| Unit {
            path: format!("layer{}.{idx}", stage + 1),
            stage,
            changes_shape: idx == 0 && (stage > 0 || self.inputs(stage, idx) != self.out_width(stage)),
        };
        place_of(&self.blocks).into_iter().map(unit).collect()
    }

    fn keeping(&self, kept: &[bool]) -> Remainder {
        let mut blocks = vec![0; self.blocks.len()];
        let mut origins = Vec::new();
        for ((stage, idx), _) in place_of(&self.blocks).into_iter().zip(kept).filter(|(_, kept)| **kept) {
            let path = |idx: usize| format!("layer{}.{idx}", stage + 1);
            origins.push((path(blocks[stage]), path(idx)));
            blocks[stage] += 1;
        }
        Remainder { architecture: Box::new(Self { blocks, ..self.clone() }), origins }
    }
}

fn infer(shapes: &Shapes) -> Option<Box<dyn Architecture>> {
    let stem = shapes.get("conv1.weight").filter(|shape| shape.len() == 4)?;
    let head = shapes.get("fc.weight")?;
    shapes.get("layer1.0.conv1.weight")?;
    let stages = indices(shapes, "layer");
    let block = match shapes.contains_key("layer1.0.conv3.weight") {
        true => Block::Bottleneck,
        false => Block::Basic,
    };
    let mut widths = Vec::new();
    let mut blocks = Vec::new();
    for stage in 1..=stages.len() {
        let present = indices(shapes, &format!("layer{stage}."));
        blocks.push(present.len());
        widths.push(*shapes.get(&format!("layer{stage}.0.conv1.weight"))?.first()?);
    }
    let projected = shapes.keys().any(|name| name.contains(".downsample."));
    Some(Box::new(ResNet {
        stem: if stem[2] == 7 { Stem::ImageNet } else { Stem::Cifar },
        block,
        shortcut: if projected { Shortcut::Project } else { Shortcut::Pad },
        widths,
        blocks,
        stem_width: stem[0],
        channels: stem[1],
        classes: *head.first()?,
        conv_head: head.len() == 4,
    }))
}

fn named(name: &str, channels: i64, classes: i64) -> Option<Box<dyn Architecture>> {
    let strip = |name: &str, suffix| -> (String, bool) {
        let rest = name.strip_suffix(suffix);
        (rest.unwrap_or(name).to_owned(), rest.is_some())
    };
    let (rest, divisor) = split_divisor(name)?;
    let (rest, large_stem) = strip(rest, "-imagenet");
    let (rest, projected) = strip(&rest, "-b");
    let (rest, bottleneck) = strip(&rest, "-bottleneck");
    let conv_head = rest.starts_with('c');
    let depth = rest.strip_prefix('c').unwrap_or(&rest).strip_prefix("resnet")?;
    let listed = DEPTHS.iter().find(|(it, ..)| *it == depth);
    let (block, blocks) = match (listed, parse_stages(depth)) {
        (Some((_, block, blocks)), _) => (*block, blocks.to_vec()),
        (None, Some(blocks)) => (if bottleneck { Block::Bottleneck } else { Block::Basic }, blocks),
        (None, None) => {
            let depth: usize = depth.parse().ok().filter(|depth| *depth <= 1202)?;
            (Block::Basic, vec![depth.checked_sub(2)? / 6; 3])
        }
    };
    let full = match blocks.len() {
        3 => &SMALL[..],
        4 => &LARGE[..],
        _ => return None,
    };
    let widths: Vec<i64> = full.iter().map(|width| width / divisor).collect();
    let net = ResNet {
        stem: if large_stem { Stem::ImageNet } else { Stem::Cifar },
        block,
        shortcut: if full.len() == 3 && !projected { Shortcut::Pad } else { Shortcut::Project },
        stem_width: widths[0],
        widths,
        blocks,
        channels,
        classes,
        conv_head,
    };
    // Another spelling, or a depth that does not exist.
    (net.name() == name && net.blocks.iter().all(|&n| n > 0)).then(|| Box::new(net) as Box<dyn Architecture>)
}
