//! Images and labels on disk, read as bytes: u8 NCHW, labels, class names. Content decides the format, never the name.

mod cifar;
mod cifar_python;
mod class_list;
mod embedded;
mod idx;
mod image_folder;
mod npz;
#[cfg(feature = "toy")]
mod toy;

mod memory;
mod select;

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::input;
use crate::memory::opening;
use crate::text::names;

pub use class_list::ClassList;
pub(crate) use class_list::IMAGENET;
pub use select::Selection;
pub(crate) use select::{draw, select};

/// Longest side of an image, in pixels: far above what classifiers take, and far below what would fill the memory.
pub(crate) const LONGEST_SIDE: u32 = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// `[N, C, H, W]`, row-major.
    pub pixels: Vec<u8>,
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
    pub labels: Vec<u32>,
}

impl Images {
    /// Bytes of one image.
    pub(crate) fn image_size(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The first 16 hexadecimal digits of the sha256 of each image's pixels.
    pub(crate) fn digests(&self) -> Vec<String> {
        let images = self.pixels.chunks_exact(self.image_size().max(1));
        images.map(|pixels| HEXLOWER.encode(&Sha256::digest(pixels)[..8])).collect()
    }

    /// A copy of the images at these places, in this order.
    #[must_use]
    pub fn subset(&self, places: &[usize]) -> Self {
        let size = self.image_size();
        let mut pixels = Vec::with_capacity(places.len() * size);
        for &place in places {
            pixels.extend_from_slice(&self.pixels[place * size..][..size]);
        }
        let [_, channels, height, width] = self.shape;
        let labels = places.iter().map(|&place| self.labels[place]).collect();
        Self { pixels, shape: [places.len(), channels, height, width], labels }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetInfo {
    /// File or folder name without its parents, or `embedded`.
    pub name: String,
    pub format: &'static str,
    /// Which part, where the format has parts.
    pub split: Option<Split>,
    /// Class names in label order; empty when unknown.
    pub classes: Vec<String>,
    pub n: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

pub trait Dataset: Send + Sync + std::fmt::Debug {
    fn info(&self) -> &DatasetInfo;

    /// All labels, in file order.
    fn labels(&self) -> &[u32];

    /// Where labels only number folders, in the order of their names: the list that says which class each folder is, if the user gave one. A model's
    /// classes are found by the names of the folders.
    fn folders(&self) -> Option<Option<&ClassList>> {
        None
    }

    /// What a user must know of how the data were read.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// The sha256, hexadecimal, of what these images come from: the whole of a data set's files, or, in a folder of images, theirs and their
    /// labels.
    ///
    /// # Errors
    /// A file that cannot be read any more; data that are not those which the options expect.
    fn sha256(&self, places: &[usize]) -> Result<String, DataError>;

    /// The images at these places, in this order.
    ///
    /// # Errors
    /// A file that cannot be read or decoded any more.
    fn read(&self, places: &[usize]) -> Result<Images, DataError>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    Train,
    #[default]
    Test,
}

impl Split {
    /// `train` or `test`.
    pub fn name(self) -> &'static str {
        if self == Self::Train { "train" } else { "test" }
    }

    fn other(self) -> Self {
        if self == Self::Train { Self::Test } else { Self::Train }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    pub split: Split,
    /// Scale each image's shorter side to this (image folders).
    pub resize: Option<u32>,
    /// Then cut the central square of this side (image folders).
    pub crop: Option<u32>,
    /// Which output of a model each name of a folder means (image folders).
    pub classes: Option<ClassList>,
    /// What [`Dataset::sha256`] must be: other data are refused before anything in them is looked at.
    pub sha256: Option<String>,
}

impl OpenOptions {
    fn expect(&self, path: &Path, now: String) -> Result<String, DataError> {
        match &self.sha256 {
            Some(was) if *was != now => Err(DataError::Changed { path: path.to_owned(), was: was.clone(), now }),
            _ => Ok(now),
        }
    }
}

type Opened = Result<Box<dyn Dataset>, DataError>;

/// A format: how to recognize and open it.
struct Format {
    title: &'static str,
    /// Whether it knows `resize` and `crop`.
    rescales: bool,
    /// `None`: not this format. Looks at content only as far as needed.
    open: fn(&Path, &OpenOptions) -> Option<Opened>,
}

/// All formats, in the order in which they are tried. A new one is a file and a line here.
static FORMATS: &[Format] = &[
    Format { title: "IDX (MNIST, Fashion-MNIST)", rescales: false, open: idx::open },
    Format { title: ".npz with x and y", rescales: false, open: npz::open },
    Format { title: "CIFAR Python batches", rescales: false, open: cifar_python::open },
    Format { title: "CIFAR binary batches", rescales: false, open: cifar::open },
    Format { title: "folder of class folders with PNG or JPEG images", rescales: true, open: image_folder::open },
    #[cfg(feature = "toy")]
    Format { title: "toy images", rescales: false, open: toy::open },
];

/// Folders that downloads make inside the folder that they are given.
const INNER_FOLDERS: [&str; 6] = [
    "MNIST/raw",
    "FashionMNIST/raw",
    "cifar-10-batches-py",
    "cifar-100-python",
    "cifar-10-batches-bin",
    "cifar-100-binary",
];

/// Opens the data at a path, or the embedded images for `None`.
pub fn open(path: Option<&Path>, options: &OpenOptions) -> Result<Box<dyn Dataset>, DataError> {
    match path {
        Some(path) => opening(path, || open_any(path, options)),
        None => embedded::open(options),
    }
}

fn open_any(path: &Path, options: &OpenOptions) -> Result<Box<dyn Dataset>, DataError> {
    let rescaled = options.resize.is_some() || options.crop.is_some();
    let metadata = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !metadata.is_dir() {
        input::regular(&metadata).map_err(|source| unreadable(path, source))?;
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(content(path, "the file is empty; download or make it again"));
    }
    if options.resize == Some(0) || options.crop == Some(0) {
        return Err(content(path, "--resize and --crop are sides in pixels; expected 1 or more"));
    }
    let inner: Vec<&str> = INNER_FOLDERS.into_iter().filter(|inner| path.join(inner).is_dir()).collect();
    if inner.len() > 1 {
        return Err(content(path, format!("several data sets lie in it ({}); give one of them", inner.join(", "))));
    }
    match FORMATS.iter().find_map(|format| Some((format, (format.open)(path, options)?))) {
        Some((format, Ok(_))) if rescaled && !format.rescales => Err(not_rescaled(path)),
        Some((_, Ok(data))) if options.classes.is_some() && data.folders().is_none() => {
            Err(content(path, "--classes says which class each folder of images is; leave it out for data with labels"))
        }
        Some((_, Ok(data))) if options.split == Split::Train && data.info().split.is_none() => {
            Err(content(path, "has no train and test part; leave out --split train to use all of it"))
        }
        Some((_, opened)) => opened,
        None => {
            let known: Vec<&str> = FORMATS.iter().map(|format| format.title).collect();
            Err(content(path, format!("no images of a known kind; expected {}", known.join(", "))))
        }
    }
}

/// Why data cannot be read. One line each.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "{path}: the data have changed: their sha256 was {was} when the run began, is {now}; bring them back as they were, or start the run \
         anew in another folder"
    )]
    Changed { path: PathBuf, was: String, now: String },
    #[error("{path}: {problem}")]
    Content {
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    #[error("{wanted} images were asked for, the data has {available}; take fewer")]
    TooFew { wanted: usize, available: usize },
}

fn content(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::Content { path: path.to_owned(), problem: problem.into() }
}

fn unreadable(path: &Path, source: std::io::Error) -> DataError {
    DataError::Io { path: path.to_owned(), source }
}

fn not_rescaled(path: &Path) -> DataError {
    content(path, "--resize and --crop work on image folders only; leave them out")
}

/// The data has no images of the wanted split but has those of the other one.
fn only_other_split(path: &Path, wanted: Split) -> DataError {
    let (wanted, other) = (wanted.name(), wanted.other().name());
    content(path, format!("no {wanted} images in it, only {other} images; add them, or give --split {other}"))
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    input::read(path).map_err(|source| unreadable(path, source))
}

/// The first bytes of a file; none if it cannot be read.
fn first_bytes(path: &Path, n: u64) -> Vec<u8> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if let Ok(file) = input::open(path) {
        let _ = file.take(n).read_to_end(&mut bytes);
    }
    bytes
}

/// File or folder name without its parents.
fn name_of(path: &Path) -> String {
    let canonical = path.canonicalize();
    let named = path.file_name().or_else(|| canonical.as_ref().ok()?.file_name());
    names::shown(&named.unwrap_or(path.as_os_str()).to_string_lossy())
}

const CIFAR10: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const FASHION_MNIST: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &Path) -> String {
        open(Some(path), &OpenOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_data_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        assert!(message(Path::new("no/such/data")).contains("no/such/data"));
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(message(&file).contains("empty"));
        std::fs::write(&file, b"hello").unwrap();
        assert!(message(&file).contains("expected IDX"));
        std::fs::remove_file(&file).unwrap();
        assert!(message(folder.path()).contains("expected IDX"));
    }

    #[test]
    fn what_would_be_ignored_or_guessed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("test_batch.bin"), [3; 3073]).unwrap();
        let scaled = |resize, crop| {
            let options = OpenOptions { resize, crop, ..OpenOptions::default() };
            open(Some(folder.path()), &options).unwrap_err().to_string()
        };
        assert!(scaled(Some(8), None).contains("image folders only"));
        assert!(scaled(None, Some(0)).contains("1 or more"));
        assert!(open(Some(folder.path()), &OpenOptions::default()).is_ok());
        std::fs::create_dir_all(folder.path().join("FashionMNIST/raw")).unwrap();
        assert!(message(folder.path()).contains("(FashionMNIST/raw, cifar-10-batches-bin); give one"));
    }

    #[test]
    fn a_subset_keeps_the_given_order() {
        let images = Images { pixels: vec![0, 1, 2, 3, 4, 5], shape: [3, 1, 1, 2], labels: vec![7, 8, 9] };
        let subset = images.subset(&[2, 0]);
        assert_eq!((subset.pixels, subset.shape, subset.labels), (vec![4, 5, 0, 1], [2, 1, 1, 2], vec![9, 7]));
    }
}
