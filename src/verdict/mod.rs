//! What an audit comes to: its report, and every judgement in it. Reads what was measured, writes nothing.

pub mod across;
pub mod change;
pub mod classes;
pub mod conclusion;
pub mod facts;
pub mod findings;
pub mod gates;
pub mod metric;
pub mod report;
pub mod schema;
#[cfg(test)]
pub(crate) mod testing;
pub mod validity;

pub use report::Report;
