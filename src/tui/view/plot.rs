//! Curves in a frame of axes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::App;
use super::super::theme::{Role, Theme};
use super::raster::Raster;
use super::series::Series;
use super::text::{self, short_tap};
use crate::stats::finite_range;

/// Columns left of a plot, for its axis.
const GUTTER: u16 = 6;

/// Lower and upper end of the axis.
fn range(series: &[Series], fitted: bool, difference: bool) -> (f64, f64) {
    let Some((low, high)) = finite_range(series.iter().flat_map(|it| it.values.iter().flatten().copied())) else {
        return if difference { (-0.6, 0.2) } else { (0.0, 1.0) };
    };
    let step = |value: f64, round: fn(f64) -> f64| round(value * 5.0) / 5.0;
    match (fitted, difference) {
        (true, _) => {
            let margin = ((high - low) * 0.05).max(0.005);
            (low - margin, high + margin)
        }
        // What lies outside of the fixed range widens it: nothing is cut off.
        (false, false) => (step(low, f64::floor).min(0.0), step(high, f64::ceil).max(1.0)),
        (false, true) => (step(low, f64::floor).min(-0.6), step(high, f64::ceil).max(0.2)),
    }
}

pub(super) fn curves(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, series: &[Series], difference: bool) {
    let names = app.tap_names();
    let (low, high) = range(series, app.ui.chart.fitted_axis, difference);
    let Some(mut plot) = Plot::new(area, buffer, theme, names.len().max(1), (low, high)) else { return };
    if low < 0.0 && high > 0.0 {
        let y = plot.row(0.0);
        for x in plot.area.left()..plot.area.right() {
            buffer[(x, y)].set_symbol("┄").set_style(theme.style(Role::Dim));
        }
    }
    let cursor = app.ui.cursor;
    if let Some(cursor) = cursor.filter(|&cursor| cursor < plot.places) {
        plot.cursor(buffer, cursor, Role::Plain);
    }
    let mut order: Vec<&Series> = series.iter().collect();
    order.sort_by_key(|it| it.selected);
    for it in &order {
        plot.curve(it.values.iter().copied(), it.role(), theme.mark(it.curve));
    }
    plot.render(buffer);
    for it in &order {
        if let Some((tap, value)) = it.peak.and_then(|tap| Some((tap, it.value(tap).filter(|it| it.is_finite())?))) {
            let sign = if difference { theme.sign("▼", "v") } else { theme.sign("▲", "^") };
            buffer[(plot.column(tap), plot.row(value))].set_symbol(sign).set_style(theme.style(it.role()));
        }
    }
    let names: Vec<String> = names.iter().map(|name| short_tap(name)).collect();
    plot.labels(buffer, &names, cursor);
}

/// Axes, and the curves over places from left to right that are drawn between them.
pub(super) struct Plot {
    area: Rect,
    raster: Raster,
    theme: Theme,
    places: usize,
    range: (f64, f64),
}

impl Plot {
    /// Draws the axes; none where there is no room.
    pub(super) fn new(area: Rect, buffer: &mut Buffer, theme: Theme, places: usize, range: (f64, f64)) -> Option<Self> {
        if area.width <= GUTTER + 2 || area.height < 4 {
            return None;
        }
        let area = Rect::new(area.x + GUTTER, area.y, area.width - GUTTER, area.height - 2);
        axis(area, buffer, theme, range);
        Some(Self { area, raster: Raster::new(area, theme.marker()), theme, places, range })
    }

    /// Of a place, from the left and in `[0, 1]`.
    fn across(&self, place: usize) -> f64 {
        if self.places == 1 { 0.5 } else { place as f64 / (self.places - 1) as f64 }
    }

    /// Of a value, from the bottom and in `[0, 1]`.
    fn height(&self, value: f64) -> f64 {
        (value - self.range.0) / (self.range.1 - self.range.0)
    }

    fn column(&self, place: usize) -> u16 {
        self.area.x + self.raster.column(self.across(place)) as u16
    }

    fn row(&self, value: f64) -> u16 {
        self.area.y + self.raster.row(self.height(value)) as u16
    }

