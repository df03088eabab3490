//! The chart's curves as a table: for screen readers, for copying, for exact values.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::theme::{Role, Theme};
use super::series::Series;
use super::text::{below, fit, fit_line, list, padded, pointer, row_at, width};
use crate::text::numbers::number;

const WIDE: usize = 9;

/// Draws one row per tap and one column per curve; the row of the cursor is shown in any case.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, series: &[Series]) {
    let names = app.tap_names();
    let name_width = names.iter().map(|name| width(name)).max().unwrap_or(3).clamp(3, 24);
    let mut head = vec![theme.span(format!("  {:<name_width$}", "tap"), Role::Dim)];
    for it in series {
        let name = fit(&it.name, WIDE - 1);
        let pad = " ".repeat(WIDE - width(&name));
        head.push(theme.span(format!("{pad}{name}"), it.role()));
    }
    fit_line(head, usize::from(area.width)).render(row_at(area, 0), buffer);
    let cursor = app.ui.cursor.unwrap_or(0).min(names.len().saturating_sub(1));
    // The lower edge of the frame is below.
    let frame = Rect { height: area.height + 1, ..area };
    list(below(area, 1), frame, buffer, theme, (cursor, names.len()), |tap| {
        let is_selected = app.ui.cursor == Some(tap);
        let role = Role::row(is_selected);
        let name = theme.span(padded(&names[tap], name_width), role);
        let cells = series.iter().map(|it| {
            let mark = if it.peak == Some(tap) { theme.sign("▲", "^") } else { " " };
            theme.span(format!("{:>pad$}{mark}", number(it.value(tap), 3), pad = WIDE - 1), role)
        });
        [Span::raw(pointer(theme, is_selected)), name].into_iter().chain(cells).collect()
    });
}
