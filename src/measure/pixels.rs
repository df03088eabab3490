//! Pixels of any range of samples, from where they are kept to the device.

use std::ops::Range;

use tch::{Device, TchError, Tensor};

use crate::data::Images;
use crate::model::upload::upload;

/// A set of samples whose pixels can be fetched in ranges.
#[expect(clippy::len_without_is_empty, reason = "nothing asks whether there are no samples")]
pub trait PixelSource {
    fn len(&self) -> usize;

    /// f32 `[range, C, H, W]` in `[0, 1]` on the device.
    fn pixels(&self, range: Range<usize>) -> Result<Tensor, TchError>;
}

/// Some of the images read from disk.
pub struct ImagePixels<'a> {
    pub images: &'a Images,
    pub places: &'a [usize],
    pub device: Device,
}

impl ImagePixels<'_> {
    pub fn batch(&self, range: Range<usize>) -> Result<(Tensor, Tensor), TchError> {
        upload(&self.images.subset(&self.places[range]), self.device)
    }
}

impl PixelSource for ImagePixels<'_> {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn pixels(&self, range: Range<usize>) -> Result<Tensor, TchError> {
        Ok(self.batch(range)?.0)
    }
}

pub struct KeptPixels<'a> {
    /// f32 `[N, C, H, W]`.
    pub pixels: &'a Tensor,
    pub device: Device,
}

impl PixelSource for KeptPixels<'_> {
    fn len(&self) -> usize {
        self.pixels.size()[0] as usize
    }

    fn pixels(&self, range: Range<usize>) -> Result<Tensor, TchError> {
        let part = self.pixels.f_narrow(0, range.start as i64, range.len() as i64)?;
        crate::model::upload::to_device(&part, self.device)
    }
}

/// The samples of one source, then those of another.
pub(crate) struct Joined<'a> {
    pub(crate) first: &'a dyn PixelSource,
    pub(crate) second: &'a dyn PixelSource,
}

impl PixelSource for Joined<'_> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn pixels(&self, range: Range<usize>) -> Result<Tensor, TchError> {
        let (start, end) = (range.start, range.end);
        match self.first.len() {
            n if end <= n => self.first.pixels(range),
            n if start >= n => self.second.pixels(start - n..end - n),
            n => Tensor::f_cat(&[self.first.pixels(start..n)?, self.second.pixels(0..end - n)?], 0),
        }
    }
}
