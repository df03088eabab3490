//! Whether the attacks were strong enough for their failures to mean anything.
//!
//! # Source
//! Carlini et al., "On Evaluating Adversarial Robustness", arXiv:1902.06705, 2019.

use std::collections::BTreeSet;

use advmod_attacks::attack::{Preset, Scale};
use advmod_attacks::config::{AttackConfig, typed};
use advmod_attacks::threat::{Epsilon, Goal, Norm};
use advmod_attacks::victim::Access;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::across::Sweep;
use super::report::{AttackResult, AttackStatus, Report};
use crate::text::wrap::wrapped;

/// One check of the attacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValidityCheck {
    /// What must hold.
    pub check: String,
    /// Whether it does.
    pub state: ValidityState,
    /// What was found, or what is needed.
    pub found: String,
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValidityState {
    /// It holds.
    Ok,
    /// The report does not have what it needs.
    NotRun,
    /// It may not hold.
    Suspicious,
    /// It does not hold: the attacks understate how weak the model is.
    Failed,
}

impl ValidityState {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotRun => "not run",
            Self::Suspicious => "suspicious",
            Self::Failed => "failed",
        }
    }

    /// Whether it counts against the attacks.
    pub fn speaks_against(self) -> bool {
        self >= Self::Suspicious
    }
}

/// What all checks come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValidityVerdict {
    /// Nothing speaks against the attacks.
    #[default]
    Valid,
    /// Something may.
    Suspicious,
    /// The attacks understate how weak the model is: no figure of the report says that it is robust.
    Invalid,
}

impl ValidityVerdict {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Suspicious => "suspicious",
            Self::Invalid => "invalid",
        }
    }
}

/// The checks and what they come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// All together.
    pub verdict: ValidityVerdict,
    /// Always the same ones, in the same order.
    pub checks: Vec<ValidityCheck>,
    /// What speaks against each attack alone, in the plan's order.
    #[serde(default)]
    pub attacks: Vec<AttackValidity>,
}

/// One attack, looked at alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttackValidity {
    /// Its label.
    pub attack: String,
    /// The worst of what was found.
    pub state: ValidityState,
    /// What speaks against it, or that nothing does.
    pub found: String,
}

/// Columns of the text for people: those of the results' table.
const WIDTH: usize = 118;

impl Validity {
    /// Of a report's attacks.
    pub(crate) fn of(report: &Report) -> Self {
        let checks = checks(report);
        let verdict = match checks.iter().map(|it| it.state).max() {
            Some(ValidityState::Failed) => ValidityVerdict::Invalid,
            Some(ValidityState::Suspicious) => ValidityVerdict::Suspicious,
            _ => ValidityVerdict::Valid,
        };
        let attacks = report.attacks.iter().map(|it| alone(report, it)).collect();
        Self { verdict, checks, attacks }
    }

    /// How many checks came out like this.
    pub fn count(&self, state: ValidityState) -> usize {
        self.checks.iter().filter(|it| it.state == state).count()
    }

    /// `valid (6 ok, 2 not run)`; names what speaks against the attacks.
    pub fn line(&self) -> String {
        let counted = [ValidityState::Ok, ValidityState::Suspicious, ValidityState::Failed, ValidityState::NotRun];
        let counts = counted.map(|state| (self.count(state), state.word()));
        let counts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        let mut against = String::new();
        for check in self.checks.iter().filter(|it| it.state.speaks_against()) {
            let text = format!("{}: {}: {}", check.state.word(), check.check, check.found);
            against.extend(["\n", wrapped("  ", 4, &text, WIDTH).trim_end()]);
        }
        format!("{} ({}){against}", self.verdict.word(), counts.join(", "))
    }
}

