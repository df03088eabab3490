//! The result table: what an audit prints, and what the Markdown report begins with.

use advmod_attacks::threat::Norm;

use super::verdict;
use crate::audit::attack::Budget;
use crate::stats::rates::{Distances, Rate};
use crate::text::numbers::{count, number, or_dash, percent};
use crate::text::table::aligned;
use crate::verdict::Report;
use crate::verdict::across::{BudgetResult, DistanceResult, EnsembleResult, Sweep, SweepPoint};
use crate::verdict::facts::{AttackResult, AttackStatus};

pub(crate) const HEAD: [&str; 12] = [
    "attack",
    "parameters",
    "success % [95 %]",
    "n",
    "acc %",
    "L0",
    "L2",
    "L∞",
    "queries",
    "retention drop",
    "captured from",
    "peak drop",
];

const NOTE: &str = "\
success: of the n attacked images; acc: of all images; L0 (pixels), L2, L∞: means over the broken ones, pixels in [0, 1]
queries: mean forward passes per attacked image
retention: drop in the share of the nearest clean images that have the true class at the last tap, before − after
captured: tap from which on more of the nearest clean images are of the predicted class than of the true one
peak drop: largest modularity of the attacked images when clean − when adversarial; it does not measure robustness
";

/// One row for the clean images, one per attack, and one per budget in which several attacks count, cells as text.
pub(crate) fn rows(report: &Report) -> Vec<[String; 12]> {
    let mut clean = empty_row("clean");
    clean[4] = percent(report.clean.accuracy.and_then(|it| it.value));
    let mut rows = vec![clean];
    rows.extend(report.attacks.iter().map(attack_row));
    let together = |name: &str, budget: Budget, success: Option<Rate>, accuracy: Option<Rate>| {
        let mut row = empty_row(name);
        row[1] = budget.summary();
        row[2] = or_dash(success.as_ref(), rate);
        row[3] = or_dash(success, |it| it.of.to_string());
        row[4] = percent(accuracy.and_then(|it| it.value));
        row
    };
    let ensemble = |it: &EnsembleResult| together(&it.label, it.budget(), it.success_rate, it.adversarial_accuracy);
    rows.extend(report.ensembles.iter().map(ensemble));
    let worst = |it: &BudgetResult| together("worst case", it.budget(), it.success_rate, it.adversarial_accuracy);
    rows.extend(worst_cases(report).map(worst));
    rows
}

/// What each ensemble is: `autoattack: AutoAttack standard, …; robust accuracy 41.2 % [37.0, 45.6] of all images`.
pub(super) fn ensemble_lines(report: &Report) -> Vec<String> {
    let line = |it: &EnsembleResult| {
        let attacks = it.attacks.join(", ");
        let what = it.published.clone().unwrap_or_else(|| format!("{attacks}, each on what the others before it left"));
        let found = match it.adversarial_accuracy {
            Some(found) => format!("robust accuracy {} % of all images", rate(&found)),
            None => "not complete".to_owned(),
        };
        format!("{}, {}: {what}; {found}", it.label, it.budget().summary())
    };
    report.ensembles.iter().map(line).collect()
}

/// Budgets in which several attacks count; in the others the one attack's row says it all.
pub(crate) fn worst_cases(report: &Report) -> impl Iterator<Item = &BudgetResult> {
    report.budgets.iter().filter(|it| it.attacks.len() > 1)
}

fn attack_row(attack: &AttackResult) -> [String; 12] {
    let rate = &attack.success_rate;
    let failed = attack.status == AttackStatus::Failed;
    [
        attack.attack.label.clone(),
        attack.attack.summary(),
        if failed { "failed".to_owned() } else { success(attack.status, rate) },
        if rate.of == 0 { dash() } else { rate.of.to_string() },
        percent(attack.adversarial_accuracy.and_then(|it| it.value)),
        count(attack.l0.map(|it| it.mean)),
        number(attack.l2.map(|it| it.mean), 3),
        number(attack.linf.map(|it| it.mean), 4),
        count(attack.forwards.map(|it| it.mean)),
        or_dash(attack.retention_drop, |it| format!("{:.2} ± {:.2}", it.estimate, it.estimate - it.low)),
        captured_from(attack),
        peaks(attack),
    ]
}

/// A row for a terminal, in which 120 columns hold the longest names of attacks: short heads, numbers without spaces between.
fn narrow(mut row: [String; 12]) -> [String; 12] {
    let [.., retention, captured, peaks] = &mut row;
    *retention = retention.replace(HEAD[9], "retention").replace(" ± ", "±");
    *captured = captured.replace(HEAD[10], "captured");
    if *peaks != HEAD[11] {
        *peaks = peaks.replace(" − ", "−").replace("0.", ".");
    }
    row
}

fn empty_row(name: &str) -> [String; 12] {
    std::array::from_fn(|column| if column == 0 { name.to_owned() } else { dash() })
}

fn dash() -> String {
    "–".to_owned()
}

