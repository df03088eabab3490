//! Why an attack cannot be made, or does not finish.

use std::fmt;

use crate::victim::VictimError;

/// An attack did not finish.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttackError {
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The victim did not answer.
    #[error(transparent)]
    Victim(#[from] VictimError),
    /// A number that is none came up.
    #[error("{what} not finite at step {step}: check the model's weights and the range of its input")]
    NonFinite {
        /// What it was, with its verb: "the logits are".
        what: &'static str,
        /// The attack's step, from 0; for the judge's own forwards the number of steps taken.
        step: u32,
    },
    /// A parameter is wrong.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// What the attack was given is unusable.
    #[error("unusable input: {0}")]
    InvalidInput(String),
}

/// A parameter, or the text that should hold it, is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// There is no such attack.
    #[error("no attack is called {name:?}{hint}; known: {known}")]
    UnknownAttack {
        /// What was asked for.
        name: String,
        /// "; did you mean ...?" or nothing.
        hint: String,
        /// All ids.
        known: String,
    },
    /// There is no such parameter.
    #[error("{attack}.{param}: unknown parameter{hint}; known: {known}")]
    UnknownParam {
        /// The attack's id.
        attack: &'static str,
        /// What was asked for.
        param: String,
        /// "; did you mean ...?" or nothing.
        hint: String,
        /// All parameters, the shared ones first.
        known: String,
    },
    /// A value is out of range or of the wrong kind.
    #[error("{attack}.{param} = {value}: {why}")]
    BadValue {
        /// The attack's id.
        attack: &'static str,
        /// The parameter.
        param: String,
        /// Its value.
        value: String,
        /// What was expected.
        why: String,
    },
    /// The text is no attack with parameters.
    #[error("{text:?}: {why}")]
    Syntax {
        /// The text.
        text: String,
        /// What was expected.
        why: String,
    },
}

impl ParamError {
    /// A value that cannot be used.
    pub fn bad(attack: &'static str, param: &str, value: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::BadValue { attack, param: param.to_owned(), value: value.to_string(), why: why.to_string() }
    }
}
