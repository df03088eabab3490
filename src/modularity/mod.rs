//! Modularity of a network's representations: how well the classes are separated at each tap.
//!
//! The pipeline, per tap:
//!
//! 1. On the device, the representation's rows become similarities (cosine, Pearson or sample-centred cosine), and each
//!    sample keeps its best k + margin others: [`Neighbors`]. Nothing after this step needs the device.
//! 2. The first k of each row are the directed edges ([`knn_edges`]). One pass over them gives Newman's modularity
//!    `Q = Σ_c [L_c/T − (S_c/T)²]` under the labels, its class shares and the label overlap ([`modularity`]).
//! 3. Next to Q stand its exact mean and standard deviation under random labels ([`random_label_null`]), an interval from what random halves of the
//!    samples say, with their own neighbours out of the longer lists ([`modularity_of_halves`]), and the hubness of the graph ([`hubness()`]).
//! 4. The taps in forward order form a [`Curve`], with its peak; two matched curves give the curve drop and peak drop.
//! 5. Adversarial images placed among the clean ones give an [`AnchoredCurve`]: how many of their neighbours have their class still.
//!
//! A modularity that has no value (no weight in the graph) is an error with a reason, never a NaN.
//!
//! Source of the curve: Lu et al., "Understanding the Dynamics of DNNs Using Graph Modularity", ECCV 2022.

pub(crate) mod cka;

mod anchored;
mod best;
mod curve;
mod details;
mod graph;
mod halves;
mod hubness;
mod kinds;
mod knn;
mod neighbors;
mod notes;
mod null;
mod samples;
mod similarity;

pub(crate) use anchored::Anchor;
pub use anchored::{AnchoredCurve, AnchoredTap, CapturedFrom, ClassShare};
pub(crate) use curve::{Curve, TapModularity, TapPoint};
pub(crate) use details::{ClassQ, TapDetails, TapRepeat};
pub use graph::modularity;
pub(crate) use graph::{Modularity, knn_edges};
pub use halves::{Interval, Replicates, Splits, candidates_for, paired_difference};
pub(crate) use halves::{modularity_of_halves, t_quantile};
pub(crate) use hubness::{Hubness, hubness, never_chosen};
pub use kinds::Similarity;
pub(crate) use knn::knn_accuracy;
pub use neighbors::Neighbors;
pub(crate) use notes::{class_note, curve_notes};
pub(crate) use null::random_label_null;
pub(crate) use samples::{SampleQ, sample_q};
pub(crate) use similarity::neighbors_among;
pub use similarity::{ShareDone, neighbors};

/// A directed weighted edge: source, target, weight. An undirected edge of weight w is two of these with w, or one
/// with 2w.
pub(crate) type Edge = (u32, u32, f64);

/// Why a modularity, or its interval, has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModularityError {
    #[error("k = 0 gives a graph without edges; expected k of at least 1; raise --k")]
    ZeroK,
    #[error("needs more than k samples: N = {n}, k = {k}; lower --k or give more samples")]
    TooFewSamples { n: usize, k: usize },
    #[error("k = {k} needs {k} candidates per sample, found {candidates}; keep longer candidate lists")]
    TooFewCandidates { k: usize, candidates: usize },
    #[error("{what} has {found} entries, expected {expected}; give one per place")]
    Length {
        what: &'static str,
        /// Entries that N (and the list length) ask for.
        expected: usize,
        found: usize,
    },
    #[error("sample {index} has label {label}, expected less than {n_classes} classes; check labels and class count")]
    LabelOutOfRange { index: usize, label: usize, n_classes: usize },
    #[error(
        "{rows} of {n} samples have non-finite values at this tap, the first is sample {row}; the model overflows on them"
    )]
    NonFiniteRows { row: usize, rows: usize, n: usize },
    #[error("libtorch: {0}")]
    Libtorch(String),
    #[error("{rows} samples have non-finite similarities, the first is sample {row}; check its representation for NaN")]
    NonFiniteSimilarity { row: usize, rows: usize },
    #[error("sample {row} has similarity {value}, expected -1 to 1; the rows must be normalized first")]
    SimilarityOutOfRange { row: usize, value: f32 },
    #[error("neighbours of sample {row} name {neighbor}, expected distinct other samples below {n}")]
    BadNeighbor {
        row: usize,
        /// The neighbour that is itself, too large, or listed twice.
        neighbor: u32,
        n: usize,
    },
    #[error(
        "edge {index} joins {from} to {to} with weight {weight}, expected two samples below {n} and a finite weight"
    )]
    BadEdge { index: usize, from: u32, to: u32, weight: f64, n: usize },
    #[error(
        "modularity is undefined: {edges} edge weights sum to {total}, expected more than 0; check this tap's output"
    )]
    Undefined { edges: usize, total: f64 },
    #[error("no interval: N = {n} and k = {k} leave too few samples in a half of them; give more samples")]
    TooFewForInterval { n: usize, k: usize },
    #[error("no interval: {rows} of the lists of {candidates} candidates are too short for k = {k}; keep longer lists")]
    ExhaustedCandidates {
        /// Samples whose list ran out for at least one half.
        rows: usize,
        k: usize,

        candidates: usize,
    },
    #[error("the measurement was stopped")]
    Stopped,
    #[error("the two are split into different halves, expected the same; use one seed and the same samples")]
    Unpaired,
    #[error("unknown similarity '{name}', expected {known}")]
    UnknownSimilarity { name: String, known: String },
}

impl From<tch::TchError> for ModularityError {
    fn from(error: tch::TchError) -> Self {
        Self::Libtorch(advmod_attacks::victim::first_line(&error))
    }
}
