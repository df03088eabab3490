//! What several attacks say together: the worst case, and success against ε.

use std::collections::BTreeSet;

use advmod_attacks::threat::{Epsilon, Goal, Norm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{AttackResult, AttackStatus, Facts};
use super::metric::read;
use crate::audit::attack::Budget;
use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::stats::rates::Rate;

/// An attacker who tries every attack of the audit and keeps, for each sample, one that works, whatever its norm and ε.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorstCase {
    /// `complete` when every attack is; otherwise the success rate is a lower bound.
    pub status: AttackStatus,
    /// Samples on which any attack met its goal, of the samples that any attack attacked. A targeted attack meets its goal where the
    /// sample is classified as its target.
    pub success_rate: Rate,
    /// Samples that stay correctly classified under the final pixels of every attack, of all samples; an upper bound where an attack
    /// failed. Absent for incomplete runs, and where no untargeted attack is complete.
    pub adversarial_accuracy: Option<Rate>,
    /// Places of the samples on which any attack met its goal, in sample order.
    pub broken: Vec<usize>,
}

impl WorstCase {
    /// Of at least two attacks. An untargeted attack attacks every correctly classified sample.
    pub(super) fn of(facts: &Facts) -> Option<Self> {
        let (attacks, labels) = (facts.attacks, &facts.data.labels);
        if attacks.len() < 2 {
            return None;
        }
        let samples = || attacks.iter().flat_map(|attack| &attack.samples);
        let attacked: BTreeSet<usize> = samples().map(|it| it.sample).collect();
        let broken: BTreeSet<usize> = samples().filter(|it| it.success).map(|it| it.sample).collect();
        let misclassified: BTreeSet<usize> =
            samples().filter(|it| labels.get(it.sample) != Some(&it.prediction)).map(|it| it.sample).collect();
        let any = |status| attacks.iter().any(|attack| attack.status == status);
        let status = match (any(AttackStatus::Incomplete), any(AttackStatus::Failed)) {
            (true, _) => AttackStatus::Incomplete,
            (false, true) => AttackStatus::Failed,
            (false, false) => AttackStatus::Complete,
        };
        let has_untargeted = attacks.iter().any(|it| it.status == AttackStatus::Complete && !it.attack.is_targeted());
        let clean = facts.clean.accuracy.filter(|_| has_untargeted && status != AttackStatus::Incomplete);
        Some(Self {
            status,
            success_rate: Rate::new(broken.len(), attacked.len()),
            adversarial_accuracy: clean.map(|it| Rate::new(it.count.saturating_sub(misclassified.len()), it.of)),
            broken: broken.into_iter().collect(),
        })
    }
}

/// What an attacker achieves who may change an image by at most ε in a norm, with whichever attack of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BudgetResult {
    /// How changes are measured: `linf`, `l2` or `l0`.
    #[schemars(with = "String")]
    pub norm: Norm,
    /// Largest change ε as it was given, such as `8/255`.
    #[schemars(with = "String")]
    pub eps: Epsilon,
    /// Labels of the attacks that look for changes within the budget: of this norm with this or a smaller ε, or for the smallest change.
    pub attacks: Vec<String>,
    /// Samples that any of these attacks gets misclassified within the budget, of those that any attacked; absent unless all are complete.
    pub success_rate: Option<Rate>,
    /// Samples that none of these attacks gets misclassified, of all samples; absent unless all are complete.
    pub adversarial_accuracy: Option<Rate>,
}

impl BudgetResult {
    pub(crate) fn budget(&self) -> Budget {
        Budget { norm: self.norm, eps: self.eps }
    }
}

/// Every budget that an untargeted attack of the audit was given, in the plan's order.
pub(super) fn given_budgets(facts: &Facts) -> Vec<Budget> {
    let given = facts.attacks.iter().filter(|it| !it.attack.is_targeted()).filter_map(|it| it.attack.budget());
    let mut budgets: Vec<Budget> = Vec::new();
    for budget in given {
        let is_same = |it: &Budget| it.norm == budget.norm && it.eps.value().total_cmp(&budget.eps.value()).is_eq();
        if !budgets.iter().any(is_same) {
            budgets.push(budget);
        }
    }
    budgets
}

pub(super) fn budgets(facts: &Facts) -> Vec<BudgetResult> {
    let result = |budget: Budget| {
        let tried = facts.attacks.iter().filter(|it| it.attack.tries(&budget));
        let rate = |quantity| {
            let metric = Metric { is_regression: false, quantity, subject: Subject::Within(budget), class: None };
            let counted = read(facts, &metric).into_iter().next()?.found.ok()?.counted?;
            Some(Rate::new(counted.hits.len(), counted.of.len()))
        };
        BudgetResult {
            norm: budget.norm,
            eps: budget.eps,
            attacks: tried.map(|it| it.attack.label.clone()).collect(),
            success_rate: rate(Quantity::SuccessRate),
            adversarial_accuracy: rate(Quantity::Accuracy),
        }
    };
    given_budgets(facts).into_iter().map(result).collect()
}

/// Success against ε: one attack at several sizes, where what a smaller size broke counts as broken at every larger one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sweep {
    /// Name of the attack as `advmod attacks` lists it.
    pub attack: String,
    /// How changes are measured: `linf`, `l2` or `l0`.
    #[schemars(with = "String")]
    pub norm: Norm,
    /// `untargeted`, or `targeted` with the rule by which targets are chosen.
    #[schemars(with = "String")]
    pub goal: Goal,
    /// Result at each size, the smallest ε first.
    pub points: Vec<SweepPoint>,
}

