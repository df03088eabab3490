//! The format of `torch.save` before 1.6: one stream of pickles (magic number, protocol version, system, object, keys of the storages),
//! then each storage as its number of elements and its raw bytes. Storages are little endian on every machine.

use std::collections::BTreeMap;

use super::error::{FormatError, Source, printable};
use super::pickled::{self, StorageId, Storages};
use super::{RawTensor, state_dict};
use crate::pickle::{Node, Pickle};

const MAGIC: [u8; 10] = *b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// What precedes it in a pickle of protocol 2, which `torch.save` writes unless told otherwise.
const OPENING: [u8; 4] = *b"\x80\x02\x8a\x0a";

/// Bytes that the pickle of the magic number may take in any protocol.
const MAGIC_PICKLE: usize = 64;

const PROTOCOL: i64 = 1001;

/// Whether the bytes begin with the pickled magic number.
pub(super) fn recognizes(bytes: &[u8]) -> bool {
    let input = &bytes[..bytes.len().min(MAGIC_PICKLE)];
    let is_magic =
        |pickle: Pickle<'_>| matches!(pickle.node(pickle.root()), Node::BigInt(range) if input[range.clone()] == MAGIC);
    input.first() == Some(&0x80) && Pickle::read(input, &|_, _| false).is_ok_and(is_magic)
}

/// Whether the file ends inside the magic number.
pub(super) fn is_cut_in_magic(bytes: &[u8]) -> bool {
    bytes.strip_prefix(&OPENING).is_some_and(|rest| MAGIC.starts_with(rest))
}

pub(super) fn read(source: Source<'_>) -> Result<Vec<(String, RawTensor)>, FormatError> {
    let mut rest = source.bytes;
    let _magic = next(source, &mut rest)?;
    let protocol = next(source, &mut rest)?;
    if protocol.int(protocol.root()) != Some(PROTOCOL) {
        return Err(source.damaged(format!("its protocol version is not {PROTOCOL}")));
    }
    let _system = next(source, &mut rest)?;
    let object = next(source, &mut rest)?;
    let keys = next(source, &mut rest)?;
    let keys =
        keys.sequence(keys.root()).and_then(|ids| ids.iter().map(|&id| keys.text(id)).collect::<Option<Vec<_>>>());
    let keys = keys.ok_or_else(|| source.damaged("its list of storages is not a list of names"))?;
    let storages = cut(source, rest, &object, &keys)?;
    state_dict::extract(source, &object, &mut Stream { source, storages })
}

fn next<'a>(source: Source<'_>, rest: &mut &'a [u8]) -> Result<Pickle<'a>, FormatError> {
    let pickle = pickled::load(source, rest)?;
    *rest = &rest[pickle.consumed..];
    Ok(pickle)
}

/// Cuts the bytes after the pickles into storages. The stream states how many elements each one has, the object of which type they are.
fn cut<'a>(
    source: Source<'_>,
    mut rest: &'a [u8],
    object: &Pickle<'_>,
    keys: &[&str],
) -> Result<BTreeMap<String, &'a [u8]>, FormatError> {
    // Of the whole object, because the storages of an optimizer lie between those of the network.
    let described = object.ids().filter_map(|id| StorageId::of(object, id));
    let widths: BTreeMap<&str, usize> = described.filter_map(|storage| Some((storage.key, storage.width()?))).collect();
    let mut storages = BTreeMap::new();
    for &key in keys {
        let shown = printable(key);
        let width =
            *widths.get(key).ok_or_else(|| source.damaged(format!("the type of its storage {shown} is unknown")))?;
        let truncated = || source.truncated(format!("it stops inside its storage {shown}"));
        let (elements, after) = rest.split_first_chunk().ok_or_else(truncated)?;
        let size = usize::try_from(i64::from_le_bytes(*elements)).ok().and_then(|elements| elements.checked_mul(width));
        let size = size.ok_or_else(|| source.damaged(format!("its storage {shown} has an absurd size")))?;
        let (storage, after) = after.split_at_checked(size).ok_or_else(truncated)?;
        storages.insert(key.to_owned(), storage);
        rest = after;
    }
    Ok(storages)
}

