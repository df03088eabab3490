//! `run.jsonl`: an audit's events, one JSON object per line, as they come.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::audit::event::{AuditEvent, AuditStart};
use crate::audit::state::AuditState;
use crate::store::{JOURNAL_FILE, RunFolder, busy};
use crate::text::json;

/// Appends events. Each line is handed to the system at once, so that a killed run leaves every event before the last line.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// Where the readable part of a resumed journal ends; what follows is cut off when the run really goes on.
    cut: Option<u64>,
}

impl Journal {
    /// Starts a new journal in an empty file.
    pub(crate) fn start(file: File) -> io::Result<Self> {
        lock(&file)?;
        Ok(Self { file, cut: None })
    }

    /// Goes on with the journal of a run that has ended somehow. Its events come back; what a kill or a full disk left unreadable, and all
    /// that follows it, is cut off with the first event that is appended: until then the file stays as it is.
    pub(crate) fn resume(mut file: File) -> io::Result<(Self, Vec<AuditEvent>)> {
        lock(&file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut events = Vec::new();
        let mut whole = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let event = line.strip_suffix(b"\n").and_then(|line| json::read(str::from_utf8(line).ok()?).ok());
            let Some(event) = event else { break };
            events.push(event);
            whole += line.len() as u64;
        }
        Ok((Self { file, cut: Some(whole) }, events))
    }

    /// Writes one event, if journals keep its kind.
    pub(crate) fn append(&mut self, event: &AuditEvent) -> io::Result<()> {
        if !event.is_kept() {
            return Ok(());
        }
        if let Some(end) = self.cut.take() {
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
        }
        self.file.write_all(&json::line(event))
    }
}

fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => busy(),
        TryLockError::Error(error) => error,
    })
}

/// How the run in a folder began, as far as its journal can be read.
pub(crate) fn started(folder: &Path) -> Option<AuditStart> {
    let journal = RunFolder::open(folder).ok()?.file(JOURNAL_FILE).ok()??;
    let mut line = String::new();
    BufReader::new(journal).read_line(&mut line).ok()?;
    match json::read(&line).ok()? {
        AuditEvent::Started { start, .. } => Some(*start),
        _ => None,
    }
}

/// The state that a journal's events add up to, and how many lines could not be read.
///
/// A run that was killed may leave half a line at the end; everything before it counts.
pub fn replay(text: &str) -> (AuditState, usize) {
    let mut state = AuditState::default();
    let mut unreadable = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        match json::read::<AuditEvent>(line) {
            Ok(event) => state.apply(&event),
            Err(_) => unreadable += 1,
        }
    }
    (state, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let warned = |text: &str| AuditEvent::Warned { message: text.to_owned() };
        let line = |event: &AuditEvent| serde_json::to_string(event).unwrap() + "\n";
        let (first, second) = (warned("first"), warned("second"));
        // A whole event without its line break may be the beginning of a longer one.
        for rest in
            [line(&second).trim_end().to_owned(), "{\"event\":\"war".to_owned(), format!("damaged\n{}", line(&second))]
        {
            std::fs::write(&path, line(&first) + &rest).unwrap();
            let open = || File::options().read(true).write(true).open(&path).unwrap();
            let (mut journal, events) = Journal::resume(open()).unwrap();
            assert_eq!(events, std::slice::from_ref(&first));
            // A run that is refused, or another program's file, loses nothing.
            assert_eq!(std::fs::read_to_string(&path).unwrap(), line(&first) + &rest);
            let busy = Journal::resume(open()).unwrap_err();
            assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
            journal.append(&second).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), line(&first) + &line(&second));
        }
    }
}
