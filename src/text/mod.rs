//! What is written for people: names out of files, numbers, lines, matrices. Knows nothing of what it writes.

pub mod glob;
pub mod heatmap;
pub mod names;
pub mod numbers;
pub mod shell;
pub mod table;
pub mod wrap;
