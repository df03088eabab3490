//! The curves: Q at each tap, clean and under each attack.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::{App, ChartMode, Pane};
use super::super::theme::{Role, Theme};
use super::raster::Raster;
use super::text::{self, fit_line, pane, short_tap};
use super::{facets, numbers};
use crate::audit::event::GrowingCurves;
use crate::audit::state::AttackState;
use crate::modularity::Curve;
use crate::verdict::facts::AttackResult;

/// One curve.
pub(super) struct Series {
    /// In the legend.
    pub(super) name: String,
    /// Behind it there.
    note: String,
    /// 0 is the clean one, attacks follow.
    pub(super) curve: usize,
    /// A value at each tap, where there is one.
    pub(super) values: Vec<Option<f64>>,
    /// Which tap is marked.
    pub(super) peak: Option<usize>,
    /// Drawn over the others.
    pub(super) selected: bool,
}

impl Series {
    pub(super) fn role(&self) -> Role {
        if self.curve == 0 { Role::Clean } else { Role::Attack(self.curve - 1) }
    }
}

/// A curve's values and its peak.
pub(super) fn levels(name: String, curve: usize, of: &Curve, selected: bool) -> Series {
    let values = of.taps.iter().map(|point| point.q).collect();
    Series { name, note: String::new(), curve, values, peak: of.peak().map(|peak| peak.index), selected }
}

/// Draws the pane.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let title = match app.ui.chart {
        ChartMode::Level => "Modularity Q by tap",
        ChartMode::Difference => "Q under attack − Q of the same images when clean",
        ChartMode::Each => "Q of the attacked images, clean and adversarial",
    };
    let inner = pane(area, buffer, app, theme, Pane::Chart, title);
    if inner.height < 5 || inner.width < 20 {
        return;
    }
    if app.ui.as_table {
        numbers::draw(inner, buffer, app, theme, &series(app));
        return;
    }
    if app.ui.chart == ChartMode::Each {
        facets::draw(inner, buffer, app, theme);
        return;
    }
    let series = series(app);
    plot_curves(inner, buffer, app, theme, &series, app.ui.chart == ChartMode::Difference);
    // On the frame: every row counts.
    let legend = legend(app, theme, &series, usize::from(inner.width.saturating_sub(2)));
    let place = Rect { x: inner.x + 1, y: inner.bottom(), width: legend.width() as u16, height: 1 };
    legend.render(place, buffer);
}

fn series(app: &App) -> Vec<Series> {
    let Some(report) = &app.report else { return Vec::new() };
    let selected = |place: usize| place == app.ui.selected;
    let mut series = Vec::new();
    if let (ChartMode::Level, Some(curves)) = (app.ui.chart, &report.clean.curves) {
        series.push(levels("clean".to_owned(), 0, &curves.true_labels, false));
    }
    for (place, attack) in report.attacks.iter().enumerate() {
        let name = attack.attack.label.clone();
        let growing = app.audit.attacks.get(place).and_then(|state| state.growing.as_ref());
        let curves = match (&attack.curves, growing) {
            (Some(curves), _) => curves,
            (None, Some(growing)) => {
                series.push(grown(name, place + 1, growing, app.ui.chart, selected(place)));
                continue;
            }
            (None, None) => continue,
        };
        series.push(match app.ui.chart {
            ChartMode::Difference => {
                let values: Vec<Option<f64>> =
                    curves.drops.iter().map(|drop| drop.map(|drop| -drop.estimate)).collect();
                let lowest = (values.iter().enumerate())
                    .filter_map(|(tap, value)| Some((tap, (*value)?)))
                    .min_by(|a, b| a.1.total_cmp(&b.1));
                let peak = lowest.map(|(tap, _)| tap);
                Series { name, note: String::new(), curve: place + 1, values, peak, selected: selected(place) }
            }
            _ => levels(name, place + 1, &curves.adversarial, selected(place)),
        });
    }
    series
}

/// A curve of an attack that is not through, over the samples so far.
fn grown(name: String, curve: usize, of: &GrowingCurves, mode: ChartMode, selected: bool) -> Series {
    let values: Vec<Option<f64>> = match mode {
        ChartMode::Difference => of.adversarial.iter().zip(&of.clean).map(|(a, b)| Some((*a)? - (*b)?)).collect(),
        _ => of.adversarial.clone(),
    };
    // No peak: it may still move.
    Series { name, note: format!(" (n={} so far)", of.n), curve, values, peak: None, selected }
}

/// Clean and adversarial curve of the samples of an attack so far.
pub(super) fn grown_pair(attack: usize, of: &GrowingCurves) -> [Series; 2] {
    let values = of.clean.clone();
    let clean = Series { name: String::new(), note: String::new(), curve: 0, values, peak: None, selected: false };
    [clean, grown(String::new(), attack + 1, of, ChartMode::Level, true)]
}

