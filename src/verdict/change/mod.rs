//! What has changed since an earlier report: metric by metric, with the interval of the difference.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::across::BudgetResult;
use super::metric::{Found, Missing, Reading, read};
use super::report::Report;
use crate::audit::baseline::{Baseline, BaselineMetric, Counted};
use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::stats::rates::{Measured, Rate, paired_difference};

/// A report beside an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// The earlier report's file, as the user named it.
    pub file: String,
    /// Name of its model.
    pub model: String,
    /// Of its model.
    pub model_sha256: String,
    /// When it was made: UTC, RFC 3339.
    pub started: String,
    /// Whether both have the same samples: shares are then compared pair by pair.
    pub same_samples: bool,
    /// Clean images first, then attack by attack in this report's order, then what only the earlier report has.
    pub changes: Vec<Change>,
}

/// One metric then and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// As gates name it.
    pub metric: String,
    /// In the earlier report.
    pub before: Option<Measured>,
    /// In this one.
    pub now: Option<Measured>,
    /// now − before.
    pub difference: Option<Measured>,
    /// What that means for the model's robustness.
    pub state: ChangeState,
    /// Why the two cannot be compared.
    pub why: Option<String>,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// The whole interval of the difference is on the worse side.
    Regressed,
    /// The whole interval is on the better side.
    Improved,
    /// It holds zero.
    Unclear,
    /// Both are the same, sample by sample.
    Same,
    /// Only this report has it.
    New,
    /// Only the earlier report has it.
    Gone,
    /// They were measured in different ways.
    Incomparable,
}

impl ChangeState {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Regressed => "worse",
            Self::Improved => "better",
            Self::Unclear => "no clear change",
            Self::Same => "the same",
            Self::New => "new",
            Self::Gone => "gone",
            Self::Incomparable => "not comparable",
        }
    }
}

/// Reduces a report to what later ones are compared with; `file` is its name.
pub fn baseline(report: &Report, file: &str) -> Baseline {
    let metrics = metrics(report).into_iter().map(|(metric, settings)| {
        let reading = read(report, None, &metric).into_iter().next();
        let found = reading.and_then(|reading| reading.found.ok());
        BaselineMetric {
            name: metric.to_string(),
            settings,
            measured: found.as_ref().map(|found| found.measured),
            counted: found.and_then(|found| found.counted),
        }
    });
    Baseline {
        file: file.to_owned(),
        model: report.model.name.clone(),
        model_sha256: report.model.sha256.clone(),
        started: report.timing.started.clone(),
        data_sha256: report.data.sha256.clone(),
        indices: report.data.indices.clone(),
        labels: report.data.labels.clone(),
        curve: curve_settings(report),
        metrics: metrics.collect(),
    }
}

