//! Questions that lie over a screen.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget as _, Wrap};

use super::super::app::App;
use super::super::keys::Command;
use super::super::state::attacks::PLAN_FILE;
use super::super::theme::{Role, Theme};
use super::text::{centered, fit_line, overlay};

fn shape(area: Rect) -> Rect {
    centered(area, 58, 8)
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

pub(super) fn stop(area: Rect, buffer: &mut Buffer, theme: Theme, leave: bool) {
    let (title, then) = match leave {
        true => ("The audit is still running", "then this program ends"),
        false => ("Stop the audit?", "the results stay here to be read"),
    };
    let what_counts = "What was done by then counts and is marked incomplete.";
    ask(area, buffer, theme, title, &format!("stop; {then}"), what_counts);
}

pub(super) fn call_off(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, attack: usize) {
    let title = format!("Call off {}?", app.label(attack));
    let yes = "call it off; the run goes on with the next";
    ask(area, buffer, theme, &title, yes, "The images that are done by then count.");
}

fn ask(area: Rect, buffer: &mut Buffer, theme: Theme, title: &str, yes: &str, what_counts: &str) {
    let inner = overlay(shape(area), buffer, theme, title);
    let text = format!("\n Enter   {yes}\n Esc     let it run\n\n {what_counts}");
    Paragraph::new(text).wrap(Wrap { trim: false }).render(inner, buffer);
}

/// Shows what would be written and asks whether to.
pub(super) fn save_plan(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let Some(draft) = &app.ui.attacks.plan_file else { return };
    let title = format!("Save the run's attacks to {PLAN_FILE}?");
    let inner = overlay(centered(area, 76, 30), buffer, theme, &title);
    let columns = usize::from(inner.width);
    let what = match draft.before {
        None => "A new file, the whole plan:",
        Some(_) => "The file is there: its attacks are replaced, its other lines stay.",
    };
    let mut lines = vec![
        fit_line(vec![Span::raw(" Enter write   Esc leave it")], columns),
        fit_line(vec![Span::raw(format!(" {what}"))], columns),
        Line::default(),
    ];
    let room = usize::from(inner.height).saturating_sub(lines.len());
    // Of a file that is there, what changes: the attacks.
    let skipped = if draft.before.is_some() { draft.text.find("[[attack]]").unwrap_or(0) } else { 0 };
    let text: Vec<&str> = draft.text[skipped..].lines().collect();
    let shown = if text.len() > room { room.saturating_sub(1) } else { text.len() };
    let line = |text: &&str| fit_line(vec![theme.span(format!(" {text}"), Role::Dim)], columns);
    lines.extend(text[..shown].iter().map(line));
    if shown < text.len() {
        lines.push(Line::raw(format!(" … {} more lines", text.len() - shown)));
    }
    Paragraph::new(lines).render(inner, buffer);
}
