//! The loop of the screen of a training: keys, signals and the file in, frames out.

use std::io;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use ratatui::crossterm::event::Event;
use signal_hook::consts::{SIGHUP, SIGTSTP};

use super::super::dynamics::file::{self, Watched};
use super::super::dynamics::{App, Effect, Msg, update};
use super::super::input::{self, Input};
use super::super::terminal::Session;
use super::super::theme::Theme;
use super::super::view;
use super::listen;

/// How long a wait for keys lasts before the file and the signals are looked at.
const WAIT: Duration = Duration::from_millis(33);

/// Shows the training that writes to a folder until the user leaves. The signal that ended it comes back, where one did.
///
/// # Errors
/// The terminal's; it is given back in any case.
pub(crate) fn run(folder: &Path, theme: Theme) -> io::Result<Option<i32>> {
    // The last tap, of however many there will be.
    let mut app = App { folder: folder.display().to_string(), tap: usize::MAX, theme, ..App::default() };
    let mut watched = Watched::new(folder);
    // The first frame has something to show.
    if let Some(read) = watched.look() {
        update(&mut app, Msg::Read(read));
    }
    let (signals, reads) = (listen()?, file::listen(watched)?);
    let mut session = Session::open(None)?;
    let input = input::listen()?;
    let mut changed = true;
    loop {
        if changed {
            session.draw(|frame, _| view::dynamics(frame.area(), frame.buffer_mut(), &app))?;
        }
        let mut inbox = Vec::new();
        changed = false;
        let first = input.recv_timeout(WAIT);
        if matches!(first, Err(RecvTimeoutError::Disconnected)) {
            return Ok(Some(SIGHUP));
        }
        for it in first.into_iter().chain(input.try_iter()) {
            changed = true;
            match it {
                Input::Event(Event::Key(key)) => inbox.push(Msg::Key(key)),
                Input::Event(Event::Mouse(mouse)) => inbox.push(Msg::Mouse(mouse)),
                Input::Event(_) => (),
                Input::Gone => return Ok(Some(SIGHUP)),
            }
        }
        for signal in signals.try_iter() {
            if signal != SIGTSTP {
                return Ok(Some(signal));
            }
            session.suspend()?;
            changed = true;
        }
        inbox.extend(reads.try_iter().map(Msg::Read));
        // Nothing here says anything there that the user must see.
        session.stderr().for_each(drop);
        for msg in inbox {
            changed = true;
            match update(&mut app, msg) {
                Some(Effect::Quit) => return Ok(None),
                Some(Effect::Suspend) => session.suspend()?,
                Some(Effect::Redraw) => session.clear()?,
                None => (),
            }
        }
    }
}
