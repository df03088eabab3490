//! Adversarial pixels on disk.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use super::format::{Dtype, FormatError, RawTensor, write_safetensors};

/// Writes f32 `pixels` `[N, C, H, W]`, i64 `samples` `[N]` (places in the report's list of samples) and i64 `predictions` `[N]`.
pub fn save_pixels(path: &Path, pixels: &Tensor, samples: &[usize], predictions: &[usize]) -> Result<(), FormatError> {
    let shape = pixels.size().iter().map(|&size| size as usize).collect();
    let values: Vec<f32> = Vec::try_from(pixels.contiguous().view(-1)).unwrap_or_default();
    let floats = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let integers = |values: &[usize]| RawTensor {
        dtype: Dtype::I64,
        shape: vec![values.len()],
        bytes: values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect(),
    };
    let tensors = [
        ("pixels".to_owned(), RawTensor { dtype: Dtype::F32, shape, bytes: floats }),
        ("samples".to_owned(), integers(samples)),
        ("predictions".to_owned(), integers(predictions)),
    ];
    write_safetensors(path, &tensors, &BTreeMap::new())
}