fn curve_settings(report: &Report) -> BTreeMap<String, String> {
    let plan = &report.plan;
    let pairs = [
        ("k", plan.k.to_string()),
        ("similarity", plan.similarity.to_string()),
        ("taps", plan.taps.clone()),
        ("samples", report.data.indices.len().to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Every metric of a report but those of single classes, with the parameters of what it is of.
fn metrics(report: &Report) -> Vec<(Metric, BTreeMap<String, String>)> {
    let of = |quantity, subject| Metric { is_regression: false, quantity, subject, class: None };
    let mut metrics = vec![
        (of(Quantity::Accuracy, Subject::Clean), BTreeMap::new()),
        (of(Quantity::PeakQ, Subject::Clean), BTreeMap::new()),
    ];
    let judged = ("judged on".to_owned(), if report.plan.eight_bit { "8 bits" } else { "f32" }.to_owned());
    for attack in &report.attacks {
        let mut settings = attack.attack.params();
        settings.extend([judged.clone(), ("attack".to_owned(), attack.attack.name.clone())]);
        for quantity in [Quantity::SuccessRate, Quantity::Accuracy, Quantity::PeakDrop, Quantity::PeakQ] {
            // A targeted attack has no accuracy.
            if quantity != Quantity::Accuracy || !attack.attack.is_targeted() {
                metrics.push((of(quantity, Subject::Attacks(attack.attack.label.clone())), settings.clone()));
            }
        }
    }
    for budget in report.budgets.iter().map(BudgetResult::budget) {
        let tried = report.attacks.iter().filter(|it| it.attack.tries(&budget));
        let each = tried.map(|it| (it.attack.label.clone(), it.attack.parameters_text()));
        let settings: BTreeMap<String, String> =
            each.chain([judged.clone(), ("budget".to_owned(), budget.to_string())]).collect();
        for quantity in [Quantity::SuccessRate, Quantity::Accuracy] {
            metrics.push((of(quantity, Subject::Within(budget)), settings.clone()));
        }
    }
    if report.attacks.len() > 1 {
        let each = report.attacks.iter().map(|it| (it.attack.label.clone(), it.attack.parameters_text()));
        let settings: BTreeMap<String, String> = each.chain([judged]).collect();
        for quantity in [Quantity::SuccessRate, Quantity::Accuracy] {
            metrics.push((of(quantity, Subject::Worst), settings.clone()));
        }
    }
    metrics
}

/// Everything that has changed since the baseline.
pub fn changes(report: &Report, baseline: &Baseline) -> Changes {
    let mut changes = Vec::new();
    let metrics = metrics(report);
    for (metric, settings) in &metrics {
        let Some(reading) = read(report, None, metric).into_iter().next() else { continue };
        let now = reading.found.as_ref().ok().map(|found| found.measured);
        let earlier = counterpart(baseline, &reading.name, settings);
        let before = earlier.and_then(|it| it.measured);
        let (difference, state, why) = match (earlier, &reading.found) {
            (None, _) => (None, ChangeState::New, None),
            (Some(earlier), found) => {
                match compare(report, baseline, (earlier, settings), (metric.quantity, None), found) {
                    Ok(difference) => (Some(difference), state(metric.quantity, difference), None),
                    Err(why) => (None, ChangeState::Incomparable, Some(why)),
                }
            }
        };
        changes.push(Change { metric: reading.name, before, now, difference, state, why });
    }
    let compared: BTreeSet<&str> = metrics
        .iter()
        .filter_map(|(metric, settings)| counterpart(baseline, &metric.to_string(), settings))
        .map(|earlier| earlier.name.as_str())
        .collect();
    for gone in baseline.metrics.iter().filter(|it| !compared.contains(it.name.as_str())) {
        changes.push(Change {
            metric: gone.name.clone(),
            before: gone.measured,
            now: None,
            difference: None,
            state: ChangeState::Gone,
            why: None,
        });
    }
    Changes {
        file: baseline.file.clone(),
        model: baseline.model.clone(),
        model_sha256: baseline.model_sha256.clone(),
        started: baseline.started.clone(),
        same_samples: has_same_samples(report, baseline),
        changes,
    }
}

/// What a metric is compared with: the same quantity of the same attack with the same parameters, whatever its label is there; else what
/// has its name.
fn counterpart<'a>(
    baseline: &'a Baseline,
    name: &str,
    settings: &BTreeMap<String, String>,
) -> Option<&'a BaselineMetric> {
    let quantity = |name: &str| name.split('.').next().map(str::to_owned);
    let alike =
        |it: &&BaselineMetric| !settings.is_empty() && it.settings == *settings && quantity(&it.name) == quantity(name);
    baseline.metrics.iter().find(alike).or_else(|| baseline.metrics.iter().find(|it| it.name == name))
}

fn has_same_samples(report: &Report, baseline: &Baseline) -> bool {
    let data = &report.data;
    data.sha256 == baseline.data_sha256 && data.indices == baseline.indices && data.labels == baseline.labels
}

/// Whether more of it is worse.
fn is_harm(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::SuccessRate | Quantity::PeakDrop)
}

fn state(quantity: Quantity, difference: Measured) -> ChangeState {
    let worse = if is_harm(quantity) { difference } else { difference.negated() };
    if worse.low > 0.0 {
        ChangeState::Regressed
    } else if worse.high < 0.0 {
        ChangeState::Improved
    } else if worse.high > worse.low {
        ChangeState::Unclear
    } else {
        ChangeState::Same
    }
}

/// How much worse a reading is than the baseline's: positive where the model has become weaker.
pub(crate) fn regression(
    report: &Report,
    baseline: Option<&Baseline>,
    quantity: Quantity,
    reading: &Reading,
) -> Reading {
    let name = format!("regression({})", reading.name);
    let unreadable = |why: &str| Err(Missing::NotMeasurable(why.to_owned()));
    let found = match (baseline, &reading.found) {
        (None, _) => unreadable("there is no baseline"),
        (Some(_), Err(missing)) => Err(missing.clone()),
        (Some(baseline), found) => {
            let base = reading.name.split(".class.").next().unwrap_or_default();
            let settings = metrics(report).into_iter().find(|(metric, _)| metric.to_string() == base);
            let settings = settings.map(|(_, settings)| settings).unwrap_or_default();
            match counterpart(baseline, base, &settings) {
                None => unreadable("the baseline does not have it"),
                Some(earlier) => {
                    match compare(report, baseline, (earlier, &settings), (quantity, reading.class), found) {
                        Ok(difference) if is_harm(quantity) => Ok(difference.into()),
                        Ok(difference) => Ok(difference.negated().into()),
                        Err(why) => unreadable(&why),
                    }
                }
            }
        }
    };
    Reading { name, class: reading.class, found }
}

