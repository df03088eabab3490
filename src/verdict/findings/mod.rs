//! What the attacks found, for a security review: how severe, in which catalogues it stands, what to do, how to look again.

mod catalogues;
mod retest;

use std::collections::{BTreeMap, BTreeSet};

use advmod_attacks::threat::Norm;
use advmod_attacks::victim::Access;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gates::GateState;
use super::report::{AttackResult, AttackStatus, Report};
use super::shown_label;
use super::validity::ValidityVerdict;
use crate::audit::attack::ResolvedAttack;
use crate::audit::gate::expr::Subject;
use crate::stats::rates::Rate;
use catalogues::{atlas, mapping, recommendation};
use retest::retest;

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The same in every audit that finds this weakness.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingStatus {
    /// Nobody has.
    Open,
    /// A waiver of a gate on the attack holds, and no other gate on it fails.
    Waived,
}

/// A number in a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mapping {
    /// With its version.
    pub catalogue: String,
    /// Its number there.
    pub id: String,
    /// Its name there.
    pub name: String,
}

/// Attacks that exploit one weakness: changes measured alike, with the same access, to the same end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weakness {
    norm: Norm,
    is_black_box: bool,
    is_targeted: bool,
}

impl Weakness {
    fn of(attack: &ResolvedAttack) -> Self {
        // An attack that the catalogue does not have is taken for the more usual kind.
        let is_black_box = attack.spec.is_some_and(|spec| spec.access == Access::Logits);
        Self { norm: attack.norm, is_black_box, is_targeted: attack.is_targeted() }
    }

    fn id(self) -> String {
        let access = if self.is_black_box { "SCORES" } else { "GRADIENTS" };
        let aim = if self.is_targeted { "-TARGETED" } else { "" };
        format!("ADV-{}-{access}{aim}", self.norm.to_string().to_uppercase())
    }

    fn access(self) -> &'static str {
        if self.is_black_box { "class scores alone" } else { "the model's gradients" }
    }

    fn title(self) -> String {
        let goal = if self.is_targeted { "taken for a chosen class" } else { "misclassified" };
        format!("Images {goal} after small changes in {}, made with {}", self.norm.sign(), self.access())
    }
}

/// Of a report, the most severe first: one per weakness, whichever attacks exploit it.
pub(crate) fn findings(report: &Report) -> Vec<Finding> {
    let mut groups: Vec<(Weakness, Vec<&AttackResult>)> = Vec::new();
    for attack in &report.attacks {
        let weakness = Weakness::of(&attack.attack);
        match groups.iter_mut().find(|(other, _)| *other == weakness) {
            Some((_, group)) => group.push(attack),
            None => groups.push((weakness, vec![attack])),
        }
    }
    let mut found: Vec<Finding> =
        groups.iter().filter_map(|(weakness, group)| of_weakness(report, *weakness, group)).collect();
    found.extend(of_validity(report));
    // The sort is stable: equals stay in the plan's order.
    found.sort_by_key(|it| std::cmp::Reverse(it.severity));
    found
}

