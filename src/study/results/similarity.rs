//! What similarity.json holds: how alike the taps of a model are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StudyResult, Subject};
use crate::modularity::{Interval, Similarity};

/// How alike the taps of a model are, by modularity and by linear CKA, as `advmod similarity` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SimilarityResult {
    #[serde(flatten)]
    pub of: Subject,
    /// Number of images that Q was measured on.
    pub n: usize,
    /// Number of neighbours that each image chooses.
    pub k: usize,
    /// How representations were compared with each other to find neighbours.
    pub similarity: Similarity,
    /// How CKA was estimated: `full` over all images, or without bias over batches.
    pub cka_estimate: String,
    /// Number of images that went into CKA, which takes whole batches only.
    pub cka_samples: usize,
    /// Why a tap has no CKA, one entry for each tap; null where it has.
    pub cka_absent: Vec<Option<String>>,
    /// Why a tap has no Q, one entry for each tap; null where it has.
    pub q_absent: Vec<Option<String>>,
    /// Module paths of the taps, in forward order.
    pub taps: Vec<String>,
    /// Modularity Q of each tap.
    pub q: Vec<Option<f64>>,
    /// Absolute difference of Q between the tap of the row and the tap of the column.
    pub difference: Matrix,
    /// Change of Q from the tap of the row to the tap of the column, with its paired 95 % interval, from random halves; null on the diagonal.
    pub change: Vec<Vec<Option<Interval>>>,
    /// Linear CKA of the tap of the row and the tap of the column.
    pub cka: Matrix,
    /// Sentences about this measurement that its reader should know.
    pub warnings: Vec<String>,
}

/// A value for every two taps; nothing where it is not defined.
pub(crate) type Matrix = Vec<Vec<Option<f64>>>;

/// Whether an interval leaves 0 out.
pub(crate) fn differs(interval: &Interval) -> bool {
    interval.low > 0.0 || interval.high < 0.0
}

impl StudyResult for SimilarityResult {
    const STUDY: &'static str = "similarity";
    const FILE: &'static str = "similarity.json";

    fn check(&self) -> Result<(), String> {
        let n = self.taps.len();
        let fits = [self.q.len(), self.q_absent.len(), self.cka_absent.len()] == [n; 3]
            && is_square(&self.change, n)
            && is_square(&self.difference, n)
            && is_square(&self.cka, n);
        if fits { Ok(()) } else { Err(format!("not all parts are of {n} taps")) }
    }
}

/// Whether a matrix has a value for every two of `n`.
pub(super) fn is_square<T>(rows: &[Vec<T>], n: usize) -> bool {
    rows.len() == n && rows.iter().all(|row| row.len() == n)
}
