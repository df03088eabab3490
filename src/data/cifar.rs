//! CIFAR-10 and CIFAR-100 in their binary version: records of labels and 3072 bytes.
//!
//! Format: A. Krizhevsky, "The CIFAR-10 and CIFAR-100 datasets".

use std::path::{Path, PathBuf};

use super::memory::{InMemory, identified};
use super::{CIFAR10, DataError, Images, OpenOptions, Opened, Split, content, only_other_split, read_file};
use crate::input;

pub(super) const IMAGE: usize = 3 * 32 * 32;
/// Lies beside the batches of CIFAR-100: one class name per line.
const FINE_NAMES: &str = "fine_label_names.txt";

const LAYOUT: Layout = Layout {
    folders: ["", "cifar-10-batches-bin", "cifar-100-binary"],
    suffix: ".bin",
    is_hundred: |file| {
        let fits = |metadata: std::fs::Metadata| metadata.len().is_multiple_of(IMAGE as u64 + 2);
        file.with_file_name(FINE_NAMES).is_file() || file.metadata().is_ok_and(fits)
    },
    read,
};

/// How a version of CIFAR-10 and CIFAR-100 lies on disk.
pub(super) struct Layout {
    /// Where the files may be inside a folder.
    pub(super) folders: [&'static str; 3],
    /// What the files' names end with.
    pub(super) suffix: &'static str,
    /// Whether a file is one of CIFAR-100: its names are too common to go by alone.
    pub(super) is_hundred: fn(&Path) -> bool,
    /// Reads files of CIFAR-10, or the one of CIFAR-100 (if true), of a part.
    pub(super) read: fn(&Path, &OpenOptions, &[PathBuf], bool, Option<Split>) -> Opened,
}

impl Layout {
    /// A folder (or its parent) with files of either.
    pub(super) fn open(&self, path: &Path, options: &OpenOptions) -> Option<Opened> {
        if let Some((files, is_hundred)) = self.files(path, options.split) {
            return Some((self.read)(path, options, &files, is_hundred, Some(options.split)));
        }
        self.files(path, options.split.other()).map(|_| Err(only_other_split(path, options.split)))
    }

    /// The files of a part, and whether they are of CIFAR-100.
    fn files(&self, path: &Path, split: Split) -> Option<(Vec<PathBuf>, bool)> {
        let (ten, hundred): (&[&str], _) = match split {
            Split::Train => {
                (&["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"], "train")
            }
            Split::Test => (&["test_batch"], "test"),
        };
        self.folders.iter().find_map(|folder| {
            let file = |name: &str| path.join(folder).join(format!("{name}{}", self.suffix));
            let files: Vec<PathBuf> = ten.iter().map(|name| file(name)).collect();
            // A set with some of its files missing is an error when they are read, not another format.
            if files.iter().any(|file| file.is_file()) {
                return Some((files, false));
            }
            let file = file(hundred);
            (file.is_file() && (self.is_hundred)(&file)).then(|| (vec![file], true))
        })
    }
}

/// A `.bin` file, whose length and labels tell which of the two it is, or a folder with such files.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Option<Opened> {
    if !path.is_file() {
        return LAYOUT.open(path, options);
    }
    let length = std::fs::metadata(path).ok()?.len() as usize;
    let fits = |label_bytes: usize| length >= IMAGE && length.is_multiple_of(IMAGE + label_bytes);
    // A length that fits both has a multiple of 3073 × 3074 bytes; more than 3,000 images of either.
    (fits(1) || fits(2)).then(|| read(path, options, &[path.to_owned()], !fits(1), None))
}

