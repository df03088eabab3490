//! Curves in a frame of axes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::App;
use super::super::theme::{Role, Theme};
use super::raster::Raster;
use super::series::Series;
use super::text::{short_tap, width};
use crate::stats::finite_range;

/// Columns left of a plot, for its axis.
pub(super) const GUTTER: u16 = 6;

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
    if area.width <= GUTTER + 2 || area.height < 4 {
        return;
    }
    let plot = Rect::new(area.x + GUTTER, area.y, area.width - GUTTER, area.height - 2);
    let (low, high) = range(series, app.ui.chart.fitted_axis, difference);
    let height = |value: f64| (value - low) / (high - low);
    let names = app.tap_names();
    let taps = names.len().max(1);
    let place = |tap: usize| if taps == 1 { 0.5 } else { tap as f64 / (taps - 1) as f64 };
    let mut raster = Raster::new(plot, theme.marker());

    axis(plot, buffer, theme, (low, high));
    if low < 0.0 && high > 0.0 {
        let y = plot.y + raster.row(height(0.0)) as u16;
        for x in plot.x..plot.right() {
            buffer[(x, y)].set_symbol("┄").set_style(theme.style(Role::Dim));
        }
    }
    if let Some(cursor) = app.ui.cursor.filter(|&cursor| cursor < taps) {
        let x = plot.x + raster.column(place(cursor)) as u16;
        for y in plot.y..plot.bottom() {
            buffer[(x, y)].set_symbol("┊").set_style(theme.style(Role::Plain));
        }
    }

    let mut order: Vec<&Series> = series.iter().collect();
    order.sort_by_key(|it| it.selected);
    for it in &order {
        let points = (0..it.values.len()).map(|tap| it.at(tap).map(|value| (place(tap), height(value))));
        raster.curve(&points.collect::<Vec<_>>(), theme.style(it.role()), theme.mark(it.curve));
    }
    raster.render(plot, buffer);
    for it in &order {
        if let Some((tap, value)) = it.peak.and_then(|tap| Some((tap, it.at(tap)?))) {
            let (x, y) = (raster.column(place(tap)) as u16, raster.row(height(value)) as u16);
            let sign = if difference { theme.sign("▼", "v") } else { theme.sign("▲", "^") };
            buffer[(plot.x + x, plot.y + y)].set_symbol(sign).set_style(theme.style(it.role()));
        }
    }
    let labels: Vec<(u16, String)> =
        names.iter().enumerate().map(|(tap, name)| (raster.column(place(tap)) as u16, short_tap(name))).collect();
    tap_labels(Rect { y: plot.bottom() + 1, height: 1, ..plot }, buffer, &labels, app.ui.cursor);
}

pub(super) fn axis(plot: Rect, buffer: &mut Buffer, theme: Theme, (low, high): (f64, f64)) {
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

/// The names that fit, each under its tap; the one under the cursor first, then the last and the first.
pub(super) fn tap_labels(area: Rect, buffer: &mut Buffer, labels: &[(u16, String)], cursor: Option<usize>) {
    let mut taken: Vec<(u16, u16)> = Vec::new();
    let ends = [cursor, labels.len().checked_sub(1), Some(0)];
    let order = ends.into_iter().flatten().chain(0..labels.len());
    for (x, name) in order.filter_map(|place| labels.get(place)) {
        let wide = width(name) as u16;
        if wide > area.width {
            continue;
        }
        let start = x.saturating_sub(wide / 2).min(area.width - wide);
        let end = start + wide;
        // A free column on both sides keeps names apart.
        if taken.iter().all(|&(from, to)| end < from || start > to) {
            taken.push((start, end));
            buffer.set_string(area.x + start, area.y, name, Style::new());
        }
    }
    // Ticks say which taps the names belong to.
    for (x, _) in labels {
        if let Some(cell) = buffer.cell_mut((area.x + x, area.y - 1)) {
            cell.set_symbol("┴");
        }
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