fn checks(report: &Report) -> Vec<ValidityCheck> {
    let all = [
        ("every planned attack is complete", complete(report)),
        ("the model answers alike when asked twice", deterministic(report)),
        ("the model gives logits, not probabilities", logits(report)),
        ("clean accuracy is above chance", clean_accuracy(report)),
        ("an iterated attack runs, not one step alone", iterated(report)),
        ("iterations break at least what one step breaks", against(report, &["fgsm"], &["pgd"])),
        ("black-box attacks break nothing that white-box attacks miss", masking(report)),
        ("gradients are not zero", zero_gradients(report)),
        ("the steps can cross the budget", reach(report)),
        ("more steps would hardly break more", convergence(report)),
        ("attacks that leave images spend what the standard preset does", effort(report)),
        ("success grows with ε", growth(&report.sweeps)),
        ("a large enough ε breaks every image", saturation(&report.sweeps)),
    ];
    let check = |(check, (state, found)): (&str, Found)| ValidityCheck { check: check.to_owned(), state, found };
    all.into_iter().map(check).collect()
}

type Found = (ValidityState, String);

fn found(state: ValidityState, text: impl Into<String>) -> Found {
    (state, text.into())
}

/// Untargeted, complete attacks of these names.
fn of<'a>(report: &'a Report, names: &'a [&str]) -> impl Iterator<Item = &'a AttackResult> {
    (report.attacks.iter()).filter(|it| {
        names.contains(&it.attack.name.as_str()) && !it.attack.is_targeted() && it.status == AttackStatus::Complete
    })
}

fn broken(attack: &AttackResult) -> BTreeSet<usize> {
    attack.samples.iter().filter(|it| it.success).map(|it| it.sample).collect()
}

fn clean_accuracy(report: &Report) -> Found {
    let chance = 1.0 / report.model.classes.max(1) as f64;
    match report.clean.accuracy {
        Some(rate) if rate.low > chance => {
            found(ValidityState::Ok, format!("{:.1} %", 100.0 * rate.value.unwrap_or_default()))
        }
        Some(rate) => found(
            ValidityState::Failed,
            format!("{:.1} %: check --normalize and the labels", 100.0 * rate.value.unwrap_or_default()),
        ),
        None => found(ValidityState::NotRun, "the clean images were not classified"),
    }
}

fn iterated(report: &Report) -> Found {
    match of(report, &["pgd", "cw", "jsma"]).next() {
        Some(it) => found(ValidityState::Ok, it.attack.label.clone()),
        None if report.attacks.is_empty() => found(ValidityState::NotRun, "no attack ran"),
        None => found(ValidityState::Suspicious, "add pgd: one step says little"),
    }
}

/// Whether, at the same norm and ε, the second kind breaks what the first does.
fn against(report: &Report, weak: &[&str], strong: &[&str]) -> Found {
    let mut pairs = 0;
    for weaker in of(report, weak) {
        for stronger in of(report, strong) {
            if weaker.attack.budget() != stronger.attack.budget() {
                continue;
            }
            pairs += 1;
            let (a, b) = (broken(weaker), broken(stronger));
            let missed = a.difference(&b).count();
            let names = format!("{} and {}", weaker.attack.label, stronger.attack.label);
            // An image or two can go either way by the random start.
            if b.len() + 1.max(a.len() / 50) < a.len() {
                let text = format!("{names}: {} and {} broken; more steps should not break fewer", a.len(), b.len());
                return found(ValidityState::Failed, text);
            }
            if missed > 1.max(a.len() / 100) {
                return found(ValidityState::Suspicious, format!("{names}: {missed} images broken by one step only"));
            }
        }
    }
    match pairs {
        0 => found(ValidityState::NotRun, "needs fgsm and pgd at the same norm and ε"),
        n => found(ValidityState::Ok, format!("{n} pair{}", if n == 1 { "" } else { "s" })),
    }
}