fn read(path: &Path, options: &OpenOptions, files: &[PathBuf], is_hundred: bool, split: Option<Split>) -> Opened {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let (label_bytes, classes) = if is_hundred { (2, 100) } else { (1, 10) };
    let contents = files.iter().map(|file| read_file(file)).collect::<Result<Vec<_>, DataError>>()?;
    let digest = identified(path, options, contents.iter().map(Vec::as_slice))?;
    for (file, bytes) in files.iter().zip(&contents) {
        let record = label_bytes + IMAGE;
        let records = bytes.chunks_exact(record);
        if !records.remainder().is_empty() || bytes.is_empty() {
            let n = bytes.len();
            return Err(content(file, format!("{n} bytes are no multiple of {record}; the file is truncated")));
        }
        for record in records {
            // CIFAR-100 has the coarse label first, the fine one after it.
            let label = record[label_bytes - 1];
            if label >= classes {
                let image = format!("image {} has label {label}", labels.len());
                return Err(content(file, format!("{image}, expected less than {classes}; is this CIFAR?")));
            }
            labels.push(label.into());
            pixels.extend_from_slice(&record[label_bytes..]);
        }
    }
    let fine =
        files.first().map(|file| file.with_file_name(FINE_NAMES)).and_then(|file| input::read_to_string(&file).ok());
    let fine: Vec<&str> = fine.iter().flat_map(|text| text.lines()).filter(|name| !name.is_empty()).collect();
    let names: &[&str] = match (is_hundred, fine.len()) {
        (false, _) => &CIFAR10,
        (_, 100) => &fine,
        _ => &[],
    };
    let images = Images { shape: [labels.len(), 3, 32, 32], pixels, labels };
    InMemory::open(path, "cifar-binary", split, names, images, digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::open as open_any;

    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        [labels, &[value; IMAGE]].concat()
    }

    #[test]
    fn both_versions_are_told_apart_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("any-name");
        std::fs::write(&file, [record(&[3], 10), record(&[9], 20)].concat()).unwrap();
        let data = open_any(Some(&file), &OpenOptions::default()).unwrap();
        assert_eq!((data.labels(), data.read(&[1]).unwrap().pixels[0]), (&[3, 9][..], 20));
        std::fs::write(&file, [record(&[1, 77], 10), record(&[2, 99], 20)].concat()).unwrap();
        assert_eq!(open_any(Some(&file), &OpenOptions::default()).unwrap().labels(), [77, 99]);
    }

    #[test]
    fn the_names_of_a_hundred_classes_lie_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.bin"), record(&[1, 77], 10)).unwrap();
        let names: Vec<String> = (0..100).map(|n| format!("class {n}")).collect();
        std::fs::write(folder.path().join(FINE_NAMES), names.join("\n") + "\n\n").unwrap();
        assert_eq!(open_any(Some(folder.path()), &OpenOptions::default()).unwrap().info().classes, names);
        let train = OpenOptions { split: Split::Train, ..OpenOptions::default() };
        let message = open_any(Some(folder.path()), &train).unwrap_err().to_string();
        assert!(message.contains("only test images") && message.contains("--split test"), "{message}");
    }

    #[test]
    fn a_folder_is_read_by_split_and_a_missing_batch_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("test_batch.bin"), record(&[3], 10)).unwrap();
        std::fs::write(inner.join("data_batch_1.bin"), record(&[3], 10)).unwrap();
        assert_eq!(open_any(Some(folder.path()), &OpenOptions::default()).unwrap().info().classes[3], "cat");
        let train = OpenOptions { split: Split::Train, ..OpenOptions::default() };
        assert!(open_any(Some(folder.path()), &train).unwrap_err().to_string().contains("data_batch_2.bin"));
        std::fs::write(inner.join("test_batch.bin"), &record(&[3], 10)[1..]).unwrap();
        assert!(open_any(Some(folder.path()), &OpenOptions::default()).unwrap_err().to_string().contains("truncated"));
        std::fs::write(inner.join("test_batch.bin"), record(&[10], 10)).unwrap();
        assert!(open_any(Some(folder.path()), &OpenOptions::default()).unwrap_err().to_string().contains("label 10"));
    }
}
