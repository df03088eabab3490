//! The chart's curves as a table: for screen readers, for copying, for exact values.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::steps::first_shown;
use super::super::theme::{Role, Theme};
use super::series::Series;
use super::text::{fit, fit_line, padded, pointer, row_at, shown_of, width};
use crate::text::numbers::number;

const WIDE: usize = 9;

/// Draws one row per tap and one column per curve; the row of the cursor is shown in any case.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, series: &[Series]) {
    let names = app.tap_names();
    let name_width = names.iter().map(|name| width(name)).max().unwrap_or(3).clamp(3, 24);
    let columns = usize::from(area.width);
    let mut head = vec![Span::styled(format!("  {:<name_width$}", "tap"), theme.style(Role::Dim))];
    for it in series {
        let name = fit(&it.name, WIDE - 1);
        let pad = " ".repeat(WIDE - width(&name));
        head.push(Span::styled(format!("{pad}{name}"), theme.style(it.role())));
    }
    fit_line(head, columns).render(row_at(area, 0), buffer);
    let room = usize::from(area.height.saturating_sub(1));
    let cursor = app.ui.cursor.unwrap_or(0).min(names.len().saturating_sub(1));
    let first = first_shown(cursor, names.len(), room);
    for (at, (tap, name)) in names.iter().enumerate().skip(first).take(room).enumerate() {
        let is_selected = app.ui.cursor == Some(tap);
        let style = theme.style(if is_selected { Role::Selected } else { Role::Plain });
        let mut cells = vec![Span::raw(pointer(theme, is_selected)), Span::styled(padded(name, name_width), style)];
        for it in series {
            let value = it.values.get(tap).copied().flatten();
            let mark = if it.peak == Some(tap) { theme.sign("▲", "^") } else { " " };
            cells.push(Span::styled(format!("{:>pad$}{mark}", number(value, 3), pad = WIDE - 1), style));
        }
        fit_line(cells, columns).render(row_at(area, 1 + at), buffer);
    }
    if room > 0 {
        // On the frame, which is below.
        let frame = Rect { height: area.height + 1, ..area };
        shown_of(frame, buffer, theme, first, room, names.len());
    }
}
