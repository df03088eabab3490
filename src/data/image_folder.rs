//! A folder with one folder per class, each full of PNG or JPEG images.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{
    ClassList, DataError, Dataset, DatasetInfo, Images, OpenOptions, Opened, Split, content, first_bytes, name_of,
    only_other_split, read_file, unreadable,
};
use crate::input;
use crate::text::names;

/// Most pixels of an image; a damaged header can claim 2^62.
const LARGEST: u64 = 1 << 26;

/// Images on disk, decoded when they are asked for.
#[derive(Debug)]
struct ImageFolder {
    info: DatasetInfo,
    files: Vec<PathBuf>,
    labels: Vec<u32>,
    notes: Vec<String>,
    options: OpenOptions,
    path: PathBuf,
    /// sha256 of the files that have been hashed, by their places.
    digests: Mutex<BTreeMap<usize, [u8; 32]>>,
}

/// Class folders in the folder itself, or in its `train`, `test` or `val` folder.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Option<Opened> {
    if !path.is_dir() {
        return None;
    }
    let part = part(path, options.split);
    if part.is_none() && self::part(path, options.split.other()).is_some() {
        return Some(Err(only_other_split(path, options.split)));
    }
    let split = part.is_some().then_some(options.split);
    let root = part.unwrap_or_else(|| path.to_owned());
    Some(list(path, &root).and_then(|listing| index(path, split, listing, options)))
}

/// The folder of a part. It holds folders; one that holds images is a class that happens to have its name, say `train`.
fn part(path: &Path, split: Split) -> Option<PathBuf> {
    let names: &[&str] = if split == Split::Train { &["train"] } else { &["test", "val", "valid", "validation"] };
    let holds_folders = |folder: &PathBuf| {
        std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()))
    };
    names.iter().map(|name| path.join(name)).find(holds_folders)
}

/// The classes of a folder, and what is in it besides.
#[derive(Default)]
struct Listing {
    classes: Vec<String>,
    files: Vec<PathBuf>,
    labels: Vec<u32>,
    notes: Vec<String>,
}

/// Class names and image files in the order of their names; names that are all numbers in the order of these. Folders without images are no
/// classes.
fn list(path: &Path, root: &Path) -> Result<Listing, DataError> {
    let sorted = |folder: &Path| -> Result<Vec<PathBuf>, DataError> {
        let paths = |entries: std::fs::ReadDir| entries.map(|entry| Ok(entry?.path())).collect();
        let read: std::io::Result<Vec<PathBuf>> = std::fs::read_dir(folder).and_then(paths);
        let mut entries = read.map_err(|source| unreadable(folder, source))?;
        entries.sort_unstable();
        Ok(entries)
    };
    let is_shown = |entry: &PathBuf| !name_of(entry).starts_with('.');
    let entries = sorted(root)?;
    if entries.is_empty() {
        return Err(content(
            path,
            "the folder is empty; expected IDX, CIFAR or .npz files, or one folder of images per class",
        ));
    }
    let mut folders: Vec<PathBuf> = entries.into_iter().filter(|entry| is_shown(entry) && entry.is_dir()).collect();
    let number = |folder: &PathBuf| name_of(folder).parse::<u64>().ok();
    if folders.iter().all(|folder| number(folder).is_some()) {
        folders.sort_by_key(number);
    }
    let mut found = Listing::default();
    let (mut empty, mut unread) = (Vec::new(), Vec::new());
    for folder in folders {
        // Hidden files are none of the user's: macOS puts one beside each image that it copies, ._x.png beside x.png.
        let files = sorted(&folder)?.into_iter().filter(is_shown);
        let (images, others): (Vec<PathBuf>, Vec<PathBuf>) = files.partition(|file| looks_like_an_image(file));
        unread.extend(others.into_iter().filter(|it| !it.is_dir()));
        if images.is_empty() {
            empty.push(name_of(&folder));
            continue;
        }
        found.labels.extend(std::iter::repeat_n(found.classes.len() as u32, images.len()));
        found.files.extend(images);
        found.classes.push(name_of(&folder));
    }
    if found.files.is_empty() {
        let expected =
            "expected IDX (MNIST, Fashion-MNIST), CIFAR batches, .npz, or one folder of PNG or JPEG images per class";
        let others = unread_note(root, &unread).map_or(String::new(), |note| format!(" ({note})"));
        return Err(content(path, format!("no images of a known kind in it{others}; {expected}")));
    }
    if !empty.is_empty() {
        found.notes.push(format!("folders without images are no classes: {}", names::some(&empty, 8)));
    }
    found.notes.extend(unread_note(root, &unread));
    Ok(found)
}

