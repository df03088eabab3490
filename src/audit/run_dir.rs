//! The folder of a run: journal, reports, adversarial images. Every file but the journal appears whole or not at all.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::journal::Journal;
use crate::atomic_file::{self, WriteError};
use crate::audit::event::AuditEvent;
use crate::store::{ADVERSARIAL_FOLDER, CLEAN_FILE, JOURNAL_FILE, is_adversarial};

#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    journal: Journal,
}

impl RunDir {
    /// Makes the folder (and its parents) and starts its journal. Reports of an earlier run in it are removed: what is there afterwards
    /// belongs to this run. `reports` are the names of these files.
    pub(crate) fn create<'a>(path: &Path, reports: impl Iterator<Item = &'a str>) -> Result<Self, WriteError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| WriteError { path, source }
        };
        let adversarial = path.join(ADVERSARIAL_FOLDER);
        fs::create_dir_all(&adversarial).map_err(fail(&adversarial))?;
        let journal_path = path.join(JOURNAL_FILE);
        let journal = Journal::create(&journal_path).map_err(fail(&journal_path))?;
        // The journal is ours, so nobody else writes here.
        remove_leftovers(path)?;
        let stale = fs::read_dir(&adversarial).map_err(fail(&adversarial))?.flatten().map(|entry| entry.path());
        let stale = stale.filter(|file| is_adversarial(&file.file_name().unwrap_or_default().to_string_lossy()));
        let ours = reports.chain([CLEAN_FILE]);
        for file in ours.map(|name| path.join(name)).chain(stale) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(&file)(error)),
                _ => (),
            }
        }
        Ok(Self { journal, path: path.to_owned() })
    }

    /// Goes on with the run in a folder. Its events so far come back.
    pub(crate) fn resume(path: &Path) -> Result<(Self, Vec<AuditEvent>), WriteError> {
        let journal_path = path.join(JOURNAL_FILE);
        let (journal, events) =
            Journal::resume(&journal_path).map_err(|source| WriteError { path: journal_path, source })?;
        remove_leftovers(path)?;
        Ok((Self { journal, path: path.to_owned() }, events))
    }

    /// Where the folder is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn record(&mut self, event: &AuditEvent) -> Result<(), WriteError> {
        self.journal.append(event).map_err(|source| WriteError { path: self.path.join(JOURNAL_FILE), source })
    }

    /// Writes a file of the folder, whole or not at all.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        atomic_file::write_file(&self.path.join(name), bytes)
    }
}

/// Removes what a killed run was writing.
fn remove_leftovers(path: &Path) -> Result<(), WriteError> {
    for folder in [path.to_owned(), path.join(ADVERSARIAL_FOLDER)] {
        match atomic_file::remove_leftovers(&folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(WriteError { path: folder, source });
            }
            _ => (),
        }
    }
    Ok(())
}
