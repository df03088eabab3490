//! Pixels on disk, with their places in the data, labels and predictions.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use super::format::{Dtype, FormatError, RawTensor, write_safetensors};
use crate::data::Images;

/// Integers beside the pixels, one per sample.
pub type Column<'a> = (&'a str, &'a [usize]);

/// Writes f32 `pixels` `[N, C, H, W]` in `[0, 1]` and each column as i64 `[N]`.
pub fn save_pixels(path: &Path, pixels: &Tensor, columns: &[Column<'_>]) -> Result<(), FormatError> {
    let shape = pixels.size().iter().map(|&size| size as usize).collect();
    let values: Vec<f32> = Vec::try_from(pixels.contiguous().view(-1)).unwrap_or_default();
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    save(path, RawTensor { dtype: Dtype::F32, shape, bytes }, columns)
}

/// Writes images as u8 `[N, C, H, W]` and each column as i64 `[N]`.
pub fn save_images(path: &Path, images: &Images, columns: &[Column<'_>]) -> Result<(), FormatError> {
    let pixels = RawTensor { dtype: Dtype::U8, shape: images.shape.to_vec(), bytes: images.pixels.clone() };
    save(path, pixels, columns)
}

fn save(path: &Path, pixels: RawTensor, columns: &[Column<'_>]) -> Result<(), FormatError> {
    let mut tensors = vec![("pixels".to_owned(), pixels)];
    for (name, values) in columns {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        tensors.push(((*name).to_owned(), RawTensor { dtype: Dtype::I64, shape: vec![values.len()], bytes }));
    }
    write_safetensors(path, &tensors, &BTreeMap::new())
}
