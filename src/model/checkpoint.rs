//! Which of a file's tensors are the network: training frameworks put names in front of it, and other things beside it.

use std::collections::BTreeSet;

use tch::{Kind, Tensor};

use super::builder::{Init, WeightError, WeightSource};
use super::format::{RawTensor, WeightFile};
use super::normalize::Normalization;
use super::weights::FileWeights;
use super::zoo;
use crate::text::names;

/// The network in a file, and what was found around it.
pub(crate) struct Found<'a> {
    pub weights: FileWeights<'a>,
    /// Of buffers beside the network that hold mean and standard deviation.
    pub normalization: Option<Normalization>,
    /// What was done, for people; nothing where the file is the network.
    pub note: Option<String>,
}

/// Names of buffers that hold a mean, and of those beside them that hold the standard deviation.
const NORMALIZERS: [(&str, &str); 5] =
    [("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std"), ("_mean", "_std"), ("mean", "sigma")];
/// What counts something, and no function reads.
const COUNTERS: [&str; 2] = ["num_batches_tracked", "n_averaged"];
/// Second copies of blocks that some wide networks are saved with, and that no forward pass runs (TRADES).
const COPIES: &str = "sub_block1.";
/// Prefixes that are tried.
const MOST_PREFIXES: usize = 64;

/// Finds the one network that a built-in architecture fits whole.
///
/// # Errors
/// Two tensors of one name, or several networks, by name.
pub(crate) fn network(file: &WeightFile) -> Result<Found<'_>, String> {
    let plain = || FileWeights::new(tensors(file)).map(|weights| Found { weights, normalization: None, note: None });
    let fitting: Vec<(String, Vec<&str>)> =
        prefixes(file).into_iter().filter_map(|prefix| Some((prefix.clone(), unused(file, &prefix)?))).collect();
    let Some((prefix, unused)) = fitting.first() else { return plain() };
    if let Some((other, _)) = fitting.iter().skip(1).find(|(other, _)| !are_equal(file, prefix, other)) {
        let shown = |prefix: &str| if prefix.is_empty() { "no prefix".to_owned() } else { names::shown(prefix) };
        return Err(format!(
            "two networks are in it, under {} and {}; save the tensors of one alone",
            shown(prefix),
            shown(other)
        ));
    }
    // Other copies of the network are left aside with all that lies beside them.
    let copies: Vec<&str> =
        fitting.iter().skip(1).map(|(copy, _)| copy.as_str()).filter(|copy| !copy.is_empty()).collect();
    let outside = file.tensors.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with(prefix.as_str()));
    let beside: Vec<&str> = outside
        .chain(unused.iter().copied())
        .filter(|name| !copies.iter().any(|copy| name.starts_with(copy)))
        .collect();
    let stem = file.tensors.iter().find(|(name, _)| name.starts_with(prefix.as_str()));
    if beside.is_empty() && prefix.is_empty() || stem.is_none() {
        return plain();
    }
    let inside =
        file.tensors.iter().filter(|(name, _)| name.starts_with(prefix.as_str()) && !beside.contains(&name.as_str()));
    let weights = FileWeights::new(inside.map(|(name, tensor)| (&name[prefix.len()..], name.as_str(), tensor)))?;
    let channels = zoo::infer(&weights.shapes()).map_or(0, |it| it.channels());
    let normalization = normalization(file, &beside, channels);
    let is_normalizer = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or_default();
        normalization.is_some() && NORMALIZERS.iter().any(|(mean, std)| last == *mean || last == *std)
    };
    let left: Vec<&str> = beside.into_iter().filter(|name| !is_counter(name) && !is_normalizer(name)).collect();
    // A matrix, or something per channel, may belong to a function in front of the network or behind it.
    let matters = |name: &&&str| {
        let tensor = tensor(file, name);
        let size: usize = tensor.shape.iter().product();
        tensor.shape.len() > 1 || size as i64 == channels
    };
    if left.iter().any(|name| matters(&name)) {
        return plain();
    }
    let mut notes = Vec::new();
    if !prefix.is_empty() {
        notes.push(format!("the network under `{}`", names::shown(prefix)));
    }
    if prefix.trim_end_matches('.').parse::<u32>().is_ok_and(|place| place > 0) && normalization.is_none() {
        notes.push("what runs before it has no tensors: if it normalizes, give --normalize".to_owned());
    }
    if let Some((mean, _)) = &normalization {
        notes.push(format!("normalization from its buffer `{}`", names::shown(mean)));
    }
    if let Some(first) = left.first() {
        notes.push(format!("{} tensor(s) beside it left out, such as `{}`", left.len(), names::shown(first)));
    }
    Ok(Found {
        weights,
        normalization: normalization.map(|it| it.1),
        note: (!notes.is_empty()).then(|| notes.join(", ")),
    })
}

fn tensors(file: &WeightFile) -> impl Iterator<Item = (&str, &str, &RawTensor)> {
    file.tensors.iter().map(|(name, tensor)| (name.as_str(), name.as_str(), tensor))
}

