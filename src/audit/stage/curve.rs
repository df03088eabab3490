//! Matched curves of an attack.

use crate::audit::event::AttackCurves;
use crate::measure::taps::{CurveSettings, TapNeighbors, curve_with_intervals};
use crate::modularity::{Groups, Interval, paired_difference};

/// Matched curves: the same samples, clean and adversarial, with paired drops.
pub fn attack_curves(
    taps: &[String],
    (clean, adversarial): (&TapNeighbors, &TapNeighbors),
    settings: &CurveSettings,
    (labels, predictions): (&[usize], &[usize]),
    groups: &Groups,
) -> AttackCurves {
    let (clean, clean_replicates) = curve_with_intervals(taps, clean, settings, labels, groups);
    let (adversarial_predicted, _) = curve_with_intervals(taps, adversarial, settings, predictions, groups);
    let (adversarial, replicates) = curve_with_intervals(taps, adversarial, settings, labels, groups);
    let difference = |clean: usize, adversarial: usize| -> Option<Interval> {
        paired_difference(clean_replicates[clean].as_ref()?, replicates[adversarial].as_ref()?).ok()
    };
    let drops = (0..taps.len()).map(|tap| difference(tap, tap)).collect();
    let peak_drop = clean
        .peak()
        .zip(adversarial.peak())
        .and_then(|(clean, adversarial)| difference(clean.index, adversarial.index));
    AttackCurves { clean, adversarial, adversarial_predicted, drops, peak_drop }
}