/// Attacks without gradients that do better than those with them are the mark of masked gradients.
fn masking(report: &Report) -> Found {
    let needs_gradients = |it: &AttackResult| it.attack.spec.is_some_and(|spec| spec.access == Access::Gradients);
    let complete =
        || report.attacks.iter().filter(|it| it.status == AttackStatus::Complete && !it.attack.is_targeted());
    let union = |gradients: bool| -> Option<BTreeSet<usize>> {
        let mut attacks = complete().filter(|it| needs_gradients(it) == gradients).peekable();
        attacks.peek()?;
        Some(attacks.flat_map(broken).collect())
    };
    let norms = |gradients: bool| -> BTreeSet<Norm> {
        complete().filter(|it| needs_gradients(it) == gradients).map(|it| it.attack.norm).collect()
    };
    let same_norm = norms(true) == norms(false);
    match (union(true), union(false)) {
        (Some(white), Some(black)) => match black.difference(&white).count() {
            0 => found(ValidityState::Ok, format!("{} and {} broken", black.len(), white.len())),
            // Two norms are two budgets: only within one is the comparison plain.
            n if black.len() > white.len() + 1.max(white.len() / 50) && same_norm => found(
                ValidityState::Failed,
                format!("black-box attacks break more ({n} images alone): gradients are masked"),
            ),
            n => found(ValidityState::Suspicious, format!("{n} images are broken by black-box attacks alone")),
        },
        _ => found(ValidityState::NotRun, "needs one-pixel or local-search beside an attack with gradients"),
    }
}

fn zero_gradient_samples(attack: &AttackResult) -> usize {
    attack.samples.iter().filter(|sample| sample.zero_gradients > 0).count()
}

fn zero_gradients(report: &Report) -> Found {
    let zero = zero_gradient_samples;
    let samples = || report.attacks.iter().flat_map(|it| &it.samples);
    match report.attacks.iter().find(|it| zero(it) > 0) {
        Some(it) => {
            let text = format!(
                "{}: {} of {} samples had a gradient of exactly zero: the model is overconfident or masks gradients",
                it.attack.label,
                zero(it),
                it.samples.len()
            );
            found(ValidityState::Suspicious, text)
        }
        None if samples().any(|it| it.backwards > 0) => found(ValidityState::Ok, "none was"),
        None => found(ValidityState::NotRun, "needs an attack with gradients"),
    }
}

fn deterministic(report: &Report) -> Found {
    match report.model.is_random {
        false => found(ValidityState::Ok, "two forward passes of the same images agree"),
        true => found(
            ValidityState::Suspicious,
            "two forward passes of the same images differ: attacks must average over the randomness",
        ),
    }
}

fn logits(report: &Report) -> Found {
    match report.model.gives_probabilities {
        false => found(ValidityState::Ok, "the outputs of the clean images do not look like probabilities"),
        true => found(ValidityState::Suspicious, "gradients through a softmax vanish: attack the logits"),
    }
}

/// What counts against one attack, whatever the others do.
fn alone(report: &Report, attack: &AttackResult) -> AttackValidity {
    let mut against = Vec::new();
    match attack.status {
        AttackStatus::Complete => (),
        AttackStatus::Incomplete => against.push(found(ValidityState::Suspicious, "it was stopped before its end")),
        AttackStatus::Failed => against.push(found(ValidityState::Failed, "it broke off")),
    }
    let rate = attack.success_rate;
    let is_whole = rate.count == rate.of && rate.of > 0;
    let zero = zero_gradient_samples(attack);
    if zero > 0 {
        against.push(found(ValidityState::Suspicious, format!("{zero} of {} gradients are exactly zero", rate.of)));
    }
    against.extend(short_steps(attack).map(|text| found(ValidityState::Suspicious, text)));
    // Where everything is broken, nothing is left for more effort.
    if !is_whole {
        against.extend(late(attack).map(|text| found(ValidityState::Suspicious, text)));
        against.extend(weak(report, attack).map(|text| found(ValidityState::Suspicious, text)));
    }
    let state = against.iter().map(|it| it.0).max().unwrap_or(ValidityState::Ok);
    let texts: Vec<String> = against.into_iter().map(|it| it.1).collect();
    let found = match (texts.is_empty(), is_whole) {
        (true, true) => "it breaks every image".to_owned(),
        (true, false) => "nothing speaks against it".to_owned(),
        (false, _) => texts.join("; "),
    };
    AttackValidity { attack: attack.attack.label.clone(), state, found }
}

/// Share of the standard preset's passes below which an attack is weak.
const WEAK: f64 = 0.5;

