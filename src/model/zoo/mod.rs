//! Built-in architectures: given weights alone, which network are they, and what does it compute?

pub mod resnet;
pub mod vgg;

use std::collections::BTreeMap;
use std::fmt;

use super::builder::{WeightError, WeightSource};
use super::program::Program;

/// A network whose every size is known. It builds a program from any [`WeightSource`].
pub trait Architecture: fmt::Debug + Send + Sync {
    /// Its name as `--arch` takes it where one exists (`resnet20`), else a description (`resnet [2,3,6]`).
    fn name(&self) -> String;

    /// Channels of the pixels.
    fn channels(&self) -> i64;

    /// Number of logits.
    fn classes(&self) -> i64;

    /// The one image size that this network is meant for, where its stem tells: height and width.
    fn expected_size(&self) -> Option<i64>;

    /// The program, in the domain of normalized pixels.
    fn build(&self, source: &mut dyn WeightSource) -> Result<Program, WeightError>;
}

/// A family of architectures.
pub struct Family {
    /// What it is, for messages.
    pub title: &'static str,
    /// The names that `--arch` takes.
    pub names: &'static [&'static str],
    /// The network that weights of these names and shapes belong to, if they look like this family's.
    pub infer: fn(&Shapes) -> Option<Box<dyn Architecture>>,
    /// The network of a name, for a number of channels and classes.
    pub named: fn(&str, channels: i64, classes: i64) -> Option<Box<dyn Architecture>>,
}

/// All families. A new one is a file and a line here.
pub static FAMILIES: &[Family] = &[resnet::FAMILY, vgg::FAMILY];

/// Names (in torchvision's style) and shapes of a file's tensors.
pub type Shapes = BTreeMap<String, Vec<i64>>;

/// The architecture that the weights belong to.
pub fn infer(shapes: &Shapes) -> Option<Box<dyn Architecture>> {
    FAMILIES.iter().find_map(|family| (family.infer)(shapes))
}

/// The architecture of this name.
pub fn named(name: &str, channels: i64, classes: i64) -> Option<Box<dyn Architecture>> {
    FAMILIES.iter().find_map(|family| (family.named)(name, channels, classes))
}

/// Every name that [`named`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.names.iter().copied())
}

/// The name that torchvision would give a tensor which another code base named differently.
///
/// Known: pytorch-cifar (`shortcut.`, `linear.`), the paper's ResNets (`conv1.0`, `conv2_x.0.residual_function.3`), timm (`head.fc.`).
pub fn canonical_name(name: &str) -> String {
    let mut name = name.to_owned();
    for (from, to) in [("linear.", "fc."), ("head.fc.", "fc."), ("stem.conv.", "conv1."), ("stem.bn.", "bn1.")] {
        if let Some(rest) = name.strip_prefix(from) {
            name = format!("{to}{rest}");
        }
    }
    for (from, to) in [
        (".shortcut.", ".downsample."),
        (".residual_function.0.", ".conv1."),
        (".residual_function.1.", ".bn1."),
        (".residual_function.3.", ".conv2."),
        (".residual_function.4.", ".bn2."),
        (".residual_function.6.", ".conv3."),
        (".residual_function.7.", ".bn3."),
    ] {
        name = name.replace(from, to);
    }
    for (from, to) in [
        ("conv2_x.", "layer1."),
        ("conv3_x.", "layer2."),
        ("conv4_x.", "layer3."),
        ("conv5_x.", "layer4."),
        ("conv1.0.", "conv1."),
        ("conv1.1.", "bn1."),
    ] {
        if let Some(rest) = name.strip_prefix(from) {
            name = format!("{to}{rest}");
        }
    }
    name
}

/// The first `.`-separated number after `prefix`, over all names: which blocks or layers exist.
fn indices(shapes: &Shapes, prefix: &str) -> Vec<usize> {
    let numbers = shapes.keys().filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse().ok());
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_code_bases_are_understood() {
        for (theirs, ours) in [
            ("layer1.0.shortcut.0.weight", "layer1.0.downsample.0.weight"),
            ("linear.bias", "fc.bias"),
            ("conv1.0.weight", "conv1.weight"),
            ("conv1.1.running_var", "bn1.running_var"),
            ("conv3_x.1.residual_function.4.bias", "layer2.1.bn2.bias"),
            ("conv3_x.0.shortcut.1.bias", "layer2.0.downsample.1.bias"),
            ("layer3.0.conv1.weight", "layer3.0.conv1.weight"),
        ] {
            assert_eq!(canonical_name(theirs), ours);
        }
    }

    #[test]
    fn every_advertised_name_builds_under_that_name() {
        for name in names() {
            let architecture = named(name, 3, 10).expect(name);
            assert_eq!(architecture.name(), name);
        }
        assert!(named("resnet21", 3, 10).is_none());
    }
}
