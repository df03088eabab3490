//! What the rules go by: Q of every unit, how it differs from the taps before, and how alike they are.

use std::ops::ControlFlow;

use advmod_attacks::victim::Victim as _;
use serde::Serialize;

use super::Whole;
use super::rules::{earlier_maxima, increments};
use crate::audit::stage::curve::{CurveSettings, TraceError, curve_with_intervals, tap_neighbors};
use crate::audit::stage::pixels::ImagePixels;
use crate::audit::stats::Measured;
use crate::data::Dataset;
use crate::model::Model;
use crate::modularity::{Groups, Jackknife, Similarity, paired_difference};
use crate::study::curve::{CurvePlan, sets};
use crate::study::similarity::{CkaPlan, linear_cka};

/// How it is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct SurveyPlan {
    /// Samples, k and similarity.
    pub curve: CurvePlan,
    /// Of the jackknife's groups.
    pub seed: u64,
    /// Whether CKA is needed.
    pub cka: bool,
}

/// What is known about the units of a network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// Samples of one repeat.
    pub n: usize,
    /// Neighbours per sample.
    pub k: usize,
    /// How representations are compared.
    pub similarity: Similarity,
    /// Disjoint sets of samples.
    pub repeats: usize,
    /// Taps, in forward order.
    pub taps: Vec<String>,
    /// Q of each tap: mean over the repeats.
    pub q: Vec<f64>,
    /// One per unit.
    pub units: Vec<UnitPoint>,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitPoint {
    /// Path of its module.
    pub unit: String,
    /// Counted from 0.
    pub stage: usize,
    /// Mean over the repeats.
    pub q: f64,
    /// ΔQ: Q − Q of the tap before; the first tap has none.
    pub delta: Option<Measured>,
    /// Q − the largest Q of all taps before.
    pub margin: Option<Measured>,
    /// Linear CKA with the tap before, where it was measured.
    pub cka: Option<f64>,
}

/// Measures the curve at a model's units. `progress(what, done, total)` counts taps × samples.
///
/// Intervals of differences are paired: the same samples, the same groups of the jackknife.
///
/// # Errors
/// One line, when data, model and settings do not fit each other, or a tap has no Q.
pub fn survey(
    model: &Model,
    whole: &Whole,
    data: &dyn Dataset,
    plan: &SurveyPlan,
    progress: &mut dyn FnMut(&'static str, u64, u64) -> ControlFlow<()>,
) -> Result<Survey, String> {
    let CurvePlan { k, similarity, repeats, samples } = plan.curve;
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    let classes = model.info().classes as usize;
    if let Some(at) = data.labels().iter().position(|&label| label as usize >= classes) {
        return Err(format!(
            "{}: image {at} has label {}, the model has {classes} classes; give data that it was trained for",
            info.name,
            data.labels()[at]
        ));
    }
    let sets = sets(data, samples, repeats)?;
    let taps = model.tap_paths();
    let total = (taps.len() * sets.iter().map(Vec::len).sum::<usize>()) as u64;
    let settings = CurveSettings { k, similarity, classes };
    let mut knives: Vec<Vec<Jackknife>> = Vec::new();
    let mut before = 0;
    for set in &sets {
        let images = data.read(set).map_err(|error| error.to_string())?;
        let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
        let places: Vec<usize> = (0..set.len()).collect();
        let source = ImagePixels { images: &images, places: &places, device: model.device() };
        let mut told = |done| progress("curve", before + done, total);
        let found =
            tap_neighbors(model, &source, &settings, &mut told).map_err(|error: TraceError| error.to_string())?;
        let groups = Groups::new(set.len(), plan.seed);
        let (curve, found) = curve_with_intervals(&taps, &found, &settings, &labels, &groups);
        if let Some(at) = found.iter().position(Option::is_none) {
            let reason = curve.taps[at].reason.as_deref().unwrap_or("it has no Q");
            return Err(format!("{}: {reason}", taps[at]));
        }
        knives.push(found.into_iter().flatten().collect());
        before += (taps.len() * set.len()) as u64;
    }
    let cka = match plan.cka {
        false => None,
        true => {
            Some(linear_cka(model, data, &samples, CkaPlan::Full, &mut |done, total| progress("CKA", done, total))?)
        }
    };
    let q: Vec<f64> = (0..taps.len())
        .map(|tap| knives.iter().map(|of_set| of_set[tap].estimate).sum::<f64>() / knives.len() as f64)
        .collect();
    let (deltas, maxima) = (increments(&q), earlier_maxima(&q));
    let point = |unit: crate::model::zoo::Unit| -> Result<UnitPoint, String> {
        let tap = taps.iter().position(|tap| *tap == unit.path);
        let tap = tap.ok_or_else(|| format!("{} is not tapped; leave out --taps", unit.path))?;
        Ok(UnitPoint {
            q: q[tap],
            delta: deltas[tap].and_then(|_| difference(&knives, tap, tap - 1)),
            margin: maxima[tap].and_then(|largest| difference(&knives, tap, largest)),
            cka: cka.as_ref().filter(|_| tap > 0).and_then(|cka| cka.matrix.0[tap][tap - 1]),
            unit: unit.path,
            stage: unit.stage,
        })
    };
    let units = whole.units().into_iter().map(point).collect::<Result<_, _>>()?;
    Ok(Survey { n: sets.first().map_or(0, Vec::len), k, similarity, repeats: sets.len(), taps, q, units })
}

/// Q of one tap − Q of another: mean over the repeats, whose sets are disjoint, so that their errors add up as squares.
fn difference(knives: &[Vec<Jackknife>], tap: usize, other: usize) -> Option<Measured> {
    let intervals: Vec<_> =
        knives.iter().map(|of_set| paired_difference(&of_set[tap], &of_set[other]).ok()).collect::<Option<_>>()?;
    let n = intervals.len() as f64;
    let value = intervals.iter().map(|it| it.estimate).sum::<f64>() / n;
    let half = intervals.iter().map(|it| (it.high - it.estimate).powi(2)).sum::<f64>().sqrt() / n;
    Some(Measured { value, low: value - half, high: value + half })
}
