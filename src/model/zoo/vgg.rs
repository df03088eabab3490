//! VGG networks with and without batch norm: torchvision's, pytorch-cifar's and the paper's layouts.
//!
//! Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015. All layouts number the modules of
//! `features` in sequence, so the gaps between the convolutions' numbers say where the pooling is.
//!
//! `vgg19_1` to `vgg19_6` and `vgg11_1` to `vgg11_3` are the networks that Lu et al., ECCV 2022, got by taking out so many convolutions from the
//! back; `vgg[1,1,4,3,1]-bn` is what they left of VGG-19 by its modularity curve.

use super::{
    Architecture, Family, Remainder, Shapes, Unit, divisor_of, divisor_suffix, indices, parse_stages, split_divisor,
};
use crate::model::builder::{Builder, WeightError, WeightSource};
use crate::model::program::{ConvGeometry, Op, Program, Windows};

pub(crate) const FAMILY: Family = Family { title: "VGG", names: NAMES, infer, named };

const NAMES: &str = "vgg11 vgg13 vgg16 vgg19 vgg11-bn vgg13-bn vgg16-bn vgg19-bn vgg11_1-bn vgg11_2-bn vgg11_3-bn \
     vgg19_1-bn vgg19_2-bn vgg19_3-bn vgg19_4-bn vgg19_5-bn vgg19_6-bn vgg[1,1,4,3,1]-bn";

/// What stands behind `vgg`, and convolutions per stage; each stage ends in pooling.
const DEPTHS: [(&str, [usize; 5]); 13] = [
    ("11", [1, 1, 2, 2, 2]),
    ("13", [2, 2, 2, 2, 2]),
    ("16", [2, 2, 3, 3, 3]),
    ("19", [2, 2, 4, 4, 4]),
    ("11_1", [1, 1, 2, 2, 1]),
    ("11_2", [1, 1, 2, 1, 1]),
    ("11_3", [1, 1, 1, 1, 1]),
    ("19_1", [2, 2, 4, 4, 3]),
    ("19_2", [2, 2, 4, 4, 2]),
    ("19_3", [2, 2, 4, 4, 1]),
    ("19_4", [2, 2, 4, 3, 1]),
    ("19_5", [2, 2, 4, 2, 1]),
    ("19_6", [2, 2, 4, 1, 1]),
];

const WIDTHS: [i64; 5] = [64, 128, 256, 512, 512];

/// One step of `features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Conv { index: usize, outputs: i64, bias: bool },
    Pool,
}

/// One linear layer of `classifier`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layer {
    path: String,
    outputs: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Vgg {
    steps: Vec<Step>,
    batch_norm: bool,
    /// Side of the feature map that the classifier reads.
    pooled: i64,
    classifier: Vec<Layer>,
    channels: i64,
}

impl Vgg {
    fn convs(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Conv { .. })).count()
    }

    /// Widths of the convolutions of each stage that has any.
    fn stages(&self) -> Vec<Vec<i64>> {
        let stages = self.steps.split(|step| *step == Step::Pool);
        let width = |step: &Step| match step {
            Step::Conv { outputs, .. } => Some(*outputs),
            Step::Pool => None,
        };
        stages.map(|steps| steps.iter().filter_map(width).collect()).filter(|it: &Vec<i64>| !it.is_empty()).collect()
    }

    /// Modules of a unit: convolution, batch norm, ReLU.
    fn modules(&self) -> usize {
        if self.batch_norm { 3 } else { 2 }
    }
}

/// Numbers of convolutions and pooling in sequence: widths and biases of each stage.
fn sequence(stages: &[Vec<(i64, bool)>], modules: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut index = 0;
    for stage in stages {
        for &(outputs, bias) in stage {
            steps.push(Step::Conv { index, outputs, bias });
            index += modules;
        }
        steps.push(Step::Pool);
        index += 1;
    }
    steps
}

