//! Layer pruning by the modularity curve (the paper's §4.5): which units do not separate the classes any further, and what it costs to
//! take them out.
//!
//! [`rules`] decides on plain numbers, [`survey()`] measures them, [`propose()`] applies the rules, [`judge()`] trains and judges what is left.

pub(crate) mod rules;

mod begin;
mod judge;
mod propose;
mod survey;
mod whole;

pub(crate) use begin::{Asked, begin};
pub(crate) use judge::{Follow, Trainings, judge};
pub(crate) use propose::{Proposal, propose};
pub(crate) use rules::Rule;
pub(crate) use survey::{SurveyPlan, survey};
pub use whole::{Whole, remove};
