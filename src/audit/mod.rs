//! What an audit is: plan → engine → events → state.
//!
//! Front-ends see plans, events and the state that they add up to, never a model or a tensor.

pub mod attack;
pub mod baseline;
pub mod command;
pub mod control;
pub mod engine;
pub mod event;
pub mod follow;
pub mod gate;
pub mod job;
pub mod journal;
pub mod plan;
pub mod plan_file;
pub mod preview;
pub mod resolved;
pub mod resume;
pub mod run_dir;
pub mod stage;
pub mod state;
