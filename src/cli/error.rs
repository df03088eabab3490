//! Errors of the command line and the exit codes that they end in.

use crate::atomic_file::WriteError;
use crate::data::DataError;
use crate::exit::Exit;
use crate::model::load::ModelError;
use crate::study::train::TrainError;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Flags or plan.
    #[error("{0}")]
    Usage(String),
    /// Model, data, device, disk.
    #[error("{0}")]
    Runtime(String),
    /// As above, with the causes behind it for `--verbose`.
    #[error(transparent)]
    Caused(#[from] anyhow::Error),
}

impl CliError {
    /// The code that the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Runtime(_) | Self::Caused(_) => Exit::Runtime,
        }
    }

    /// One line, or with its causes.
    pub fn message(&self, verbose: bool) -> String {
        match self {
            Self::Caused(error) if verbose => format!("{error:?}"),
            // Libraries put line breaks into their messages.
            _ => self.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "),
        }
    }
}

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::NoSuchArchitecture { .. } => Self::Usage(error.to_string()),
            _ => Self::Caused(error.into()),
        }
    }
}

impl From<DataError> for CliError {
    fn from(error: DataError) -> Self {
        Self::Caused(error.into())
    }
}

impl From<WriteError> for CliError {
    fn from(error: WriteError) -> Self {
        Self::Caused(error.into())
    }
}

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> Self {
        Self::Caused(error.into())
    }
}
