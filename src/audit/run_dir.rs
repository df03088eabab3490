//! The folder that a run writes: journal, reports, images. It is ready before the run begins, and an earlier run in it stays until the new one
//! is whole.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::journal::Journal;
use crate::atomic_file::{PREFIX, SUFFIX, WriteError};
use crate::audit::event::AuditEvent;
use crate::store::{ADVERSARIAL_FOLDER, CLEAN_FILE, JOURNAL_FILE, NEXT_FOLDER, RunFolder, is_adversarial};

/// A run that is whole is renamed to the first of these, and to the second once the earlier one is gone: whichever is there tells how far an
/// exchange came.
const WHOLE_FOLDER: &str = ".advmod-whole";
const MOVING_FOLDER: &str = ".advmod-moving";

/// Most foreign files that are named.
const NAMED: usize = 5;

/// Why a folder cannot take a run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There are results in it that nobody said may go.
    #[error("{0}")]
    Taken(String),
}

#[derive(Debug)]
pub(crate) struct RunDir {
    folder: RunFolder,
    /// Keeps other runs out.
    _lock: File,
    /// Where the run writes: the folder, or one in it while an earlier run is there.
    work: RunFolder,
    is_beside: bool,
    journal: Journal,
    names: Names,
    /// Whether there is something to keep.
    has_begun: bool,
    /// Whether the folder was not there before.
    is_new: bool,
}

impl RunDir {
    /// Makes the folder (and its parents) ready for a new run. An earlier run in it is refused, or else, by `force`, stays until the new one is
    /// whole. `reports` are the names of the files that a report is written to.
    pub(crate) fn claim(path: &Path, reports: Vec<&'static str>, force: bool) -> Result<Self, FolderError> {
        let names = Names(reports);
        let is_new = !path.exists();
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| WriteError { path, source }
        };
        fs::create_dir_all(path).map_err(fail(path))?;
        let (folder, lock) = open(path, &names)?;
        let held = names.found(&folder)?;
        let is_beside = !held.is_empty();
        if is_beside && !force {
            return Err(FolderError::Taken(taken(path, &folder, &held[0])));
        }
        let work = match is_beside {
            false => folder.try_clone().map_err(fail(path))?,
            true => make_beside(&folder).map_err(fail(&folder.path(NEXT_FOLDER)))?,
        };
        let adversarial = work.path(ADVERSARIAL_FOLDER);
        work.make_folder(ADVERSARIAL_FOLDER).map_err(fail(&adversarial))?;
        let journal = work.change(JOURNAL_FILE).and_then(Journal::start).map_err(fail(&work.path(JOURNAL_FILE)))?;
        Ok(Self { folder, _lock: lock, work, is_beside, journal, names, has_begun: false, is_new })
    }

    /// Goes on with the run in a folder, with the newer one where a second has begun. Its events so far come back.
    pub(crate) fn resume(path: &Path, reports: Vec<&'static str>) -> Result<(Self, Vec<AuditEvent>), WriteError> {
        let names = Names(reports);
        let at = |path: PathBuf| move |source| WriteError { path, source };
        let (folder, lock) = match open(path, &names) {
            // What is missing is what would have been read.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                return Err(WriteError { path: path.join(JOURNAL_FILE), source: error.source });
            }
            folder => folder?,
        };
        let next = has_begun_beside(&folder).map_err(at(folder.path(NEXT_FOLDER)))?;
        let is_beside = next.is_some();
        let work = next.map_or_else(|| folder.try_clone(), Ok).map_err(at(path.to_owned()))?;
        let file = work.path(JOURNAL_FILE);
        let found =
            work.is_there(JOURNAL_FILE).and_then(|it| if it { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) });
        let opened = found.and_then(|()| work.change(JOURNAL_FILE)).and_then(Journal::resume);
        let (journal, events) = opened.map_err(at(file))?;
        work.make_folder(ADVERSARIAL_FOLDER).map_err(at(work.path(ADVERSARIAL_FOLDER)))?;
        Ok((Self { folder, _lock: lock, work, is_beside, journal, names, has_begun: true, is_new: false }, events))
    }

    /// Where the run writes.
    pub(crate) fn work(&self) -> &RunFolder {
        &self.work
    }

    /// Where its results are now.
    pub(crate) fn path(&self) -> PathBuf {
        self.work.path("")
    }

    /// The folder that an earlier run still has to itself.
    pub(crate) fn earlier(&self) -> Option<PathBuf> {
        self.is_beside.then(|| self.folder.path(""))
    }

    pub(crate) fn record(&mut self, event: &AuditEvent) -> Result<(), WriteError> {
        self.has_begun = true;
        self.journal.append(event).map_err(|source| WriteError { path: self.work.path(JOURNAL_FILE), source })
    }

    /// Writes a file of the folder, whole or not at all.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        self.work.write(name, bytes).map_err(|source| WriteError { path: self.work.path(name), source })
    }

    /// That these files are there.
    pub(crate) fn check<'a>(&self, mut files: impl Iterator<Item = &'a str>) -> Result<(), WriteError> {
        files.try_for_each(|name| {
            let found = self.work.is_there(name).and_then(|it| match it {
                true => Ok(()),
                false => Err(io::Error::new(io::ErrorKind::NotFound, "written, and gone again: something removes it")),
            });
            found.map_err(|source| WriteError { path: self.work.path(name), source })
        })
    }

    /// Puts a run that is whole in the place of the earlier one.
    pub(crate) fn replace_earlier(&mut self) -> Result<(), WriteError> {
        if !self.is_beside {
            return Ok(());
        }
        let exchanged =
            self.folder.rename(NEXT_FOLDER, WHOLE_FOLDER).and_then(|()| exchange(&self.folder, &self.names));
        self.work = exchanged
            .and_then(|()| self.folder.try_clone())
            .map_err(|source| WriteError { path: self.folder.path(""), source })?;
        self.is_beside = false;
        Ok(())
    }

    /// A line about files that are not a run's.
    pub(crate) fn foreign(&self) -> Option<String> {
        let mut foreign = self.names.foreign(&self.folder).ok().filter(|it| !it.is_empty())?;
        let more = foreign.len().saturating_sub(NAMED);
        foreign.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "{}: leaving alone what is not of a run: {}{more}",
            self.folder.path("").display(),
            foreign.join(", ")
        ))
    }
}

