//! What the page says, section by section, before it is laid out.

use minijinja::{Value, context};

use super::about;
use super::changes::changes;
use super::classes::classes;
use super::curves::{modularity, sweeps};
use super::results::{results, threats};
use super::samples::samples;
use super::text::{self, clip, name};
use super::verdict::overall;
use crate::report::Evidence;
use crate::verdict::Report;
use crate::verdict::facts::shown_label;
use crate::verdict::findings::{self, Finding, FindingStatus, Mapping, Severity};
use crate::verdict::validity::{AttackValidity, ValidityCheck};

/// A name and what it is.
pub(in crate::report) fn fact(name: &str, value: impl Into<String>) -> Value {
    context! { name, value => clip(&value.into(), text::SENTENCE / 2), is_code => false }
}

/// To be compared letter by letter.
fn code(name: &str, value: &str) -> Value {
    context! { is_code => true, ..fact(name, value) }
}

/// Most findings at the top of the page.
const FIX_FIRST: usize = 3;

pub(super) fn page(report: &Report, evidence: &Evidence) -> Value {
    let found = &report.findings;
    let is_grave = |it: &&Finding| it.severity >= Severity::Medium;
    let check = |it: &ValidityCheck| {
        context! { check => &it.check, word => it.state.word(), found => clip(&it.found, text::SENTENCE) }
    };
    let attack = |label: &str| report.attacks.iter().find(|it| it.attack.label == label).map(|it| &it.attack);
    let alone = |it: &AttackValidity| {
        let label = attack(&it.attack).map_or_else(|| it.attack.clone(), |it| shown_label(&report.attacks, it));
        [name(&label), it.state.word().to_owned(), clip(&it.found, text::SENTENCE)]
    };
    // The findings come with the gravest first.
    let first = found.iter().filter(is_grave).filter(|it| it.status == FindingStatus::Open).take(FIX_FIRST);
    let fix_first = |it: &Finding| {
        let advice =
            it.recommendation.split_once(". ").map_or(it.recommendation.clone(), |(first, _)| format!("{first}."));
        let evidence = it.evidence.first().map_or(String::new(), |it| clip(it, text::SENTENCE));
        context! { title => clip(&it.title, 200), evidence, advice }
    };
    context! {
        title => name(&report.model.name),
        started => &report.timing.started,
        tool => format!("{} {}", report.tool.name, report.tool.version),
        overall => overall(report, found.iter().filter(is_grave).count()),
        validity => report.validity.checks.iter().map(check).collect::<Value>(),
        attack_validity => report.validity.attacks.iter().map(alone).collect::<Value>(),
        fix_first => first.map(fix_first).collect::<Value>(),
        target => target(report),
        threats => threats(report),
        results => results(report),
        modularity => modularity(report),
        sweeps => sweeps(report),
        findings => found.iter().map(finding).collect::<Value>(),
        severity_rule => findings::RULE,
        classes => classes(report),
        samples => samples(report, evidence),
        changes => changes(report),
        warnings => report.warnings.iter().map(|it| clip(it, text::SENTENCE)).collect::<Value>(),
        limits => about::limits(report),
        reproduce => reproduce(report),
    }
}

fn finding(it: &Finding) -> Value {
    let entry = |it: &Mapping| context! { id => &it.id, name => &it.name };
    let catalogues = it.mapping.chunk_by(|a, b| a.catalogue == b.catalogue).map(|entries| {
        context! { name => &entries[0].catalogue, entries => entries.iter().map(entry).collect::<Value>() }
    });
    context! {
        id => &it.id,
        title => clip(&it.title, 200),
        evidence => it.evidence.iter().map(|it| clip(it, text::SENTENCE)).collect::<Value>(),
        recommendation => &it.recommendation,
        retest => it.retest.as_ref(),
        severity_word => it.severity.word(),
        is_waived => it.status == FindingStatus::Waived,
        catalogues => catalogues.collect::<Value>(),
    }
}

fn target(report: &Report) -> Vec<Value> {
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
        fact("Model", clip(&model.name, 400)),
        code("Model SHA-256", &model.sha256),
        fact("Architecture", format!("{}, stored as {}", name(&model.architecture), name(&model.format))),
        fact("Classes", text::grouped(model.classes as u64)),
        fact("Parameters", text::grouped(model.parameters)),
        fact("MACs per image", model.macs.map_or("unknown".to_owned(), text::grouped)),
        fact("Normalization", normalization),
        fact("Data", format!("{} ({}{split})", clip(&data.name, 400), name(&data.format))),
        code("Data SHA-256", &data.sha256),
        fact(
            "Samples",
            format!(
                "{} of {} images: {}",
                text::grouped(data.indices.len() as u64),
                text::grouped(data.available as u64),
                report.plan.selection
            ),
        ),
        fact("Image shape", data.shape.map(|size| size.to_string()).join(" × ") + " (channels, height, width)"),
        fact("Clean accuracy", report.clean.accuracy.as_ref().map_or("not measured".to_owned(), text::rate)),
    ];
    if model.is_random {
        facts.push(fact("Mind", "two forward passes of the same images differ"));
    }
    if let Some(ending) = &model.ending {
        facts.push(fact("Ends in", format!("{}; attacked are the logits before that", clip(ending, text::NAME))));
    }
    if let Some(doubt) = model.outputs.doubt() {
        facts.push(fact("Mind", format!("the outputs {doubt}")));
    }
    facts
}

fn reproduce(report: &Report) -> Value {
    let (plan, tool, timing) = (&report.plan, &report.tool, &report.timing);
    let mut facts = vec![
        fact("Tool", format!("{} {}", tool.name, tool.version)),
        fact("libtorch", tool.libtorch.clone()),
        fact("Platform", name(&tool.platform)),
        fact("Started", format!("{} (UTC)", timing.started)),
        fact("Took", timing.seconds.map_or("unknown".to_owned(), text::duration) + &timing.interruptions()),
        fact("Seed", plan.seed.to_string()),
        fact("Device", format!("{}, {} threads, batches of {}", plan.device, plan.threads, plan.batch)),
        fact("Preset", plan.preset.to_string()),
        fact("Judged on", if plan.eight_bit { "pixels rounded to 8 bits" } else { "f32 pixels" }),
    ];
    facts.extend(report.allowed.line().map(|line| fact("By hand", line)));
    context! { command => &plan.command, by_plan => plan.command_reads_plan(), plan_file => report.plan_file.as_ref(), facts }
}
