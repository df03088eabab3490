//! Class by class: how well the model does, and how often each attack succeeds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::stats::rates::Rate;

/// Results of the samples of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClassResult {
    /// Label of the class as a number.
    pub class: u32,
    /// Name of the class, where the data has names.
    pub name: Option<String>,
    /// Share of the class's samples that the model classifies correctly; absent if the clean images were not classified.
    pub clean: Option<Rate>,
    /// Share of the class's attacked samples that each attack broke, in the plan's order; of an incomplete attack, those so far.
    pub success: Vec<Rate>,
}

/// Every class that has samples, in label order.
pub(super) fn results(facts: &Facts) -> Vec<ClassResult> {
    let labels = &facts.data.labels;
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (sample, &label) in labels.iter().enumerate() {
        members.entry(label).or_default().push(sample);
    }
    let of_class = |class: u32, samples: &[usize]| {
        let correct = samples.iter().filter(|&&it| facts.clean.prediction(it) == Some(class)).count();
        let success = facts.attacks.iter().map(|attack| {
            let of_class = || attack.samples.iter().filter(|it| labels.get(it.sample) == Some(&class));
            Rate::new(of_class().filter(|it| it.success).count(), of_class().count())
        });
        ClassResult {
            class,
            name: facts.data.classes.get(class as usize).cloned(),
            clean: facts.clean.accuracy.is_some().then(|| Rate::new(correct, samples.len())),
            success: success.collect(),
        }
    };
    members.into_iter().map(|(class, samples)| of_class(class, &samples)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::testing::recorded;

    #[test]
    fn classes_add_up_to_the_whole() {
        let report = recorded();
        let classes = &report.classes;
        let sum = |count: &dyn Fn(&ClassResult) -> usize| classes.iter().map(count).sum::<usize>();
        assert_eq!(sum(&|it| it.clean.unwrap().of), report.data.labels.len());
        assert_eq!(sum(&|it| it.clean.unwrap().count), report.clean.accuracy.unwrap().count);
        for (at, attack) in report.attacks.iter().enumerate() {
            assert_eq!(sum(&|it| it.success[at].count), attack.success_rate.count);
            assert_eq!(sum(&|it| it.success[at].of), attack.success_rate.of);
        }
    }
}
