//! The folder of a run, held open: what is read and written in it stays inside, whatever links lie there.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileType, OpenOptions};

use crate::atomic_file::{PREFIX, SUFFIX};
use crate::input::regular;

/// Names in it are relative, with at most one `/`.
#[derive(Debug)]
pub(crate) struct RunFolder {
    dir: Dir,
    path: PathBuf,
}

impl RunFolder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // The folder of a bare file name is the current one.
        let found = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self { dir: Dir::open_ambient_dir(found, ambient_authority())?, path: path.to_owned() })
    }

    /// A folder in it, whose files cannot lead out of that either.
    pub(crate) fn inner(&self, name: &str) -> io::Result<Self> {
        Ok(Self { dir: self.dir.open_dir(name)?, path: self.path(name) })
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { dir: self.dir.try_clone()?, path: self.path.clone() })
    }

    /// Where a file of it is, to say so.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    /// Keeps other runs out for as long as what comes back lives.
    pub(crate) fn lock(&self) -> io::Result<File> {
        let dir = self.dir.open(".")?.into_std();
        match dir.try_lock() {
            Err(TryLockError::WouldBlock) => Err(busy()),
            // Some network file systems lock files only: the journal's lock is left then.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(dir),
        }
    }

    /// A file for reading; none where there is none.
    pub(crate) fn file(&self, name: &str) -> io::Result<Option<File>> {
        match self.open_with(name, OpenOptions::new().read(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    /// The whole of a file; none where there is none.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// A file that is changed in its place; it is made where it is not there.
    pub(crate) fn change(&self, name: &str) -> io::Result<File> {
        self.is_there(name)?;
        self.open_with(name, OpenOptions::new().read(true).write(true).create(true))
    }

    fn open_with(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::custom_flags(options, crate::input::WITHOUT_WAITING);
        let file = self.dir.open_with(name, options)?.into_std();
        regular(&file.metadata()?)?;
        Ok(file)
    }

    fn kind(&self, name: &str) -> io::Result<Option<FileType>> {
        match self.dir.symlink_metadata(name) {
            Ok(found) => Ok(Some(found.file_type())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a file of the run is there. A link or anything else in its place is refused: it is not the run's.
    pub(crate) fn is_there(&self, name: &str) -> io::Result<bool> {
        self.is(name, FileType::is_file, "a plain file")
    }

    /// As [`is_there`](Self::is_there), of a folder.
    pub(crate) fn has_folder(&self, name: &str) -> io::Result<bool> {
        self.is(name, FileType::is_dir, "a folder")
    }

    fn is(&self, name: &str, wanted: fn(&FileType) -> bool, what: &str) -> io::Result<bool> {
        match self.kind(name)? {
            Some(found) if !wanted(&found) => {
                let is = if found.is_symlink() { "a link" } else { "something else" };
                Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{is}, not {what}; remove it")))
            }
            found => Ok(found.is_some()),
        }
    }

    /// Names of what is in it, or in a folder of it, sorted; of nothing where there is no such folder.
    pub(crate) fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match self.dir.read_dir(if folder.is_empty() { "." } else { folder }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name = |entry: io::Result<cap_std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let mut names = entries.map(name).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn make_folder(&self, name: &str) -> io::Result<()> {
        match self.has_folder(name)? {
            true => Ok(()),
            false => self.dir.create_dir(name),
        }
    }

    /// Writes a file whole or not at all. One that was there before stays until then.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.is_there(name)?;
        let beside = match name.rsplit_once('/') {
            Some((folder, file)) => format!("{folder}/{PREFIX}{file}{SUFFIX}"),
            None => format!("{PREFIX}{name}{SUFFIX}"),
        };
        self.remove(&beside)?;
        let written = self.fill(&beside, bytes).and_then(|()| self.rename(&beside, name));
        if written.is_err() {
            // The first error says more than that of cleaning up.
            let _ = self.remove(&beside);
        }
        written?;
        // The rename itself lasts only when the folder is on disk.
        self.dir.open(name.rsplit_once('/').map_or(".", |(folder, _)| folder))?.sync_all()
    }

    fn fill(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.open_with(name, OpenOptions::new().write(true).create_new(true))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Both inside; what was there under the new name is replaced.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.dir.rename(from, &self.dir, to)
    }

    /// A file, or a link itself; nothing where there is none.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        not_missing(self.dir.remove_file(name))
    }

    /// An empty folder.
    pub(crate) fn remove_folder(&self, name: &str) -> io::Result<()> {
        not_missing(self.dir.remove_dir(name))
    }

    /// A folder with everything in it; links go, not what they lead to.
    pub(crate) fn remove_all(&self, name: &str) -> io::Result<()> {
        not_missing(self.dir.remove_dir_all(name))
    }
}

fn not_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Why a folder cannot be had that another run holds.
pub(crate) fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "another run is writing there")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere_outside() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "outside").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let at = |name: &str| inside.path().join(name);
        symlink(&secret, at("file")).unwrap();
        symlink(outside.path().join("none"), at("dangling")).unwrap();
        symlink(outside.path(), at("folder")).unwrap();
        symlink("/dev/full", at("device")).unwrap();
        let folder = RunFolder::open(inside.path()).unwrap();
        for name in ["file", "dangling", "device", "folder/secret", "../secret"] {
            assert!(folder.write(name, b"x").is_err(), "{name}");
            assert!(folder.change(name).is_err(), "{name}");
            assert!(!matches!(folder.read(name), Ok(Some(_))), "{name}");
        }
        assert!(folder.make_folder("folder").is_err() && folder.inner("folder").is_err());
        folder.remove("file").unwrap();
        folder.make_folder("mine").unwrap();
        symlink(&secret, at("mine/link")).unwrap();
        folder.remove_all("mine").unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "outside");
        assert!(!outside.path().join("none").exists());
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let inside = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(inside.path()).unwrap();
        folder.make_folder("images").unwrap();
        for name in ["report.json", "images/one"] {
            folder.write(name, b"old").unwrap();
            folder.write(name, b"new").unwrap();
            assert_eq!(folder.read(name).unwrap().unwrap(), b"new");
        }
        assert_eq!(folder.names("").unwrap(), ["images", "report.json"]);
        assert_eq!((folder.names("images").unwrap(), folder.names("none").unwrap()), (vec!["one".to_owned()], vec![]));
    }

    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let inside = tempfile::tempdir().unwrap();
        let [first, second] = [(); 2].map(|()| RunFolder::open(inside.path()).unwrap());
        let held = first.lock().unwrap();
        assert_eq!(second.lock().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(held);
        second.lock().unwrap();
    }
}