/// How many files were left out, of which kinds, and one of them.
fn unread_note(root: &Path, files: &[PathBuf]) -> Option<String> {
    let first = files.first()?;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let kind = file
            .extension()
            .map_or("no ending".to_owned(), |kind| format!(".{}", names::shown(&kind.to_string_lossy())));
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.into_iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let first = names::shown(&first.strip_prefix(root).unwrap_or(first).to_string_lossy());
    let (n, kinds) = (files.len(), names::some(&kinds, 8));
    Some(format!("{n} file(s) are neither PNG nor JPEG and were left out: {kinds}, such as {first}"))
}

/// By its name, or by its content where the name does not say.
fn looks_like_an_image(file: &Path) -> bool {
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("png" | "jpg" | "jpeg") => true,
        _ => matches!(first_bytes(file, 4)[..], [0x89, b'P', b'N', b'G'] | [0xff, 0xd8, 0xff, _]),
    }
}

/// Reads every header: sizes and color tell whether the images belong together, before hours of work depend on it.
fn index(path: &Path, split: Option<Split>, listing: Listing, options: &OpenOptions) -> Opened {
    let Listing { classes, files, labels, notes } = listing;
    let headers = in_order(&files, |file| header(file, options))?;
    let [height, width, _] = headers[0];
    if let Some(at) = headers.iter().position(|&[h, w, _]| (h, w) != (height, width)) {
        let problem = format!(
            "{}×{} pixels, but {} has {height}×{width}; make them equal with --resize and --crop",
            headers[at][0],
            headers[at][1],
            files[0].display()
        );
        return Err(content(&files[at], problem));
    }
    let channels = if headers.iter().all(|&[_, _, channels]| channels == 1) { 1 } else { 3 };
    let info = DatasetInfo {
        name: name_of(path),
        format: "image-folder",
        split,
        classes,
        n: files.len(),
        channels,
        height,
        width,
    };
    let (options, path) = (options.clone(), path.to_owned());
    Ok(Box::new(ImageFolder { info, files, labels, notes, options, path, digests: Mutex::default() }))
}

/// Applies `work` to all items in parallel; of several errors the first one's is told, whichever came first.
fn in_order<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, DataError> + Send + Sync,
) -> Result<Vec<R>, DataError> {
    items.par_iter().map(work).collect::<Vec<_>>().into_iter().collect()
}

/// Height, width after resizing and cropping, and 1 for grey or 3 for color.
fn header(file: &Path, options: &OpenOptions) -> Result<[usize; 3], DataError> {
    use image::ImageDecoder as _;
    check_whole(file)?;
    let opened = std::io::BufReader::new(input::open(file).map_err(|source| unreadable(file, source))?);
    let decoder = guessed(file, opened)?.into_decoder().map_err(|error| undecodable(file, &error))?;
    let (width, height) = decoder.dimensions();
    let grey = !decoder.color_type().has_color();
    let (width, height) = resized(width, height, options);
    if u64::from(width) * u64::from(height) > LARGEST {
        return Err(content(file, format!("{height}×{width} pixels are too many; lower --resize or remove the file")));
    }
    if options.crop.is_some_and(|side| side > width || side > height) {
        let size = format!("{height}×{width} pixels");
        return Err(content(file, format!("{size} are smaller than --crop; lower it, or give --resize")));
    }
    let (width, height) = options.crop.map_or((width, height), |side| (side, side));
    Ok([height as usize, width as usize, if grey { 1 } else { 3 }])
}

fn guessed<R: std::io::BufRead + std::io::Seek>(file: &Path, content: R) -> Result<ImageReader<R>, DataError> {
    ImageReader::new(content).with_guessed_format().map_err(|source| unreadable(file, source))
}

/// Refuses what is no regular file, and a JPEG without its end marker: decoders fill the missing part with grey.
fn check_whole(file: &Path) -> Result<(), DataError> {
    let length = match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(content(file, "not a regular file; remove it")),
        Err(source) => return Err(unreadable(file, source)),
    };
    if !first_bytes(file, 3).starts_with(&[0xff, 0xd8, 0xff]) {
        return Ok(());
    }
    let mut end = Vec::new();
    let mut opened = input::open(file).map_err(|source| unreadable(file, source))?;
    // Some cameras append a little after the end marker.
    let tail = SeekFrom::Start(length.saturating_sub(4096));
    opened.seek(tail).and_then(|_| opened.read_to_end(&mut end)).map_err(|source| unreadable(file, source))?;
    match end.windows(2).any(|pair| pair == [0xff, 0xd9]) {
        true => Ok(()),
        false => Err(content(file, "the JPEG has no end marker, so it is truncated; replace or remove it")),
    }
}

