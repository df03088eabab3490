//! Whether to stop the run.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Position, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph, Widget as _, Wrap};

use super::super::keys::Command;
use super::super::theme::Theme;
use super::text::framed;

fn shape(area: Rect) -> Rect {
    area.centered(Constraint::Length(area.width.min(58)), Constraint::Length(8.min(area.height)))
}

/// What a click there answers: the lines that name a key stand for it.
pub(super) fn answer_at(area: Rect, cell: Position) -> Option<Command> {
    let shape = shape(area);
    match (shape.contains(cell), cell.y.checked_sub(shape.y)) {
        (true, Some(2)) => Some(Command::Confirm),
        (true, Some(3)) => Some(Command::Close),
        _ => None,
    }
}

/// Draws the overlay.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, theme: Theme, leave: bool) {
    let shape = shape(area);
    Clear.render(shape, buffer);
    let title = if leave { "The audit is still running" } else { "Stop the audit?" };
    let inner = framed(shape, buffer, theme, true, title);
    let then = if leave { "then this program ends" } else { "the results stay here to be read" };
    let lines = vec![
        Line::default(),
        Line::raw(format!(" Enter   stop; {then}")),
        Line::raw(" Esc     let it run"),
        Line::default(),
        Line::raw(" What was done by then counts and is marked incomplete."),
    ];
    Paragraph::new(lines).wrap(Wrap { trim: false }).render(inner, buffer);
}
