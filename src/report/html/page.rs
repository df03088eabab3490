//! What the page says, section by section, before it is laid out.

use serde::Serialize;

use super::super::evidence::Evidence;
use super::changes::{ChangesView, changes};
use super::classes::{Classes, classes};
use super::curves::{Modularity, SweepView, modularity, sweeps};
use super::results::{Results, Threat, results, threats};
use super::samples::{Samples, samples};
use super::text::{self, clip, name};
use super::verdict::{Overall, overall};
use super::{Encode, about};
use crate::verdict::Report;
use crate::verdict::facts::{AttackStatus, shown_label};
use crate::verdict::findings::{self, Finding, FindingStatus, Mapping, Severity};
use crate::verdict::validity::AttackValidity;

#[derive(Debug, Serialize)]
pub(super) struct Page {
    title: String,
    started: String,
    tool: String,
    overall: Overall,
    validity: Vec<CheckRow>,
    attack_validity: Vec<[String; 3]>,
    fix_first: Vec<FixFirst>,
    target: Vec<Fact>,
    threats: Vec<Threat>,
    results: Results,
    modularity: Modularity,
    sweeps: Vec<SweepView>,
    findings: Vec<FindingView>,
    severity_rule: &'static str,
    classes: Option<Classes>,
    samples: Samples,
    changes: Option<ChangesView>,
    warnings: Vec<String>,
    limits: Vec<String>,
    reproduce: Reproduce,
}

/// A name and what it is.
#[derive(Debug, Serialize)]
pub(in crate::report) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// Whether it is to be compared letter by letter.
    pub(super) is_code: bool,
}

impl Fact {
    pub(in crate::report) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: clip(&value.into(), text::SENTENCE / 2), is_code: false }
    }

    fn code(name: &'static str, value: impl Into<String>) -> Self {
        Self { is_code: true, ..Self::new(name, value) }
    }
}

#[derive(Debug, Serialize)]
struct CheckRow {
    check: String,
    word: &'static str,
    found: String,
}

/// A finding at the top of the page.
#[derive(Debug, Serialize)]
struct FixFirst {
    title: String,
    evidence: String,
    advice: String,
}

/// Most findings at the top of the page.
const FIX_FIRST: usize = 3;

#[derive(Debug, Serialize)]
struct FindingView {
    #[serde(flatten)]
    finding: Finding,
    severity_word: &'static str,
    is_waived: bool,
    catalogues: Vec<Catalogue>,
}

/// What a finding maps to, catalogue by catalogue.
#[derive(Debug, Serialize)]
struct Catalogue {
    name: String,
    entries: Vec<Mapping>,
}

#[derive(Debug, Serialize)]
struct Reproduce {
    command: String,
    plan_file: Option<String>,
    facts: Vec<Fact>,
}

impl Page {
    pub(super) fn new(report: &Report, evidence: &Evidence, encode: Encode) -> Self {
        let found = report.findings.clone();
        let view = |finding: Finding| FindingView {
            severity_word: finding.severity.word(),
            is_waived: finding.status == FindingStatus::Waived,
            catalogues: finding
                .mapping
                .chunk_by(|a, b| a.catalogue == b.catalogue)
                .map(|entries| Catalogue { name: entries[0].catalogue.clone(), entries: entries.to_vec() })
                .collect(),
            finding: Finding {
                title: clip(&finding.title, 200),
                evidence: finding.evidence.iter().map(|it| clip(it, text::SENTENCE)).collect(),
                ..finding
            },
        };
        let check = |it: &crate::verdict::validity::ValidityCheck| CheckRow {
            check: it.check.clone(),
            word: it.state.word(),
            found: clip(&it.found, text::SENTENCE),
        };
        // The findings come with the gravest first.
        let grave = found.iter().filter(|it| it.severity >= Severity::Medium && it.status == FindingStatus::Open);
        let fix_first = |it: &Finding| FixFirst {
            title: clip(&it.title, 200),
            evidence: it.evidence.first().map_or(String::new(), |it| clip(it, text::SENTENCE)),
            advice: it
                .recommendation
                .split_once(". ")
                .map_or(it.recommendation.clone(), |(first, _)| format!("{first}.")),
        };
        let summary = |label: &str| report.attacks.iter().find(|it| it.attack.label == label).map(|it| &it.attack);
        let shown =
            |label: &str| summary(label).map_or_else(|| name(label), |it| name(&shown_label(&report.attacks, it)));
        let alone =
            |it: &AttackValidity| [shown(&it.attack), it.state.word().to_owned(), clip(&it.found, text::SENTENCE)];
        Self {
            title: name(&report.model.name),
            started: report.timing.started.clone(),
            tool: format!("{} {}", report.tool.name, report.tool.version),
            overall: overall(report, found.iter().filter(|it| it.severity >= Severity::Medium).count()),
            validity: report.validity.checks.iter().map(check).collect(),
            attack_validity: report.validity.attacks.iter().map(alone).collect(),
            fix_first: grave.take(FIX_FIRST).map(fix_first).collect(),
            target: target(report),
            threats: threats(report),
            results: results(report),
            modularity: modularity(report),
            sweeps: sweeps(report),
            findings: found.into_iter().map(view).collect(),
            severity_rule: findings::RULE,
            classes: classes(report),
            samples: samples(report, evidence, encode),
            changes: changes(report),
            warnings: report.warnings.iter().map(|it| clip(it, text::SENTENCE)).collect(),
            limits: about::limits(report),
            reproduce: reproduce(report),
        }
    }
}

