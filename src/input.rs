//! Files that are read are opened here: what is no regular file is refused before anything waits for it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

/// Opening with these never waits for the other end of a pipe, and never makes a terminal ours. Regular files do not know the difference.
#[cfg(unix)]
pub(crate) const WITHOUT_WAITING: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens a file for reading. A pipe, a device, a socket or a folder is refused.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_with(path, File::options().read(true))
}

/// Opens a file to write at its end, or makes it. What is no file is refused likewise.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    open_with(path, File::options().append(true).create(true))
}

fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Asked before opening, because some devices act on that alone.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        found => regular(&found?)?,
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, WITHOUT_WAITING);
    let file = options.open(path)?;
    // And again: the path may lead elsewhere by now.
    regular(&file.metadata()?)?;
    Ok(file)
}

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    io::read_to_string(open(path)?)
}

/// Refuses what is no regular file.
pub(crate) fn regular(found: &Metadata) -> io::Result<()> {
    match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link, socket) =
            (folder.path().join("pipe"), folder.path().join("link"), folder.path().join("socket"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&pipe, &link, &socket, Path::new("/dev/zero"), folder.path()] {
            for opened in [open(path), open_to_append(path)] {
                let error = opened.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}: {error}", path.display());
            }
        }
        std::fs::write(folder.path().join("file"), "text").unwrap();
        assert_eq!(read_to_string(&folder.path().join("file")).unwrap(), "text");
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        io::Write::write_all(&mut open_to_append(&folder.path().join("file")).unwrap(), b"s").unwrap();
        assert_eq!(read(&folder.path().join("file")).unwrap(), b"texts");
        assert!(open_to_append(&folder.path().join("none")).is_ok());
    }
}
