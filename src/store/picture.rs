//! An image as plain numbers.

use std::io;

#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// `[channels, height, width]`; one channel or three.
    pub shape: [usize; 3],
    /// In `[0, 1]`, channel by channel, row by row.
    pub pixels: Vec<f32>,
}

impl Picture {
    /// The colour of a pixel; grey where there is one channel.
    pub(crate) fn rgb(&self, x: usize, y: usize) -> [f32; 3] {
        let [channels, height, width] = self.shape;
        let value = |channel: usize| self.pixels.get((channel * height + y) * width + x).copied().unwrap_or(0.0);
        if channels == 3 { [value(0), value(1), value(2)] } else { [value(0); 3] }
    }

    /// With 8 bits per value, channel by channel, row by row.
    pub fn eight_bit(&self) -> Vec<u8> {
        self.pixels.iter().map(|value| (255.0 * value.clamp(0.0, 1.0)).round() as u8).collect()
    }

    /// As a PNG with 8 bits per value.
    pub fn png(&self) -> Result<Vec<u8>, image::ImageError> {
        let [_, height, width] = self.shape;
        let rgb = |x: u32, y: u32| {
            image::Rgb(self.rgb(x as usize, y as usize).map(|value| (255.0 * value.clamp(0.0, 1.0)).round() as u8))
        };
        let mut bytes = io::Cursor::new(Vec::new());
        image::RgbImage::from_fn(width as u32, height as u32, rgb).write_to(&mut bytes, image::ImageFormat::Png)?;
        Ok(bytes.into_inner())
    }
}
