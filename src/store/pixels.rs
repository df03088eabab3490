//! The pixels that a run keeps in its folder, one image at a time: plain numbers, whatever the file's size.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::picture::Picture;
use super::{CLEAN_FILE, PIXELS, RunFolder, SAMPLES, adversarial_file};
use crate::data::LONGEST_SIDE;

/// Why an image cannot be shown. One line each.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("{path}: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{path}: {what}; expected pixels as an audit writes them")]
    Damaged { path: String, what: String },
}

/// Most bytes of a file's header.
const HEADER: u64 = 1 << 20;

/// Most values of an image.
const IMAGE: usize = 3 * (LONGEST_SIDE as usize).pow(2);

/// The clean image of a sample, from a run's folder; none if the run kept none of it.
pub(crate) fn clean(folder: &Path, sample: usize) -> Result<Option<Picture>, PictureError> {
    of_sample(PixelFile::clean(folder)?, sample)
}

/// What an attack made of a sample; none if it was not attacked, or not yet.
pub fn adversarial(folder: &Path, label: &str, sample: usize) -> Result<Option<Picture>, PictureError> {
    of_sample(PixelFile::adversarial(folder, label)?, sample)
}

fn of_sample(file: Option<PixelFile>, sample: usize) -> Result<Option<Picture>, PictureError> {
    let Some(mut file) = file else { return Ok(None) };
    let row = file.samples.iter().position(|&place| place == sample as i64);
    row.map(|row| file.picture(row)).transpose()
}

/// The kept images of a run or of one of its attacks, read one at a time.
#[derive(Debug)]
pub struct PixelFile {
    file: File,
    path: PathBuf,
    shape: [usize; 3],
    dtype: Dtype,
    /// Where the pixels begin.
    start: u64,
    samples: Vec<i64>,
}

impl PixelFile {
    /// The clean images of a run; none if it kept none.
    pub fn clean(folder: &Path) -> Result<Option<Self>, PictureError> {
        Self::in_folder(folder, |folder| Self::open(folder, CLEAN_FILE))
    }

    fn in_folder(
        path: &Path,
        open: impl FnOnce(&RunFolder) -> Result<Option<Self>, PictureError>,
    ) -> Result<Option<Self>, PictureError> {
        match RunFolder::open(path) {
            Ok(folder) => open(&folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PictureError::Unreadable { path: path.display().to_string(), source }),
        }
    }

    /// What an attack made of them; none if the run kept none of it.
    pub(crate) fn adversarial(folder: &Path, label: &str) -> Result<Option<Self>, PictureError> {
        Self::in_folder(folder, |folder| Self::adversarial_in(folder, label))
    }

    pub(super) fn adversarial_in(folder: &RunFolder, label: &str) -> Result<Option<Self>, PictureError> {
        // A label is a plain name; what else a damaged journal holds must not lead out of the folder.
        let is_plain =
            !label.is_empty() && label.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
        if !is_plain {
            return Ok(None);
        }
        Self::open(folder, &adversarial_file(label))
    }

    fn open(folder: &RunFolder, file: &str) -> Result<Option<Self>, PictureError> {
        let path = folder.path(file);
        let name = || path.display().to_string();
        let unreadable = |source| PictureError::Unreadable { path: name(), source };
        let Some(mut file) = folder.file(file).map_err(unreadable)? else { return Ok(None) };
        let damaged = |what: &str| PictureError::Damaged { path: name(), what: what.to_owned() };
        let length = file.metadata().map_err(unreadable)?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(unreadable)?;
        let header_length = u64::from_le_bytes(size);
        if header_length > HEADER.min(length.saturating_sub(8)) {
            return Err(damaged("its header is longer than the file or 1 MiB"));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(&error.to_string()))?;
        let data = 8 + header_length;
        if data.checked_add(metadata.data_len() as u64) != Some(length) {
            return Err(damaged("its length is not what its header says"));
        }
        let info = |name: &str| metadata.info(name).ok_or_else(|| damaged(&format!("it has no tensor `{name}`")));
        let (samples, pixels) = (info(SAMPLES)?, info(PIXELS)?);
        let [n, channels, height, width] = pixels.shape[..] else {
            return Err(damaged("its pixels are not [N, C, H, W]"));
        };
        if !matches!(pixels.dtype, Dtype::F32 | Dtype::U8) {
            return Err(damaged("its pixels are neither f32 nor u8"));
        }
        if !matches!(channels, 1 | 3) || samples.dtype != Dtype::I64 || samples.shape != [n] {
            return Err(damaged("its samples and pixels do not go together"));
        }
        let values =
            channels.checked_mul(height).and_then(|it| it.checked_mul(width)).filter(|&it| (1..=IMAGE).contains(&it));
        values.ok_or_else(|| damaged(&format!("its images are empty or larger than {LONGEST_SIDE}×{LONGEST_SIDE}")))?;
        let mut places = vec![0; samples.data_offsets.1 - samples.data_offsets.0];
        file.seek(SeekFrom::Start(data + samples.data_offsets.0 as u64)).map_err(unreadable)?;
        file.read_exact(&mut places).map_err(unreadable)?;
        let (dtype, start) = (pixels.dtype, data + pixels.data_offsets.0 as u64);
        Ok(Some(Self {
            file,
            path: path.clone(),
            shape: [channels, height, width],
            dtype,
            start,
            samples: places.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        }))
    }

