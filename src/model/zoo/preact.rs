//! Residual networks whose blocks normalize first: wide ones (`wrn-28-10`) and PreAct-ResNet-18, under the names that RobustBench, TRADES and
//! their kin give to tensors.
//!
//! Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016; He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.

use super::{Architecture, Family, Remainder, Shapes, Unit, indices, parse_stages, place_of};
use crate::model::builder::{Builder, WeightError, WeightSource};
use crate::model::program::{ConvGeometry, Op, Program, ValueId};

pub(crate) const FAMILY: Family = Family { title: "WideResNet and PreAct-ResNet", names: NAMES, infer, named };

const NAMES: &str = "wrn-16-4 wrn-28-4 wrn-28-10 wrn-34-10 preact-resnet18 preact-resnet18-bn";

/// Widths of a wide network of factor 1, and of PreAct-ResNet-18.
const WIDE: [i64; 3] = [16, 32, 64];
const LARGE: [i64; 4] = [64, 128, 256, 512];

#[derive(Clone, Debug, PartialEq, Eq)]
struct PreAct {
    widths: Vec<i64>,
    blocks: Vec<usize>,
    stem_width: i64,
    /// Whether a batch norm and a ReLU come between the blocks and the head.
    final_norm: bool,
    channels: i64,
    classes: i64,
}

impl PreAct {
    /// Whether it has three stages, which are modules of their own.
    fn is_wide(&self) -> bool {
        self.widths.len() == WIDE.len()
    }

    fn path(&self, stage: usize, idx: usize) -> String {
        match self.is_wide() {
            true => format!("block{}.layer.{idx}", stage + 1),
            false => format!("layer{}.{idx}", stage + 1),
        }
    }

    fn inputs(&self, stage: usize, idx: usize) -> i64 {
        match (stage, idx) {
            (0, 0) => self.stem_width,
            (_, 0) => self.widths[stage - 1],
            _ => self.widths[stage],
        }
    }

    fn changes_shape(&self, stage: usize, idx: usize) -> bool {
        idx == 0 && (stage > 0 || self.inputs(stage, idx) != self.widths[stage])
    }

    fn block(&self, b: &mut Builder, x: ValueId, stage: usize, idx: usize) -> Result<ValueId, WeightError> {
        let (path, inputs, width) = (self.path(stage, idx), self.inputs(stage, idx), self.widths[stage]);
        let stride = if stage > 0 && idx == 0 { 2 } else { 1 };
        let normed = b.batch_norm(x, inputs, &format!("{path}.bn1"))?;
        let active = b.node(Op::Relu, &[normed], &format!("{path}.relu1"));
        let mut short = x;
        if self.changes_shape(stage, idx) {
            let name = if self.is_wide() { "convShortcut" } else { "downsample.0" };
            let geometry = ConvGeometry::square(stride, 0);
            short = b.conv(active, [width, inputs, 1, 1], geometry, false, &format!("{path}.{name}"))?;
        }
        let kernel = |inputs| [width, inputs, 3, 3];
        let geometry = ConvGeometry::square(stride, 1);
        let mut y = b.conv(active, kernel(inputs), geometry, false, &format!("{path}.conv1"))?;
        y = b.batch_norm(y, width, &format!("{path}.bn2"))?;
        y = b.node(Op::Relu, &[y], &format!("{path}.relu2"));
        y = b.conv(y, kernel(width), ConvGeometry::square(1, 1), false, &format!("{path}.conv2"))?;
        let output = b.node(Op::Add, &[y, short], &path);
        b.tap(output);
        Ok(output)
    }
}

impl Architecture for PreAct {
    fn name(&self) -> String {
        let blocks = format!("{:?}", self.blocks).replace(' ', "");
        if self.is_wide() {
            let factor = self.widths[0] / WIDE[0];
            return match self.blocks.iter().all(|count| *count == self.blocks[0]) {
                true => format!("wrn-{}-{factor}", 6 * self.blocks[0] + 4),
                false => format!("wrn{blocks}-{factor}"),
            };
        }
        let depth = if self.blocks == [2; 4] { "18".to_owned() } else { blocks };
        format!("preact-resnet{depth}{}", if self.final_norm { "-bn" } else { "" })
    }

    fn channels(&self) -> i64 {
        self.channels
    }

    fn classes(&self) -> i64 {
        self.classes
    }

    fn expected_size(&self) -> Option<i64> {
        (self.channels == 3).then_some(32)
    }

