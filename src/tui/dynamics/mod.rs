//! A training as it goes on: Q of each tap at each checkpoint, and the accuracy. A screen of its own, on the file that the training writes.

pub(super) mod file;

mod keys;

pub(crate) use keys::BINDINGS;

use ratatui::crossterm::event::{KeyEvent, MouseEvent, MouseEventKind};

use super::keys::{Command, command};
use super::steps::turn;
use super::theme::Theme;
use crate::study::results::dynamics::DynamicsResult;

/// Everything that a frame is drawn from.
#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    /// The folder, as the user gave it.
    pub folder: String,
    /// What has been measured; nothing before the file is there.
    pub dynamics: Option<DynamicsResult>,
    /// Why the file could not be read the last time.
    pub problem: Option<String>,
    pub tap: usize,
    /// Which checkpoint is selected; the newest, where none is.
    pub checkpoint: Option<usize>,
    /// Whether the help lies over it, and how far it is scrolled down.
    pub help: Option<usize>,
    pub theme: Theme,
}

#[derive(Debug)]
pub(crate) enum Msg {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Read(Result<DynamicsResult, String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Quit,
    /// Give the shell its terminal.
    Suspend,
    Redraw,
}

impl App {
    /// Taps of the first checkpoint.
    pub(crate) fn taps(&self) -> usize {
        self.dynamics.as_ref().and_then(|it| it.checkpoints.first()).map_or(0, |first| first.curve.taps.len())
    }

    pub(crate) fn checkpoints(&self) -> usize {
        self.dynamics.as_ref().map_or(0, |it| it.checkpoints.len())
    }

    pub(crate) fn selected(&self) -> usize {
        let newest = self.checkpoints().saturating_sub(1);
        self.checkpoint.map_or(newest, |it| it.min(newest))
    }
}

pub(crate) fn update(app: &mut App, msg: Msg) -> Option<Effect> {
    match msg {
        Msg::Key(key) => command(BINDINGS.iter(), key).and_then(|command| obey(app, command)),
        Msg::Mouse(mouse) => match mouse.kind {
            MouseEventKind::ScrollUp => obey(app, Command::Up),
            MouseEventKind::ScrollDown => obey(app, Command::Down),
            _ => None,
        },
        Msg::Read(Ok(dynamics)) => {
            (app.dynamics, app.problem) = (Some(dynamics), None);
            app.tap = app.tap.min(app.taps().saturating_sub(1));
            None
        }
        // What was read before stays on the screen.
        Msg::Read(Err(problem)) => {
            app.problem = Some(problem);
            None
        }
    }
}

fn obey(app: &mut App, command: Command) -> Option<Effect> {
    match command {
        Command::Quit | Command::Close | Command::Help if app.help.is_some() => app.help = None,
        Command::Quit | Command::Interrupt => return Some(Effect::Quit),
        Command::Suspend => return Some(Effect::Suspend),
        Command::Redraw => return Some(Effect::Redraw),
        Command::Help => app.help = Some(0),
        Command::Theme => turn(&mut app.theme.palette, 1),
        Command::Close => app.checkpoint = None,
        Command::Left => sideways(app, -1),
        Command::Right => sideways(app, 1),
        Command::First => sideways(app, isize::MIN),
        Command::Last => sideways(app, isize::MAX),
        command => travel(app, command.lines().unwrap_or(0)),
    }
    None
}

fn travel(app: &mut App, by: isize) {
    match &mut app.help {
        Some(down) => *down = down.saturating_add_signed(by).min(BINDINGS.len()),
        None => app.tap = app.tap.saturating_add_signed(by).min(app.taps().saturating_sub(1)),
    }
}

fn sideways(app: &mut App, by: isize) {
    let newest = app.checkpoints().saturating_sub(1);
    let place = app.selected().saturating_add_signed(by).min(newest);
    // At the newest one the selection goes along with the training.
    app.checkpoint = Some(place).filter(|&it| it < newest);
}

#[cfg(test)]
mod tests;
