//! What a tap's graph says beyond its Q: class by class, as a classifier, and about hubs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hubness, ModularityError, TapModularity};
use crate::stats::mean;

/// What the graphs of a tap say beyond Q, over its disjoint sets of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TapDetails {
    /// Module path of the tap.
    pub tap: String,
    /// Share of the samples whose neighbours vote for their label, averaged over the sets; absent where a set has no Q.
    pub knn_accuracy: Option<f64>,
    /// Share of the samples that are nobody's neighbour, averaged over the sets; absent where a set has no Q.
    pub never_chosen: Option<f64>,
    /// The classes that are in the graph, in label order; none where Q is absent.
    pub classes: Vec<ClassQ>,
    /// What was measured on each set of samples.
    pub repeats: Vec<TapRepeat>,
}

/// A class's part in Q, averaged over the sets of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClassQ {
    /// Label of the class.
    pub class: usize,
    /// The class's share of Q; the shares of all classes sum to Q.
    pub q: f64,
    /// How well the class is separated, whatever its size: 1 where no edge leaves it, 0 as by chance. Absent where all samples are of the class.
    // `q_c / (w_c(1 − w_c))` with the class's share of the weight `w_c = S_c/T`.
    pub separation: Option<f64>,
}

/// One tap measured on one set of samples; all numbers are absent where it has no Q.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TapRepeat {
    /// Modularity Q under the true labels.
    pub q: Option<f64>,
    /// Mean of Q when the labels are shuffled over the same graph.
    pub null: Option<f64>,
    /// Standard deviation of Q when the labels are shuffled over the same graph.
    pub null_std_dev: Option<f64>,
    /// How far Q lies above its mean under shuffled labels, in standard deviations: (q − null) / null_std_dev; absent where shuffling the labels
    /// does not change Q.
    pub z: Option<f64>,
    /// Share of the edges that join two samples of the same label.
    pub label_overlap: Option<f64>,
    /// Share of the samples whose neighbours vote for their label.
    pub knn_accuracy: Option<f64>,
    /// How unevenly samples are chosen as neighbours.
    pub hubness: Option<Hubness>,
    /// Share of the samples that are nobody's neighbour.
    pub never_chosen: Option<f64>,
    /// Why the tap has no Q on this set of samples.
    pub reason: Option<String>,
}

impl From<&Result<TapModularity, ModularityError>> for TapRepeat {
    fn from(found: &Result<TapModularity, ModularityError>) -> Self {
        match found {
            Err(reason) => Self { reason: Some(reason.to_string()), ..Self::default() },
            Ok(TapModularity { modularity, hubness, never_chosen, knn_accuracy, .. }) => Self {
                q: Some(modularity.q),
                null: Some(modularity.null),
                null_std_dev: Some(modularity.null_std_dev),
                z: modularity.z(),
                label_overlap: Some(modularity.label_overlap),
                knn_accuracy: Some(*knn_accuracy),
                hubness: Some(*hubness),
                never_chosen: Some(*never_chosen),
                reason: None,
            },
        }
    }
}

impl TapDetails {
    /// Sums up a tap's repeats, as [`TapPoint::from_repeats`](super::TapPoint::from_repeats) does.
    pub(crate) fn from_repeats(tap: impl Into<String>, repeats: &[Result<TapModularity, ModularityError>]) -> Self {
        let measured: Vec<&TapModularity> = repeats.iter().flatten().collect();
        let is_complete = measured.len() == repeats.len();
        let mean_of = |value: &dyn Fn(&TapModularity) -> f64| {
            let values: Vec<f64> = measured.iter().map(|tap| value(tap)).collect();
            mean(&values).filter(|_| is_complete)
        };
        let n_classes = measured.first().map_or(0, |tap| tap.modularity.per_class.len());
        let class = |class: usize| {
            let q = mean_of(&|tap| tap.modularity.per_class[class])?;
            let most = mean_of(&|tap| {
                let weight = tap.modularity.class_weights[class];
                weight * (1.0 - weight)
            })?;
            let is_there = measured.iter().any(|tap| tap.modularity.class_weights[class] != 0.0);
            is_there.then(|| ClassQ { class, q, separation: (most > 1e-12).then(|| q / most) })
        };
        Self {
            tap: tap.into(),
            knn_accuracy: mean_of(&|tap| tap.knn_accuracy),
            never_chosen: mean_of(&|tap| tap.never_chosen),
            classes: (0..n_classes).filter_map(class).collect(),
            repeats: repeats.iter().map(TapRepeat::from).collect(),
        }
    }

