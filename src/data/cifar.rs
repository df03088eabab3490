//! CIFAR-10 and CIFAR-100 in their binary version: records of labels and 3072 bytes.
//!
//! Format: A. Krizhevsky, "The CIFAR-10 and CIFAR-100 datasets".

use std::path::{Path, PathBuf};

use super::memory::{InMemory, sha256};
use super::{CIFAR10, DataError, Dataset, Images, OpenOptions, Split, content, only_other_split, read_file};

const IMAGE: usize = 3 * 32 * 32;
/// Lies beside the batches of CIFAR-100: one class name per line.
const FINE_NAMES: &str = "fine_label_names.txt";

/// A `.bin` file, or a folder (or its parent) with those of CIFAR-10 or CIFAR-100.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Option<Result<Box<dyn Dataset>, DataError>> {
    if path.is_file() {
        return open_file(path);
    }
    if let Some((files, label_bytes)) = batches(path, options.split) {
        return Some(read(path, &files, label_bytes, Some(options.split)));
    }
    batches(path, options.split.other()).map(|_| Err(only_other_split(path, options.split)))
}

/// The files of a part and the number of label bytes in their records.
fn batches(path: &Path, split: Split) -> Option<(Vec<PathBuf>, usize)> {
    let (ten, hundred): (&[&str], _) = match split {
        Split::Train => (
            &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
            "train.bin",
        ),
        Split::Test => (&["test_batch.bin"], "test.bin"),
    };
    ["", "cifar-10-batches-bin", "cifar-100-binary"].iter().find_map(|inner| {
        let folder = path.join(inner);
        let files: Vec<PathBuf> = ten.iter().map(|name| folder.join(name)).collect();
        // A set with some of its files missing is an error when they are read, not another format.
        if files.iter().any(|file| file.is_file()) {
            return Some((files, 1));
        }
        // The names of CIFAR-100 are too common to go by alone.
        let file = folder.join(hundred);
        let length = std::fs::metadata(&file).ok().filter(std::fs::Metadata::is_file)?.len();
        let is_cifar = folder.join(FINE_NAMES).is_file() || length.is_multiple_of(IMAGE as u64 + 2);
        is_cifar.then(|| (vec![file], 2))
    })
}

/// A single file: its length and its labels tell which of the two it is.
fn open_file(path: &Path) -> Option<Result<Box<dyn Dataset>, DataError>> {
    let length = std::fs::metadata(path).ok()?.len() as usize;
    let fits = |label_bytes: usize| length >= IMAGE && length.is_multiple_of(IMAGE + label_bytes);
    match (fits(1), fits(2)) {
        (false, false) => None,
        // A length that fits both has a multiple of 3073 × 3074 bytes; more than 3,000 images of either.
        (true, _) => Some(read(path, &[path.to_owned()], 1, None)),
        (false, true) => Some(read(path, &[path.to_owned()], 2, None)),
    }
}

fn read(
    path: &Path,
    files: &[PathBuf],
    label_bytes: usize,
    split: Option<Split>,
) -> Result<Box<dyn Dataset>, DataError> {
    let (mut pixels, mut labels, mut contents) = (Vec::new(), Vec::new(), Vec::new());
    let classes = if label_bytes == 1 { 10 } else { 100 };
    for file in files {
        let bytes = read_file(file)?;
        let records = bytes.chunks_exact(label_bytes + IMAGE);
        if !records.remainder().is_empty() || bytes.is_empty() {
            let record = label_bytes + IMAGE;
            return Err(content(
                file,
                &format!("{} bytes are no multiple of {record}; the file is truncated", bytes.len()),
            ));
        }
        for record in records {
            // CIFAR-100 has the coarse label first, the fine one after it.
            let label = record[label_bytes - 1];
            if label >= classes {
                let at = labels.len();
                return Err(content(
                    file,
                    &format!("image {at} has label {label}, expected less than {classes}; is this CIFAR?"),
                ));
            }
            labels.push(label.into());
            pixels.extend_from_slice(&record[label_bytes..]);
        }
        contents.push(bytes);
    }
    let digest = sha256(contents.iter().map(Vec::as_slice));
    let fine =
        files.first().map(|file| file.with_file_name(FINE_NAMES)).and_then(|file| std::fs::read_to_string(file).ok());
    let fine: Vec<&str> = fine.iter().flat_map(|text| text.lines()).filter(|name| !name.is_empty()).collect();
    let names: &[&str] = match (label_bytes, fine.len()) {
        (1, _) => &CIFAR10,
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