/// That the attack spends much less on an image than it does by the standard preset, if so.
fn weak(report: &Report, attack: &AttackResult) -> Option<String> {
    let params = attack.attack.params();
    let given: toml::Table = params.into_iter().map(|(key, value)| (key, typed(&value))).collect();
    let threat = ["norm", "target"].into_iter().filter_map(|key| Some((key.to_owned(), given.get(key)?.clone())));
    let standard = AttackConfig::new(&attack.attack.name, Preset::Standard, &threat.collect()).ok()?;
    let own = AttackConfig::new(&attack.attack.name, Preset::Standard, &given).ok()?;
    let [channels, height, width] = report.data.shape.map(|size| size as u64);
    let (classes, is_targeted) = (report.model.classes as u64, attack.attack.is_targeted());
    let passes = |config: &AttackConfig| {
        let most = config.attack.most_passes(&Scale { channels, height, width, classes, is_targeted });
        most.forwards.saturating_add(most.backwards)
    };
    let (own, standard) = (passes(&own) as f64, passes(&standard).max(1) as f64);
    (own < WEAK * standard)
        .then(|| format!("{:.0} % of the standard preset's passes", (100.0 * own / standard).max(1.0)))
}

fn effort(report: &Report) -> Found {
    let left = |it: &&AttackResult| it.status == AttackStatus::Complete && it.success_rate.count < it.success_rate.of;
    let weak: Vec<String> = (report.attacks.iter().filter(left))
        .filter_map(|it| Some(format!("{}: {}", it.attack.label, weak(report, it)?)))
        .collect();
    match (weak.is_empty(), report.attacks.is_empty()) {
        (_, true) => found(ValidityState::NotRun, "no attack ran"),
        (true, _) => found(ValidityState::Ok, "of forward and backward passes per image"),
        (false, _) => found(ValidityState::Suspicious, format!("{}; their failures say little", weak.join("; "))),
    }
}

/// Where images still fall in the last tenth of the steps, more steps would break more. Doubling the steps would be the whole check.
fn convergence(report: &Report) -> Found {
    let mut seen = None;
    // Where everything is broken, nothing is left for more steps: that alone tells little.
    let (whole, partly): (Vec<&AttackResult>, Vec<&AttackResult>) =
        of(report, &["pgd"]).partition(|it| it.success_rate.count == it.success_rate.of);
    for attack in if partly.is_empty() { whole } else { partly } {
        let label = &attack.attack.label;
        if let Some(text) = late(attack) {
            return found(ValidityState::Suspicious, format!("{label}: {text}"));
        }
        let (late, of) = last_tenth(attack);
        seen = Some(format!("{label}: {late} of {of} broke in the last tenth of the steps"));
    }
    seen.map_or_else(|| found(ValidityState::NotRun, "needs pgd"), |text| found(ValidityState::Ok, text))
}

/// Samples that first broke in the last tenth of the steps, of those that broke.
fn last_tenth(attack: &AttackResult) -> (usize, usize) {
    let budget = attack.samples.iter().map(|it| it.forwards).max().unwrap_or(0);
    let first = || attack.samples.iter().filter_map(|it| it.forwards_to_success);
    (first().filter(|it| it * 10 > budget * 9).count(), first().count())
}

/// That PGD was still breaking images when it ended, if so.
fn late(attack: &AttackResult) -> Option<String> {
    let (late, of) = last_tenth(attack);
    let is_late = attack.attack.name == "pgd" && attack.success_rate.count < attack.success_rate.of;
    (is_late && late * 20 > of.max(1)).then(|| format!("{late} of {of} first broke in the last tenth of the steps"))
}

/// Steps that together are shorter than the budget leave most of it to the random start.
fn reach(report: &Report) -> Found {
    let mut seen = 0;
    for attack in of(report, &["pgd"]) {
        seen += 1;
        if let Some(text) = short_steps(attack) {
            return found(ValidityState::Suspicious, format!("{}: {text}", attack.attack.label));
        }
    }
    match seen {
        0 => found(ValidityState::NotRun, "needs pgd"),
        n => found(ValidityState::Ok, format!("of {n} run{}", if n == 1 { "" } else { "s" })),
    }
}

