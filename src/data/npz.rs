//! NumPy archives with images `x` and labels `y`.
//!
//! Format: NumPy's `numpy.lib.format`.

use std::io::{BufReader, Cursor, Read as _};
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::{DType, NpyFile, TypeChar};

use super::memory::{InMemory, identified};
use super::{DataError, Images, OpenOptions, Opened, Split, content, first_bytes, only_other_split, read_file};

/// Names of the two arrays, in order of preference, and the part of the data that they are.
const NAMES: [(&str, &str, Option<Split>); 4] = [
    ("x", "y", None),
    ("x_train", "y_train", Some(Split::Train)),
    ("x_test", "y_test", Some(Split::Test)),
    ("images", "labels", None),
];

type Archive<'a> = NpzArchive<Cursor<&'a [u8]>>;

pub(super) fn open(path: &Path, options: &OpenOptions) -> Option<Opened> {
    let is_zip = path.is_file() && first_bytes(path, 4).starts_with(b"PK");
    is_zip.then(|| read(path, options))
}

fn read(path: &Path, options: &OpenOptions) -> Opened {
    let bytes = read_file(path)?;
    let digest = identified(path, options, [bytes.as_slice()])?;
    let damaged =
        |error: std::io::Error| content(path, format!("cannot be read as .npz ({error}); it is damaged or truncated"));
    let mut archive = NpzArchive::new(Cursor::new(bytes.as_slice())).map_err(damaged)?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let has = |name: &str| names.iter().any(|it| it == name);
    let there = || NAMES.iter().copied().filter(|(x, y, _)| has(x) && has(y));
    let (x, y, split) = match there().find(|(_, _, part)| part.is_none_or(|part| part == options.split)) {
        // Both parts are there: it is one of them that is meant.
        Some((_, _, None)) if there().filter(|(_, _, part)| part.is_some()).count() == 2 => {
            there().find(|(_, _, part)| *part == Some(options.split))
        }
        found => found,
    }
    .ok_or_else(|| match there().next() {
        Some(_) => only_other_split(path, options.split),
        None => content(path, format!("its arrays are {}; expected x and y", names.join(", "))),
    })?;
    let (shape, pixels) = images(path, &mut archive, x, bytes.len())?;
    let labels = labels(path, &mut archive, y, bytes.len())?;
    InMemory::open(path, "npz", split, &[], Images { pixels, shape, labels }, digest)
}

/// u8, or floats that are bytes divided by 255; NCHW, NHWC or NHW.
fn images(
    path: &Path,
    archive: &mut Archive<'_>,
    name: &str,
    length: usize,
) -> Result<([usize; 4], Vec<u8>), DataError> {
    let byte = |at: usize, number: Number| match number {
        Number::Integer(value) => u8::try_from(value)
            .map_err(|_| content(path, format!("{name} holds integers outside 0 to 255; save them as uint8"))),
        Number::Float(value) => byte(value).ok_or_else(|| {
            let found = format!("{name} holds {value} at element {at}");
            content(path, format!("{found}; floats must be bytes divided by 255, or save them as uint8"))
        }),
    };
    let (shape, mut pixels) = array(path, archive, name, length, &byte)?;
    let is_channels = |size: usize| size == 1 || size == 3;
    let (shape, channels_last) = match shape[..] {
        [n, height, width] => ([n, 1, height, width], false),
        [n, channels, height, width] if is_channels(channels) => ([n, channels, height, width], false),
        [n, height, width, channels] if is_channels(channels) => ([n, channels, height, width], true),
        _ => {
            let expected = "expected [N, C, H, W], [N, H, W, C] or [N, H, W] with 1 or 3 channels";
            return Err(content(path, format!("{name} has shape {shape:?}; {expected}")));
        }
    };
    if channels_last {
        let [_, channels, height, width] = shape;
        let area = height * width;
        for image in pixels.chunks_exact_mut((channels * area).max(1)) {
            let interleaved = image.to_vec();
            for (place, value) in image.iter_mut().enumerate() {
                *value = interleaved[(place % area) * channels + place / area];
            }
        }
    }
    Ok((shape, pixels))
}

/// The byte that a float in `[0, 1]` stands for, if it stands for one.
fn byte(value: f64) -> Option<u8> {
    let scaled = value * 255.0;
    let rounded = scaled.round();
    // 1e-4 of a step covers f32 rounding and nothing else.
    ((scaled - rounded).abs() < 1e-4 && (0.0..=255.0).contains(&rounded)).then_some(rounded as u8)
}

