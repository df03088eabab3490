//! IDX files as of MNIST and Fashion-MNIST, plain or gzipped.
//!
//! Format: Y. `LeCun`, C. Cortes, C. Burges, "The MNIST database of handwritten digits".

use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::memory::{InMemory, identified};
use super::{
    DataError, FASHION_MNIST, Images, OpenOptions, Opened, Split, content, first_bytes, name_of, only_other_split,
    read_file,
};

const IMAGES: u32 = 0x0000_0803;
const COLOR_IMAGES: u32 = 0x0000_0804;
const LABELS: u32 = 0x0000_0801;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// An images file whose labels lie beside it, or a folder with files of the usual names.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Option<Opened> {
    let (images, split) = if path.is_dir() {
        match images_in(path, options.split) {
            Some(images) => (images, Some(options.split)),
            None => return images_in(path, options.split.other()).map(|_| Err(only_other_split(path, options.split))),
        }
    } else {
        match magic(path) {
            Some(IMAGES | COLOR_IMAGES) => (path.to_owned(), split_of(path)),
            Some(LABELS) => return Some(Err(content(path, "these are labels; give the images file beside them"))),
            None if first_bytes(path, 2) == GZIP => {
                return Some(Err(content(path, "its gzip content is damaged; download it again")));
            }
            _ => return None,
        }
    };
    Some(read(path, options, &images, split))
}

/// The part that a file's usual name tells.
fn split_of(images: &Path) -> Option<Split> {
    let name = name_of(images);
    let is = |prefix: &str| name.starts_with(prefix);
    if is("train") { Some(Split::Train) } else { (is("t10k") || is("test")).then_some(Split::Test) }
}

fn read(path: &Path, options: &OpenOptions, images: &Path, split: Option<Split>) -> Opened {
    let labels = labels_beside(images)?;
    let (image_bytes, label_bytes) = (unpacked(images)?, unpacked(&labels)?);
    let digest = identified(path, options, [image_bytes.as_slice(), &label_bytes])?;
    let parsed = parse(images, &image_bytes, &labels, &label_bytes)?;
    let fashion = images.canonicalize().unwrap_or_default().to_string_lossy().to_ascii_lowercase().contains("fashion");
    let ten = parsed.labels.iter().all(|&label| label < 10);
    let classes: &[&str] = match (fashion, ten) {
        (true, true) => &FASHION_MNIST,
        (false, true) => &DIGITS,
        _ => &[],
    };
    InMemory::open(path, "idx", split, classes, parsed, digest)
}

/// Images and labels out of the bytes of both files.
pub(super) fn parse(images: &Path, image_bytes: &[u8], labels: &Path, label_bytes: &[u8]) -> Result<Images, DataError> {
    let (sizes, pixels) = header(images, image_bytes)?;
    let shape = match sizes[..] {
        [n, height, width] => [n, 1, height, width],
        [n, channels, height, width] => [n, channels, height, width],
        _ => return Err(content(images, "expected three or four dimensions")),
    };
    let (sizes, found) = header(labels, label_bytes)?;
    if sizes.len() != 1 {
        return Err(content(labels, "expected one dimension of labels"));
    }
    Ok(Images { pixels: pixels.to_vec(), shape, labels: found.iter().map(|&label| label.into()).collect() })
}

/// The dimensions, and the bytes after them; both must agree.
fn header<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Vec<usize>, &'a [u8]), DataError> {
    let truncated = || content(path, "the file is truncated; download it again");
    let (magic, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(truncated)?;
    let [0, 0, 8, dimensions] = *magic else {
        return Err(content(path, "not an IDX file of bytes; expected magic 0x0000080?"));
    };
    let mut sizes = Vec::new();
    for _ in 0..dimensions {
        let (size, after) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        sizes.push(u32::from_be_bytes(*size) as usize);
        rest = after;
    }
    let expected = sizes.iter().try_fold(1_usize, |total, &size| total.checked_mul(size));
    match expected {
        Some(expected) if expected == rest.len() => Ok((sizes, rest)),
        Some(expected) if expected > rest.len() => Err(truncated()),
        _ => Err(content(path, format!("its header says {sizes:?}, which does not fit its {} bytes", rest.len()))),
    }
}

