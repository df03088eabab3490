//! Whether data, model and settings go together, and the settings where none is given.

use crate::data::Dataset;
use crate::model::Model;

/// Neighbours per sample where nothing else is asked for.
pub(crate) const DEFAULT_K: usize = 3;

/// Number of images where nothing else is asked for.
pub(crate) const DEFAULT_SAMPLES: usize = 500;

/// Neighbours per sample where single images are judged by theirs: fewer would not outvote each other.
pub(crate) const DEFAULT_JUDGING_K: usize = 10;

/// Seed of everything random where none is given.
pub(crate) const DEFAULT_SEED: u64 = 0;

/// Disjoint sets of samples of a curve with intervals over them.
pub(crate) const CURVE_REPEATS: usize = 5;

/// Disjoint sets of samples of a checkpoint's curve, of which there are many.
pub(crate) const CHECKPOINT_REPEATS: usize = 1;

/// Each sample needs `k` neighbours besides itself.
///
/// # Errors
/// One line.
pub(crate) fn enough_for_k(n: usize, k: usize) -> Result<(), String> {
    match n > k {
        true => Ok(()),
        false => Err(format!("N = {n} samples are too few for k = {k}; lower --k or take more samples")),
    }
}

/// More threads than a few per core only cost memory and time.
///
/// # Errors
/// A sentence that says how many the machine can use.
pub(crate) fn check_threads(threads: usize) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match threads > 4 * cores {
        true => Err(format!("threads = {threads}: this machine has {cores} core(s); give at most {}", 4 * cores)),
        false => Ok(()),
    }
}

/// Checks that the model has a class for the labels at these places in the data.
///
/// # Errors
/// One line, with the first image that it has none for.
pub(crate) fn check_labels<'a>(
    model: &Model,
    data: &dyn Dataset,
    places: impl IntoIterator<Item = &'a usize>,
) -> Result<(), String> {
    let (info, labels) = (model.info(), data.labels());
    match places.into_iter().find(|&&at| i64::from(labels[at]) >= info.classes) {
        None => Ok(()),
        Some(&at) => Err(format!(
            "{}: image {at} has label {}, the model ({}) has {} classes; give data that it was trained for",
            data.info().name,
            labels[at],
            info.architecture,
            info.classes
        )),
    }
}
