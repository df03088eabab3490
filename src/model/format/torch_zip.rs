//! The format of `torch.save` since 1.6: a zip archive of a pickle and one raw file per storage.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read as _};

use zip::read::{ArchiveOffset, Config, ZipReadOptions};
use zip::{CompressionMethod, ZipArchive};

use super::error::{FormatError, Source, printable};
use super::pickled::{self, Storages};
use super::{RawTensor, state_dict};

pub(super) fn read(source: Source<'_>) -> Result<Vec<(String, RawTensor)>, FormatError> {
    let mut archive = Archive::open(source)?;
    let pickle = archive.entry("data.pkl")?;
    if archive.has("byteorder") && archive.entry("byteorder")?.trim_ascii() == b"big" {
        return Err(source.damaged("it was saved on a big-endian machine, which is not read"));
    }
    state_dict::extract(source, &pickled::load(source, &pickle)?, &mut archive)
}

/// A zip archive that PyTorch wrote: everything lies in one folder.
pub(super) struct Archive<'a> {
    source: Source<'a>,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    prefix: String,
    /// Where the storages are.
    folder: &'static str,
    storages: BTreeMap<String, Cow<'a, [u8]>>,
    /// Bytes that compressed entries may still unpack to. `torch.save` itself never compresses.
    allowance: u64,
}

impl<'a> Archive<'a> {
    fn open(source: Source<'a>) -> Result<Self, FormatError> {
        let zip = directory(source)?;
        let prefix = torch_prefix(source, &zip)?;
        Ok(Self::new(source, zip, prefix))
    }

    fn new(source: Source<'a>, zip: ZipArchive<Cursor<&'a [u8]>>, prefix: String) -> Self {
        Self { source, zip, prefix, folder: "data", storages: BTreeMap::new(), allowance: source.expansion_limit() }
    }

    /// Looks for storages in another folder.
    pub(super) fn storages_in(&mut self, folder: &'static str) {
        self.folder = folder;
        self.storages.clear();
    }

    /// The archive with the folder that `main` lies in, which is the only such entry.
    pub(super) fn open_around(source: Source<'a>, main: &str) -> Result<Self, FormatError> {
        let zip = directory(source)?;
        let prefixes: Vec<String> =
            zip.file_names().flatten().filter_map(|name| Some(name.strip_suffix(main)?.to_owned())).collect();
        let [prefix] = prefixes.as_slice() else {
            return Err(source.damaged(format!("it has {} entries `{main}`, expected one", prefixes.len())));
        };
        let prefix = prefix.clone();
        Ok(Self::new(source, zip, prefix))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}{name}", self.prefix)).is_some()
    }

    /// Names of all entries, without the folder that they are all in.
    ///
    /// # Errors
    /// What others may read as another entry than we do: entries elsewhere, and names that differ only in case.
    pub(super) fn names(&self) -> Result<Vec<String>, FormatError> {
        let odd = |name: &str, what: &str| self.source.damaged(format!("its entry `{}` {what}", printable(name)));
        let mut names = Vec::with_capacity(self.zip.len());
        let mut spellings = BTreeSet::new();
        for index in 0..self.zip.len() {
            let name = self.zip.name_for_index(index).and_then(Result::ok);
            let name = name.ok_or_else(|| self.source.damaged("an entry has a name that is not text"))?;
            let inside = name.strip_prefix(&self.prefix).ok_or_else(|| odd(&name, "lies outside its folder"))?;
            if inside.contains('\\') || inside.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(odd(&name, "has no plain name"));
            }
            if !spellings.insert(inside.to_lowercase()) {
                return Err(odd(&name, "is there twice, but for upper and lower case"));
            }
            names.push(inside.to_owned());
        }
        Ok(names)
    }

    /// An entry's bytes, checked against its CRC: a slice of the file, or unpacked if it was compressed.
    pub(super) fn entry(&mut self, name: &str) -> Result<Cow<'a, [u8]>, FormatError> {
        let source = self.source;
        let full_name = format!("{}{name}", self.prefix);
        let shown = printable(&full_name);
        let index = self.zip.index_for_name(&full_name);
        let index = index.ok_or_else(|| source.damaged(format!("it has no entry `{shown}`")))?;
        let unreadable =
            |error: &dyn std::fmt::Display| source.damaged(format!("its entry `{shown}` cannot be read ({error})"));
        let checksum = self.zip.by_index_data(index).map_err(|error| unreadable(&error))?.crc32();
        // PyTorch writes 0 where it was told not to compute checksums.
        let options = ZipReadOptions::new().ignore_crc32(checksum == 0);
        let mut entry = self.zip.by_index_with_options(index, options).map_err(|error| unreadable(&error))?;
        if entry.compression() == CompressionMethod::Stored && !entry.encrypted() {
            let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
            let size = usize::try_from(entry.size()).ok();
            let bytes = start.zip(size).and_then(|(start, size)| source.bytes.get(start..start.checked_add(size)?));
            let bytes = bytes.ok_or_else(|| source.truncated(format!("the entry `{shown}` lies outside the file")))?;
            io::copy(&mut entry, &mut io::sink()).map_err(|error| unreadable(&error))?;
            return Ok(Cow::Borrowed(bytes));
        }
        let mut unpacked = Vec::new();
        entry.take(self.allowance + 1).read_to_end(&mut unpacked).map_err(|error| unreadable(&error))?;
        self.allowance = self.allowance.checked_sub(unpacked.len() as u64).ok_or_else(|| source.oversized())?;
        Ok(Cow::Owned(unpacked))
    }
}

