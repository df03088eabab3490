//! Recorded runs as a stream of events: replayed at once or at a pace, or followed while another process writes them.

use std::fs::TryLockError;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::audit::event::{AuditEvent, SCHEMA_VERSION};
use crate::input;
use crate::memory::opening;
use crate::store::{JOURNAL_FILE, NEXT_FOLDER};
use crate::text::json;

#[derive(Clone, Debug)]
pub enum Feed {
    Event(Box<AuditEvent>),
    /// A new run has begun in place of the one so far.
    Restarted,
    Unreadable(usize),
    /// Nothing more comes; the reason, if it is an error.
    Closed(Option<String>),
}

/// How often a growing journal is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Reads a whole journal. Lines that are no events keep their place, with their number.
pub fn read(path: &Path) -> Result<Vec<Feed>, String> {
    opening(path, || read_whole(path))
}

fn read_whole(path: &Path) -> Result<Vec<Feed>, String> {
    let shown = path.display();
    let bytes = input::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let feeds: Vec<Feed> = lines.map(|(number, line)| parse(line, number + 1)).collect();
    let begun = feeds.first().and_then(|feed| match feed {
        Feed::Event(event) => {
            if let AuditEvent::Started { schema_version, .. } = **event {
                Some(schema_version)
            } else {
                None
            }
        }
        _ => None,
    });
    match begun {
        Some(found) if found > SCHEMA_VERSION => {
            Err(format!("{shown}: written by a newer advmod (schema {found}, this one knows {SCHEMA_VERSION})"))
        }
        Some(_) => Ok(feeds),
        None => Err(format!("{shown}: not a journal of an audit; give the run.jsonl of a folder that --out wrote")),
    }
}

fn parse(line: &str, number: usize) -> Feed {
    json::read(line).map_or(Feed::Unreadable(number), |event| Feed::Event(Box::new(event)))
}

/// How long to wait before each event, so that the replay takes the time of the run divided by `speed`. A journal has no clock, but
/// each attack's seconds and the whole run's: an attack's are spread evenly over its batches, the rest over the curves.
fn pauses(feeds: &[Feed], speed: f64) -> Vec<Duration> {
    let events = || feeds.iter().filter_map(|feed| if let Feed::Event(event) = feed { Some(&**event) } else { None });
    let seconds_of = |wanted: usize| {
        events().find_map(|event| match event {
            AuditEvent::AttackFinished { attack, seconds } if *attack == wanted => Some(*seconds),
            _ => None,
        })
    };
    let batches_of = |wanted: usize| {
        events().filter(|event| matches!(event, AuditEvent::BatchAttacked { attack, .. } if *attack == wanted)).count()
    };
    let attacking: f64 =
        events().map(|event| if let AuditEvent::AttackFinished { seconds, .. } = event { *seconds } else { 0.0 }).sum();
    let whole = events().find_map(|event| match event {
        AuditEvent::Finished { seconds, .. } => Some(*seconds),
        _ => None,
    });
    let is_curve = |event: &AuditEvent| {
        matches!(event, AuditEvent::CleanCurvesMeasured { .. } | AuditEvent::AttackCurvesMeasured { .. })
    };
    let curves = events().filter(|event| is_curve(event)).count().max(1);
    let per_curve = whole.map_or(0.5, |whole| (whole - attacking).max(0.0) / curves as f64);
    let pause = |feed: &Feed| {
        let Feed::Event(event) = feed else { return Duration::ZERO };
        let seconds = match &**event {
            AuditEvent::BatchAttacked { attack, .. } => {
                seconds_of(*attack).unwrap_or(1.0) / batches_of(*attack).max(1) as f64
            }
            event if is_curve(event) => per_curve,
            _ => 0.0,
        };
        Duration::try_from_secs_f64(seconds / speed).unwrap_or(Duration::ZERO)
    };
    feeds.iter().map(pause).collect()
}

/// Sends a journal's events, at once or so many times faster than they happened. Ends when nobody listens any more.
pub fn replay(feeds: Vec<Feed>, speed: Option<f64>, sender: &Sender<Feed>) {
    let pauses = speed.map(|speed| pauses(&feeds, speed));
    for (place, feed) in feeds.into_iter().enumerate() {
        if let Some(pauses) = &pauses {
            std::thread::sleep(pauses[place]);
        }
        if sender.send(feed).is_err() {
            return;
        }
    }
    let _ = sender.send(Feed::Closed(None));
}

/// Sends the events of the run that another process writes to a folder, as they come. Ends when nobody listens any more.
pub fn follow(folder: &Path, sender: &Sender<Feed>) {
    let mut follower = Follower::new(folder);
    loop {
        for feed in follower.poll() {
            if sender.send(feed).is_err() {
                return;
            }
        }
        std::thread::sleep(POLL);
    }
}