fn tensor<'a>(file: &'a WeightFile, name: &str) -> &'a RawTensor {
    let found = file.tensors.iter().find(|(it, _)| it == name);
    &found.expect("a name of the file").1
}

fn is_counter(name: &str) -> bool {
    COUNTERS.iter().any(|counter| name.ends_with(counter)) || name.contains(COPIES)
}

/// What stands in front of names, the shortest first: nothing, and everything up to a point.
fn prefixes(file: &WeightFile) -> Vec<String> {
    let mut all = BTreeSet::from([String::new()]);
    for (name, _) in &file.tensors {
        // A network begins with its first convolution.
        for stem in ["conv1.", "features.", "stem."] {
            for (at, _) in name.match_indices(stem).filter(|(at, _)| *at > 0 && name[..*at].ends_with('.')) {
                all.insert(name[..at].to_owned());
            }
        }
        if all.len() > MOST_PREFIXES {
            break;
        }
    }
    let mut all: Vec<String> = all.into_iter().collect();
    all.sort_by_key(String::len);
    all
}

/// The tensors under a prefix that the architecture which fits the others has no place for, if one does.
fn unused<'a>(file: &'a WeightFile, prefix: &str) -> Option<Vec<&'a str>> {
    let under = |(name, tensor): &'a (String, RawTensor)| Some((name.strip_prefix(prefix)?, name.as_str(), tensor));
    let mut given: Vec<(&str, &str, &RawTensor)> = file.tensors.iter().filter_map(under).collect();
    // Two tensors that have one name here are two heads, which the caller tells of; but for copies under another prefix.
    let weights = FileWeights::new(given.drain(..)).ok()?;
    let architecture = zoo::infer(&weights.shapes())?;
    let mut fit = Fit { weights, used: BTreeSet::new() };
    architecture.build(&mut fit).ok()?;
    Some(fit.weights.without(&fit.used))
}

/// Asks for weights without reading them.
struct Fit<'a> {
    weights: FileWeights<'a>,
    used: BTreeSet<String>,
}

impl WeightSource for Fit<'_> {
    fn weight(&mut self, name: &str, shape: &[i64], _: Init, _: bool) -> Result<Tensor, WeightError> {
        self.weights.check(name, shape)?;
        self.used.insert(name.to_owned());
        Ok(Tensor::zeros([0], (Kind::Float, tch::Device::Cpu)))
    }
}

/// Whether the tensors under two prefixes are the same.
fn are_equal(file: &WeightFile, first: &str, second: &str) -> bool {
    let under = |prefix: &str| -> Vec<(&str, &RawTensor)> {
        file.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor))).collect()
    };
    let of_first = under(first);
    let is_there = |(name, tensor): &(&str, &RawTensor)| {
        of_first.iter().any(|(other, same)| other == name && same.bytes == tensor.bytes)
    };
    under(second).iter().all(is_there)
}

