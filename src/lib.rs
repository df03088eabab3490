//! advmod audits the adversarial robustness of trained image classifiers.
//!
//! It attacks a model and shows where inside the network it breaks: the modularity curve (Lu et al., "Understanding the Dynamics of DNNs
//! Using Graph Modularity", ECCV 2022). `ARCHITECTURE.md` has the map; the modules below are in reading order, each may use those under
//! it and the crate `advmod_attacks`.

pub mod cli;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub mod tui;

pub mod report;

pub mod verdict;

pub mod study;

pub mod audit;

pub mod measure;

pub mod store;

pub mod modularity;

pub mod model;

pub mod data;

pub mod pickle;

pub mod stats;

pub mod text;

pub mod atomic_file;

pub mod input;

pub mod memory;

pub mod confine;

pub mod exit;

/// The libtorch version that the `tch` dependency binds.
pub const LIBTORCH_VERSION: &str = "2.11.0";
