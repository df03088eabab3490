//! What the attacks found, for a security review: how severe, in which catalogues it stands, what to do, how to look again.

mod catalogues;
mod finding;
mod retest;
mod severity;
mod weakness;

use super::facts::{AttackResult, Facts};
use super::gates::GateResult;
use super::validity::{Validity, ValidityVerdict};
use catalogues::atlas;
pub(crate) use finding::{Finding, FindingStatus, Mapping, Severity};
use weakness::Weakness;

/// How severities come about, for people.
pub(crate) const RULE: &str = "\
    Severity comes from the lower end of the 95 % interval of the success rate, never from the rate itself, at three sizes of change, \
    measured on the final pixels. Small: at most 2/255 in L∞, 2/255 × √values in L2, one pixel or 0.5 % of the pixels in L0. Usual: at \
    most 8/255, 8/255 × √values, 5 % of the pixels. Any: whatever the attack was allowed. A lower end of at least 50 % is high for \
    small changes, medium for usual ones, low for any; of at least 10 %, one step less; below that, two steps less; info is the least. \
    Without gradients (black-box) every size counts as the next smaller one. The worst of the three sizes counts. The rule knows \
    nothing of the system that uses the model: adjust it to what a wrong answer costs there.";

/// The most severe first: one per weakness, whichever attacks exploit it.
pub(super) fn findings(facts: &Facts, gates: &[GateResult], validity: &Validity) -> Vec<Finding> {
    let mut groups: Vec<(Weakness, Vec<&AttackResult>)> = Vec::new();
    for attack in facts.attacks {
        let weakness = Weakness::of(&attack.attack);
        match groups.iter_mut().find(|(other, _)| *other == weakness) {
            Some((_, group)) => group.push(attack),
            None => groups.push((weakness, vec![attack])),
        }
    }
    let of_attacks = groups.iter().filter_map(|(weakness, group)| weakness.finding(facts, gates, group));
    let mut found: Vec<Finding> = of_attacks.chain(of_validity(facts, validity)).collect();
    // The sort is stable: equals stay in the plan's order.
    found.sort_by_key(|it| std::cmp::Reverse(it.severity));
    found
}

/// The attack that weighs most by [`RULE`], of equals the one with the higher success rate.
pub(crate) fn strongest<'a>(facts: &Facts<'a>) -> Option<&'a AttackResult> {
    let weight = |attack: &AttackResult| {
        let gravest = Weakness::of(&attack.attack).gravest(facts, &[attack])?;
        Some((gravest.severity, attack.success_rate.low))
    };
    let known = facts.attacks.iter().filter_map(|attack| Some((weight(attack)?, attack)));
    let heavier = |a: (Severity, f64), b: (Severity, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).is_gt();
    known.reduce(|best, next| if heavier(next.0, best.0) { next } else { best }).map(|it| it.1)
}

/// Attacks that understate the model's weakness are a finding of their own.
fn of_validity(facts: &Facts, validity: &Validity) -> Option<Finding> {
    let (severity, title) = match validity.verdict {
        ValidityVerdict::Valid => return None,
        ValidityVerdict::Limited => (Severity::Info, "The attacks may understate how weak the model is"),
        ValidityVerdict::Failed => (Severity::Medium, "The attacks understate how weak the model is"),
    };
    let against = validity.against();
    Some(Finding {
        id: "ADV-VALIDITY".to_owned(),
        title: title.to_owned(),
        severity,
        evidence: against.iter().map(|it| format!("{}: {}: {}.", it.state.word(), it.check, it.found)).collect(),
        status: FindingStatus::Open,
        mapping: vec![atlas("AML.T0042", "Verify Attack")],
        recommendation:
            "Repair what the checks name (more steps, restarts, the margin loss, another norm or ε, logits instead of \
                         probabilities) and audit again before anybody relies on a low success rate."
                .to_owned(),
        retest: Some(facts.plan.command.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::SampleResult;
    use crate::audit::plan::AuditPlan;
    use crate::verdict::Report;
    use crate::verdict::gates::evaluate;
    use crate::verdict::testing::recorded;

    fn found(report: &Report) -> Vec<Finding> {
        findings(&report.facts(), &report.gates, &report.validity)
    }

    #[test]
    fn the_point_estimate_alone_raises_nothing() {
        let mut report = recorded();
        report.attacks.truncate(1);
        report.plan.attacks.truncate(1);
        let mut with = |broken: usize, of: usize, linf: f64| {
            let attack = &mut report.attacks[0];
            let one = attack.samples[0].clone();
            let sample = |at: usize| SampleResult { sample: at % 40, success: at < broken, linf, ..one.clone() };
            attack.samples = (0..of).map(sample).collect();
            found(&report).first().map(|it| it.severity)
        };
        // 60 % of 20, but the interval begins below one half.
        assert_eq!(with(12, 20, 2.0 / 255.0), Some(Severity::Medium));
        assert_eq!(with(20, 20, 2.0 / 255.0), Some(Severity::High));
        assert_eq!(with(20, 20, 0.009), Some(Severity::Medium));
        assert_eq!(with(20, 20, 0.5), Some(Severity::Low));
        assert_eq!(with(1, 20, 0.5), Some(Severity::Info));
        assert_eq!(with(0, 20, 0.5), None);
    }

    #[test]
    fn findings_say_what_where_and_how_to_look_again() {
        let report = recorded();
        let found = found(&report);
        // FGSM and PGD exploit one weakness.
        assert_eq!(found.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["ADV-LINF-GRADIENTS"]);
        let pgd = &found[0];
        assert!(pgd.evidence.iter().any(|it| it.starts_with("By attack: fgsm: ")), "{:?}", pgd.evidence);
        assert!(
            pgd.mapping.iter().any(|it| it.id == "AML.T0043.000" && it.catalogue.ends_with(catalogues::ATLAS_VERSION))
        );
        let retest = pgd.retest.as_ref().unwrap();
        assert!(retest.starts_with("advmod audit --samples 40 --attack fgsm:"), "{retest}");
        assert!(retest.ends_with("--k 3 --seed 0 --threads 1"), "{retest}");
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Finding>>(&json).unwrap(), found);
    }

    #[test]
    fn a_waived_gate_waives_the_finding() {
        let mut report = recorded();
        let plan: AuditPlan = toml::from_str(
            "[[gate]]\nexpr = 'asr.pgd <= 0.01'\nid = 'g'\n[[gate]]\nexpr = 'asr.* <= 1.0'\n\
             [[waiver]]\ngate = 'g'\nreason = 'r'\nexpires = '2030-01-01'\n",
        )
        .unwrap();
        report.plan.gates = plan.resolve().unwrap().plan.gates;
        let mut status = |day: &str, id: &str| {
            day.clone_into(&mut report.timing.started);
            report.gates = evaluate(&report.facts(), &report.plan.gates, None, &report.validity, false);
            found(&report).iter().find(|it| it.id == id).map(|it| it.status)
        };
        let id = "ADV-LINF-GRADIENTS";
        assert_eq!(status("2029-01-01", id), Some(FindingStatus::Waived));
        assert_eq!(status("2031-01-01", id), Some(FindingStatus::Open));
    }
}
