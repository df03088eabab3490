//! Matched curves of an attack.

use crate::audit::event::AttackCurves;
use crate::measure::taps::{CurveSettings, MatchedNeighbors, curve_with_intervals};
use crate::modularity::{Anchor, Groups, Interval, paired_difference};

/// The same samples before and after an attack.
pub(crate) struct Matched<'a> {
    pub taps: &'a [String],
    pub found: MatchedNeighbors,
    pub labels: &'a [usize],
    /// Of the adversarial pixels.
    pub predictions: &'a [usize],
}

impl Matched<'_> {
    /// Their curves, with paired drops.
    pub(crate) fn curves(&self, settings: &CurveSettings, groups: &Groups) -> AttackCurves {
        let Self { taps, labels, predictions, ref found } = *self;
        let curve = |found, labels| curve_with_intervals(taps, found, settings, labels, groups);
        let (clean, clean_replicates) = curve(&found.clean, labels);
        let (adversarial_predicted, _) = curve(&found.adversarial, predictions);
        let (adversarial, replicates) = curve(&found.adversarial, labels);
        let difference = |clean: usize, adversarial: usize| -> Option<Interval> {
            paired_difference(clean_replicates[clean].as_ref()?, replicates[adversarial].as_ref()?).ok()
        };
        let drops = (0..taps.len()).map(|tap| difference(tap, tap)).collect();
        let peaks = clean.peak().zip(adversarial.peak());
        let peak_drop = peaks.and_then(|(clean, adversarial)| difference(clean.index, adversarial.index));
        let anchor = Anchor { k: settings.k, similarity: settings.similarity, labels, predictions, groups };
        let pairs = found.clean.iter().zip(&found.among_clean).map(|(clean, adversarial)| [clean, adversarial]);
        let anchored = Some(anchor.curve(taps.iter().map(String::as_str).zip(pairs)));
        AttackCurves { clean, adversarial, adversarial_predicted, drops, peak_drop, anchored }
    }
}
