//! A data set that is small enough to be held whole.

use std::path::Path;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{DataError, Dataset, DatasetInfo, Images, OpenOptions, Opened, Split, content, name_of};

#[derive(Debug)]
pub(super) struct InMemory {
    info: DatasetInfo,
    images: Images,
    sha256: String,
}

impl InMemory {
    /// Checks that images, labels and shape belong together.
    pub(super) fn open(
        path: &Path,
        format: &'static str,
        split: Option<Split>,
        classes: &[&str],
        images: Images,
        sha256: String,
    ) -> Opened {
        let [n, channels, height, width] = images.shape;
        if n == 0 || channels * height * width == 0 {
            return Err(content(path, "there are no images in it"));
        }
        if images.labels.len() != n {
            let labels = images.labels.len();
            return Err(content(path, format!("{n} images but {labels} labels; they must belong together")));
        }
        let beyond = images.labels.iter().position(|&label| !classes.is_empty() && label as usize >= classes.len());
        if let Some(at) = beyond {
            let problem =
                format!("image {at} has label {}, but there are {} classes", images.labels[at], classes.len());
            return Err(content(path, format!("{problem}; the labels are damaged or belong to other images")));
        }
        let classes = classes.iter().map(|&name| name.to_owned()).collect();
        let info = DatasetInfo { name: name_of(path), format, split, classes, n, channels, height, width };
        Ok(Box::new(Self { info, images, sha256 }))
    }
}

impl Dataset for InMemory {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn labels(&self) -> &[u32] {
        &self.images.labels
    }

    fn sha256(&self, _: &[usize]) -> Result<String, DataError> {
        Ok(self.sha256.clone())
    }

    fn read(&self, places: &[usize]) -> Result<Images, DataError> {
        Ok(self.images.subset(places))
    }
}

/// The sha256 of several byte strings in a row, hexadecimal; to be asked before anything else is made of them.
pub(super) fn identified<'a>(
    path: &Path,
    options: &OpenOptions,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<String, DataError> {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    options.expect(path, HEXLOWER.encode(&hasher.finalize()))
}