    /// The classes by their separation; those without one come last.
    pub(crate) fn weakest_first(&self) -> Vec<&ClassQ> {
        let mut classes: Vec<&ClassQ> = self.classes.iter().collect();
        let key = |it: &ClassQ| it.separation.unwrap_or(f64::INFINITY);
        classes.sort_by(|a, b| key(a).total_cmp(&key(b)));
        classes
    }

    /// The class of the least separation, the first on ties.
    pub(crate) fn weakest(&self) -> Option<&ClassQ> {
        self.weakest_first().into_iter().next().filter(|it| it.separation.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Neighbors, knn_accuracy, modularity};
    use super::*;

    /// Samples on a line, similar where they are near.
    fn line(places: &[f32], candidates: usize) -> Neighbors {
        let n = places.len();
        let similarity = |at: usize| 1.0 - (places[at / n] - places[at % n]).abs() / 100.0;
        Neighbors::from_dense(n, &(0..n * n).map(similarity).collect::<Vec<_>>(), candidates).unwrap()
    }

    #[test]
    fn neighbours_vote_and_the_nearest_breaks_ties() {
        let neighbors = line(&[0.0, 1.0, 2.5, 10.0, 11.0, 12.5], 3);
        // k = 1: 0→1, 1→0, 2→1, 3→4, 4→3, 5→4.
        assert!((knn_accuracy(&neighbors, 1, &[0, 0, 1, 1, 1, 0], 2).unwrap() - 4.0 / 6.0).abs() < 1e-15);
        // k = 2: 0→1,2 1→0,2 2→1,0 3→4,5 4→3,5 5→4,3. Of two that differ the nearer one wins: 0 right, 1 right, 2 wrong, 3 right, 4 right,
        // 5 wrong.
        assert!((knn_accuracy(&neighbors, 2, &[0, 0, 1, 1, 1, 0], 2).unwrap() - 4.0 / 6.0).abs() < 1e-15);
        // k = 3, where two outvote the nearest: the third of 0 is 3.
        assert!((knn_accuracy(&neighbors, 3, &[1, 0, 1, 1, 1, 1], 2).unwrap() - 5.0 / 6.0).abs() < 1e-15);
        assert!(knn_accuracy(&neighbors, 4, &[0; 6], 1).is_err() && knn_accuracy(&neighbors, 1, &[0; 5], 1).is_err());
    }

    #[test]
    fn classes_sum_to_q_and_the_weakest_is_found() {
        let neighbors = line(&[0.0, 1.0, 2.0, 40.0, 41.0, 42.0, 80.0, 81.0, 43.0], 2);
        // Label 2 is absent; one sample of class 3 lies among class 1.
        let labels = [0, 0, 0, 1, 1, 1, 3, 3, 3];
        let measured = TapModularity::measure(&neighbors, 2, &labels, 4).unwrap();
        let details = TapDetails::from_repeats("fc", &[Ok(measured.clone()), Ok(measured.clone())]);
        assert_eq!(details.classes.iter().map(|it| it.class).collect::<Vec<_>>(), [0, 1, 3]);
        let sum: f64 = details.classes.iter().map(|it| it.q).sum();
        assert!((sum - modularity(&neighbors, 2, &labels, 4).unwrap().q).abs() < 1e-12);
        // No edge joins class 0 to others.
        assert!((details.classes[0].separation.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(details.weakest().unwrap().class, 3);
        let failed = Err(ModularityError::ZeroK);
        let gap = TapDetails::from_repeats("fc", &[Ok(measured), failed]);
        assert!(gap.classes.is_empty() && gap.knn_accuracy.is_none() && gap.weakest().is_none());
        assert_eq!((gap.repeats.len(), gap.repeats.iter().filter(|it| it.q.is_some()).count()), (2, 1));
    }

    #[test]
    fn one_class_has_no_separation() {
        let measured = TapModularity::measure(&line(&[0.0, 1.0, 3.0], 1), 1, &[0; 3], 1).unwrap();
        let details = TapDetails::from_repeats("fc", &[Ok(measured)]);
        assert_eq!((details.classes[0].separation, details.knn_accuracy), (None, Some(1.0)));
        assert!(details.weakest().is_none());
    }
}
