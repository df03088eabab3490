//! The chart's curves as a table: for screen readers, for copying, for exact values.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::theme::{Role, Theme};
use super::chart::Series;
use super::text::{fit, fit_line, width};

/// Columns of a value.
const WIDE: usize = 9;

/// Draws one row per tap and one column per curve; the row of the cursor is shown in any case.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, series: &[Series]) {
    let names = app.audit.start.as_ref().map_or(&[][..], |start| &start.taps);
    let name_width = names.iter().map(|name| width(name)).max().unwrap_or(3).clamp(3, 24);
    let columns = usize::from(area.width);
    let mut head = vec![Span::styled(format!("  {:<name_width$}", "tap"), theme.style(Role::Dim))];
    for it in series {
        let name = fit(&it.name, WIDE - 1);
        let pad = " ".repeat(WIDE - width(&name));
        head.push(Span::styled(format!("{pad}{name}"), theme.style(it.role())));
    }
    fit_line(head, columns).render(Rect { height: 1, ..area }, buffer);
    let room = usize::from(area.height.saturating_sub(1));
    let cursor = app.ui.cursor.unwrap_or(0).min(names.len().saturating_sub(1));
    let first = if names.len() <= room { 0 } else { cursor.saturating_sub(room / 2).min(names.len() - room) };
    for (at, (tap, name)) in names.iter().enumerate().skip(first).take(room).enumerate() {
        let is_selected = app.ui.cursor == Some(tap);
        let style = theme.style(if is_selected { Role::Selected } else { Role::Plain });
        let name = fit(name, name_width);
        let pad = " ".repeat(name_width.saturating_sub(width(&name)));
        let pointer = if is_selected { theme.sign("▶ ", "> ") } else { "  " };
        let mut cells = vec![Span::raw(pointer), Span::styled(format!("{name}{pad}"), style)];
        for it in series {
            let value = it.values.get(tap).copied().flatten();
            let mark = if it.peak == Some(tap) { theme.sign("▲", "^") } else { " " };
            let text = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
            cells.push(Span::styled(format!("{text:>pad$}{mark}", pad = WIDE - 1), style));
        }
        fit_line(cells, columns).render(Rect { y: area.y + 1 + at as u16, height: 1, ..area }, buffer);
    }
    if names.len() > room && room > 0 {
        let more = format!(" {}-{} of {} ", first + 1, first + room, names.len());
        let x = area.right().saturating_sub(more.len() as u16 + 1);
        buffer.set_string(x, area.bottom(), more, theme.style(Role::Dim));
    }
}
