//! Passes over a [`Program`](super::program::Program): each reads one and returns another, or a count.

pub mod count;
pub(crate) mod ending;
pub(crate) mod fold;
pub mod remove;
pub(crate) mod straight;