/// A run that never begins leaves nothing behind.
impl Drop for RunDir {
    fn drop(&mut self) {
        if self.has_begun {
            return;
        }
        // What cannot be removed is empty, and in nobody's way.
        let _ = self.work.remove(JOURNAL_FILE);
        let _ = self.work.remove_folder(ADVERSARIAL_FOLDER);
        if self.is_beside {
            let _ = self.folder.remove_folder(NEXT_FOLDER);
        }
        if self.is_new {
            let _ = fs::remove_dir(self.folder.path(""));
        }
    }
}

/// A folder that no other run writes to, without what a killed one has left half done.
fn open(path: &Path, names: &Names) -> Result<(RunFolder, File), WriteError> {
    let open = || {
        let folder = RunFolder::open(path)?;
        let lock = folder.lock()?;
        exchange(&folder, names)?;
        Ok((folder, lock))
    };
    let (folder, lock) = open().map_err(|source| WriteError { path: path.to_owned(), source })?;
    names.check(&folder)?;
    for inner in ["", ADVERSARIAL_FOLDER] {
        let fail = |source| WriteError { path: folder.path(inner), source };
        for name in folder.names(inner).map_err(fail)?.iter().filter(|name| is_leftover(name)) {
            folder.remove(&inside(inner, name)).map_err(fail)?;
        }
    }
    Ok((folder, lock))
}

/// A new folder inside, in place of what a run left that never came to its end.
fn make_beside(folder: &RunFolder) -> io::Result<RunFolder> {
    folder.has_folder(NEXT_FOLDER)?;
    folder.remove_all(NEXT_FOLDER)?;
    folder.make_folder(NEXT_FOLDER)?;
    folder.inner(NEXT_FOLDER)
}

/// The folder inside in which a run has begun that is to replace this one.
fn has_begun_beside(folder: &RunFolder) -> io::Result<Option<RunFolder>> {
    if !folder.has_folder(NEXT_FOLDER)? {
        return Ok(None);
    }
    let next = folder.inner(NEXT_FOLDER)?;
    let length = next.file(JOURNAL_FILE)?.map_or(Ok(0), |file| file.metadata().map(|it| it.len()))?;
    Ok((length > 0).then_some(next))
}

