//! What has changed since an earlier report: metric by metric, with the interval of the difference.

mod metrics;
mod pair;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::metrics::{curve_settings, metrics};
use self::pair::{Difference, Pair, counterparts};
use super::facts::Facts;
use super::metric::{Found, Missing, Reading, read};
use crate::audit::baseline::{Baseline, BaselineMetric, Counted};
use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::stats::rates::Measured;

/// Comparison of a report with an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the names in report.json")]
pub(crate) struct Changes {
    /// The earlier report's file, as the user named it.
    pub file: String,
    /// Name of the earlier report's model.
    pub model: String,
    /// SHA-256 of the earlier report's model file.
    pub model_sha256: String,
    /// When the earlier audit started: UTC, RFC 3339.
    pub started: String,
    /// Whether both reports have the same samples; accuracies are then compared sample by sample.
    pub same_samples: bool,
    /// One change per metric: accuracies, which count all images, first, then success rates and curves, then what only the earlier report has.
    pub changes: Vec<Change>,
}

impl Changes {
    /// What matters most: the accuracies over all images, of clean ones and within each budget; of each attack, where none has a budget.
    pub(crate) fn headline(&self) -> Vec<&Change> {
        let is_shown = |it: &&Change| it.metric.quantity == Quantity::Accuracy && it.difference.is_some();
        let accuracies = self.changes.iter().filter(is_shown);
        let is_budget = |it: &&Change| matches!(it.metric.subject, Subject::Within(_));
        let has_budget = accuracies.clone().any(|it| is_budget(&it));
        accuracies.filter(|it| it.metric.subject == Subject::Clean || is_budget(it) == has_budget).collect()
    }
}

/// One metric in the earlier report and in this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Change {
    /// Name of the metric as gates write it.
    #[schemars(with = "String")]
    pub metric: Metric,
    /// Measurement in the earlier report; of a success rate, over the images that both runs attacked.
    pub before: Option<Measured>,
    /// Measurement in this report, over the same images.
    pub now: Option<Measured>,
    /// Measurement in this report minus that in the earlier one.
    pub difference: Option<Measured>,
    /// Number of images that were compared one by one; absent where nothing was compared, or the images of two samples.
    #[serde(default)]
    pub images: Option<usize>,
    /// What the difference means for the model's robustness.
    pub state: ChangeState,
    /// Why the two measurements cannot be compared.
    pub why: Option<String>,
}

/// What a change means for the model's robustness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeState {
    /// The whole interval of the difference is on the worse side.
    Regressed,
    /// The whole interval of the difference is on the better side.
    Improved,
    /// The interval of the difference includes zero.
    Unclear,
    /// Both measurements are the same, sample by sample.
    Same,
    /// Only this report has the metric.
    New,
    /// Only the earlier report has the metric.
    Gone,
    /// The two were measured in different ways.
    Incomparable,
}

