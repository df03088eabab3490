//! `run.jsonl`: an audit's events, one JSON object per line, as they come.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use crate::audit::event::AuditEvent;
use crate::audit::state::AuditState;

/// Appends events. Each line is handed to the system at once, so that a killed run leaves every event before the last line.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Starts a new journal, replacing one of an earlier run, but not of one that is still going on.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).write(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another run is writing there"),
            TryLockError::Error(error) => error,
        })?;
        file.set_len(0).or_else(|error| if file.metadata()?.is_file() { Err(error) } else { Ok(()) })?;
        Ok(Self { file })
    }

    /// Writes one event, if journals keep its kind.
    pub fn append(&mut self, event: &AuditEvent) -> io::Result<()> {
        if !event.is_kept() {
            return Ok(());
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// The state that a journal's events add up to, and how many lines could not be read.
///
/// A run that was killed may leave half a line at the end; everything before it counts.
pub fn replay(text: &str) -> (AuditState, usize) {
    let mut state = AuditState::default();
    let mut unreadable = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str::<AuditEvent>(line) {
            Ok(event) => state.apply(&event),
            Err(_) => unreadable += 1,
        }
    }
    (state, unreadable)
}
