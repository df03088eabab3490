//! Writes the pixels of a run, with their places in the data, labels and predictions.

use super::{CLEAN_FILE, PIXELS, RunFolder, SAMPLES, adversarial_file};
use crate::data::Images;
use crate::model::format::{Dtype, FormatError, RawTensor, safetensors_bytes};
use std::collections::BTreeMap;

/// Integers beside the pixels, one per image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    /// Places in the list of samples.
    pub samples: &'a [usize],
    /// Places in the data.
    pub indices: &'a [usize],
    pub labels: &'a [usize],
    pub predictions: &'a [usize],
}

/// Writes the clean images, as u8 `[N, C, H, W]`.
pub(crate) fn save_clean(folder: &RunFolder, images: &Images, columns: Columns<'_>) -> Result<(), FormatError> {
    let pixels = RawTensor { dtype: Dtype::U8, shape: images.shape.to_vec(), bytes: images.pixels.clone() };
    save(folder, CLEAN_FILE, pixels, columns)
}

/// Writes the pixels that an attack has made, in `[0, 1]`, as f32 `[N, C, H, W]`; `shape` is that of one image. Nothing of it is lost then
/// with the file of its batches, which goes.
pub(crate) fn save_adversarial(
    folder: &RunFolder,
    label: &str,
    pixels: &[f32],
    shape: [usize; 3],
    columns: Columns<'_>,
) -> Result<(), FormatError> {
    let shape = std::iter::once(columns.samples.len()).chain(shape).collect();
    let bytes = pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
    save(folder, &adversarial_file(label), RawTensor { dtype: Dtype::F32, shape, bytes }, columns)?;
    // If it stays, nothing is lost either.
    let _ = folder.remove(&super::part_file(label));
    Ok(())
}

fn save(folder: &RunFolder, name: &str, pixels: RawTensor, columns: Columns<'_>) -> Result<(), FormatError> {
    let Columns { samples, indices, labels, predictions } = columns;
    let columns = [(SAMPLES, samples), ("indices", indices), ("labels", labels), ("predictions", predictions)];
    let column = |(name, values): (&str, &[usize])| {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        (name.to_owned(), RawTensor { dtype: Dtype::I64, shape: vec![values.len()], bytes })
    };
    let tensors: Vec<_> = std::iter::once((PIXELS.to_owned(), pixels)).chain(columns.into_iter().map(column)).collect();
    let path = folder.path(name);
    let bytes = safetensors_bytes(&path, &tensors, &BTreeMap::new())?;
    folder.write(name, &bytes).map_err(|source| FormatError::Write { path, source })
}
