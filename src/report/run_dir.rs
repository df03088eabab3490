//! The folder of a run: journal, reports, adversarial images. Every file but the journal appears whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use advmod_attacks::catalog::ATTACKS;

use super::journal::Journal;
use super::{Evidence, FORMATS, Report};
use crate::atomic_file;
use crate::audit::engine::{ADVERSARIAL_FOLDER, CLEAN_FILE};
use crate::audit::event::AuditEvent;

/// Why a run's folder cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}; give a folder with room and write access to --out or --output")]
pub struct RunDirError {
    /// The file or folder.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// An open run folder.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    journal: Journal,
}

impl RunDir {
    /// Makes the folder (and its parents) and starts its journal. Reports of an earlier run in it are removed: what is there afterwards
    /// belongs to this run.
    pub fn create(path: &Path) -> Result<Self, RunDirError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| RunDirError { path, source }
        };
        let adversarial = path.join(ADVERSARIAL_FOLDER);
        fs::create_dir_all(&adversarial).map_err(fail(&adversarial))?;
        let journal_path = path.join("run.jsonl");
        let journal = Journal::create(&journal_path).map_err(fail(&journal_path))?;
        // The journal is ours, so nobody else writes here.
        remove_leftovers(path)?;
        let written = ATTACKS.iter().map(|attack| attack.id);
        let stale = fs::read_dir(&adversarial).map_err(fail(&adversarial))?.flatten().map(|entry| entry.path());
        let stale = stale.filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Ours are named after the attacks; what else lies there is the user's.
            let label = name.strip_suffix(".safetensors").or_else(|| name.strip_suffix(".part"));
            label.is_some_and(|label| {
                let is_number =
                    |rest: &str| rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.parse::<usize>().is_ok());
                written.clone().any(|id| label.strip_prefix(id).is_some_and(is_number))
            })
        });
        let ours = FORMATS.iter().filter_map(|format| format.file).chain([CLEAN_FILE]);
        for file in ours.map(|name| path.join(name)).chain(stale) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(&file)(error)),
                _ => (),
            }
        }
        Ok(Self { journal, path: path.to_owned() })
    }

    /// Goes on with the run in a folder. Its events so far come back.
    pub fn resume(path: &Path) -> Result<(Self, Vec<AuditEvent>), RunDirError> {
        let journal_path = path.join("run.jsonl");
        let (journal, events) =
            Journal::resume(&journal_path).map_err(|source| RunDirError { path: journal_path, source })?;
        remove_leftovers(path)?;
        Ok((Self { journal, path: path.to_owned() }, events))
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event to the journal.
    pub fn record(&mut self, event: &AuditEvent) -> Result<(), RunDirError> {
        self.journal.append(event).map_err(|source| RunDirError { path: self.path.join("run.jsonl"), source })
    }

    /// Writes the report in every format.
    pub fn write_reports(&self, report: &Report) -> Result<(), RunDirError> {
        let evidence = Evidence::read(report, &self.path);
        for format in FORMATS {
            if let Some(file) = format.file {
                write_atomically(&self.path.join(file), &(format.render)(report, &evidence))?;
            }
        }
        Ok(())
    }
}

/// Removes what a killed run was writing.
fn remove_leftovers(path: &Path) -> Result<(), RunDirError> {
    for folder in [path.to_owned(), path.join(ADVERSARIAL_FOLDER)] {
        match atomic_file::remove_leftovers(&folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RunDirError { path: folder, source });
            }
            _ => (),
        }
    }
    Ok(())
}

/// Writes one file of a run, whole or not at all.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
    atomic_file::write(path, bytes).map_err(|source| RunDirError { path: path.to_owned(), source })
}
