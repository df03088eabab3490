//! One weakness of the model, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};

use advmod_attacks::threat::Norm;
use advmod_attacks::victim::Access;

use super::catalogues::{mapping, recommendation};
use super::finding::{Finding, FindingStatus};
use super::retest::retest;
use super::severity::{Broken, Gravest, Size, gravest};
use crate::audit::attack::ResolvedAttack;
use crate::audit::gate::expr::Subject;
use crate::stats::rates::Rate;
use crate::verdict::facts::{AttackResult, AttackStatus, Facts, shown_label};
use crate::verdict::gates::{GateResult, GateState};

/// Attacks that exploit one weakness: changes measured alike, with the same access, to the same end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weakness {
    norm: Norm,
    access: Access,
    is_targeted: bool,
}

impl Weakness {
    pub(super) fn of(attack: &ResolvedAttack) -> Self {
        // An attack that the catalogue does not have is taken for the more usual kind.
        let access = attack.spec.map_or(Access::Gradients, |spec| spec.access);
        Self { norm: attack.norm, access, is_targeted: attack.is_targeted() }
    }

    fn is_black_box(self) -> bool {
        self.access < Access::Gradients
    }

    fn id(self) -> String {
        let access = match self.access {
            Access::Labels => "LABELS",
            Access::Logits => "SCORES",
            Access::Gradients => "GRADIENTS",
        };
        let aim = if self.is_targeted { "-TARGETED" } else { "" };
        format!("ADV-{}-{access}{aim}", self.norm.to_string().to_uppercase())
    }

    fn access(self) -> &'static str {
        match self.access {
            Access::Labels => "predicted classes alone",
            Access::Logits => "class scores alone",
            Access::Gradients => "the model's gradients",
        }
    }

    fn title(self) -> String {
        let goal = if self.is_targeted { "taken for a chosen class" } else { "misclassified" };
        format!("Images {goal} after small changes in {}, made with {}", self.norm.sign(), self.access())
    }

    pub(super) fn gravest(self, facts: &Facts, attacks: &[&AttackResult]) -> Option<Gravest> {
        gravest(facts, self.norm, self.is_black_box(), attacks)
    }

    /// What is said of all attacks that exploit it; nothing where they break nothing.
    pub(super) fn finding(self, facts: &Facts, gates: &[GateResult], group: &[&AttackResult]) -> Option<Finding> {
        let shape = facts.data.shape;
        let Gravest { severity, at, all } = self.gravest(facts, group)?;
        let sentence = |it: &Broken| {
            // A limit in whole pixels that no change comes near to says little.
            let largest = match self.norm {
                Norm::L0 => format!(" (the largest has {:.0})", it.largest),
                _ if it.size == Size::Any => format!(" (the largest has {:.3})", it.largest),
                _ => String::new(),
            };
            let Rate { count, of, .. } = it.rate;
            let words = it.size.words(self.norm, shape);
            format!("Changes {words}{largest} break {count} of {of} attacked images: {}.", shown(&it.rate))
        };
        let mut evidence = vec![format!("{} The severity rests on the lower end of this.", sentence(&all[at]))];
        let others = all.iter().enumerate().filter(|(other, it)| *other != at && it.rate.count != all[at].rate.count);
        evidence.extend(others.filter(|(_, it)| it.rate.count > 0).map(|(_, it)| sentence(it)));
        if group.len() > 1 {
            let each = group
                .iter()
                .map(|it| format!("{}: {}", shown_label(facts.attacks, &it.attack), shown(&it.success_rate)));
            evidence.push(format!("By attack: {}.", each.collect::<Vec<_>>().join("; ")));
        }
        evidence.push(format!("The attacker needs {}.", self.access()));
        evidence.extend(classes(facts, group));
        evidence.extend(location(facts, group));
        if group.iter().any(|it| it.status != AttackStatus::Complete) {
            evidence.push("Not every attack of this finding is complete; more images may break.".to_owned());
        }
        let attacks: Vec<ResolvedAttack> = group.iter().map(|it| it.attack.clone()).collect();
        Some(Finding {
            id: self.id(),
            title: self.title(),
            severity,
            evidence,
            status: status(gates, group),
            mapping: mapping(self.is_black_box()),
            recommendation: recommendation(self.is_black_box(), &all[at].size.words(self.norm, shape)),
            retest: Some(retest(facts, &attacks)),
        })
    }
}

fn shown(rate: &Rate) -> String {
    let value = 100.0 * rate.value.unwrap_or_default();
    format!("{value:.1} % [{:.1}, {:.1}]", 100.0 * rate.low, 100.0 * rate.high)
}

/// The class that breaks most, by the lower end, where that tells something.
fn classes(facts: &Facts, group: &[&AttackResult]) -> Option<String> {
    let mut by_class: BTreeMap<u32, (BTreeSet<usize>, BTreeSet<usize>)> = BTreeMap::new();
    for it in group.iter().flat_map(|it| &it.samples) {
        let (attacked, broken) = by_class.entry(*facts.data.labels.get(it.sample)?).or_default();
        attacked.insert(it.sample);
        if it.success {
            broken.insert(it.sample);
        }
    }
    let rates = by_class.iter().map(|(class, (attacked, broken))| (*class, Rate::new(broken.len(), attacked.len())));
    let rates: Vec<(u32, Rate)> = rates.collect();
    let (class, most) = rates.iter().reduce(|best, next| if next.1.low > best.1.low { next } else { best })?;
    let least_high = rates.iter().map(|(_, rate)| rate.high).fold(f64::INFINITY, f64::min);
    // Overlapping intervals set no class apart.
    (most.low > least_high).then(|| {
        let name = facts.data.classes.get(*class as usize);
        let name = name.map_or_else(|| format!("class {class}"), |name| format!("class {class} ({name})"));
        format!("Hit hardest is {name}: {} of {}, {}.", most.count, most.of, shown(most))
    })
}

/// Where in the network, and by which attack, the classes come apart most.
fn location(facts: &Facts, group: &[&AttackResult]) -> Option<String> {
    let drops = group.iter().flat_map(|it| {
        let drops = it.curves.iter().flat_map(|curves| curves.drops.iter().enumerate());
        drops.filter_map(move |(tap, drop)| Some((&it.attack, tap, (*drop)?)))
    });
    let (attack, tap, drop) = drops.reduce(|best, next| if next.2.estimate > best.2.estimate { next } else { best })?;
    let name = facts.taps.get(tap)?;
    (drop.low > 0.0).then(|| {
        format!(
            "The classes come apart most at tap {name}, under {}: modularity falls by {:.3} [{:.3}, {:.3}].",
            shown_label(facts.attacks, attack),
            drop.estimate,
            drop.low,
            drop.high
        )
    })
}

fn status(gates: &[GateResult], group: &[&AttackResult]) -> FindingStatus {
    let is_meant = |subject: &Subject, attack: &ResolvedAttack| match subject {
        Subject::Within(budget) => attack.tries(budget),
        subject => subject.fits(&attack.label),
    };
    let of_group = gates.iter().filter(|it| {
        let subject = &it.gate.expr.metric.subject;
        group.iter().any(|attack| is_meant(subject, &attack.attack))
    });
    let results: Vec<GateState> = of_group.map(|it| it.result).collect();
    let accepted = results.contains(&GateState::Waived)
        && results.iter().all(|it| matches!(it, GateState::Waived | GateState::Pass));
    if accepted { FindingStatus::Waived } else { FindingStatus::Open }
}
