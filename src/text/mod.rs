//! What is written for people: names out of files, numbers, lines, matrices. Knows nothing of what it writes.

pub(crate) mod glob;
pub mod heatmap;
pub(crate) mod json;
pub(crate) mod names;
pub(crate) mod numbers;
pub(crate) mod shell;
pub(crate) mod table;
pub(crate) mod wrap;
