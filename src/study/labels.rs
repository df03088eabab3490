//! Labels that the network's representations disagree with: which images may be labelled wrongly.

use advmod_attacks::victim::Victim as _;

use super::curve::CurvePlan;
use crate::data::{Dataset, select};
use crate::measure::ProgressOf;
use crate::measure::classes::Matched;
use crate::measure::fit::check_labels;
use crate::measure::pixels::ImagePixels;
use crate::measure::taps::{TraceError, visit_taps};
use crate::model::Model;
use crate::modularity::{ModularityError, SampleQ, class_note, neighbors, sample_q};
use crate::stats::mean;
use crate::study::results::Subject;
use crate::study::results::labels::{LabelsResult, RankedSample};

/// Most images that are compared where nothing else is asked for.
pub(crate) const MOST_RANKED: usize = 10_000;

/// Every sample, the most doubtful first: by its part in Q, which counts a sample the more the more neighbours choose it.
///
/// All taps of the model count alike; the plan's repeats do not matter. `progress(done, total)` counts taps × samples.
pub(crate) fn rank(
    model: &Model,
    data: &dyn Dataset,
    plan: &CurvePlan,
    progress: &mut ProgressOf<'_>,
) -> Result<LabelsResult, String> {
    let data: &dyn Dataset = &Matched::new(data, model)?;
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    let indices = select(&plan.samples, info.n).map_err(|error| error.to_string())?;
    check_labels(model, data, &indices)?;
    let images = data.read(&indices).map_err(|error| error.to_string())?;
    let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
    let classes = model.info().classes as usize;
    let places: Vec<usize> = (0..indices.len()).collect();
    let source = ImagePixels { images: &images, places: &places, device: model.device() };
    let total = (model.tap_paths().len() * indices.len()) as u64;
    let mut found = Vec::new();
    visit_taps(model, &source, &mut |done| progress(done, total), &mut |rows, share_done| {
        let neighbors = neighbors(rows, plan.similarity, plan.k, share_done);
        if neighbors == Err(ModularityError::Stopped) {
            return Err(TraceError::Stopped);
        }
        found.push(neighbors.and_then(|neighbors| sample_q(&neighbors, plan.k, &labels, classes)));
        Ok(())
    })
    .map_err(|error: TraceError| error.to_string())?;
    let named = model.tap_paths().into_iter().zip(found);
    let taps: Vec<Vec<SampleQ>> =
        named.map(|(tap, found)| found.map_err(|error| format!("{tap}: {error}"))).collect::<Result<_, _>>()?;
    let last = taps.last().ok_or("the model has no taps")?;
    let ranked = |at: usize| {
        let parts: Vec<f64> = taps.iter().map(|tap| tap[at].q).collect();
        let SampleQ { agreement, suggested, gain, same_label, .. } = last[at];
        let q = mean(&parts).unwrap_or(0.0);
        RankedSample { index: indices[at], label: labels[at], suggested, q, agreement, gain, same_label }
    };
    let mut ranking: Vec<RankedSample> = places.iter().map(|&at| ranked(at)).collect();
    ranking.sort_by(|a, b| a.q.total_cmp(&b.q).then(a.index.cmp(&b.index)));
    Ok(LabelsResult {
        of: Subject::new(model.info(), info),
        data_sha256: data.sha256(&indices).map_err(|error| error.to_string())?,
        classes: info.classes.clone(),
        n: ranking.len(),
        k: plan.k,
        similarity: plan.similarity,
        taps: model.tap_paths(),
        samples: ranking,
        warnings: data.notes().iter().cloned().chain(class_note(&labels, classes, plan.k)).collect(),
    })
}
