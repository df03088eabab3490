//! The loop: keys, signals and events in, frames out.

pub(crate) mod dynamics;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, unbounded};
use ratatui::crossterm::event::{Event, MouseButton, MouseEventKind};
use ratatui::crossterm::terminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use super::app::App;
use super::attacks::file;
use super::gallery::Gallery;
use super::graphics::{self, Graphics};
use super::input::{self, Input};
use super::message::{Effect, Msg};
use super::samples;
use super::state::Source;
use super::state::attacks::PLAN_FILE;
use super::terminal::Session;
use super::theme::Theme;
use super::update::update;
use super::view;
use crate::atomic_file::write_file;
use crate::audit::control::Control;
use crate::audit::event::AuditEvent;
use crate::audit::follow::Feed;
use crate::audit::plan::AuditPlan;
use crate::audit::state::AuditState;
use crate::report::files;
use crate::verdict::Report;

/// Shortest time between two frames that no key asked for.
const FRAME: Duration = Duration::from_millis(33);

/// Events that are taken in before keys are looked at again.
const BURST: usize = 4096;

#[derive(Debug)]
pub(crate) struct Ended {
    /// Everything that had come.
    pub audit: AuditState,
    /// Whether it was left at once, with a run still going on.
    pub killed: bool,
    /// The signal that made it end.
    pub signal: Option<i32>,
}

#[derive(Debug)]
pub(crate) struct Opening {
    /// Where the events come from.
    pub source: Source,
    /// The plan as written, where the run is this process's.
    pub plan: Option<AuditPlan>,
    /// The folder that the run's images lie in, where there is one.
    pub folder: Option<PathBuf>,
    pub theme: Theme,
    pub graphics: graphics::Choice,
}

/// Shows a run until the user leaves. `control` is told what the user wants of it.
///
/// # Errors
/// The terminal's; it is given back in any case.
pub(crate) fn run(opening: Opening, feed: &Receiver<Feed>, control: &Control) -> io::Result<Ended> {
    let Opening { source, plan, folder, theme, graphics } = opening;
    let graphics = Graphics::new(graphics).filter(|_| theme.color && !theme.ascii);
    let theme = Theme { graphics: graphics.is_some(), ..theme };
    let signals = listen()?;
    let mut app = App::new(source, terminal::size()?);
    (app.ui.theme, app.plan) = (theme, plan);
    let mut looped = Loop {
        app,
        gallery: Gallery::new(folder),
        session: Session::open(graphics)?,
        input: input::listen()?,
        signals,
        feed,
        control,
        signal: None,
        drawn: None,
    };
    let leave = looped.run()?;
    Ok(Ended { audit: looped.app.audit, killed: matches!(leave, Leave::Kill), signal: looped.signal })
}

fn listen() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP])?;
    let (sender, receiver) = unbounded();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

struct Loop<'a> {
    app: App,
    gallery: Gallery,
    session: Session,
    input: Receiver<Input>,
    signals: Receiver<i32>,
    feed: &'a Receiver<Feed>,
    control: &'a Control,
    /// The signal that made it end.
    signal: Option<i32>,
    /// When the last frame was drawn, and for which second.
    drawn: Option<(Instant, u64)>,
}

enum Leave {
    Quit,
    Kill,
}