fn undecodable(file: &Path, error: &image::ImageError) -> DataError {
    let line = error.to_string().lines().next().unwrap_or_default().to_owned();
    content(file, format!("cannot be decoded ({line}); replace or remove it"))
}

/// Size after scaling the shorter side. The longer one is rounded down, as torchvision's `Resize` does.
fn resized(width: u32, height: u32, options: &OpenOptions) -> (u32, u32) {
    let Some(side) = options.resize else { return (width, height) };
    let (short, long) = (u64::from(width.min(height).max(1)), u64::from(width.max(height)));
    let long = u32::try_from(u64::from(side) * long / short).unwrap_or(u32::MAX);
    if width <= height { (side, long) } else { (long, side) }
}

/// Where a central cut starts. Halves go to the even side, as in torchvision's `CenterCrop`.
fn margin(length: u32, side: u32) -> u32 {
    let (half, odd) = ((length - side) / 2, (length - side) % 2);
    half + odd * (half % 2)
}

impl ImageFolder {
    fn hashed(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, [u8; 32]>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image's bytes, channel after channel.
    fn decode(&self, place: usize) -> Result<Vec<u8>, DataError> {
        let file = &self.files[place];
        let bytes = read_file(file)?;
        let changed = || content(file, "the file has changed since it was opened");
        if self.hashed().get(&place).is_some_and(|digest| *digest != digest_of(&bytes)) {
            return Err(changed());
        }
        let decoder = guessed(file, Cursor::new(bytes))?;
        let mut decoded = decoder.decode().map_err(|error| undecodable(file, &error))?;
        let (width, height) = resized(decoded.width(), decoded.height(), &self.options);
        if (width, height) != (decoded.width(), decoded.height()) {
            decoded = decoded.resize_exact(width, height, FilterType::Triangle);
        }
        // The file may be another one by now.
        if let Some(side) = self.options.crop.filter(|&side| side <= width && side <= height) {
            decoded = decoded.crop_imm(margin(width, side), margin(height, side), side, side);
        }
        if (decoded.height() as usize, decoded.width() as usize) != (self.info.height, self.info.width) {
            return Err(changed());
        }
        Ok(planes(&decoded, self.info.channels))
    }
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn planes(image: &DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return image.to_luma8().into_raw();
    }
    let interleaved = image.to_rgb8().into_raw();
    (0..channels).flat_map(|channel| interleaved.iter().skip(channel).step_by(channels).copied()).collect()
}

impl Dataset for ImageFolder {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn folders(&self) -> Option<Option<&ClassList>> {
        Some(self.options.classes.as_ref())
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn sha256(&self, places: &[usize]) -> Result<String, DataError> {
        let digests = in_order(places, |&place| {
            let known = self.hashed().get(&place).copied();
            known.map_or_else(|| read_file(&self.files[place]).map(|bytes| digest_of(&bytes)), Ok)
        })?;
        let mut all = Sha256::new();
        for (&place, digest) in places.iter().zip(&digests) {
            all.update(self.labels[place].to_le_bytes());
            all.update(digest);
        }
        self.hashed().extend(places.iter().copied().zip(digests));
        self.options.expect(&self.path, data_encoding::HEXLOWER.encode(&all.finalize()))
    }