/// That PGD's steps do not reach across its budget, if so.
fn short_steps(attack: &AttackResult) -> Option<String> {
    let text = |key: &str| attack.attack.own.get(key).map(String::as_str);
    let number = |key: &str| text(key)?.parse().ok().map(Epsilon::value);
    if attack.attack.name != "pgd" {
        return None;
    }
    // `auto` crosses by its definition; a share of ε is no number.
    let (size, steps) = (attack.attack.epsilon?, number("steps")?);
    let eps = size.value();
    let share = text("step").and_then(|it| it.strip_prefix("eps/")?.parse::<f64>().ok());
    let step = share.map(|divisor| eps / divisor).or_else(|| number("step"))?;
    (steps * step < eps).then(|| {
        format!(
            "{} steps of {} do not cross ε {size}",
            text("steps").unwrap_or_default(),
            text("step").unwrap_or_default(),
        )
    })
}

/// A sweep's own rates never fall, because results are carried over: what counts is how many had to be.
fn growth(sweeps: &[Sweep]) -> Found {
    let points =
        || iterated_sweeps(sweeps).flat_map(|sweep| &sweep.points).filter(|it| it.status == AttackStatus::Complete);
    let worst =
        points().filter(|it| it.success_rate.count > 0).max_by_key(|it| it.carried * 1000 / it.success_rate.count);
    match worst {
        None => found(ValidityState::NotRun, "needs a sweep, such as --attack 'pgd:eps=2/255|8/255'"),
        Some(it) if it.carried * 20 > it.success_rate.count => {
            let text =
                format!("{}: {} of {} broken ones only at a smaller ε", it.label, it.carried, it.success_rate.count);
            found(ValidityState::Suspicious, text)
        }
        Some(_) => found(ValidityState::Ok, "results of smaller sizes hardly had to be carried over"),
    }
}

/// One step as long as a large budget overshoots: what it misses there says nothing.
fn iterated_sweeps(sweeps: &[Sweep]) -> impl Iterator<Item = &Sweep> {
    sweeps.iter().filter(|sweep| sweep.attack != "fgsm")
}

fn saturation(sweeps: &[Sweep]) -> Found {
    // Pixels lie in [0, 1]: only in L∞ is it plain which size is large.
    let last = |sweep: &Sweep| sweep.points.last().filter(|it| it.status == AttackStatus::Complete).cloned();
    let best =
        iterated_sweeps(sweeps).filter(|it| it.goal == Goal::Untargeted && it.norm == Norm::Linf).filter_map(last);
    match best.max_by_key(|it| it.success_rate.count) {
        None => found(ValidityState::NotRun, "needs a sweep up to a large ε, such as --attack 'pgd:eps=8/255|0.5'"),
        Some(it) if it.success_rate.count == it.success_rate.of => found(ValidityState::Ok, format!("at ε {}", it.eps)),
        // An unbounded attack breaks everything: half of the pixel range is as good as unbounded.
        Some(it) if it.eps_value >= 0.5 => {
            let rate = it.success_rate;
            found(
                ValidityState::Failed,
                format!("{} of {} at ε {}: the attack does not work", rate.count, rate.of, it.eps),
            )
        }
        Some(it) => found(ValidityState::NotRun, format!("the largest ε is {}; add 0.5", it.eps)),
    }
}

fn complete(report: &Report) -> Found {
    let with = |status| report.attacks.iter().find(|it| it.status == status);
    match with(AttackStatus::Failed).or(with(AttackStatus::Incomplete)) {
        None => found(ValidityState::Ok, format!("{} of {}", report.attacks.len(), report.attacks.len())),
        Some(it) if it.status == AttackStatus::Failed => {
            found(ValidityState::Failed, format!("{} broke off", it.attack.label))
        }
        // What there is of it is right, and less than was asked for.
        Some(it) => found(ValidityState::Suspicious, format!("{} was stopped before its end", it.attack.label)),
    }
}

#[cfg(test)]
mod tests;
