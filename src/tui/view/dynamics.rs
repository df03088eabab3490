//! A training: Q over tap and checkpoint as a heatmap, accuracy and the selected tap's Q as lines.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::dynamics::{App, BINDINGS};
use super::super::steps::first_shown;
use super::super::theme::{Marker, Role, Theme};
use super::plot::{GUTTER, axis, tap_labels};
use super::raster::Raster;
use super::text::{self, fit, fit_line, framed, short_tap, width};
use super::{frame, help, layout};
use crate::stats::finite_range;
use crate::study::results::dynamics::DynamicsResult;

/// Where there are fewer rows, the heatmap goes before the lines: it has the accuracy too.
const LOW: u16 = 20;

pub(crate) fn dynamics(area: Rect, buffer: &mut Buffer, app: &App) {
    let theme = app.theme;
    if layout::is_too_small(area) {
        return layout::say_too_small(area, buffer);
    }
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    header(head, buffer, app);
    match &app.problem {
        Some(problem) => {
            let line = vec![Span::styled(format!(" {problem}"), theme.style(Role::Bad))];
            fit_line(line, usize::from(foot.width)).render(foot, buffer);
        }
        None => frame::footer_of(BINDINGS.iter(), foot.width, theme).render(foot, buffer),
    }
    match app.dynamics.as_ref().filter(|it| !it.checkpoints.is_empty()) {
        None => waiting(body, buffer, app),
        Some(found) => {
            // A frame of two rows, the accuracy and the checkpoints' numbers.
            let wanted = u16::try_from(app.taps() + 4).unwrap_or(u16::MAX);
            let least = if body.height < LOW { 0 } else { (body.height / 3).max(8) };
            let most = body.height - least;
            let [map, lines] = Layout::vertical([Constraint::Length(wanted.min(most)), Constraint::Min(0)]).areas(body);
            heatmap(map, buffer, app, found);
            chart(lines, buffer, app, found);
        }
    }
    if let Some(down) = app.help {
        help::table(area, buffer, theme, BINDINGS, down, &["Mouse: the wheel goes through the taps."]);
    }
    if theme.ascii {
        text::to_ascii(area, buffer);
    }
}

fn header(area: Rect, buffer: &mut Buffer, app: &App) {
    let mut spans =
        vec![Span::styled(" advmod ", app.theme.style(Role::Title)), Span::raw(format!(" training in {}", app.folder))];
    if let Some((found, first)) = app.dynamics.as_ref().and_then(|it| Some((it, it.checkpoints.first()?))) {
        let (curve, n) = (&first.curve, found.checkpoints.len());
        let plural = if n == 1 { "" } else { "s" };
        spans.push(Span::raw(format!(
            "  {n} checkpoint{plural}  {} n={} k={} {}",
            found.data, curve.n, curve.k, curve.similarity
        )));
    }
    fit_line(spans, usize::from(area.width)).render(area, buffer);
}

fn waiting(area: Rect, buffer: &mut Buffer, app: &App) {
    let inner = framed(area, buffer, app.theme, true, "Q by tap and checkpoint");
    let message = "No checkpoint has been measured here yet. It shows as soon as advmod train --measure or advmod dynamics --out has written it.";
    text::in_the_middle(inner, buffer, message);
}

/// The values of a tap over the checkpoints.
fn values(found: &DynamicsResult, tap: usize) -> impl Iterator<Item = Option<f64>> + '_ {
    found.checkpoints.iter().map(move |it| it.curve.taps.get(tap).and_then(|point| point.q))
}

/// Widest name of a tap.
const NAME: usize = 18;

/// Columns of a cell, where there is room.
const CELL: usize = 4;

/// Columns that hundredths need.
const FIGURES: usize = 3;

/// Which checkpoint each column shows: all of them where there is room, else evenly spread ones with the first and the last.
fn columns(checkpoints: usize, room: usize) -> (Vec<usize>, usize) {
    if checkpoints <= room {
        return ((0..checkpoints).collect(), (room / checkpoints.max(1)).clamp(1, CELL));
    }
    let last = room.saturating_sub(1).max(1);
    ((0..room).map(|column| column * (checkpoints - 1) / last).collect(), 1)
}

