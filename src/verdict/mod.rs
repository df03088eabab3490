//! What an audit comes to: its report, and every judgement in it. Reads what was measured, writes nothing.

pub(crate) mod across;
pub mod change;
pub(crate) mod classes;
pub(crate) mod conclusion;
pub mod facts;
pub(crate) mod findings;
pub(crate) mod gates;
pub(crate) mod metric;
pub mod report;
pub(crate) mod schema;
#[cfg(test)]
pub(crate) mod testing;
pub mod validity;

pub use report::Report;
