//! What of a report is compared, and what must be the same for that.

use std::collections::BTreeMap;

use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::verdict::facts::{AttackResult, Facts};

/// What counts all images first: the others depend on which images were attacked.
const QUANTITIES: [Quantity; 6] = [
    Quantity::Accuracy,
    Quantity::SuccessRate,
    Quantity::RetentionDrop,
    Quantity::CapturedFrom,
    Quantity::PeakDrop,
    Quantity::PeakQ,
];

/// Settings of the curves, which decide whether two modularities can be compared.
pub(super) fn curve_settings(facts: &Facts) -> BTreeMap<String, String> {
    let plan = &facts.plan;
    let pairs = [("k", plan.k.to_string()), ("similarity", plan.similarity.to_string()), ("taps", plan.taps.clone())];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Every metric of a report but those of single classes, with the parameters of what it is of.
pub(super) fn metrics(facts: &Facts) -> Vec<(Metric, BTreeMap<String, String>)> {
    let judged = ("judged on".to_owned(), if facts.plan.eight_bit { "8 bits" } else { "f32" }.to_owned());
    let parameters = |it: &AttackResult| (it.attack.label.clone(), it.attack.parameters_text());
    let mut subjects = vec![(Subject::Clean, BTreeMap::new(), false)];
    for budget in facts.budgets() {
        // Whatever an attack makes may lie inside.
        let all = facts.attacks.iter().map(parameters);
        let settings = all.chain([judged.clone(), ("budget".to_owned(), budget.to_string())]).collect();
        subjects.push((Subject::Within(budget), settings, false));
    }
    for AttackResult { attack, .. } in facts.attacks {
        let mut settings = attack.params();
        settings.extend([judged.clone(), ("attack".to_owned(), attack.name.clone())]);
        subjects.push((Subject::Attacks(attack.label.clone()), settings, attack.is_targeted()));
    }
    let mut metrics = Vec::new();
    for quantity in QUANTITIES {
        for (subject, settings, is_targeted) in &subjects {
            // A targeted attack has no accuracy.
            if quantity.exists_of(subject) && !(*is_targeted && quantity == Quantity::Accuracy) {
                let metric = Metric { is_regression: false, quantity, subject: subject.clone(), class: None };
                metrics.push((metric, settings.clone()));
            }
        }
    }
    metrics
}
