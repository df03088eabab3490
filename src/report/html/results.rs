//! What was run against the model, and what it did.

use advmod_attacks::threat::Goal;
use advmod_attacks::victim::Access;
use minijinja::{Value, context};

use super::text::{self, clip, name};
use crate::report::table::{distance_lines, spread, to_success, worst_cases};
use crate::stats::rates::Rate;
use crate::text::numbers::{count, or_dash};
use crate::verdict::Report;
use crate::verdict::across::{BudgetResult, EnsembleResult};
use crate::verdict::facts::{AttackResult, AttackStatus};

/// A share with its interval, to be drawn on a scale from 0 to 100.
fn bar(rate: &Rate) -> Value {
    let on_scale = |share: f64| (1000.0 * share).round() / 10.0;
    let (low, high) = (on_scale(rate.low), on_scale(rate.high));
    context! { text => text::rate(rate), value => rate.value.map(on_scale), low, high }
}

/// What each attack may do.
pub(super) fn threats(report: &Report) -> Value {
    let threat = |it: &AttackResult| {
        let attack = &it.attack;
        let budget: Vec<String> = attack.own.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let paper = attack.spec.map(|it| &it.paper).map(|it| {
            context! { text => format!("{}, {} {}", it.authors, it.venue, it.year), url => it.url }
        });
        context! {
            paper,
            label => name(&attack.label),
            title => name(&attack.title),
            goal => match attack.goal {
                Goal::Targeted(target) => format!("targeted: {target}"),
                Goal::Untargeted => "untargeted: any wrong class".to_owned(),
            },
            access => match attack.spec.map(|it| it.access) {
                Some(Access::Gradients) => "white-box: weights and gradients",
                Some(Access::Labels) => "black-box: the predicted class of any image",
                Some(Access::Logits) => "black-box: class scores of any image",
                None => "unknown",
            },
            norm => attack.norm.sign(),
            eps => attack.epsilon.map_or("not set: seeks the smallest change".to_owned(), |eps| eps.to_string()),
            budget => clip(&budget.join(", "), text::SENTENCE),
        }
    };
    report.attacks.iter().map(threat).collect()
}

pub(super) fn results(report: &Report) -> Value {
    let seconds = report.timing.attack_seconds.iter().copied().chain(std::iter::repeat(None));
    let rows: Vec<Value> = report.attacks.iter().zip(seconds).map(|(it, seconds)| row(it, seconds)).collect();
    let together = |label: String, summary: String, rate: &Rate, accuracy: Option<&Rate>| {
        context! { label, summary, success => bar(rate), n => rate.of, accuracy => or_dash(accuracy, text::rate) }
    };
    let budget = |it: &BudgetResult| {
        let label = format!("worst case within {}", it.budget().summary());
        let summary = format!("any of {}", clip(&it.attacks.join(", "), 200));
        Some(together(label, summary, it.success_rate.as_ref()?, it.adversarial_accuracy.as_ref()))
    };
    let ensemble = |it: &EnsembleResult| {
        let label = name(&format!("{}, {}", it.label, it.budget().summary()));
        let summary = it.published.clone().unwrap_or_else(|| format!("any of {}", it.attacks.join(", ")));
        Some(together(label, clip(&summary, 200), it.success_rate.as_ref()?, it.adversarial_accuracy.as_ref()))
    };
    let ensembles = report.ensembles.iter().filter_map(ensemble);
    let budgets: Vec<Value> = ensembles.chain(worst_cases(report).filter_map(budget)).collect();
    let attacked = report.clean.accuracy.as_ref().map_or_else(
        || "The clean images were not classified.".to_owned(),
        |it| format!("The model classifies {} of {} clean images correctly.", it.count, it.of),
    );
    let carried = report.attacks.iter().any(|it| it.carried > 0);
    let distances: Vec<String> = distance_lines(report).iter().map(|line| clip(line, text::SENTENCE)).collect();
    context! { rows, budgets, distances, attacked, carried }
}

fn row(it: &AttackResult, seconds: Option<f64>) -> Value {
    context! {
        label => name(&it.attack.label),
        summary => clip(&it.attack.summary(), 200),
        status => status_word(it.status),
        error => it.error.as_ref().map(|error| clip(error, text::SENTENCE)),
        success => bar(&it.success_rate),
        n => it.success_rate.of,
        accuracy => or_dash(it.adversarial_accuracy.as_ref(), text::rate),
        l0 => spread(it.l0.as_ref(), 0, " · "),
        l2 => spread(it.l2.as_ref(), 3, " · "),
        linf => spread(it.linf.as_ref(), 4, " · "),
        forwards => count(it.forwards.map(|it| it.mean)),
        backwards => count(it.backwards.map(|it| it.mean)),
        to_success => to_success(it),
        carried => it.carried,
        seconds => or_dash(seconds, text::duration),
    }
}

/// For people: `complete`, `incomplete`, `failed`.
fn status_word(status: AttackStatus) -> &'static str {
    match status {
        AttackStatus::Complete => "complete",
        AttackStatus::Incomplete => "incomplete",
        AttackStatus::Failed => "failed",
    }
}
