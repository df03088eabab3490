//! Curves as dots in a grid of cells, two across and four down in each. One curve per cell can show its colour: the last one drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::theme::Marker;

/// Bits of a Braille cell by row and column.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

#[derive(Clone, Copy, Default)]
struct Cell {
    bits: u8,
    style: Style,
    letter: &'static str,
}

pub(super) struct Raster {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
    marker: Marker,
}

impl Raster {
    pub(super) fn new(area: Rect, marker: Marker) -> Self {
        let (columns, rows) = (usize::from(area.width), usize::from(area.height));
        Self { columns, rows, cells: vec![Cell::default(); columns * rows], marker }
    }

    /// The cell's column of a place in `[0, 1]` from the left.
    pub(super) fn column(&self, x: f64) -> usize {
        ((x * (2 * self.columns).saturating_sub(1) as f64).round() as usize / 2).min(self.columns.saturating_sub(1))
    }

    /// The cell's row of a height in `[0, 1]` from the bottom.
    pub(super) fn row(&self, y: f64) -> usize {
        (self.dot_row(y) / 4).min(self.rows.saturating_sub(1))
    }

    fn dot_row(&self, y: f64) -> usize {
        ((1.0 - y) * (4 * self.rows).saturating_sub(1) as f64).round() as usize
    }

    /// A straight line between two places in `[0, 1]²`; what lies outside is left out.
    fn line(&mut self, from: (f64, f64), to: (f64, f64), style: Style, letter: &'static str) {
        let width = (2 * self.columns).saturating_sub(1) as f64;
        let height = (4 * self.rows).saturating_sub(1) as f64;
        let steps = ((to.0 - from.0).abs() * width).max((to.1 - from.1).abs() * height).ceil().clamp(1.0, 1e5) as usize;
        for step in 0..=steps {
            let t = step as f64 / steps as f64;
            let (x, y) = (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1));
            if (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y) {
                self.dot((x * width).round() as usize, self.dot_row(y), style, letter);
            }
        }
    }

    /// Straight lines between neighbouring points; a missing one leaves a gap.
    pub(super) fn curve(&mut self, points: &[Option<(f64, f64)>], style: Style, letter: &'static str) {
        for (at, from) in points.iter().enumerate() {
            if let Some(from) = *from {
                self.line(from, points.get(at + 1).copied().flatten().unwrap_or(from), style, letter);
            }
        }
    }

    fn dot(&mut self, x: usize, y: usize, style: Style, letter: &'static str) {
        let (column, row) = (x / 2, y / 4);
        if column < self.columns && row < self.rows {
            let cell = &mut self.cells[row * self.columns + column];
            cell.bits |= DOTS[y % 4][x % 2];
            (cell.style, cell.letter) = (style, letter);
        }
    }

    pub(super) fn render(&self, area: Rect, buffer: &mut Buffer) {
        for (place, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.bits != 0) {
            let (x, y) = (area.x + (place % self.columns) as u16, area.y + (place / self.columns) as u16);
            let Some(target) = buffer.cell_mut((x, y)) else { continue };
            match self.marker {
                Marker::Letters => target.set_symbol(cell.letter),
                Marker::Dots => target.set_symbol("•"),
                Marker::Braille => target.set_char(char::from_u32(0x2800 + u32::from(cell.bits)).unwrap_or(' ')),
            };
            target.set_style(cell.style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(marker: Marker, lines: &[[(f64, f64); 2]]) -> Vec<String> {
        let area = Rect::new(0, 0, 6, 2);
        let mut buffer = Buffer::empty(area);
        let mut raster = Raster::new(area, marker);
        for &[from, to] in lines {
            raster.line(from, to, Style::new(), "x");
        }
        raster.render(area, &mut buffer);
        (0..2).map(|y| (0..6).map(|x| buffer[(x, y)].symbol().to_owned()).collect()).collect()
    }

    #[test]
    fn lines_reach_their_corners() {
        assert_eq!(drawn(Marker::Braille, &[[(0.0, 0.0), (1.0, 0.0)]]), ["      ", "⣀⣀⣀⣀⣀⣀"]);
        assert_eq!(drawn(Marker::Braille, &[[(0.0, 1.0), (1.0, 1.0)]]), ["⠉⠉⠉⠉⠉⠉", "      "]);
        assert_eq!(drawn(Marker::Dots, &[[(0.0, 1.0), (1.0, 1.0)]]), ["••••••", "      "]);
        let rising = drawn(Marker::Letters, &[[(0.0, 0.0), (1.0, 1.0)]]);
        assert!(rising[0].ends_with('x') && rising[1].starts_with('x'), "{rising:?}");
    }

    #[test]
    fn what_lies_outside_is_not_moved_inside() {
        assert_eq!(drawn(Marker::Letters, &[[(0.0, 1.5), (1.0, 1.5)]]), ["      ", "      "]);
    }
}
