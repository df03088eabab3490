//! The safetensors format: a JSON header, then the tensors' bytes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ::safetensors::tensor::TensorView;
use safetensors::{Dtype as Stored, SafeTensorError, SafeTensors, serialize};

use super::error::{FormatError, Source};
use super::{Dtype, RawTensor};
use crate::atomic_file;

/// The largest header that is read; the format's own limit.
const LARGEST_HEADER: u64 = 100_000_000;

/// Bytes before the header: its length.
const PREFIX: u64 = 8;

/// Named tensors in the order of their bytes, and the header's `__metadata__`.
pub(super) type Content = (Vec<(String, RawTensor)>, BTreeMap<String, String>);

/// Whether the bytes begin like a safetensors file: a plausible header length and an opening brace.
pub(super) fn recognizes(bytes: &[u8]) -> bool {
    header_length(bytes).is_some_and(|length| (2..=LARGEST_HEADER).contains(&length)) && bytes.get(8) == Some(&b'{')
}

fn header_length(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|length| u64::from_le_bytes(*length))
}

pub(super) fn read(source: Source<'_>) -> Result<Content, FormatError> {
    let length = header_length(source.bytes).unwrap_or(0);
    if PREFIX + length > source.bytes.len() as u64 {
        let rest = source.bytes.len() as u64 - PREFIX;
        return Err(source.truncated(format!("its header has {length} bytes, the file holds {rest} of them")));
    }
    let (_, header) = SafeTensors::read_metadata(source.bytes).or_else(|error| explain(source, length, &error))?;
    let file = SafeTensors::deserialize(source.bytes).map_err(|error| source.damaged(error.to_string()))?;
    let mut tensors = Vec::with_capacity(file.len());
    for name in header.offset_keys() {
        let view = file.tensor(&name).map_err(|error| source.damaged(error.to_string()))?;
        let (_, dtype) = *DTYPES.iter().find(|(stored, _)| *stored == view.dtype()).ok_or_else(|| {
            source.tensor(&name, format!("elements of type {} are not read; save it as float32", view.dtype()))
        })?;
        tensors.push((name, RawTensor { dtype, shape: view.shape().to_vec(), bytes: view.data().to_vec() }));
    }
    if tensors.is_empty() {
        return Err(source.no_tensors("its header lists none"));
    }
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok((tensors, metadata))
}

/// The crate's errors in words that tell a short file from a damaged one.
fn explain<T>(source: Source<'_>, length: u64, error: &SafeTensorError) -> Result<T, FormatError> {
    if !matches!(error, SafeTensorError::MetadataIncompleteBuffer) {
        return Err(source.damaged(error.to_string()));
    }
    let data = source.bytes.len() as u64 - PREFIX - length;
    Err(source.truncated(format!("it holds {data} bytes of tensors, its header announces another number")))
}

const DTYPES: [(Stored, Dtype); 10] = [
    (Stored::F32, Dtype::F32),
    (Stored::F64, Dtype::F64),
    (Stored::F16, Dtype::F16),
    (Stored::BF16, Dtype::Bf16),
    (Stored::I64, Dtype::I64),
    (Stored::I32, Dtype::I32),
    (Stored::I16, Dtype::I16),
    (Stored::I8, Dtype::I8),
    (Stored::U8, Dtype::U8),
    (Stored::BOOL, Dtype::Bool),
];

/// Writes a safetensors file in one step: a reader sees the old file or the whole new one, also after a power cut.
///
/// # Errors
/// A tensor whose bytes do not fit its shape, two tensors of one name, or the operating system's refusal.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(String, RawTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), FormatError> {
    let bytes = safetensors_bytes(path, tensors, metadata)?;
    atomic_file::write(path, &bytes).map_err(|source| FormatError::Write { path: path.to_owned(), source })
}

