//! What the model says about the clean images.

use advmod_attacks::outcome::Verdict;
use advmod_attacks::query::judged_logits;
use advmod_attacks::victim::Victim;
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

/// What the model says about samples, in their order.
#[derive(Debug, Default)]
pub(crate) struct Predicted {
    pub classes: Vec<u32>,
    /// The likeliest classes of each; none where its logits are not finite.
    pub likeliest: Vec<Vec<ClassProbability>>,
    /// Samples whose logits are not finite.
    pub nonfinite: Vec<usize>,
}

/// The class of each sample and its likeliest classes, from batches of at most `batch`; a random model is asked several times. Of classes with equal logits, or logits that are not
/// finite, it is one that is not the sample's label, where labels are given: what is right by its number alone is not right.
pub(crate) fn predict(
    victim: &dyn Victim,
    source: &dyn PixelSource,
    labels: Option<&[usize]>,
    batch: usize,
    progress: &mut Progress<'_>,
) -> Result<Predicted, TraceError> {
    let _guard = tch::no_grad_guard();
    let mut found = Predicted::default();
    for start in (0..source.len()).step_by(batch) {
        let length = batch.min(source.len() - start);
        let pixels = source.pixels(start..start + length)?;
        let judged = judged_logits(victim, &pixels).map_err(TraceError::Victim)?;
        for (sample, judgements) in (start..).zip(&judged) {
            let label = labels.and_then(|labels| labels.get(sample));
            // Without a label that of equals is as good as any other.
            let verdict = Verdict::of(judgements, label.map_or(0, |&label| label as i64));
            if !verdict.is_finite {
                found.nonfinite.push(sample);
            }
            let class = match label {
                Some(_) => verdict.prediction,
                None => verdict.likeliest.first().map_or(0, |it| it.0),
            };
            found.classes.push(class as u32);
            found.likeliest.push(probabilities(&verdict.likeliest));
        }
        if progress((start + length) as u64).is_break() {
            return Err(TraceError::Stopped);
        }
    }
    Ok(found)
}

pub(crate) fn probabilities(likeliest: &[(i64, f64)]) -> Vec<ClassProbability> {
    likeliest.iter().map(|&(class, p)| ClassProbability { class: class as u32, p }).collect()
}
