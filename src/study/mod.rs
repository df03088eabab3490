//! The experiments beside the audit.

mod auc;
pub mod curve;
pub mod dynamics;
pub mod flow;
pub mod labels;
pub mod prune;
pub mod results;
pub mod similarity;
pub mod train;