impl Storages for Archive<'_> {
    fn storage(&mut self, key: &str) -> Result<&[u8], FormatError> {
        if !self.storages.contains_key(key) {
            let bytes = self.entry(&format!("{}/{key}", self.folder))?;
            self.storages.insert(key.to_owned(), bytes);
        }
        Ok(&self.storages[key])
    }
}

fn directory(source: Source<'_>) -> Result<ZipArchive<Cursor<&[u8]>>, FormatError> {
    // Nothing stands in front of the archive. Searching for its start goes wrong where the first directory entry is as long (76 bytes) as
    // the two records of 64-bit sizes that PyTorch always writes between directory and end.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let zip = ZipArchive::with_config(config, Cursor::new(source.bytes)).map_err(|error| {
        if has_directory(source.bytes) {
            source.damaged(format!("its zip directory cannot be read ({error})"))
        } else {
            source.truncated("the zip archive has no directory at its end")
        }
    })?;
    match repeated(source.bytes, zip.central_directory_start()) {
        Some(name) => Err(source.damaged(format!("its entry `{}` is there twice", printable(&name)))),
        None => Ok(zip),
    }
}

/// The first name that the directory at `start` holds for a second time: of several entries with one name readers take different ones,
/// and the crate does not tell.
fn repeated(bytes: &[u8], start: u64) -> Option<String> {
    let mut rest = bytes.get(usize::try_from(start).ok()?..)?;
    let mut names = BTreeSet::new();
    while rest.starts_with(b"PK\x01\x02") {
        let length = |at: usize| Some(usize::from(u16::from_le_bytes([*rest.get(at)?, *rest.get(at + 1)?])));
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let entry = rest.get(46..46 + name)?;
        if !names.insert(entry) {
            return Some(String::from_utf8_lossy(entry).into_owned());
        }
        rest = rest.get(46 + name + extra + comment..)?;
    }
    None
}

/// Which of PyTorch's archives a zip archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArchiveKind {
    /// `torch.export.save`.
    Export,
    /// `torch.jit.save`.
    Script,
    /// `torch.save`, or none of them.
    Other,
}

/// Looks at the names of a zip archive's entries.
pub(super) fn kind_of(source: Source<'_>) -> ArchiveKind {
    let Ok(zip) = directory(source) else { return ArchiveKind::Other };
    let any = |test: fn(&str) -> bool| zip.file_names().flatten().any(|name| test(&name));
    if any(is_export) {
        ArchiveKind::Export
    } else if any(|name| name == "constants.pkl" || name.ends_with("/constants.pkl")) {
        ArchiveKind::Script
    } else {
        ArchiveKind::Other
    }
}

/// Whether the end of the archive is there: its end record is in the last 64 KiB, after which only a comment may follow.
fn has_directory(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(66_000)..];
    tail.windows(4).any(|window| window == b"PK\x05\x06")
}

