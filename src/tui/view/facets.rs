//! One small chart per attack: its images when clean and when adversarial.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Span;
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::theme::{Role, Theme};
use super::plot;
use super::series::pair;
use super::text::{fit_line, row_at};

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
        let mut head = vec![Span::styled(format!("{marker}{label}"), theme.style(Role::Attack(place)))];
        match pair(app, place) {
            Some((series, so_far)) => {
                let note = so_far.map_or(String::new(), |n| format!("  n={n} so far"));
                head.push(Span::styled(format!("  {} clean", theme.mark(0)), theme.style(Role::Clean)));
                head.push(Span::styled(format!("  {} adv", theme.mark(place + 1)), theme.style(Role::Attack(place))));
                head.push(Span::styled(note, theme.style(Role::Dim)));
                let below = Rect { y: cell.y + 1, height: cell.height - 1, ..cell };
                plot::curves(below, buffer, app, theme, &series, false);
            }
            None => head.push(Span::styled("  no curve yet", theme.style(Role::Dim))),
        }
        let hidden = report.attacks.len() - (first + room).min(report.attacks.len()) + first;
        if slot + 1 == room && hidden > 0 {
            head.push(Span::styled(format!("  {hidden} more"), theme.style(Role::Dim)));
        }
        fit_line(head, usize::from(cell.width)).render(row_at(cell, 0), buffer);
    }
}
