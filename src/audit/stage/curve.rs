//! Matched curves of an attack.

use crate::audit::event::AttackCurves;
use crate::measure::taps::{CurveSettings, MatchedNeighbors, curve_with_intervals};
use crate::modularity::{Anchor, Replicates, Splits};

/// The same samples before and after an attack.
pub struct Matched<'a> {
    pub taps: &'a [String],
    pub found: MatchedNeighbors,
    pub labels: &'a [usize],
    /// Of the adversarial pixels.
    pub predictions: &'a [usize],
}

impl Matched<'_> {
    /// Their curves, with paired drops.
    pub fn curves(&self, settings: &CurveSettings, splits: &Splits) -> AttackCurves {
        let Self { taps, labels, predictions, ref found } = *self;
        let curve = |found, labels| curve_with_intervals(taps, found, settings, labels, splits);
        let (clean, clean_replicates) = curve(&found.clean, labels);
        let (adversarial_predicted, _) = curve(&found.adversarial, predictions);
        let (adversarial, replicates) = curve(&found.adversarial, labels);
        let difference = |clean: usize, adversarial: usize| -> Option<Replicates> {
            clean_replicates[clean].as_ref()?.minus(replicates[adversarial].as_ref()?).ok()
        };
        let drops = (0..taps.len()).map(|tap| Some(difference(tap, tap)?.interval())).collect();
        let (before, after) = (clean.peak(), adversarial.peak());
        let peak_drop = before.zip(after.as_ref()).and_then(|(clean, after)| difference(clean.index, after.index));
        let peak_halves = after.and_then(|it| Some(replicates[it.index].as_ref()?.differences.clone()));
        let anchor = Anchor { k: settings.k, similarity: settings.similarity, labels, predictions, splits };
        let pairs = found.clean.iter().zip(&found.among_clean).map(|(clean, adversarial)| [clean, adversarial]);
        let anchored = Some(anchor.curve(taps.iter().map(String::as_str).zip(pairs)));
        AttackCurves {
            clean,
            adversarial,
            adversarial_predicted,
            drops,
            peak_drop: peak_drop.as_ref().map(Replicates::interval),
            peak_halves: peak_halves.unwrap_or_default(),
            drop_halves: peak_drop.map(|it| it.differences).unwrap_or_default(),
            anchored,
        }
    }
}