impl ChangeState {
    pub(crate) fn word(self) -> &'static str {
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
pub fn baseline(facts: &Facts, file: &str) -> Baseline {
    let metrics = metrics(facts).into_iter().map(|(metric, settings)| {
        let reading = read(facts, &metric).into_iter().next();
        let found = reading.and_then(|reading| reading.found.ok());
        BaselineMetric {
            metric,
            settings,
            measured: found.as_ref().map(|found| found.measured),
            halves: found.as_ref().map(|found| found.halves.clone()).unwrap_or_default(),
            counted: found.map(|found| found.counted),
        }
    });
    Baseline {
        file: file.to_owned(),
        model: facts.model.name.clone(),
        model_sha256: facts.model.sha256.clone(),
        started: facts.started.to_owned(),
        data_sha256: facts.data.sha256.clone(),
        indices: facts.data.indices.clone(),
        labels: facts.data.labels.clone(),
        digests: facts.data.digests.clone(),
        curve: curve_settings(facts),
        metrics: metrics.collect(),
    }
}

pub(crate) fn changes(facts: &Facts, baseline: &Baseline) -> Changes {
    let mut changes = Vec::new();
    let mut compared = Vec::new();
    let metrics = metrics(facts);
    for (metric, settings) in &metrics {
        let earlier = Pair::of(baseline, metric, settings).map(|pair| pair.earlier);
        compared.extend(earlier.map(|it| &it.metric));
        let Some(reading) = read(facts, metric).into_iter().next() else { continue };
        let mut change = Change {
            metric: reading.metric,
            before: earlier.and_then(|it| it.measured),
            now: reading.found.as_ref().ok().map(|found| found.measured),
            difference: None,
            images: None,
            state: ChangeState::New,
            why: None,
        };
        // What neither has measured did not change.
        if change.before.is_none() && change.now.is_none() {
            continue;
        }
        if earlier.is_some() {
            let found = reading.found.map_err(|missing| missing.why().to_owned());
            match found.and_then(|now| difference(facts, baseline, metric, None, &now)) {
                Ok(Difference { before, now, by, images, .. }) => {
                    (change.before, change.now, change.difference) = (Some(before), Some(now), Some(by));
                    (change.images, change.state) = (images, state(metric.quantity, by));
                }
                Err(why) => (change.state, change.why) = (ChangeState::Incomparable, Some(why)),
            }
        }
        changes.push(change);
    }
    let gone = baseline.metrics.iter().filter(|it| !compared.contains(&&it.metric) && it.measured.is_some());
    changes.extend(gone.map(|BaselineMetric { metric, measured, .. }| Change {
        metric: metric.clone(),
        before: *measured,
        now: None,
        difference: None,
        images: None,
        state: ChangeState::Gone,
        why: None,
    }));
    Changes {
        file: baseline.file.clone(),
        model: baseline.model.clone(),
        model_sha256: baseline.model_sha256.clone(),
        started: baseline.started.clone(),
        same_samples: counterparts(facts, baseline).iter().flatten().count()
            == facts.data.labels.len().max(baseline.labels.len()),
        changes,
    }
}

fn state(quantity: Quantity, difference: Measured) -> ChangeState {
    let worse = if quantity.is_harm() { difference } else { difference.negated() };
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
pub(crate) fn regression(facts: &Facts, baseline: Option<&Baseline>, metric: &Metric, reading: &Reading) -> Reading {
    let found = match (baseline, &reading.found) {
        (None, _) => Err(Missing::NotMeasurable("there is no baseline".to_owned())),
        (Some(_), Err(missing)) => Err(missing.clone()),
        (Some(baseline), Ok(now)) => {
            let of_all = Metric { class: None, ..reading.metric.clone() };
            difference(facts, baseline, &of_all, reading.class, now)
                .map(|it| if metric.quantity.is_harm() { it.by } else { it.by.negated() })
                .map(|measured| Found { measured, counted: Counted::default(), halves: Vec::new() })
                .map_err(Missing::NotMeasurable)
        }
    };
    Reading { metric: Metric { is_regression: true, ..reading.metric.clone() }, class: reading.class, found }
}

/// How a metric of a report differs from the baseline's, where the two say something of the model.
fn difference(
    facts: &Facts,
    baseline: &Baseline,
    metric: &Metric,
    class: Option<u32>,
    now: &Found,
) -> Result<Difference, String> {
    let settings = metrics(facts).into_iter().find(|(it, _)| it == metric).map(|(_, settings)| settings);
    let settings = settings.unwrap_or_default();
    let pair = Pair::of(baseline, metric, &settings).ok_or("the baseline does not have it")?;
    let found = pair.difference(facts, metric.quantity, class, now)?;
    let speaks_for_the_model = state(metric.quantity, found.by) != ChangeState::Regressed;
    if metric.quantity == Quantity::SuccessRate && found.is_partial && speaks_for_the_model {
        images_were_kept(facts, baseline, metric, class)?;
    }
    Ok(found)
}

/// Where a model loses images before any attack, those that are left to attack are the easy ones: that fewer of them are broken does not make
/// the model better, unless more of all images withstand.
fn images_were_kept(facts: &Facts, baseline: &Baseline, metric: &Metric, class: Option<u32>) -> Result<(), String> {
    let accuracy = |subject: &Subject| {
        let every = class.map(|_| "*".to_owned());
        let metric =
            Metric { is_regression: false, quantity: Quantity::Accuracy, subject: subject.clone(), class: every };
        let now = read(facts, &metric).into_iter().find(|it| it.class == class)?.found.ok()?;
        let difference = difference(facts, baseline, &Metric { class: None, ..metric }, class, &now).ok()?;
        Some(state(Quantity::Accuracy, difference.by))
    };
    match (accuracy(&metric.subject), accuracy(&Subject::Clean)) {
        (Some(ChangeState::Improved), _) => Ok(()),
        (Some(ChangeState::Regressed), _) | (_, Some(ChangeState::Regressed)) => {
            Err("the accuracy fell, and the images that both runs attacked are the easier ones".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
