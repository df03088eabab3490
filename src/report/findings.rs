//! What the attacks found, for a security review: how severe, in which catalogues it stands, what to do, how to look again.

mod catalogues;
mod retest;

use std::collections::{BTreeMap, BTreeSet};

use advmod_attacks::attack::Access;
use advmod_attacks::catalog::ATTACKS;
use serde::{Deserialize, Serialize};

use catalogues::{atlas, mapping, recommendation};
use retest::retest;

use super::gates::GateState;
use super::validity::ValidityVerdict;
use super::wire::{AttackResult, AttackStatus, Report};
use crate::audit::resolved::ResolvedAttack;
use crate::audit::stats::Rate;

/// The release of MITRE ATLAS whose numbers are used.
pub const ATLAS_VERSION: &str = "5.6.0";

/// How severities come about, for people.
pub const RULE: &str = "\
    Severity comes from the lower end of the 95 % interval of the success rate, never from the rate itself, at three sizes of change, \
    measured on the final pixels. Small: at most 2/255 in L∞, 2/255 × √values in L2, one pixel or 0.5 % of the pixels in L0. Usual: at \
    most 8/255, 8/255 × √values, 5 % of the pixels. Any: whatever the attack was allowed. A lower end of at least 50 % is high for \
    small changes, medium for usual ones, low for any; of at least 10 %, one step less; below that, two steps less; info is the least. \
    Without gradients (black-box) every size counts as the next smaller one. The worst of the three sizes counts. The rule knows \
    nothing of the system that uses the model: adjust it to what a wrong answer costs there.";

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same in every audit that runs the attack under this label.
    pub id: String,
    /// In one line.
    pub title: String,
    /// By [`RULE`].
    pub severity: Severity,
    /// What the severity rests on, and what else is known.
    pub evidence: Vec<String>,
    /// Whether the gates accept it.
    pub status: FindingStatus,
    /// Catalogue and number.
    pub mapping: Vec<Mapping>,
    /// What to do.
    pub recommendation: String,
    /// The command that looks again.
    pub retest: Option<String>,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be known.
    Info,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

impl Severity {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Whether somebody has accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingStatus {
    /// Nobody has.
    Open,
    /// A waiver of a gate on the attack holds, and no other gate on it fails.
    Waived,
}

/// A number in a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// With its version.
    pub catalogue: String,
    /// Its number there.
    pub id: String,
    /// Its name there.
    pub name: String,
}

/// Of a report, the most severe first; a sweep is one finding.
pub fn findings(report: &Report) -> Vec<Finding> {
    let groups = report.attacks.chunk_by(|a, b| a.attack.sweep.is_some() && a.attack.sweep == b.attack.sweep);
    let mut found: Vec<Finding> = groups.filter_map(|group| of_attack(report, group)).collect();
    found.extend(of_validity(report));
    // The sort is stable: equals stay in the plan's order.
    found.sort_by_key(|it| std::cmp::Reverse(it.severity));
    found
}

/// How large a change may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Usual,
    Any,
}

impl Size {
    const ALL: [Self; 3] = [Self::Small, Self::Usual, Self::Any];

    /// Of L∞, and per value of L2: in 255ths; of L0: a share of the pixels.
    fn limit(self, norm: &str, [channels, height, width]: [usize; 3]) -> f64 {
        let (linf, share) = match self {
            Self::Small => (2.0 / 255.0, 0.005),
            Self::Usual => (8.0 / 255.0, 0.05),
            Self::Any => return f64::INFINITY,
        };
        let area = (height * width) as f64;
        match norm {
            "l0" => (share * area).floor().max(1.0),
            "l2" => linf * (channels as f64 * area).sqrt(),
            _ => linf,
        }
    }

    fn words(self, norm: &str, shape: [usize; 3]) -> String {
        let limit = self.limit(norm, shape);
        match (self, norm) {
            (Self::Any, _) => "of any size that the attack was allowed".to_owned(),
            (_, "l0") => format!("of at most {limit:.0} pixel{}", if limit > 1.0 { "s" } else { "" }),
            (_, "l2") => format!("of at most {limit:.2} in L2"),
            (Self::Small, _) => "of at most 2/255 in L∞".to_owned(),
            (Self::Usual, _) => "of at most 8/255 in L∞".to_owned(),
        }
    }
}

/// The rule.
fn severity(size: Size, is_black_box: bool, low: f64) -> Severity {
    use Severity::{High, Info, Low, Medium};
    let steps = [High, Medium, Low, Info, Info];
    let row = (size as usize).saturating_sub(usize::from(is_black_box));
    let column = match low {
        low if low >= 0.5 => 0,
        low if low >= 0.1 => 1,
        _ => 2,
    };
    steps[row + column]
}

