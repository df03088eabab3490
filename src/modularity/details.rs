//! What a tap's graph says beyond its Q: class by class, as a classifier, and about hubs.

use serde::Serialize;

use super::{ModularityError, TapModularity};
use crate::stats::mean;

/// One tap over its repeats, beside its [`TapPoint`](super::TapPoint).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TapDetails {
    /// Where in the network.
    pub tap: String,
    /// Share of the samples whose neighbours vote for their label; mean over the repeats, absent where any has no Q.
    pub knn_accuracy: Option<f64>,
    /// Share of the samples that are nobody's neighbour; mean over the repeats.
    pub never_chosen: Option<f64>,
    /// Classes that are in the graph, in label order; none where Q is absent.
    pub classes: Vec<ClassQ>,
    /// One for each set of samples, or why it has no Q.
    #[serde(skip)]
    pub repeats: Vec<Result<TapModularity, ModularityError>>,
}

/// A class's part in Q, mean over the repeats.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassQ {
    pub class: usize,
    /// `q_c = L_c/T − (S_c/T)²`; these sum to Q.
    pub q: f64,
    /// `q_c / (w_c(1 − w_c))` with the class's share of the weight `w_c = S_c/T`: 1 where no edge leaves the class, 0 by chance, whatever
    /// the class's size. Absent where the class is everything.
    pub separation: Option<f64>,
}

impl TapDetails {
    /// Sums up a tap's repeats, as [`TapPoint::from_repeats`](super::TapPoint::from_repeats) does.
    pub fn from_repeats(tap: impl Into<String>, repeats: &[Result<TapModularity, ModularityError>]) -> Self {
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
            repeats: repeats.to_vec(),
        }
    }

    /// The class of the least separation, the first on ties.
    pub fn weakest(&self) -> Option<&ClassQ> {
        let known = self.classes.iter().filter_map(|it| Some((it, it.separation?)));
        known.reduce(|weakest, next| if next.1 < weakest.1 { next } else { weakest }).map(|(class, _)| class)
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
        assert_eq!((gap.repeats.len(), gap.repeats.iter().flatten().count()), (2, 1));
    }

    #[test]
    fn one_class_has_no_separation() {
        let measured = TapModularity::measure(&line(&[0.0, 1.0, 3.0], 1), 1, &[0; 3], 1).unwrap();
        let details = TapDetails::from_repeats("fc", &[Ok(measured)]);
        assert_eq!((details.classes[0].separation, details.knn_accuracy), (None, Some(1.0)));
        assert!(details.weakest().is_none());
    }
}