/// One size of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepPoint {
    /// The attack's label, under which its other results stand.
    pub label: String,
    /// Size ε as it was given, such as `8/255`.
    #[schemars(with = "String")]
    pub eps: Epsilon,
    /// Size ε as one number.
    pub eps_value: f64,
    /// How far the attack got at this size.
    pub status: AttackStatus,
    /// Share of the attacked samples that are broken at this size, the carried ones included.
    pub success_rate: Rate,
    /// Samples that a smaller size broke and this one did not.
    pub carried: usize,
}

pub(super) fn sweeps(facts: &Facts) -> Vec<Sweep> {
    let groups = facts.attacks.chunk_by(|a, b| a.attack.sweep.is_some() && a.attack.sweep == b.attack.sweep);
    let point = |result: &AttackResult| {
        let eps = result.attack.epsilon?;
        Some(SweepPoint {
            label: result.attack.label.clone(),
            eps,
            eps_value: eps.value(),
            status: result.status,
            success_rate: result.success_rate,
            carried: result.carried,
        })
    };
    let sweep = |group: &[AttackResult]| Sweep {
        attack: group[0].attack.name.clone(),
        norm: group[0].attack.norm,
        goal: group[0].attack.goal,
        points: group.iter().filter_map(point).collect(),
    };
    groups.filter(|group| group[0].attack.sweep.is_some()).map(sweep).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use advmod_attacks::config::find;
    use advmod_attacks::threat::Target;

    use super::*;
    use crate::audit::attack::ResolvedAttack;
    use crate::audit::event::SampleResult;
    use crate::audit::state::AttackState;
    use crate::verdict::testing::recorded;

    fn sample(sample: usize, prediction: u32, target: Option<u32>) -> SampleResult {
        SampleResult {
            sample,
            success: target.map_or(prediction != 0, |target| prediction == target),
            prediction,
            target,
            forwards: 3,
            backwards: 3,
            ..SampleResult::default()
        }
    }

    /// An attack on samples of class 0 that ends in these classes.
    fn result(
        eps: &str,
        target: Option<u32>,
        predictions: &[u32],
        status: AttackStatus,
        sweep: Option<usize>,
    ) -> AttackResult {
        let goal = target.map_or(Goal::Untargeted, |target| Goal::Targeted(Target::Class(target.into())));
        let (norm, epsilon) = (Norm::Linf, Some(eps.parse().unwrap()));
        let attack = ResolvedAttack {
            label: "pgd".to_owned(),
            name: "pgd".to_owned(),
            spec: find("pgd").ok(),
            title: String::new(),
            norm,
            epsilon,
            goal,
            own: BTreeMap::new(),
            sweep,
        };
        let samples = predictions.iter().enumerate().map(|(at, &prediction)| sample(at, prediction, target)).collect();
        let state = AttackState { samples, ..AttackState::default() };
        AttackResult { status, ..AttackResult::of(&attack, &state, Some(Rate::new(4, 10))) }
    }

    #[test]
    fn the_worst_case_is_the_union_of_what_the_attacks_broke() {
        use AttackStatus::{Complete, Failed, Incomplete};
        let mut report = recorded();
        report.data.labels = vec![0; 10];
        report.clean.accuracy = Some(Rate::new(4, 10));
        let of = |attacks: &[AttackResult]| WorstCase::of(&Facts { attacks, ..report.facts() });
        assert_eq!(of(&[result("1", None, &[1, 0, 0, 0], Complete, None)]), None);
        let first = result("1", None, &[1, 0, 0, 0], Complete, None);
        let worst = of(&[first.clone(), result("1", None, &[1, 0, 3, 0], Complete, None)]).unwrap();
        assert_eq!((worst.success_rate, worst.broken), (Rate::new(2, 4), vec![0, 2]));
        assert_eq!((worst.status, worst.adversarial_accuracy), (Complete, Some(Rate::new(2, 10))));
        // Class 3 was not the target of the second, but it is no class 0 either.
        let targeted = result("1", Some(1), &[0, 3, 1, 0], Complete, None);
        let worst = of(&[first.clone(), targeted.clone()]).unwrap();
        assert_eq!((worst.success_rate, worst.adversarial_accuracy), (Rate::new(2, 4), Some(Rate::new(1, 10))));
        assert_eq!(of(&[targeted.clone(), targeted]).unwrap().adversarial_accuracy, None);
        let worst = of(&[first.clone(), result("1", None, &[0, 1], Failed, None)]).unwrap();
        assert_eq!((worst.status, worst.success_rate), (Failed, Rate::new(2, 4)));
        let worst = of(&[first, result("1", None, &[], Incomplete, None)]).unwrap();
        assert_eq!((worst.status, worst.adversarial_accuracy), (Incomplete, None));
    }

    #[test]
    fn neighbouring_sweeps_are_told_apart() {
        let at = |eps, sweep| result(eps, None, &[1, 0], AttackStatus::Complete, sweep);
        let (report, attacks) =
            (recorded(), [at("1", None), at("2/255", Some(1)), at("0.5", Some(1)), at("1", Some(3)), at("2", Some(3))]);
        let found = sweeps(&Facts { attacks: &attacks, ..report.facts() });
        let sizes: Vec<Vec<f64>> =
            found.iter().map(|it| it.points.iter().map(|point| point.eps_value).collect()).collect();
        assert_eq!(sizes, [vec![2.0 / 255.0, 0.5], vec![1.0, 2.0]]);
        assert_eq!((found[0].goal, found[0].points[0].success_rate), (Goal::Untargeted, Rate::new(1, 2)));
    }
}