    /// A line from top to bottom.
    pub(super) fn cursor(&self, buffer: &mut Buffer, place: usize, role: Role) {
        for y in self.area.top()..self.area.bottom() {
            buffer[(self.column(place), y)].set_symbol("┊").set_style(self.theme.style(role));
        }
    }

    /// A value at each place; a missing one leaves a gap.
    pub(super) fn curve(&mut self, values: impl Iterator<Item = Option<f64>>, role: Role, letter: &'static str) {
        let finite = values.map(|value| value.filter(|it| it.is_finite())).enumerate();
        let points = finite.map(|(place, value)| Some((self.across(place), self.height(value?)))).collect::<Vec<_>>();
        self.raster.curve(&points, self.theme.style(role), letter);
    }

    /// Draws the curves so far.
    pub(super) fn render(&self, buffer: &mut Buffer) {
        self.raster.render(self.area, buffer);
    }

    /// The names that fit, each under its place; the one under the cursor first, then the last and the first.
    pub(super) fn labels(&self, buffer: &mut Buffer, names: &[String], cursor: Option<usize>) {
        let width = self.area.width;
        let mut taken: Vec<(u16, u16)> = Vec::new();
        let ends = [cursor, names.len().checked_sub(1), Some(0)];
        for place in ends.into_iter().flatten().chain(0..names.len()).filter(|&place| place < names.len()) {
            let wide = text::width(&names[place]) as u16;
            if wide > width {
                continue;
            }
            let start = (self.column(place) - self.area.x).saturating_sub(wide / 2).min(width - wide);
            let end = start + wide;
            // A free column on both sides keeps names apart.
            if taken.iter().all(|&(from, to)| end < from || start > to) {
                taken.push((start, end));
                buffer.set_string(self.area.x + start, self.area.bottom() + 1, &names[place], Style::new());
            }
        }
        // Ticks say which places the names belong to.
        for place in 0..names.len() {
            if let Some(cell) = buffer.cell_mut((self.column(place), self.area.bottom())) {
                cell.set_symbol("┴");
            }
        }
    }
}

fn axis(plot: Rect, buffer: &mut Buffer, theme: Theme, (low, high): (f64, f64)) {
    let style = theme.style(Role::Dim);
    // The fixed ranges are multiples of 0.2: one digit says these ticks exactly.
    let fifths = ((high - low) * 5.0).round();
    let is_fixed = (fifths - (high - low) * 5.0).abs() < 1e-9;
    let gaps = match plot.height {
        0..=4 => 1,
        height if height >= 10 && fifths <= 8.0 && is_fixed => fifths as u8,
        10.. if !is_fixed => 5,
        _ => 2,
    };
    let digits = match (is_fixed, low < 0.0) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 3,
    };
    for y in plot.y..plot.bottom() {
        buffer[(plot.x - 1, y)].set_symbol("│").set_style(style);
    }
    for gap in 0..=gaps {
        let share = f64::from(gap) / f64::from(gaps);
        let y = plot.y + ((1.0 - share) * f64::from(plot.height - 1)).round() as u16;
        let label = format!("{:>5.digits$}", low + share * (high - low));
        buffer.set_string(plot.x - 6, y, label, style);
        buffer[(plot.x - 1, y)].set_symbol("┤");
    }
    buffer[(plot.x - 1, plot.bottom())].set_symbol("└").set_style(style);
    for x in plot.x..plot.right() {
        buffer[(x, plot.bottom())].set_symbol("─").set_style(style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> [Series; 1] {
        let values = values.iter().copied().map(Some).collect();
        [Series { values, ..Series::default() }]
    }

    #[test]
    fn the_axis_is_fixed_but_cuts_nothing_off() {
        assert_eq!(range(&of(&[0.3, 0.8]), false, false), (0.0, 1.0));
        assert_eq!(range(&of(&[-0.05, 0.8]), false, false), (-0.2, 1.0));
        assert_eq!(range(&of(&[]), false, false), (0.0, 1.0));
        assert_eq!(range(&of(&[f64::NAN]), true, false), (0.0, 1.0));
        let (low, high) = range(&of(&[0.4, 0.4]), true, false);
        assert!(low < 0.4 && high > 0.4);
    }
}