impl Loop<'_> {
    fn run(&mut self) -> io::Result<Leave> {
        let began = Instant::now();
        let mut changed = true;
        let mut at_once = true;
        loop {
            update(&mut self.app, Msg::Tick(began.elapsed()));
            changed |= self.clock_moved();
            let waited = self.drawn.map_or(FRAME, |(at, _)| at.elapsed());
            if changed && (at_once || waited >= FRAME) {
                self.app.refresh();
                let (app, theme) = (&self.app, self.app.ui.theme);
                self.session.draw(|frame, graphics| {
                    view::render(frame.area(), frame.buffer_mut(), app, theme);
                    if let Some(graphics) = graphics {
                        graphics.draw(frame, app, theme);
                    }
                })?;
                self.drawn = Some((Instant::now(), self.app.ui.clock.now.as_secs()));
                (changed, at_once) = (false, false);
            }
            let rest = FRAME.saturating_sub(self.drawn.map_or(FRAME, |(at, _)| at.elapsed()));
            // Even when nothing is due: a feed has no other way to wake the loop.
            let wait = if changed { rest } else { FRAME };
            // All that is there, so that a held key does not lag behind.
            let first = self.input.recv_timeout(wait);
            if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                std::thread::sleep(wait);
            }
            let typed: Vec<Input> = first.into_iter().chain(self.input.try_iter()).collect();
            at_once |= !typed.is_empty();
            for it in typed {
                if let Some(msg) = self.message(&it) {
                    changed = true;
                    if let Some(leave) = self.handle(msg)? {
                        return Ok(leave);
                    }
                }
            }
            for msg in self.inbox() {
                changed = true;
                if let Some(leave) = self.handle(msg)? {
                    return Ok(leave);
                }
            }
        }
    }

    /// What has come from elsewhere than the terminal.
    fn inbox(&mut self) -> Vec<Msg> {
        let mut inbox = Vec::new();
        for signal in self.signals.try_iter() {
            let is_stop = signal == SIGTSTP;
            if !is_stop {
                self.signal = Some(signal);
            }
            inbox.push(if is_stop { Msg::Suspend } else { Msg::Terminate });
        }
        let (arrived, is_cut_off) = arrivals(|| self.feed.try_recv());
        inbox.extend(arrived.into_iter().map(Msg::Feed));
        inbox.extend(self.session.stderr().map(Msg::Stderr));
        #[cfg(debug_assertions)]
        if self.app.audit.start.is_some() {
            super::fault::strike("interface");
        }
        // Whoever sends says when nothing more comes, unless it has come to grief.
        let is_told = inbox.iter().any(|msg| matches!(msg, Msg::Feed(Feed::Closed(_))));
        if is_cut_off && !is_told && self.app.ui.run.closed.is_none() {
            inbox.push(Msg::Feed(Feed::Closed(Some("the audit broke off; please report this".to_owned()))));
        }
        let waiting = self.control.waiting();
        if waiting != self.app.ui.attacks.queue {
            inbox.push(Msg::Queue(waiting));
        }
        inbox
    }

    fn handle(&mut self, msg: Msg) -> io::Result<Option<Leave>> {
        match &msg {
            Msg::Feed(Feed::Event(event)) => {
                if let AuditEvent::Pictures(pictures) = &**event {
                    self.gallery.take(pictures);
                }
            }
            Msg::Feed(Feed::Restarted) => self.gallery.clear(),
            _ => (),
        }
        for effect in update(&mut self.app, msg) {
            if let Some(leave) = self.perform(effect)? {
                return Ok(Some(leave));
            }
        }
        Ok(None)
    }

    fn perform(&mut self, effect: Effect) -> io::Result<Option<Leave>> {
        match effect {
            Effect::StopRun => self.control.stop(),
            Effect::Pause(is_paused) => self.control.pause(is_paused),
            Effect::Quit => return Ok(Some(Leave::Quit)),
            Effect::Kill => return Ok(Some(Leave::Kill)),
            Effect::Suspend => self.session.suspend()?,
            Effect::Redraw => self.session.clear()?,
            Effect::Add(attack) => self.control.add(attack),
            Effect::Cancel(attack) => self.control.cancel(attack),
            Effect::Shift { attack, is_later } => self.control.shift(attack, is_later),
            Effect::Look { attack, sample } => {
                let look = self.gallery.look(attack, self.app.label(attack), sample);
                update(&mut self.app, Msg::Looked(Box::new(look)));
            }
            Effect::SavePictures => {
                let saved = samples::save(&self.app, Path::new(""));
                update(&mut self.app, Msg::Written(saved.map(|files| format!("written: {files}"))));
            }
            Effect::DraftPlan => {
                let draft = file::draft(&self.app);
                update(&mut self.app, Msg::PlanDrafted(draft));
            }
            Effect::SavePlan => {
                if let Some(draft) = self.app.ui.attacks.plan_file.take() {
                    let name = PLAN_FILE;
                    let said = format!("the attacks are in {name}; advmod audit --plan {name} runs them");
                    update(&mut self.app, Msg::Written(file::save(&draft).map(|()| said)));
                }
            }
            Effect::Export => {
                self.app.refresh();
                let folder = match &self.app.report {
                    Some(report) => export(report, &self.gallery),
                    None => Err("there are no results yet".to_owned()),
                };
                update(&mut self.app, Msg::Written(folder.map(|folder| format!("results so far are in {folder}"))));
            }
        }
        Ok(None)
    }

    fn message(&mut self, input: &Input) -> Option<Msg> {
        match input {
            Input::Event(event) => message(&self.app, event),
            Input::Gone => {
                self.signal = Some(SIGHUP);
                Some(Msg::Terminate)
            }
        }
    }

    /// Whether a clock on the screen shows another second now.
    fn clock_moved(&self) -> bool {
        let second = self.app.ui.clock.now.as_secs();
        self.app.phase().goes_on() && self.drawn.is_none_or(|(_, drawn)| drawn != second)
    }
}