/// A file's content, gunzipped if it is gzipped.
fn unpacked(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = read_file(path)?;
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes);
    }
    gunzip(&bytes).map_err(|error| content(path, format!("its gzip content is damaged ({error}); download it again")))
}

/// Unpacks a gzipped IDX file: its header, what that promises, and one byte more, so a small file cannot fill the memory.
pub(super) fn gunzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut decoder, mut unpacked) = (GzDecoder::new(bytes), Vec::new());
    decoder.by_ref().take(4).read_to_end(&mut unpacked)?;
    let dimensions = u64::from(unpacked.get(3).copied().unwrap_or(0));
    decoder.by_ref().take(4 * dimensions).read_to_end(&mut unpacked)?;
    let (_, sizes) = unpacked.split_at(unpacked.len().min(4));
    let sizes = sizes.as_chunks::<4>().0.iter().map(|size| u64::from(u32::from_be_bytes(*size)));
    let promised = sizes.fold(1, u64::saturating_mul);
    // Deflate packs at most about a thousand to one: a header that promises more lies, and is found out without the rest.
    if promised <= bytes.len() as u64 * 1100 {
        // The byte more is the end of a good file, where its checksum is checked.
        decoder.take(promised + 1).read_to_end(&mut unpacked)?;
    }
    Ok(unpacked)
}

/// The first four bytes, also through gzip.
fn magic(path: &Path) -> Option<u32> {
    let mut bytes = first_bytes(path, 4096);
    if bytes.starts_with(&GZIP) {
        let mut start = [0; 4];
        GzDecoder::new(&bytes[..]).read_exact(&mut start).ok()?;
        bytes = start.to_vec();
    }
    bytes.first_chunk().map(|start| u32::from_be_bytes(*start))
}

/// The images file of a folder as MNIST's own page, torchvision or Debian lay it out.
fn images_in(folder: &Path, split: Split) -> Option<PathBuf> {
    let prefix = if split == Split::Train { "train" } else { "t10k" };
    let folders = ["", "raw", "MNIST/raw", "FashionMNIST/raw"].map(|inner| folder.join(inner));
    let names = ["images-idx3-ubyte", "images-idx3-ubyte.gz", "images.idx3-ubyte", "images.idx3-ubyte.gz"];
    let mut candidates = folders.iter().flat_map(|folder| names.map(|name| folder.join(format!("{prefix}-{name}"))));
    candidates.find(|candidate| candidate.is_file())
}

