//! Training dynamics: curve and accuracy of every checkpoint of a training (the paper's Fig. 6 b).

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tch::Device;

use super::curve::{CurvePlan, measure, sets};
use super::each::{Each, Fault, Watch, question_normalization};
use super::results::{StudyResult as _, read};
use super::train::checkpoint_file;
use crate::data::{Dataset, Selection};
use crate::measure::ProgressOf;
use crate::measure::clean::predict;
use crate::measure::fit::{CHECKPOINT_REPEATS, DEFAULT_K, DEFAULT_SAMPLES};
use crate::measure::pixels::ImagePixels;
use crate::model::Model;
use crate::model::load::{LoadOptions, load};
use crate::modularity::Similarity;
use crate::stats::rates::Rate;
use crate::study::results::dynamics::{Checkpoint, DynamicsResult, TapTrend};

/// Endings of files that are taken for checkpoints.
const ENDINGS: [&str; 5] = ["safetensors", "pt", "pth", "th", "pt2"];

/// The checkpoints of a folder, `epoch-9` before `epoch-10`.
pub(crate) fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let fail = |reason: String| format!("{}: {reason}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(|error| fail(error.to_string()))?;
    let mut files: Vec<PathBuf> = entries
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fail(error.to_string()))?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && ENDINGS.iter().any(|it| path.extension().is_some_and(|found| found == *it)))
        .collect();
    if files.is_empty() {
        return Err(fail(format!("no checkpoints; expected files that end in {}", ENDINGS.join(", "))));
    }
    files.sort_by_cached_key(|path| natural(&path.file_name().unwrap_or_default().to_string_lossy()));
    Ok(files)
}

/// Runs of digits count as numbers.
fn natural(name: &str) -> Vec<(u128, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let text = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (text, after) = after.split_at(text);
        // Longer than any epoch: as large as can be, and told apart by the text.
        parts.push((number.parse().unwrap_or(if number.is_empty() { 0 } else { u128::MAX }), text.to_owned()));
        rest = after;
    }
    parts
}

/// How the checkpoints of a training are measured, one after the other.
pub(crate) struct Measuring<'a> {
    pub files: &'a [PathBuf],
    pub options: &'a LoadOptions,
    pub device: Device,
    pub data: &'a dyn Dataset,
    pub plan: &'a CurvePlan,
}

impl Measuring<'_> {
    /// `grown` sees the result with each that comes to it, and may end the work.
    pub(crate) fn run(
        &self,
        watch: &mut dyn Watch,
        grown: &mut dyn FnMut(&DynamicsResult) -> ControlFlow<()>,
    ) -> (DynamicsResult, Each) {
        let mut each = Each::default();
        let mut result = DynamicsResult { data: self.data.info().name.clone(), ..DynamicsResult::default() };
        for file in self.files {
            let found = self.one(file, result.checkpoints.first(), watch);
            match each.settle(watch, found) {
                ControlFlow::Break(()) => break,
                ControlFlow::Continue(None) => (),
                ControlFlow::Continue(Some(checkpoint)) => {
                    add(&mut result, checkpoint);
                    if grown(&result).is_break() {
                        break;
                    }
                }
            }
        }
        (result, each)
    }

    fn one(&self, file: &Path, first: Option<&Checkpoint>, watch: &mut dyn Watch) -> Result<Checkpoint, Fault> {
        let Self { options, data, plan, .. } = *self;
        let model = load(Some(file), options, self.device)?;
        let fault = |reason| Fault::At { file: file.to_owned(), reason };
        first.map_or(Ok(()), |first| check_alike(&model, first)).map_err(fault)?;
        // All are of one training: what holds for the last, which knows most, holds for the rest.
        let is_last = self.files.last().is_some_and(|last| last == file);
        let given = options.normalization.is_some();
        let doubt = is_last.then(|| question_normalization(&model, data, plan.samples, given, watch)).flatten();
        let mut tell = |done, total| watch.tell(&model.info().name, done, total);
        let mut measured = checkpoint(&model, data, plan, &mut tell).map_err(fault)?;
        measured.warnings = doubt.into_iter().chain(measured.warnings).collect();
        Ok(measured)
    }
}

/// Measures a training that goes on, checkpoint by checkpoint, on images that it does not learn from.
pub(crate) struct Following<'a> {
    folder: &'a Path,
    test: &'a dyn Dataset,
    device: Device,
    plan: CurvePlan,
    pub result: DynamicsResult,
}

impl<'a> Following<'a> {
    /// A training with its checkpoints in this folder.
    pub(crate) fn new(folder: &'a Path, test: &'a dyn Dataset, device: Device, seed: u64) -> Self {
        let result = DynamicsResult { data: test.info().name.clone(), ..DynamicsResult::default() };
        Self { folder, test, device, plan: following_plan(test, seed), result }
    }

    /// Takes over what was measured before an interruption after so many epochs, and measures what it cut off.
    pub(crate) fn catch_up(&mut self, done: usize, grown: &mut dyn FnMut(usize, Result<&DynamicsResult, Fault>)) {
        // Without the file, or with a damaged one, all are measured again.
        let before =
            read(&self.folder.join(DynamicsResult::FILE)).map_or(Vec::new(), |it: DynamicsResult| it.checkpoints);
        for epoch in 1..=done {
            let file = checkpoint_file(self.folder, epoch);
            let name = file.file_name().map(|it| it.to_string_lossy());
            match before.iter().find(|it| name.as_ref().is_some_and(|name| *name == it.name)) {
                Some(measured) => add(&mut self.result, measured.clone()),
                None => grown(epoch, self.follow(epoch)),
            }
        }
    }

