//! What the controls say: whether there was a gradient to follow, and whether others break what the attacks left.

use std::collections::BTreeSet;

use advmod_attacks::threat::{Epsilon, Norm};
use advmod_attacks::victim::Access;

use super::check::Found;
use crate::audit::attack::Budget;
use crate::audit::event::{ControlKind, ControlResult};
use crate::verdict::facts::{AttackResult, Facts};

/// Of what the gradient says, the margin must rise by at least so much, and by at most so much more.
const HONEST: std::ops::RangeInclusive<f64> = 0.1..=5.0;

/// Whether the model is differentiated as it is evaluated.
pub(super) fn gradient(facts: &Facts) -> Found {
    if !has_gradients(facts) {
        return Found::not_run("needs an attack with gradients");
    }
    let control = match find(facts, ControlKind::Gradient, None) {
        Ok(control) => control,
        Err(found) => return found,
    };
    let ratios = control.rises.iter().map(|it| if it.predicted > 0.0 { it.observed / it.predicted } else { 0.0 });
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    let n = ratios.len();
    let honest = ratios.iter().filter(|ratio| HONEST.contains(ratio)).count();
    let median = ratios.get(n / 2).copied().unwrap_or_default();
    let text = format!("on {honest} of {n} images; the median rise is {median:.2} of the predicted one");
    // Where nothing is left, there is nothing that masking could hide.
    let mut unbounded = facts.attacks.iter().filter(|it| it.attack.epsilon.is_none());
    let is_whole = facts.budgets().iter().all(|it| left(facts, it).is_empty()) && unbounded.all(AttackResult::is_whole);
    match (honest * 2 < n, honest * 5 < n * 4) {
        _ if n == 0 => Found::suspicious("no image was checked"),
        (true, _) if !is_whole => Found::failed(text),
        (_, true) if !is_whole => Found::suspicious(text),
        _ => Found::ok(text),
    }
}

/// Whether a control of this kind breaks images that the attacks left within a budget.
pub(super) fn breaks(facts: &Facts, kind: ControlKind) -> Found {
    let is_proven = |it: &Budget| {
        facts.attacks.iter().any(|attack| attack.attack.proven_budget().is_some() && attack.attack.measures(it))
    };
    let budgets: Vec<Budget> = facts.budgets().into_iter().filter(is_proven).collect();
    if budgets.is_empty() {
        return Found::not_run("needs an untargeted iterated attack with an ε in L∞ or L2");
    }
    let (mut tried, mut seen) = (0, Vec::<Found>::new());
    for budget in budgets {
        let left = left(facts, &budget);
        if left.is_empty() {
            continue;
        }
        let control = match find(facts, kind, Some(&budget)) {
            Ok(control) => control,
            // Another control has left none.
            Err(_) if left.iter().all(|sample| is_broken_by_controls(facts, *sample, &budget)) => continue,
            Err(found) => return found,
        };
        let n = control.samples.iter().filter(|it| left.contains(&it.sample)).count();
        let broken = control.samples.iter().filter(|it| left.contains(&it.sample) && facts.breaks_within(it, &budget));
        let broken = broken.count();
        tried += n;
        if broken > 0 {
            let text = format!("it breaks {broken} of {n} images that the attacks left within {}", budget.summary());
            // An image or two that a stronger attack would find too prove no masking.
            seen.push(match broken > 1.max(n / 50) {
                true => Found::failed(format!("{text}: gradients are masked, or the attacks are far too weak")),
                false => Found::suspicious(format!("{text}: the attacks are not strong enough")),
            });
        }
    }
    // Of equals the first.
    match seen.into_iter().rev().max_by_key(|it| it.state) {
        Some(found) => found,
        None if tried == 0 => Found::ok("the attacks left no image"),
        None => Found::ok(format!("none of {tried} images that the attacks left")),
    }
}

/// Whether gradient steps break every image once the budget is large.
pub(super) fn large_eps(facts: &Facts) -> Found {
    let is_iterated = |it: &AttackResult| it.attack.spec.is_some_and(|spec| spec.kind.repeats_steps());
    if !facts.attacks.iter().any(is_iterated) {
        return Found::not_run("needs an iterated attack with gradients");
    }
    let half = Budget { norm: Norm::Linf, eps: Epsilon::new(0.5).expect("one half is a size") };
    let left = left(facts, &half);
    if left.is_empty() {
        return match attacked(facts).len() {
            0 => Found::not_run("no image was attacked"),
            n => Found::ok(format!("the attacks break all {n} images within L∞ ε 0.5")),
        };
    }
    let control = match find(facts, ControlKind::LargeEps, None) {
        Ok(control) => control,
        Err(found) => return found,
    };
    let broken = control.samples.iter().filter(|it| facts.breaks_within(it, &half)).count();
    match control.samples.len() {
        n if broken == n => Found::ok(format!("ε 0.5 breaks all of {n} images that the attacks left")),
        n => Found::failed(format!("{broken} of {n} images at ε 0.5: the attack does not work on this model")),
    }
}

fn has_gradients(facts: &Facts) -> bool {
    facts.attacks.iter().any(|it| it.attack.spec.is_some_and(|spec| spec.access == Access::Gradients))
}

fn attacked(facts: &Facts) -> BTreeSet<usize> {
    facts.attacks.iter().flat_map(|it| &it.samples).map(|it| it.sample).collect()
}

/// Attacked images that no attack of the plan breaks within a budget.
fn left(facts: &Facts, budget: &Budget) -> BTreeSet<usize> {
    let made = facts.attacks.iter().flat_map(|it| &it.samples);
    let broken: BTreeSet<usize> = made.filter(|it| facts.breaks_within(it, budget)).map(|it| it.sample).collect();
    attacked(facts).difference(&broken).copied().collect()
}

fn is_broken_by_controls(facts: &Facts, sample: usize, budget: &Budget) -> bool {
    let mut made = facts.controls.iter().flat_map(|it| &it.samples);
    made.any(|it| it.sample == sample && facts.breaks_within(it, budget))
}

/// The control of a kind, or that it is missing: what was not controlled is not known to hold.
fn find<'a>(facts: &Facts<'a>, kind: ControlKind, budget: Option<&Budget>) -> Result<&'a ControlResult, Found> {
    let found = facts.controls.iter().find(|it| it.kind == kind && budget.is_none_or(|budget| it.is_of(kind, budget)));
    let control = found.ok_or_else(|| {
        let within = budget.map_or(String::new(), |budget| format!(" within {}", budget.summary()));
        Found::suspicious(format!("the control did not run{within}"))
    })?;
    match &control.error {
        None => Ok(control),
        Some(error) => Err(Found::suspicious(format!("the control failed: {error}"))),
    }
}
