//! Why a weight file cannot be read or written.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// What a file's problem is, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{path}: there is no such file; check the path")]
    Missing { path: PathBuf },
    #[error("{path}: cannot be read: {source}; check the file's permissions and the disk")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: cannot be written: {source}; check that the folder exists, is writable and has room")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path}: {what}; nothing of it was run; {advice}")]
    Refused { path: PathBuf, what: String, advice: String },
    #[error("{path}: ends too early: {what}; the file is truncated, copy or download it again")]
    Truncated { path: PathBuf, what: String },
    #[error("{path}: is damaged: {what}; copy or download it again, or save it again")]
    Damaged { path: PathBuf, what: String },
    /// Anything else: what is wrong and what to do.
    #[error("{path}: {what}")]
    Other { path: PathBuf, what: String },
}

/// The Python that turns the file at hand into one that is understood.
pub(super) const EXPORT_AGAIN: &str = "export it again with PyTorch 2.11: torch.export.save(torch.export.export(model.eval(), \
     (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), \"model.pt2\")";
pub(super) const SAVE_WEIGHTS: &str = "save its weights: torch.save(model.state_dict(), \"model.pt\")";

/// What a file unpacks to, and what its tensors take together, may be this many times the file's size.
pub(super) const MAX_EXPANSION: u64 = 32;

/// A file's bytes together with its name, which every error carries.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
}

impl Source<'_> {
    pub(super) fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    pub(super) fn truncated(&self, what: impl Into<String>) -> FormatError {
        FormatError::Truncated { path: self.path(), what: what.into() }
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> FormatError {
        FormatError::Damaged { path: self.path(), what: what.into() }
    }

    /// Bytes that the content may have.
    pub(super) fn expansion_limit(&self) -> u64 {
        MAX_EXPANSION * self.bytes.len() as u64
    }

    pub(super) fn other(&self, what: impl Into<String>) -> FormatError {
        FormatError::Other { path: self.path(), what: what.into() }
    }

    pub(super) fn oversized(&self) -> FormatError {
        let limit = self.expansion_limit();
        self.other(format!(
            "its content unpacks to more than {limit} bytes, {MAX_EXPANSION} times the file's size; save it again with torch.save"
        ))
    }

    pub(super) fn tensor(&self, name: &str, reason: impl Display) -> FormatError {
        self.other(format!("tensor `{}`: {reason}", printable(name)))
    }

    pub(super) fn unknown(&self, found: &str) -> FormatError {
        self.other(format!(
            "{found} is not understood; give an exported program (.pt2), TorchScript, a state_dict saved by torch.save (.pt, .pth, \
             .th, .bin, any version since 0.1.10) or a .safetensors file; advmod export-help prints the Python that makes them"
        ))
    }

    pub(super) fn no_tensors(&self, found: &str) -> FormatError {
        self.other(format!("holds no named tensors ({found}); {SAVE_WEIGHTS}"))
    }

    /// Reads an entry of an archive.
    pub(super) fn json<T: DeserializeOwned>(&self, entry: &str, bytes: &[u8]) -> Result<T, FormatError> {
        let damaged = |error| self.damaged(format!("its entry `{entry}` is not understood ({error})"));
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// A text out of a file for a message: one line of bounded length.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