fn heatmap(area: Rect, buffer: &mut Buffer, app: &App, found: &DynamicsResult) {
    let theme = app.theme;
    let range = finite_range((0..app.taps()).flat_map(|tap| values(found, tap)).flatten());
    let (low, high) = range.unwrap_or_default();
    let taps = &found.checkpoints[0].curve.taps;
    let name_width = taps.iter().map(|it| width(&it.tap)).max().unwrap_or(0).clamp("accuracy".len(), NAME);
    // Behind two columns for the pointer and one blank; the frame has two more.
    let left = name_width + 3;
    let (shown, wide) = columns(found.checkpoints.len(), usize::from(area.width).saturating_sub(left + 2));
    let is_wide = wide >= FIGURES;
    let scale = match (range.is_some(), is_wide, is_colour_alone(wide, theme)) {
        (false, ..) => String::new(),
        (_, true, _) => format!(" in hundredths, {low:.2} to {high:.2}"),
        (_, false, true) => format!(", {low:.2} to {high:.2}"),
        (_, false, false) => format!(", 0 to 9 is {low:.2} to {high:.2}"),
    };
    let tenths = if is_wide { "" } else { ", accuracy in tenths" };
    let left_out = match found.checkpoints.len() {
        n if n > shown.len() => format!(", {} of {n} shown", shown.len()),
        _ => String::new(),
    };
    let inner = framed(area, buffer, theme, true, &format!("Q by tap and checkpoint{scale}{left_out}{tenths}"));
    buffer.set_string(inner.x + 2, inner.y, "accuracy", theme.style(Role::Good));
    for (column, &checkpoint) in shown.iter().enumerate() {
        let text = figures(found.checkpoints[checkpoint].accuracy.value, wide);
        buffer.set_string(inner.x + (left + column * wide) as u16, inner.y, text, theme.style(Role::Good));
    }
    let selected = shown.iter().rposition(|&it| it <= app.selected()).unwrap_or(0);
    let room = usize::from(inner.height.saturating_sub(2));
    let first = first_shown(app.tap, taps.len(), room);
    for (line, (tap, point)) in taps.iter().enumerate().skip(first).take(room).enumerate() {
        let y = inner.y + 1 + line as u16;
        let is_selected = tap == app.tap;
        let style = theme.style(if is_selected { Role::Selected } else { Role::Plain });
        let name = Span::styled(fit(&point.tap, name_width), style);
        Line::from(vec![Span::raw(text::pointer(theme, is_selected)), name])
            .render(Rect { y, height: 1, ..inner }, buffer);
        let row: Vec<Option<f64>> = values(found, tap).collect();
        for (column, &checkpoint) in shown.iter().enumerate() {
            let x = inner.x + (left + column * wide) as u16;
            let (text, style) = cell(row[checkpoint], (low, high), wide, theme);
            buffer.set_string(x, y, text, style);
        }
    }
    text::shown_of(area, buffer, theme, first, room, taps.len());
    // The selected number first: what is in its way is left out.
    let y = inner.bottom() - 1;
    let mut free = vec![true; usize::from(inner.width)];
    let order = std::iter::once(selected).chain([shown.len() - 1, 0]).chain(0..shown.len());
    for column in order {
        let number = found.checkpoints[shown[column]].number(shown[column]);
        let from = (left + column * wide + wide / 2).saturating_sub(number.len() / 2);
        let from = from.min(free.len().saturating_sub(number.len()));
        let to = from + number.len();
        if to <= free.len() && free[from.saturating_sub(1)..(to + 1).min(free.len())].iter().all(|it| *it) {
            free[from..to].fill(false);
            let role = if column == selected { Role::Selected } else { Role::Dim };
            buffer.set_string(inner.x + from as u16, y, number, theme.style(role));
        }
    }
}

/// Whether colours say what there is no room for.
fn is_colour_alone(wide: usize, theme: Theme) -> bool {
    theme.color && !theme.ascii && wide < FIGURES
}

/// A value in so many columns: hundredths where there is room, else a digit of tenths.
fn figures(value: Option<f64>, wide: usize) -> String {
    match value.filter(|it| it.is_finite()) {
        None if wide >= FIGURES => format!("{:<wide$}", "  –"),
        None => format!("{:<wide$}", "–"),
        Some(value) if wide >= FIGURES => format!("{:<wide$}", format!("{:>3}", (100.0 * value).round() as i64)),
        Some(value) => format!("{:<wide$}", ((10.0 * value) as i64).clamp(0, 9)),
    }
}