struct Follower {
    folder: PathBuf,
    /// Whether the run that is read is one that is to replace another.
    is_next: bool,
    read: u64,
    lines: usize,
    /// A line without its end.
    rest: Vec<u8>,
    /// Looks without anything new.
    idle: u32,
    closed: bool,
}

impl Follower {
    fn new(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { folder, is_next: false, read: 0, lines: 0, rest: Vec::new(), idle: 0, closed: false }
    }

    fn poll(&mut self) -> Vec<Feed> {
        let next = input::open(&self.folder.join(NEXT_FOLDER).join(JOURNAL_FILE)).ok();
        // When a run takes its place, its journal goes on being the same.
        let is_other = next.is_some() && !self.is_next;
        self.is_next = next.is_some();
        // It may not be there yet.
        let Some(mut file) = next.or_else(|| input::open(&self.folder.join(JOURNAL_FILE)).ok()) else {
            return Vec::new();
        };
        let mut feeds = Vec::new();
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length < self.read || (is_other && self.read > 0) {
            (self.read, self.lines, self.idle, self.closed) = (0, 0, 0, false);
            self.rest.clear();
            feeds.push(Feed::Restarted);
        }
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.read)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
            return feeds;
        }
        self.read += bytes.len() as u64;
        self.idle = if bytes.is_empty() { self.idle + 1 } else { 0 };
        self.rest.extend(bytes);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.lines += 1;
            let feed = parse(String::from_utf8_lossy(&line).trim_end(), self.lines);
            let is_end = matches!(&feed, Feed::Event(event) if matches!(**event, AuditEvent::Finished { .. }));
            feeds.push(feed);
            if is_end {
                self.closed = true;
                feeds.push(Feed::Closed(None));
            }
        }
        // The writer holds a lock as long as it lives. A look now and then: the lock is ours for a moment, which a new run must not meet.
        if !self.closed && self.idle > 0 && self.idle.is_multiple_of(20) && self.read > 0 {
            match file.try_lock_shared() {
                Ok(()) => {
                    let _ = file.unlock();
                    self.closed = true;
                    feeds.push(Feed::Closed(None));
                }
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => (),
            }
        }
        feeds
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    fn recorded() -> Vec<Feed> {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run.jsonl")).unwrap()
    }

    #[test]
    fn a_paced_replay_takes_the_time_of_the_run() {
        let feeds = recorded();
        let whole = feeds.iter().find_map(|feed| match feed {
            Feed::Event(event) => match &**event {
                AuditEvent::Finished { seconds, .. } => Some(*seconds),
                _ => None,
            },
            _ => None,
        });
        let total: f64 = pauses(&feeds, 2.0).iter().map(Duration::as_secs_f64).sum();
        assert!((total - whole.unwrap() / 2.0).abs() < 1e-6, "{total}");
    }

    #[test]
    fn a_growing_journal_is_followed_by_whole_lines_and_a_new_run_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let mut follower = Follower::new(folder.path());
        assert!(follower.poll().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"{\"event\":\"warned\",\"message\":\"a\"}\n{\"event\":\"war").unwrap();
        assert!(matches!(&follower.poll()[..], [Feed::Event(_)]));
        file.write_all(b"ned\",\"message\":\"b\"}\nnothing\n").unwrap();
        assert!(matches!(&follower.poll()[..], [Feed::Event(_), Feed::Unreadable(3)]));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(&follower.poll()[..], [Feed::Restarted]));
        std::fs::write(&path, "{\"event\":\"finished\",\"outcome\":\"complete\",\"seconds\":1.0}\n").unwrap();
        assert!(matches!(&follower.poll()[..], [Feed::Event(_), Feed::Closed(None)]));
        // A run that is to replace this one, and then does.
        let next = folder.path().join(NEXT_FOLDER);
        std::fs::create_dir(&next).unwrap();
        let line = "{\"event\":\"warned\",\"message\":\"longer than all that was read of the run before, by far\"}\n";
        std::fs::write(next.join(JOURNAL_FILE), line).unwrap();
        assert!(matches!(&follower.poll()[..], [Feed::Restarted, Feed::Event(_)]));
        std::fs::rename(next.join(JOURNAL_FILE), &path).unwrap();
        assert!(follower.poll().is_empty());
    }

    #[test]
    fn a_dead_writer_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        std::fs::write(&path, "{\"event\":\"warned\",\"message\":\"a\"}\n").unwrap();
        let writer = File::open(&path).unwrap();
        writer.try_lock().unwrap();
        let mut follower = Follower::new(folder.path());
        let closed = |follower: &mut Follower| {
            (0..50).flat_map(|_| follower.poll()).any(|feed| matches!(feed, Feed::Closed(None)))
        };
        assert!(!closed(&mut follower));
        drop(writer);
        assert!(closed(&mut follower));
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        for text in ["", "hello\n", "{\"event\":\"warned\",\"message\":\"a\"}\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).unwrap_err().contains("not a journal"), "{text}");
        }
        assert!(read(folder.path()).unwrap_err().contains("cannot read"));
    }
}
