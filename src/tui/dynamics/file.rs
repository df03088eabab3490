//! Reads dynamics.json anew whenever it has changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::study::results::dynamics::DynamicsResult;
use crate::study::results::{StudyResult as _, read};

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(250);

/// What a file looks like from outside.
type Stamp = (Option<SystemTime>, u64);

/// A file that may not be there yet.
pub(in super::super) struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
}

impl Watched {
    pub(in super::super) fn new(folder: &Path) -> Self {
        Self { path: folder.join(DynamicsResult::FILE), seen: None }
    }

    /// Its content, if it has changed since the last look.
    pub(in super::super) fn look(&mut self) -> Option<Result<DynamicsResult, String>> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        let stamp = (metadata.modified().ok(), metadata.len());
        if self.seen == Some(stamp) {
            return None;
        }
        // Before reading: what is written meanwhile is read the next time.
        self.seen = Some(stamp);
        Some(read(&self.path))
    }
}

/// Looks until nobody listens any more. A thread of its own: reading a large file must not hold up the keys.
pub(in super::super) fn listen(mut watched: Watched) -> std::io::Result<Receiver<Result<DynamicsResult, String>>> {
    let (sender, receiver) = unbounded();
    let mut watch = move |sender: &Sender<_>| {
        loop {
            if let Some(read) = watched.look()
                && sender.send(read).is_err()
            {
                return;
            }
            std::thread::sleep(POLL);
        }
    };
    std::thread::Builder::new().name("dynamics".to_owned()).spawn(move || watch(&sender))?;
    Ok(receiver)
}
