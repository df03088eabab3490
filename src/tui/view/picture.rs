//! An image in cells: two pixels to a cell, one above the other, exactly where there is room and a whole fraction where there is not.

use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::Color;

use super::super::theme::Theme;
use crate::store::picture::Picture;

/// Luminance without colours, from dark to bright.
const RAMP: &[u8] = b" .:-=+*#%@";

/// By how much an image of this shape must be divided to fit.
pub(super) fn divisor([channels, height, width]: [usize; 3], room: Size) -> usize {
    let fits = |by: usize| {
        let size = size([channels, height, width], by);
        size.width <= room.width && size.height <= room.height
    };
    let most = width.max(height).max(1);
    (1..=most).find(|&by| fits(by)).unwrap_or(most)
}

/// Columns and rows that an image takes when it is divided.
pub(super) fn size([_, height, width]: [usize; 3], divisor: usize) -> Size {
    let cells = |pixels: usize| u16::try_from(pixels).unwrap_or(u16::MAX);
    Size::new(cells(width.div_ceil(divisor)), cells(height.div_ceil(divisor).div_ceil(2)))
}

/// Draws it from the upper left corner of the area; each pixel of the screen is the mean of `divisor`² of the image.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, picture: &Picture, divisor: usize, theme: Theme) {
    let Size { width, height } = size(picture.shape, divisor);
    for row in 0..height.min(area.height) {
        for column in 0..width.min(area.width) {
            let pixel = |below: u16| mean(picture, usize::from(column), usize::from(2 * row + below), divisor);
            let (upper, lower) = (pixel(0), pixel(1));
            let Some(cell) = buffer.cell_mut((area.x + column, area.y + row)) else { continue };
            if theme.ascii || !theme.color {
                let both = [upper, lower.or(upper)].map(|it| it.map_or(0.0, luminance));
                let step = f32::midpoint(both[0], both[1]) * (RAMP.len() - 1) as f32;
                cell.set_char(char::from(RAMP[(step.round() as usize).min(RAMP.len() - 1)]));
                continue;
            }
            cell.set_symbol("▀");
            if let Some(upper) = upper {
                cell.set_fg(color(upper, theme));
            }
            // Below the last row of an odd height there is nothing.
            if let Some(lower) = lower {
                cell.set_bg(color(lower, theme));
            }
        }
    }
}

fn mean(picture: &Picture, column: usize, row: usize, divisor: usize) -> Option<[f32; 3]> {
    let [_, height, width] = picture.shape;
    let across = column * divisor..((column + 1) * divisor).min(width);
    let down = row * divisor..((row + 1) * divisor).min(height);
    let n = across.len() * down.len();
    if n == 0 {
        return None;
    }
    let mut sum = [0.0; 3];
    for y in down {
        for x in across.clone() {
            for (sum, value) in sum.iter_mut().zip(picture.rgb(x, y)) {
                *sum += value;
            }
        }
    }
    Some(sum.map(|sum| sum / n as f32))
}

fn luminance([red, green, blue]: [f32; 3]) -> f32 {
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn color(rgb: [f32; 3], theme: Theme) -> Color {
    if theme.truecolor {
        let [red, green, blue] = rgb.map(|value| (255.0 * value.clamp(0.0, 1.0)).round() as u8);
        return Color::Rgb(red, green, blue);
    }
    let [red, green, blue] = rgb.map(|value| value.clamp(0.0, 1.0));
    if (red - green).abs() < 0.02 && (green - blue).abs() < 0.02 {
        // 24 greys, without black and white.
        return Color::Indexed(232 + (red * 23.0).round() as u8);
    }
    let [red, green, blue] = [red, green, blue].map(|value| (value * 5.0).round() as u8);
    Color::Indexed(16 + 36 * red + 6 * green + blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(height: usize, width: usize) -> Picture {
        let pixels = (0..height * width).map(|place| place as f32 / 255.0).collect();
        Picture { shape: [1, height, width], pixels }
    }

    #[test]
    fn every_pixel_is_half_a_cell() {
        let area = Rect::new(0, 0, 4, 2);
        let mut buffer = Buffer::empty(area);
        draw(area, &mut buffer, &picture(3, 4), 1, Theme::default());
        let cell = &buffer[(1, 0)];
        assert_eq!((cell.symbol(), cell.fg, cell.bg), ("▀", Color::Rgb(1, 1, 1), Color::Rgb(5, 5, 5)));
        // The third row is the last one.
        let cell = &buffer[(3, 1)];
        assert_eq!((cell.fg, cell.bg), (Color::Rgb(11, 11, 11), Color::Reset));
    }

    #[test]
    fn what_does_not_fit_is_divided_by_a_whole_number() {
        assert_eq!(divisor([1, 28, 28], Size::new(28, 14)), 1);
        assert_eq!(divisor([1, 28, 28], Size::new(28, 13)), 2);
        assert_eq!(divisor([3, 224, 224], Size::new(40, 20)), 6);
        assert_eq!(size([1, 28, 28], 2), Size::new(14, 7));
        let area = Rect::new(0, 0, 2, 1);
        let mut buffer = Buffer::empty(area);
        draw(area, &mut buffer, &picture(4, 4), 2, Theme::default());
        // The mean of 0, 1, 4 and 5, rounded.
        assert_eq!(buffer[(0, 0)].fg, Color::Rgb(3, 3, 3));
    }

    #[test]
    fn without_colours_brightness_becomes_letters() {
        let area = Rect::new(0, 0, 2, 1);
        let mut buffer = Buffer::empty(area);
        let picture = Picture { shape: [1, 2, 2], pixels: vec![0.0, 1.0, 0.0, 1.0] };
        draw(area, &mut buffer, &picture, 1, Theme { color: false, ..Theme::default() });
        assert_eq!((buffer[(0, 0)].symbol(), buffer[(1, 0)].symbol()), (" ", "@"));
    }

    #[test]
    fn without_true_colours_the_nearest_of_256_are_taken() {
        let theme = Theme { truecolor: false, ..Theme::default() };
        assert_eq!(color([1.0, 0.0, 0.0], theme), Color::Indexed(196));
        assert_eq!(color([0.5; 3], theme), Color::Indexed(244));
    }
}
