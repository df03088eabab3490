//! From samples to modularity curves: traces the model and hands each tap's neighbours over as plain data.

use advmod_attacks::query::padded;
use tch::{TchError, Tensor};

use super::pixels::{Joined, PixelSource};
use crate::measure::Progress;
use crate::model::Model;
use crate::modularity::{
    Curve, ModularityError, Neighbors, Replicates, ShareDone, Similarity, Splits, TapModularity, TapPoint,
    candidates_for, modularity_of_halves, neighbors, neighbors_among,
};

/// Most samples per forward pass of a trace.
const TRACE_BATCH: usize = 512;

/// Pixels per forward pass of a trace beyond which the batch gets smaller: 512 images of 64×64.
const TRACE_PIXELS: usize = 512 * 64 * 64;

/// Bytes of representations kept at once where one pass does not hold all samples.
const KEPT_BYTES: usize = 2 << 30;

/// Share of a group's first tap that its forward passes count as, in what is told of the progress.
const FORWARD_SHARE: f64 = 0.25;

/// Each tap's neighbours, or why it has none.
pub type TapNeighbors = Vec<Result<Neighbors, ModularityError>>;

#[derive(Clone, Debug, PartialEq)]
pub struct CurveSettings {
    pub k: usize,
    pub similarity: Similarity,
    pub classes: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Victim(advmod_attacks::victim::VictimError),
    #[error("libtorch: {}", advmod_attacks::victim::first_line(.0))]
    Torch(#[from] TchError),
}

/// Feeds all samples forward and finds each tap's neighbours, with lists long enough for halves of the samples. `progress(done)` counts taps × samples.
pub fn tap_neighbors(
    model: &Model,
    source: &dyn PixelSource,
    settings: &CurveSettings,
    progress: &mut Progress<'_>,
) -> Result<TapNeighbors, TraceError> {
    let n = source.len();
    let n_taps = model.tap_paths().len();
    if n <= settings.k {
        return Ok(vec![Err(ModularityError::TooFewSamples { n, k: settings.k }); n_taps]);
    }
    let candidates = candidates_for(n, settings.k);
    let mut found = Vec::with_capacity(n_taps);
    visit_taps(model, source, progress, &mut |rows, share_done| {
        match neighbors(rows, settings.similarity, candidates, share_done) {
            Err(ModularityError::Stopped) => return Err(TraceError::Stopped),
            neighbors => found.push(neighbors),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Neighbours of samples before and after an attack, all three from the same representations.
pub struct MatchedNeighbors {
    pub clean: TapNeighbors,
    pub adversarial: TapNeighbors,
    /// Of each adversarial sample among the clean ones, its own original left out.
    pub among_clean: TapNeighbors,
}

/// As [`tap_neighbors`], of the same samples before and after an attack. `progress(done)` counts taps × pictures.
pub(crate) fn matched_neighbors(
    model: &Model,
    clean: &dyn PixelSource,
    adversarial: &dyn PixelSource,
    settings: &CurveSettings,
    progress: &mut Progress<'_>,
) -> Result<MatchedNeighbors, TraceError> {
    let n = clean.len();
    let mut found = MatchedNeighbors { clean: Vec::new(), adversarial: Vec::new(), among_clean: Vec::new() };
    if n <= settings.k {
        let none = vec![Err(ModularityError::TooFewSamples { n, k: settings.k }); model.tap_paths().len()];
        return Ok(MatchedNeighbors { clean: none.clone(), adversarial: none.clone(), among_clean: none });
    }
    let (candidates, similarity) = (candidates_for(n, settings.k), settings.similarity);
    visit_taps(model, &Joined { first: clean, second: adversarial }, progress, &mut |rows, share_done| {
        let (before, after) = (rows.f_narrow(0, 0, n as i64)?, rows.f_narrow(0, n as i64, n as i64)?);
        // Each pair of the same kind is compared once only.
        let clean = neighbors(&before, similarity, candidates, &mut |share| share_done(share / 4.0));
        let adversarial = neighbors(&after, similarity, candidates, &mut |share| share_done((1.0 + share) / 4.0));
        let mut rest = |share: f64| share_done(f64::midpoint(1.0, share));
        let among = neighbors_among(&after, &before, similarity, candidates, &mut rest);
        if [&clean, &adversarial, &among].contains(&&Err(ModularityError::Stopped)) {
            return Err(TraceError::Stopped);
        }
        found.clean.push(clean);
        found.adversarial.push(adversarial);
        found.among_clean.push(among);
        Ok(())
    })?;
    Ok(found)
}

/// What is done with a tap's rows `[N, M]`; its second argument is told the share of this that is done.
pub(crate) type Visit<'a> = dyn FnMut(&Tensor, &mut ShareDone<'_>) -> Result<(), TraceError> + 'a;

/// Feeds all samples forward and hands each tap's rows `[N, M]` over, tap by tap in forward order.
///
/// Up to one batch of samples, each representation is used while it is alive. More samples are worked off in groups of taps that fit
/// in memory, with one forward pass per group. `progress(done)` counts taps × samples.
pub(crate) fn visit_taps(
    model: &Model,
    source: &dyn PixelSource,
    progress: &mut Progress<'_>,
    visit: &mut Visit<'_>,
) -> Result<(), TraceError> {
    let n = source.len();
    let n_taps = model.tap_paths().len();
    let batch = trace_batch(&source.pixels(0..1)?);
    let mut visited = 0;
    // `begun` is the share of the tap that counts as done.
    let mut visit_next = |rows: &Tensor, begun: f64, progress: &mut Progress<'_>| {
        let mut tell = |done: f64| progress((done * n as f64) as u64);
        visit(rows, &mut |share| tell(visited as f64 + begun + (1.0 - begun) * share))?;
        visited += 1;
        if tell(visited as f64).is_break() { Err(TraceError::Stopped) } else { Ok(visited) }
    };
    if n <= batch {
        let pixels = padded(&source.pixels(0..n)?)?;
        let mut failed = None;
        let _logits = model.trace(&pixels, &mut |_, rows| {
            if failed.is_none() {
                failed = visit_next(&rows.f_narrow(0, 0, n as i64)?, 0.0, progress).err();
            }
            Ok(())
        })?;
        return failed.map_or(Ok(()), Err);
    }
    let mut first = 0;
    while first < n_taps {
        let mut begun = FORWARD_SHARE;
        for rows in keep_rows(model, source, (first, batch), progress)? {
            first = visit_next(&rows, begun, progress)?;
            begun = 0.0;
        }
    }
    Ok(())
}

/// Samples per forward pass for images like these: large images have large activations.
fn trace_batch(pixels: &Tensor) -> usize {
    let area = pixels.size()[2..].iter().product::<i64>() as usize;
    (TRACE_PIXELS / area.max(1)).clamp(16, TRACE_BATCH)
}

/// The rows `[N, M]` of the taps from `first` on, as many as fit in memory, at least one.
fn keep_rows(
    model: &Model,
    source: &dyn PixelSource,
    (first, batch): (usize, usize),
    progress: &mut Progress<'_>,
) -> Result<Vec<Tensor>, TraceError> {
    let n = source.len();
    let mut kept: Vec<Tensor> = Vec::new();
    let mut bytes = 0;
    let mut full = false;
    for start in (0..n).step_by(batch) {
        let length = batch.min(n - start);
        let pixels = padded(&source.pixels(start..start + length)?)?;
        let _logits = model.trace(&pixels, &mut |tap, rows| {
            let rows = rows.f_narrow(0, 0, length as i64)?;
            if start == 0 && tap >= first && !full {
                let width = rows.size()[1];
                let more = n * width as usize * size_of::<f32>();
                full = !kept.is_empty() && bytes + more > KEPT_BYTES;
                if !full {
                    bytes += more;
                    kept.push(Tensor::f_empty([n as i64, width], (rows.kind(), rows.device()))?);
                }
            }
            if let Some(all) = tap.checked_sub(first).and_then(|place| kept.get(place)) {
                all.f_narrow(0, start as i64, length as i64)?.f_copy_(&rows)?;
            }
            Ok(())
        })?;
        let share = FORWARD_SHARE * (start + length) as f64;
        if progress((first * n) as u64 + share as u64).is_break() {
            return Err(TraceError::Stopped);
        }
    }
    Ok(kept)
}

/// One repeat of every tap under these labels.
pub fn measure(
    found: &TapNeighbors,
    settings: &CurveSettings,
    labels: &[usize],
) -> Vec<Result<TapModularity, ModularityError>> {
    let measure = |neighbors: &Result<Neighbors, ModularityError>| {
        TapModularity::measure(neighbors.as_ref().map_err(Clone::clone)?, settings.k, labels, settings.classes)
    };
    found.iter().map(measure).collect()
}

/// A curve over one set of samples with its intervals, and the replicates for paired differences.
pub fn curve_with_intervals(
    taps: &[String],
    found: &TapNeighbors,
    settings: &CurveSettings,
    labels: &[usize],
    splits: &Splits,
) -> (Curve, Vec<Option<Replicates>>) {
    let mut points = Vec::with_capacity(taps.len());
    let mut replicates = Vec::with_capacity(taps.len());
    for ((tap, neighbors), measured) in taps.iter().zip(found).zip(measure(found, settings, labels)) {
        let halves = (neighbors.as_ref().map_err(Clone::clone))
            .and_then(|neighbors| modularity_of_halves(neighbors, settings.k, labels, settings.classes, splits));
        let interval = halves.as_ref().map(Replicates::interval).map_err(Clone::clone);
        points.push(TapPoint::from_repeats(tap.as_str(), &[measured]).with_interval(interval));
        replicates.push(halves.ok());
    }
    let curve = Curve { n: labels.len(), k: settings.k, similarity: settings.similarity, taps: points };
    (curve, replicates)
}