/// What [`write_safetensors`] writes; `path` is what errors call it.
pub(crate) fn safetensors_bytes(
    path: &Path,
    tensors: &[(String, RawTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, FormatError> {
    to_bytes(tensors, metadata).map_err(|reason| FormatError::Other {
        path: path.to_owned(),
        what: format!("cannot be written: {reason}; give every tensor the bytes that its shape asks for"),
    })
}

fn to_bytes(tensors: &[(String, RawTensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let mut views = BTreeMap::new();
    for (name, tensor) in tensors {
        let (stored, _) = DTYPES.iter().find(|(_, dtype)| *dtype == tensor.dtype).expect("the table has them all");
        let view = TensorView::new(*stored, tensor.shape.clone(), &tensor.bytes)
            .map_err(|error| format!("tensor `{name}`: {error}"))?;
        if views.insert(name, view).is_some() {
            return Err(format!("two tensors have the name `{name}`"));
        }
    }
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    serialize(views, (!metadata.is_empty()).then_some(metadata)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{WeightFormat, read_weights, read_weights_from};
    use super::*;

    fn sample() -> Vec<(String, RawTensor)> {
        let tensor =
            |dtype, shape: &[usize], bytes: &[u8]| RawTensor { dtype, shape: shape.to_vec(), bytes: bytes.to_vec() };
        vec![
            ("conv.weight".to_owned(), tensor(Dtype::F32, &[1, 2], &[0, 0, 128, 63, 0, 0, 0, 64])),
            ("steps".to_owned(), tensor(Dtype::I16, &[], &[9, 0])),
            ("empty".to_owned(), tensor(Dtype::Bool, &[0, 3], &[])),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let metadata = BTreeMap::from([("advmod".to_owned(), "{\"é\": 1}".to_owned())]);
        fs::write(&path, "old").unwrap();
        write_safetensors(&path, &sample(), &metadata).unwrap();
        let file = read_weights(&path).unwrap();
        assert_eq!((file.format, &file.metadata), (WeightFormat::Safetensors, &metadata));
        assert_eq!(file.tensors, sample());
        assert_eq!(file.sha256.len(), 64);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    #[cfg(unix)]
    fn others_may_read_the_file_as_far_as_the_user_lets_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (written, plain) = (folder.path().join("a"), folder.path().join("b"));
        write_safetensors(&written, &sample(), &BTreeMap::new()).unwrap();
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&written), mode(&plain));
    }

    #[test]
    fn tensors_that_do_not_fit_their_shape_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut short = sample();
        short[0].1.bytes.pop();
        let mut twice = sample();
        twice.push(twice[0].clone());
        for (tensors, reason) in [(short, "tensor `conv.weight`"), (twice, "two tensors have the name `conv.weight`")] {
            let error = write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap_err();
            assert!(error.to_string().contains(&format!("cannot be written: {reason}")), "{error}");
        }
        let error = write_safetensors(&folder.path().join("none/model"), &sample(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, FormatError::Write { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    fn load(header: &str, data: &[u8]) -> FormatError {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        read_weights_from(&bytes, Path::new("m")).unwrap_err()
    }

    #[test]
    fn headers_that_do_not_fit_the_file_are_errors() {
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let error = load(header, &[0; 7]);
        assert!(matches!(&error, FormatError::Truncated { what, .. } if what.contains("holds 7 bytes")), "{error}");
        let huge = r#"{"w":{"dtype":"F32","shape":[1000000000000000],"data_offsets":[0,4000000000000000]}}"#;
        assert!(matches!(load(huge, &[0; 8]), FormatError::Truncated { .. }));
        assert!(matches!(load("{\"w\":3}", &[]), FormatError::Damaged { .. }));
        assert!(load("{}", &[]).to_string().contains("holds no named tensors"));
        let complex = r#"{"w":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#;
        assert!(load(complex, &[0; 8]).to_string().contains("elements of type C64 are not read"));
        let header_only = [b"\xff\0\0\0\0\0\0\0{".as_slice(), b"\"w"].concat();
        let error = read_weights_from(&header_only, Path::new("m")).unwrap_err();
        assert!(error.to_string().contains("its header has 255 bytes, the file holds 3 of them"), "{error}");
    }
}