/// now − before, pair by pair where both count the same samples.
fn compare(
    report: &Report,
    baseline: &Baseline,
    (earlier, settings): (&BaselineMetric, &BTreeMap<String, String>),
    (quantity, class): (Quantity, Option<u32>),
    found: &Result<Found, Missing>,
) -> Result<Measured, String> {
    let found = found.as_ref().map_err(|missing| match missing {
        Missing::NotDone(why) | Missing::NotMeasurable(why) => why.clone(),
    })?;
    if let Some(key) = differing(&earlier.settings, settings) {
        // Of several attacks together.
        if earlier.name.split('.').nth(1).is_some_and(|of| of == "worst" || of.contains(':')) {
            return Err("other attacks, or other parameters".to_owned());
        }
        return Err(format!("{key} was {}, is {}", shown(&earlier.settings, &key), shown(settings, &key)));
    }
    if !quantity.is_rate() {
        let curve = curve_settings(report);
        if let Some(key) = differing(&baseline.curve, &curve) {
            return Err(format!("{key} was {}, is {}", shown(&baseline.curve, &key), shown(&curve, &key)));
        }
        let before = earlier.measured.ok_or("the baseline did not measure it")?;
        let (now, is_same) = (found.measured, before == found.measured);
        // Equal curves of equal samples do not differ by chance. Else the errors of both add up, as if their samples were different ones:
        // with the same samples that is wider than need be.
        let exactly = Measured { value: 0.0, low: 0.0, high: 0.0 };
        return Ok(if is_same && has_same_samples(report, baseline) { exactly } else { now.minus(before) });
    }
    let before = earlier.counted.as_ref().ok_or("the baseline did not measure it")?;
    let before = class.map_or_else(|| before.clone(), |class| before.of_class(&baseline.labels, class));
    let now = found.counted.as_ref().ok_or("it is no share")?;
    if before.of.is_empty() {
        return Err("the baseline has no image of this class".to_owned());
    }
    if has_same_samples(report, baseline) && before.of == now.of {
        if before.hits == now.hits {
            return Ok(Measured { value: 0.0, low: 0.0, high: 0.0 });
        }
        return paired(now, &before).ok_or_else(|| "nothing was counted".to_owned());
    }
    let share = |counted: &Counted| Measured::from(Rate::new(counted.hits.len(), counted.of.len()));
    Ok(share(now).minus(share(&before)))
}

/// Both count the same samples.
fn paired(now: &Counted, before: &Counted) -> Option<Measured> {
    let both = now.hits.iter().filter(|sample| before.hits.binary_search(sample).is_ok()).count();
    let (first, second) = (now.hits.len() - both, before.hits.len() - both);
    paired_difference([both, first, second, now.of.len() - both - first - second])
}

/// The first setting that is not the same in both.
fn differing(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    before.keys().chain(now.keys()).find(|key| before.get(*key) != now.get(*key)).cloned()
}

fn shown(settings: &BTreeMap<String, String>, key: &str) -> String {
    settings.get(key).map_or_else(|| "not there".to_owned(), Clone::clone)
}

/// What stands beside each other, and a line per metric; in short, only where something has changed.
pub fn text(changes: &Changes, now: &Report, in_short: bool) -> String {
    let mut text = format!(
        "since {} ({}): {} → {}, {}\n",
        changes.file,
        changes.started,
        described(&changes.model, &changes.model_sha256),
        described(&now.model.name, &now.model.sha256),
        if changes.same_samples { "the same samples" } else { "other samples" },
    );
    let head = HEAD.map(str::to_owned);
    let quiet = [ChangeState::Same, ChangeState::Unclear, ChangeState::New];
    let is_shown = |change: &&Change| !in_short || !quiet.contains(&change.state);
    let shown: Vec<[String; 5]> = changes.changes.iter().filter(is_shown).map(row).collect();
    let head = (!shown.is_empty()).then_some(head);
    let rows: Vec<[String; 5]> = head.into_iter().chain(shown).collect();
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    if in_short {
        let count = |state| changes.changes.iter().filter(|it| it.state == state).count();
        let counts = quiet.map(|state| format!("{} {}", count(state), state.word()));
        text.extend(["since then: ", &counts.join(", "), "\n"]);
    }
    text
}

/// Column heads.
pub const HEAD: [&str; 5] = ["metric", "before", "now", "difference [95 %]", "the model is"];

/// One row per metric, cells as text.
pub fn rows(changes: &Changes) -> Vec<[String; 5]> {
    changes.changes.iter().map(row).collect()
}

fn row(change: &Change) -> [String; 5] {
    let quantity = Metric::parse(&change.metric).map_or(Quantity::PeakQ, |metric| metric.quantity);
    let show = |value: f64| quantity.show(value);
    let bare = |value: f64| show(value).trim_end_matches(" %").to_owned();
    let value = |it: Option<Measured>| it.map_or_else(|| "–".to_owned(), |it| show(it.value));
    // Equal image by image: chance has no part in it.
    let difference = change.difference.filter(|_| change.state != ChangeState::Same).map_or_else(
        || "–".to_owned(),
        |it| {
            let sign = if it.value > 0.0 { "+" } else { "" };
            format!("{sign}{} [{}, {}]", show(it.value), bare(it.low), bare(it.high))
        },
    );
    let why = change.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
    let state = format!("{}{why}", change.state.word());
    [change.metric.clone(), value(change.before), value(change.now), difference, state]
}

/// A model's name with the beginning of its hash.
fn described(name: &str, sha256: &str) -> String {
    format!("{name} ({})", sha256.get(..8).unwrap_or(sha256))
}

#[cfg(test)]
mod tests;
