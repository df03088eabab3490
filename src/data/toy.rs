//! A toy format, with the feature `toy` only, which tests that a format is one file and its lines in `mod.rs`: `toy!`, and a label byte and
//! 28×28 pixels for each image.

use std::path::Path;

use super::memory::{InMemory, identified};
use super::{Images, OpenOptions, Opened, first_bytes, read_file};

const MAGIC: &[u8] = b"toy!";

pub(super) fn open(path: &Path, options: &OpenOptions) -> Option<Opened> {
    (path.is_file() && first_bytes(path, MAGIC.len() as u64) == MAGIC).then(|| {
        let bytes = read_file(path)?;
        let digest = identified(path, options, [bytes.as_slice()])?;
        let records = bytes[MAGIC.len()..].chunks_exact(1 + 28 * 28);
        let shape = [records.len(), 1, 28, 28];
        let labels = records.clone().map(|record| record[0].into()).collect();
        let pixels = records.flat_map(|record| record[1..].to_vec()).collect();
        InMemory::open(path, "toy", None, &[], Images { pixels, shape, labels }, digest)
    })
}