    fn read(&self, places: &[usize]) -> Result<Images, DataError> {
        let decoded = in_order(places, |&place| self.decode(place))?;
        let DatasetInfo { channels, height, width, .. } = self.info;
        let labels = places.iter().map(|&place| self.labels[place]).collect();
        Ok(Images { pixels: decoded.concat(), shape: [places.len(), channels, height, width], labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::open as open_any;

    fn folder(images: &[(&str, u32, u32, [u8; 3])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, width, height, color) in images {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_pixel(*width, *height, image::Rgb(*color)).save(path).unwrap();
        }
        folder
    }

    fn open_with(folder: &Path, resize: Option<u32>, crop: Option<u32>) -> Result<Box<dyn Dataset>, String> {
        let options = OpenOptions { resize, crop, ..OpenOptions::default() };
        open_any(Some(folder), &options).map_err(|error| error.to_string())
    }

    #[test]
    fn classes_are_the_sorted_folder_names() {
        let folder = folder(&[("dog/a.png", 2, 2, [1, 2, 3]), ("cat/b.png", 2, 2, [4, 5, 6])]);
        let data = open_with(folder.path(), None, None).unwrap();
        assert_eq!(
            (data.info().classes.clone(), data.labels()),
            (vec!["cat".to_owned(), "dog".to_owned()], &[0, 1][..])
        );
        assert_eq!(data.read(&[1]).unwrap().pixels, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    }

    #[test]
    fn parts_are_chosen_by_split() {
        let folder = folder(&[("train/cat/a.png", 1, 1, [1; 3]), ("val/cat/b.png", 1, 1, [2; 3])]);
        assert_eq!(open_with(folder.path(), None, None).unwrap().read(&[0]).unwrap().pixels, [2; 3]);
        std::fs::remove_dir_all(folder.path().join("val")).unwrap();
        assert!(open_with(folder.path(), None, None).unwrap_err().contains("only train images"));
    }

    #[test]
    fn a_class_may_be_called_train_or_test() {
        let folder =
            folder(&[("train/a.png", 1, 1, [1; 3]), ("test/b.png", 1, 1, [2; 3]), ("car/c.png", 1, 1, [3; 3])]);
        assert_eq!(open_with(folder.path(), None, None).unwrap().info().classes, ["car", "test", "train"]);
    }

    #[test]
    fn files_beside_the_class_folders_do_not_matter() {
        let folder = folder(&[("cat/a.png", 1, 1, [1; 3])]);
        std::fs::write(folder.path().join("test"), "hello").unwrap();
        std::fs::write(folder.path().join("test.bin"), "hello").unwrap();
        assert_eq!(open_with(folder.path(), None, None).unwrap().info().n, 1);
    }

    #[test]
    fn grey_stays_grey_and_becomes_color_beside_color() {
        let folder = folder(&[("cat/a.png", 1, 1, [0; 3])]);
        image::GrayImage::from_pixel(1, 1, image::Luma([7])).save(folder.path().join("cat/a.png")).unwrap();
        assert_eq!(open_with(folder.path(), None, None).unwrap().read(&[0]).unwrap().shape, [1, 1, 1, 1]);
        image::RgbaImage::from_pixel(1, 1, image::Rgba([1, 2, 3, 9])).save(folder.path().join("cat/b.png")).unwrap();
        assert_eq!(open_with(folder.path(), None, None).unwrap().read(&[0, 1]).unwrap().pixels, [7, 7, 7, 1, 2, 3]);
    }

    #[test]
    fn sizes_and_cuts_are_those_of_torchvision() {
        let options = |side| OpenOptions { resize: Some(side), ..OpenOptions::default() };
        // 32 · 87 / 64 is 43.5: cut off, not rounded up.
        assert_eq!(resized(267, 401, &options(256)), (256, 384));
        assert_eq!(resized(87, 64, &options(32)), (43, 32));
        assert_eq!([margin(10, 7), margin(9, 7), margin(11, 6), margin(8, 7)], [2, 1, 2, 0]);
    }

    #[test]
    fn absurd_sizes_are_refused_when_the_folder_is_opened() {
        let folder = folder(&[("cat/a.png", 1, 4000, [9; 3])]);
        assert!(open_with(folder.path(), Some(2_000_000), None).unwrap_err().contains("too many"));
    }

    #[test]
    fn sizes_must_agree_or_be_made_to() {
        let folder = folder(&[("cat/a.png", 4, 4, [9; 3]), ("cat/b.png", 8, 6, [9; 3])]);
        let message = open_with(folder.path(), None, None).unwrap_err();
        assert!(message.contains("b.png") && message.contains("--resize"), "{message}");
        let data = open_with(folder.path(), Some(4), Some(4)).unwrap();
        assert_eq!(data.read(&[0, 1]).unwrap().shape, [2, 3, 4, 4]);
        assert!(open_with(folder.path(), None, Some(5)).unwrap_err().contains("--crop"));
    }

    #[test]
    fn a_corrupt_png_among_good_ones_is_named() {
        let folder = folder(&[("cat/a.png", 2, 2, [9; 3]), ("cat/b.png", 2, 2, [9; 3])]);
        let bad = folder.path().join("cat/b.png");
        let bytes = std::fs::read(&bad).unwrap();
        std::fs::write(&bad, b"\x89PNG nonsense").unwrap();
        assert!(open_with(folder.path(), None, None).unwrap_err().contains("b.png"));
        // A good header with damaged pixels shows when the image is read.
        std::fs::write(&bad, &bytes[..bytes.len() - 20]).unwrap();
        let message =
            open_with(folder.path(), None, None).and_then(|data| data.read(&[0, 1]).map_err(|error| error.to_string()));
        assert!(message.unwrap_err().contains("b.png"));
    }

    #[test]
    fn a_truncated_jpeg_is_named() {
        let folder = folder(&[("cat/a.jpg", 64, 64, [9, 99, 199])]);
        let path = folder.path().join("cat/a.jpg");
        assert!(open_with(folder.path(), None, None).is_ok());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
        let message = open_with(folder.path(), None, None).unwrap_err();
        assert!(message.contains("a.jpg") && message.contains("truncated"), "{message}");
    }

    #[test]
    fn a_folder_is_what_its_images_hold() {
        let [first, second, third] = [[1, 2, 3], [1, 2, 3], [1, 2, 4]]
            .map(|color| folder(&[("cat/a.png", 2, 2, color), ("dog/b.png", 2, 2, [9; 3])]));
        let sha256 = |folder: &Path, places: &[usize]| open_with(folder, None, None).unwrap().sha256(places).unwrap();
        let whole = sha256(first.path(), &[0, 1]);
        assert_eq!(whole, sha256(second.path(), &[0, 1]));
        // Same names and sizes, another image; the same images otherwise.
        assert_ne!(whole, sha256(third.path(), &[0, 1]));
        assert_eq!(sha256(first.path(), &[1]), sha256(third.path(), &[1]));
        let options = OpenOptions { sha256: Some(whole.clone()), ..OpenOptions::default() };
        let expecting = |folder: &Path| open_any(Some(folder), &options).unwrap().sha256(&[0, 1]);
        assert_eq!(expecting(second.path()).unwrap(), whole);
        assert!(expecting(third.path()).unwrap_err().to_string().contains("the data have changed"));
        // Between the hash and the reading, too.
        let data = open_with(first.path(), None, None).unwrap();
        data.sha256(&[0]).unwrap();
        std::fs::copy(third.path().join("cat/a.png"), first.path().join("cat/a.png")).unwrap();
        assert!(data.read(&[0]).unwrap_err().to_string().contains("has changed since"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_no_image_and_nothing_waits_for_it() {
        let folder = folder(&[("cat/a.png", 1, 1, [1; 3])]);
        let pipe = |name: &str| {
            let path = folder.path().join("cat").join(name);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        pipe("nameless");
        assert_eq!(open_with(folder.path(), None, None).unwrap().info().n, 1);
        let image = pipe("b.png");
        assert!(open_with(folder.path(), None, None).unwrap_err().contains("b.png: not a regular file"));
        std::fs::remove_file(&image).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &image).unwrap();
        assert!(open_with(folder.path(), None, None).unwrap_err().contains("b.png: not a regular file"));
    }

    #[test]
    fn numbers_are_in_their_order_and_what_is_no_image_is_named() {
        let images: Vec<String> = (0..12).map(|class| format!("{class}/a.png")).collect();
        let folder = folder(&images.iter().map(|name| (name.as_str(), 1, 1, [1; 3])).collect::<Vec<_>>());
        for (name, bytes) in [("3/._a.png", "x"), ("3/b.webp", "x"), ("4/Thumbs.db", "x"), ("4/c.webp", "x")] {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        std::fs::create_dir(folder.path().join("12")).unwrap();
        let data = open_with(folder.path(), None, None).unwrap();
        assert_eq!(
            (data.info().n, &data.info().classes[..3], &data.info().classes[10]),
            (12, &["0", "1", "2"].map(str::to_owned)[..], &"10".to_owned())
        );
        let [empty, others] = data.notes() else { panic!("{:?}", data.notes()) };
        assert!(empty.ends_with("no classes: 12"), "{empty}");
        assert!(
            others.starts_with("3 file(s)") && others.contains("1 .db, 2 .webp") && others.ends_with("3/b.webp"),
            "{others}"
        );
    }

    #[test]
    fn folders_without_images_are_refused() {
        let empty = tempfile::tempdir().unwrap();
        assert!(open_with(empty.path(), None, None).unwrap_err().contains("empty"));
        std::fs::create_dir(empty.path().join("cat")).unwrap();
        assert!(open_with(empty.path(), None, None).unwrap_err().contains("no images"));
    }
}