impl Architecture for Vgg {
    fn name(&self) -> String {
        let suffix = if self.batch_norm { "-bn" } else { "" };
        let stages = self.stages();
        let convs: Vec<usize> = stages.iter().map(Vec::len).collect();
        let widths: Vec<i64> = stages.concat();
        let full: Vec<i64> = stages.iter().zip(WIDTHS).flat_map(|(stage, width)| vec![width; stage.len()]).collect();
        let width = divisor_suffix(divisor_of(&widths, &full).unwrap_or(1));
        match DEPTHS.iter().find(|(_, listed)| listed[..] == convs[..]) {
            Some((depth, _)) => format!("vgg{depth}{suffix}{width}"),
            None => format!("vgg{convs:?}{suffix}{width}").replace(' ', ""),
        }
    }

    fn channels(&self) -> i64 {
        self.channels
    }

    fn classes(&self) -> i64 {
        self.classifier.last().map_or(0, |layer| layer.outputs)
    }

    fn expected_size(&self) -> Option<i64> {
        // Five halvings of 32 leave the single pixel that the CIFAR layouts classify.
        let pools = self.steps.iter().filter(|step| **step == Step::Pool).count();
        (self.channels == 3 && self.pooled == 1 && pools == 5).then_some(32)
    }

    fn build(&self, source: &mut dyn WeightSource) -> Result<Program, WeightError> {
        let (mut b, mut x) = Builder::new(source);
        let mut width = self.channels;
        let mut index = 0;
        for step in &self.steps {
            match *step {
                Step::Conv { index: at, outputs, bias } => {
                    index = at;
                    let path = |offset: usize| format!("features.{}", at + offset);
                    let raw = b.conv(x, [outputs, width, 3, 3], ConvGeometry::square(1, 1), bias, &path(0))?;
                    x = if self.batch_norm { b.batch_norm(raw, outputs, &path(1))? } else { raw };
                    index += if self.batch_norm { 2 } else { 1 };
                    x = b.node(Op::Relu, &[x], &format!("features.{index}"));
                    b.tap_unit(raw, x);
                    width = outputs;
                }
                Step::Pool => {
                    index += 1;
                    let op = Op::MaxPool2d { windows: Windows::square(2, 2, 0), dilation: [1; 2] };
                    x = b.node(op, &[x], &format!("features.{index}"));
                }
            }
        }
        x = b.node(Op::AdaptiveAvgPool2d { output: [self.pooled; 2] }, &[x], "avgpool");
        x = b.node(Op::FLATTEN, &[x], "flatten");
        let mut inputs = width * self.pooled * self.pooled;
        for (idx, layer) in self.classifier.iter().enumerate() {
            if idx > 0 {
                x = b.node(Op::Relu, &[x], &format!("{}.relu", self.classifier[idx - 1].path));
                x = b.node(Op::Dropout { p: 0.5 }, &[x], &format!("{}.dropout", self.classifier[idx - 1].path));
            }
            x = b.linear(x, inputs, layer.outputs, &layer.path)?;
            inputs = layer.outputs;
        }
        Ok(b.finish(self.channels, self.classes()))
    }

    fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        let (mut stage, mut width) = (0, self.channels);
        for step in &self.steps {
            match *step {
                Step::Conv { index, outputs, .. } => {
                    units.push(Unit { path: format!("features.{index}"), stage, changes_shape: outputs != width });
                    width = outputs;
                }
                Step::Pool => stage += 1,
            }
        }
        units
    }

    fn remakes_units(&self) -> bool {
        true
    }

    fn keeping(&self, kept: &[bool]) -> Remainder {
        let mut kept = kept.iter();
        let mut stages = vec![Vec::new()];
        let mut old = Vec::new();
        for step in &self.steps {
            match *step {
                Step::Conv { index, outputs, bias } if kept.next().is_some_and(|kept| *kept) => {
                    stages.last_mut().expect("never empty").push((outputs, bias));
                    old.push(index);
                }
                Step::Conv { .. } => {}
                Step::Pool => stages.push(Vec::new()),
            }
        }
        // Behind the last pooling there is no stage.
        stages.pop_if(|stage| stage.is_empty());
        let steps = sequence(&stages, self.modules());
        let new = steps.iter().filter_map(|step| match step {
            Step::Conv { index, .. } => Some(*index),
            Step::Pool => None,
        });
        let path = |index: usize| format!("features.{index}");
        let origins = new.zip(old).flat_map(|(new, old)| [(path(new), path(old)), (path(new + 1), path(old + 1))]);
        Remainder { origins: origins.collect(), architecture: Box::new(Self { steps, ..self.clone() }) }
    }
}

