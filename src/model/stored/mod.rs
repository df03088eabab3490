//! Weight files: from bytes to named tensors. Content decides the format, never the name.
//!
//! Nothing in a file is executed, and nothing is allocated that the file's own length does not vouch for.

mod safetensors_file;
mod state_dict;
mod torch_legacy;
mod torch_zip;

mod tensor;

#[cfg(test)]
mod samples;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::pickle::PickleError;
pub use safetensors_file::write_safetensors;
pub use tensor::{Dtype, RawTensor};

/// How a file stores its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// `torch.save` since PyTorch 1.6: a zip archive with a pickle and raw storages.
    TorchZip,
    /// `torch.save` before: a stream of pickles and raw storages.
    TorchLegacy,
    /// safetensors.
    Safetensors,
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TorchZip => "PyTorch state_dict (zip)",
            Self::TorchLegacy => "PyTorch state_dict (stream, before 1.6)",
            Self::Safetensors => "safetensors",
        })
    }
}

/// What a weight file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightFile {
    /// How it was stored.
    pub format: WeightFormat,
    /// Names without `module.` prefixes, in the file's order (the order of the network's modules in most files).
    pub tensors: Vec<(String, RawTensor)>,
    /// The header entries of a safetensors file.
    pub metadata: BTreeMap<String, String>,
    /// Of the file's bytes, hexadecimal.
    pub sha256: String,
}

/// Why a weight file cannot be read or written. One line each.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The system says no.
    #[error("cannot {action} {path}: {source}; check the path and its permissions")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The content.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: Problem,
    },
}

/// What can be wrong with a weight file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Zero bytes.
    #[error("the file is empty; download or save it again")]
    Empty,
    /// Nothing that advmod knows.
    #[error("this is {0}; expected a PyTorch state_dict (.pt, .pth, .th) or a .safetensors file")]
    Foreign(&'static str),
    /// Compiled TorchScript.
    #[error(
        "this is a TorchScript archive, which is not read yet; save the weights in Python: \
         torch.save(torch.jit.load(\"model.pt\").state_dict(), \"weights.pt\")"
    )]
    TorchScript,
    /// An exported program.
    #[error(
        "this is a torch.export archive, which is not read yet; save the weights in Python: \
         torch.save(torch.export.load(\"model.pt2\").state_dict, \"weights.pt\")"
    )]
    Export,
    /// A pickled module.
    #[error(
        "this is a whole pickled model ({0}), whose code would have to be run; save its weights in Python: \
         torch.save(torch.load(\"model.pt\", weights_only=False).state_dict(), \"weights.pt\")"
    )]
    PickledModule(String),
    /// The pickle inside.
    #[error("its pickle cannot be read: {0}")]
    Pickle(PickleError),
    /// A tensor cannot be made.
    #[error("tensor {name}: {what}")]
    Tensor {
        /// Its name in the file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The archive, the header, the stream.
    #[error("{0}; the file is damaged or truncated, download or save it again")]
    Damaged(String),
    /// Readable, but without weights.
    #[error("there are no tensors in it; save a state_dict")]
    NoTensors,
}

impl From<PickleError> for Problem {
    fn from(error: PickleError) -> Self {
        // A module's class is named before anything else of it: say what the file is rather than what was refused.
        match &error {
            PickleError::Refused { module, name, .. } if looks_like_a_module(module, name) => {
                Self::PickledModule(format!("{module}.{name}"))
            }
            _ => Self::Pickle(error),
        }
    }
}

fn looks_like_a_module(module: &str, name: &str) -> bool {
    let framework =
        ["torch.nn.", "torchvision.models", "timm.", "transformers."].iter().any(|start| module.starts_with(start));
    let own = module == "__main__"
        || module.split('.').any(|part| matches!(part, "model" | "models" | "net" | "network" | "resnet"));
    (framework || own) && name.starts_with(|letter: char| letter.is_ascii_uppercase())
}

/// Reads a weight file.
pub fn read_weights(path: &Path) -> Result<WeightFile, FormatError> {
    let bytes =
        std::fs::read(path).map_err(|source| FormatError::Io { action: "read", path: path.to_owned(), source })?;
    read_weights_from(&bytes, path)
}

/// Reads weights from memory; `path` is what errors name.
pub fn read_weights_from(bytes: &[u8], path: &Path) -> Result<WeightFile, FormatError> {
    let content = |problem| FormatError::Content { path: path.to_owned(), problem };
    let (format, tensors, metadata) = parse(bytes).map_err(content)?;
    if tensors.is_empty() {
        return Err(content(Problem::NoTensors));
    }
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(WeightFile { format, tensors, metadata, sha256 })
}

type Parsed = (WeightFormat, Vec<(String, RawTensor)>, BTreeMap<String, String>);

fn parse(bytes: &[u8]) -> Result<Parsed, Problem> {
    let none = BTreeMap::new;
    match bytes {
        [] => Err(Problem::Empty),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Ok((WeightFormat::TorchZip, torch_zip::read(bytes)?, none())),
        _ if safetensors_file::detects(bytes) => {
            let (tensors, metadata) = safetensors_file::read(bytes)?;
            Ok((WeightFormat::Safetensors, tensors, metadata))
        }
        [0x80, 1..=5, ..] => Ok((WeightFormat::TorchLegacy, torch_legacy::read(bytes)?, none())),
        _ => Err(Problem::Foreign(describe(bytes))),
    }
}

/// What a file that holds no weights most likely is.
fn describe(bytes: &[u8]) -> &'static str {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).trim_start().to_ascii_lowercase();
    match bytes {
        _ if start.starts_with("version https://git-lfs") => {
            "a Git LFS pointer, not the file itself (run git lfs pull)"
        }
        _ if start.starts_with("<!doctype html") || start.starts_with("<html") => {
            "a web page, probably a failed download"
        }
        [0x1f, 0x8b, ..] => "a gzip file (unpack it first)",
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file (Keras?)",
        _ if bytes.len() > 262 && &bytes[257..262] == b"ustar" => "a tar archive (unpack it first)",
        _ => "no weight file that advmod knows",
    }
}