    fn build(&self, source: &mut dyn WeightSource) -> Result<Program, WeightError> {
        let (mut b, input) = Builder::new(source);
        let stem = [self.stem_width, self.channels, 3, 3];
        let mut x = b.conv(input, stem, ConvGeometry::square(1, 1), false, "conv1")?;
        b.tap(x);
        for (stage, idx) in place_of(&self.blocks) {
            x = self.block(&mut b, x, stage, idx)?;
        }
        let width = self.widths[self.widths.len() - 1];
        if self.final_norm {
            x = b.batch_norm(x, width, if self.is_wide() { "bn1" } else { "bn" })?;
            x = b.node(Op::Relu, &[x], "relu");
        }
        x = b.node(Op::AdaptiveAvgPool2d { output: [1, 1] }, &[x], "avgpool");
        x = b.node(Op::FLATTEN, &[x], "flatten");
        b.linear(x, width, self.classes, "fc")?;
        Ok(b.finish(self.channels, self.classes))
    }

    fn units(&self) -> Vec<Unit> {
        let unit =
            |(stage, idx)| Unit { path: self.path(stage, idx), stage, changes_shape: self.changes_shape(stage, idx) };
        place_of(&self.blocks).into_iter().map(unit).collect()
    }

    fn keeping(&self, kept: &[bool]) -> Remainder {
        let mut blocks = vec![0; self.blocks.len()];
        let mut origins = Vec::new();
        for ((stage, idx), _) in place_of(&self.blocks).into_iter().zip(kept).filter(|(_, kept)| **kept) {
            origins.push((self.path(stage, blocks[stage]), self.path(stage, idx)));
            blocks[stage] += 1;
        }
        Remainder { architecture: Box::new(Self { blocks, ..self.clone() }), origins }
    }
}

fn infer(shapes: &Shapes) -> Option<Box<dyn Architecture>> {
    let stem = shapes.get("conv1.weight").filter(|shape| shape.len() == 4 && shape[2] == 3)?;
    let classes = *shapes.get("fc.weight").filter(|shape| shape.len() == 2)?.first()?;
    let (wide, stages) = match (indices(shapes, "block"), indices(shapes, "layer")) {
        (blocks, layers) if blocks == [1, 2, 3] && layers.is_empty() => (true, 3),
        (blocks, layers) if layers == [1, 2, 3, 4] && blocks.is_empty() => (false, 4),
        _ => return None,
    };
    let (mut widths, mut blocks) = (Vec::new(), Vec::new());
    for stage in 1..=stages {
        let prefix = if wide { format!("block{stage}.layer.") } else { format!("layer{stage}.") };
        blocks.push(indices(shapes, &prefix).len());
        widths.push(*shapes.get(&format!("{prefix}0.conv1.weight"))?.first()?);
    }
    // Blocks that normalize last have a batch norm behind the stem, and as wide as the block.
    let normalizes_first = wide || {
        let second = shapes.get("layer2.0.bn1.weight")?;
        !shapes.contains_key("bn1.weight") && *second == [widths[0]] && !shapes.contains_key("layer1.0.conv3.weight")
    };
    let final_norm = wide || shapes.contains_key("bn.weight");
    let (stem_width, channels) = (stem[0], stem[1]);
    normalizes_first.then(|| {
        Box::new(PreAct { widths, blocks, stem_width, final_norm, channels, classes }) as Box<dyn Architecture>
    })
}

fn named(name: &str, channels: i64, classes: i64) -> Option<Box<dyn Architecture>> {
    let net = if let Some(rest) = name.strip_prefix("wrn") {
        let (depth, factor) = rest.rsplit_once('-')?;
        let factor: i64 = factor.parse().ok().filter(|factor| (1..=32).contains(factor))?;
        let blocks = match depth.strip_prefix('-') {
            Some(depth) => vec![depth.parse::<usize>().ok().filter(|depth| *depth <= 1000)?.checked_sub(4)? / 6; 3],
            None => parse_stages(depth)?,
        };
        let widths: Vec<i64> = WIDE.iter().map(|width| width * factor).collect();
        PreAct { widths, blocks, stem_width: WIDE[0], final_norm: true, channels, classes }
    } else {
        let rest = name.strip_prefix("preact-resnet")?;
        let (depth, final_norm) = rest.strip_suffix("-bn").map_or((rest, false), |depth| (depth, true));
        let blocks = if depth == "18" { vec![2; 4] } else { parse_stages(depth)? };
        PreAct { widths: LARGE.to_vec(), blocks, stem_width: LARGE[0], final_norm, channels, classes }
    };
    let is_whole = net.blocks.len() == net.widths.len() && net.blocks.iter().all(|&count| count > 0);
    // Another spelling, or a depth that does not exist.
    (is_whole && net.name() == name).then(|| Box::new(net) as Box<dyn Architecture>)
}
