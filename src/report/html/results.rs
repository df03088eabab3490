//! What was run against the model, and what it did.

use advmod_attacks::threat::Goal;
use advmod_attacks::victim::Access;
use serde::Serialize;

use super::page::status_word;
use super::text::{self, clip, name};
use crate::stats::rates::Rate;
use crate::text::numbers::count;
use crate::verdict::Report;
use crate::verdict::across::BudgetResult;
use crate::verdict::facts::{AttackResult, AttackStatus};

/// What an attack may do.
#[derive(Debug, Serialize)]
pub(super) struct Threat {
    label: String,
    title: String,
    goal: String,
    access: &'static str,
    norm: &'static str,
    eps: String,
    budget: String,
    paper: Option<PaperView>,
}

#[derive(Debug, Serialize)]
struct PaperView {
    text: String,
    url: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Results {
    rows: Vec<Row>,
    /// The attacks of each budget together, where there are several.
    budgets: Vec<Row>,
    worst: Option<Row>,
    worst_note: String,
    attacked: String,
    carried: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    label: String,
    summary: String,
    status: &'static str,
    error: Option<String>,
    success: Bar,
    n: usize,
    accuracy: String,
    /// Mean, median, largest.
    l0: String,
    l2: String,
    linf: String,
    forwards: String,
    backwards: String,
    to_success: String,
    carried: usize,
    seconds: String,
}

/// A share with its interval, to be drawn on a scale from 0 to 100.
#[derive(Debug, Serialize)]
pub(super) struct Bar {
    text: String,
    value: Option<f64>,
    low: f64,
    high: f64,
}

impl Bar {
    fn new(rate: &Rate) -> Self {
        let on_scale = |share: f64| (1000.0 * share).round() / 10.0;
        Self {
            text: text::rate(rate),
            value: rate.value.map(on_scale),
            low: on_scale(rate.low),
            high: on_scale(rate.high),
        }
    }
}

pub(super) fn threats(report: &Report) -> Vec<Threat> {
    let threat = |it: &AttackResult| {
        let attack = &it.attack;
        let budget: Vec<String> = attack.own.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        Threat {
            label: name(&attack.label),
            title: name(&attack.title),
            goal: match attack.goal {
                Goal::Targeted(target) => format!("targeted: {target}"),
                Goal::Untargeted => "untargeted: any wrong class".to_owned(),
            },
            access: match attack.spec.map(|it| it.access) {
                Some(Access::Gradients) => "white-box: weights and gradients",
                Some(Access::Logits) => "black-box: class scores of any image",
                None => "unknown",
            },
            norm: attack.norm.sign(),
            eps: attack.epsilon.map_or("not set: seeks the smallest change".to_owned(), |eps| eps.to_string()),
            budget: clip(&budget.join(", "), text::SENTENCE),
            paper: attack.spec.map(|it| PaperView {
                text: format!("{}, {} {}", it.paper.authors, it.paper.venue, it.paper.year),
                url: it.paper.url,
            }),
        }
    };
    report.attacks.iter().map(threat).collect()
}

pub(super) fn results(report: &Report) -> Results {
    let seconds = report.timing.attack_seconds.iter().copied().chain(std::iter::repeat(None));
    let rows: Vec<Row> = report.attacks.iter().zip(seconds).map(|(it, seconds)| row(it, seconds)).collect();
    let dash = || "–".to_owned();
    let together = |label: String, summary: String, status, rate: &Rate, accuracy: Option<&Rate>| Row {
        label,
        summary,
        status: status_word(status),
        error: None,
        success: Bar::new(rate),
        n: rate.of,
        accuracy: accuracy.map_or_else(dash, text::rate),
        l0: dash(),
        l2: dash(),
        linf: dash(),
        forwards: dash(),
        backwards: dash(),
        to_success: dash(),
        carried: 0,
        seconds: dash(),
    };
    let worst = report.worst_case.as_ref().map(|it| {
        let summary = format!("any of {}, whatever norm and ε", report.attacks.len());
        together("worst case".to_owned(), summary, it.status, &it.success_rate, it.adversarial_accuracy.as_ref())
    });
    let budget = |it: &BudgetResult| {
        let label = format!("within {} ε {}", it.norm.sign(), it.eps);
        let accuracy = it.adversarial_accuracy.as_ref();
        let summary = format!("any of {}", clip(&it.attacks.join(", "), 200));
        Some(together(label, summary, AttackStatus::Complete, it.success_rate.as_ref()?, accuracy))
    };
    let budgets = report.budgets.iter().filter(|it| it.attacks.len() > 1).filter_map(budget).collect();
    let bound = match report.worst_case.as_ref().map(|it| it.status) {
        Some(AttackStatus::Incomplete) => " Attacks are missing, so its success is a lower bound.",
        Some(AttackStatus::Failed) => {
            " An attack failed, so its success is a lower bound and its accuracy an upper bound."
        }
        _ => "",
    };
    let targeted = match report.attacks.iter().any(|it| it.attack.is_targeted()) {
        true => {
            " Its accuracy counts every image that some attack gets misclassified, a targeted attack's as whichever class."
        }
        false => "",
    };
    Results {
        rows,
        budgets,
        worst,
        worst_note: format!("{targeted}{bound}"),
        attacked: report.clean.accuracy.as_ref().map_or_else(
            || "The clean images were not classified.".to_owned(),
            |it| format!("The model classifies {} of {} clean images correctly.", it.count, it.of),
        ),
        carried: report.attacks.iter().any(|it| it.carried > 0),
    }
}

fn row(it: &AttackResult, seconds: Option<f64>) -> Row {
    let known = it.samples.iter().filter(|sample| sample.forwards_to_success.is_some()).count();
    Row {
        label: name(&it.attack.label),
        summary: clip(&it.attack.summary(), 200),
        status: status_word(it.status),
        error: it.error.as_ref().map(|error| clip(error, text::SENTENCE)),
        success: Bar::new(&it.success_rate),
        n: it.success_rate.of,
        accuracy: it.adversarial_accuracy.as_ref().map_or_else(|| "–".to_owned(), text::rate),
        l0: text::spread(it.l0.as_ref(), 0),
        l2: text::spread(it.l2.as_ref(), 3),
        linf: text::spread(it.linf.as_ref(), 4),
        forwards: count(it.forwards.map(|it| it.mean)),
        backwards: count(it.backwards.map(|it| it.mean)),
        to_success: it
            .forwards_to_success
            .map_or_else(|| "–".to_owned(), |values| format!("{} ({known})", count(Some(values.mean)))),
        carried: it.carried,
        seconds: seconds.map_or_else(|| "–".to_owned(), text::duration),
    }
}