/// The labels file that belongs to an images file.
fn labels_beside(images: &Path) -> Result<PathBuf, DataError> {
    let name = name_of(images).replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    let plain = name.strip_suffix(".gz").unwrap_or(&name).to_owned();
    let candidates =
        [images.with_file_name(&name), images.with_file_name(&plain), images.with_file_name(format!("{plain}.gz"))];
    if name == name_of(images) {
        return Err(content(
            images,
            "its labels cannot be found; give the file a name with `images`, as in train-images",
        ));
    }
    let found = candidates.iter().find(|candidate| magic(candidate) == Some(LABELS));
    // A damaged file of the right name is told as such when it is read.
    found
        .or_else(|| candidates.iter().find(|candidate| candidate.is_file()))
        .cloned()
        .ok_or_else(|| content(images, format!("its labels are missing; expected {name} beside it")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::open as open_any;

    fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn folder(images: &[u8], labels: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t10k-images-idx3-ubyte.gz"), gzip(images)).unwrap();
        std::fs::write(folder.path().join("t10k-labels-idx1-ubyte"), labels).unwrap();
        folder
    }

    fn message(path: &Path) -> String {
        open_any(Some(path), &OpenOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_is_read_by_split_and_a_file_by_its_neighbour() {
        let folder = folder(&idx(&[2, 1, 3], &[0, 1, 2, 3, 4, 5]), &idx(&[2], &[9, 4]));
        for path in [folder.path().to_owned(), folder.path().join("t10k-images-idx3-ubyte.gz")] {
            let data = open_any(Some(&path), &OpenOptions::default()).unwrap();
            let images = data.read(&[1]).unwrap();
            assert_eq!((images.pixels, images.shape, images.labels), (vec![3, 4, 5], [1, 1, 1, 3], vec![4]));
        }
        let train = OpenOptions { split: Split::Train, ..OpenOptions::default() };
        let message = open_any(Some(folder.path()), &train).unwrap_err().to_string();
        assert!(message.contains("only test images") && message.contains("--split test"), "{message}");
        let labels = folder.path().join("t10k-labels-idx1-ubyte");
        assert!(self::message(&labels).contains("these are labels"));
    }

    #[test]
    fn damage_is_told_in_one_line() {
        let images = idx(&[2, 1, 3], &[0; 6]);
        let counts = folder(&images, &idx(&[3], &[0; 3]));
        assert!(message(counts.path()).contains("2 images but 3 labels"));
        let truncated = folder(&images[..images.len() - 1], &idx(&[2], &[0; 2]));
        assert!(message(truncated.path()).contains("truncated"));
        let absurd = folder(&idx(&[u32::MAX, u32::MAX, 3], &[0; 6]), &idx(&[2], &[0; 2]));
        assert!(message(absurd.path()).lines().count() == 1);
        let lonely = folder(&images, &[]);
        assert!(message(lonely.path()).contains("labels-idx1-ubyte: the file is truncated"));
        std::fs::remove_file(lonely.path().join("t10k-labels-idx1-ubyte")).unwrap();
        assert!(message(lonely.path()).contains("expected t10k-labels-idx1-ubyte.gz beside it"));
        let none = folder(&idx(&[0, 1, 3], &[]), &idx(&[0], &[]));
        assert!(message(none.path()).contains("no images"));
        let file = none.path().join("t10k-images-idx3-ubyte.gz");
        let pixels: Vec<u8> = (0..9 * 784_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let packed = gzip(&idx(&[9, 28, 28], &pixels));
        std::fs::write(&file, &packed[..packed.len() / 2]).unwrap();
        assert!(message(&file).contains("gzip content is damaged"));
        // Damage at the start, where the format itself cannot be seen any more.
        for path in [&file, none.path()] {
            std::fs::write(&file, [&packed[..10], &[0xff; 30]].concat()).unwrap();
            assert!(message(path).contains("gzip content is damaged"));
        }
    }

    #[test]
    fn a_small_file_cannot_fill_the_memory() {
        let bomb = gzip(&[idx(&[2, 28, 28], &[]), vec![0; 1 << 22]].concat());
        assert_eq!(gunzip(&bomb).unwrap().len(), 16 + 2 * 784 + 1);
        let liar = gzip(&[idx(&[u32::MAX, u32::MAX, 1], &[]), vec![0; 1 << 22]].concat());
        assert_eq!(gunzip(&liar).unwrap().len(), 16);
        let mut wrong_checksum = gzip(&idx(&[1, 1, 1], &[7]));
        let at = wrong_checksum.len() - 8;
        wrong_checksum[at] ^= 1;
        assert!(gunzip(&wrong_checksum).is_err());
    }

    #[test]
    fn the_folder_of_the_images_tells_fashion_from_digits() {
        let folder = tempfile::tempdir().unwrap();
        for (inner, class) in [("MNIST/raw", "4"), ("FashionMNIST/raw", "Coat")] {
            let root = folder.path().join(class);
            std::fs::create_dir_all(root.join(inner)).unwrap();
            std::fs::write(root.join(inner).join("t10k-images-idx3-ubyte"), idx(&[1, 1, 1], &[0])).unwrap();
            std::fs::write(root.join(inner).join("t10k-labels-idx1-ubyte"), idx(&[1], &[4])).unwrap();
            assert_eq!(open_any(Some(&root), &OpenOptions::default()).unwrap().info().classes[4], class);
        }
    }
}