fn infer(shapes: &Shapes) -> Option<Box<dyn Architecture>> {
    let weight_rank = |idx: usize, rank| shapes.get(&format!("features.{idx}.weight")).is_some_and(|s| s.len() == rank);
    let convs: Vec<usize> = indices(shapes, "features.").into_iter().filter(|&idx| weight_rank(idx, 4)).collect();
    let batch_norm = shapes.contains_key(&format!("features.{}.running_mean", convs.first()? + 1));
    // A unit takes two or three numbers; a larger gap holds the pooling.
    let unit = if batch_norm { 3 } else { 2 };
    let mut steps = Vec::new();
    for (n, &index) in convs.iter().enumerate() {
        let outputs = shapes[&format!("features.{index}.weight")][0];
        steps.push(Step::Conv { index, outputs, bias: shapes.contains_key(&format!("features.{index}.bias")) });
        if convs.get(n + 1).is_none_or(|next| next - index > unit) {
            steps.push(Step::Pool);
        }
    }
    let heads: Vec<usize> = indices(shapes, "classifier.");
    let single = shapes.contains_key("classifier.weight").then(|| "classifier".to_owned());
    let fc = shapes.contains_key("fc.weight").then(|| "fc".to_owned());
    let paths = single.into_iter().chain(fc).chain(heads.into_iter().map(|idx| format!("classifier.{idx}")));
    let shape_of = |path: &str| shapes.get(&format!("{path}.weight")).filter(|shape| shape.len() == 2);
    let classifier: Vec<Layer> =
        paths.filter_map(|path| Some(Layer { outputs: shape_of(&path)?[0], path: path.clone() })).collect();
    let inputs = shape_of(&classifier.first()?.path)?[1];
    let width = shapes[&format!("features.{}.weight", convs.last()?)][0];
    if width < 1 || inputs < 1 {
        return None;
    }
    let pooled = (inputs / width).isqrt();
    let channels = *shapes[&format!("features.{}.weight", convs[0])].get(1)?;
    let vgg = Vgg { steps, batch_norm, pooled, classifier, channels };
    (vgg.convs() > 0 && pooled * pooled * width == inputs).then(|| Box::new(vgg) as Box<dyn Architecture>)
}

fn named(name: &str, channels: i64, classes: i64) -> Option<Box<dyn Architecture>> {
    let (rest, divisor) = split_divisor(name)?;
    let (rest, batch_norm) = match rest.strip_suffix("-bn") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let depth = rest.strip_prefix("vgg")?;
    let convs = match DEPTHS.iter().find(|(it, _)| *it == depth) {
        Some((_, convs)) => convs.to_vec(),
        None => parse_stages(depth).filter(|convs| convs.len() <= WIDTHS.len())?,
    };
    let stage = |(&n, width): (&usize, i64)| vec![(width / divisor, true); n];
    let stages: Vec<Vec<(i64, bool)>> = convs.iter().zip(WIDTHS).map(stage).collect();
    let steps = sequence(&stages, if batch_norm { 3 } else { 2 });
    // The paper's CIFAR head: dropout, 512, ReLU, dropout, 512, ReLU, classes.
    let layer = |path: &str, outputs| Layer { path: path.to_owned(), outputs };
    let hidden = 512 / divisor;
    let classifier = vec![layer("classifier.1", hidden), layer("classifier.4", hidden), layer("classifier.6", classes)];
    let net = Vgg { steps, batch_norm, pooled: 1, classifier, channels };
    // Another spelling.
    (net.name() == name).then(|| Box::new(net) as Box<dyn Architecture>)
}
