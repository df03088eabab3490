//! Built-in architectures: given weights alone, which network are they, and what does it compute?

pub(crate) mod preact;
pub(crate) mod resnet;
pub(crate) mod vgg;

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

    fn classes(&self) -> i64;

    /// The one image size that this network is meant for, where its stem tells: height and width.
    fn expected_size(&self) -> Option<i64>;

    /// The program, in the domain of normalized pixels.
    fn build(&self, source: &mut dyn WeightSource) -> Result<Program, WeightError>;

    /// What pruning may take out, in forward order.
    fn units(&self) -> Vec<Unit>;

    /// Whether any unit of a stage can become its first: a convolution is then made anew for its new input.
    fn remakes_units(&self) -> bool {
        false
    }

    /// The network that is left of these units, one flag for each; at least one of each stage must stay, and so
    /// must those that change the shape, unless units are remade.
    fn keeping(&self, kept: &[bool]) -> Remainder;
}

/// What pruning takes out as a whole: a residual block, or a convolution with its batch norm and ReLU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Of its module, and of its default tap.
    pub path: String,
    /// Units of one stage have one resolution; counted from 0.
    pub stage: usize,
    /// Whether its output has another shape than its input.
    pub changes_shape: bool,
}

/// A network without some of its units.
#[derive(Debug)]
pub struct Remainder {
    /// Numbered as a new network of its kind.
    pub architecture: Box<dyn Architecture>,
    /// Modules whose number is another now, or may be: path in the remainder, path in the whole.
    pub origins: Vec<(String, String)>,
}

pub(crate) struct Family {
    pub title: &'static str,
    /// The names that `--arch` takes, with spaces between them.
    pub names: &'static str,
    /// The network that weights of these names and shapes belong to, if they look like this family's.
    pub infer: fn(&Shapes) -> Option<Box<dyn Architecture>>,
    /// The network of a name, for a number of channels and classes.
    pub named: fn(&str, channels: i64, classes: i64) -> Option<Box<dyn Architecture>>,
}

/// All families. A new one is a file and a line here.
pub(crate) static FAMILIES: &[Family] = &[preact::FAMILY, resnet::FAMILY, vgg::FAMILY];

/// Names (in torchvision's style) and shapes of a file's tensors.
pub(crate) type Shapes = BTreeMap<String, Vec<i64>>;

/// The architecture that the weights belong to.
pub(crate) fn infer(shapes: &Shapes) -> Option<Box<dyn Architecture>> {
    FAMILIES.iter().find_map(|family| (family.infer)(shapes))
}

pub fn named(name: &str, channels: i64, classes: i64) -> Option<Box<dyn Architecture>> {
    FAMILIES.iter().find_map(|family| (family.named)(name, channels, classes))
}

/// Every name that [`named`] knows as such; sizes in brackets and divided widths come on top.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.names.split_whitespace())
}

/// What `--arch` takes, for messages.
pub(crate) fn known() -> String {
    let names: Vec<&str> = names().collect();
    format!(
        "{}; 'resnet[2,3,6]' or 'vgg[1,1,2,4]-bn' for other numbers of blocks or convolutions per stage; /2, /4 or /8 behind any of them \
         divides the widths",
        names.join(", ")
    )
}

/// What `/2`, `/4` and `/8` behind a name may divide the widths by.
const DIVISORS: [i64; 4] = [1, 2, 4, 8];

/// A name without its `/4`, and the 4.
fn split_divisor(name: &str) -> Option<(&str, i64)> {
    let Some((name, divisor)) = name.rsplit_once('/') else { return Some((name, 1)) };
    let divisor = divisor.parse().ok()?;
    (divisor != 1 && DIVISORS.contains(&divisor)).then_some((name, divisor))
}

/// What the `full` widths were divided by to give these.
fn divisor_of(widths: &[i64], full: &[i64]) -> Option<i64> {
    DIVISORS.into_iter().find(|divisor| widths.iter().map(|width| width * divisor).eq(full.iter().copied()))
}

