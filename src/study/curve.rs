//! Clean curves over disjoint sets of samples.

use std::ops::ControlFlow;

use crate::audit::stage::curve::{CurveSettings, TraceError, measure as measure_taps, tap_neighbors};
use crate::audit::stage::pixels::ImagePixels;
use crate::data::{Dataset, Selection, select};
use crate::model::Model;
use crate::modularity::{Curve, ModularityError, Similarity, TapModularity, TapPoint, class_note, curve_notes};

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvePlan {
    /// Neighbours per sample.
    pub k: usize,
    /// How representations are compared.
    pub similarity: Similarity,
    /// Disjoint sets wanted.
    pub repeats: usize,
    /// The samples of one set.
    pub samples: Selection,
}

/// The mean curve of a model over the repeats, with every value, and warnings.
///
/// The sets are disjoint: with `First(n)` they follow each other in file order, with `Sample` they are parts of one drawn sample.
/// Where the data does not hold so many, there are fewer repeats and a warning. `progress(done, total)` counts taps × samples.
///
/// # Errors
/// One line, when data and model do not fit each other.
pub fn measure(
    model: &Model,
    data: &dyn Dataset,
    plan: &CurvePlan,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Curve, Vec<String>), String> {
    let info = data.info();
    let classes = model.info().classes as usize;
    let mut warnings = Vec::new();
    model.check(info.channels, info.height, info.width)?;
    let n = match plan.samples {
        Selection::First(n) | Selection::Sample { n, .. } => n,
        Selection::All => info.n,
    };
    if n <= plan.k {
        return Err(format!("N = {n} samples are too few for k = {}; lower --k or raise --samples", plan.k));
    }
    let sets = sets(data, plan)?;
    let repeats = sets.len();
    if repeats < plan.repeats {
        let held = info.n;
        warnings.push(format!(
            "{repeats} repeat(s) instead of {}: the data holds {held} images, {n} per repeat",
            plan.repeats
        ));
    }
    let paths = model.tap_paths();
    let settings = CurveSettings { k: plan.k, similarity: plan.similarity, classes };
    let total = (paths.len() * n * sets.len()) as u64;
    let mut per_tap: Vec<Vec<Result<TapModularity, ModularityError>>> = vec![Vec::new(); paths.len()];
    for (repeat, set) in sets.iter().enumerate() {
        let images = data.read(set).map_err(|error| error.to_string())?;
        let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
        if let Some(at) = labels.iter().position(|&label| label >= classes) {
            return Err(format!(
                "{}: image {} has label {}, the model has {classes} classes; give data that it was trained for",
                info.name, set[at], labels[at]
            ));
        }
        if repeat == 0 {
            warnings.extend(class_note(&labels, classes, plan.k));
        }
        let places: Vec<usize> = (0..set.len()).collect();
        let source =
            ImagePixels { images: &images, places: &places, device: advmod_attacks::victim::Victim::device(model) };
        let before = (repeat * n * paths.len()) as u64;
        let found = tap_neighbors(model, &source, &settings, &mut |done| progress(before + done, total))
            .map_err(|error: TraceError| error.to_string())?;
        for (tap, measured) in per_tap.iter_mut().zip(measure_taps(&found, &settings, &labels)) {
            tap.push(measured);
        }
    }
    let taps = paths.into_iter().zip(&per_tap).map(|(path, repeats)| TapPoint::from_repeats(path, repeats)).collect();
    let curve = Curve { n, k: plan.k, similarity: plan.similarity, taps };
    warnings.extend(curve_notes(&curve));
    Ok((curve, warnings))
}

/// The samples of each repeat: places in the data. Fewer repeats than asked for where the data does not hold so many.
///
/// # Errors
/// One line, when the data does not hold one set.
pub fn sets(data: &dyn Dataset, plan: &CurvePlan) -> Result<Vec<Vec<usize>>, String> {
    let held = data.info().n;
    let n = match plan.samples {
        Selection::First(n) | Selection::Sample { n, .. } => n,
        Selection::All => held,
    };
    let repeats = plan.repeats.min(held / n.max(1)).max(1);
    let selection = match plan.samples {
        Selection::First(n) => Selection::First(n * repeats),
        Selection::Sample { n, seed } => Selection::Sample { n: n * repeats, seed },
        Selection::All => Selection::All,
    };
    let indices = select(&selection, held).map_err(|error| error.to_string())?;
    Ok(split(&indices, n, &plan.samples))
}

/// Disjoint sets of n. A drawn sample comes sorted, so it is dealt out in turn; consecutive parts would follow the file's order.
fn split(indices: &[usize], n: usize, samples: &Selection) -> Vec<Vec<usize>> {
    let repeats = indices.len() / n;
    match samples {
        Selection::Sample { .. } => {
            (0..repeats).map(|first| indices.iter().skip(first).step_by(repeats).copied().take(n).collect()).collect()
        }
        _ => indices.chunks_exact(n).map(<[usize]>::to_vec).collect(),
    }
}
