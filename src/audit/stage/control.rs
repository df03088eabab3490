//! Which images a control looks at, and how their margins rise along the gradient.

use std::panic::{AssertUnwindSafe, catch_unwind};

use advmod_attacks::controls;
use advmod_attacks::error::AttackError;
use advmod_attacks::execute::Samples;
use advmod_attacks::victim::VictimError;

use super::panic_line;
use crate::audit::event::RiseResult;
use crate::measure::Progress;
use crate::measure::pixels::ImagePixels;
use crate::model::Model;

/// At most so many of `places`, evenly spread over them: files are often sorted by class.
pub(crate) fn spread(places: &[usize], most: usize) -> Vec<usize> {
    let n = places.len().min(most);
    (0..n).map(|at| places[at * places.len() / n]).collect()
}

/// How the margin of each image rises along its gradient; nothing where `progress` says `Break`.
pub(crate) fn rises(
    model: &Model,
    source: &ImagePixels<'_>,
    (batch, seed): (usize, u64),
    progress: &mut Progress<'_>,
) -> Result<Option<Vec<RiseResult>>, String> {
    let mut found = Vec::with_capacity(source.places.len());
    for start in (0..source.places.len()).step_by(batch) {
        let range = start..(start + batch).min(source.places.len());
        let places = &source.places[range.clone()];
        let run = || -> Result<Vec<controls::Rise>, AttackError> {
            let (pixels, labels) = source.batch(range.clone()).map_err(VictimError::from)?;
            model.seed(seed, range.start);
            let ids: Vec<u32> = places.iter().map(|&place| place as u32).collect();
            controls::rises(model, &Samples { pixels: &pixels, labels: &labels, ids: &ids })
        };
        // Arithmetic on tensors panics where libtorch refuses it.
        let rises = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_line(panic.as_ref()))?;
        let rises = rises.map_err(|error| error.to_string())?;
        found.extend(places.iter().zip(rises).map(|(&sample, controls::Rise { predicted, observed })| RiseResult {
            sample,
            predicted,
            observed,
        }));
        if progress(range.end as u64).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_evenly() {
        let all: Vec<usize> = (0..10).collect();
        assert_eq!(spread(&all, 4), [0, 2, 5, 7]);
        assert_eq!(spread(&all, 20), all);
        assert_eq!(spread(&[], 4), [0_usize; 0]);
    }
}
