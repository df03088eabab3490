//! Files and folders that appear whole or not at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Why a file of the results cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}; give a folder with room and write access to --out or --output")]
pub(crate) struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    pub source: io::Error,
}

/// Whether [`write()`] could write to this path now: a folder that takes files, and nothing there but a regular file.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something there that is not a regular file",
            ));
        }
        _ => (),
    }
    tempfile::tempfile_in(folder_of(path)).map(drop)
}

/// How the names of files that are being written begin and end.
pub(crate) const PREFIX: &str = ".advmod-";
pub(crate) const SUFFIX: &str = ".tmp";

/// The folder that a file lies in: of a bare file name, the current one.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// [`write()`] with an error that names the file.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write(path, bytes).map_err(|source| WriteError { path: path.to_owned(), source })
}

/// Writes a file beside its final place, flushes it to the disk and renames it. A file that was there before stays until then.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    check(path)?;
    let folder = folder_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // Temporary files are private by default; results are as readable as the user's other files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself lasts only when the folder is on disk.
    File::open(folder)?.sync_all()
}

/// A folder that is filled beside its final place. Dropped before [`finish`](Self::finish), it goes away with everything in it.
#[derive(Debug)]
pub struct Folder {
    being_filled: tempfile::TempDir,
    path: PathBuf,
}

impl Folder {
    /// For a path where nothing is, or an empty folder. Makes its parents.
    pub fn create(path: &Path) -> io::Result<Self> {
        let taken = |what: &str| Err(io::Error::new(io::ErrorKind::AlreadyExists, what.to_owned()));
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.is_dir() => return taken("there is something there that is not a folder"),
            Ok(_) if std::fs::read_dir(path)?.next().is_some() => return taken("the folder is not empty"),
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(folder_of(path))?,
            Err(error) => return Err(error),
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        Ok(Self { being_filled: builder.tempdir_in(folder_of(path))?, path: path.to_owned() })
    }

    /// Where to write its files.
    pub fn path(&self) -> &Path {
        self.being_filled.path()
    }

    /// Puts it in its place.
    pub fn finish(self) -> io::Result<()> {
        std::fs::rename(self.being_filled.path(), &self.path)?;
        // There is nothing left to remove.
        let _ = self.being_filled.keep();
        File::open(folder_of(&self.path))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_regular_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), b"new").is_err());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        assert!(write(&link, b"new").is_err() && link.is_symlink());
    }

    #[test]
    fn a_folder_appears_only_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder");
        let unfinished = Folder::create(&path).unwrap();
        std::fs::write(unfinished.path().join("file"), "half").unwrap();
        drop(unfinished);
        assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
        std::fs::create_dir(&path).unwrap();
        let finished = Folder::create(&path).unwrap();
        std::fs::write(finished.path().join("file"), "whole").unwrap();
        finished.finish().unwrap();
        assert_eq!(std::fs::read_to_string(path.join("file")).unwrap(), "whole");
        assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
        assert!(Folder::create(&path).is_err() && Folder::create(&path.join("file")).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(&folder.path().join("no/report.json"), b"new").is_err());
    }
}