fn labels(path: &Path, archive: &mut Archive<'_>, name: &str, length: usize) -> Result<Vec<u32>, DataError> {
    let label = |at: usize, number: Number| match number {
        Number::Integer(value) => u32::try_from(value)
            .map_err(|_| content(path, format!("label {at} of {name} is not a class number from 0 up"))),
        Number::Float(_) => Err(content(path, format!("{name} holds floats; labels must be integers"))),
    };
    let (shape, labels) = array(path, archive, name, length, &label)?;
    if shape.len() != 1 && !(shape.len() == 2 && shape[1] == 1) {
        return Err(content(path, format!("{name} has shape {shape:?}; expected one label per image")));
    }
    Ok(labels)
}

/// An element of an array, of whatever type it is stored as.
enum Number {
    Integer(i128),
    Float(f64),
}

/// The shape of an array, and what becomes of each element and its place: element by element, because floats alone take eight times as much.
fn array<T>(
    path: &Path,
    archive: &mut Archive<'_>,
    name: &str,
    length: usize,
    take: &dyn Fn(usize, Number) -> Result<T, DataError>,
) -> Result<(Vec<usize>, Vec<T>), DataError> {
    check_header(path, archive, name)?;
    let damaged = |error: std::io::Error| {
        content(path, format!("array {name} cannot be read ({error}); the file is damaged or truncated"))
    };
    let entry = archive.zip_archive().by_name(&format!("{name}.npy"));
    let entry = entry.map_err(|_| content(path, format!("array {name} is missing")))?;
    // Elements are read one by one.
    let file = NpyFile::new(BufReader::with_capacity(1 << 16, entry)).map_err(damaged)?;
    let shape: Vec<usize> = file.shape().iter().map(|&size| size as usize).collect();
    let elements = shape.iter().try_fold(1_usize, |total, &size| total.checked_mul(size));
    // Deflate packs at most about a thousand to one: a header that promises more lies.
    if elements.is_none_or(|elements| elements > length.saturating_mul(1100)) {
        return Err(content(path, format!("array {name} claims shape {shape:?}, more than the file can hold")));
    }
    if file.order() != npyz::Order::C && shape.len() > 1 {
        return Err(content(path, format!("array {name} is stored column by column; save np.ascontiguousarray(...)")));
    }
    let dtype = match file.dtype() {
        DType::Plain(dtype) => dtype,
        other => return Err(content(path, format!("array {name} has type {}; expected numbers", other.descr()))),
    };
    let of_type = |error: npyz::DTypeError| damaged(std::io::Error::other(error));
    macro_rules! read {
        ($type:ty, $kind:ident) => {{
            let elements = file.data::<$type>().map_err(of_type)?.enumerate();
            elements.map(|(at, value)| take(at, Number::$kind(value.map_err(damaged)?.into()))).collect()
        }};
    }
    let taken: Result<Vec<T>, DataError> = match (dtype.type_char(), dtype.size_field()) {
        (TypeChar::Uint, 1) => read!(u8, Integer),
        (TypeChar::Uint, 2) => read!(u16, Integer),
        (TypeChar::Uint, 4) => read!(u32, Integer),
        (TypeChar::Uint, 8) => read!(u64, Integer),
        (TypeChar::Int, 1) => read!(i8, Integer),
        (TypeChar::Int, 2) => read!(i16, Integer),
        (TypeChar::Int, 4) => read!(i32, Integer),
        (TypeChar::Int, 8) => read!(i64, Integer),
        (TypeChar::Float, 4) => read!(f32, Float),
        (TypeChar::Float, 8) => read!(f64, Float),
        _ => {
            let expected = "expected uint8 images and integer labels";
            return Err(content(path, format!("array {name} has type {dtype}; {expected}")));
        }
    };
    Ok((shape, taken?))
}

