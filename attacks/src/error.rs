//! Why an attack cannot be made, or does not finish.

use std::fmt;

use crate::victim::VictimError;

/// An attack did not finish.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttackError {
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Victim(#[from] VictimError),
    #[error("{what} not finite at step {step}: check the model's weights and the range of its input")]
    NonFinite {
        /// What it was, with its verb: "the logits are".
        what: &'static str,
        /// The attack's step, from 0; for the judge's own forwards the number of steps taken.
        step: u32,
    },
    #[error(transparent)]
    Param(#[from] ParamError),
    #[error("unusable input: {0}")]
    InvalidInput(String),
}

/// A parameter, or the text that should hold it, is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    #[error("no attack is called {name:?}{hint}; known: {known}")]
    UnknownAttack {
        name: String,
        /// "; did you mean ...?" or nothing.
        hint: String,
        known: String,
    },
    #[error("{attack}.{param}: unknown parameter{hint}; known: {known}")]
    UnknownParam {
        attack: &'static str,
        param: String,
        /// "; did you mean ...?" or nothing.
        hint: String,
        /// All parameters, the shared ones first.
        known: String,
    },
    #[error("{attack}.{param} = {value}: {why}")]
    BadValue { attack: &'static str, param: String, value: String, why: String },
    #[error("{text:?}: {why}")]
    Syntax { text: String, why: String },
}

impl ParamError {
    /// A value that cannot be used.
    pub fn bad(attack: &'static str, param: &str, value: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::BadValue { attack, param: param.to_owned(), value: value.to_string(), why: why.to_string() }
    }

    /// Refuses a value that is not good, and says why.
    pub fn check(
        attack: &'static str,
        param: &str,
        value: impl fmt::Display,
        is_good: bool,
        why: &str,
    ) -> Result<(), Self> {
        if is_good { Ok(()) } else { Err(Self::bad(attack, param, value, why)) }
    }
}
