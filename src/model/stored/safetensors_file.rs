//! safetensors files, read and written.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype as FileDtype, SafeTensors};

use super::{Dtype, FormatError, Problem, RawTensor};

/// Whether the bytes begin like a safetensors file: the header's length, then a JSON object.
pub(super) fn detects(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) < 1 << 32
}

pub(super) fn read(bytes: &[u8]) -> Result<(Vec<(String, RawTensor)>, BTreeMap<String, String>), Problem> {
    let damaged = |error| Problem::Damaged(format!("its safetensors content cannot be read ({error})"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut views: Vec<(String, TensorView<'_>)> = file.tensors();
    // In the order of their bytes, which is the order in which they were written.
    views.sort_by_key(|(_, view)| view.data().as_ptr() as usize);
    let tensors = views.into_iter().map(|(name, view)| {
        let unsupported =
            || Problem::Tensor { name: name.clone(), what: format!("its type {:?} is not supported", view.dtype()) };
        let dtype = from_file(view.dtype()).ok_or_else(unsupported)?;
        let tensor = RawTensor { dtype, shape: view.shape().to_vec(), bytes: view.data().to_vec() };
        Ok((name.strip_prefix("module.").map_or(name.clone(), str::to_owned), tensor))
    });
    Ok((tensors.collect::<Result<_, Problem>>()?, metadata))
}

/// Writes tensors and header entries. The file appears whole or not at all.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(String, RawTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), FormatError> {
    let fail = |source| FormatError::Io { action: "write", path: path.to_owned(), source };
    let invalid = |error: safetensors::SafeTensorError| {
        fail(std::io::Error::new(std::io::ErrorKind::InvalidInput, error.to_string()))
    };
    let views = tensors.iter().map(|(name, tensor)| {
        Ok((
            name.as_str(),
            TensorView::new(to_file(tensor.dtype), tensor.shape.clone(), &tensor.bytes).map_err(invalid)?,
        ))
    });
    let views: Vec<(&str, TensorView<'_>)> = views.collect::<Result<_, FormatError>>()?;
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(invalid)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    #[cfg(unix)]
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(fail)?;
    file.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}

fn from_file(dtype: FileDtype) -> Option<Dtype> {
    match dtype {
        FileDtype::F64 => Some(Dtype::F64),
        FileDtype::F32 => Some(Dtype::F32),
        FileDtype::F16 => Some(Dtype::F16),
        FileDtype::BF16 => Some(Dtype::Bf16),
        FileDtype::I64 => Some(Dtype::I64),
        FileDtype::I32 => Some(Dtype::I32),
        FileDtype::I16 => Some(Dtype::I16),
        FileDtype::I8 => Some(Dtype::I8),
        FileDtype::U8 => Some(Dtype::U8),
        FileDtype::BOOL => Some(Dtype::Bool),
        _ => None,
    }
}

fn to_file(dtype: Dtype) -> FileDtype {
    match dtype {
        Dtype::F64 => FileDtype::F64,
        Dtype::F32 => FileDtype::F32,
        Dtype::F16 => FileDtype::F16,
        Dtype::Bf16 => FileDtype::BF16,
        Dtype::I64 => FileDtype::I64,
        Dtype::I32 => FileDtype::I32,
        Dtype::I16 => FileDtype::I16,
        Dtype::I8 => FileDtype::I8,
        Dtype::U8 => FileDtype::U8,
        Dtype::Bool => FileDtype::BOOL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::format::read_weights;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let tensor =
            RawTensor { dtype: Dtype::F32, shape: vec![2, 1], bytes: [1.5_f32, -2.0].map(f32::to_le_bytes).concat() };
        let metadata = BTreeMap::from([("advmod".to_owned(), "{}".to_owned())]);
        write_safetensors(&path, &[("a.weight".to_owned(), tensor.clone())], &metadata).unwrap();
        let file = read_weights(&path).unwrap();
        assert_eq!((file.tensors, file.metadata), (vec![("a.weight".to_owned(), tensor)], metadata));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_safetensors(&folder.path().join("no/w.safetensors"), &[], &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().starts_with("cannot write"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
