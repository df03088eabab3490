//! A training: Q over tap and checkpoint as a heatmap, accuracy and the selected tap's Q as lines.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Span;
use ratatui::widgets::Widget as _;

use super::super::dynamics::{App, BINDINGS};
use super::super::theme::{Marker, Role, Theme};
use super::plot::Plot;
use super::text::{self, fit, fit_line, framed, short_tap, width};
use super::{frame, help, layout};
use crate::stats::finite_range;
use crate::study::results::dynamics::DynamicsResult;
use crate::text::numbers::{number, or_dash};

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
    let spans = match &app.problem {
        Some(problem) => vec![theme.span(format!(" {problem}"), Role::Bad)],
        None => frame::footer_of(BINDINGS.iter(), foot.width, theme),
    };
    fit_line(spans, usize::from(foot.width)).render(foot, buffer);
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
    let mut spans = vec![app.theme.span(" advmod ", Role::Title), Span::raw(format!(" training in {}", app.folder))];
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
    let rows = Rect { height: inner.height.saturating_sub(2), ..text::below(inner, 1) };
    text::list(rows, area, buffer, theme, (app.tap, taps.len()), |tap| {
        let is_selected = tap == app.tap;
        let name = fit(&taps[tap].tap, name_width);
        let pad = Span::raw(" ".repeat(left - 2 - width(&name)));
        let head = [Span::raw(text::pointer(theme, is_selected)), theme.span(name, Role::row(is_selected)), pad];
        let row: Vec<Option<f64>> = values(found, tap).collect();
        let cells = shown.iter().map(|&checkpoint| cell(row[checkpoint], (low, high), wide, theme));
        head.into_iter().chain(cells).collect()
    });
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
fn cell(value: Option<f64>, (low, high): (f64, f64), wide: usize, theme: Theme) -> Span<'static> {
    let Some(finite) = value.filter(|it| it.is_finite()) else {
        return theme.span(figures(value, wide), Role::Dim);
    };
    let share = if high > low { (finite - low) / (high - low) } else { 1.0 };
    let text = match wide {
        FIGURES.. => figures(value, wide),
        _ if is_colour_alone(wide, theme) => " ".repeat(wide),
        // The range over the digits: Q often stays within a tenth.
        _ => figures(Some(share * 0.99), wide),
    };
    Span::styled(text, theme.heat(share))
}

/// Accuracy and the selected tap's Q over the checkpoints.
fn chart(area: Rect, buffer: &mut Buffer, app: &App, found: &DynamicsResult) {
    let theme = app.theme;
    let checkpoint = &found.checkpoints[app.selected()];
    let tap = found.checkpoints[0].curve.taps.get(app.tap).map_or("", |it| it.tap.as_str());
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let accuracy = or_dash(checkpoint.accuracy.value, |value| {
        format!("{} % [{}, {}]", percent(value), percent(checkpoint.accuracy.low), percent(checkpoint.accuracy.high))
    });
    let inner = framed(area, buffer, theme, false, &format!("{}: accuracy {accuracy}", checkpoint.name));
    let q: Vec<Option<f64>> = values(found, app.tap).collect();
    let lowest = q.iter().flatten().copied().fold(0.0, f64::min);
    let low = (lowest * 5.0).floor() / 5.0;
    let Some(mut plot) = Plot::new(inner, buffer, theme, found.checkpoints.len(), (low, 1.0)) else { return };
    plot.cursor(buffer, app.selected(), Role::Dim);
    plot.curve(found.checkpoints.iter().map(|it| it.accuracy.value), Role::Good, "a");
    plot.curve(q.iter().copied(), Role::Clean, "o");
    plot.render(buffer);
    let numbers: Vec<String> = found.checkpoints.iter().enumerate().map(|(at, it)| it.number(at)).collect();
    plot.labels(buffer, &numbers, Some(app.selected()));
    let mark = |letter| if theme.marker() == Marker::Letters { letter } else { "━" };
    let now = number(q.get(app.selected()).copied().flatten(), 3);
    let trend = found.taps.get(app.tap).filter(|it| it.tap == tap).and_then(|it| it.rank_correlation);
    let trend = trend.map_or(String::new(), |trend| format!(" (rank correlation with accuracy {trend:.2})"));
    let q = format!("  {} Q of {} {now}{trend} ", mark("o"), short_tap(tap));
    let accuracy = theme.span(format!(" {} accuracy", mark("a")), Role::Good);
    text::on_frame(inner, buffer, vec![accuracy, theme.span(q, Role::Clean)]);
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
