//! Residual networks: ResNet-18…152 (CIFAR or `ImageNet` stem) and the CIFAR ResNets of depth 6n + 2.
//!
//! He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The stride of a bottleneck sits on its 3×3 convolution, as in
//! torchvision and pytorch-cifar.

use super::{Architecture, Family, Shapes, indices};
use crate::model::builder::{Builder, WeightError, WeightSource};
use crate::model::program::{ConvGeometry, Op, Program, ValueId, Windows};

/// The table entry.
pub const FAMILY: Family = Family { title: "ResNet", names: NAMES, infer, named };

const NAMES: &[&str] = &[
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet20-b",
    "resnet32-b",
    "resnet44-b",
    "resnet56-b",
    "resnet110-b",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet18-imagenet",
    "resnet34-imagenet",
    "resnet50-imagenet",
    "resnet101-imagenet",
    "resnet152-imagenet",
];

/// How pixels enter the first stage.
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
    /// Blocks per stage.
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

    /// The depth that gave the network its name, if it has one.
    fn depth(&self) -> Option<usize> {
        let same = self.blocks.windows(2).all(|pair| pair[0] == pair[1]);
        let blocks = self.blocks.as_slice();
        match (self.widths.as_slice(), self.block, blocks) {
            ([16, 32, 64], Block::Basic, [n, ..]) if same => Some(6 * n + 2),
            ([64, 128, 256, 512], Block::Basic, [2, 2, 2, 2]) => Some(18),
            ([64, 128, 256, 512], Block::Basic, [3, 4, 6, 3]) => Some(34),
            ([64, 128, 256, 512], Block::Bottleneck, [3, 4, 6, 3]) => Some(50),
            ([64, 128, 256, 512], Block::Bottleneck, [3, 4, 23, 3]) => Some(101),
            ([64, 128, 256, 512], Block::Bottleneck, [3, 8, 36, 3]) => Some(152),
            _ => None,
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
        // Option A is what the small CIFAR networks are known by; the others only come with projections.
        let shortcut = if self.widths.len() == 3 && self.shortcut == Shortcut::Project { "-b" } else { "" };
        match self.depth() {
            Some(depth) => format!("resnet{depth}{shortcut}{stem}"),
            None => format!("resnet {:?}{shortcut}{stem}", self.blocks).replace(' ', ""),
        }
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
        x = b.node(Op::AdaptiveAvgPool2d { output: [1, 1] }, &[x], "avgpool");
        if self.conv_head {
            x = b.conv(x, [self.classes, width, 1, 1], ConvGeometry::square(1, 0), true, "fc")?;
            b.node(Op::FLATTEN, &[x], "flatten");
        } else {
            x = b.node(Op::FLATTEN, &[x], "flatten");
            b.linear(x, width, self.classes, "fc")?;
        }
        Ok(b.finish(self.channels, self.classes))
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
    if !NAMES.contains(&name) {
        return None;
    }
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    let depth: usize = digits.parse().ok()?;
    let large = |block, blocks: [usize; 4]| (block, vec![64, 128, 256, 512], blocks.to_vec());
    let (block, widths, blocks) = match depth {
        18 => large(Block::Basic, [2, 2, 2, 2]),
        34 => large(Block::Basic, [3, 4, 6, 3]),
        50 => large(Block::Bottleneck, [3, 4, 6, 3]),
        101 => large(Block::Bottleneck, [3, 4, 23, 3]),
        152 => large(Block::Bottleneck, [3, 8, 36, 3]),
        _ => (Block::Basic, vec![16, 32, 64], vec![(depth - 2) / 6; 3]),
    };
    let small = widths.len() == 3;
    Some(Box::new(ResNet {
        stem: if name.ends_with("-imagenet") { Stem::ImageNet } else { Stem::Cifar },
        block,
        shortcut: if small && !name.ends_with("-b") { Shortcut::Pad } else { Shortcut::Project },
        stem_width: widths[0],
        widths,
        blocks,
        channels,
        classes,
        conv_head: false,
    }))
}
