//! Why a weight file cannot be read or written.

use std::io;
use std::path::{Path, PathBuf};

/// What a file's problem is, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{path}: there is no such file; check the path")]
    Missing { path: PathBuf },
    #[error("{path}: is not a regular file; name the weight file itself")]
    NotAFile { path: PathBuf },
    #[error("{path}: cannot be read: {source}; check the file's permissions and the disk")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: cannot be written: {source}; check that the folder exists, is writable and has room")]
    Write {
        /// The file that was to be made.
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path}: cannot be written: {reason}; give every tensor the bytes that its shape asks for")]
    Unwritable {
        /// The file that was to be made.
        path: PathBuf,
        reason: String,
    },
    #[error("{path}: the file is empty; copy or download it again")]
    Empty { path: PathBuf },
    #[error("{path}: is a web page (HTML), not weights; the download went wrong, use the link of the file itself")]
    Html { path: PathBuf },
    #[error("{path}: is a git-lfs pointer, not the weights; run `git lfs pull`")]
    GitLfs { path: PathBuf },
    #[error("{path}: is a tar archive; unpack it, or if PyTorch wrote it, {resave}", resave = Resave::Load)]
    Tar { path: PathBuf },
    #[error("{path}: is a TorchScript archive, a program and no list of weights; {resave}", resave = Resave::Jit)]
    TorchScript { path: PathBuf },
    #[error(
        "{path}: is a TorchScript archive with a method `__setstate__`, which would run while it is loaded; nothing of it was run; \
         where its Python is, {resave}",
        resave = Resave::Export
    )]
    ScriptSetsState { path: PathBuf },
    #[error(
        "{path}: is a torch.export archive (.pt2), a program and no list of weights; {resave}",
        resave = Resave::Weights
    )]
    Export { path: PathBuf },
    #[error("{path}: is a torch.export archive that cannot be used: {what}; {resave}", resave = Resave::Export)]
    OtherExport { path: PathBuf, what: String },
    #[error(
        "{path}: is a whole pickled module ({class}), which only its own code can read; nothing of it was \
         run; where its code is, {resave}",
        resave = Resave::Whole
    )]
    PickledModule {
        path: PathBuf,
        /// The class that the pickle asks for first.
        class: String,
    },
    #[error(
        "{path}: its pickle names `{global}`, which no state_dict needs; nothing of it was run; if you trust where it \
         came from, load it there and {resave}",
        resave = Resave::Module
    )]
    Forbidden {
        path: PathBuf,
        /// What it asks for: module and name.
        global: String,
    },
    #[error(
        "{path}: is a plain pickle that torch.save did not write; load it where it came from and {resave}",
        resave = Resave::Dict
    )]
    PlainPickle { path: PathBuf },
    #[error(
        "{path}: {found} is not understood; give an exported program (.pt2), TorchScript, a state_dict saved by torch.save (.pt, .pth, \
         .th, .bin, any version since 0.1.10) or a .safetensors file; advmod export-help prints the Python that makes them"
    )]
    Unknown {
        path: PathBuf,
        /// What the first bytes look like.
        found: String,
    },
    #[error("{path}: ends too early: {what}; the file is truncated, copy or download it again")]
    Truncated { path: PathBuf, what: String },
    #[error("{path}: is damaged: {what}; copy or download it again, or save it again")]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path}: its content unpacks to more than {limit} bytes, {factor} times the file's size; save it again with \
         torch.save"
    )]
    Oversized { path: PathBuf, limit: u64, factor: u64 },
    #[error("{path}: holds no named tensors ({found}); {resave}", resave = Resave::Module)]
    NoTensors { path: PathBuf, found: String },
    #[error(
        "{path}: several entries hold tensors ({candidates}); save the one that is meant alone: \
         torch.save(checkpoint[\"NAME\"], \"model.pt\")"
    )]
    Ambiguous { path: PathBuf, candidates: String },
    #[error("{path}: tensor `{name}`: {reason}")]
    Tensor {
        path: PathBuf,
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// The line of Python that turns the file at hand into one that is understood.
enum Resave {
    Load,
    Jit,
    Weights,
    Export,
    Whole,
    Module,
    Dict,
}

impl std::fmt::Display for Resave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Load => "save its weights again: torch.save(torch.load(\"OLD\"), \"model.pt\")",
            Self::Jit => "save its weights: torch.save(torch.jit.load(\"OLD\").state_dict(), \"model.pt\")",
            Self::Export => {
                "export it again with PyTorch 2.11: torch.export.save(torch.export.export(model.eval(), (images,), \
                 dynamic_shapes=({0: torch.export.Dim.AUTO},)), \"model.pt2\")"
            }
            Self::Whole => {
                "load and export it: model = torch.load(\"OLD\", weights_only=False).eval(); \
                 torch.export.save(torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), \
                 \"model.pt2\"), or save its weights: torch.save(model.state_dict(), \"model.pt\")"
            }
            Self::Weights => "save its weights: torch.save(torch.export.load(\"OLD\").state_dict, \"model.pt\")",
            Self::Module => "save its weights: torch.save(model.state_dict(), \"model.pt\")",
            Self::Dict => "save it with torch.save(state_dict, \"model.pt\")",
        })
    }
}

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

    pub(super) fn oversized(&self) -> FormatError {
        FormatError::Oversized { path: self.path(), limit: self.expansion_limit(), factor: MAX_EXPANSION }
    }

    pub(super) fn tensor(&self, name: &str, reason: impl Into<String>) -> FormatError {
        FormatError::Tensor { path: self.path(), name: printable(name), reason: reason.into() }
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
