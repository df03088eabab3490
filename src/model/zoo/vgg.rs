//! VGG networks with and without batch norm: torchvision's, pytorch-cifar's and the paper's layouts.
//!
//! Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015. All layouts number the modules of
//! `features` in sequence, so the gaps between the convolutions' numbers say where the pooling is.

use super::{Architecture, Family, Shapes, indices};
use crate::model::builder::{Builder, WeightError, WeightSource};
use crate::model::program::{ConvGeometry, Op, Program, Windows};

/// The table entry.
pub const FAMILY: Family = Family { title: "VGG", names: NAMES, infer, named };

const NAMES: &[&str] = &["vgg11", "vgg13", "vgg16", "vgg19", "vgg11-bn", "vgg13-bn", "vgg16-bn", "vgg19-bn"];

/// Convolutions per stage of VGG-11, 13, 16 and 19; each stage ends in pooling.
const STAGES: [(usize, [usize; 5]); 4] =
    [(11, [1, 1, 2, 2, 2]), (13, [2, 2, 2, 2, 2]), (16, [2, 2, 3, 3, 3]), (19, [2, 2, 4, 4, 4])];

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
}

impl Architecture for Vgg {
    fn name(&self) -> String {
        let suffix = if self.batch_norm { "-bn" } else { "" };
        let mut stages = vec![0];
        for step in &self.steps {
            match step {
                Step::Conv { .. } => *stages.last_mut().expect("never empty") += 1,
                Step::Pool => stages.push(0),
            }
        }
        stages.retain(|&convs| convs > 0);
        match STAGES.iter().find(|(_, convs)| convs[..] == stages[..]) {
            Some((depth, _)) => format!("vgg{depth}{suffix}"),
            None => format!("vgg{stages:?}{suffix}").replace(' ', ""),
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
    let (depth, batch_norm) = match name.strip_suffix("-bn") {
        Some(depth) => (depth, true),
        None => (name, false),
    };
    let depth: usize = depth.strip_prefix("vgg")?.parse().ok()?;
    let (_, stages) = STAGES.iter().find(|(it, _)| *it == depth)?;
    let mut steps = Vec::new();
    let mut index = 0;
    for (convs, outputs) in stages.iter().zip([64, 128, 256, 512, 512]) {
        for _ in 0..*convs {
            steps.push(Step::Conv { index, outputs, bias: true });
            index += if batch_norm { 3 } else { 2 };
        }
        steps.push(Step::Pool);
        index += 1;
    }
    // The paper's CIFAR head: dropout, 512, ReLU, dropout, 512, ReLU, classes.
    let layer = |path: &str, outputs| Layer { path: path.to_owned(), outputs };
    let classifier = vec![layer("classifier.1", 512), layer("classifier.4", 512), layer("classifier.6", classes)];
    Some(Box::new(Vgg { steps, batch_norm, pooled: 1, classifier, channels }))
}