struct Stream<'a> {
    source: Source<'a>,
    storages: BTreeMap<String, &'a [u8]>,
}

impl Storages for Stream<'_> {
    fn storage(&mut self, key: &str) -> Result<&[u8], FormatError> {
        let missing = || self.source.damaged(format!("it has no storage {}", printable(key)));
        self.storages.get(key).copied().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{Py, dict, floats, legacy_storage, ordered, text, torch_legacy, view};
    use super::super::{WeightFile, WeightFormat, read_weights_from};
    use super::*;

    fn load(bytes: &[u8]) -> Result<WeightFile, FormatError> {
        read_weights_from(bytes, Path::new("model.th"))
    }

    /// A checkpoint as the training scripts of that time wrote it, with an optimizer whose storage comes first in the stream.
    fn checkpoint() -> Vec<u8> {
        let weight = view(legacy_storage("FloatStorage", "9", 6, Py::None), 0, &[3, 2], &[1, 3]);
        let momentum = view(legacy_storage("FloatStorage", "1", 1, Py::None), 0, &[1], &[1]);
        let object = dict(vec![
            ("state_dict", ordered(vec![("module.conv1.weight", weight)])),
            ("best_prec1", Py::Float(92.5)),
            (
                "optimizer",
                dict(vec![("state", Py::Dict(vec![(Py::Int(140), dict(vec![("momentum_buffer", momentum)]))]))]),
            ),
        ]);
        torch_legacy(&object, &[("1", floats(&[9.0])), ("9", floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))])
    }

    #[test]
    fn a_checkpoint_of_a_gpu_is_read() {
        let file = load(&checkpoint()).unwrap();
        assert_eq!(file.format, WeightFormat::TorchLegacy);
        let (name, tensor) = &file.tensors[0];
        assert_eq!((file.tensors.len(), name.as_str(), &tensor.shape[..]), (1, "conv1.weight", &[3, 2][..]));
        assert_eq!(tensor.to_f32(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn a_part_of_a_storage_begins_at_its_offset() {
        let part = Py::Tuple(vec![text("77"), Py::Int(2), Py::Int(2)]);
        let object = dict(vec![("w", view(legacy_storage("FloatStorage", "9", 4, part), 1, &[1], &[1]))]);
        let file = load(&torch_legacy(&object, &[("9", floats(&[0.0, 1.0, 2.0, 3.0]))])).unwrap();
        assert_eq!(file.tensors[0].1.to_f32(), [3.0]);
    }

    #[test]
    fn a_stream_cut_anywhere_is_truncated() {
        let bytes = checkpoint();
        for length in 4..bytes.len() {
            let error = load(&bytes[..length]).unwrap_err();
            assert!(matches!(error, FormatError::Truncated { .. }), "{length}: {error}");
        }
    }

    #[test]
    fn a_storage_that_claims_more_than_the_file_has_allocates_nothing() {
        let mut bytes = checkpoint();
        let at = bytes.len() - 32;
        assert_eq!(bytes[at..at + 8], 6_i64.to_le_bytes());
        bytes[at..at + 8].copy_from_slice(&1_000_000_000_000_000_i64.to_le_bytes());
        assert!(matches!(load(&bytes).unwrap_err(), FormatError::Truncated { .. }));
        bytes[at..at + 8].copy_from_slice(&i64::MIN.to_le_bytes());
        assert!(matches!(load(&bytes).unwrap_err(), FormatError::Damaged { .. }));
    }

    #[test]
    fn a_pickle_without_the_magic_number_is_a_plain_one() {
        let error = load(&super::super::testing::pickle(&dict(vec![("w", Py::Int(1))]))).unwrap_err();
        assert!(error.to_string().contains("is a plain pickle"), "{error}");
    }
}
