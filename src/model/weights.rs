//! [`WeightSource`]s: tensors out of a file, or freshly initialized.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::builder::{Init, WeightError, WeightSource};
use super::format::RawTensor;
use super::program::Program;
use super::zoo::{Shapes, canonical_name};

/// The tensors of a weight file under torchvision's names.
pub(crate) struct FileWeights<'a> {
    tensors: BTreeMap<String, (&'a str, &'a RawTensor)>,
    used: BTreeSet<String>,
}

impl<'a> FileWeights<'a> {
    /// Of tensors with the names that they are to have, and those that they have in the file.
    ///
    /// # Errors
    /// Two tensors that have one name here: which of them the network takes would be chance.
    pub(crate) fn new(all: impl IntoIterator<Item = (&'a str, &'a str, &'a RawTensor)>) -> Result<Self, String> {
        let mut tensors: BTreeMap<String, (&str, &RawTensor)> = BTreeMap::new();
        for (name, given, tensor) in all {
            let canonical = canonical_name(name);
            if let Some((other, _)) = tensors.insert(canonical.clone(), (given, tensor)) {
                return Err(format!(
                    "{other} and {given} are both {canonical}: these are two networks, or one with two heads; save the tensors of one alone"
                ));
            }
        }
        // A head behind its dropout: `fc.1.weight`, and no other layer in `fc`.
        let of_residual = tensors.contains_key("layer1.0.conv1.weight");
        let heads = if of_residual { &["fc.", "classifier."][..] } else { &["fc."] };
        let is_head = |name: &&String| heads.iter().any(|head| name.starts_with(head));
        let head: Vec<String> = tensors.keys().filter(is_head).cloned().collect();
        if let [bias, weight] = &head[..]
            && let Some(module) = weight.strip_suffix(".weight").filter(|module| *bias == format!("{module}.bias"))
            && module.rsplit('.').next().is_some_and(|rest| rest.parse::<u8>().is_ok())
        {
            for (name, new) in [(bias, "fc.bias"), (weight, "fc.weight")] {
                let moved = tensors.remove(name).expect("it is one of the names");
                tensors.insert(new.to_owned(), moved);
            }
        }
        Ok(Self { tensors, used: BTreeSet::new() })
    }

    /// That a tensor is there and has this shape.
    pub(crate) fn check(&self, name: &str, shape: &[i64]) -> Result<(&'a str, &'a RawTensor), WeightError> {
        let (given, raw) =
            *self.tensors.get(name).ok_or_else(|| WeightError(format!("the file has no tensor {name}")))?;
        match shape_of(raw) {
            found if found == shape => Ok((given, raw)),
            found => Err(WeightError(format!("{given} has shape {found:?}, expected {shape:?}"))),
        }
    }

    /// The file's names of all tensors but those that have these names here.
    pub(crate) fn without(&self, used: &BTreeSet<String>) -> Vec<&'a str> {
        self.tensors.iter().filter(|(name, _)| !used.contains(*name)).map(|(_, (given, _))| *given).collect()
    }

    /// Tensors that no layer has asked for, under the file's names. Counters of batch norms do not belong to the function.
    pub(crate) fn unused(&self) -> Vec<&'a str> {
        self.without(&self.used).into_iter().filter(|name| !name.ends_with("num_batches_tracked")).collect()
    }

    /// Names and shapes, for inference of the architecture.
    pub(crate) fn shapes(&self) -> Shapes {
        self.tensors.iter().map(|(name, (_, tensor))| (name.clone(), shape_of(tensor))).collect()
    }
}

fn shape_of(tensor: &RawTensor) -> Vec<i64> {
    tensor.shape.iter().map(|&size| size as i64).collect()
}

impl WeightSource for FileWeights<'_> {
    fn weight(&mut self, name: &str, shape: &[i64], _: Init, _: bool) -> Result<Tensor, WeightError> {
        let (given, raw) = self.check(name, shape)?;
        let values = raw.to_f32();
        let odd = values.iter().filter(|value| !value.is_finite()).count();
        if odd > 0 {
            return Err(WeightError(not_finite(given, odd)));
        }
        self.used.insert(name.to_owned());
        Ok(Tensor::from_slice(&values).view(shape))
    }
}

/// What is said of a tensor with so many values that are not finite.
pub(super) fn not_finite(name: &str, odd: impl std::fmt::Display) -> String {
    format!("{name} holds {odd} values that are not finite; the model file is damaged or its training diverged")
}

/// Seeded initial weights. Each tensor's values depend on the seed and its name alone, not on the order of construction.
pub struct FreshWeights {
    seed: u64,
}

impl FreshWeights {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl WeightSource for FreshWeights {
    fn weight(&mut self, name: &str, shape: &[i64], init: Init, trainable: bool) -> Result<Tensor, WeightError> {
        let n = shape.iter().product::<i64>() as usize;
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        stream.set_stream(fnv1a(name));
        let mut uniform = || stream.random::<f64>();
        let values: Vec<f32> = match init {
            Init::Zeros => vec![0.0; n],
            Init::Ones => vec![1.0; n],
            Init::Uniform { fan } => {
                let bound = 1.0 / (fan as f64).sqrt();
                (0..n).map(|_| (bound * (2.0 * uniform() - 1.0)) as f32).collect()
            }
            Init::KaimingNormal { fan } => {
                let deviation = (2.0 / fan as f64).sqrt();
                // Box-Muller; 1 − u is in (0, 1], so its logarithm is finite.
                let mut normal = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                (0..n).map(|_| (deviation * normal()) as f32).collect()
            }
        };
        Ok(Tensor::from_slice(&values).view(shape).to_kind(Kind::Float).set_requires_grad(trainable))
    }
}

/// The FNV-1a hash of a name: a stream number that is the same on every machine.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The weights of a program under the names of a [`Remainder`](super::zoo::Remainder) of it; where one does not fit, a fresh one.
pub(crate) struct Transplant<'a> {
    weights: BTreeMap<&'a str, &'a Tensor>,
    origins: &'a [(String, String)],
    fresh: FreshWeights,
    remade: Vec<String>,
}

impl<'a> Transplant<'a> {
    /// Of a program; `origins` as in [`Remainder::origins`](super::zoo::Remainder::origins), `seed` of what is made anew.
    pub(crate) fn new(program: &'a Program, origins: &'a [(String, String)], seed: u64) -> Self {
        let weights = program.weights.iter().map(|weight| (weight.name.as_str(), &weight.tensor)).collect();
        Self { weights, origins, fresh: FreshWeights::new(seed), remade: Vec::new() }
    }

    /// Names, in the remainder, of the weights that were made anew.
    pub(crate) fn remade(self) -> Vec<String> {
        self.remade
    }
}

impl WeightSource for Transplant<'_> {
    fn weight(&mut self, name: &str, shape: &[i64], init: Init, trainable: bool) -> Result<Tensor, WeightError> {
        let of_module = |(new, old): &(String, String)| -> Option<String> {
            let rest = name.strip_prefix(new.as_str())?;
            rest.starts_with('.').then(|| format!("{old}{rest}"))
        };
        let origin = self.origins.iter().find_map(of_module).unwrap_or_else(|| name.to_owned());
        match self.weights.get(origin.as_str()) {
            // A copy: training changes it.
            Some(tensor) if tensor.size() == shape => Ok(tensor.detach().copy()),
            _ => {
                self.remade.push(name.to_owned());
                Ok(self.fresh.weight(name, shape, init, trainable)?.detach())
            }
        }
    }
}