/// The attack that weighs most by [`RULE`], of equals the one with the higher success rate.
pub(crate) fn strongest(report: &Report) -> Option<&AttackResult> {
    let weight = |attack: &AttackResult| {
        let (severity, ..) = gravest(report, Weakness::of(&attack.attack), &[attack])?;
        Some((severity, attack.success_rate.low))
    };
    let known = report.attacks.iter().filter_map(|attack| Some((weight(attack)?, attack)));
    let heavier = |a: (Severity, f64), b: (Severity, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).is_gt();
    known.reduce(|best, next| if heavier(next.0, best.0) { next } else { best }).map(|it| it.1)
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
    fn limit(self, norm: Norm, [channels, height, width]: [usize; 3]) -> f64 {
        let (linf, share) = match self {
            Self::Small => (2.0 / 255.0, 0.005),
            Self::Usual => (8.0 / 255.0, 0.05),
            Self::Any => return f64::INFINITY,
        };
        let area = (height * width) as f64;
        match norm {
            Norm::L0 => (share * area).floor().max(1.0),
            Norm::L2 => linf * (channels as f64 * area).sqrt(),
            Norm::Linf => linf,
        }
    }

    /// `of at most 8/255 in L∞`.
    fn words(self, norm: Norm, shape: [usize; 3]) -> String {
        let limit = self.limit(norm, shape);
        match (self, norm) {
            (Self::Any, _) => "of any size that was tried".to_owned(),
            (_, Norm::L0) => format!("of at most {limit:.0} pixel{}", if limit > 1.0 { "s" } else { "" }),
            (_, Norm::L2) => format!("of at most {limit:.2} in L2"),
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

/// What any of these attacks breaks with changes of a size.
struct Broken {
    size: Size,
    /// Of the samples that any attacked.
    rate: Rate,
    /// The largest change among these.
    largest: f64,
}

fn broken_within(size: Size, norm: Norm, shape: [usize; 3], attacks: &[&AttackResult]) -> Broken {
    // Distances are sums of f32 values.
    let limit = size.limit(norm, shape) + 1e-6;
    let samples = || attacks.iter().flat_map(|it| &it.samples);
    let attacked: BTreeSet<usize> = samples().map(|it| it.sample).collect();
    let inside = || samples().filter(|it| it.success && it.size(norm) <= limit);
    let broken: BTreeSet<usize> = inside().map(|it| it.sample).collect();
    let largest = inside().map(|it| it.size(norm)).fold(0.0, f64::max);
    Broken { size, rate: Rate::new(broken.len(), attacked.len()), largest }
}

/// The size that weighs most, of equals the one that breaks more, and all three; nothing where nothing is broken.
fn gravest(report: &Report, weakness: Weakness, attacks: &[&AttackResult]) -> Option<(Severity, usize, [Broken; 3])> {
    let all = Size::ALL.map(|size| broken_within(size, weakness.norm, report.data.shape, attacks));
    let graded = all.iter().enumerate().filter(|(_, it)| it.rate.count > 0);
    let graded = graded.map(|(at, it)| (severity(it.size, weakness.is_black_box, it.rate.low), at));
    let weight = |it: &(Severity, usize)| (it.0, all[it.1].rate.count);
    let (severity, at) = graded.reduce(|best, next| if weight(&next) > weight(&best) { next } else { best })?;
    Some((severity, at, all))
}

/// All attacks that exploit it.
fn of_weakness(report: &Report, weakness: Weakness, group: &[&AttackResult]) -> Option<Finding> {
    let shape = report.data.shape;
    let (severity, at, all) = gravest(report, weakness, group)?;
    let sentence = |it: &Broken| {
        // A limit in whole pixels that no change comes near to says little.
        let largest = match weakness.norm {
            Norm::L0 => format!(" (the largest has {:.0})", it.largest),
            _ if it.size == Size::Any => format!(" (the largest has {:.3})", it.largest),
            _ => String::new(),
        };
        let Rate { count, of, .. } = it.rate;
        let words = it.size.words(weakness.norm, shape);
        format!("Changes {words}{largest} break {count} of {of} attacked images: {}.", shown(&it.rate))
    };
    let mut evidence = vec![format!("{} The severity rests on the lower end of this.", sentence(&all[at]))];
    let others = all.iter().enumerate().filter(|(other, it)| *other != at && it.rate.count != all[at].rate.count);
    evidence.extend(others.filter(|(_, it)| it.rate.count > 0).map(|(_, it)| sentence(it)));
    if group.len() > 1 {
        let each = group.iter().map(|it| format!("{}: {}", shown_label(report, &it.attack), shown(&it.success_rate)));
        evidence.push(format!("By attack: {}.", each.collect::<Vec<_>>().join("; ")));
    }
    evidence.push(format!("The attacker needs {}.", weakness.access()));
    evidence.extend(classes(report, group));
    evidence.extend(location(report, group));
    if group.iter().any(|it| it.status != AttackStatus::Complete) {
        evidence.push("Not every attack of this finding is complete; more images may break.".to_owned());
    }
    let attacks: Vec<ResolvedAttack> = group.iter().map(|it| it.attack.clone()).collect();
    Some(Finding {
        id: weakness.id(),
        title: weakness.title(),
        severity,
        evidence,
        status: status(report, group),
        mapping: mapping(weakness.is_black_box),
        recommendation: recommendation(weakness.is_black_box, &all[at].size.words(weakness.norm, shape)),
        retest: Some(retest(report, &attacks)),
    })
}

fn shown(rate: &Rate) -> String {
    let value = 100.0 * rate.value.unwrap_or_default();
    format!("{value:.1} % [{:.1}, {:.1}]", 100.0 * rate.low, 100.0 * rate.high)
}

/// The class that breaks most, by the lower end, where that tells something.
fn classes(report: &Report, group: &[&AttackResult]) -> Option<String> {
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

/// Where in the network, and by which attack, the classes come apart most.
fn location(report: &Report, group: &[&AttackResult]) -> Option<String> {
    let drops = group.iter().flat_map(|it| {
        let drops = it.curves.iter().flat_map(|curves| curves.drops.iter().enumerate());
        drops.filter_map(move |(tap, drop)| Some((&it.attack, tap, (*drop)?)))
    });
    let (attack, tap, drop) = drops.reduce(|best, next| if next.2.estimate > best.2.estimate { next } else { best })?;
    let name = report.taps.get(tap)?;
    (drop.low > 0.0).then(|| {
        format!(
            "The classes come apart most at tap {name}, under {}: modularity falls by {:.3} [{:.3}, {:.3}].",
            shown_label(report, attack),
            drop.estimate,
            drop.low,
            drop.high
        )
    })
}

fn status(report: &Report, group: &[&AttackResult]) -> FindingStatus {
    let is_meant = |subject: &Subject, attack: &ResolvedAttack| match subject {
        Subject::Within(budget) => attack.tries(budget),
        subject => subject.fits(&attack.label),
    };
    let of_group = report.gates.iter().filter(|it| {
        let subject = &it.gate.expr.metric.subject;
        group.iter().any(|attack| is_meant(subject, &attack.attack))
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
    use crate::audit::journal::replay;

    fn report() -> Report {
        Report::new(&replay(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/run.jsonl"))).0).unwrap()
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
        // FGSM and PGD exploit one weakness.
        assert_eq!(found.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["ADV-LINF-GRADIENTS"]);
        let pgd = &found[0];
        assert!(pgd.evidence.iter().any(|it| it.starts_with("By attack: fgsm: ")), "{:?}", pgd.evidence);
        assert!(pgd.mapping.iter().any(|it| it.id == "AML.T0043.000" && it.catalogue.ends_with(ATLAS_VERSION)));
        let retest = pgd.retest.as_ref().unwrap();
        assert!(retest.starts_with("advmod audit --samples 40 --attack fgsm:"), "{retest}");
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
            report.gates = crate::verdict::gates::evaluate(&report, &report.plan.gates, None, (Some(&day), false));
            findings(&report).iter().find(|it| it.id == id).map(|it| it.status)
        };
        let id = "ADV-LINF-GRADIENTS";
        assert_eq!(status("2029-01-01", id), Some(FindingStatus::Waived));
        assert_eq!(status("2031-01-01", id), Some(FindingStatus::Open));
    }

    #[test]
    fn sizes_follow_the_shape_of_the_images() {
        assert_eq!(Size::Small.limit(Norm::L0, [3, 32, 32]).to_bits(), 5.0_f64.to_bits());
        assert_eq!(Size::Small.limit(Norm::L0, [1, 8, 8]).to_bits(), 1.0_f64.to_bits());
        assert!((Size::Small.limit(Norm::L2, [3, 32, 32]) - 0.4347).abs() < 1e-4);
        assert!(Size::Any.limit(Norm::Linf, [3, 32, 32]).is_infinite());
    }
}
