//! The modularity curve: Q per tap, its peak, and how far two matched curves lie apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Hubness, Interval, Modularity, ModularityError, Neighbors, Similarity, hubness, knn_accuracy, modularity,
    never_chosen,
};
use crate::stats::{mean, std_dev};

/// One tap measured on one set of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapModularity {
    pub modularity: Modularity,
    pub(crate) hubness: Hubness,
    /// Share of the samples that are nobody's neighbour.
    pub never_chosen: f64,
    /// Share of the samples whose neighbours vote for their label ([`knn_accuracy`]).
    pub knn_accuracy: f64,
    pub zero_rows: usize,
    pub duplicates: usize,
}

impl TapModularity {
    /// Measures the graph of `k` neighbours under `labels` in 0..`n_classes`.
    ///
    /// # Errors
    /// As [`modularity`].
    pub fn measure(
        neighbors: &Neighbors,
        k: usize,
        labels: &[usize],
        n_classes: usize,
    ) -> Result<Self, ModularityError> {
        Ok(Self {
            modularity: modularity(neighbors, k, labels, n_classes)?,
            hubness: hubness(neighbors, k)?,
            never_chosen: never_chosen(neighbors, k)?,
            knn_accuracy: knn_accuracy(neighbors, k, labels, n_classes)?,
            zero_rows: neighbors.zero_rows,
            duplicates: neighbors.duplicates(),
        })
    }
}

/// One point of a curve: a tap over one or more disjoint sets of samples (repeats).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TapPoint {
    /// Module path of the tap in the network.
    pub tap: String,
    /// Mean of Q over the repeats; absent if any repeat has no Q.
    pub q: Option<f64>,
    /// Mean over the repeats of Q's mean under shuffled labels.
    pub null: Option<f64>,
    /// Mean over the repeats of Q's standard deviation under shuffled labels.
    #[serde(default)]
    pub null_std_dev: Option<f64>,
    /// How far Q lies above its mean under shuffled labels, in standard deviations of Q under shuffled labels: (q − null) / null_std_dev of each
    /// repeat, and their mean; absent where shuffling the labels does not change Q.
    #[serde(default)]
    pub z: Option<f64>,
    /// 95 % interval of Q, from random halves, where one was computed.
    pub interval: Option<Interval>,
    /// Q of every repeat that has one, in order.
    pub repeats: Vec<f64>,
    /// Unbiased standard deviation (n − 1) over the repeats; absent for one repeat.
    pub std_dev: Option<f64>,
    /// Hubs of the graph: largest in-degree over all repeats, and mean skewness.
    pub hubness: Option<Hubness>,
    /// Mean share of edges inside a class.
    pub label_overlap: Option<f64>,
    /// Edges of negative weight, over all repeats.
    pub negative_edges: usize,
    /// Representations that are all zero, over all repeats.
    pub zero_rows: usize,
    /// Samples whose representation another sample repeats, over all repeats.
    pub duplicates: usize,
    /// Why Q, or else its interval, is absent.
    pub reason: Option<String>,
}

impl TapPoint {
    /// Sums up a tap's repeats. A repeat that failed leaves the point without Q, with the reason: a mean over the rest
    /// would not be comparable.
    pub(crate) fn from_repeats(tap: impl Into<String>, repeats: &[Result<TapModularity, ModularityError>]) -> Self {
        let measured: Vec<&TapModularity> = repeats.iter().flatten().collect();
        let failure = repeats.iter().enumerate().find_map(|(i, repeat)| Some((i, repeat.as_ref().err()?)));
        let reason = match failure {
            Some((_, error)) if repeats.len() == 1 => Some(error.to_string()),
            Some((i, error)) => Some(format!("repeat {} of {}: {error}", i + 1, repeats.len())),
            None if repeats.is_empty() => Some("no repeats were measured".to_owned()),
            None => None,
        };
        let complete = reason.is_none();
        let mean_of = |value: fn(&TapModularity) -> f64| {
            let values: Vec<f64> = measured.iter().map(|tap| value(tap)).collect();
            mean(&values).filter(|_| complete)
        };
        let sum_of = |count: fn(&TapModularity) -> usize| measured.iter().map(|tap| count(tap)).sum();
        let largest_in_degree = measured.iter().map(|tap| tap.hubness.largest_in_degree).max().unwrap_or(0);
        let values: Vec<f64> = measured.iter().map(|tap| tap.modularity.q).collect();
        let z: Option<Vec<f64>> = measured.iter().map(|tap| tap.modularity.z()).collect();
        Self {
            tap: tap.into(),
            q: mean_of(|tap| tap.modularity.q),
            null: mean_of(|tap| tap.modularity.null),
            null_std_dev: mean_of(|tap| tap.modularity.null_std_dev),
            z: z.and_then(|z| mean(&z)).filter(|_| complete),
            interval: None,
            std_dev: std_dev(&values).filter(|_| complete),
            repeats: values,
            hubness: mean_of(|tap| tap.hubness.skewness).map(|skewness| Hubness { largest_in_degree, skewness }),
            label_overlap: mean_of(|tap| tap.modularity.label_overlap),
            negative_edges: sum_of(|tap| tap.modularity.negative_edges),
            zero_rows: sum_of(|tap| tap.zero_rows),
            duplicates: sum_of(|tap| tap.duplicates),
            reason,
        }
    }

    /// Adds the interval, or the reason why there is none (unless Q itself is absent, which has its own).
    #[must_use]
    pub(crate) fn with_interval(mut self, interval: Result<Interval, ModularityError>) -> Self {
        match interval {
            Ok(interval) => self.interval = Some(interval),
            Err(error) => self.reason = self.reason.or_else(|| Some(error.to_string())),
        }
        self
    }
}

