//! What an audit is: plan → engine → events → state.
//!
//! Front-ends see plans, events and the state that they add up to, never a model or a tensor.

pub mod attack;
pub mod plan;
pub mod plan_file;
pub mod preview;

pub mod resolved;

pub mod event;

pub mod state;

pub mod journal;
pub mod run_dir;

pub mod follow;

pub mod baseline;

pub mod resume;

mod start;

pub mod control;

pub mod engine;

pub mod gate;

pub mod stage;
