//! Why a run ends before its end.

use crate::data::DataError;
use crate::measure::taps::TraceError;
use crate::model::format::FormatError;
use crate::model::load::ModelError;

/// Why an audit cannot go on. A failed attack is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Write(#[from] FormatError),
    /// Model, data and device do not go together.
    #[error("{0}")]
    Unsuitable(String),
    /// A gate names a class that the data does not have.
    #[error("{0}")]
    Gate(String),
}

/// Why the stages end before their end.
pub(super) enum Stop {
    Asked,
    Error(EngineError),
}

impl<E: Into<EngineError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl From<TraceError> for Stop {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::Stopped => Self::Asked,
            other => Self::Error(EngineError::Unsuitable(other.to_string())),
        }
    }
}
