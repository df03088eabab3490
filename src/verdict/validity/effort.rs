//! Whether the attacks tried hard enough: steps that reach, enough of them, and as many passes as is usual.

use advmod_attacks::attack::{AttackSpec, Preset, Scale};
use advmod_attacks::config::{AttackConfig, typed};
use advmod_attacks::threat::Epsilon;

use super::check::{Found, complete, names};
use crate::audit::attack::ENSEMBLE;
use crate::verdict::facts::{AttackResult, AttackStatus, Facts};

fn has_lengths(spec: &AttackSpec) -> bool {
    spec.kind.steps().is_some_and(|steps| steps.length.is_some())
}

/// Steps that together are shorter than the budget leave most of it to the random start.
pub(super) fn reach(facts: &Facts) -> Found {
    let mut seen = 0;
    for attack in complete(facts, has_lengths) {
        seen += 1;
        if let Some(text) = short_steps(attack) {
            return Found::suspicious(format!("{}: {text}", attack.attack.label));
        }
    }
    match seen {
        0 => Found::not_run(format!("needs {}", names(has_lengths))),
        n => Found::ok(format!("of {n} run{}", if n == 1 { "" } else { "s" })),
    }
}

/// That the steps of an iterated attack do not reach across its budget, if so.
pub(super) fn short_steps(attack: &AttackResult) -> Option<String> {
    let steps = attack.attack.spec?.kind.steps()?;
    let param = |key: &str| attack.attack.own.get(key).map(String::as_str);
    let (count, length) = (param(steps.count)?, param(steps.length?)?);
    let size = |text: &str| text.parse().ok().map(Epsilon::value);
    let epsilon = attack.attack.epsilon?;
    // `auto` crosses by its definition; a share of ε is no number.
    let share = length.strip_prefix("eps/").and_then(|divisor| divisor.parse::<f64>().ok());
    let step = share.map(|divisor| epsilon.value() / divisor).or_else(|| size(length))?;
    (size(count)? * step < epsilon.value()).then(|| format!("{count} steps of {length} do not cross ε {epsilon}"))
}

fn is_timed(spec: &AttackSpec) -> bool {
    spec.kind.steps().is_some_and(|steps| steps.knows_first_success)
}

/// Where images still fall in the last tenth of the steps, more steps would break more. Doubling the steps would be the whole check.
pub(super) fn convergence(facts: &Facts) -> Found {
    let mut seen = None;
    // Where everything is broken, nothing is left for more steps: that alone tells little.
    let (whole, partly): (Vec<&AttackResult>, Vec<&AttackResult>) =
        complete(facts, is_timed).partition(|it| it.is_whole());
    for attack in if partly.is_empty() { whole } else { partly } {
        let label = &attack.attack.label;
        if let Some(text) = late(attack) {
            return Found::suspicious(format!("{label}: {text}"));
        }
        let (late, of) = last_tenth(attack);
        // None of none says nothing.
        if of == 0 {
            continue;
        }
        seen = Some(format!("{label}: {late} of {of} broke in the last tenth of the steps"));
    }
    seen.map_or_else(|| Found::not_run(format!("needs {}, and images that it breaks", names(is_timed))), Found::ok)
}

/// Samples that first broke in the last tenth of the steps, of those that broke.
fn last_tenth(attack: &AttackResult) -> (usize, usize) {
    let budget = attack.samples.iter().map(|it| it.forwards).max().unwrap_or(0);
    let first = || attack.samples.iter().filter_map(|it| it.forwards_to_success);
    (first().filter(|it| it * 10 > budget * 9).count(), first().count())
}

/// That an iterated attack was still breaking images when it ended, if so.
pub(super) fn late(attack: &AttackResult) -> Option<String> {
    let is_open = attack.attack.spec.is_some_and(is_timed) && !attack.is_whole();
    let (late, of) = last_tenth(attack);
    (is_open && late * 20 > of.max(1)).then(|| format!("{late} of {of} first broke in the last tenth of the steps"))
}

/// Share of the standard preset's passes below which an attack is weak.
const WEAK: f64 = 0.5;

pub(super) fn effort(facts: &Facts) -> Found {
    let completed = facts.attacks.iter().filter(|it| it.status == AttackStatus::Complete && it.success_rate.of > 0);
    let weak: Vec<String> =
        completed.filter_map(|it| Some(format!("{}: {}", it.attack.label, weak(facts, it)?))).collect();
    match (weak.is_empty(), facts.attacks.is_empty()) {
        (_, true) => Found::not_run("no attack ran"),
        (true, _) => Found::ok("of forward and backward passes per image"),
        (false, _) => Found::suspicious(format!("{}; their failures say little", weak.join("; "))),
    }
}

/// That an attack which leaves images spends much less on one than it does by the standard preset, if so.
pub(super) fn weak(facts: &Facts, attack: &AttackResult) -> Option<String> {
    let spec = attack.attack.spec.filter(|_| !attack.is_whole())?;
    let [channels, height, width] = facts.data.shape.map(|size| size as u64);
    let (classes, is_targeted) = (facts.model.classes as u64, attack.attack.is_targeted());
    let passes = |given: &toml::Table| {
        let config = AttackConfig::of(spec, Preset::Standard, given).ok()?;
        let most = config.attack.most_passes(&Scale { channels, height, width, classes, is_targeted });
        Some(most.forwards.saturating_add(most.backwards))
    };
    let own = attack.attack.params().into_iter().filter(|(key, _)| key != ENSEMBLE);
    let given: toml::Table = own.map(|(key, text)| (key, typed(&text))).collect();
    let threat = given.iter().filter(|(key, _)| matches!(key.as_str(), "norm" | "target"));
    let standard = passes(&threat.map(|(key, value)| (key.clone(), value.clone())).collect())?;
    let share = passes(&given)? as f64 / standard.max(1) as f64;
    (share < WEAK).then(|| format!("{:.0} % of the standard preset's passes", (100.0 * share).max(1.0)))
}