/// What a Q looks like: on a colour where there are some, which says all where there is no room for hundredths.
fn cell(value: Option<f64>, (low, high): (f64, f64), wide: usize, theme: Theme) -> (String, ratatui::style::Style) {
    let Some(finite) = value.filter(|it| it.is_finite()) else {
        return (figures(value, wide), theme.style(Role::Dim));
    };
    let share = if high > low { (finite - low) / (high - low) } else { 1.0 };
    let text = match wide {
        FIGURES.. => figures(value, wide),
        _ if is_colour_alone(wide, theme) => " ".repeat(wide),
        // The range over the digits: Q often stays within a tenth.
        _ => figures(Some(share * 0.99), wide),
    };
    (text, theme.heat(share))
}

/// Accuracy and the selected tap's Q over the checkpoints.
fn chart(area: Rect, buffer: &mut Buffer, app: &App, found: &DynamicsResult) {
    let theme = app.theme;
    let checkpoint = &found.checkpoints[app.selected()];
    let tap = found.checkpoints[0].curve.taps.get(app.tap).map_or("", |it| it.tap.as_str());
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let accuracy = checkpoint.accuracy.value.map_or("–".to_owned(), |value| {
        format!("{} % [{}, {}]", percent(value), percent(checkpoint.accuracy.low), percent(checkpoint.accuracy.high))
    });
    let inner = framed(area, buffer, theme, false, &format!("{}: accuracy {accuracy}", checkpoint.name));
    if inner.width <= GUTTER + 2 || inner.height < 4 {
        return;
    }
    let plot = Rect::new(inner.x + GUTTER, inner.y, inner.width - GUTTER, inner.height - 2);
    let q: Vec<Option<f64>> = values(found, app.tap).collect();
    let shares: Vec<Option<f64>> = found.checkpoints.iter().map(|it| it.accuracy.value).collect();
    let lowest = q.iter().flatten().copied().fold(0.0, f64::min);
    let low = (lowest * 5.0).floor() / 5.0;
    axis(plot, buffer, theme, (low, 1.0));
    let n = found.checkpoints.len();
    let place = |at: usize| if n == 1 { 0.5 } else { at as f64 / (n - 1) as f64 };
    let mut raster = Raster::new(plot, theme.marker());
    let x = plot.x + raster.column(place(app.selected())) as u16;
    for y in plot.y..plot.bottom() {
        buffer[(x, y)].set_symbol("┊").set_style(theme.style(Role::Dim));
    }
    let lines = [(&shares, Role::Good, "a"), (&q, Role::Clean, "o")];
    for (values, role, letter) in lines {
        let finite = values.iter().map(|value| value.filter(|it| it.is_finite())).enumerate();
        let points = finite.map(|(at, value)| Some((place(at), (value? - low) / (1.0 - low))));
        raster.curve(&points.collect::<Vec<_>>(), theme.style(role), letter);
    }
    raster.render(plot, buffer);
    let labels: Vec<(u16, String)> = (found.checkpoints.iter().enumerate())
        .map(|(at, it)| (raster.column(place(at)) as u16, it.number(at)))
        .collect();
    tap_labels(Rect { y: plot.bottom() + 1, height: 1, ..plot }, buffer, &labels, Some(app.selected()));
    let mark = |letter| if theme.marker() == Marker::Letters { letter } else { "━" };
    let now = q.get(app.selected()).copied().flatten().map_or("–".to_owned(), |value| format!("{value:.3}"));
    let trend = found.taps.get(app.tap).filter(|it| it.tap == tap).and_then(|it| it.rank_correlation);
    let trend = trend.map_or(String::new(), |trend| format!(" (rank correlation with accuracy {trend:.2})"));
    let spans = vec![
        Span::styled(format!(" {} accuracy", mark("a")), theme.style(Role::Good)),
        Span::styled(format!("  {} Q of {} {now}{trend} ", mark("o"), short_tap(tap)), theme.style(Role::Clean)),
    ];
    let legend = fit_line(spans, usize::from(inner.width.saturating_sub(2)));
    let place = Rect { x: inner.x + 1, y: inner.bottom(), width: legend.width() as u16, height: 1 };
    legend.render(place, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_shows_a_checkpoint_and_the_ends_are_there() {
        assert_eq!(columns(3, 40), (vec![0, 1, 2], 4));
        assert_eq!(columns(30, 40).1, 1);
        let (shown, wide) = columns(150, 40);
        assert_eq!((shown.len(), shown[0], shown[39], wide), (40, 0, 149, 1));
        assert!(shown.is_sorted());
        assert_eq!(columns(5, 0).0, [0_usize; 0]);
    }
}