/// The end of a name that says so.
fn divisor_suffix(divisor: i64) -> String {
    if divisor == 1 { String::new() } else { format!("/{divisor}") }
}

/// The largest number of units that a name may ask for in one stage.
const MOST_UNITS: usize = 200;

/// Reads `[2,3,6]`: units per stage.
fn parse_stages(text: &str) -> Option<Vec<usize>> {
    let list = text.strip_prefix('[')?.strip_suffix(']')?;
    list.split(',').map(|n| n.parse().ok().filter(|n| (1..=MOST_UNITS).contains(n))).collect()
}

/// Where one of units in stages of these sizes is: its stage and its number there.
fn place_of(stages: &[usize]) -> Vec<(usize, usize)> {
    stages.iter().enumerate().flat_map(|(stage, &n)| (0..n).map(move |idx| (stage, idx))).collect()
}

/// The name that torchvision would give a tensor which another code base named differently.
///
/// Known: pytorch-cifar (`shortcut.`, `linear.`), the paper's ResNets (`conv1.0`, `conv2_x.0.residual_function.3`), timm (`head.fc.`), Hugging
/// Face's ResNets (`resnet.encoder.stages.0.layers.1.layer.0.convolution`); what wrappers of single modules put in between goes.
pub(crate) fn canonical_name(name: &str) -> String {
    let mut name = name.to_owned();
    for wrapper in ["_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."] {
        name = name.replace(wrapper, "");
    }
    if let Some(known) = hugging_face_name(&name) {
        return known;
    }
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

/// Of Hugging Face's ResNets, whose names say what a layer is and not which.
fn hugging_face_name(name: &str) -> Option<String> {
    let rest = name.strip_prefix("resnet.")?;
    if let Some(rest) = rest.strip_prefix("embedder.embedder.") {
        return rest
            .strip_prefix("convolution.")
            .map(|rest| format!("conv1.{rest}"))
            .or_else(|| Some(format!("bn1.{}", rest.strip_prefix("normalization.")?)));
    }
    let (stage, rest) = rest.strip_prefix("encoder.stages.")?.split_once(".layers.")?;
    let (block, rest) = rest.split_once('.')?;
    let stage = stage.parse::<u8>().ok()?.checked_add(1)?;
    // `layer.0.convolution.weight`, `shortcut.normalization.bias`.
    let (number, rest) = if let Some(rest) = rest.strip_prefix("shortcut.") {
        (None, rest)
    } else {
        let (layer, rest) = rest.strip_prefix("layer.")?.split_once('.')?;
        (Some(layer.parse::<u8>().ok()?.checked_add(1)?), rest)
    };
    let (kind, end) = rest.split_once('.')?;
    let what = match (number, kind) {
        (None, "convolution") => "downsample.0".to_owned(),
        (None, _) => "downsample.1".to_owned(),
        (Some(number), "convolution") => format!("conv{number}"),
        (Some(number), _) => format!("bn{number}"),
    };
    Some(format!("layer{stage}.{block}.{what}.{end}"))
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
        for name in [
            "resnet[1,2,3]-b/2",
            "resnet[1,2,3,4]-bottleneck-imagenet",
            "cresnet152_11/8",
            "vgg[1,1,2,4]-bn/4",
            "vgg19_6",
        ] {
            assert_eq!(named(name, 1, 10).expect(name).name(), name);
        }
        for name in [
            "resnet21",
            "resnet020",
            "resnet18-b",
            "resnet20/3",
            "resnet20/1",
            "resnet152_4",
            "resnet[2,3]",
            "resnet[0,1,1]",
            "resnet[3,3,3]",
            "resnet[1,1,999999999]",
            "vgg[1,1]-bn/16",
            "vgg[]",
            "vgg[1,1,1,1,1,1]",
            "vgg19_7",
            "cvgg11",
        ] {
            assert!(named(name, 3, 10).is_none(), "{name}");
        }
    }
}