/// Q per tap in forward order. Q depends on N and k, so curves are compared only where both agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Curve {
    /// Number of samples N of each repeat.
    pub n: usize,
    /// Number of nearest neighbours k of each sample.
    pub k: usize,
    /// How representations were compared.
    pub similarity: Similarity,
    /// The points of the curve, one per tap in forward order.
    pub taps: Vec<TapPoint>,
}

/// Where a curve is highest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peak {
    pub tap: String,
    pub q: f64,
    /// Its place in the curve, from 0.
    pub index: usize,
}

impl Curve {
    /// The largest Q, the first tap on ties; none if no tap has a Q.
    pub(crate) fn peak(&self) -> Option<Peak> {
        let points = self.taps.iter().enumerate().filter_map(|(index, point)| Some((index, point, point.q?)));
        let best = points.reduce(|best, next| if next.2 > best.2 { next } else { best });
        best.map(|(index, point, q)| Peak { tap: point.tap.clone(), q, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(q: f64, largest_in_degree: usize) -> TapModularity {
        let modularity = Modularity {
            q,
            null: -0.1,
            null_std_dev: 0.05,
            per_class: vec![q],
            class_weights: vec![1.0],
            total_weight: 1.0,
            label_overlap: 0.5,
            negative_edges: 2,
        };
        let hubness = Hubness { largest_in_degree, skewness: 1.0 };
        TapModularity { modularity, hubness, never_chosen: 0.25, knn_accuracy: 0.5, zero_rows: 1, duplicates: 3 }
    }

    fn curve(qs: &[Option<f64>]) -> Curve {
        let undefined = ModularityError::Undefined { edges: 3, total: 0.0 };
        let point = |(i, q): (usize, &Option<f64>)| {
            let repeat = q.map(|q| measured(q, 4)).ok_or(undefined.clone());
            TapPoint::from_repeats(format!("layer{i}"), &[repeat])
        };
        Curve { n: 500, k: 3, similarity: Similarity::COSINE, taps: qs.iter().enumerate().map(point).collect() }
    }

    #[test]
    fn repeats_give_the_mean_and_the_unbiased_deviation() {
        let point =
            TapPoint::from_repeats("conv1", &[Ok(measured(0.1, 5)), Ok(measured(0.2, 9)), Ok(measured(0.6, 4))]);
        assert!((point.q.unwrap() - 0.3).abs() < 1e-15);
        assert!((point.std_dev.unwrap() - 0.07_f64.sqrt()).abs() < 1e-15);
        assert_eq!(point.repeats, [0.1, 0.2, 0.6]);
        // (4 + 6 + 14) / 3
        assert!((point.z.unwrap() - 8.0).abs() < 1e-12 && (point.null_std_dev.unwrap() - 0.05).abs() < 1e-12);
        assert_eq!(point.hubness, Some(Hubness { largest_in_degree: 9, skewness: 1.0 }));
        assert_eq!((point.negative_edges, point.zero_rows, point.duplicates), (6, 3, 9));
        assert_eq!(point.reason, None);
        assert_eq!(TapPoint::from_repeats("conv1", &[Ok(measured(0.1, 5))]).std_dev, None);
    }

    #[test]
    fn a_failed_repeat_leaves_no_mean_but_a_reason() {
        let failed = Err(ModularityError::Undefined { edges: 3, total: 0.0 });
        let point = TapPoint::from_repeats("conv1", &[Ok(measured(0.1, 5)), failed]);
        assert_eq!((point.q, point.null, point.std_dev, point.label_overlap), (None, None, None, None));
        assert_eq!(point.repeats, [0.1]);
        assert!(point.reason.unwrap().starts_with("repeat 2 of 2: modularity is undefined"));
        assert!(TapPoint::from_repeats("conv1", &[]).reason.is_some());
    }

    #[test]
    fn a_missing_interval_says_why() {
        let interval = Interval { estimate: 0.1, se: 0.01, low: 0.08, high: 0.12 };
        let point = TapPoint::from_repeats("conv1", &[Ok(measured(0.1, 5))]);
        assert_eq!(point.clone().with_interval(Ok(interval)).interval, Some(interval));
        let without = point.with_interval(Err(ModularityError::TooFewForInterval { n: 10, k: 3 }));
        assert!(without.q.is_some() && without.reason.unwrap().contains("N = 10"));
    }

    #[test]
    fn the_peak_is_the_first_largest_and_skips_absent_values() {
        let peak = curve(&[None, Some(-0.2), Some(0.4), None, Some(0.4), Some(0.1)]).peak().unwrap();
        assert_eq!(peak, Peak { tap: "layer2".to_owned(), q: 0.4, index: 2 });
        assert_eq!(curve(&[Some(-0.2)]).peak().unwrap().index, 0);
        assert_eq!((curve(&[None]).peak(), curve(&[]).peak()), (None, None));
    }

    #[test]
    fn a_measured_curve_survives_json() {
        let mut neighbors = Neighbors::from_dense(6, &[0.5; 36], 4).unwrap();
        neighbors.zero_rows = 1;
        let tap = TapModularity::measure(&neighbors, 2, &[0, 0, 0, 1, 1, 1], 2).unwrap();
        assert_eq!((tap.zero_rows, tap.hubness.largest_in_degree), (1, 5));
        let mut curve = curve(&[Some(0.5), None]);
        curve.taps.push(TapPoint::from_repeats("fc", &[Ok(tap)]));
        let json = serde_json::to_string(&curve).unwrap();
        assert!(json.contains(r#""similarity":"cosine""#) && json.contains(r#""q":null"#));
        assert_eq!(serde_json::from_str::<Curve>(&json).unwrap(), curve);
    }
}
