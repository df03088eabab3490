//! Rules applied to what was measured of a network's units.

use super::rules::{self, Rule};
use super::whole::{Whole, remove, size};
use crate::stats::rates::Measured;
use crate::study::results::prune::{RuleResult, Survey, UnitPoint};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposal {
    pub rule: Rule,
    /// One flag per unit.
    pub kept: Vec<bool>,
    /// What is known of it without any training.
    pub row: RuleResult,
}

impl Proposal {
    pub(super) fn is_whole(&self) -> bool {
        self.kept.iter().all(|kept| *kept)
    }
}

/// Applies a rule to what was measured. With `sure`, rules A and B take out only what the 95 % interval is sure of. `seed`: of rule `random`,
/// and of weights that are made anew.
pub(crate) fn propose(whole: &Whole, survey: &Survey, rule: Rule, sure: bool, seed: u64) -> Result<Proposal, String> {
    let units = whole.units();
    let values = |of: fn(&UnitPoint) -> Option<f64>| -> Vec<Option<f64>> { survey.units.iter().map(of).collect() };
    let bound = |of: fn(&UnitPoint) -> Option<Measured>| -> Vec<Option<f64>> {
        survey.units.iter().map(|it| of(it).map(|it| if sure { it.high } else { it.value })).collect()
    };
    let by_delta = || rules::ascending(&units, &values(|it| it.delta.map(|it| it.value)));
    let order = |n, order: Vec<usize>| rules::take_out(&units, &order, n);
    let kept = match rule {
        Rule::Nothing => Ok(vec![true; units.len()]),
        Rule::Increment { threshold } => Ok(rules::by_increment(&bound(|it| it.delta), threshold)),
        Rule::RunningMaximum => Ok(rules::by_running_maximum(&bound(|it| it.margin))),
        Rule::Last(n) => order(n, rules::last_first(&units)),
        Rule::Random(n) => order(n, rules::shuffled(&units, seed)),
        Rule::Cka(n) => order(n, rules::ascending(&units, &values(|it| it.cka.map(|it| -it)))),
        Rule::Smallest(n) => order(n, by_delta()),
        Rule::Largest(n) => order(n, by_delta().into_iter().rev().collect()),
    };
    let mut kept = kept.map_err(|error| format!("rule {rule}: {error}"))?;
    let mut repairs = Vec::new();
    if matches!(rule, Rule::Increment { .. } | Rule::RunningMaximum) {
        let q: Vec<f64> = survey.units.iter().map(|it| it.q).collect();
        repairs = rules::repair(&units, &q, whole.remakes_units(), &mut kept);
    }
    let removed = remove(whole, &kept, seed)?;
    let gone = || survey.units.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(unit, _)| unit);
    let delta_q: Option<f64> = gone().map(|unit| unit.delta.map(|it| it.value)).sum();
    let row = RuleResult {
        rule: rule.to_string(),
        architecture: removed.name,
        removed: gone().map(|unit| unit.unit.clone()).collect(),
        repairs,
        remade: removed.remade,
        delta_q: delta_q.filter(|_| gone().next().is_some()),
        size: size(&removed.program, whole.size)?,
        judged: None,
        file: None,
        missing: Vec::new(),
    };
    Ok(Proposal { rule, kept, row })
}
