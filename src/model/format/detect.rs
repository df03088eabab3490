//! What a file is, by its first bytes.

use std::io;
use std::path::Path;

use super::error::{FormatError, Source};
use super::{WeightFormat, legacy, pickled, safetensors};
use crate::input;

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, FormatError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FormatError::Missing { path: path.to_owned() },
        io::ErrorKind::InvalidInput => {
            let what = format!("is {source}; name the weight file itself");
            FormatError::Other { path: path.to_owned(), what }
        }
        _ => FormatError::Read { path: path.to_owned(), source },
    };
    input::read(path).map_err(error)
}

/// The format, or the error that says what the file is instead.
pub(super) fn format_of(source: Source<'_>) -> Result<WeightFormat, FormatError> {
    let bytes = source.bytes;
    if bytes.is_empty() {
        Err(source.other("the file is empty; copy or download it again"))
    } else if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        Ok(WeightFormat::TorchZip)
    } else if safetensors::recognizes(bytes) {
        Ok(WeightFormat::Safetensors)
    } else if legacy::recognizes(bytes) {
        Ok(WeightFormat::TorchLegacy)
    } else if is_html(bytes) {
        Err(source.other("is a web page (HTML), not weights; the download went wrong, use the link of the file itself"))
    } else if bytes.starts_with(b"version https://git-lfs") {
        Err(source.other("is a git-lfs pointer, not the weights; run `git lfs pull`"))
    } else if bytes.get(257..262) == Some(b"ustar") {
        Err(source.other(
            "is a tar archive; unpack it, or if PyTorch wrote it, save its weights again: torch.save(torch.load(\"OLD\"), \"model.pt\")",
        ))
    } else if bytes[0] == 0x80 && bytes.get(1).is_some_and(|protocol| (2..=5).contains(protocol)) {
        Err(if legacy::is_cut_in_magic(bytes) {
            source.truncated("the stream stops inside its magic number")
        } else {
            // What it would run says more than that torch.save did not write it.
            match pickled::load(source, bytes) {
                Err(refused @ FormatError::Refused { .. }) => refused,
                _ => source.other(
                    "is a plain pickle that torch.save did not write; load it where it came from and save it with \
                     torch.save(state_dict, \"model.pt\")",
                ),
            }
        })
    } else {
        Err(source.unknown(&describe(bytes)))
    }
}

fn is_html(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let start = text[..text.len().min(14)].to_ascii_lowercase();
    [b"<!doctype html".as_slice(), b"<html", b"<?xml", b"<head", b"<!--"].iter().any(|tag| start.starts_with(tag))
}

/// Well-known files by name, anything else by its first bytes.
fn describe(bytes: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 7] = [
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x1f\x8b", "a gzip file (unpack it first)"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"),
        (b"BZh", "a bzip2 file (unpack it first)"),
        (b"\xfd7zXZ\0", "an xz file (unpack it first)"),
        (b"GGUF", "a GGUF file"),
    ];
    match KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("a file that begins with \"{}\"", bytes[..bytes.len().min(16)].escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{dict, floats, torch_zip, vector};
    use super::super::{read_weights, read_weights_from};
    use super::*;

    fn refusal(bytes: &[u8]) -> FormatError {
        read_weights_from(bytes, Path::new("model.pt")).unwrap_err()
    }

    #[test]
    fn files_that_are_no_weights_are_named_for_what_they_are() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, what) in [
            (&b""[..], "the file is empty"),
            (b"\n <!DOCTYPE HTML><html>", "is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "is a git-lfs pointer"),
            (&tar, "is a tar archive"),
            (b"\x89HDF\r\n\x1a\n...", "an HDF5 file"),
        ] {
            let error = refusal(bytes).to_string();
            assert!(error.contains(what), "{error}");
        }
        let text = refusal(b"epoch,loss\n1,2").to_string();
        assert!(text.contains(r#"begins with "epoch,loss\n1,2""#) && text.contains(".safetensors"), "{text}");
    }

    #[test]
    fn a_plain_pickle_that_would_run_code_is_refused_by_name() {
        let error = refusal(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.");
        assert!(error.to_string().contains("its pickle names `os.system`, which no state_dict needs"), "{error}");
    }

    #[test]
    fn paths_that_are_no_files_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let folder_itself = read_weights(folder.path()).unwrap_err();
        assert!(folder_itself.to_string().contains("is not a regular file"), "{folder_itself}");
        let missing = read_weights(&folder.path().join("none.pt")).unwrap_err();
        assert!(
            matches!(missing, FormatError::Missing { .. })
                && missing.to_string().contains("none.pt: there is no such file")
        );
    }

    #[test]
    fn content_decides_and_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, torch_zip(&dict(vec![("w", vector("0", 1))]), &[("0", floats(&[1.0]))])).unwrap();
        let file = read_weights(&path).unwrap();
        assert_eq!((file.format, file.tensors.len()), (WeightFormat::TorchZip, 1));
    }
}
