//! The first two rows and the last one.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::{App, Phase};
use super::super::keys::{self, Binding, Command};
use super::super::state::Source;
use super::super::state::screen::Screen;
use super::super::theme::{Role, Theme};
use super::text::{clock, fit_line, width};
use crate::audit::event::Outcome;
use crate::report::lines::Level;
use crate::verdict::Report;
use crate::verdict::gates::{GateState, Verdict};

/// What runs on what, and how it stands.
pub(super) fn header(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let (role, word) = match app.phase() {
        Phase::Loading => (Role::Plain, "LOADING"),
        Phase::Running => (Role::Good, "RUNNING"),
        Phase::Paused => (Role::Warning, "PAUSED"),
        Phase::Stopping => (Role::Warning, "STOPPING"),
        Phase::Finished(Outcome::Complete) => (Role::Good, "FINISHED"),
        Phase::Finished(Outcome::Interrupted) => (Role::Warning, "STOPPED"),
        Phase::Finished(Outcome::Failed) | Phase::Failed => (Role::Bad, "FAILED"),
        Phase::Ended => (Role::Warning, "CUT OFF"),
    };
    let source = match app.ui.run.source {
        Source::Live => "",
        Source::Replay => "replay  ",
        Source::Attached => "attached  ",
    };
    let shown = app.ui.run.closed.as_ref().map_or(app.ui.clock.now, |closed| closed.at);
    let time = match (app.audit.finished, app.ui.run.source) {
        (Some((_, seconds)), _) => format!(" {}", clock(seconds)),
        (None, Source::Live) => format!(" {}", clock(shown.as_secs_f64())),
        _ => String::new(),
    };
    let right = vec![theme.span(source, Role::Dim), theme.span(word, role), Span::raw(format!("{time} "))];
    let right_width: usize = right.iter().map(Span::width).sum();
    let mut left = vec![theme.span(" advmod ", Role::Title)];
    if let Some(start) = &app.audit.start {
        let (model, data) = (&start.model, &start.data);
        left.push(Span::raw(format!(
            " {} {}  {} n={}  {}  seed {}",
            model.name,
            model.architecture,
            data.name,
            data.indices.len(),
            start.plan.device,
            start.plan.seed
        )));
    }
    let room = usize::from(area.width).saturating_sub(right_width + 2);
    fit_line(left, room).render(area, buffer);
    let right_width = right_width as u16;
    let corner = Rect { x: area.right().saturating_sub(right_width), width: right_width.min(area.width), ..area };
    Line::from(right).render(corner, buffer);
}

fn tab(number: usize, screen: Screen, is_shown: bool) -> String {
    let (open, close) = if is_shown { ('[', ']') } else { (' ', ' ') };
    format!("{open}{number} {}{close} ", screen.title())
}

pub(super) fn tabs(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let span = |(place, screen)| {
        let is_shown = screen == app.ui.screen;
        let role = if is_shown { Role::Title } else { Role::Dim };
        theme.span(tab(place + 1, screen, is_shown), role)
    };
    let mut spans: Vec<Span<'static>> = Screen::ALL.into_iter().enumerate().map(span).collect();
    spans.extend(app.report.as_ref().and_then(|report| gates(report, theme)));
    let warnings = app.audit.warnings.len();
    if warnings > 0 {
        let plural = if warnings == 1 { "" } else { "s" };
        spans.push(theme.span(format!("  {warnings} warning{plural}"), Role::Warning));
    }
    fit_line(spans, usize::from(area.width)).render(area, buffer);
}

/// How the gates stand: `gates 1 FAIL, 2 pass`.
fn gates(report: &Report, theme: Theme) -> Option<Span<'static>> {
    let verdict = Verdict::of(&report.gates);
    let role = match verdict.result? {
        GateState::Pass | GateState::Waived => Role::Good,
        GateState::Pending => Role::Plain,
        GateState::Inconclusive => Role::Warning,
        GateState::Fail => Role::Bad,
    };
    let states = [GateState::Fail, GateState::Inconclusive, GateState::Waived, GateState::Pending, GateState::Pass];
    let counts = states.into_iter().map(|state| (verdict.count(state), state.word())).filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
    Some(theme.span(format!("  gates: {}", counts.join(", ")), role))
}

/// Which screen's name is in this column.
pub(super) fn tab_at(column: u16) -> Option<Screen> {
    let mut end = 0;
    Screen::ALL.into_iter().enumerate().find_map(|(place, screen)| {
        end += tab(place + 1, screen, false).len() as u16;
        (column < end).then_some(screen)
    })
}

/// What can be pressed here; what has no room is in the help.
pub(super) fn footer(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let spans = if let Some(notice) = &app.ui.notice {
        let role = match notice.level {
            Level::Info => Role::Good,
            Level::Warning => Role::Warning,
            Level::Error => Role::Bad,
        };
        vec![theme.span(format!(" {}", notice.text), role)]
    } else if app.is_editing() {
        let keys = [("Enter", "apply"), ("Esc", "leave as it was"), ("Ctrl-U", "empty: the default")];
        keys.into_iter().flat_map(|(key, word)| pair(theme, key, word)).collect()
    } else {
        footer_of(in_footer(app), area.width, theme)
    };
    fit_line(spans, usize::from(area.width)).render(area, buffer);
}

/// The words of these bindings that there is room for.
pub(super) fn footer_of(
    bindings: impl Iterator<Item = &'static Binding>,
    columns: u16,
    theme: Theme,
) -> Vec<Span<'static>> {
    that_fit(bindings, columns).flat_map(|it| pair(theme, it.shown, it.footer)).collect()
}

fn pair(theme: Theme, key: &str, word: &str) -> [Span<'static>; 2] {
    [theme.span(format!(" {key}"), Role::Title), theme.span(format!(" {word} "), Role::Dim)]
}

fn in_footer(app: &App) -> impl Iterator<Item = &'static Binding> {
    let is_busy = app.is_busy();
    keys::of(app.ui.screen).filter(move |it| !matches!(it.command, Command::Stop | Command::Pause) || is_busy)
}

/// Those that have a word, as many as there is room for.
fn that_fit(bindings: impl Iterator<Item = &'static Binding>, columns: u16) -> impl Iterator<Item = &'static Binding> {
    let mut left = usize::from(columns);
    bindings.filter(|it| !it.footer.is_empty()).map_while(move |binding| {
        left = left.checked_sub(footer_width(binding))?;
        Some(binding)
    })
}

fn footer_width(binding: &Binding) -> usize {
    // A blank before the key, one before the word and one after it.
    width(binding.shown) + width(binding.footer) + 3
}

/// Whose word is in this column of the footer.
pub(super) fn command_at(app: &App, columns: u16, column: u16) -> Option<Command> {
    if app.ui.notice.is_some() || app.is_editing() {
        return None;
    }
    let mut end = 0;
    that_fit(in_footer(app), columns).find_map(|binding| {
        end += footer_width(binding);
        (usize::from(column) < end).then_some(binding.command)
    })
}
