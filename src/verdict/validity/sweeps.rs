//! Whether success behaves as it must when an attack runs at several sizes.

use advmod_attacks::attack::AttackKind;
use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::threat::{Goal, Norm};

use super::check::Found;
use crate::verdict::across::Sweep;
use crate::verdict::facts::{AttackStatus, Facts};

/// A sweep's own rates never fall, because results are carried over: what counts is how many had to be.
pub(super) fn growth(facts: &Facts, sweeps: &[Sweep]) -> Found {
    let points = meant(facts, sweeps).flat_map(|sweep| &sweep.points);
    let broken = points.filter(|it| it.status == AttackStatus::Complete && it.success_rate.count > 0);
    match broken.max_by_key(|it| it.carried * 1000 / it.success_rate.count) {
        None => Found::not_run(format!("needs a sweep, such as --attack '{}:eps=2/255|8/255'", example())),
        Some(it) if it.carried * 20 > it.success_rate.count => Found::suspicious(format!(
            "{}: {} of {} broken ones only at a smaller ε",
            it.label, it.carried, it.success_rate.count
        )),
        Some(_) => Found::ok("results of smaller sizes hardly had to be carried over"),
    }
}

pub(super) fn saturation(facts: &Facts, sweeps: &[Sweep]) -> Found {
    // Pixels lie in [0, 1]: only in L∞ is it plain which size is large.
    let plain = meant(facts, sweeps).filter(|it| it.goal == Goal::Untargeted && it.norm == Norm::Linf);
    let last = plain.filter_map(|sweep| sweep.points.last().filter(|it| it.status == AttackStatus::Complete));
    match last.max_by_key(|it| it.success_rate.count) {
        None => {
            Found::not_run(format!("needs a sweep up to a large ε, such as --attack '{}:eps=8/255|0.5'", example()))
        }
        Some(it) if it.success_rate.count == it.success_rate.of => Found::ok(format!("at ε {}", it.eps)),
        // An unbounded attack breaks everything: half of the pixel range is as good as unbounded.
        Some(it) if it.eps_value >= 0.5 => {
            let rate = it.success_rate;
            Found::failed(format!("{} of {} at ε {}: the attack does not work", rate.count, rate.of, it.eps))
        }
        Some(it) => Found::not_run(format!("the largest ε is {}; add 0.5", it.eps)),
    }
}

/// An attack to show how a sweep is written.
fn example() -> &'static str {
    ATTACKS.iter().find(|spec| spec.kind.steps().is_some()).map_or("NAME", |spec| spec.id)
}

/// All but those of one step: as long as a large budget it overshoots, and what it misses there says nothing.
fn meant<'a>(facts: &Facts<'a>, sweeps: &'a [Sweep]) -> impl Iterator<Item = &'a Sweep> {
    let attacks = facts.attacks;
    let is_one_step = move |sweep: &Sweep| {
        let spec = attacks.iter().find(|it| it.attack.name == sweep.attack).and_then(|it| it.attack.spec);
        spec.is_some_and(|spec| spec.kind == AttackKind::OneStep)
    };
    sweeps.iter().filter(move |sweep| !is_one_step(sweep))
}