/// Attacked samples that any of these attacks breaks with a change of at most `limit`, of those that any attacked.
fn broken_within(attacks: &[AttackResult], norm: &str, limit: f64) -> Rate {
    // Distances are sums of f32 values.
    let limit = limit + 1e-6;
    let samples = || attacks.iter().flat_map(|it| &it.samples);
    let size = |it: &crate::audit::event::SampleResult| match norm {
        "l0" => f64::from(it.l0),
        "l2" => it.l2,
        _ => it.linf,
    };
    let attacked: BTreeSet<usize> = samples().map(|it| it.sample).collect();
    let broken: BTreeSet<usize> = samples().filter(|it| it.success && size(it) <= limit).map(|it| it.sample).collect();
    Rate::new(broken.len(), attacked.len())
}

/// One attack, or all sizes of a sweep.
fn of_attack(report: &Report, group: &[AttackResult]) -> Option<Finding> {
    let attack = &group.first()?.attack;
    let shape = report.data.shape;
    let norm = attack.params.get("norm").map_or("", String::as_str);
    // An attack that the catalogue does not have is taken for the more usual kind.
    let is_black_box = ATTACKS.iter().any(|it| it.id == attack.name && it.access == Access::Logits);
    let rates = Size::ALL.map(|size| (size, broken_within(group, norm, size.limit(norm, shape))));
    let all = &rates[2].1;
    if all.count == 0 {
        return None;
    }
    let graded = rates
        .iter()
        .filter(|(_, rate)| rate.count > 0)
        .map(|(size, rate)| (severity(*size, is_black_box, rate.low), *size, rate));
    // Of equal severities the smallest change.
    let (severity, size, rate) = graded.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    let access = if is_black_box { "class scores alone" } else { "the model's gradients" };
    let mut evidence = vec![format!(
        "Changes {} break {} of {} attacked images: {}. The severity rests on the lower end.",
        size.words(norm, shape),
        rate.count,
        rate.of,
        shown(rate)
    )];
    let others = rates.iter().filter(|(other, it)| *other != size && it.count > 0 && it.count != rate.count);
    evidence.extend(others.map(|(other, it)| format!("Changes {}: {}.", other.words(norm, shape), shown(it))));
    evidence.push(format!("The attacker needs {access}."));
    evidence.extend(classes(report, group));
    evidence.extend(location(report, group));
    if group.iter().any(|it| it.status != AttackStatus::Complete) {
        evidence.push("Not every attack of this finding is complete; more images may break.".to_owned());
    }
    let goal = if attack.targeted { "images taken for a chosen class" } else { "images misclassified" };
    let title = format!(
        "{}: {goal} by an attacker with {}",
        attack.title,
        if is_black_box { "class scores alone" } else { "gradients" }
    );
    let places: Vec<ResolvedAttack> = group.iter().map(|it| it.attack.clone()).collect();
    Some(Finding {
        id: format!("ADV-{}", attack.label.to_uppercase()),
        title,
        severity,
        evidence,
        status: status(report, group),
        mapping: mapping(is_black_box),
        recommendation: recommendation(is_black_box).to_owned(),
        retest: Some(retest(&report.plan.command, &places)),
    })
}

fn shown(rate: &Rate) -> String {
    let value = 100.0 * rate.value.unwrap_or_default();
    format!("{value:.1} % [{:.1}, {:.1}]", 100.0 * rate.low, 100.0 * rate.high)
}

/// The class that breaks most, by the lower end, where that tells something.
fn classes(report: &Report, group: &[AttackResult]) -> Option<String> {
    let mut by_class: BTreeMap<u32, (BTreeSet<usize>, BTreeSet<usize>)> = BTreeMap::new();
    for it in group.iter().flat_map(|it| &it.samples) {
        let (attacked, broken) = by_class.entry(*report.data.labels.get(it.sample)?).or_default();
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
        let name = report.data.classes.get(*class as usize);
        let name = name.map_or_else(|| format!("class {class}"), |name| format!("class {class} ({name})"));
        format!("Hit hardest is {name}: {} of {}, {}.", most.count, most.of, shown(most))
    })
}

/// Where in the network, of the largest size.
fn location(report: &Report, group: &[AttackResult]) -> Option<String> {
    let drops = &group.last()?.curves.as_ref()?.drops;
    let known = drops.iter().enumerate().filter_map(|(tap, drop)| Some((tap, (*drop)?)));
    let (tap, drop) = known.reduce(|best, next| if next.1.estimate > best.1.estimate { next } else { best })?;
    let name = report.taps.get(tap)?;
    (drop.low > 0.0).then(|| {
        format!(
            "The classes come apart most at tap {name}: modularity falls by {:.3} [{:.3}, {:.3}].",
            drop.estimate, drop.low, drop.high
        )
    })
}

