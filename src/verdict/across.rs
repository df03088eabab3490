//! What several attacks say together: the worst case within a budget, changes by their size, and success against ε.

use advmod_attacks::ensemble::{find_ensemble, is_published};
use advmod_attacks::threat::{Epsilon, Goal, Norm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{AttackResult, AttackStatus, Ensemble, Facts};
use super::metric::{of_ensemble, read};
use crate::audit::attack::Budget;
use crate::audit::event::ControlResult;
use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::stats::rates::Rate;

/// The worst case within a budget: what an attacker achieves who may change an image by at most ε in a norm. Every adversarial image of the
/// audit counts that lies inside the budget, whichever attack made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetResult {
    /// How changes are measured: `linf`, `l2` or `l0`.
    #[schemars(with = "String")]
    pub norm: Norm,
    /// Largest change ε as it was given, such as `8/255`.
    #[schemars(with = "String")]
    pub eps: Epsilon,
    /// Labels of the attacks that look for changes within the budget (of this norm with this or a smaller ε, or for the smallest change),
    /// and of others that broke an image inside it, controls among them.
    pub attacks: Vec<String>,
    /// Samples that are misclassified inside the budget, of those that any attack attacked; absent unless the attacks that look there are
    /// complete.
    pub success_rate: Option<Rate>,
    /// Samples that no attack gets misclassified inside the budget, of all samples; absent unless the attacks that look there are complete.
    pub adversarial_accuracy: Option<Rate>,
}

impl BudgetResult {
    pub(crate) fn budget(&self) -> Budget {
        Budget { norm: self.norm, eps: self.eps }
    }
}

pub(super) fn budgets(facts: &Facts) -> Vec<BudgetResult> {
    let result = |budget: Budget| {
        let breaks = |it: &AttackResult| it.samples.iter().any(|sample| facts.breaks_within(sample, &budget));
        let counts = facts.attacks.iter().filter(|it| it.attack.tries(&budget) || breaks(it));
        let counts = counts.map(|it| it.attack.label.clone());
        let breaks = |it: &&ControlResult| it.samples.iter().any(|sample| facts.breaks_within(sample, &budget));
        let controls = facts.controls.iter().filter(breaks).map(|it| it.kind.name().to_owned());
        let rate = |quantity| {
            let metric = Metric { is_regression: false, quantity, subject: Subject::Within(budget), class: None };
            let counted = read(facts, &metric).into_iter().next()?.found.ok()?.counted;
            Some(Rate::new(counted.hits.len(), counted.of.len()))
        };
        BudgetResult {
            norm: budget.norm,
            eps: budget.eps,
            attacks: counts.chain(controls).collect(),
            success_rate: rate(Quantity::SuccessRate),
            adversarial_accuracy: rate(Quantity::Accuracy),
        }
    };
    facts.budgets().into_iter().map(result).collect()
}

/// What the attacks of an ensemble break together: each attacks the images that the others before it left within their budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EnsembleResult {
    /// Name of the ensemble, with a number where it has several budgets.
    pub label: String,
    /// What it is, where its attacks and their parameters are those of a publication: `AutoAttack standard, version as published 2020`.
    pub published: Option<String>,
    /// How changes are measured: `linf`, `l2` or `l0`.
    #[schemars(with = "String")]
    pub norm: Norm,
    /// Largest change ε as it was given, such as `8/255`.
    #[schemars(with = "String")]
    pub eps: Epsilon,
    /// Labels of its attacks, in their order.
    pub attacks: Vec<String>,
    /// Samples that one of them breaks, of those that any of them attacked; absent unless all are complete.
    pub success_rate: Option<Rate>,
    /// Samples that none of them breaks, of all samples: the robust accuracy. Absent unless all are complete.
    pub adversarial_accuracy: Option<Rate>,
}

impl EnsembleResult {
    pub(crate) fn budget(&self) -> Budget {
        Budget { norm: self.norm, eps: self.eps }
    }
}

pub(super) fn ensembles(facts: &Facts) -> Vec<EnsembleResult> {
    let result = |ensemble: Ensemble<'_>| {
        let rate = |quantity| {
            let counted = of_ensemble(facts, &ensemble, quantity, None).ok()?.counted;
            Some(Rate::new(counted.hits.len(), counted.of.len()))
        };
        let attacks = || ensemble.attacks.iter().map(|it| &it.attack);
        let published = find_ensemble(ensemble.name)
            .filter(|spec| is_published(spec, attacks().map(|it| (it.name.as_str(), &it.own))))
            .map(|spec| spec.title.to_owned());
        EnsembleResult {
            published,
            norm: ensemble.budget.norm,
            eps: ensemble.budget.eps,
            attacks: attacks().map(|it| it.label.clone()).collect(),
            success_rate: rate(Quantity::SuccessRate),
            adversarial_accuracy: rate(Quantity::Accuracy),
            label: ensemble.label,
        }
    };
    facts.ensembles().into_iter().map(result).collect()
}

/// How large a change it takes, by an attack that looks for the smallest one and has no bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DistanceResult {
    /// Label of the attack.
    pub attack: String,
    /// How changes are measured: `linf`, `l2` or `l0`.
    #[schemars(with = "String")]
    pub norm: Norm,
    /// Size within which half of the attacked samples are broken; absent where fewer are.
    pub half: Option<f64>,
    /// Size within which nine of ten attacked samples are broken; absent where fewer are.
    pub most: Option<f64>,
}

