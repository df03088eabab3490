//! What an earlier report says, as far as a later one is compared with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gate::expr::Metric;
use crate::stats::rates::Measured;

/// An earlier report, reduced to its metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// As the user named it.
    pub file: String,
    pub model: String,
    pub model_sha256: String,
    /// When it was made: UTC, RFC 3339.
    pub started: String,
    pub data_sha256: String,
    /// Place of each sample in the data.
    pub indices: Vec<usize>,
    pub labels: Vec<u32>,
    /// As in [`DataSummary`](super::event::DataSummary::digests).
    #[serde(default)]
    pub digests: Vec<String>,
    /// Settings of its curves, which decide whether two modularities can be compared.
    pub curve: BTreeMap<String, String>,
    /// Without those of single classes.
    pub(crate) metrics: Vec<BaselineMetric>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BaselineMetric {
    #[serde(rename = "name")]
    pub metric: Metric,
    /// Parameters of its attack, or of all of them; empty for the clean images.
    pub settings: BTreeMap<String, String>,
    /// Absent where there was nothing to measure.
    pub measured: Option<Measured>,
    /// The images that it is of; absent where there was nothing to measure.
    pub counted: Option<Counted>,
    /// Half the difference between the two random halves of its images in each split, where its interval comes from these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub halves: Vec<f64>,
}

/// The samples behind a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Places of all of them in the list of samples, in its order.
    pub of: Vec<usize>,
    /// Places of those that count, where it is a share of them.
    pub hits: Vec<usize>,
}

impl Counted {
    /// The same samples where each place is another, which stands at it in this list; without those that have none.
    #[must_use]
    pub(crate) fn moved(&self, places: &[Option<usize>]) -> Self {
        let moved = |of: &[usize]| {
            let mut of: Vec<usize> = of.iter().filter_map(|&place| places.get(place).copied()?).collect();
            of.sort_unstable();
            of
        };
        Self { of: moved(&self.of), hits: moved(&self.hits) }
    }

    /// Only the samples at these places, which are in ascending order.
    #[must_use]
    pub(crate) fn among(&self, places: &[usize]) -> Self {
        let only = |of: &[usize]| of.iter().copied().filter(|it| places.binary_search(it).is_ok()).collect();
        Self { of: only(&self.of), hits: only(&self.hits) }
    }

    /// Only the samples of one class.
    #[must_use]
    pub(crate) fn of_class(&self, labels: &[u32], class: u32) -> Self {
        let only = |places: &[usize]| places.iter().copied().filter(|&it| labels.get(it) == Some(&class)).collect();
        Self { of: only(&self.of), hits: only(&self.hits) }
    }
}
