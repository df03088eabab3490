//! Where the models and tables of `advmod prune` go.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::atomic_file;
use crate::cli::args::PruneArgs;
use crate::cli::deliver::{Delivery, make_folder};
use crate::cli::measure::Work;
use crate::cli::{CliError, say};
use crate::study::prune::{Follow, Rule};
use crate::study::results::prune::PruneResult;
use crate::study::train::TrainEvent;

pub(super) enum Models {
    None,
    /// A file per rule.
    In(PathBuf),
    At(PathBuf),
}

impl Models {
    /// Of `--out`; a folder is made now, not after hours of training.
    pub(super) fn new(args: &PruneArgs, rules: &[Rule]) -> Result<Self, CliError> {
        let Some(path) = &args.out else { return Ok(Self::None) };
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            make_folder(Some(path))?.keep();
            return Ok(Self::In(path.clone()));
        }
        if rules.len() > 1 {
            let message = format!("--out {}: one file for {} rules; give a folder", path.display(), rules.len());
            return Err(CliError::Usage(message));
        }
        atomic_file::check(path)
            .map_err(|error| CliError::Runtime(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self::At(path.clone()))
    }

    /// The folder of the tables.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::In(folder) => Some(folder),
            Self::None | Self::At(_) => None,
        }
    }

    /// A network without a name cannot be loaded from a file of weights.
    pub(super) fn cannot_be_loaded(&self, class: &str, quiet: bool) -> Result<(), CliError> {
        let why = format!("{class} is no built-in architecture: a file of its weights alone could not be loaded again");
        match self {
            Self::At(_) => return Err(CliError::Usage(format!("{why}; give --out a folder for the tables"))),
            Self::In(_) if !quiet => say(&format!("warning: {why}, so that only the tables are written")),
            _ => {}
        }
        Ok(())
    }

    fn file(&self, rule: Rule) -> Option<PathBuf> {
        match self {
            Self::None => None,
            Self::In(folder) => Some(folder.join(format!("{}.safetensors", rule.slug()))),
            Self::At(path) => Some(path.clone()),
        }
    }
}

/// Shows how far the trainings are, and writes the tables anew whenever there is more to write.
pub(super) struct Desk<'a> {
    pub(super) work: &'a mut Work,
    /// Where the models go, where they can be loaded again.
    pub(super) models: Option<&'a Models>,
    pub(super) delivery: &'a Delivery<'a>,
    /// Why the tables could not be written the last time.
    pub(super) unwritten: Option<CliError>,
}

impl Follow for Desk<'_> {
    fn training(&mut self, name: &str, epochs: usize, event: &TrainEvent) -> ControlFlow<()> {
        match *event {
            TrainEvent::Step { epoch, step, steps, loss, .. } => {
                let (name, note) = (format!("{name} {epoch}/{epochs}"), format!("loss {loss:.3}"));
                self.work.tell_with_note(&name, (step as u64, steps as u64), Some(&note))
            }
            TrainEvent::Epoch { .. } => self.work.go_on(),
        }
    }

    fn grown(&mut self, result: &PruneResult) {
        // What was shown is over, whatever comes next.
        self.work.finish();
        self.unwritten = self.delivery.write(result).err();
    }

    fn model_file(&self, rule: Rule) -> Option<PathBuf> {
        self.models?.file(rule)
    }
}