/// Refuses a shape whose product overflows, which the array reader multiplies without a check.
fn check_header(path: &Path, archive: &mut Archive<'_>, name: &str) -> Result<(), DataError> {
    // NumPy pads its headers to 64 or 128 bytes; only ones with many named fields are longer.
    let mut start = Vec::new();
    let absurd = || content(path, format!("array {name} has an absurd or damaged header; save it again with np.savez"));
    let mut file = archive.zip_archive().by_name(&format!("{name}.npy")).map_err(|_| absurd())?;
    file.by_ref().take(4096).read_to_end(&mut start).map_err(|_| absurd())?;
    // The checksum is compared at the end of the entry, which a reader of arrays does not reach.
    std::io::copy(&mut file, &mut std::io::sink()).map_err(|error| {
        content(path, format!("array {name} is damaged ({error}); download or save the file again"))
    })?;
    let text = String::from_utf8_lossy(&start);
    let shape = text.split_once("shape").and_then(|(_, rest)| rest.split_once('(')?.1.split_once(')'));
    let (shape, _) = shape.ok_or_else(absurd)?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let product = sizes
        .map(|size| size.trim_end_matches('L').parse::<u64>().ok())
        .try_fold(1_u64, |product, size| product.checked_mul(size?.max(1)));
    product.map(|_| ()).ok_or_else(absurd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::open as open_any;
    use npyz::WriterBuilder as _;

    enum Numbers {
        Bytes(Vec<u8>),
        Integers(Vec<i64>),
        Floats(Vec<f64>),
    }

    fn npz(path: &Path, arrays: &[(&str, &[u64], Numbers)]) {
        let mut writer = npyz::npz::NpzWriter::create(path).unwrap();
        for (name, shape, numbers) in arrays {
            macro_rules! write {
                ($data:expr) => {{
                    let mut array =
                        writer.array(name, zip_options()).unwrap().default_dtype().shape(shape).begin_nd().unwrap();
                    array.extend($data.iter().copied()).unwrap();
                    array.finish().unwrap();
                }};
            }
            match numbers {
                Numbers::Bytes(data) => write!(data),
                Numbers::Integers(data) => write!(data),
                Numbers::Floats(data) => write!(data),
            }
        }
    }

    #[test]
    fn parts_are_chosen_by_split() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keras.npz");
        let one = |value: u8| Numbers::Bytes(vec![value; 4]);
        let label = || Numbers::Integers(vec![0]);
        let part = |split| {
            let data = open_any(Some(&path), &OpenOptions { split, ..OpenOptions::default() });
            data.map(|data| data.read(&[0]).unwrap().pixels[0]).map_err(|error| error.to_string())
        };
        let (image, n): (&[u64], &[u64]) = (&[1, 2, 2], &[1]);
        npz(
            &path,
            &[("x_train", image, one(1)), ("y_train", n, label()), ("x_test", image, one(2)), ("y_test", n, label())],
        );
        assert_eq!((part(Split::Train), part(Split::Test)), (Ok(1), Ok(2)));
        npz(&path, &[("x_test", image, one(2)), ("y_test", n, label())]);
        assert!(part(Split::Train).unwrap_err().contains("only test images"));
        npz(&path, &[("x_train", image, one(1)), ("y_train", n, label())]);
        assert!(part(Split::Test).unwrap_err().contains("--split train"));
    }

    /// An archive with headers that no writer would make: name, type, shape, bytes.
    fn raw(path: &Path, arrays: &[(&str, &str, &str, &[u8])]) {
        use std::io::Write as _;
        let mut zip = npyz::zip::ZipWriter::new(std::fs::File::create(path).unwrap());
        for (name, descr, shape, data) in arrays {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
            zip.start_file(format!("{name}.npy"), zip_options()).unwrap();
            zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
            zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
            zip.write_all(&[header.as_bytes(), data].concat()).unwrap();
        }
        zip.finish().unwrap();
    }

    fn zip_options() -> npyz::zip::write::FileOptions {
        npyz::zip::write::FileOptions::default()
    }

    fn opened(arrays: &[(&str, &[u64], Numbers)]) -> Result<Images, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        npz(&path, arrays);
        let data = open_any(Some(&path), &OpenOptions::default()).map_err(|error| error.to_string())?;
        Ok(data.read(&(0..data.info().n).collect::<Vec<_>>()).unwrap())
    }

    #[test]
    fn channels_are_found_and_moved_to_the_front() {
        let labels = || ("y", &[1_u64][..], Numbers::Integers(vec![4]));
        let first = opened(&[("x", &[1, 3, 1, 2], Numbers::Bytes(vec![1, 2, 3, 4, 5, 6])), labels()]).unwrap();
        let last = opened(&[("x", &[1, 1, 2, 3], Numbers::Bytes(vec![1, 3, 5, 2, 4, 6])), labels()]);
        // [1, 1, 2, 3] reads as one channel of 2×3 first.
        assert_eq!(last.unwrap().shape, [1, 1, 2, 3]);
        let last = opened(&[("x", &[1, 4, 2, 3], Numbers::Bytes((0..24).collect())), labels()]).unwrap();
        assert_eq!((last.shape, &last.pixels[..8]), ([1, 3, 4, 2], &[0, 3, 6, 9, 12, 15, 18, 21][..]));
        assert_eq!((first.shape, first.labels), ([1, 3, 1, 2], vec![4]));
    }

    #[test]
    fn floats_must_be_bytes() {
        let labels = || ("y", &[1_u64][..], Numbers::Bytes(vec![4]));
        let exact = Numbers::Floats(vec![0.0, 1.0, 128.0 / 255.0]);
        assert_eq!(opened(&[("x", &[1, 1, 3], exact), labels()]).unwrap().pixels, [0, 255, 128]);
        for bad in [0.5, -0.1, 2.0, f64::NAN] {
            let message = opened(&[("x", &[1, 1, 1], Numbers::Floats(vec![bad])), labels()]).unwrap_err();
            assert!(message.contains("divided by 255"), "{message}");
        }
    }

    #[test]
    fn mismatches_are_named() {
        let image = || ("x", &[1_u64, 1, 1][..], Numbers::Bytes(vec![4]));
        let message = |arrays: &[(&str, &[u64], Numbers)]| opened(arrays).unwrap_err();
        assert!(message(&[image(), ("y", &[2], Numbers::Bytes(vec![1, 2]))]).contains("1 images but 2 labels"));
        assert!(message(&[image(), ("y", &[1], Numbers::Integers(vec![-1]))]).contains("not a class number"));
        assert!(message(&[image(), ("z", &[1], Numbers::Bytes(vec![1]))]).contains("expected x and y"));
        assert!(
            message(&[("x", &[1, 2, 2, 2], Numbers::Bytes(vec![0; 8])), ("y", &[1], Numbers::Bytes(vec![1]))])
                .contains("1 or 3 channels")
        );
    }

    #[test]
    fn labels_of_every_integer_type_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        for descr in ["|u1", "|i1", "<u2", ">i2", "<u4", "<i4", "<u8", ">u8", "<i8"] {
            let size: usize = descr[2..].parse().unwrap();
            let mut label = vec![0; size];
            label[if descr.starts_with('>') { size - 1 } else { 0 }] = 7;
            raw(&path, &[("x", "|u1", "(1, 1, 1)", &[9]), ("y", descr, "(1,)", &label)]);
            assert_eq!(open_any(Some(&path), &OpenOptions::default()).unwrap().labels(), [7], "{descr}");
        }
    }

    #[test]
    fn absurd_shapes_are_refused_before_anything_is_allocated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        for shape in
            ["(0, 1099511627776, 1099511627776, 3)", "(4294967296, 4294967296, 2)", "(1000000, 28, 28)", "(-1,)"]
        {
            raw(&path, &[("x", "|u1", shape, &[9]), ("y", "|u1", "(1,)", &[7])]);
            let message = open_any(Some(&path), &OpenOptions::default()).unwrap_err().to_string();
            assert!(message.contains("array x"), "{shape}: {message}");
        }
    }

    #[test]
    fn a_changed_byte_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.npz");
        npz(&path, &[("x", &[1, 10, 10], Numbers::Bytes(vec![77; 100])), ("y", &[1], Numbers::Bytes(vec![1]))]);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|window| window == [77; 4]);
        // Where the writer compresses, any byte of the entry's data does.
        let at = at.unwrap_or(bytes.windows(4).position(|window| window == b".npy").unwrap() + 20);
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(open_any(Some(&path), &OpenOptions::default()).is_err());
    }

    #[test]
    fn every_truncation_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.npz");
        npz(&path, &[("x", &[1, 1, 2], Numbers::Bytes(vec![4, 5])), ("y", &[1], Numbers::Bytes(vec![1]))]);
        let good = std::fs::read(&path).unwrap();
        for end in (1..good.len()).step_by(7) {
            std::fs::write(&path, &good[..end]).unwrap();
            assert!(open_any(Some(&path), &OpenOptions::default()).is_err(), "{end}");
        }
    }
}
