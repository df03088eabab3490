//! What the model says about the clean images.

use advmod_attacks::outcome::{likeliest, prediction};
use advmod_attacks::query::padded_logits;
use advmod_attacks::victim::{Victim, VictimError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pixels::PixelSource;
use super::taps::TraceError;
use crate::measure::Progress;

/// A class and how likely it is according to the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassProbability {
    /// Label of the class as a number.
    pub class: u32,
    /// Probability of the class: the softmax of the logits.
    pub p: f64,
}

/// The class of each sample and its likeliest classes, from batches of at most `batch`. Of classes with equal logits it is one that is not the
/// sample's label, where labels are given: what is right by its number alone is not right.
pub(crate) fn predict(
    victim: &dyn Victim,
    source: &dyn PixelSource,
    labels: Option<&[usize]>,
    batch: usize,
    progress: &mut Progress<'_>,
) -> Result<(Vec<u32>, Vec<Vec<ClassProbability>>), TraceError> {
    let _guard = tch::no_grad_guard();
    let mut found = Vec::with_capacity(source.len());
    for start in (0..source.len()).step_by(batch) {
        let length = batch.min(source.len() - start);
        let pixels = source.pixels(start..start + length)?;
        let logits = padded_logits(victim, &pixels).map_err(TraceError::Victim)?;
        let logits = Vec::<Vec<f32>>::try_from(logits)?;
        if let Some(row) = logits.iter().position(|logits| !logits.iter().all(|logit| logit.is_finite())) {
            let message = format!("the logits of sample {} are not finite", start + row);
            return Err(TraceError::Victim(VictimError::from_message(message)));
        }
        found.extend(logits.iter().enumerate().map(|(row, logits)| {
            let likeliest = likeliest(logits);
            let first = likeliest.first().map_or(0, |it| it.0);
            let label = labels.and_then(|labels| labels.get(start + row)).copied();
            let class = label.map_or(first, |label| prediction(logits, label as i64));
            (class as u32, probabilities(&likeliest))
        }));
        if progress((start + length) as u64).is_break() {
            return Err(TraceError::Stopped);
        }
    }
    Ok(found.into_iter().unzip())
}

pub(crate) fn probabilities(likeliest: &[(i64, f64)]) -> Vec<ClassProbability> {
    likeliest.iter().map(|&(class, p)| ClassProbability { class: class as u32, p }).collect()
}
