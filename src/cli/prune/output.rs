//! Where the results of `advmod prune` go.

use std::path::PathBuf;

use super::results::Pruning;
use super::tables::{csv, picture};
use crate::atomic_file;
use crate::cli::args::PruneArgs;
use crate::cli::deliver::{make_folder, write_files};
use crate::cli::{CliError, say};
use crate::study::prune::Rule;

/// Where results go.
pub(super) struct Output {
    pub(super) tables: Option<PathBuf>,
    models: Models,
}

/// Where models go.
enum Models {
    None,
    /// A file per rule.
    In(PathBuf),
    At(PathBuf),
}

impl Output {
    /// Of the flags; a folder is made now, not after hours of training.
    pub(super) fn new(args: &PruneArgs, rules: &[Rule]) -> Result<Self, CliError> {
        let Some(path) = &args.out else { return Ok(Self { tables: None, models: Models::None }) };
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            make_folder(Some(path))?;
            return Ok(Self { tables: Some(path.clone()), models: Models::In(path.clone()) });
        }
        if rules.len() > 1 {
            let message = format!("--out {}: one file for {} rules; give a folder", path.display(), rules.len());
            return Err(CliError::Usage(message));
        }
        atomic_file::check(path)
            .map_err(|error| CliError::Runtime(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self { tables: None, models: Models::At(path.clone()) })
    }

    /// A network without a name cannot be loaded from a file of weights.
    pub(super) fn writes_no_models(&mut self, class: &str, quiet: bool) -> Result<(), CliError> {
        let why = format!("{class} is no built-in architecture: a file of its weights alone could not be loaded again");
        match std::mem::replace(&mut self.models, Models::None) {
            Models::At(_) => return Err(CliError::Usage(format!("{why}; give --out a folder for the tables"))),
            Models::In(_) if !quiet => say(&format!("warning: {why}, so that only the tables are written")),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn write_tables(&self, pruning: &Pruning) -> Result<(), CliError> {
        let files = [
            ("prune.json", pruning.json().into_bytes()),
            ("prune.csv", csv(pruning)),
            ("prune.svg", picture(pruning).into_bytes()),
        ];
        write_files(self.tables.as_deref(), &files)
    }

    pub(super) fn model(&self, rule: Rule) -> Option<PathBuf> {
        match &self.models {
            Models::None => None,
            Models::In(folder) => Some(folder.join(format!("{}.safetensors", rule.slug()))),
            Models::At(path) => Some(path.clone()),
        }
    }
}
