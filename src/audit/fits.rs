//! Whether an event fits its run. Journals may be damaged, or edited: what does not fit is left out, as if it were not there.

use super::event::{AuditEvent, AuditStart, SampleResult};
use super::resolved::ResolvedPlan;
use crate::data::LONGEST_SIDE;
use crate::measure::clean::ClassProbability;
use crate::modularity::Curve;

/// Most classes: far above what is measured, and far below what would fill the memory.
const CLASSES: usize = 1 << 20;

/// Whether an event fits a run that has begun like this, if it has, and says this of its clean images, if it does.
pub(super) fn fits(event: &AuditEvent, start: Option<&AuditStart>, predictions: Option<&[u32]>) -> bool {
    let start = match (event, start) {
        (AuditEvent::Started { start, .. }, before) => return before.is_none() && is_sound(start),
        // All that is known of no run.
        (
            AuditEvent::Warned { .. }
            | AuditEvent::Finished { .. }
            | AuditEvent::Resumed { .. }
            | AuditEvent::StageStarted { .. }
            | AuditEvent::StageProgress { .. },
            _,
        ) => return true,
        (_, None) => return false,
        (_, Some(start)) => start,
    };
    let (n, classes) = (start.data.labels.len(), start.model.classes);
    let has = |class: u32| (class as usize) < classes;
    let all = |likeliest: &[ClassProbability]| likeliest.iter().all(|it| has(it.class));
    let is_curve = |curve: &Curve| curve.taps.iter().map(|it| &it.tap).eq(&start.taps);
    match event {
        AuditEvent::CleanMeasured { predictions, nonfinite, likeliest } => {
            predictions.len() == n
                && predictions.iter().all(|&class| has(class))
                && nonfinite.iter().all(|&sample| sample < n && predictions[sample] != start.data.labels[sample])
                && (likeliest.is_empty() || likeliest.len() == n)
                && likeliest.iter().all(|it| all(it))
        }
        AuditEvent::CleanCurvesMeasured { curves } => {
            is_curve(&curves.true_labels) && is_curve(&curves.predicted_labels)
        }
        AuditEvent::BatchAttacked { attack, samples } => samples.iter().all(|it| {
            let is_attacked = |predictions: &[u32]| predictions.get(it.sample) == start.data.labels.get(it.sample);
            it.sample < n
                && has(it.prediction)
                && it.target.is_none_or(has)
                && all(&it.likeliest)
                && is_measured(it)
                && it.carried_from.is_none_or(|from| from < *attack)
                && predictions.is_some_and(is_attacked)
        }),
        AuditEvent::AttackCurvesGrew { curves, .. } => {
            [&curves.clean, &curves.adversarial].iter().all(|it| it.len() == start.taps.len())
        }
        AuditEvent::AttackCurvesMeasured { curves, .. } => {
            [&curves.clean, &curves.adversarial, &curves.adversarial_predicted].into_iter().all(is_curve)
                && curves.drops.len() == start.taps.len()
        }
        AuditEvent::AttacksAdded { attacks, .. } => {
            let mut plan = start.plan.clone();
            plan.attacks.extend(attacks.iter().cloned());
            has_sound_sweeps(&plan)
        }
        _ => true,
    }
}

fn is_measured(sample: &SampleResult) -> bool {
    sample.wrong.is_none_or(|it| (0.0..=1.0).contains(&it))
        && [sample.l2, sample.linf, sample.overshoot].iter().all(|it| it.is_finite() && *it >= 0.0)
}

fn is_sound(start: &AuditStart) -> bool {
    let AuditStart { data, model, plan, .. } = start;
    let n = data.labels.len();
    let [channels, height, width] = data.shape;
    data.indices.len() == n
        && (data.digests.is_empty() || data.digests.len() == n)
        && data.indices.iter().all(|&index| index < data.available)
        && (1..=CLASSES).contains(&model.classes)
        && data.labels.iter().all(|&label| (label as usize) < model.classes)
        && matches!(channels, 1 | 3)
        && [height, width].iter().all(|side| (1..=LONGEST_SIDE as usize).contains(side))
        && has_sound_sweeps(plan)
}

/// The attacks of a sweep stand together, and name the first of them.
fn has_sound_sweeps(plan: &ResolvedPlan) -> bool {
    let first = |at: usize| plan.attacks.get(at).map(|it| it.sweep);
    let mut places = plan.attacks.iter().enumerate();
    places.all(|(at, attack)| attack.sweep.is_none_or(|sweep| sweep <= at && first(sweep) == Some(Some(sweep))))
}
