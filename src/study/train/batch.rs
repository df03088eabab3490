//! What a step of training sees: which images, augmented and normalized.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, TchError, Tensor};

use super::{TrainError, TrainPlan};
use crate::data::Images;
use crate::model::upload::to_device;

/// Parts of the order in which images are seen. An image that would be left alone joins the batch before: one value has no variance, which
/// batch normalization needs where a channel is a single pixel.
pub(super) fn batches(order: &[usize], batch: usize) -> impl Iterator<Item = &[usize]> {
    let n = order.len();
    let alone = batch > 1 && n > batch && n % batch == 1;
    let (even, rest) = order.split_at(if alone { n - batch - 1 } else { n });
    even.chunks(batch).chain((!rest.is_empty()).then_some(rest))
}

/// Random crops of the zero-padded image and mirror images, as bytes.
pub(super) fn augmented(images: &Images, indices: &[usize], plan: &TrainPlan, random: &mut ChaCha8Rng) -> Images {
    let [_, channels, height, width] = images.shape;
    let size = channels * height * width;
    let mut pixels = vec![0; indices.len() * size];
    for (output, &index) in pixels.chunks_exact_mut(size).zip(indices) {
        let input = &images.pixels[index * size..][..size];
        let mut shift = || match plan.crop_padding {
            0 => 0,
            padding => random.random_range(0..=2 * padding) as isize - padding as isize,
        };
        let (down, right) = (shift(), shift());
        let mirror = plan.flip && random.random::<bool>();
        for channel in 0..channels {
            for row in 0..height {
                let Some(from_row) = row.checked_add_signed(down).filter(|&it| it < height) else { continue };
                let (from, to) = ((channel * height + from_row) * width, (channel * height + row) * width);
                for column in 0..width {
                    let Some(at) = column.checked_add_signed(right).filter(|&it| it < width) else { continue };
                    let at = if mirror { width - 1 - at } else { at };
                    output[to + column] = input[from + at];
                }
            }
        }
    }
    let labels = indices.iter().map(|&index| images.labels[index]).collect();
    Images { pixels, shape: [indices.len(), channels, height, width], labels }
}

/// Mean and deviation as tensors `[1, C, 1, 1]`.
#[derive(Debug)]
pub(super) struct Normalizer {
    mean: Tensor,
    std: Tensor,
}

impl Normalizer {
    pub(super) fn new(plan: &TrainPlan, channels: i64, device: Device) -> Result<Self, TrainError> {
        let (mean, std) = plan.normalization.for_channels(channels).map_err(TrainError::Unsuitable)?;
        let tensor = |values: &[f64]| -> Result<Tensor, TchError> {
            to_device(&Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?.f_view([1, -1, 1, 1])?, device)
        };
        Ok(Self { mean: tensor(&mean)?, std: tensor(&std)? })
    }

    pub(super) fn apply(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        pixels.f_sub(&self.mean)?.f_div(&self.std)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_is_left_alone() {
        let sizes = |n: usize, batch: usize| -> Vec<usize> {
            let order: Vec<usize> = (0..n).collect();
            let parts: Vec<&[usize]> = batches(&order, batch).collect();
            assert_eq!(parts.concat(), order);
            parts.iter().map(|part| part.len()).collect()
        };
        assert_eq!((sizes(10, 4), sizes(8, 4), sizes(9, 4)), (vec![4, 4, 2], vec![4, 4], vec![4, 5]));
        assert_eq!((sizes(1, 4), sizes(3, 1), sizes(0, 4)), (vec![1], vec![1, 1, 1], vec![]));
    }
}
