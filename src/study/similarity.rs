//! How alike a model's taps are: by modularity, and by CKA (the paper's Fig. 8).

use std::fmt;

use advmod_attacks::victim::Victim as _;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::curve::CurvePlan;
use crate::data::{Dataset, Selection, select};
use crate::measure::classes::Matched;
use crate::measure::fit::{check_labels, enough_for_k};
use crate::measure::pixels::ImagePixels;
use crate::measure::taps::{CurveSettings, TraceError, curve_with_intervals, tap_neighbors, visit_taps};
use crate::measure::{Progress, ProgressOf};
use crate::model::Model;
use crate::modularity::cka::{self, Gram};
use crate::modularity::{Curve, Interval, Replicates, Splits, class_note, curve_notes, paired_difference};
use crate::study::results::Subject;
use crate::study::results::similarity::{Matrix, SimilarityResult};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CkaPlan {
    /// Over all samples at once.
    Full,
    /// Unbiased, over random batches.
    Batches {
        of: usize,
        /// Which samples come into which: batches in the order of the file would often hold a class or two each.
        seed: u64,
    },
}

impl fmt::Display for CkaPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Batches { of, .. } => write!(f, "unbiased, batches of {of}"),
        }
    }
}

/// Bytes of the N² numbers per tap that are kept at once.
const KEPT_BYTES: usize = 2 << 30;

impl CkaPlan {
    /// Samples that go into one estimate, of `n`, for so many taps.
    pub fn at_once(self, n: usize, n_taps: usize) -> Result<usize, String> {
        let (length, fewest) = match self {
            Self::Full => (n, 2),
            Self::Batches { of, .. } => (of.min(n), cka::FEWEST),
        };
        let most = (KEPT_BYTES / size_of::<f64>() / n_taps.max(1)).isqrt();
        match length {
            _ if length < fewest => Err(format!("{length} samples at once are too few for CKA; it needs {fewest}")),
            _ if length > most => Err(format!(
                "{length} samples at once are too many for CKA of {n_taps} taps, which has room for {most}; give --cka {} for batches, \
                 or fewer taps",
                most.min(500)
            )),
            _ => Ok(length),
        }
    }
}

/// Linear CKA of every two taps.
#[derive(Clone, Debug, PartialEq)]
pub struct Cka {
    pub matrix: Matrix,
    /// Why a tap has none, not even with itself.
    pub flaws: Vec<Option<&'static str>>,
    /// Samples that went into it: whole batches only.
    pub samples: usize,
}

impl Cka {
    /// Of so many taps, none of which has a value, for this reason.
    pub fn missing(taps: usize, reason: &'static str) -> Self {
        Self { matrix: vec![vec![None; taps]; taps], flaws: vec![Some(reason); taps], samples: 0 }
    }
}

/// `|Q_i − Q_j|` of a curve's points.
fn difference(q: &[Option<f64>]) -> Matrix {
    let row = |a: &Option<f64>| q.iter().map(|b| Some((a.as_ref()? - b.as_ref()?).abs())).collect();
    q.iter().map(row).collect()
}

/// A curve whose taps can be told apart or not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PairedCurve {
    /// Over one set of samples, with intervals.
    pub curve: Curve,
    pub warnings: Vec<String>,
    /// By tap; none where Q or its interval is absent.
    pub(super) replicates: Vec<Option<Replicates>>,
}

impl PairedCurve {
    /// `Q_b − Q_a` with its 95 % interval, of the same samples and splits: what both taps share cancels. Nothing where either has none.
    fn change(&self, a: usize, b: usize) -> Option<Interval> {
        paired_difference(self.replicates.get(b)?.as_ref()?, self.replicates.get(a)?.as_ref()?).ok()
    }

    /// What is known of the taps of this model. `doubt` is one more warning.
    pub(crate) fn compared(
        self,
        model: &Model,
        data: &dyn Dataset,
        plan: CkaPlan,
        doubt: Option<String>,
        cka: Cka,
    ) -> SimilarityResult {
        let taps = 0..self.replicates.len();
        let change =
            taps.clone().map(|a| taps.clone().map(|b| self.change(a, b).filter(|_| a != b)).collect()).collect();
        let mut warnings: Vec<String> = self.warnings.into_iter().chain(doubt).collect();
        if cka.samples > 0 {
            warnings.extend(notes(&self.curve, &cka));
        }
        let curve = self.curve;
        let q: Vec<Option<f64>> = curve.taps.iter().map(|it| it.q).collect();
        SimilarityResult {
            of: Subject::new(model.info(), data.info()),
            n: curve.n,
            k: curve.k,
            similarity: curve.similarity,
            cka_estimate: plan.to_string(),
            cka_samples: cka.samples,
            cka_absent: cka.flaws.iter().map(|flaw| flaw.map(str::to_owned)).collect(),
            q_absent: curve.taps.iter().map(|it| it.reason.clone().filter(|_| it.q.is_none())).collect(),
            difference: difference(&q),
            q,
            taps: curve.taps.into_iter().map(|it| it.tap).collect(),
            change,
            cka: cka.matrix,
            warnings,
        }
    }
}

/// Why numbers are absent, or over fewer samples.
fn notes(curve: &Curve, cka: &Cka) -> Vec<String> {
    let mut warnings = Vec::new();
    if cka.samples < curve.n {
        warnings.push(format!("CKA is over {} of the {} samples: the rest is no whole batch", cka.samples, curve.n));
    }
    for (point, flaw) in curve.taps.iter().zip(&cka.flaws) {
        warnings.extend(flaw.map(|flaw| format!("{} has no CKA: {flaw}", point.tap)));
        let reason = point.reason.as_ref().filter(|_| point.q.is_none());
        warnings.extend(reason.map(|reason| format!("{} has no Q: {reason}", point.tap)));
    }
    let mut without = curve.taps.iter().filter(|point| point.q.is_some() && point.interval.is_none());
    if let Some((tap, reason)) = without.find_map(|point| Some((&point.tap, point.reason.as_ref()?))) {
        warnings.push(format!("differences from {tap} have no interval: {reason}"));
    }
    warnings
}

