//! Whether the model under attack is what the attacks take it for.

use std::collections::{BTreeMap, BTreeSet};

use advmod_attacks::config::EOT;
use advmod_attacks::query::JUDGEMENTS;

use super::check::Found;
use crate::audit::event::SampleResult;
use crate::audit::gate::Gate;
use crate::stats::permutation::permutation;
use crate::text::names::some;
use crate::verdict::facts::{AttackResult, Facts};

pub(super) fn deterministic(facts: &Facts) -> Found {
    if !facts.model.is_random {
        return Found::ok("two forward passes of the same images agree");
    }
    let draws = |it: &AttackResult| it.attack.own.get(EOT).map_or(JUDGEMENTS, |text| text.parse().unwrap_or(1));
    let fewest = facts.attacks.iter().map(draws).min().unwrap_or(JUDGEMENTS);
    Found::suspicious(format!(
        "two forward passes of the same images differ: something random is in the network (dropout, noise, random crops); attacks \
         average {fewest} passes, and who averages more may break more"
    ))
}

pub(super) fn batch(facts: &Facts) -> Found {
    match facts.model.batch_influence {
        None => Found::ok("alone, beside others and in another order they agree"),
        Some(share) => Found::failed(format!(
            "they change by up to {:.1} % of the largest logit: the network uses statistics of the batch, as batch norm does in training mode",
            100.0 * share
        )),
    }
}

pub(super) fn logits(facts: &Facts) -> Found {
    let model = facts.model;
    match (model.outputs.doubt(), &model.ending) {
        (Some(doubt), _) => Found::suspicious(format!("on the clean images they {doubt}; gradients vanish there")),
        (None, _) if model.ending_decides > 0 => Found::suspicious(format!(
            "the model ends in operators that decide the class of {} clean images, and through which gradients may vanish",
            model.ending_decides
        )),
        (None, Some(ending)) => Found::ok(format!(
            "they are those before the model's ending ({ending}), which changes the class of no clean image"
        )),
        (None, None) => Found::ok("nothing speaks against it on the clean images"),
    }
}

/// On one class alone the model that always answers with it is right everywhere, and no attack can break it.
pub(super) fn several_classes(facts: &Facts) -> Found {
    let labels = &facts.data.labels;
    let classes: BTreeSet<u32> = labels.iter().copied().collect();
    match classes.len() {
        0 => Found::not_run("there are no images"),
        1 => Found::failed(format!("all {} images are of class {}", labels.len(), labels[0])),
        n => Found::ok(format!("{n} classes")),
    }
}

pub(super) fn clean_accuracy(facts: &Facts) -> Found {
    let chance = 1.0 / facts.model.classes.max(1) as f64;
    let Some(rate) = facts.clean.accuracy else { return Found::not_run("the clean images were not classified") };
    let value = rate.value.unwrap_or_default();
    let shown = format!("{:.1} %", 100.0 * value);
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for &label in &facts.data.labels {
        *counts.entry(label).or_default() += 1;
    }
    let largest = counts.values().max().map_or(0.0, |&n| n as f64 / facts.data.labels.len() as f64);
    let predictions = facts.clean.predictions.as_deref().unwrap_or_default();
    let constant = predictions.first().filter(|first| predictions.iter().all(|it| it == *first));
    let largest_shown = format!("{:.1} % of the images are of one class", 100.0 * largest);
    match constant {
        Some(class) => Found::failed(format!("{shown}: the model takes every image for class {class}")),
        None if rate.low <= chance => Found::failed(format!("{shown}: check --normalize and the labels")),
        None if value <= largest => Found::failed(format!("{shown}, but {largest_shown}")),
        None if rate.low <= largest => {
            Found::suspicious(format!("{shown} is hardly more than chance: {largest_shown}"))
        }
        None => Found::ok(shown),
    }
}

pub(super) fn gradients(facts: &Facts) -> Found {
    let mut found: Vec<Found> = Vec::new();
    for attack in facts.attacks {
        let about = |text: String| format!("{}: {text}", attack.attack.label);
        found.extend(zero_gradients(attack).map(|it| Found { text: about(it.text), ..it }));
    }
    let made = || facts.attacks.iter().flat_map(|it| &it.samples);
    let nonfinite: u64 = made().map(|it| it.nonfinite_gradients).sum();
    match found.into_iter().rev().max_by_key(|it| it.state) {
        Some(found) => found,
        None if nonfinite > 0 => Found::ok(format!(
            "of the images that were left; {nonfinite} of other images were not finite somewhere, where they counted as 0"
        )),
        None if made().any(|it| it.backwards > 0) => Found::ok("of the images that were left"),
        None => Found::not_run("needs an attack with gradients"),
    }
}

/// That images which an attack left had gradients that were zero or not finite, if so.
pub(super) fn zero_gradients(attack: &AttackResult) -> Option<Found> {
    let left = || attack.samples.iter().filter(|it| !it.success && it.backwards > 0);
    let is_bad = |it: &&SampleResult| it.zero_gradients + it.nonfinite_gradients > 0;
    let (zero, of) = (left().filter(is_bad).count(), left().count());
    let text =
        format!("{zero} of {of} images that it left had gradients that were zero everywhere or not finite somewhere");
    match zero {
        0 => None,
        _ if zero * 20 > of => Some(Found::failed(format!("{text}: gradients are masked"))),
        _ => Some(Found::suspicious(text)),
    }
}

/// Labels in another order make every image an error that is none.
pub(super) fn order(facts: &Facts) -> Found {
    let Some(predictions) = &facts.clean.predictions else {
        return Found::not_run("the clean images were not classified");
    };
    match permutation(&facts.data.labels, predictions) {
        None => Found::ok("the predictions are not the labels in another order"),
        Some(order) => {
            let moved = order
                .iter()
                .filter(|(label, class)| label != class)
                .map(|(label, class)| format!("{label} as {class}"));
            Found::failed(format!(
                "the predictions are a permutation of the labels: {}",
                some(&moved.collect::<Vec<_>>(), 8)
            ))
        }
    }
}

/// Q of adversarial images does not see where a class goes: a model that is wholly broken may have as high a peak as one that holds.
pub(super) fn gates(facts: &Facts) -> Found {
    if facts.plan.gates.is_empty() {
        return Found::not_run("there are no gates");
    }
    match only_peaks(&facts.plan.gates) {
        false => Found::ok("what gates claim does not rest on peak Q alone"),
        true => Found::suspicious(
            "the only gates that claim robustness are on peak_drop or peak_q, which a model that is wholly broken can pass; add one on accuracy, \
             asr or retention_drop",
        ),
    }
}

/// Whether gates claim robustness, and all that do are on the peak of a curve.
pub(in crate::verdict) fn only_peaks(gates: &[Gate]) -> bool {
    let mut claims = gates.iter().filter(|it| it.expr.claims_robustness()).peekable();
    claims.peek().is_some() && claims.all(|it| !it.expr.metric.quantity.measures_robustness())
}