/// Mean and standard deviation among these tensors, the one with the shortest name: that name, and the normalization.
fn normalization(file: &WeightFile, names: &[&str], channels: i64) -> Option<(String, Normalization)> {
    let values = |name: &str| -> Option<Vec<f64>> {
        let tensor = tensor(file, name);
        let size: usize = tensor.shape.iter().product();
        let fits = size as i64 == channels && tensor.shape.iter().filter(|size| **size > 1).count() <= 1;
        fits.then(|| tensor.to_f32().into_iter().map(f64::from).collect())
    };
    let mut found: Vec<(String, Vec<f64>, Vec<f64>)> = Vec::new();
    for name in names {
        for (mean, std) in NORMALIZERS {
            let Some(rest) = name.strip_suffix(mean).filter(|rest| rest.is_empty() || rest.ends_with('.')) else {
                continue;
            };
            let beside = format!("{rest}{std}");
            if names.contains(&beside.as_str())
                && let (Some(means), Some(stds)) = (values(name), values(&beside))
                && means.iter().all(|mean| mean.is_finite())
                && stds.iter().all(|std| std.is_finite() && *std > 0.0)
            {
                found.push(((*name).to_owned(), means, stds));
            }
        }
    }
    let (name, mean, std) = found.into_iter().min_by_key(|(name, ..)| name.len())?;
    Some((name, Normalization { name: "in the model file".to_owned(), mean, std }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::format::{Dtype, WeightFormat};
    use crate::model::weights::FreshWeights;

    /// A built-in network's tensors under other names.
    fn renamed(architecture: &str, seed: u64, name: impl Fn(&str) -> String) -> Vec<(String, RawTensor)> {
        let program = zoo::named(architecture, 3, 10).unwrap().build(&mut FreshWeights::new(seed)).unwrap();
        let raw = |tensor: &Tensor| {
            let values: Vec<f32> = tensor.flatten(0, -1).try_into().unwrap();
            let shape = tensor.size().into_iter().map(|size| size as usize).collect();
            RawTensor { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
        };
        program.weights.iter().map(|weight| (name(&weight.name), raw(&weight.tensor.detach()))).collect()
    }

    fn small(name: &str, shape: &[usize], values: &[f32]) -> (String, RawTensor) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (name.to_owned(), RawTensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes })
    }

    fn file(tensors: Vec<(String, RawTensor)>) -> WeightFile {
        WeightFile {
            format: WeightFormat::TorchZip,
            tensors,
            metadata: std::collections::BTreeMap::default(),
            sha256: String::new(),
        }
    }

    /// What is said, after checking that every weight of the network is there.
    fn found(tensors: Vec<(String, RawTensor)>) -> (Option<String>, Option<Normalization>) {
        let file = file(tensors);
        let Found { mut weights, normalization, note } = network(&file).unwrap();
        let architecture = zoo::infer(&weights.shapes()).unwrap();
        architecture.build(&mut weights).unwrap();
        assert_eq!(weights.unused(), [""; 0]);
        (note, normalization)
    }

    #[test]
    fn names_in_front_of_the_network_go_and_are_told() {
        for prefix in ["model.", "net.", "backbone.", "encoder.", "module.model.", "1.", "a.b.c."] {
            let (note, normalization) = found(renamed("resnet8", 0, |name| format!("{prefix}{name}")));
            assert!(note.unwrap().starts_with(&format!("the network under `{prefix}`")));
            assert_eq!(normalization, None);
        }
        assert_eq!(found(renamed("resnet8", 0, str::to_owned)), (None, None));
        let wrapped =
            |name: &str| format!("_fsdp_wrapped_module.{}", name.replace("conv1.", "_fsdp_wrapped_module.conv1."));
        assert_eq!(found(renamed("resnet8", 0, wrapped)), (None, None));
        assert_eq!(found(renamed("vgg11-bn", 0, |name| format!("net.{name}"))).0.unwrap(), "the network under `net.`");
    }

    #[test]
    fn buffers_of_a_normalization_beside_the_network_become_the_models() {
        for (mean, std, prefix) in
            [("0.mean", "0.std", "1."), ("mu", "sigma", ""), ("normalizer.new_mean", "normalizer.new_std", "model.")]
        {
            let mut tensors = renamed("resnet8", 0, |name| format!("{prefix}{name}"));
            tensors.push(small(mean, &[1, 3, 1, 1], &[0.1, 0.2, 0.3]));
            tensors.push(small(std, &[3], &[0.5, 0.5, 0.25]));
            let (note, normalization) = found(tensors);
            assert!(note.unwrap().contains(&format!("normalization from its buffer `{mean}`")));
            assert!((normalization.unwrap().std[2] - 0.25).abs() < 1e-9);
        }
    }

    #[test]
    fn a_second_copy_and_what_only_counts_are_left_aside() {
        let mut tensors = renamed("resnet8", 0, |name| format!("module.{name}"));
        tensors.extend(renamed("resnet8", 0, |name| format!("attacker.module.{name}")));
        tensors.push(small("n_averaged", &[], &[3.0]));
        tensors.push(small("criterion.weight", &[10], &[1.0; 10]));
        let (note, _) = found(tensors);
        assert_eq!(
            note.unwrap(),
            "the network under `module.`, 1 tensor(s) beside it left out, such as `criterion.weight`"
        );
    }

    #[test]
    fn what_may_belong_to_the_function_is_never_left_out() {
        let network_of = |more: Vec<(String, RawTensor)>| {
            let mut tensors = renamed("resnet8", 0, |name| format!("net.{name}"));
            tensors.extend(more);
            let file = file(tensors);
            let found = network(&file)?;
            Ok::<_, String>((found.note, zoo::infer(&found.weights.shapes()).is_some()))
        };
        // A layer in front, a scale per channel: without the prefix, no network is known.
        for more in [small("denoiser.weight", &[3, 3], &[0.0; 9]), small("input.scale", &[3], &[1.0; 3])] {
            assert_eq!(network_of(vec![more]), Ok((None, false)));
        }
        let error = network_of(renamed("resnet8", 1, |name| format!("critic.{name}"))).unwrap_err();
        assert!(error.contains("two networks are in it, under net. and critic."), "{error}");
    }

    #[test]
    fn networks_that_normalize_first_are_known_by_robustbenchs_names() {
        for name in ["wrn-16-4", "preact-resnet18", "preact-resnet18-bn"] {
            let theirs = |name: &str| name.replace("downsample", "shortcut").replace("fc.", "linear.");
            let tensors = renamed(name, 0, |it| if name.starts_with("wrn") { it.to_owned() } else { theirs(it) });
            let file = file(tensors);
            let found = network(&file).unwrap();
            assert_eq!(zoo::infer(&found.weights.shapes()).unwrap().name(), name);
        }
        let mut copied = renamed("wrn-16-4", 0, |name| format!("module.{name}"));
        let copy: Vec<_> = copied.iter().filter(|(name, _)| name.contains("block1.")).cloned().collect();
        copied.extend(
            copy.into_iter().map(|(name, tensor)| (name.replace("module.block1.", "module.sub_block1."), tensor)),
        );
        assert_eq!(found(copied).0.unwrap(), "the network under `module.`");
    }
}
