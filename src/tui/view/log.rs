//! What happened: the last lines in the Overview, all of them on their own screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::state::LogUi;
use super::super::state::screen::{Pane, Screen};
use super::super::theme::{Role, Theme};
use super::text::{clock, fit, framed, pane, stack, wrapped};
use crate::report::lines::Level;

pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let LogUi { entries, back } = &app.ui.log;
    let title = match back {
        0 => "Log".to_owned(),
        back => format!("Log, {back} lines back"),
    };
    let inner = match app.ui.screen {
        Screen::Log => framed(area, buffer, theme, true, &title),
        _ => pane(area, buffer, app, theme, Pane::Log, &title),
    };
    if entries.is_empty() {
        Line::styled(" Nothing has happened yet.", theme.style(Role::Dim)).render(inner, buffer);
        return;
    }
    let wraps = app.ui.screen == Screen::Log || app.ui.overview.expanded;
    let end = entries.len() - (*back).min(entries.len() - 1);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for entry in entries[..end].iter().rev() {
        let (role, word) = match entry.line.level {
            Level::Info => (Role::Dim, "info "),
            Level::Warning => (Role::Warning, "warn "),
            Level::Error => (Role::Bad, "error"),
        };
        let head = format!(" {}{word} ", entry.at.map_or(String::new(), |at| format!("{} ", clock(at.as_secs_f64()))));
        let room = usize::from(inner.width).saturating_sub(Span::raw(head.as_str()).width());
        let mut parts = if wraps { wrapped(&entry.line.text, room) } else { vec![fit(&entry.line.text, room)] };
        let indent = " ".repeat(head.len());
        for (part, text) in parts.drain(..).enumerate().rev() {
            let head = if part == 0 { head.clone() } else { indent.clone() };
            lines.push(Line::from(vec![theme.span(head, role), Span::raw(text)]));
        }
        if lines.len() >= usize::from(inner.height) {
            break;
        }
    }
    lines.truncate(usize::from(inner.height));
    stack(inner, buffer, lines.into_iter().rev());
}
