//! What an audit is: plan → engine → events → state.
//!
//! Front-ends see plans, events and the state that they add up to, never a model or a tensor.

pub(crate) mod allowed;
pub(crate) mod attack;
pub mod baseline;
pub(crate) mod command;
pub mod control;
pub mod engine;
mod ensemble;
pub mod event;
pub(crate) mod fits;
pub mod follow;
pub mod gate;
pub(crate) mod job;
pub mod journal;
pub mod plan;
pub(crate) mod plan_file;
pub(crate) mod preview;
pub(crate) mod resolved;
pub(crate) mod resume;
pub(crate) mod run_dir;
pub mod stage;
pub mod state;
