//! CIFAR-10 and CIFAR-100 as the Python batches that torchvision downloads: pickled dictionaries.

use std::path::{Path, PathBuf};

use super::cifar::{IMAGE, Layout};
use super::memory::{InMemory, identified};
use super::{CIFAR10, DataError, Images, OpenOptions, Opened, Split, content, first_bytes, read_file};
use crate::pickle::{Id, Node, Pickle};

const LAYOUT: Layout = Layout {
    folders: ["", "cifar-10-batches-py", "cifar-100-python"],
    suffix: "",
    is_hundred: is_pickle,
    read: |path, options, files, is_hundred, split| {
        let meta = files[0].with_file_name(if is_hundred { "meta" } else { "batches.meta" });
        read(path, options, files, Some(&meta), split)
    },
};

/// A batch file, or a folder (or its parent) with those of CIFAR-10 or CIFAR-100.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Option<Opened> {
    match path.is_file() {
        true => is_pickle(path).then(|| read(path, options, &[path.to_owned()], None, None)),
        false => LAYOUT.open(path, options),
    }
}

fn is_pickle(path: &Path) -> bool {
    matches!(first_bytes(path, 2)[..], [0x80, 2..=5])
}

fn read(path: &Path, options: &OpenOptions, files: &[PathBuf], meta: Option<&Path>, split: Option<Split>) -> Opened {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let mut fine = false;
    let contents = files.iter().map(|file| read_file(file)).collect::<Result<Vec<_>, DataError>>()?;
    let digest = identified(path, options, contents.iter().map(Vec::as_slice))?;
    for (file, bytes) in files.iter().zip(&contents) {
        let pickle = unpickle(file, bytes)?;
        let root = pickle.root();
        let (key, found) = ["fine_labels", "labels"]
            .iter()
            .find_map(|key| Some((*key, pickle.get(root, key)?)))
            .ok_or_else(|| content(file, "no entry labels or fine_labels; expected a CIFAR batch"))?;
        fine |= key == "fine_labels";
        let found = pickle
            .sequence(found)
            .and_then(|ids| ids.iter().map(|&id| u32::try_from(pickle.int(id)?).ok()).collect::<Option<Vec<u32>>>());
        let found = found.ok_or_else(|| content(file, "its labels are not a list of numbers"))?;
        let data = (pickle.get(root, "data").and_then(|id| array_bytes(&pickle, id)))
            .ok_or_else(|| content(file, "no entry data that is an array of bytes; expected a CIFAR batch"))?;
        if data.len() != found.len() * IMAGE {
            let problem = format!("{} bytes of images for {} labels, expected {IMAGE} each", data.len(), found.len());
            return Err(content(file, problem));
        }
        labels.extend(found);
        pixels.extend_from_slice(&data);
    }
    let named = meta.filter(|meta| meta.is_file()).map(class_names).transpose()?.unwrap_or_default();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let classes: &[&str] = if named.is_empty() && !fine { &CIFAR10 } else { &named };
    let images = Images { shape: [labels.len(), 3, 32, 32], pixels, labels };
    InMemory::open(path, "cifar-python", split, classes, images, digest)
}

fn class_names(meta: &Path) -> Result<Vec<String>, DataError> {
    let bytes = read_file(meta)?;
    let pickle = unpickle(meta, &bytes)?;
    let names = ["fine_label_names", "label_names"].iter().find_map(|key| pickle.get(pickle.root(), key));
    let names = names.and_then(|id| pickle.sequence(id)).unwrap_or_default();
    let names: Option<Vec<String>> = names.iter().map(|&id| pickle.text(id).map(str::to_owned)).collect();
    names.ok_or_else(|| content(meta, "a class name in it is no text; download it again"))
}

fn unpickle<'a>(file: &Path, bytes: &'a [u8]) -> Result<Pickle<'a>, DataError> {
    let allowed = |module: &str, name: &str| {
        matches!(
            (module, name),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")
                | ("numpy", "ndarray" | "dtype")
                | ("_codecs", "encode")
        )
    };
    Pickle::read(bytes, &allowed).map_err(|error| content(file, format!("its pickle cannot be read: {error}")))
}

/// The raw bytes of a pickled NumPy array of u8: a call of `_reconstruct` with the state (version, shape, dtype, order, bytes).
fn array_bytes<'a>(pickle: &Pickle<'a>, id: Id) -> Option<std::borrow::Cow<'a, [u8]>> {
    let Node::Call { state: Some(state), .. } = pickle.node(id) else { return None };
    let [.., dtype, order, data] = pickle.sequence(*state)? else { return None };
    let Node::Call { arguments, .. } = pickle.node(*dtype) else { return None };
    let name = pickle.text(*pickle.sequence(*arguments)?.first()?)?;
    // Column-major arrays would need reordering; CIFAR's are not.
    (matches!(name, "u1" | "|u1") && *pickle.node(*order) == Node::Bool(false)).then(|| pickle.bytes(*data)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::open as open_any;

    /// What Python 2 wrote for `{'data': array, 'labels': [3]}`.
    fn batch(label: u8, value: u8, key: &[u8]) -> Vec<u8> {
        let mut out =
            b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R".to_vec();
        out.extend(b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
        out.extend((IMAGE as u32).to_le_bytes());
        out.extend([value; IMAGE]);
        out.extend(b"tbU");
        out.push(key.len() as u8);
        out.extend(key);
        out.extend([b']', b'K', label, b'a', b'u', b'.']);
        out
    }

    #[test]
    fn batches_of_both_sets_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-10-batches-py");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("test_batch"), batch(3, 200, b"labels")).unwrap();
        let data = open_any(Some(folder.path()), &OpenOptions::default()).unwrap();
        assert_eq!((data.labels(), data.info().classes[3].as_str()), (&[3][..], "cat"));
        assert_eq!(data.read(&[0]).unwrap().pixels, [200; IMAGE]);
        let hundred = folder.path().join("test");
        std::fs::write(&hundred, batch(77, 1, b"fine_labels")).unwrap();
        let data = open_any(Some(&hundred), &OpenOptions::default()).unwrap();
        assert_eq!((data.labels(), data.info().classes.len()), (&[77][..], 0));
    }

    #[test]
    fn a_label_without_a_class_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test_batch"), batch(99, 1, b"labels")).unwrap();
        let message = open_any(Some(folder.path()), &OpenOptions::default()).unwrap_err().to_string();
        assert!(message.contains("image 0 has label 99, but there are 10 classes"), "{message}");
        let train = OpenOptions { split: Split::Train, ..OpenOptions::default() };
        let message = open_any(Some(folder.path()), &train).unwrap_err().to_string();
        assert!(message.contains("only test images"), "{message}");
    }

    #[test]
    fn a_batch_that_would_run_code_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test_batch");
        std::fs::write(&file, b"\x80\x02cos\nsystem\nU\x04true\x85R.").unwrap();
        let message = open_any(Some(&file), &OpenOptions::default()).unwrap_err().to_string();
        assert!(message.contains("os.system"), "{message}");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let good = batch(3, 200, b"labels");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test_batch");
        for end in [2, 50, 150, 1000, good.len() - 1] {
            std::fs::write(&file, &good[..end]).unwrap();
            assert!(open_any(Some(&file), &OpenOptions::default()).is_err(), "{end}");
        }
    }
}
