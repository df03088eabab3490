//! Training dynamics: curve and accuracy of every checkpoint of a training (the paper's Fig. 6 b).

use std::path::{Path, PathBuf};

use super::curve::{CurvePlan, measure, sets};
use crate::data::{Dataset, Selection};
use crate::measure::ProgressOf;
use crate::measure::clean::predict;
use crate::measure::fit::{CHECKPOINT_REPEATS, DEFAULT_K, DEFAULT_SAMPLES};
use crate::measure::pixels::ImagePixels;
use crate::model::Model;
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

/// Refuses a checkpoint of another network than the first.
pub(crate) fn check_alike(model: &Model, first: &Checkpoint) -> Result<(), String> {
    match model.tap_paths().iter().eq(first.curve.taps.iter().map(|tap| &tap.tap)) {
        true => Ok(()),
        false => Err(format!("has other taps than {}; put each training into its own folder", first.name)),
    }
}

/// How a training is followed that goes on: by one curve of each epoch.
pub(crate) fn following_plan(data: &dyn Dataset, seed: u64) -> CurvePlan {
    CurvePlan {
        k: DEFAULT_K,
        similarity: Similarity::default(),
        repeats: CHECKPOINT_REPEATS,
        samples: Selection::Sample { n: data.info().n.min(DEFAULT_SAMPLES), seed },
    }
}

/// Measures one checkpoint. `progress(done, total)` counts taps × samples, then samples.
pub(crate) fn checkpoint(
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

pub(crate) fn add(result: &mut DynamicsResult, checkpoint: Checkpoint) {
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