    /// Measures the checkpoint of an epoch that is over.
    pub(crate) fn follow(&mut self, epoch: usize) -> Result<&DynamicsResult, Fault> {
        let model = load(Some(&checkpoint_file(self.folder, epoch)), &LoadOptions::default(), self.device)?;
        let measured = checkpoint(&model, self.test, &self.plan, &mut |_, _| ControlFlow::Continue(()));
        add(&mut self.result, measured.map_err(Fault::Other)?);
        Ok(&self.result)
    }
}

/// Refuses a checkpoint of another network than the first.
fn check_alike(model: &Model, first: &Checkpoint) -> Result<(), String> {
    match model.tap_paths().iter().eq(first.curve.taps.iter().map(|tap| &tap.tap)) {
        true => Ok(()),
        false => Err(format!("has other taps than {}; put each training into its own folder", first.name)),
    }
}

/// How a training is followed that goes on: by one curve of each epoch.
fn following_plan(data: &dyn Dataset, seed: u64) -> CurvePlan {
    CurvePlan {
        k: DEFAULT_K,
        similarity: Similarity::default(),
        repeats: CHECKPOINT_REPEATS,
        samples: Selection::Sample { n: data.info().n.min(DEFAULT_SAMPLES), seed },
    }
}

/// Measures one checkpoint. `progress(done, total)` counts taps × samples, then samples.
fn checkpoint(
    model: &Model,
    data: &dyn Dataset,
    plan: &CurvePlan,
    progress: &mut ProgressOf<'_>,
) -> Result<Checkpoint, String> {
    let (curve, warnings) = measure(model, data, plan, progress)?;
    let (mut correct, mut of) = (0, 0);
    for set in sets(data, plan.samples, plan.repeats)? {
        let images = data.read(&set).map_err(|error| error.to_string())?;
        let places: Vec<usize> = (0..set.len()).collect();
        let device = advmod_attacks::victim::Victim::device(model);
        let source = ImagePixels { images: &images, places: &places, device };
        let total = set.len() as u64;
        let mut told = |done| progress(done, total);
        let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
        let found = predict(model, &source, Some(&labels), 128, &mut told).map_err(|error| error.to_string())?;
        correct += found.classes.iter().zip(&images.labels).filter(|(found, label)| found == label).count();
        of += set.len();
    }
    let (name, sha256) = (model.info().name.clone(), model.info().sha256.clone());
    Ok(Checkpoint { name, sha256, accuracy: Rate::new(correct, of), curve, warnings })
}

fn add(result: &mut DynamicsResult, checkpoint: Checkpoint) {
    result.checkpoints.push(checkpoint);
    result.taps = trends(&result.checkpoints);
}

/// Tap by tap; the taps are those of the first checkpoint.
fn trends(checkpoints: &[Checkpoint]) -> Vec<TapTrend> {
    let Some(first) = checkpoints.first() else { return Vec::new() };
    let of_tap = |tap: &str| -> Vec<Option<f64>> {
        let point = |it: &Checkpoint| it.curve.taps.iter().find(|point| point.tap == tap)?.q;
        checkpoints.iter().map(point).collect()
    };
    let trend = |tap: &str| {
        let q = of_tap(tap);
        let pairs: Vec<(f64, f64)> =
            q.iter().zip(checkpoints).filter_map(|(q, it)| Some(((*q)?, it.accuracy.value?))).collect();
        TapTrend {
            tap: tap.to_owned(),
            first: q.first().copied().flatten(),
            last: q.last().copied().flatten(),
            rank_correlation: spearman(&pairs),
        }
    };
    first.curve.taps.iter().map(|point| trend(&point.tap)).collect()
}

/// Spearman's rank correlation: Pearson's of the ranks, equal values sharing their mean rank.
fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (first, second) = (ranks(&first), ranks(&second));
    let mean = f64::midpoint(pairs.len() as f64, 1.0);
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (sum(&first, &first) * sum(&second, &second)).sqrt();
    (spread > 0.0).then(|| sum(&first, &second) / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|&a, &b| values[a].total_cmp(&values[b]).is_eq()) {
        let before = order.iter().position(|it| it == &equal[0]).unwrap_or(0);
        let mean = before as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for &place in equal {
            ranks[place] = mean;
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        assert!(checkpoints(folder.path()).unwrap_err().contains("no checkpoints"));
        assert!(checkpoints(&folder.path().join("nowhere")).unwrap_err().contains("nowhere"));
        for name in ["epoch-10.pt", "epoch-9.pt", "epoch-010b.pt", "notes.txt", "last.safetensors"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = checkpoints(folder.path()).unwrap();
        let names: Vec<String> =
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["epoch-9.pt", "epoch-10.pt", "epoch-010b.pt", "last.safetensors"]);
    }

    #[test]
    fn ranks_correlate_as_spearman_says() {
        // By hand: ranks 1 2 3 4 and 1 3 2 4, so 1 − 6·2/(4·15).
        let pairs = [(0.1, 5.0), (0.2, 7.0), (0.3, 6.0), (0.9, 8.0)];
        assert!((spearman(&pairs).unwrap() - 0.8).abs() < 1e-12);
        // Equal values share the mean of their ranks: 1.5 1.5 3 against 1 2 3 gives √3/2.
        assert!((spearman(&[(1.0, 1.0), (1.0, 2.0), (2.0, 3.0)]).unwrap() - 0.75_f64.sqrt()).abs() < 1e-12);
        assert_eq!(spearman(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 2.0)]), None);
    }
}
