//! What the rules go by: Q of every unit, how it differs from the taps before, and how alike they are.

use std::ops::ControlFlow;

use super::Whole;
use crate::data::{Dataset, Selection};
use crate::measure::Progress;
use crate::measure::fit::check_labels;
use crate::model::Model;
use crate::modularity::{Replicates, paired_difference, t_quantile};
use crate::stats::rates::Measured;
use crate::study::curve::{CurvePlan, sets};
use crate::study::results::prune::{Survey, UnitPoint};
use crate::study::similarity::{CkaPlan, PairedCurve, linear_cka, paired_curve_of};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SurveyPlan {
    pub curve: CurvePlan,
    /// Of the batches of CKA.
    pub seed: u64,
    pub cka: bool,
}

/// Measures the curve at a model's units. `progress(what, done, total)` counts taps × samples.
///
/// Intervals of differences are paired: the same samples, the same halves.
pub(crate) fn survey(
    model: &Model,
    whole: &Whole,
    data: &dyn Dataset,
    plan: &SurveyPlan,
    progress: &mut dyn FnMut(&'static str, u64, u64) -> ControlFlow<()>,
) -> Result<Survey, String> {
    let CurvePlan { k, similarity, repeats, samples } = plan.curve;
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    let sets = sets(data, samples, repeats)?;
    check_labels(model, data, sets.iter().flatten())?;
    let taps = model.tap_paths();
    let total = (taps.len() * sets.iter().map(Vec::len).sum::<usize>()) as u64;
    let (mut repeats, mut warnings) = (Vec::new(), Vec::new());
    for (at, set) in sets.iter().enumerate() {
        let before = (at * taps.len() * set.len()) as u64;
        let (of_set, notes) =
            replicates_of(model, data, set, plan, &mut |done| progress("curve", before + done, total))?;
        repeats.push(of_set);
        if at == 0 {
            warnings = notes;
        }
    }
    let mut cka = None;
    if plan.cka {
        // Over the curve's samples; without bias, for they are few.
        let drawn = match samples {
            Selection::Sample { n, seed } => Selection::Sample { n: n * sets.len(), seed },
            other => other,
        };
        let batches = CkaPlan::Batches { of: CKA_BATCH.min(sets.first().map_or(0, Vec::len)), seed: plan.seed };
        cka = Some(linear_cka(model, data, &drawn, batches, &mut |done, total| progress("CKA", done, total))?);
    }
    let q: Vec<f64> = (0..taps.len())
        .map(|tap| repeats.iter().map(|of_set| of_set[tap].estimate).sum::<f64>() / repeats.len() as f64)
        .collect();
    let point = |unit: crate::model::zoo::Unit| -> Result<UnitPoint, String> {
        let tap = taps.iter().position(|tap| *tap == unit.path);
        let tap = tap.ok_or_else(|| format!("{} is not tapped; leave out --taps", unit.path))?;
        Ok(UnitPoint {
            q: q[tap],
            delta: tap.checked_sub(1).and_then(|before| difference(&repeats, (tap, before), t_quantile(1))),
            margin: margin(&repeats, tap),
            cka: cka.as_ref().filter(|_| tap > 0).and_then(|cka| cka.matrix[tap][tap - 1]),
            unit: unit.path,
            stage: unit.stage,
        })
    };
    let units = whole.units().into_iter().map(point).collect::<Result<_, _>>()?;
    Ok(Survey { n: sets.first().map_or(0, Vec::len), k, similarity, repeats: sets.len(), taps, q, units, warnings })
}

/// Q of every tap over one set of images, with what intervals of differences need; and what a reader must know.
fn replicates_of(
    model: &Model,
    data: &dyn Dataset,
    set: &[usize],
    plan: &SurveyPlan,
    progress: &mut Progress<'_>,
) -> Result<(Vec<Replicates>, Vec<String>), String> {
    let PairedCurve { curve, warnings, replicates } = paired_curve_of(model, data, set, &plan.curve, progress)?;
    if let Some(point) = curve.taps.iter().zip(&replicates).find_map(|(tap, it)| it.is_none().then_some(tap)) {
        return Err(format!("{}: {}", point.tap, point.reason.as_deref().unwrap_or("it has no Q")));
    }
    Ok((replicates.into_iter().flatten().collect(), warnings))
}

const CKA_BATCH: usize = 500;

/// Q of one tap − Q of another: mean over the repeats, whose sets are disjoint, so that their errors add up as squares. The interval goes so
/// many standard errors to both sides.
fn difference(repeats: &[Vec<Replicates>], (tap, other): (usize, usize), quantile: f64) -> Option<Measured> {
    let intervals: Vec<_> =
        repeats.iter().map(|of_set| paired_difference(&of_set[tap], &of_set[other]).ok()).collect::<Option<_>>()?;
    let n = intervals.len() as f64;
    let value = intervals.iter().map(|it| it.estimate).sum::<f64>() / n;
    let half = quantile * intervals.iter().map(|it| it.se.powi(2)).sum::<f64>().sqrt() / n;
    Some(Measured { value, low: value - half, high: value + half })
}

/// Q of a tap − the largest Q of all taps before; the first tap has none.
///
/// Which of them is the largest, the same samples say: an interval against that one alone would call units superfluous that are not, the more
/// often the more taps come before. This one is bounded by intervals against all of them that hold at once.
fn margin(repeats: &[Vec<Replicates>], tap: usize) -> Option<Measured> {
    let against = |other| difference(repeats, (tap, other), t_quantile(tap));
    (0..tap).map(against).reduce(|a, b| {
        let (a, b) = (a?, b?);
        Some(Measured { value: a.value.min(b.value), low: a.low.min(b.low), high: a.high.min(b.high) })
    })?
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::modularity::Splits;

    /// Taps of a plateau: the same true Q, and errors of which they share the most part.
    fn plateau(taps: usize, random: &mut ChaCha8Rng) -> Vec<Replicates> {
        let splits = Splits::new(20);
        let mut noise = || (0..12).map(|_| random.random_range(-0.5..0.5)).sum::<f64>();
        // The error of the value, then by how much the halves differ.
        let shared: Vec<f64> = (0..=64).map(|_| 3.0 * noise()).collect();
        let at_tap = |_| {
            let mut errors = shared.iter().map(|shared| 0.01 * (shared + noise()));
            let estimate = errors.next().unwrap();
            Replicates { estimate, differences: errors.collect(), splits: splits.clone() }
        };
        (0..taps).map(at_tap).collect()
    }

    #[test]
    fn a_plateau_is_seldom_surely_below_its_own_maximum() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mut below, mut below_the_largest) = (0, 0);
        for _ in 0..400 {
            let repeats = [plateau(10, &mut random)];
            let margin = margin(&repeats, 9).unwrap();
            let largest = (0..9).max_by(|&a, &b| repeats[0][a].estimate.total_cmp(&repeats[0][b].estimate)).unwrap();
            let alone = difference(&repeats, (9, largest), t_quantile(1)).unwrap();
            assert!((margin.value - alone.value).abs() < 1e-12 && margin.low <= alone.low);
            assert!(margin.low < margin.value && margin.value < margin.high);
            below += usize::from(margin.high < 0.0);
            below_the_largest += usize::from(alone.high < 0.0);
        }
        // At most 2.5 of 100 as promised, where the interval against the largest alone errs far more often.
        assert!(below <= 400 * 4 / 100 && below_the_largest > 400 * 6 / 100, "{below} {below_the_largest}");
        assert_eq!(margin(&[plateau(1, &mut random)], 0), None);
    }
}