/// The tap, or that there is none.
pub(super) fn captured_from(attack: &AttackResult) -> String {
    or_dash(attack.captured_from.as_ref(), |it| it.tap.clone().unwrap_or_else(|| "nowhere".to_owned()))
}

/// The two peaks that the peak drop is the difference of.
fn peaks(attack: &AttackResult) -> String {
    let both = attack.clean_peak.as_ref().zip(attack.adversarial_peak.as_ref());
    or_dash(both, |(clean, adversarial)| format!("{:.3} − {:.3}", clean.q, adversarial.q))
}

/// A success rate with its interval, marked where samples are missing.
fn success(status: AttackStatus, rate: &Rate) -> String {
    let mark = if status == AttackStatus::Incomplete && rate.value.is_some() { " (incomplete)" } else { "" };
    format!("{}{mark}", self::rate(rate))
}

/// A rate in percent with its interval.
pub(super) fn rate(rate: &Rate) -> String {
    let interval = |_| format!("{} [{:.1}, {:.1}]", percent(rate.value), 100.0 * rate.low, 100.0 * rate.high);
    or_dash(rate.value, interval)
}

/// Mean, median and largest, or a dash.
pub(super) fn spread(values: Option<&Distances>, digits: usize, separator: &str) -> String {
    or_dash(values, |it| [it.mean, it.median, it.max].map(|it| format!("{it:.digits$}")).join(separator))
}

/// Forwards until the goal was first met, and of how many images that is known.
pub(super) fn to_success(attack: &AttackResult) -> String {
    let known = attack.samples.iter().filter(|sample| sample.forwards_to_success.is_some()).count();
    or_dash(attack.forwards_to_success.as_ref(), |it| format!("{} ({known})", count(Some(it.mean))))
}

/// Success of a sweep's attack at one size, as in the table.
pub(super) fn point_success(point: &SweepPoint) -> String {
    match point.status {
        AttackStatus::Failed => "failed".to_owned(),
        status => success(status, &point.success_rate),
    }
}

/// How large a change it takes: `smallest changes by cw: L2 0.25 for half of the attacked images, 0.41 for nine of ten`.
pub(super) fn distance_lines(report: &Report) -> Vec<String> {
    let line = |it: &DistanceResult| {
        let shown = |size: f64| if it.norm == Norm::L0 { format!("{size:.0}") } else { format!("{size:.3}") };
        let (name, norm) = (&it.attack, it.norm.sign());
        match (it.half, it.most) {
            (None, _) => format!("smallest changes by {name}: it breaks fewer than half of the attacked images"),
            (Some(half), None) => format!(
                "smallest changes by {name}: {norm} {} for half of the attacked images; it breaks fewer than nine of ten",
                shown(half)
            ),
            (Some(half), Some(most)) => format!(
                "smallest changes by {name}: {norm} {} for half of the attacked images, {} for nine of ten",
                shown(half),
                shown(most)
            ),
        }
    };
    report.distances.iter().map(line).collect()
}

/// The table in plain text, columns aligned, a line per sweep, and the gates.
pub(crate) fn text(report: &Report) -> String {
    let rows: Vec<[String; 12]> = std::iter::once(HEAD.map(str::to_owned)).chain(rows(report)).map(narrow).collect();
    // Names read from the left, numbers from the right.
    let mut text = aligned(&rows, &[2, 3, 4, 5, 6, 7, 8, 9, 11]);
    text.push_str(NOTE);
    if worst_cases(report).next().is_some() {
        text.push_str("worst case: broken by any change that lies within the budget, whichever attack made it\n");
    }
    for line in ensemble_lines(report).into_iter().chain(distance_lines(report)) {
        text.extend([line.as_str(), "\n"]);
    }
    for sweep in &report.sweeps {
        text.push_str(&sweep_line(sweep));
    }
    if let Some(changes) = &report.changes {
        text.push_str(&verdict::changes(changes, &report.model, true));
    }
    text.extend(["attack validity: ", &verdict::validity(report), "\n"]);
    text.push_str(&verdict::gates(&report.gates));
    text.extend(report.allowed.line().map(|line| line + "\n"));
    text
}

/// Success at each size; carried are the images that only a smaller size broke.
fn sweep_line(sweep: &Sweep) -> String {
    let point = |point: &SweepPoint| {
        let rate = match point.status {
            AttackStatus::Failed => "failed".to_owned(),
            AttackStatus::Complete => percent(point.success_rate.value),
            AttackStatus::Incomplete => format!("{} (incomplete)", percent(point.success_rate.value)),
        };
        let carried = if point.carried > 0 { format!(" ({} carried)", point.carried) } else { String::new() };
        format!("{} → {rate}{carried}", point.eps)
    };
    let points: Vec<String> = sweep.points.iter().map(point).collect();
    let norm = sweep.norm.sign();
    format!("{} {norm}, {}, success % by ε: {}\n", sweep.attack, sweep.goal, points.join(", "))
}