/// The folder of `data.pkl`, or what kind of archive this is instead.
fn torch_prefix(source: Source<'_>, zip: &ZipArchive<Cursor<&[u8]>>) -> Result<String, FormatError> {
    let names: Vec<Cow<'_, str>> = zip.file_names().flatten().collect();
    if names.iter().any(|name| is_export(name)) {
        return Err(source.other(
            "is a torch.export archive (.pt2), a program and no list of weights; save its weights: \
             torch.save(torch.export.load(\"OLD\").state_dict, \"model.pt\")",
        ));
    }
    let prefixes = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
    let prefix = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('/')).min_by_key(|prefix| prefix.len());
    let Some(prefix) = prefix else {
        let first = names.first().map_or_else(|| "nothing".to_owned(), |name| format!("`{}`", printable(name)));
        return Err(source.unknown(&format!("a zip archive without data.pkl (it holds {first})")));
    };
    let mut inside = names.iter().filter_map(|name| name.strip_prefix(prefix));
    if inside.any(|name| name == "constants.pkl" || name.starts_with("code/")) {
        return Err(source.other(
            "is a TorchScript archive, a program and no list of weights; save its weights: \
             torch.save(torch.jit.load(\"OLD\").state_dict(), \"model.pt\")",
        ));
    }
    Ok(prefix.to_owned())
}

