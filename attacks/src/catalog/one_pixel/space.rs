//! What a candidate is: a list of numbers, and the pixels that they stand for.

use crate::attack::Batch;

/// The space of candidates for one size of image.
///
/// A genome holds, per pixel, its row in `[0, H]`, its column in `[0, W]` and one value in `[0, 1]` per channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) pixels: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Space {
    /// For changes of `pixels` pixels of the batch's images.
    pub(super) fn new(batch: &Batch<'_>, pixels: usize) -> Self {
        let size = batch.pixels.size();
        Self { pixels, channels: size[1] as usize, height: size[2] as usize, width: size[3] as usize }
    }

    /// Numbers per candidate.
    pub(super) fn n_genes(self) -> usize {
        self.pixels * self.per_pixel()
    }

    /// The largest value of gene number `gene`; the least is 0.
    pub(super) fn upper(self, gene: usize) -> f32 {
        match gene % self.per_pixel() {
            0 => self.height as f32,
            1 => self.width as f32,
            _ => 1.0,
        }
    }

    /// Whether gene number `gene` is a coordinate rather than a value.
    pub(super) fn is_position(self, gene: usize) -> bool {
        gene % self.per_pixel() < 2
    }

    /// Positions y·W + x and the values, pixel by pixel.
    pub(super) fn decode(self, genome: &[f32]) -> (Vec<i64>, Vec<f32>) {
        let mut positions = Vec::with_capacity(self.pixels);
        let mut values = Vec::with_capacity(self.pixels * self.channels);
        for pixel in genome.chunks_exact(self.per_pixel()) {
            // The upper bound itself belongs to the last row or column.
            let row = (pixel[0] as usize).min(self.height - 1);
            let column = (pixel[1] as usize).min(self.width - 1);
            positions.push((row * self.width + column) as i64);
            values.extend_from_slice(&pixel[2..]);
        }
        (positions, values)
    }

    fn per_pixel(self) -> usize {
        2 + self.channels
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_not_swapped_and_the_bounds_are_inside() {
        let space = Space { pixels: 3, channels: 1, height: 12, width: 20 };
        let (positions, values) = space.decode(&[0.0, 19.9, 0.1, 12.0, 20.0, 0.2, 3.5, 2.0, 0.3]);
        assert_eq!(positions, [19, 239, 62]);
        assert_eq!(values, [0.1, 0.2, 0.3]);
        assert_eq!([0, 1, 2, 3].map(|gene| space.upper(gene)), [12.0, 20.0, 1.0, 12.0]);
    }
}
