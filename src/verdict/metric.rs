//! What a metric comes to in a report: one measurement per attack and class that it means.

use std::collections::BTreeSet;

use super::facts::{AttackResult, AttackStatus, Ensemble, Facts, PeakResult};
use crate::audit::attack::Budget;
use crate::audit::baseline::Counted;
use crate::audit::gate::expr::{Metric, Quantity, Subject};
use crate::stats::rates::{Measured, Rate};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Without stars: `asr.pgd`, `asr.pgd.class.dog`.
    pub metric: Metric,
    pub class: Option<u32>,
    /// What was found, or why nothing was.
    pub found: Result<Found, Missing>,
}

/// A measurement with what was counted for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub measured: Measured,
    pub counted: Counted,
    /// Half the difference between the two random halves of its images in each split, where its interval comes from these.
    pub halves: Vec<f64>,
}

impl Found {
    /// What is no share of its images.
    fn of(images: Vec<usize>, measured: Measured, halves: Option<&Vec<f64>>) -> Self {
        let counted = Counted { of: images, hits: Vec::new() };
        Self { measured, counted, halves: halves.cloned().unwrap_or_default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Not all that it needs was done.
    NotDone(String),
    /// It was, and there is none.
    NotMeasurable(String),
}

impl Missing {
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::NotDone(why) | Self::NotMeasurable(why) => why,
        }
    }
}

/// Everything that a metric means, in the order of the attacks and classes; of a regression, the values that it compares.
pub(crate) fn read(facts: &Facts, metric: &Metric) -> Vec<Reading> {
    let nothing = |why: String| {
        let metric = Metric { is_regression: false, ..metric.clone() };
        vec![Reading { metric, class: None, found: Err(Missing::NotMeasurable(why)) }]
    };
    let names = &facts.data.classes;
    let classes = match metric.classes(names, facts.model.classes) {
        Ok(classes) => classes,
        Err(problem) => return nothing(problem),
    };
    let meant = |subject: &Subject, class: Option<u32>| {
        let class = class.map(|class| names.get(class as usize).cloned().unwrap_or_else(|| class.to_string()));
        Metric { is_regression: false, quantity: metric.quantity, subject: subject.clone(), class }
    };
    let each: Vec<Option<u32>> = classes.map_or_else(|| vec![None], |classes| classes.into_iter().map(Some).collect());
    let mut readings = Vec::new();
    let mut of = |subject: &Subject, find: &dyn Fn(Option<u32>) -> Result<Found, Missing>| {
        readings.extend(each.iter().map(|&class| Reading { metric: meant(subject, class), class, found: find(class) }));
    };
    match (&metric.subject, metric.quantity) {
        (Subject::Clean, Quantity::PeakQ) => of(&Subject::Clean, &|_| {
            let all = (0..facts.data.labels.len()).collect();
            let halves = facts.clean.curves.as_ref().map(|it| &it.peak_halves);
            peak(facts.clean.peak.as_ref(), (all, halves), facts.clean.curves.is_some())
        }),
        (Subject::Clean, _) => of(&Subject::Clean, &|class| match facts.clean.accuracy {
            Some(_) => accuracy(facts, class, &BTreeSet::new()),
            None => Err(Missing::NotDone("the clean images were not classified".to_owned())),
        }),
        (Subject::Worst, quantity) => {
            for budget in facts.budgets() {
                of(&Subject::Within(budget), &|class| within(facts, &budget, quantity, class));
            }
        }
        (Subject::Within(budget), quantity) => {
            of(&metric.subject, &|class| within(facts, budget, quantity, class));
        }
        (Subject::Attacks(_), quantity) => {
            // Over a star, targeted attacks and those of an ensemble have no accuracy and are not meant.
            let sees_all = |it: &&AttackResult| !it.attack.is_targeted() && it.attack.ensemble.is_none();
            let has = |it: &&AttackResult| quantity != Quantity::Accuracy || sees_all(it);
            let meant = facts.attacks.iter().filter(|it| metric.subject.fits(&it.attack.label)).filter(has);
            for attack in meant {
                of(&Subject::Attacks(attack.attack.label.clone()), &|class| of_attack(facts, attack, quantity, class));
            }
            let rates = facts.ensembles().into_iter().filter(|_| quantity.is_rate());
            for ensemble in rates.filter(|it| metric.subject.fits(&it.label)) {
                let subject = Subject::Attacks(ensemble.label.clone());
                of(&subject, &|class| of_ensemble(facts, &ensemble, quantity, class));
            }
        }
    }
    if readings.is_empty() { nothing("no attack of the report is meant".to_owned()) } else { readings }
}

/// The share of `hits` in `of`, both places of samples in their order.
fn rate(hits: Vec<usize>, of: Vec<usize>, none: &str) -> Result<Found, Missing> {
    match of.len() {
        0 => Err(Missing::NotMeasurable(none.to_owned())),
        n => Ok(Found { measured: Rate::new(hits.len(), n).into(), counted: Counted { of, hits }, halves: Vec::new() }),
    }
}

fn is_of(facts: &Facts, sample: usize, class: Option<u32>) -> bool {
    class.is_none_or(|class| facts.data.labels.get(sample) == Some(&class))
}

/// Samples that are classified correctly and are not among the broken ones, of all samples of a class.
fn accuracy(facts: &Facts, class: Option<u32>, broken: &BTreeSet<usize>) -> Result<Found, Missing> {
    let labels = &facts.data.labels;
    let all: Vec<usize> = (0..labels.len()).filter(|&sample| is_of(facts, sample, class)).collect();
    let is_whole =
        |&sample: &usize| facts.clean.prediction(sample) == labels.get(sample).copied() && !broken.contains(&sample);
    rate(all.iter().copied().filter(is_whole).collect(), all, "no image of this class")
}