/// Lower and upper end of the axis.
fn range(series: &[Series], fitted: bool, difference: bool) -> (f64, f64) {
    let values = || series.iter().flat_map(|it| it.values.iter().flatten().copied()).filter(|value| value.is_finite());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return if difference { (-0.6, 0.2) } else { (0.0, 1.0) };
    }
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

/// Draws axes and curves.
pub(super) fn plot_curves(
    area: Rect,
    buffer: &mut Buffer,
    app: &App,
    theme: Theme,
    series: &[Series],
    difference: bool,
) {
    const GUTTER: u16 = 6;
    if area.width <= GUTTER + 2 || area.height < 4 {
        return;
    }
    let plot = Rect::new(area.x + GUTTER, area.y, area.width - GUTTER, area.height - 2);
    let (low, high) = range(series, app.ui.fitted_axis, difference);
    let height = |value: f64| (value - low) / (high - low);
    let taps = app.taps().max(1);
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
        let (style, letter) = (theme.style(it.role()), theme.mark(it.curve));
        let points: Vec<Option<(f64, f64)>> = (it.values.iter().enumerate())
            .map(|(tap, value)| value.filter(|value| value.is_finite()).map(|value| (place(tap), height(value))))
            .collect();
        for (tap, point) in points.iter().enumerate() {
            // A missing value leaves a gap.
            if let Some(from) = *point {
                let to = points.get(tap + 1).copied().flatten().unwrap_or(from);
                raster.line(from, to, style, letter);
            }
        }
    }
    raster.render(plot, buffer);
    for it in &order {
        let peak = it.peak.and_then(|tap| Some((tap, it.values.get(tap).copied().flatten()?)));
        if let Some((tap, value)) = peak.filter(|(_, value)| value.is_finite()) {
            let (x, y) = (raster.column(place(tap)) as u16, raster.row(height(value)) as u16);
            let sign = if difference { theme.sign("▼", "v") } else { theme.sign("▲", "^") };
            buffer[(plot.x + x, plot.y + y)].set_symbol(sign).set_style(theme.style(it.role()));
        }
    }
    let names = app.audit.start.as_ref().map_or(&[][..], |start| &start.taps);
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
        let wide = text::width(name) as u16;
        if wide > area.width {
            continue;
        }
        let start = x.saturating_sub(wide / 2).min(area.width - wide);
        let end = start + wide;
        // A free column on both sides keeps names apart.
        if taken.iter().all(|&(from, to)| end < from || start > to) {
            taken.push((start, end));
            buffer.set_string(area.x + start, area.y, name, ratatui::style::Style::new());
        }
    }
    // Ticks say which taps the names belong to.
    for (x, _) in labels {
        if let Some(cell) = buffer.cell_mut((area.x + x, area.y - 1)) {
            cell.set_symbol("┴");
        }
    }
}

/// The curves' names, or at the cursor their values.
fn legend(app: &App, theme: Theme, series: &[Series], columns: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let names = app.audit.start.as_ref().map_or(&[][..], |start| &start.taps);
    let tap = app.ui.cursor.and_then(|cursor| Some((cursor, names.get(cursor)?)));
    if let Some((_, name)) = tap {
        spans.push(Span::styled(format!(" {name}:"), theme.style(Role::Title)));
    }
    for it in series {
        let value = match tap.map(|(cursor, _)| it.values.get(cursor).copied().flatten()) {
            None => it.note.clone(),
            Some(None) => " –".to_owned(),
            Some(Some(value)) => format!(" {value:.3}"),
        };
        let text = format!(" {} {}{value}", theme.mark(it.curve), it.name);
        let style = theme.style(it.role());
        let style = if it.selected { style.add_modifier(ratatui::style::Modifier::BOLD) } else { style };
        spans.push(Span::styled(text, style));
    }
    spans.push(Span::raw(" "));
    let waiting: Vec<&str> = series_less(app);
    if !waiting.is_empty() && tap.is_none() {
        spans.push(Span::styled(format!(" no curve: {} ", waiting.join(", ")), theme.style(Role::Dim)));
    }
    fit_line(spans, columns)
}

/// The attacks that no curve is shown of.
fn series_less(app: &App) -> Vec<&str> {
    let attacks = app.report.iter().flat_map(|report| &report.attacks).zip(&app.audit.attacks);
    let is_less = |(result, state): &(&AttackResult, &AttackState)| result.curves.is_none() && state.growing.is_none();
    attacks.filter(is_less).map(|(result, _)| result.attack.label.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> [Series; 1] {
        let values = values.iter().copied().map(Some).collect();
        [Series { name: String::new(), note: String::new(), curve: 0, values, peak: None, selected: false }]
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