fn target(report: &Report) -> Vec<Fact> {
    let (model, data) = (&report.model, &report.data);
    let split = data.split.as_ref().map_or(String::new(), |split| format!(", {} split", name(split)));
    let numbers = |values: &[f64]| values.iter().map(|it| format!("{it}")).collect::<Vec<_>>().join(", ");
    let normalization = format!(
        "{}: mean {}; std {} (pixels in [0, 1])",
        clip(&model.normalization, text::NAME),
        clip(&numbers(&model.mean), 200),
        clip(&numbers(&model.std), 200)
    );
    let mut facts = vec![
        Fact::new("Model", clip(&model.name, 400)),
        Fact::code("Model SHA-256", model.sha256.clone()),
        Fact::new("Architecture", format!("{}, stored as {}", name(&model.architecture), name(&model.format))),
        Fact::new("Classes", text::grouped(model.classes as u64)),
        Fact::new("Parameters", text::grouped(model.parameters)),
        Fact::new("MACs per image", model.macs.map_or("unknown".to_owned(), text::grouped)),
        Fact::new("Normalization", normalization),
        Fact::new("Data", format!("{} ({}{split})", clip(&data.name, 400), name(&data.format))),
        Fact::code("Data SHA-256", data.sha256.clone()),
        Fact::new(
            "Samples",
            format!(
                "{} of {} images: {}",
                text::grouped(data.indices.len() as u64),
                text::grouped(data.available as u64),
                report.plan.selection
            ),
        ),
        Fact::new("Image shape", data.shape.map(|size| size.to_string()).join(" × ") + " (channels, height, width)"),
        Fact::new("Clean accuracy", report.clean.accuracy.as_ref().map_or("not measured".to_owned(), text::rate)),
    ];
    if model.is_random {
        facts.push(Fact::new("Mind", "two forward passes of the same images differ"));
    }
    if model.gives_probabilities {
        facts.push(Fact::new("Mind", "the outputs look like probabilities, not logits"));
    }
    facts
}

fn reproduce(report: &Report) -> Reproduce {
    let plan = &report.plan;
    Reproduce {
        command: plan.command.clone(),
        plan_file: report.plan_file.clone(),
        facts: vec![
            Fact::new("Tool", format!("{} {}", report.tool.name, report.tool.version)),
            Fact::new("libtorch", report.tool.libtorch.clone()),
            Fact::new("Platform", name(&report.tool.platform)),
            Fact::new("Started", format!("{} (UTC)", report.timing.started)),
            Fact::new("Took", text::duration(report.timing.seconds) + &report.timing.interruptions()),
            Fact::new("Seed", plan.seed.to_string()),
            Fact::new("Device", format!("{}, {} threads, batches of {}", plan.device, plan.threads, plan.batch)),
            Fact::new("Preset", name(&plan.preset)),
            Fact::new("Judged on", if plan.eight_bit { "pixels rounded to 8 bits" } else { "f32 pixels" }),
        ],
    }
}

/// For people: `complete`, `incomplete`, `failed`.
pub(super) fn status_word(status: AttackStatus) -> &'static str {
    match status {
        AttackStatus::Complete => "complete",
        AttackStatus::Incomplete => "incomplete",
        AttackStatus::Failed => "failed",
    }
}
