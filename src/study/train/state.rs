//! What a training needs to go on: a file beside its checkpoints, written anew after each epoch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Device, TchError, Tensor};

use super::{TrainError, TrainPlan};
use crate::model::format::{Dtype, FormatError, RawTensor, read_weights, write_safetensors};
use crate::model::upload::to_device;

/// Its name in the folder of the checkpoints. Not that of a model: `advmod dynamics` takes every model there for a checkpoint.
const NAME: &str = "training.state";

const KEY: &str = "advmod-training";

const WEIGHT: &str = "weight/";
const MOMENTUM: &str = "momentum/";

/// Everything but the numbers of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub version: u32,
    /// As `--arch` takes it.
    pub architecture: String,
    pub plan: TrainPlan,
    /// Epochs that are done.
    pub epoch: usize,
    /// Test accuracy of the last of them.
    pub test_accuracy: f64,
    /// sha256 of the training and of the test images.
    pub images: [String; 2],
    /// Processor threads, on whose number the last digits of the weights depend.
    pub threads: usize,
}

const VERSION: u32 = 3;

impl Standing {
    pub(super) fn new(name: &str, plan: &TrainPlan, epoch: usize, test_accuracy: f64, images: &[String; 2]) -> Self {
        let (architecture, images, threads) = (name.to_owned(), images.clone(), tch::get_num_threads() as usize);
        Self { version: VERSION, architecture, plan: plan.clone(), epoch, test_accuracy, images, threads }
    }
}

/// A training that was interrupted, as it lies on disk.
#[derive(Debug)]
pub struct Interrupted {
    pub standing: Standing,
    path: PathBuf,
    tensors: BTreeMap<String, RawTensor>,
}

impl Interrupted {
    pub(crate) fn is_in(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Reads the state in a folder of checkpoints.
    pub fn read(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(NAME);
        if !path.is_file() {
            let problem =
                "no training can go on from here; give the --checkpoints folder of one whose first epoch was done";
            return Err(TrainError::Unsuitable(format!("{}: {problem} ({NAME})", folder.display())));
        }
        let damaged = |why: &str| TrainError::Unsuitable(format!("{}: {why}; begin the training anew", path.display()));
        let file = read_weights(&path).map_err(|error| match error {
            FormatError::Read { .. } | FormatError::Missing { .. } => TrainError::Format(error),
            _ => damaged("damaged, or not the state of a training"),
        })?;
        let json = file.metadata.get(KEY).ok_or_else(|| damaged("not the state of a training"))?;
        let version = serde_json::from_str::<serde_json::Value>(json).ok().and_then(|it| it.get("version")?.as_u64());
        if version.is_some_and(|version| version != u64::from(VERSION)) {
            return Err(damaged("written by another version of advmod"));
        }
        let standing: Standing = serde_json::from_str(json).map_err(|error| damaged(&error.to_string()))?;
        standing.plan.check().map_err(|error| damaged(&error))?;
        if standing.threads == 0 {
            return Err(damaged("0 threads"));
        }
        if standing.epoch == 0 || standing.epoch > standing.plan.epochs {
            return Err(damaged(&format!("epoch {} of {}", standing.epoch, standing.plan.epochs)));
        }
        Ok(Self { standing, path, tensors: file.tensors.into_iter().collect() })
    }

    pub(super) fn restore<'a>(&self, entries: impl Iterator<Item = (String, &'a Tensor)>) -> Result<(), TrainError> {
        let _guard = tch::no_grad_guard();
        for (name, tensor) in entries {
            let shape = tensor.size();
            let raw =
                self.tensors.get(&name).filter(|raw| raw.shape.iter().map(|&it| it as i64).eq(shape.iter().copied()));
            let raw = raw.ok_or_else(|| {
                let path = self.path.display();
                TrainError::Unsuitable(format!("{path}: {name} {shape:?} is not in it; begin the training anew"))
            })?;
            let values = Tensor::f_from_slice(&raw.to_f32())?.f_view(&shape[..])?;
            tensor.shallow_clone().f_copy_(&to_device(&values, tensor.device())?)?;
        }
        Ok(())
    }
}

/// Weights and momentum, as the file calls them.
pub(super) fn entries<'a>(
    weights: impl Iterator<Item = (&'a str, &'a Tensor)>,
    momentum: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> impl Iterator<Item = (String, &'a Tensor)> {
    let named = |prefix: &'static str| move |(name, tensor): (&str, &'a Tensor)| (format!("{prefix}{name}"), tensor);
    weights.map(named(WEIGHT)).chain(momentum.map(named(MOMENTUM)))
}

/// Writes the state, whole or not at all.
pub(super) fn write<'a>(
    folder: &Path,
    standing: &Standing,
    entries: impl Iterator<Item = (String, &'a Tensor)>,
) -> Result<(), TrainError> {
    let tensors = entries.map(|(name, tensor)| Ok((name, raw(tensor)?))).collect::<Result<Vec<_>, TchError>>()?;
    let json = serde_json::to_string(standing).expect("plain data always has a JSON form");
    write_safetensors(&folder.join(NAME), &tensors, &BTreeMap::from([(KEY.to_owned(), json)]))?;
    Ok(())
}

pub(super) fn raw(tensor: &Tensor) -> Result<RawTensor, TchError> {
    let tensor = to_device(&tensor.detach(), Device::Cpu)?.f_contiguous()?;
    let values: Vec<f32> = Vec::try_from(tensor.f_view(-1)?)?;
    let shape = tensor.size().iter().map(|&size| size as usize).collect();
    Ok(RawTensor { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() })
}
