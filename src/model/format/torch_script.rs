//! TorchScript archives (`torch.jit.save`): told apart and checked as far as that goes without libtorch, which reads and runs them.

use super::error::{EXPORT_AGAIN, FormatError, Source};
use super::sha256_of;
use super::torch_zip::Archive;

#[derive(Clone, Debug)]
pub(crate) struct ScriptFile {
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
            return Err(source.other(format!(
                "is a TorchScript archive with a method `__setstate__`, which would run while it is loaded; nothing of it was run; \
                 where its Python is, {EXPORT_AGAIN}"
            )));
        }
    }
    Ok(ScriptFile { bytes: source.bytes.to_vec(), sha256: sha256_of(source.bytes) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zip::CompressionMethod;

    use super::super::testing::zip_of;
    use super::super::{FormatError, ModelFile, read_model_from};

    fn open(code: &[u8]) -> Result<ModelFile, FormatError> {
        let entries: [(&str, &[u8]); 3] = [("m/data.pkl", b"."), ("m/constants.pkl", b"."), ("m/code/net.py", code)];
        read_model_from(&zip_of(&entries, CompressionMethod::Stored), Path::new("net.pt"))
    }

    #[test]
    fn a_module_that_would_run_code_while_it_is_loaded_is_refused() {
        assert!(matches!(open(b"def forward(self, x): return x"), Ok(ModelFile::Script(_))));
        let error = open(b"def __setstate__(self, state): pass").unwrap_err();
        assert!(error.to_string().contains("with a method `__setstate__`"), "{error}");
    }

    #[test]
    fn a_damaged_or_inflated_archive_does_not_reach_libtorch() {
        let entries: [(&str, &[u8]); 2] = [("m/data.pkl", b"."), ("m/constants.pkl", b"a long enough text")];
        let mut bytes = zip_of(&entries, CompressionMethod::Stored);
        let at = bytes.windows(6).position(|window| window == b"enough").unwrap();
        bytes[at] ^= 1;
        let error = read_model_from(&bytes, Path::new("net.pt")).unwrap_err();
        assert!(matches!(error, FormatError::Damaged { .. }), "{error}");
        let zeros = vec![0; 1 << 20];
        let entries: [(&str, &[u8]); 2] = [("m/constants.pkl", b"."), ("m/data/0", &zeros)];
        let bomb = read_model_from(&zip_of(&entries, CompressionMethod::Deflated), Path::new("net.pt")).unwrap_err();
        assert!(bomb.to_string().contains("its content unpacks to more than"), "{bomb}");
    }
}
