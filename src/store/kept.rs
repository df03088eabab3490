//! The adversarial pixels of an attack on disk: batch by batch while it runs, whole when it is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use super::pixels::{PictureError, PixelFile};
use super::{RunFolder, part_file};
use crate::model::format::FormatError;

/// Appends an attack's batches to a file, so that a killed run loses no batch.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Opens the file of an attack whose images have this shape; a record that a killed run left half written is cut off.
    pub(crate) fn open(folder: &RunFolder, label: &str, shape: [usize; 3]) -> Result<Self, FormatError> {
        let name = part_file(label);
        let path = folder.path(&name);
        let open = || {
            let mut file = folder.change(&name)?;
            let record = record_length(shape) as u64;
            let length = file.metadata()?.len();
            file.set_len(length - length % record)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(FormatError::Write { path, source }),
        }
    }

    /// Hands images to the system, each with its sample.
    pub(crate) fn append<'a>(&mut self, images: impl Iterator<Item = (usize, &'a [f32])>) -> Result<(), FormatError> {
        let mut bytes = Vec::new();
        for (sample, pixels) in images {
            bytes.extend((sample as u64).to_le_bytes());
            bytes.extend(pixels.iter().flat_map(|value| value.to_le_bytes()));
        }
        self.file.write_all(&bytes).map_err(|source| FormatError::Write { path: self.path.clone(), source })
    }
}

fn record_length(shape: [usize; 3]) -> usize {
    size_of::<u64>() + shape.iter().product::<usize>() * size_of::<f32>()
}

/// Pixels that an earlier part of the run left on disk, by sample.
#[derive(Debug, Default)]
pub(crate) struct Kept(BTreeMap<usize, Vec<f32>>);

impl Kept {
    /// What there is of an attack, whatever of it can be read; `shape` is `[C, H, W]`.
    pub(crate) fn read(folder: &RunFolder, label: &str, shape: [usize; 3]) -> Self {
        let mut kept = BTreeMap::new();
        // A file that is not there, or not whole, holds nothing: its samples are attacked again.
        if let Ok(Some(file)) = folder.file(&part_file(label)) {
            let _ = read_part(file, shape, &mut kept);
        }
        let whole = read_whole(folder, label, shape).unwrap_or_default();
        kept.extend(whole);
        Self(kept)
    }

    pub(crate) fn samples(&self) -> BTreeSet<usize> {
        self.0.keys().copied().collect()
    }

    /// The pixels of a sample, row-major `[C, H, W]`.
    pub(crate) fn pixels(&self, sample: usize) -> Option<&[f32]> {
        self.0.get(&sample).map(Vec::as_slice)
    }
}

fn read_part(file: File, shape: [usize; 3], kept: &mut BTreeMap<usize, Vec<f32>>) -> io::Result<()> {
    let mut record = vec![0; record_length(shape)];
    let mut file = BufReader::new(file);
    loop {
        match file.read_exact(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let (sample, pixels) = record.split_at(size_of::<u64>());
        let sample = u64::from_le_bytes(sample.try_into().map_err(io::Error::other)?);
        kept.insert(sample as usize, pixels.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
    }
}

/// All or nothing of the file.
fn read_whole(folder: &RunFolder, label: &str, shape: [usize; 3]) -> Result<BTreeMap<usize, Vec<f32>>, PictureError> {
    let file = PixelFile::adversarial_in(folder, label)?;
    let Some(mut file) = file.filter(|it| it.shape() == shape && it.is_exact()) else { return Ok(BTreeMap::new()) };
    let samples = file.samples().to_vec();
    samples.into_iter().enumerate().map(|(row, sample)| Ok((sample as usize, file.picture(row)?.pixels))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ADVERSARIAL_FOLDER, adversarial_file};
    use super::*;

    const SHAPE: [usize; 3] = [1, 2, 2];

    #[test]
    fn whole_records_come_back_and_half_ones_are_cut_off() {
        let inside = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(inside.path()).unwrap();
        folder.make_folder(ADVERSARIAL_FOLDER).unwrap();
        let path = inside.path().join(part_file("pgd"));
        let pixels: Vec<[f32; 4]> = (0_u8..3).map(|it| [f32::from(it), 0.25, 0.5, 1.0]).collect();
        let append = || {
            let images = [4, 9, 2].into_iter().zip(&pixels).map(|(sample, pixels)| (sample, &pixels[..]));
            Part::open(&folder, "pgd", SHAPE).unwrap().append(images).unwrap();
        };
        append();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let kept = Kept::read(&folder, "pgd", SHAPE);
        assert_eq!(kept.samples(), BTreeSet::from([4, 9]));
        append();
        let kept = Kept::read(&folder, "pgd", SHAPE);
        assert_eq!(
            (kept.pixels(2), kept.pixels(9), kept.pixels(3)),
            (Some(&pixels[2][..]), Some(&pixels[1][..]), None)
        );
    }

    #[test]
    fn what_cannot_be_read_holds_nothing() {
        let inside = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(inside.path()).unwrap();
        folder.make_folder(ADVERSARIAL_FOLDER).unwrap();
        folder.write(&adversarial_file("pgd"), b"\xff\xff\xff\xff\xff\xff\xff\x7fno header").unwrap();
        assert!(Kept::read(&folder, "pgd", SHAPE).samples().is_empty());
    }
}
