//! Whether the model under attack is what the attacks take it for.

use super::check::Found;
use crate::verdict::facts::{AttackResult, Facts};

pub(super) fn deterministic(facts: &Facts) -> Found {
    match facts.model.is_random {
        false => Found::ok("two forward passes of the same images agree"),
        true => {
            Found::suspicious("two forward passes of the same images differ: attacks must average over the randomness")
        }
    }
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
    match facts.model.gives_probabilities {
        false => Found::ok("the outputs of the clean images do not look like probabilities"),
        true => Found::suspicious("gradients through a softmax vanish: attack the logits"),
    }
}

pub(super) fn clean_accuracy(facts: &Facts) -> Found {
    let chance = 1.0 / facts.model.classes.max(1) as f64;
    let Some(rate) = facts.clean.accuracy else { return Found::not_run("the clean images were not classified") };
    let shown = format!("{:.1} %", 100.0 * rate.value.unwrap_or_default());
    match rate.low > chance {
        true => Found::ok(shown),
        false => Found::failed(format!("{shown}: check --normalize and the labels")),
    }
}

pub(super) fn gradients(facts: &Facts) -> Found {
    let mut samples = facts.attacks.iter().flat_map(|it| &it.samples);
    match facts.attacks.iter().find(|it| zero_gradients(it) > 0) {
        Some(it) => Found::suspicious(format!(
            "{}: {} of {} samples had a gradient of exactly zero: the model is overconfident or masks gradients",
            it.attack.label,
            zero_gradients(it),
            it.samples.len()
        )),
        None if samples.any(|it| it.backwards > 0) => Found::ok("none was"),
        None => Found::not_run("needs an attack with gradients"),
    }
}

/// How many samples had a gradient of exactly zero.
pub(super) fn zero_gradients(attack: &AttackResult) -> usize {
    attack.samples.iter().filter(|sample| sample.zero_gradients > 0).count()
}
