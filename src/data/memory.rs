//! A data set that is small enough to be held whole.

use std::path::Path;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{DataError, Dataset, DatasetInfo, Images, Opened, Split, content, name_of};

#[derive(Debug)]
pub(super) struct InMemory {
    info: DatasetInfo,
    images: Images,
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
        let info = DatasetInfo { name: name_of(path), format, split, classes, n, channels, height, width, sha256 };
        Ok(Box::new(Self { info, images }))
    }
}

impl Dataset for InMemory {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn labels(&self) -> &[u32] {
        &self.images.labels
    }

    fn read(&self, places: &[usize]) -> Result<Images, DataError> {
        Ok(self.images.subset(places))
    }
}

/// The sha256 of several byte strings in a row, hexadecimal.
pub(super) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    HEXLOWER.encode(&hasher.finalize())
}