/// Whether all of these attacks are; else the first that failed, or is not yet complete.
fn all_complete<'a>(attacks: &(impl Iterator<Item = &'a AttackResult> + Clone)) -> Result<(), Missing> {
    let first = |status| attacks.clone().find(|it| it.status == status).map(|it| &it.attack.label);
    match (first(AttackStatus::Failed), first(AttackStatus::Incomplete)) {
        (Some(label), _) => Err(Missing::NotMeasurable(format!("{label} failed"))),
        (None, Some(label)) => Err(Missing::NotDone(format!("{label} is incomplete"))),
        (None, None) => Ok(()),
    }
}

fn of_attack(facts: &Facts, attack: &AttackResult, quantity: Quantity, class: Option<u32>) -> Result<Found, Missing> {
    all_complete(&std::iter::once(attack))?;
    let images = || attack.samples.iter().map(|it| it.sample).collect();
    let attacked = || attack.samples.iter().filter(|it| is_of(facts, it.sample, class));
    let curves = attack.curves.as_ref();
    match quantity {
        Quantity::SuccessRate => {
            let broken = attacked().filter(|it| it.success).map(|it| it.sample);
            rate(broken.collect(), attacked().map(|it| it.sample).collect(), "no image was attacked")
        }
        Quantity::Accuracy => accuracy(facts, class, &attacked().filter(|it| it.success).map(|it| it.sample).collect()),
        Quantity::PeakDrop => match attack.peak_drop {
            Some(it) => Ok(Found::of(images(), it.into(), curves.map(|it| &it.drop_halves))),
            None => Err(Missing::NotMeasurable(format!("{} has no peak drop with an interval", attack.attack.label))),
        },
        Quantity::PeakQ => peak(attack.adversarial_peak.as_ref(), (images(), curves.map(|it| &it.peak_halves)), true),
        Quantity::RetentionDrop => match attack.retention_drop {
            Some(it) => {
                let anchored = curves.and_then(|it| it.anchored.as_ref());
                Ok(Found::of(images(), it.into(), anchored.map(|it| &it.drop_halves)))
            }
            None => {
                Err(Missing::NotMeasurable(format!("{} has no retention drop with an interval", attack.attack.label)))
            }
        },
        Quantity::CapturedFrom => match (&attack.captured_from, facts.taps.len()) {
            (Some(it), taps) if taps > 0 => {
                let [low, value, high] = [it.earliest, it.before, it.latest].map(|before| before as f64 / taps as f64);
                Ok(Found::of(images(), Measured { value, low, high }, None))
            }
            _ => Err(Missing::NotMeasurable(format!("{} has no clean-anchored curve", attack.attack.label))),
        },
    }
}

/// What the attacks of an ensemble break together, within its budget.
pub(super) fn of_ensemble(
    facts: &Facts,
    ensemble: &Ensemble<'_>,
    quantity: Quantity,
    class: Option<u32>,
) -> Result<Found, Missing> {
    all_complete(&ensemble.attacks.iter().copied())?;
    let samples = || ensemble.attacks.iter().flat_map(|it| &it.samples).filter(|it| is_of(facts, it.sample, class));
    let broken = samples().filter(|it| facts.breaks_within(it, &ensemble.budget)).map(|it| it.sample);
    let broken: BTreeSet<usize> = broken.collect();
    match quantity {
        Quantity::SuccessRate => {
            let attacked: BTreeSet<usize> = samples().map(|it| it.sample).collect();
            rate(broken.into_iter().collect(), attacked.into_iter().collect(), "no image was attacked")
        }
        _ => accuracy(facts, class, &broken),
    }
}

fn peak(
    peak: Option<&PeakResult>,
    (images, halves): (Vec<usize>, Option<&Vec<f64>>),
    is_done: bool,
) -> Result<Found, Missing> {
    match peak.map(|it| (it.q, it.interval)) {
        Some((value, Some(it))) => Ok(Found::of(images, Measured { value, low: it.low, high: it.high }, halves)),
        Some((_, None)) => Err(Missing::NotMeasurable("its peak has no interval".to_owned())),
        None if is_done => Err(Missing::NotMeasurable("the curve has no peak".to_owned())),
        None => Err(Missing::NotDone("the curve was not measured".to_owned())),
    }
}

/// An attacker with a budget: every image inside it counts that the model gets wrong, whichever attack made it.
fn within(facts: &Facts, budget: &Budget, quantity: Quantity, class: Option<u32>) -> Result<Found, Missing> {
    let tried = facts.attacks.iter().filter(|it| it.attack.tries(budget));
    if !tried.clone().any(|it| it.attack.measures(budget)) {
        return Err(Missing::NotMeasurable(format!("no untargeted attack tries {budget}")));
    }
    all_complete(&tried)?;
    let of_class = || facts.adversarial().filter(|it| is_of(facts, it.sample, class));
    let broken: BTreeSet<usize> = of_class().filter(|it| facts.breaks_within(it, budget)).map(|it| it.sample).collect();
    match quantity {
        Quantity::SuccessRate => {
            let attacked: BTreeSet<usize> = of_class().map(|it| it.sample).collect();
            rate(broken.into_iter().collect(), attacked.into_iter().collect(), "no image was attacked")
        }
        _ => accuracy(facts, class, &broken),
    }
}