pub(super) fn distances(facts: &Facts) -> Vec<DistanceResult> {
    let is_meant = |it: &&AttackResult| it.status == AttackStatus::Complete && it.attack.epsilon.is_none();
    let result = |it: &AttackResult| {
        let broken = it.samples.iter().filter(|sample| sample.success);
        let mut sizes: Vec<f64> = broken.map(|sample| sample.size(it.attack.norm)).collect();
        sizes.sort_by(f64::total_cmp);
        let within = |tenths: usize| sizes.get((tenths * it.samples.len()).div_ceil(10).checked_sub(1)?).copied();
        DistanceResult { attack: it.attack.label.clone(), norm: it.attack.norm, half: within(5), most: within(9) }
    };
    facts.attacks.iter().filter(is_meant).map(result).collect()
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
            ensemble: None,
        };
        let samples = predictions.iter().enumerate().map(|(at, &prediction)| sample(at, prediction, target)).collect();
        let state = AttackState { samples, ..AttackState::default() };
        AttackResult { status, ..AttackResult::of(&attack, &state, Some(Rate::new(4, 10))) }
    }

    #[test]
    fn every_image_counts_in_every_budget_that_it_lies_in() {
        use AttackStatus::{Complete, Incomplete};
        let mut report = recorded();
        report.data.labels = vec![0; 4];
        report.clean.predictions = Some(vec![0; 4]);
        report.clean.accuracy = Some(Rate::new(4, 4));
        let of = |attacks: &[AttackResult]| {
            let found = budgets(&Facts { attacks, ..report.facts() });
            let counts = |it: &BudgetResult| (it.attacks.join(" "), it.success_rate.map(|rate| rate.count));
            found.iter().map(counts).collect::<Vec<_>>()
        };
        let named = |label: &str, mut result: AttackResult| {
            result.attack.label = label.to_owned();
            result
        };
        let pgd = named("pgd", result("8/255", None, &[1, 0, 0, 0], Complete, None));
        assert_eq!(of(std::slice::from_ref(&pgd)), [("pgd".to_owned(), Some(1))]);
        // Another norm, without a bound: what lies inside counts, what goes farther does not; and a targeted attack's wrong class.
        let mut cw = named("cw", result("1", None, &[0, 2, 2, 0], Complete, None));
        (cw.attack.norm, cw.attack.epsilon) = (Norm::L2, None);
        (cw.samples[1].linf, cw.samples[2].linf) = (8.0 / 255.0, 9.0 / 255.0);
        let targeted = named("next", result("4/255", Some(1), &[0, 0, 0, 3], Complete, None));
        assert_eq!(of(&[pgd.clone(), cw.clone(), targeted]), [("pgd cw next".to_owned(), Some(3))]);
        // What another norm's attack has not done yet does not keep the budget from being measured; its own attacks do.
        let open = AttackResult { status: Incomplete, ..cw.clone() };
        assert_eq!(of(&[pgd.clone(), open]), [("pgd cw".to_owned(), Some(2))]);
        assert_eq!(of(&[AttackResult { status: Incomplete, ..pgd }, cw.clone()])[0].1, None);
        cw.samples.iter_mut().for_each(|it| it.l2 = 0.25 * (1.0 + it.sample as f64));
        let found = distances(&Facts { attacks: &[cw], ..report.facts() });
        assert_eq!((found[0].half, found[0].most), (Some(0.75), None));
    }

    /// Four images of class 0: the first attack breaks one, the second, which sees the other three, one more.
    #[test]
    fn an_ensemble_counts_what_its_attacks_break_together() {
        use AttackStatus::Complete;
        let mut report = recorded();
        report.data.labels = vec![0; 4];
        report.clean.predictions = Some(vec![0; 4]);
        report.clean.accuracy = Some(Rate::new(4, 4));
        let member = |label: &str, predictions: &[u32]| {
            let mut it = result("8/255", None, predictions, Complete, None);
            (it.attack.label, it.attack.ensemble) = (label.to_owned(), Some("own".to_owned()));
            it
        };
        let (first, mut second) = (member("pgd", &[1, 0, 0, 0]), member("pgd-2", &[0, 0, 1, 0]));
        second.samples.remove(0);
        let found = ensembles(&Facts { attacks: &[first.clone(), second.clone()], ..report.facts() });
        let [it] = &found[..] else { panic!("{found:?}") };
        assert_eq!((it.label.as_str(), &it.published, it.attacks.join(" ").as_str()), ("own", &None, "pgd pgd-2"));
        assert_eq!((it.success_rate, it.adversarial_accuracy), (Some(Rate::new(2, 4)), Some(Rate::new(2, 4))));
        // Another budget is another ensemble; and nothing is said before all are through.
        second.attack.epsilon = Some("0.5".parse().unwrap());
        let found = ensembles(&Facts { attacks: &[first.clone(), second.clone()], ..report.facts() });
        assert_eq!(found.iter().map(|it| it.label.as_str()).collect::<Vec<_>>(), ["own", "own-2"]);
        second.attack.epsilon = first.attack.epsilon;
        second.status = AttackStatus::Incomplete;
        let found = ensembles(&Facts { attacks: &[first, second], ..report.facts() });
        assert_eq!((found.len(), found[0].success_rate), (1, None));
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
