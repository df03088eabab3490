//! What the report cannot say.

use advmod_attacks::catalog::ATTACKS;

use super::text::name;
use crate::verdict::Report;
use crate::verdict::facts::AttackStatus;

/// Limits and assumptions of this audit, one sentence each.
pub(super) fn limits(report: &Report) -> Vec<String> {
    let n = report.data.indices.len();
    let mut limits = vec![
        "An attack that fails proves nothing: another attack, more steps or another start may succeed. The absence of a finding is not the \
         absence of a weakness."
            .to_owned(),
        format!(
            "Figures are estimates from {n} image{} ({}) and one seed. Intervals cover the choice of images, not that of the seed.",
            if n == 1 { "" } else { "s" },
            name(&report.plan.selection)
        ),
        "The labels of the data are taken for right, and the data for what the model will meet.".to_owned(),
        "Attacked is the model as loaded, with its normalization. Anything that stands before or behind it in use (resizing, compression, \
         detectors, rate limits) was not there, and no attack was adapted to it."
            .to_owned(),
        "Out of scope: physical changes, rotations and other geometry, poisoned training data, extraction of the model or its data, and \
         transfer from substitute models."
            .to_owned(),
        "Interpolation between sizes is not measured: success at an ε that was not run is not known.".to_owned(),
    ];
    if n < 100 {
        limits.push(format!("{n} images make wide intervals: for a decision, use some hundred."));
    }
    let ran = |id: &str| report.attacks.iter().any(|it| it.attack.name == id && it.status == AttackStatus::Complete);
    let others: Vec<&str> = ATTACKS.iter().map(|it| it.id).filter(|id| !ran(id)).collect();
    if !others.is_empty() {
        limits.push(format!("Known to advmod, and not run to their end here: {}.", others.join(", ")));
    }
    if !report.plan.eight_bit {
        limits.push(
            "Adversarial images were judged as 32-bit pixels; rounding them to 8 bits, as image files do, can undo the smallest changes."
                .to_owned(),
        );
    }
    limits
}