/// What an event of the terminal means on the screen as it is.
pub(super) fn message(app: &App, event: &Event) -> Option<Msg> {
    match *event {
        Event::Key(key) => Some(Msg::Key(key)),
        Event::Resize(columns, rows) => Some(Msg::Resize(columns, rows)),
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::ScrollUp => Some(Msg::Wheel(-1)),
            MouseEventKind::ScrollDown => Some(Msg::Wheel(1)),
            MouseEventKind::Down(MouseButton::Left) => Some(Msg::Click(view::spot(app, mouse.column, mouse.row))),
            _ => None,
        },
        _ => None,
    }
}

/// What has come, at most [`BURST`] of it, and whether nothing more can come.
fn arrivals<T>(mut next: impl FnMut() -> Result<T, TryRecvError>) -> (Vec<T>, bool) {
    let mut arrived = Vec::new();
    while arrived.len() < BURST {
        match next() {
            Ok(it) => arrived.push(it),
            // Not asked again: what comes right after is the next call's.
            Err(error) => return (arrived, error == TryRecvError::Disconnected),
        }
    }
    (arrived, false)
}

/// Writes the results to a new folder in the working directory and says how it is called.
fn export(report: &Report, gallery: &Gallery) -> Result<String, String> {
    let name = |number: usize| if number == 1 { "advmod-export".to_owned() } else { format!("advmod-export-{number}") };
    for folder in (1..1000).map(name) {
        let path = Path::new(&folder);
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(format!("cannot export to {folder}: {error}")),
            Ok(()) => {
                let evidence = gallery.evidence(report);
                for (file, bytes) in files(report, &evidence) {
                    let written = write_file(&path.join(file), &bytes);
                    written.map_err(|error| format!("cannot export: {error}"))?;
                }
                return Ok(folder);
            }
        }
    }
    Err("cannot export: there are too many folders called advmod-export".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_the_end_is_looked_for_is_kept() {
        // The second event comes right after the channel was seen empty.
        let mut script = [Ok(1), Err(TryRecvError::Empty), Ok(2), Err(TryRecvError::Disconnected)].into_iter();
        let mut next = || script.next().unwrap_or(Err(TryRecvError::Disconnected));
        let (mut arrived, mut is_cut_off) = (Vec::new(), false);
        while !is_cut_off {
            let (more, is_end) = arrivals(&mut next);
            arrived.extend(more);
            is_cut_off = is_end;
        }
        assert_eq!(arrived, [1, 2]);
    }

    #[test]
    fn a_flood_of_events_leaves_room_for_keys() {
        let mut left = 2 * BURST + 1;
        let mut next = || {
            left = left.checked_sub(1).ok_or(TryRecvError::Disconnected)?;
            Ok(left)
        };
        let sizes: Vec<(usize, bool)> = (0..3).map(|_| arrivals(&mut next)).map(|(it, end)| (it.len(), end)).collect();
        assert_eq!(sizes, [(BURST, false), (BURST, false), (1, true)]);
    }
}
