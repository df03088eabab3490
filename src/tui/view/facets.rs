//! One small chart per attack: its images when clean and when adversarial.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::theme::{Role, Theme};
use super::plot;
use super::series::pair;
use super::text::{below, fit_line, row_at};

/// Draws as many as there is room for, with the selected one among them.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let Some(report) = &app.report else { return };
    let columns = usize::from(area.width / 36).clamp(1, 3);
    let rows = usize::from(area.height / 7).max(1);
    let room = columns * rows;
    let first = app.ui.selected / room * room;
    let shown = report.attacks.iter().enumerate().skip(first).take(room);
    let used = report.attacks.len().saturating_sub(first).min(room).div_ceil(columns).max(1);
    let lines = Layout::vertical(vec![Constraint::Fill(1); used]).split(area);
    for (place, attack) in shown {
        let slot = place - first;
        let cells = Layout::horizontal(vec![Constraint::Fill(1); columns]).split(lines[slot / columns]);
        let cell = cells[slot % columns];
        let label = &attack.attack.label;
        let marker = if place == app.ui.selected { ">" } else { " " };
        let mut head = vec![theme.span(format!("{marker}{label}"), Role::Attack(place))];
        match pair(app, place) {
            Some((series, so_far)) => {
                let note = so_far.map_or(String::new(), |n| format!("  n={n} so far"));
                head.push(theme.span(format!("  {} clean", theme.mark(0)), Role::Clean));
                head.push(theme.span(format!("  {} adv", theme.mark(place + 1)), Role::Attack(place)));
                head.push(theme.span(note, Role::Dim));
                plot::curves(below(cell, 1), buffer, app, theme, &series, false);
            }
            None => head.push(theme.span("  no curve yet", Role::Dim)),
        }
        let hidden = report.attacks.len() - (first + room).min(report.attacks.len()) + first;
        if slot + 1 == room && hidden > 0 {
            head.push(theme.span(format!("  {hidden} more"), Role::Dim));
        }
        fit_line(head, usize::from(cell.width)).render(row_at(cell, 0), buffer);
    }
}
