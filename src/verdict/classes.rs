//! Class by class: how well the model does, and how often each attack succeeds.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::stats::rates::Rate;

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassResult {
    /// The label.
    pub class: u32,
    /// Its name, where the data has names.
    pub name: Option<String>,
    /// Correct of all samples of the class; absent if the clean images were not classified.
    pub clean: Option<Rate>,
    /// Broken of attacked samples of the class, one per attack in the plan's order; of an incomplete attack, those so far.
    pub success: Vec<Rate>,
    /// Samples of the class that any attack broke, of those that any attacked.
    pub worst_case: Rate,
}

/// Every class that has samples, in label order.
pub(crate) fn results(report: &Report) -> Vec<ClassResult> {
    let labels = &report.data.labels;
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (sample, &label) in labels.iter().enumerate() {
        members.entry(label).or_default().push(sample);
    }
    let predictions = &report.clean.predictions;
    let of_class = |class: u32, samples: &[usize]| {
        let correct = samples.iter().filter(|&&it| predictions.get(it) == Some(&class)).count();
        let mut attacked = BTreeSet::new();
        let mut broken = BTreeSet::new();
        let mut success = Vec::with_capacity(report.attacks.len());
        for attack in &report.attacks {
            let of_class = || attack.samples.iter().filter(|it| labels.get(it.sample) == Some(&class));
            let succeeded = || of_class().filter(|it| it.success);
            success.push(Rate::new(succeeded().count(), of_class().count()));
            attacked.extend(of_class().map(|it| it.sample));
            broken.extend(succeeded().map(|it| it.sample));
        }
        ClassResult {
            class,
            name: report.data.classes.get(class as usize).cloned(),
            clean: report.clean.accuracy.is_some().then(|| Rate::new(correct, samples.len())),
            success,
            worst_case: Rate::new(broken.len(), attacked.len()),
        }
    };
    members.into_iter().map(|(class, samples)| of_class(class, &samples)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::replay;

    #[test]
    fn classes_add_up_to_the_whole() {
        let report =
            Report::new(&replay(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/run.jsonl"))).0).unwrap();
        let classes = &report.classes;
        let sum = |count: &dyn Fn(&ClassResult) -> usize| classes.iter().map(count).sum::<usize>();
        assert_eq!(sum(&|it| it.clean.unwrap().of), report.data.labels.len());
        assert_eq!(sum(&|it| it.clean.unwrap().count), report.clean.accuracy.unwrap().count);
        for (at, attack) in report.attacks.iter().enumerate() {
            assert_eq!(sum(&|it| it.success[at].count), attack.success_rate.count);
            assert_eq!(sum(&|it| it.success[at].of), attack.success_rate.of);
        }
        assert_eq!(sum(&|it| it.worst_case.count), report.worst_case.as_ref().unwrap().success_rate.count);
    }
}
