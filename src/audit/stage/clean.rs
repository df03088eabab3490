//! What the model says about the clean images.

use std::ops::ControlFlow;

use advmod_attacks::query::padded_logits;
use advmod_attacks::victim::Victim;

use super::curve::TraceError;
use super::pixels::PixelSource;

/// The class of each sample, from batches of at most `batch`.
pub fn predict(
    victim: &dyn Victim,
    source: &dyn PixelSource,
    batch: usize,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Vec<u32>, TraceError> {
    let _guard = tch::no_grad_guard();
    let mut predictions = Vec::with_capacity(source.len());
    for start in (0..source.len()).step_by(batch) {
        let length = batch.min(source.len() - start);
        let pixels = source.pixels(start..start + length)?;
        let logits = padded_logits(victim, &pixels).map_err(TraceError::Victim)?;
        let classes = Vec::<i64>::try_from(logits.f_argmax(1, false)?)?;
        predictions.extend(classes.into_iter().map(|class| class as u32));
        if progress((start + length) as u64).is_break() {
            return Err(TraceError::Stopped);
        }
    }
    Ok(predictions)
}
