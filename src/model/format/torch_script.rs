//! TorchScript archives (`torch.jit.save`): told apart and checked as far as that goes without libtorch, which reads and runs them.

use super::error::{FormatError, Source};
use super::sha256_of;
use super::torch_zip::Archive;

/// A TorchScript archive, whole.
#[derive(Clone, Debug)]
pub struct ScriptFile {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Of the bytes, in hexadecimal.
    pub sha256: String,
}

/// Checks every entry against its checksum and bounds what the archive unpacks to.
pub(super) fn read(source: Source<'_>) -> Result<ScriptFile, FormatError> {
    let mut archive = Archive::open_around(source, "constants.pkl")?;
    let mut room = source.expansion_limit();
    for name in archive.names() {
        let entry = archive.entry(&name)?;
        room = room.checked_sub(entry.len() as u64).ok_or_else(|| source.oversized())?;
        // Loading would run it, before anything can be looked at.
        if name.starts_with("code/") && entry.windows(12).any(|window| window == b"__setstate__") {
            return Err(FormatError::ScriptSetsState { path: source.path() });
        }
    }
    Ok(ScriptFile { bytes: source.bytes.to_vec(), sha256: sha256_of(source.bytes) })
}