/// An entry that only `torch.export.save` writes.
fn is_export(name: &str) -> bool {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    matches!(file, "archive_format" | "serialized_exported_program.json")
        || file.rsplit_once('.').is_some_and(|(_, extension)| extension == "json")
            && folder.rsplit('/').next() == Some("models")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::error::MAX_EXPANSION;
    use super::super::testing::{Py, dict, floats, ordered, pickle, storage, torch_zip, vector, view, zip_of};
    use super::super::{Dtype, WeightFile, WeightFormat, read_weights_from};
    use super::*;

    fn load(bytes: &[u8]) -> Result<WeightFile, FormatError> {
        read_weights_from(bytes, Path::new("model.pt"))
    }

    fn zipped(entries: &[(&str, &[u8])], method: CompressionMethod) -> Result<WeightFile, FormatError> {
        load(&zip_of(entries, method))
    }

    #[test]
    fn views_of_one_storage_come_out_contiguous() {
        let base = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let whole = || storage("FloatStorage", "0", 6);
        let object = ordered(vec![
            ("conv.weight", view(whole(), 0, &[2, 3], &[3, 1])),
            ("conv.transposed", view(whole(), 0, &[3, 2], &[1, 3])),
            ("conv.tail", view(whole(), 4, &[2], &[1])),
            ("count", view(storage("LongStorage", "1", 1), 0, &[], &[])),
        ]);
        let file = load(&torch_zip(&object, &[("0", base), ("1", 7_i64.to_le_bytes().to_vec())])).unwrap();
        assert_eq!(file.format, WeightFormat::TorchZip);
        let names: Vec<&str> = file.tensors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["conv.weight", "conv.transposed", "conv.tail", "count"]);
        assert_eq!(file.tensors[1].1.shape, [3, 2]);
        assert_eq!(file.tensors[1].1.to_f32(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(file.tensors[2].1.to_f32(), [4.0, 5.0]);
        assert_eq!((file.tensors[3].1.dtype, file.tensors[3].1.to_f32()), (Dtype::I64, vec![7.0]));
    }

    /// PyTorch puts 76 bytes of 64-bit records between directory and end; a search for the archive's start takes them for a shift where the
    /// first entry of the directory is as long.
    #[test]
    fn records_of_64_bit_sizes_do_not_shift_the_archive() {
        let folder = "a-name-of-21-letters-";
        let name = |entry: &str| format!("{folder}/{entry}");
        let object = pickle(&dict(vec![("w", vector("0", 1))]));
        let (pickle_name, storage_name) = (name("data.pkl"), name("data/0"));
        // 46 bytes and 30 of the name.
        assert_eq!(pickle_name.len(), 30);
        let plain = zip_of(&[(&pickle_name, &object), (&storage_name, &floats(&[4.0]))], CompressionMethod::Stored);
        let end = plain.len() - 22;
        let number = |at: usize| u64::from(u32::from_le_bytes(plain[end + at..end + at + 4].try_into().unwrap()));
        let (size, start) = (number(12), number(16));
        let mut bytes = plain[..end].to_vec();
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for it in [2, 2, size, start] {
            bytes.extend(it.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend((end as u64).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        assert_eq!(bytes.len(), end + 76);
        bytes.extend(&plain[end..]);
        assert_eq!(load(&bytes).unwrap().tensors[0].1.to_f32(), [4.0]);
    }

    #[test]
    fn a_storage_shorter_than_announced_is_truncated() {
        let object = dict(vec![("w", vector("0", 3))]);
        let error = load(&torch_zip(&object, &[("0", floats(&[1.0, 2.0]))])).unwrap_err();
        assert!(matches!(error, FormatError::Truncated { .. }), "{error}");
        let error = load(&torch_zip(&object, &[])).unwrap_err();
        assert!(error.to_string().contains("no entry `model/data/0`"), "{error}");
    }

    #[test]
    fn a_flipped_weight_bit_is_caught_by_the_checksum() {
        let object = dict(vec![("w", vector("0", 2))]);
        let mut bytes = torch_zip(&object, &[("0", floats(&[0.123, 4.0]))]);
        let at = bytes.windows(4).position(|window| window == 0.123_f32.to_le_bytes()).unwrap();
        bytes[at] ^= 1;
        assert!(matches!(load(&bytes).unwrap_err(), FormatError::Damaged { .. }));
    }

    #[test]
    fn an_archive_saved_without_checksums_is_read() {
        let mut bytes = torch_zip(&dict(vec![("w", vector("0", 1))]), &[("0", floats(&[4.0]))]);
        // Where local and central headers keep the checksum.
        for (signature, at) in [(b"PK\x03\x04", 14), (b"PK\x01\x02", 16)] {
            for header in 0..bytes.len() - 4 {
                if bytes[header..].starts_with(signature) {
                    bytes[header + at..header + at + 4].fill(0);
                }
            }
        }
        assert_eq!(load(&bytes).unwrap().tensors[0].1.to_f32(), [4.0]);
    }

    #[test]
    fn compressed_archives_are_read_and_bombs_are_not() {
        let small = floats(&[1.0, 2.0]);
        let object = pickle(&dict(vec![("w", vector("0", 2))]));
        let file = zipped(&[("m/data.pkl", &object), ("m/data/0", &small)], CompressionMethod::Deflated).unwrap();
        assert_eq!(file.tensors[0].1.to_f32(), [1.0, 2.0]);
        let zeros = vec![0; 1 << 20];
        let object = pickle(&dict(vec![("w", vector("0", 1 << 18))]));
        let bomb = zipped(&[("m/data.pkl", &object), ("m/data/0", &zeros)], CompressionMethod::Deflated).unwrap_err();
        assert!(bomb.to_string().contains(&format!(" bytes, {MAX_EXPANSION} times the file's size")), "{bomb}");
    }

    #[test]
    fn other_archives_are_told_apart() {
        let stored = |entries: &[(&str, &[u8])]| zipped(entries, CompressionMethod::Stored).unwrap_err();
        for entry in ["net/code/__torch__.py", "net/constants.pkl"] {
            let error = stored(&[("net/data.pkl", b""), (entry, b"")]);
            assert!(error.to_string().contains("is a TorchScript archive, a program"), "{error}");
        }
        for entry in ["net/models/model.json", "net/archive_format", "serialized_exported_program.json"] {
            let error = stored(&[(entry, b""), ("net/data.pkl", b"")]);
            assert!(error.to_string().contains("is a torch.export archive (.pt2), a program"), "{error}");
        }
        let error = stored(&[("model.pt", b"")]);
        assert!(error.to_string().contains("zip archive without data.pkl (it holds `model.pt`)"), "{error}");
    }

    #[test]
    fn big_endian_files_are_refused() {
        let object = pickle(&Py::None);
        let error = zipped(&[("m/data.pkl", &object), ("m/byteorder", b"big")], CompressionMethod::Stored).unwrap_err();
        assert!(error.to_string().contains("big-endian"), "{error}");
    }

    #[test]
    fn an_archive_cut_short_says_so() {
        let bytes = torch_zip(&dict(vec![("w", vector("0", 1))]), &[("0", floats(&[1.0]))]);
        let error = load(&bytes[..bytes.len() - 30]).unwrap_err();
        assert!(matches!(error, FormatError::Truncated { .. }), "{error}");
    }
}