    /// Places of its images in the list of samples, in its order.
    pub fn samples(&self) -> &[i64] {
        &self.samples
    }

    /// Whether it holds the numbers as they were judged, not rounded to 8 bits.
    pub(super) fn is_exact(&self) -> bool {
        self.dtype == Dtype::F32
    }

    /// `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The image in this row.
    ///
    /// # Panics
    /// If it has no such row.
    pub fn picture(&mut self, row: usize) -> Result<Picture, PictureError> {
        assert!(row < self.samples.len());
        let wide = if self.dtype == Dtype::U8 { 1 } else { 4 };
        let length = self.shape.iter().product::<usize>() * wide;
        let mut bytes = vec![0; length];
        let read = self.file.seek(SeekFrom::Start(self.start + (row * length) as u64));
        let read = read.and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| PictureError::Unreadable { path: self.path.display().to_string(), source })?;
        let pixels: Vec<f32> = match self.dtype {
            Dtype::U8 => bytes.iter().map(|&value| f32::from(value) / 255.0).collect(),
            _ => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        };
        Ok(Picture { shape: self.shape, pixels })
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::super::ADVERSARIAL_FOLDER;
    use super::*;

    fn file(folder: &Path, samples: &[i64], pixels: &[f32], shape: [usize; 4]) {
        let samples_bytes: Vec<u8> = samples.iter().flat_map(|it| it.to_le_bytes()).collect();
        let bytes: Vec<u8> = pixels.iter().flat_map(|it| it.to_le_bytes()).collect();
        let tensors = [
            ("pixels", TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap()),
            ("samples", TensorView::new(Dtype::I64, vec![samples.len()], &samples_bytes).unwrap()),
        ];
        std::fs::create_dir_all(folder.join(ADVERSARIAL_FOLDER)).unwrap();
        let path = folder.join(adversarial_file("pgd"));
        std::fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    }

    #[test]
    fn one_image_is_read_by_its_sample() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), &[3, 8], &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [2, 1, 2, 2]);
        let picture = adversarial(folder.path(), "pgd", 8).unwrap().unwrap();
        assert_eq!((picture.shape, picture.rgb(1, 0)), ([1, 2, 2], [0.5; 3]));
        assert_eq!(adversarial(folder.path(), "pgd", 4).unwrap(), None);
        assert_eq!(adversarial(folder.path(), "cw", 8).unwrap(), None);
        assert_eq!(adversarial(folder.path(), "../adversarial/pgd", 8).unwrap(), None);
        assert_eq!(clean(folder.path(), 8).unwrap(), None);
        assert!(picture.png().unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), &[3, 8], &[0.5; 8], [2, 1, 2, 2]);
        let path = folder.path().join(adversarial_file("pgd"));
        let good = std::fs::read(&path).unwrap();
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(adversarial(folder.path(), "pgd", 8).is_err(), "{cut}");
        }
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x41;
            std::fs::write(&path, &bad).unwrap();
            // Whatever it holds, it is read or refused.
            let _ = adversarial(folder.path(), "pgd", 8);
        }
        file(folder.path(), &[3], &[0.5; 8], [2, 1, 2, 2]);
        assert!(adversarial(folder.path(), "pgd", 3).is_err());
    }
}
