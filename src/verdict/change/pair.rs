//! A metric of two reports, over the images that both have.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::metrics::curve_settings;
use crate::audit::baseline::{Baseline, BaselineMetric, Counted};
use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::modularity::Interval;
use crate::stats::rates::{Measured, Rate, paired_difference};
use crate::verdict::facts::Facts;
use crate::verdict::metric::Found;

/// How a metric differs between two reports.
pub(super) struct Difference {
    /// The two that are compared, over the common images where these are fewer than all.
    pub(super) before: Measured,
    pub(super) now: Measured,
    /// now − before.
    pub(super) by: Measured,
    /// Number of images that were compared one by one; absent where the two reports are of other images.
    pub(super) images: Option<usize>,
    /// Whether one of the two counts images that the other does not.
    pub(super) is_partial: bool,
}

/// By which chance has no part in it.
const NO_DIFFERENCE: Measured = Measured { value: 0.0, low: 0.0, high: 0.0 };

/// A metric of an earlier report, and the settings of its counterpart now.
pub(super) struct Pair<'a> {
    baseline: &'a Baseline,
    pub(super) earlier: &'a BaselineMetric,
    settings: &'a BTreeMap<String, String>,
}

impl<'a> Pair<'a> {
    /// What a metric is compared with: the same quantity of the same attack with the same parameters, whatever its label is there; else what
    /// has its name.
    pub(super) fn of(baseline: &'a Baseline, metric: &Metric, settings: &'a BTreeMap<String, String>) -> Option<Self> {
        let is_alike = |it: &&BaselineMetric| it.settings == *settings && it.metric.quantity == metric.quantity;
        let alike = |it: &&BaselineMetric| !settings.is_empty() && is_alike(it);
        let named = || baseline.metrics.iter().find(|it| it.metric == *metric);
        let earlier = baseline.metrics.iter().find(alike).or_else(named)?;
        Some(Self { baseline, earlier, settings })
    }

    /// Image by image where both have the same ones. A success rate is compared over the images that both attacked, a curve only where all
    /// its images are the same: one of a few images is not that of many.
    pub(super) fn difference(
        &self,
        facts: &Facts,
        quantity: Quantity,
        class: Option<u32>,
        now: &Found,
    ) -> Result<Difference, String> {
        let Self { baseline, earlier, settings } = *self;
        same_settings(&earlier.settings, settings).map_err(|differing| match earlier.metric.subject {
            // Of several attacks together.
            Subject::Within(_) => "other attacks, or other parameters".to_owned(),
            _ => differing,
        })?;
        if !quantity.is_rate() {
            same_settings(&baseline.curve, &curve_settings(facts))?;
        }
        let counted = earlier.counted.as_ref().ok_or("the baseline did not measure it")?;
        let all = class.map_or_else(|| counted.clone(), |class| counted.of_class(&baseline.labels, class));
        let counterparts = counterparts(facts, baseline);
        let before = all.moved(&counterparts);
        let is_partial = before.of != now.counted.of || before.of.len() < all.of.len();
        match quantity {
            // All images count, so that the accuracies of other images compare as those of two samples.
            Quantity::Accuracy if is_partial && !all.of.is_empty() => {
                let before = share(&all);
                Ok(Difference { before, now: now.measured, by: now.measured.minus(before), images: None, is_partial })
            }
            Quantity::Accuracy | Quantity::SuccessRate => {
                let (before, now) = (before.among(&now.counted.of), now.counted.among(&before.of));
                let by = paired(&now, &before).ok_or("no image was counted in both runs")?;
                let images = Some(now.of.len());
                Ok(Difference { before: share(&before), now: share(&now), by, images, is_partial })
            }
            _ if is_partial => {
                let (before, now) = (all.of.len(), now.counted.of.len());
                Err(format!("it was of {before} images, is of {now}, which are not the same ones"))
            }
            // Equal curves of equal images do not differ by chance. In the same order they have the same halves; else the errors of both add up,
            // as if their images were different ones, which is wider than need be.
            _ => {
                let (before, halves) = (earlier.measured.ok_or("the baseline did not measure it")?, &now.halves);
                let is_in_order = counterparts.iter().enumerate().all(|(at, it)| it.is_none_or(|it| it == at));
                let now = now.measured;
                let by = match () {
                    () if before == now => NO_DIFFERENCE,
                    () if is_in_order && !halves.is_empty() && halves.len() == earlier.halves.len() => {
                        let differences: Vec<f64> = halves.iter().zip(&earlier.halves).map(|(a, b)| a - b).collect();
                        Interval::from_differences(now.value - before.value, &differences).into()
                    }
                    () => now.minus(before),
                };
                Ok(Difference { before, now, by, images: Some(all.of.len()), is_partial })
            }
        }
    }
}

fn share(counted: &Counted) -> Measured {
    Rate::new(counted.hits.len(), counted.of.len()).into()
}

/// Both count the same images; nothing where there are none.
fn paired(now: &Counted, before: &Counted) -> Option<Measured> {
    if now.hits == before.hits && !now.of.is_empty() {
        return Some(NO_DIFFERENCE);
    }
    let both = now.hits.iter().filter(|sample| before.hits.binary_search(sample).is_ok()).count();
    let (first, second) = (now.hits.len() - both, before.hits.len() - both);
    paired_difference([both, first, second, now.of.len() - both - first - second])
}

/// Where each sample of the baseline is in this report, if it is there: the same pixels under the same label, in whichever order and file.
/// Samples that are alike keep their order.
pub(super) fn counterparts(facts: &Facts, baseline: &Baseline) -> Vec<Option<usize>> {
    let data = facts.data;
    let (before, now): (Vec<String>, Vec<String>) = if !data.digests.is_empty() && !baseline.digests.is_empty() {
        (baseline.digests.clone(), data.digests.clone())
    } else if data.sha256 == baseline.data_sha256 {
        let named = |indices: &[usize]| indices.iter().map(ToString::to_string).collect();
        (named(&baseline.indices), named(&data.indices))
    } else {
        return vec![None; baseline.labels.len()];
    };
    let mut places: HashMap<(&str, u32), VecDeque<usize>> = HashMap::new();
    for (place, (name, &label)) in now.iter().zip(&data.labels).enumerate() {
        places.entry((name, label)).or_default().push_back(place);
    }
    let samples = before.iter().zip(&baseline.labels);
    samples.map(|(name, &label)| places.get_mut(&(name.as_str(), label))?.pop_front()).collect()
}

/// Refuses settings that are not the same, by the first one.
fn same_settings(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Result<(), String> {
    let Some(key) = before.keys().chain(now.keys()).find(|key| before.get(*key) != now.get(*key)) else {
        return Ok(());
    };
    let shown = |settings: &BTreeMap<String, String>| settings.get(key).map_or("not there", String::as_str).to_owned();
    Err(format!("{key} was {}, is {}", shown(before), shown(now)))
}
