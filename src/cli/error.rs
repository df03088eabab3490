//! Errors of the command line and the exit codes that they end in.

use std::path::Path;

use crate::atomic_file::WriteError;
use crate::data::DataError;
use crate::exit::Exit;
use crate::model::load::ModelError;
use crate::study::each::Fault;
use crate::study::train::TrainError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
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
    /// What is wrong with a file or a folder.
    pub(super) fn at(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Runtime(format!("{}: {problem}", path.display()))
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Runtime(_) | Self::Caused(_) => Exit::Runtime,
        }
    }

    pub(crate) fn message(&self, verbose: bool) -> String {
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

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Model(error) => error.into(),
            fault => Self::Runtime(fault.to_string()),
        }
    }
}

macro_rules! caused_by {
    ($($error:ty),*) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::Caused(error.into())
            }
        })*
    };
}

caused_by!(DataError, WriteError, TrainError);
