//! Files that were cut, flipped or scrambled: any answer is fine but a panic, a message of several lines or a flood of memory.

use std::collections::BTreeMap;
use std::path::Path;

use zip::CompressionMethod;

use super::error::MAX_EXPANSION;
use super::testing::{self, Py, dict, floats, legacy_storage, ordered, storage, view, zip_of};
use super::{Dtype, FormatError, RawTensor, WeightFile, read_weights_from, write_safetensors};

fn object(storage: Vec<Py>) -> Py {
    dict(vec![
        ("state_dict", ordered(vec![("module.w", view(storage, 1, &[2, 2], &[1, 2]))])),
        ("best", Py::Float(1.0)),
    ])
}

fn values() -> Vec<u8> {
    floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
}

fn legacy() -> Vec<u8> {
    testing::torch_legacy(&object(legacy_storage("FloatStorage", "0", 6, Py::None)), &[("0", values())])
}

fn pickle() -> Vec<u8> {
    testing::pickle(&object(storage("FloatStorage", "0", 6)))
}

fn zip(pickle: &[u8], method: CompressionMethod) -> Vec<u8> {
    zip_of(&[("m/data.pkl", pickle), ("m/data/0", &values())], method)
}

fn safetensors() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let tensor = RawTensor { dtype: Dtype::F32, shape: vec![2, 3], bytes: values() };
    let metadata = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    write_safetensors(&path, &[("w".to_owned(), tensor)], &metadata).unwrap();
    std::fs::read(path).unwrap()
}

fn all() -> [Vec<u8>; 4] {
    let [stored, deflated] =
        [CompressionMethod::Stored, CompressionMethod::Deflated].map(|method| zip(&pickle(), method));
    [stored, deflated, legacy(), safetensors()]
}

fn read(bytes: &[u8]) -> Result<WeightFile, FormatError> {
    let result = read_weights_from(bytes, Path::new("model"));
    match &result {
        Ok(file) => {
            let size: usize = file.tensors.iter().map(|(_, tensor)| tensor.bytes.len()).sum();
            assert!(size as u64 <= MAX_EXPANSION * bytes.len() as u64);
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("model: ") && !message.contains('\n'), "{message:?}");
        }
    }
    result
}

fn flips(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..good.len()).flat_map(move |at| {
        [0x01, 0x80, 0xff].map(|mask| {
            let mut bytes = good.to_vec();
            bytes[at] ^= mask;
            bytes
        })
    })
}

#[test]
fn the_files_are_good_before_they_are_damaged() {
    for bytes in all() {
        assert_eq!(read(&bytes).unwrap().tensors[0].0, "w");
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for good in all() {
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "{length} of {}", good.len());
        }
    }
}

#[test]
fn a_file_with_a_changed_byte_is_survived() {
    for good in all() {
        flips(&good).for_each(|bytes| _ = read(&bytes));
    }
}

#[test]
fn a_changed_pickle_under_a_right_checksum_is_survived() {
    flips(&pickle()).for_each(|pickle| _ = read(&zip(&pickle, CompressionMethod::Stored)));
}

#[test]
fn scrambled_files_are_survived() {
    // Knuth's 64-bit linear congruential generator; its upper bits are good.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for good in all() {
        for _ in 0..500 {
            let mut bytes = good.clone();
            for _ in 0..=random(8) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            _ = read(&bytes);
        }
    }
}