/// Removes the earlier run and moves the whole one to its place, from wherever a killed process has left that.
fn exchange(folder: &RunFolder, names: &Names) -> io::Result<()> {
    if folder.has_folder(WHOLE_FOLDER)? {
        for name in names.all(folder)? {
            folder.remove(&name)?;
        }
        folder.rename(WHOLE_FOLDER, MOVING_FOLDER)?;
    }
    if folder.has_folder(MOVING_FOLDER)? {
        folder.make_folder(ADVERSARIAL_FOLDER)?;
        for name in names.all(&folder.inner(MOVING_FOLDER)?)? {
            let from = inside(MOVING_FOLDER, &name);
            if folder.is_there(&from)? {
                folder.rename(&from, &name)?;
            }
        }
        folder.remove_all(MOVING_FOLDER)?;
    }
    Ok(())
}

fn inside(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn is_leftover(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// What to do about a folder with results in it.
fn taken(path: &Path, folder: &RunFolder, found: &str) -> String {
    let shown = path.display();
    let events = folder.read(JOURNAL_FILE).ok().flatten().unwrap_or_default();
    let (state, _) = super::journal::replay(&String::from_utf8_lossy(&events));
    let (what, resume) = match (&state.start, &state.finished) {
        (None, _) => (format!("{found} is there already"), String::new()),
        (Some(_), Some((super::event::Outcome::Complete, _))) => {
            ("holds a finished run".to_owned(), format!(", show it again with --resume {shown}"))
        }
        (Some(_), _) => {
            ("holds a run that has not finished".to_owned(), format!(", go on with it by --resume {shown}"))
        }
    };
    format!("--out {shown}: {what}; give another folder{resume}, or replace it with --force")
}

/// What a run's files are called.
#[derive(Debug)]
struct Names(Vec<&'static str>);

impl Names {
    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied().chain([JOURNAL_FILE, CLEAN_FILE])
    }

    /// All that a run may have written: its files, and its images that are there.
    fn all(&self, folder: &RunFolder) -> io::Result<Vec<String>> {
        let images = match folder.has_folder(ADVERSARIAL_FOLDER)? {
            true => folder.names(ADVERSARIAL_FOLDER)?,
            false => Vec::new(),
        };
        let images = images.into_iter().filter(|name| is_adversarial(name));
        Ok(self.files().map(str::to_owned).chain(images.map(|name| inside(ADVERSARIAL_FOLDER, &name))).collect())
    }

    /// That each of them is a plain file, or not there.
    fn check(&self, folder: &RunFolder) -> Result<(), WriteError> {
        let fail = |name: &str| {
            let path = folder.path(name);
            move |source| WriteError { path, source }
        };
        let names = self.all(folder).map_err(fail(ADVERSARIAL_FOLDER))?;
        names.iter().try_for_each(|name| folder.is_there(name).map(drop).map_err(fail(name)))
    }

    /// Those that are there. A journal in which nothing stands is not a run's.
    fn found(&self, folder: &RunFolder) -> Result<Vec<String>, WriteError> {
        let fail = |source| WriteError { path: folder.path(""), source };
        let mut found = Vec::new();
        for name in self.all(folder).map_err(fail)? {
            let is_run = match folder.file(&name).map_err(fail)? {
                None => false,
                Some(file) => name != JOURNAL_FILE || file.metadata().map_err(fail)?.len() > 0,
            };
            found.extend(is_run.then_some(name));
        }
        Ok(found)
    }

    fn foreign(&self, folder: &RunFolder) -> io::Result<Vec<String>> {
        let own = [ADVERSARIAL_FOLDER, NEXT_FOLDER];
        let is_own = |name: &str| own.contains(&name) || self.files().any(|it| it == name);
        let mut foreign = folder.names("")?;
        foreign.retain(|name| !is_own(name));
        let images = folder.names(ADVERSARIAL_FOLDER)?.into_iter().filter(|name| !is_adversarial(name));
        foreign.extend(images.map(|name| inside(ADVERSARIAL_FOLDER, &name)));
        Ok(foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORTS: [&str; 1] = ["report.json"];

    fn warned(message: &str) -> AuditEvent {
        AuditEvent::Warned { message: message.to_owned() }
    }

    /// A run with a report and one attack's images, in a folder.
    fn fill(run: &mut RunDir, label: &str) {
        run.record(&warned(label)).unwrap();
        for name in ["report.json", &format!("adversarial/{label}.safetensors")] {
            run.write(name, label.as_bytes()).unwrap();
        }
    }

    fn claim(path: &Path, force: bool) -> Result<RunDir, FolderError> {
        RunDir::claim(path, REPORTS.to_vec(), force)
    }

    fn is_of(path: &Path, label: &str) {
        assert_eq!(std::fs::read_to_string(path.join("report.json")).unwrap(), label);
        let images: Vec<_> =
            std::fs::read_dir(path.join(ADVERSARIAL_FOLDER)).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(images, [format!("{label}.safetensors").as_str()]);
        assert!(std::fs::read_to_string(path.join(JOURNAL_FILE)).unwrap().contains(label));
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 3);
    }

    #[test]
    fn an_exchange_that_is_killed_anywhere_is_finished_by_the_next_run() {
        for cut in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            fill(&mut claim(path, false).unwrap(), "fgsm");
            fill(&mut claim(path, true).unwrap(), "pgd");
            is_of(&path.join(NEXT_FOLDER), "pgd");
            std::fs::rename(path.join(NEXT_FOLDER), path.join(WHOLE_FOLDER)).unwrap();
            if cut > 0 {
                std::fs::remove_file(path.join("adversarial/fgsm.safetensors")).unwrap();
            }
            if cut > 1 {
                std::fs::remove_file(path.join("report.json")).unwrap();
                std::fs::remove_file(path.join(JOURNAL_FILE)).unwrap();
                std::fs::rename(path.join(WHOLE_FOLDER), path.join(MOVING_FOLDER)).unwrap();
            }
            if cut > 2 {
                std::fs::rename(path.join(MOVING_FOLDER).join("report.json"), path.join("report.json")).unwrap();
            }
            assert!(matches!(claim(path, false), Err(FolderError::Taken(_))), "{cut}");
            is_of(path, "pgd");
        }
    }

    #[test]
    fn a_run_that_is_whole_replaces_the_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut claim(folder.path(), false).unwrap(), "fgsm");
        let mut run = claim(folder.path(), true).unwrap();
        fill(&mut run, "pgd");
        assert_eq!(run.path(), folder.path().join(NEXT_FOLDER));
        run.check(["report.json", JOURNAL_FILE].into_iter()).unwrap();
        assert!(run.check([CLEAN_FILE].into_iter()).unwrap_err().to_string().contains(CLEAN_FILE));
        assert!(matches!(claim(folder.path(), true), Err(FolderError::Write(_))));
        run.replace_earlier().unwrap();
        assert_eq!(run.path(), folder.path());
        run.check(["report.json", JOURNAL_FILE].into_iter()).unwrap();
        drop(run);
        is_of(folder.path(), "pgd");
    }

    #[test]
    fn a_run_that_never_begins_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new");
        drop(claim(&new, false).unwrap());
        assert!(!new.exists());
        fill(&mut claim(&new, false).unwrap(), "fgsm");
        drop(claim(&new, true).unwrap());
        is_of(&new, "fgsm");
        // Neither does it stand in the way of one that does.
        std::fs::create_dir(new.join(NEXT_FOLDER)).unwrap();
        std::fs::write(new.join(NEXT_FOLDER).join(JOURNAL_FILE), "").unwrap();
        let (run, events) = RunDir::resume(&new, REPORTS.to_vec()).unwrap();
        assert_eq!((run.path(), events), (new.clone(), vec![warned("fgsm")]));
    }

    #[test]
    fn what_a_killed_process_left_goes_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let names = [".advmod-report.json.tmp", "adversarial/.advmod-x.tmp", ".advmod-notes", "mine.tmp"];
        std::fs::create_dir(folder.path().join(ADVERSARIAL_FOLDER)).unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let run = claim(folder.path(), false).unwrap();
        assert_eq!(names.map(|name| folder.path().join(name).exists()), [false, false, true, true]);
        assert!(run.foreign().unwrap().ends_with(": .advmod-notes, mine.tmp"));
    }
}
