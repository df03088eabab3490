//! All keys, from their table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::keys::{BINDINGS, Binding, Group};
use super::super::theme::{Role, Theme};
use super::text::{centered, fit_line, overlay, padded, stack};

/// Draws the overlay, so many lines scrolled down.
pub(super) fn draw(area: Rect, buffer: &mut Buffer, theme: Theme, down: usize) {
    let mouse = ["Mouse: click a screen, a pane or an attack; the wheel scrolls.", "Shift and drag selects text."];
    table(area, buffer, theme, BINDINGS, down, &mouse);
}

/// A table of keys, so many lines scrolled down, and what is to be said about the mouse.
pub(super) fn table(
    area: Rect,
    buffer: &mut Buffer,
    theme: Theme,
    bindings: &[Binding],
    down: usize,
    mouse: &[&'static str],
) {
    let width = area.width.min(72);
    let columns = usize::from(width.saturating_sub(2));
    let mut lines = Vec::new();
    for (group, title) in Group::ALL {
        let mut named = bindings.iter().filter(|it| it.group == group && !it.help.is_empty()).peekable();
        if named.peek().is_none() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::styled(format!(" {title}"), theme.style(Role::Title)));
        for binding in named {
            let keys = Span::raw(format!("  {}", padded(binding.shown, 11)));
            lines.push(fit_line(vec![keys, theme.span(binding.help, Role::Dim)], columns));
        }
    }
    lines.push(Line::default());
    lines.extend(mouse.iter().map(|line| Line::raw(format!(" {line}"))));
    let height = (lines.len() as u16 + 2).min(area.height);
    let room = usize::from(height.saturating_sub(2));
    let down = down.min(lines.len().saturating_sub(room));
    let title = if lines.len() > room { "Help: ↑ ↓ for more, Esc closes" } else { "Help: Esc closes" };
    let inner = overlay(centered(area, width, height), buffer, theme, title);
    stack(inner, buffer, lines.into_iter().skip(down));
}