fn status(report: &Report, group: &[AttackResult]) -> FindingStatus {
    let of_group = report.gates.iter().filter(|it| {
        let subject = &it.gate.expr.metric.subject;
        group.iter().any(|attack| subject.fits(&attack.attack.label))
    });
    let results: Vec<GateState> = of_group.map(|it| it.result).collect();
    let accepted = results.contains(&GateState::Waived)
        && results.iter().all(|it| matches!(it, GateState::Waived | GateState::Pass));
    if accepted { FindingStatus::Waived } else { FindingStatus::Open }
}

/// Attacks that understate the model's weakness are a finding of their own.
fn of_validity(report: &Report) -> Option<Finding> {
    let (severity, title) = match report.validity.verdict {
        ValidityVerdict::Valid => return None,
        ValidityVerdict::Suspicious => (Severity::Info, "The attacks may understate how weak the model is"),
        ValidityVerdict::Invalid => (Severity::Medium, "The attacks understate how weak the model is"),
    };
    let mut against: Vec<_> = report.validity.checks.iter().filter(|it| it.state.speaks_against()).collect();
    against.sort_by_key(|it| std::cmp::Reverse(it.state));
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
        retest: Some(report.plan.command.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::journal::replay;

    fn report() -> Report {
        Report::new(&replay(include_str!("../../fixtures/run.jsonl")).0).unwrap()
    }

    #[test]
    fn severity_rests_on_size_access_and_the_lower_end() {
        use Severity::{High, Info, Low, Medium};
        let table =
            |is_black_box| Size::ALL.map(|size| [0.5, 0.499, 0.0999].map(|low| severity(size, is_black_box, low)));
        assert_eq!(table(false), [[High, Medium, Low], [Medium, Low, Info], [Low, Info, Info]]);
        assert_eq!(table(true), [[High, Medium, Low], [High, Medium, Low], [Medium, Low, Info]]);
    }

    #[test]
    fn the_point_estimate_alone_raises_nothing() {
        let mut report = report();
        report.attacks.truncate(1);
        report.plan.attacks.truncate(1);
        let mut with = |broken: usize, of: usize, linf: f64| {
            let attack = &mut report.attacks[0];
            let one = attack.samples[0].clone();
            let sample = |at: usize| crate::audit::event::SampleResult {
                sample: at % 40,
                success: at < broken,
                linf,
                ..one.clone()
            };
            attack.samples = (0..of).map(sample).collect();
            findings(&report).first().map(|it| it.severity)
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
        let report = report();
        let found = findings(&report);
        let pgd = found.iter().find(|it| it.id == "ADV-PGD").unwrap();
        assert!(pgd.mapping.iter().any(|it| it.id == "AML.T0043.000" && it.catalogue.ends_with(ATLAS_VERSION)));
        let retest = pgd.retest.as_ref().unwrap();
        assert!(retest.starts_with("advmod audit --samples 40 --attack pgd:") && !retest.contains("fgsm"), "{retest}");
        assert!(retest.ends_with("--k 3 --seed 0 --threads 1"), "{retest}");
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Finding>>(&json).unwrap(), found);
    }

    #[test]
    fn a_waived_gate_waives_the_finding() {
        let mut report = report();
        let plan: crate::audit::plan::AuditPlan = toml::from_str(
            "[[gate]]\nexpr = 'asr.pgd <= 0.01'\nid = 'g'\n[[gate]]\nexpr = 'asr.* <= 1.0'\n\
             [[waiver]]\ngate = 'g'\nreason = 'r'\nexpires = '2030-01-01'\n",
        )
        .unwrap();
        report.plan.gates = plan.resolve().unwrap().plan.gates;
        let mut status = |day: &str, id: &str| {
            let day = crate::audit::gate::Day::parse(day).unwrap();
            report.gates = crate::report::gates::evaluate(&report, &report.plan.gates, None, (Some(&day), false));
            findings(&report).iter().find(|it| it.id == id).map(|it| it.status)
        };
        assert_eq!(status("2029-01-01", "ADV-PGD"), Some(FindingStatus::Waived));
        assert_eq!(status("2029-01-01", "ADV-FGSM"), Some(FindingStatus::Open));
        assert_eq!(status("2031-01-01", "ADV-PGD"), Some(FindingStatus::Open));
    }

    #[test]
    fn sizes_follow_the_shape_of_the_images() {
        assert_eq!(Size::Small.limit("l0", [3, 32, 32]).to_bits(), 5.0_f64.to_bits());
        assert_eq!(Size::Small.limit("l0", [1, 8, 8]).to_bits(), 1.0_f64.to_bits());
        assert!((Size::Small.limit("l2", [3, 32, 32]) - 0.4347).abs() < 1e-4);
        assert!(Size::Any.limit("linf", [3, 32, 32]).is_infinite());
    }
}
