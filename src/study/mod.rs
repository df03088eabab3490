//! The experiments beside the audit.

mod auc;
pub mod curve;
pub(crate) mod dynamics;
pub(crate) mod each;
pub(crate) mod flow;
pub(crate) mod labels;
pub mod prune;
pub(crate) mod results;
pub mod similarity;
pub mod train;
