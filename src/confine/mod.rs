//! What is left to the process once it knows its files: to read them and what libtorch loads, and to write its results. A fault in libtorch that
//! a hostile file reaches, or a TorchScript module that is trusted wrongly, cannot touch other files, talk to a network or start a program.
//!
//! Two layers of Linux: Landlock for files, seccomp for system calls. Neither needs any privilege, and neither can be taken back.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod room;

use std::io;
use std::path::{Path, PathBuf};

use crate::atomic_file::folder_of;

/// The files of a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    reads: Vec<PathBuf>,
    writes: Vec<PathBuf>,
    made: Vec<PathBuf>,
}

impl Needs {
    /// A file, or a folder with all that is in it.
    #[must_use]
    pub(crate) fn reading<'a>(mut self, paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        self.reads.extend(paths.into_iter().cloned());
        self
    }

    /// A data set: files that belong to a file lie beside it, and what folders link to belongs to them.
    #[must_use]
    pub(crate) fn reading_data<'a>(mut self, paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        for path in paths {
            if path.is_dir() {
                linked(path, DEEPEST, &mut self.reads);
                self.reads.push(path.clone());
            } else {
                self.reads.push(folder_of(path).to_owned());
            }
        }
        self
    }

    /// A folder of results, which is there already.
    #[must_use]
    pub(crate) fn writing<'a>(mut self, folders: impl IntoIterator<Item = &'a Path>) -> Self {
        for folder in folders {
            self.writes.push(folder.to_owned());
            // One that stays empty is taken away again.
            self.made.extend(folder.canonicalize().ok().and_then(|it| it.parent().map(Path::to_owned)));
        }
        self
    }

    /// Files of results, each of which is written beside itself and then moved to its place.
    #[must_use]
    pub(crate) fn writing_files<'a>(mut self, files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        // Folders that are still to be made lie in one that is there.
        let there = |file: &PathBuf| {
            folder_of(file).ancestors().find(|it| it.is_dir()).map_or_else(|| ".".into(), Path::to_owned)
        };
        self.writes.extend(files.into_iter().map(there));
        self
    }
}

/// How deep below a data folder links are looked for: part, class, image.
const DEEPEST: usize = 3;

/// Most places that links may lead to: more need no listing, but the folder that holds them all.
const MOST_LINKS: usize = 10_000;

/// Where the links in a folder lead, as folders.
fn linked(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 => linked(&path, depth - 1, found),
            Ok(kind) if kind.is_symlink() && found.len() < MOST_LINKS => {
                let Ok(target) = path.canonicalize() else { continue };
                let target = if target.is_dir() { target } else { folder_of(&target).to_owned() };
                if found.last() != Some(&target) {
                    found.push(target);
                }
            }
            _ => (),
        }
    }
}

/// Limits the memory of the process: to these bytes, or to three quarters of what is free. Call before any thread is started.
///
/// # Errors
/// The system's, in a line.
pub(crate) fn limit_memory(bytes: Option<u64>) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return room::confine(bytes);
    #[cfg(not(target_os = "linux"))]
    return bytes.map_or(Ok(()), |_| Err("only Linux limits the memory of a process".to_owned()));
}

/// How far the kernel went along.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// Whether other files are out of reach, or why they are not.
    pub files: Result<&'static str, String>,
    /// Whether network and programs are out of reach, or why they are not.
    pub calls: Result<&'static str, String>,
}

impl Confinement {
    /// What is missing, in a line; none where nothing is.
    pub(crate) fn lack(&self) -> Option<String> {
        let missing: Vec<String> = [("files", &self.files), ("system calls", &self.calls)]
            .into_iter()
            .filter_map(|(what, state)| Some(format!("{what}: {}", state.as_ref().err()?)))
            .collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// Confines this thread and all that it starts from now on; system calls, those of all threads. Call before any thread is started.
///
/// # Errors
/// A file of the command that cannot be opened. What the kernel does not have is no error.
pub(crate) fn confine(needs: &Needs) -> io::Result<Confinement> {
    #[cfg(target_os = "linux")]
    return Ok(Confinement { files: files::confine(needs)?, calls: calls::confine() });
    #[cfg(not(target_os = "linux"))]
    {
        let _ = needs;
        let why = || Err("only Linux has what it needs".to_owned());
        Ok(Confinement { files: why(), calls: why() })
    }
}

#[cfg(test)]
mod tests;
