//! Small weight files for tests, written byte by byte.

use std::io::{Cursor, Write as _};
use std::path::Path;

use super::read_weights_from;

/// A pickled dictionary `{name: tensor [2, 3]}` of one float storage `0` with 6 elements; further names are transposed views of it.
pub fn object(names: &[&str]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    for (idx, name) in names.iter().enumerate() {
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, "0");
        text(&mut out, "cuda:0");
        out.extend(if idx == 0 {
            &b"K\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86"[..]
        } else {
            b"K\x06tQK\x00K\x03K\x02\x86K\x01K\x03\x86"
        });
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn storage() -> Vec<u8> {
    (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect()
}

/// A stream as PyTorch before 1.6 wrote it.
pub fn legacy() -> Vec<u8> {
    let mut out =
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
            .to_vec();
    out.extend(object(&["module.a.weight", "module.a.transposed"]));
    out.extend(b"\x80\x02]X\x01\x00\x00\x000a.");
    out.extend(6_i64.to_le_bytes());
    out.extend(storage());
    out
}

/// A zip archive of stored entries.
pub fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An archive as PyTorch writes it since 1.6.
pub fn zip() -> Vec<u8> {
    zip_of(&[("w/data.pkl", &object(&["a.weight"])), ("w/byteorder", b"little"), ("w/data/0", &storage())])
}

#[test]
fn damaged_files_of_every_kind_are_errors_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let file = read_weights_from(&zip(), Path::new("w")).unwrap();
    super::write_safetensors(&path, &file.tensors, &file.metadata).unwrap();
    for good in [legacy(), zip(), std::fs::read(&path).unwrap()] {
        assert!(read_weights_from(&good, Path::new("w")).is_ok());
        for end in 0..good.len() {
            // A zip without its directory, a stream without its end: nothing of it counts.
            assert!(read_weights_from(&good[..end], Path::new("w")).is_err(), "cut at {end}");
        }
        for at in 0..good.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                if let Err(error) = read_weights_from(&bytes, Path::new("w")) {
                    assert_eq!(error.to_string().lines().count(), 1, "{error}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_weight_file_is_called_by_its_name() {
    for (content, expected) in [
        (&b""[..], "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"hello", "expected a PyTorch state_dict"),
        (b"\x80\x02K\x01.", "not one of torch.save"),
    ] {
        let message = read_weights_from(content, Path::new("w.pt")).unwrap_err().to_string();
        assert!(message.contains(expected) && message.starts_with("w.pt: "), "{message}");
    }
    let missing = super::read_weights(Path::new("no/such.pt")).unwrap_err().to_string();
    assert!(missing.contains("no/such.pt"), "{missing}");
}
