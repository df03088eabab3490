//! `torch.save` before PyTorch 1.6: magic number, protocol, system and object pickles, then the storages' bytes.

use std::collections::BTreeMap;

use super::state_dict::{allowed, tensors, views};
use super::{Problem, RawTensor};
use crate::pickle::{Node, Pickle};

/// 0x1950a86a20f9469cfc6c, little endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, RawTensor)>, Problem> {
    let mut rest = bytes;
    let first = next(&mut rest)?;
    if !matches!(first.node(first.root()), Node::BigInt(range) if bytes[range.clone()] == MAGIC) {
        return Err(Problem::Foreign("a pickle, but not one of torch.save"));
    }
    let protocol = next(&mut rest)?;
    if protocol.int(protocol.root()) != Some(1001) {
        return Err(Problem::Damaged("its protocol version is not 1001".to_owned()));
    }
    let system = next(&mut rest)?;
    let big_endian = system.get(system.root(), "little_endian").is_some_and(|it| *system.node(it) == Node::Bool(false));
    if big_endian {
        return Err(Problem::Foreign("a state_dict saved on a big-endian machine"));
    }
    let object = next(&mut rest)?;
    let views = views(&object)?;
    let keys = next(&mut rest)?;
    let keys = keys.sequence(keys.root()).map(|ids| ids.iter().map(|&id| keys.text(id).map(str::to_owned)).collect());
    let keys: Option<Vec<String>> = keys.flatten();
    let keys = keys.ok_or_else(|| Problem::Damaged("its list of storages is not a list of names".to_owned()))?;

    // The stream gives element counts, the views' storages give the types; a storage that no kept tensor uses has no known type.
    let types: BTreeMap<&str, usize> =
        views.iter().map(|(_, view)| (view.storage.key.as_str(), view.storage.dtype.size())).collect();
    let mut storages: BTreeMap<String, &[u8]> = BTreeMap::new();
    for key in keys {
        let (count, after) = rest.split_first_chunk().ok_or_else(|| truncated(&key))?;
        let count = u64::from_le_bytes(*count);
        let Some(size) = types.get(key.as_str()) else {
            if storages.len() == types.len() {
                break;
            }
            return Err(Problem::Damaged(format!("storage {key} belongs to no tensor that is read")));
        };
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(*size));
        let (storage, after) =
            length.and_then(|length| after.split_at_checked(length)).ok_or_else(|| truncated(&key))?;
        storages.insert(key, storage);
        rest = after;
    }
    tensors(views, &storages)
}

fn truncated(key: &str) -> Problem {
    Problem::Damaged(format!("it ends inside storage {key}"))
}

/// Reads one pickle off the stream.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Pickle<'a>, Problem> {
    let pickle = Pickle::read(rest, &allowed)?;
    *rest = &rest[pickle.consumed..];
    Ok(pickle)
}

#[cfg(test)]
mod tests {
    use crate::model::format::samples;
    use crate::model::format::{Dtype, WeightFormat, read_weights_from};
    use std::path::Path;

    #[test]
    fn a_stream_is_read_with_its_strides_and_without_its_prefix() {
        let file = read_weights_from(&samples::legacy(), Path::new("w.th")).unwrap();
        assert_eq!(file.format, WeightFormat::TorchLegacy);
        let names: Vec<&str> = file.tensors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.weight", "a.transposed"]);
        let tensor = &file.tensors[0].1;
        assert_eq!(
            (tensor.dtype, &tensor.shape, tensor.to_f32()),
            (Dtype::F32, &vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        );
        assert_eq!(file.tensors[1].1.to_f32(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn a_truncated_stream_says_so_wherever_it_ends() {
        let good = samples::legacy();
        for end in 1..good.len() {
            let error = read_weights_from(&good[..end], Path::new("w.th")).unwrap_err().to_string();
            assert!(error.starts_with("w.th: ") && error.lines().count() == 1, "{end}: {error}");
        }
        let error = read_weights_from(&good[..good.len() - 3], Path::new("w.th")).unwrap_err().to_string();
        assert!(error.contains("ends inside storage") && error.contains("truncated"), "{error}");
    }
}