/// A model's curve over the first set of the plan, with what intervals of differences between its taps need.
/// `progress(done, total)` counts taps × samples.
pub(crate) fn paired_curve(
    model: &Model,
    data: &dyn Dataset,
    plan: &CurvePlan,
    progress: &mut ProgressOf<'_>,
) -> Result<PairedCurve, String> {
    let data: &dyn Dataset = &Matched::new(data, model)?;
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    let indices = select(&plan.samples, info.n).map_err(|error| error.to_string())?;
    enough_for_k(indices.len(), plan.k)?;
    check_labels(model, data, &indices)?;
    let total = (model.tap_paths().len() * indices.len()) as u64;
    let mut found = paired_curve_of(model, data, &indices, plan, &mut |done| progress(done, total))?;
    found.warnings.splice(0..0, data.notes().iter().cloned());
    Ok(found)
}

/// As [`paired_curve`], of images at these places in the data. `progress(done)` counts taps × samples.
pub(super) fn paired_curve_of(
    model: &Model,
    data: &dyn Dataset,
    indices: &[usize],
    plan: &CurvePlan,
    progress: &mut Progress<'_>,
) -> Result<PairedCurve, String> {
    let images = data.read(indices).map_err(|error| error.to_string())?;
    let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
    let settings = CurveSettings { k: plan.k, similarity: plan.similarity, classes: model.info().classes as usize };
    let places: Vec<usize> = (0..indices.len()).collect();
    let source = ImagePixels { images: &images, places: &places, device: model.device() };
    let found = tap_neighbors(model, &source, &settings, progress).map_err(|error: TraceError| error.to_string())?;
    let splits = Splits::new(indices.len());
    let (curve, replicates) = curve_with_intervals(&model.tap_paths(), &found, &settings, &labels, &splits);
    let mut warnings: Vec<String> = class_note(&labels, settings.classes, plan.k).into_iter().collect();
    warnings.extend(curve_notes(&curve));
    Ok(PairedCurve { curve, warnings, replicates })
}

/// Linear CKA of every two taps on these samples. `progress(done, total)` counts taps × samples.
pub fn linear_cka(
    model: &Model,
    data: &dyn Dataset,
    samples: &Selection,
    plan: CkaPlan,
    progress: &mut ProgressOf<'_>,
) -> Result<Cka, String> {
    let data: &dyn Dataset = &Matched::new(data, model)?;
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    let indices = select(samples, info.n).map_err(|error| error.to_string())?;
    let n = indices.len();
    let n_taps = model.tap_paths().len();
    let length = plan.at_once(n, n_taps)?;
    let images = data.read(&indices).map_err(|error| error.to_string())?;
    // A rest that is shorter than a batch would weigh as much as a whole one.
    let batches = n / length;
    let total = (n_taps * batches * length) as u64;
    let mut order: Vec<usize> = (0..n).collect();
    if let CkaPlan::Batches { seed, .. } = plan {
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    }
    let mut sums = vec![vec![0.0; n_taps]; n_taps];
    for batch in 0..batches {
        let source =
            ImagePixels { images: &images, places: &order[batch * length..][..length], device: model.device() };
        let before = (batch * length * n_taps) as u64;
        let mut grams = Vec::with_capacity(n_taps);
        let gram = if plan == CkaPlan::Full { Gram::centred } else { Gram::hollow };
        visit_taps(model, &source, &mut |done| progress(before + done, total), &mut |rows, _| {
            grams.push(gram(rows)?);
            Ok(())
        })
        .map_err(|error: TraceError| error.to_string())?;
        let torch = |error: tch::TchError| format!("libtorch: {}", advmod_attacks::victim::first_line(&error));
        let found = if plan == CkaPlan::Full { cka::full(&grams) } else { cka::hsic(&grams) };
        for (sums, found) in sums.iter_mut().zip(found.map_err(torch)?) {
            sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
        }
    }
    let flaws = (0..n_taps).map(|tap| cka::flaw(sums[tap][tap])).collect();
    Ok(Cka { matrix: cka::normalized(&sums), flaws, samples: batches * length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_at_once_are_bounded_from_both_sides() {
        assert_eq!(CkaPlan::Full.at_once(500, 10), Ok(500));
        let batches = |of| CkaPlan::Batches { of, seed: 0 };
        assert_eq!(batches(100).at_once(50, 10), Ok(50));
        assert!(batches(100).at_once(3, 10).unwrap_err().contains("needs 4"));
        assert!(CkaPlan::Full.at_once(1, 10).unwrap_err().contains("needs 2"));
        // 100 taps of 1,638² numbers are 2 GiB.
        assert_eq!(CkaPlan::Full.at_once(1638, 100), Ok(1638));
        for plan in [CkaPlan::Full, batches(50_000)] {
            let message = plan.at_once(60_000, 100).unwrap_err();
            assert!(message.contains("1638") && message.contains("--cka 500"), "{message}");
        }
    }

    #[test]
    fn differences_are_absolute_and_gaps_stay() {
        let rows = difference(&[Some(0.25), None, Some(1.0)]);
        assert_eq!(rows[0], [Some(0.0), None, Some(0.75)]);
        assert_eq!(rows[2], [Some(0.75), None, Some(0.0)]);
        assert_eq!(rows[1], [None; 3]);
    }
}
