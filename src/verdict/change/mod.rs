//! What has changed since an earlier report: metric by metric, with the interval of the difference.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{AttackResult, Facts};
use super::metric::{Found, Missing, Reading, read};
use crate::audit::baseline::{Baseline, BaselineMetric, Counted};
use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::stats::rates::{Measured, Rate, paired_difference};

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
    /// Whether both reports have the same samples; shares are then compared sample by sample.
    pub same_samples: bool,
    /// One change per metric: clean images first, then attack by attack in this report's order, then what only the earlier report has.
    pub changes: Vec<Change>,
}

/// One metric in the earlier report and in this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Change {
    /// Name of the metric as gates write it.
    pub metric: String,
    /// Measurement in the earlier report.
    pub before: Option<Measured>,
    /// Measurement in this report.
    pub now: Option<Measured>,
    /// Measurement in this report minus that in the earlier one.
    pub difference: Option<Measured>,
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
            name: metric.to_string(),
            settings,
            measured: found.as_ref().map(|found| found.measured),
            counted: found.and_then(|found| found.counted),
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

fn curve_settings(facts: &Facts) -> BTreeMap<String, String> {
    let plan = &facts.plan;
    let pairs = [
        ("k", plan.k.to_string()),
        ("similarity", plan.similarity.to_string()),
        ("taps", plan.taps.clone()),
        ("samples", facts.data.indices.len().to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Every metric of a report but those of single classes, with the parameters of what it is of.
fn metrics(facts: &Facts) -> Vec<(Metric, BTreeMap<String, String>)> {
    use Quantity::{Accuracy, PeakDrop, PeakQ, SuccessRate};
    let mut metrics = Vec::new();
    let mut add = |subject: Subject, quantities: &[Quantity], settings: BTreeMap<String, String>| {
        metrics.extend(quantities.iter().map(|&quantity| {
            (Metric { is_regression: false, quantity, subject: subject.clone(), class: None }, settings.clone())
        }));
    };
    let judged = ("judged on".to_owned(), if facts.plan.eight_bit { "8 bits" } else { "f32" }.to_owned());
    let parameters = |it: &AttackResult| (it.attack.label.clone(), it.attack.parameters_text());
    add(Subject::Clean, &[Accuracy, PeakQ], BTreeMap::new());
    for AttackResult { attack, .. } in facts.attacks {
        let mut settings = attack.params();
        settings.extend([judged.clone(), ("attack".to_owned(), attack.name.clone())]);
        // A targeted attack has no accuracy.
        let quantities: &[_] = if attack.is_targeted() {
            &[SuccessRate, PeakDrop, PeakQ]
        } else {
            &[SuccessRate, Accuracy, PeakDrop, PeakQ]
        };
        add(Subject::Attacks(attack.label.clone()), quantities, settings);
    }
    for budget in facts.budgets() {
        // Whatever an attack makes may lie inside.
        let all = facts.attacks.iter().map(parameters);
        let settings = all.chain([judged.clone(), ("budget".to_owned(), budget.to_string())]).collect();
        add(Subject::Within(budget), &[SuccessRate, Accuracy], settings);
    }
    metrics
}

pub(crate) fn changes(facts: &Facts, baseline: &Baseline) -> Changes {
    let mut changes = Vec::new();
    let mut compared = BTreeSet::new();
    let metrics = metrics(facts);
    for (metric, settings) in &metrics {
        let pair = Pair::of(baseline, &metric.to_string(), settings);
        compared.extend(pair.as_ref().map(|it| it.earlier.name.as_str()));
        let Some(reading) = read(facts, metric).into_iter().next() else { continue };
        let now = reading.found.as_ref().ok().map(|found| found.measured);
        let before = pair.as_ref().and_then(|it| it.earlier.measured);
        let (difference, state, why) = match pair {
            None => (None, ChangeState::New, None),
            Some(pair) => {
                let found = reading.found.as_ref().map_err(|missing| missing.why().to_owned());
                match found.and_then(|now| pair.difference(facts, metric.quantity, None, now)) {
                    Ok(difference) => (Some(difference), state(metric.quantity, difference), None),
                    Err(why) => (None, ChangeState::Incomparable, Some(why)),
                }
            }
        };
        changes.push(Change { metric: reading.name, before, now, difference, state, why });
    }
    let gone = baseline.metrics.iter().filter(|it| !compared.contains(it.name.as_str()));
    changes.extend(gone.map(|BaselineMetric { name, measured, .. }| Change {
        metric: name.clone(),
        before: *measured,
        now: None,
        difference: None,
        state: ChangeState::Gone,
        why: None,
    }));
    Changes {
        file: baseline.file.clone(),
        model: baseline.model.clone(),
        model_sha256: baseline.model_sha256.clone(),
        started: baseline.started.clone(),
        same_samples: has_same_samples(facts, baseline),
        changes,
    }
}

fn has_same_samples(facts: &Facts, baseline: &Baseline) -> bool {
    counterparts(facts, baseline).is_some()
}

/// Where each sample of the baseline is in this report, if both have the same ones: the same pixels under the same labels, in whichever order
/// and file. Samples that are alike keep their order.
fn counterparts(facts: &Facts, baseline: &Baseline) -> Option<Vec<usize>> {
    let data = facts.data;
    if data.digests.is_empty() || baseline.digests.is_empty() {
        let is_same =
            data.sha256 == baseline.data_sha256 && data.indices == baseline.indices && data.labels == baseline.labels;
        return is_same.then(|| (0..data.labels.len()).collect());
    }
    let order = |digests: &[String], labels: &[u32]| {
        let mut samples: Vec<_> = digests.iter().cloned().zip(labels.iter().copied()).zip(0_usize..).collect();
        samples.sort_unstable();
        samples
    };
    let before = order(&baseline.digests, &baseline.labels);
    let now = order(&data.digests, &data.labels);
    let mut places = vec![0; before.len()];
    for ((sample, place), (other, now)) in before.iter().zip(&now) {
        *places.get_mut(*place).filter(|_| sample == other)? = *now;
    }
    (before.len() == now.len()).then_some(places)
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
pub(crate) fn regression(facts: &Facts, baseline: Option<&Baseline>, quantity: Quantity, reading: &Reading) -> Reading {
    let name = format!("regression({})", reading.name);
    let unreadable = |why: &str| Err(Missing::NotMeasurable(why.to_owned()));
    let found = match (baseline, &reading.found) {
        (None, _) => unreadable("there is no baseline"),
        (Some(_), Err(missing)) => Err(missing.clone()),
        (Some(baseline), Ok(now)) => {
            let base = reading.name.split(".class.").next().unwrap_or_default();
            let settings = metrics(facts).into_iter().find(|(metric, _)| metric.to_string() == base);
            let settings = settings.map(|(_, settings)| settings).unwrap_or_default();
            match Pair::of(baseline, base, &settings) {
                None => unreadable("the baseline does not have it"),
                Some(pair) => match pair.difference(facts, quantity, reading.class, now) {
                    Ok(difference) if quantity.is_harm() => Ok(difference.into()),
                    Ok(difference) => Ok(difference.negated().into()),
                    Err(why) => unreadable(&why),
                },
            }
        }
    };
    Reading { name, class: reading.class, found }
}

/// A metric of an earlier report, and the settings of its counterpart now.
struct Pair<'a> {
    baseline: &'a Baseline,
    earlier: &'a BaselineMetric,
    settings: &'a BTreeMap<String, String>,
}

impl<'a> Pair<'a> {
    /// What a metric is compared with: the same quantity of the same attack with the same parameters, whatever its label is there; else what
    /// has its name.
    fn of(baseline: &'a Baseline, name: &str, settings: &'a BTreeMap<String, String>) -> Option<Self> {
        let is_alike = |other: &str| other.split('.').next() == name.split('.').next();
        let alike = |it: &&BaselineMetric| !settings.is_empty() && it.settings == *settings && is_alike(&it.name);
        let named = || baseline.metrics.iter().find(|it| it.name == name);
        let earlier = baseline.metrics.iter().find(alike).or_else(named)?;
        Some(Self { baseline, earlier, settings })
    }

    /// now − before, sample by sample where both count the same ones.
    fn difference(
        &self,
        facts: &Facts,
        quantity: Quantity,
        class: Option<u32>,
        now: &Found,
    ) -> Result<Measured, String> {
        let Self { baseline, earlier, settings } = *self;
        same_settings(&earlier.settings, settings).map_err(|differing| match earlier.name.split('.').nth(1) {
            // Of several attacks together.
            Some(of) if of.contains(':') => "other attacks, or other parameters".to_owned(),
            _ => differing,
        })?;
        if !quantity.is_rate() {
            same_settings(&baseline.curve, &curve_settings(facts))?;
            let before = earlier.measured.ok_or("the baseline did not measure it")?;
            // Equal curves of equal samples do not differ by chance. Else the errors of both add up, as if their samples were different ones:
            // with the same samples that is wider than need be.
            let is_same = before == now.measured && has_same_samples(facts, baseline);
            return Ok(if is_same { NO_DIFFERENCE } else { now.measured.minus(before) });
        }
        let before = earlier.counted.as_ref().ok_or("the baseline did not measure it")?;
        let before = class.map_or_else(|| before.clone(), |class| before.of_class(&baseline.labels, class));
        let now = now.counted.as_ref().ok_or("it is no share")?;
        if before.of.is_empty() {
            return Err("the baseline has no image of this class".to_owned());
        }
        if let Some(places) = counterparts(facts, baseline) {
            let before = before.moved(&places);
            if before.of == now.of {
                let is_same = before.hits == now.hits;
                let paired = if is_same { Some(NO_DIFFERENCE) } else { paired(now, &before) };
                return paired.ok_or_else(|| "nothing was counted".to_owned());
            }
        }
        let share = |counted: &Counted| Measured::from(Rate::new(counted.hits.len(), counted.of.len()));
        Ok(share(now).minus(share(&before)))
    }
}

/// By which chance has no part in it.
const NO_DIFFERENCE: Measured = Measured { value: 0.0, low: 0.0, high: 0.0 };

/// Both count the same samples.
fn paired(now: &Counted, before: &Counted) -> Option<Measured> {
    let both = now.hits.iter().filter(|sample| before.hits.binary_search(sample).is_ok()).count();
    let (first, second) = (now.hits.len() - both, before.hits.len() - both);
    paired_difference([both, first, second, now.of.len() - both - first - second])
}

/// Refuses settings that are not the same, by the first one.
fn same_settings(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Result<(), String> {
    let Some(key) = before.keys().chain(now.keys()).find(|key| before.get(*key) != now.get(*key)) else {
        return Ok(());
    };
    let shown = |settings: &BTreeMap<String, String>| settings.get(key).map_or("not there", String::as_str).to_owned();
    Err(format!("{key} was {}, is {}", shown(before), shown(now)))
}

#[cfg(test)]
mod tests;
