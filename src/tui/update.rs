//! What happens to the state: a pure function of the state and one message.

use std::ops::ControlFlow;

use ratatui::crossterm::event::KeyEvent;

use super::app::App;
use super::attacks::act as attacks;
use super::keys::{self, Command};
use super::message::{Effect, Msg, Spot};
use super::samples;
use super::state::screen::{Pane, Screen};
use super::state::{Closed, Overlay, Wish};
use super::steps::{moved, turn};
use crate::audit::event::AuditEvent;
use crate::audit::follow::Feed;
use crate::audit::state::AuditState;
use crate::report::lines::{self, Level};

/// Takes in one message. What is to be done outside comes back, in order.
pub fn update(app: &mut App, msg: Msg) -> Vec<Effect> {
    let answer = respond(app, msg);
    answer.into_iter().chain(samples::ask(app)).collect()
}

fn respond(app: &mut App, msg: Msg) -> Option<Effect> {
    match msg {
        Msg::Key(key) => return press(app, key),
        Msg::Wheel(by) => match app.ui.overlay {
            Some(_) => scroll_help(&mut app.ui.overlay, by),
            None => travel(app, by),
        },
        Msg::Click(spot) => return click(app, spot),
        Msg::Resize(columns, rows) => app.ui.size = (columns, rows),
        Msg::Feed(feed) => return take(app, feed),
        Msg::Stderr(text) => app.log(Level::Warning, text),
        Msg::Tick(now) => app.ui.clock.tick(now),
        Msg::Terminate => return interrupt(app),
        Msg::Suspend => return Some(Effect::Suspend),
        Msg::Looked(look) => app.ui.samples.show(*look),
        Msg::Queue(queue) => app.ui.attacks.queue = queue,
        Msg::PlanDrafted(draft) => attacks::drafted(app, draft),
        Msg::Written(Ok(text)) => app.notify(Level::Info, text),
        Msg::Written(Err(error)) => app.notify(Level::Error, error),
    }
    None
}

fn take(app: &mut App, feed: Feed) -> Option<Effect> {
    match feed {
        Feed::Event(event) => follow(app, &event),
        Feed::Restarted => {
            (app.audit, app.report, app.stale) = (AuditState::default(), None, false);
            app.ui.run.closed = None;
            app.ui.run.shares.clear();
            (app.ui.log, app.ui.attacks) = Default::default();
            (app.ui.samples.asked, app.ui.samples.look) = (None, None);
            app.log(Level::Info, "a new run has begun");
        }
        Feed::Unreadable(line) => app.log(Level::Warning, format!("line {line} of the journal cannot be read")),
        Feed::Closed(error) => {
            if let Some(error) = &error {
                app.log(Level::Error, error.clone());
            }
            app.ui.run.closed = Some(Closed { error, at: app.ui.clock.now });
            app.ui.attacks.pending = 0;
            if matches!(app.ui.overlay, Some(Overlay::Stop { .. } | Overlay::CallOff { .. })) {
                app.ui.overlay = None;
            }
            return (app.ui.run.wish == Wish::Leave).then_some(Effect::Quit);
        }
    }
    None
}

fn follow(app: &mut App, event: &AuditEvent) {
    app.audit.apply(event);
    attacks::follow(app, event);
    app.stale = true;
    match event {
        AuditEvent::Started { .. } => {
            let (attacks, taps) = (app.attacks(), app.tap_names().len());
            app.ui.run.shares = vec![0.0; attacks];
            app.ui.selected = app.ui.selected.min(attacks.saturating_sub(1));
            app.ui.cursor = app.ui.cursor.filter(|&cursor| cursor < taps);
        }
        AuditEvent::StageStarted { .. } => app.ui.clock.stage_began = Some(app.ui.clock.now),
        AuditEvent::AttacksAdded { .. } => app.ui.run.shares.resize(app.audit.attacks.len(), 0.0),
        AuditEvent::Pictures(_) | AuditEvent::AttackFinished { .. } => app.ui.samples.ask_again(),
        // Mere progress does not change the results.
        AuditEvent::StageProgress { .. } => app.stale = app.report.is_none(),
        _ => (),
    }
    app.renew_shares();
    if let Some(line) = lines::line(event, &app.audit) {
        app.log(line.level, line.text);
    }
}

fn press(app: &mut App, key: KeyEvent) -> Option<Effect> {
    app.ui.notice = None;
    let command = keys::command(keys::of(app.ui.screen), key);
    let reaches_past = matches!(command, Some(Command::Interrupt | Command::Suspend | Command::Redraw));
    if app.is_editing() && !reaches_past {
        attacks::type_key(app, key);
        return None;
    }
    obey(app, command?)
}

fn obey(app: &mut App, command: Command) -> Option<Effect> {
    match (app.ui.overlay, command) {
        (_, Command::Interrupt) => interrupt(app),
        (_, Command::Suspend) => Some(Effect::Suspend),
        (_, Command::Redraw) => Some(Effect::Redraw),
        (Some(question), Command::Confirm | Command::Agree) => agree(app, question),
        // A second q on the question that the first one asked is an answer too: no.
        (Some(_), Command::Close | Command::Quit | Command::Help) => {
            app.ui.overlay = None;
            None
        }
        (Some(_), command) => {
            scroll_help(&mut app.ui.overlay, command.lines().unwrap_or(0));
            None
        }
        (None, command) if app.ui.screen == Screen::Attacks => match attacks::act(app, command) {
            ControlFlow::Break(effect) => effect,
            ControlFlow::Continue(()) => act(app, command),
        },
        (None, command) => act(app, command),
    }
}

/// Does what is asked; the help asks nothing.
fn agree(app: &mut App, question: Overlay) -> Option<Effect> {
    let effect = match question {
        Overlay::Help { .. } => return None,
        Overlay::CallOff { attack } => attacks::called_off(app, attack),
        Overlay::SavePlan => Some(Effect::SavePlan),
        Overlay::Stop { leave } => stop(app, if leave { Wish::Leave } else { Wish::Stop }),
    };
    app.ui.overlay = None;
    effect
}

fn scroll_help(overlay: &mut Option<Overlay>, by: isize) {
    if let Some(Overlay::Help { down }) = overlay {
        *down = down.saturating_add_signed(by).min(keys::BINDINGS.len());
    }
}

fn act(app: &mut App, command: Command) -> Option<Effect> {
    let (is_busy, classes) = (app.is_busy(), app.classes());
    let ui = &mut app.ui;
    match command {
        Command::Quit if is_busy && ui.run.wish != Wish::GoOn => ui.run.wish = Wish::Leave,
        Command::Quit if is_busy => ui.overlay = Some(Overlay::Stop { leave: true }),
        Command::Quit => return Some(Effect::Quit),
        Command::Export if app.audit.start.is_some() => return Some(Effect::Export),
        Command::Export => app.notify(Level::Warning, "there are no results yet"),
        Command::Pause if is_busy && ui.run.wish == Wish::GoOn => return Some(pause(app)),
        Command::Stop if is_busy && ui.run.wish == Wish::GoOn => ui.overlay = Some(Overlay::Stop { leave: false }),
        Command::Help => ui.overlay = Some(Overlay::Help { down: 0 }),
        Command::Show(screen) => show(app, screen),
        Command::NextPane => turn(&mut ui.overview.pane, 1),
        Command::PreviousPane => turn(&mut ui.overview.pane, -1),
        Command::Expand => ui.overview.expanded ^= true,
        Command::Close if ui.overview.expanded => ui.overview.expanded = false,
        Command::Close if ui.cursor.is_some() => ui.cursor = None,
        Command::Close => ui.screen = Screen::Overview,
        Command::ChartMode => turn(&mut ui.chart.mode, 1),
        Command::Axis => ui.chart.fitted_axis ^= true,
        Command::Table => ui.chart.as_table ^= true,
        Command::Marker => turn(&mut ui.theme.marker, 1),
        Command::Sort => turn(&mut ui.overview.sort, 1),
        Command::Fate => turn(&mut ui.samples.fate, 1),
        Command::NextClass => ui.samples.next_class(classes, false),
        Command::PreviousClass => ui.samples.next_class(classes, true),
        Command::Gain => turn(&mut ui.samples.gain, 1),
        Command::NextPicture => ui.samples.first = (ui.samples.first + 1) % 3,
        Command::ImageMode if ui.theme.graphics => ui.samples.in_cells ^= true,
        Command::ImageMode => {
            app.tell("this terminal draws no images, as far as its environment says; see --graphics");
        }
        Command::SavePictures if ui.samples.look.is_some() => return Some(Effect::SavePictures),
        Command::SavePictures => app.notify(Level::Warning, "there are no pictures to save"),
        Command::Theme => {
            turn(&mut ui.theme.palette, 1);
            let name = ui.theme.color.then(|| ui.theme.palette.name());
            app.tell(name.map_or("colours are off (NO_COLOR)".to_owned(), |name| format!("colours: {name}")));
        }
        Command::First => travel(app, isize::MIN),
        Command::Last => travel(app, isize::MAX),
        Command::Left => sideways(app, -1),
        Command::Right => sideways(app, 1),
        Command::Up | Command::Down | Command::PageUp | Command::PageDown => travel(app, command.lines().unwrap_or(0)),
        // These are about a run or a question that there is not, or were taken care of.
        Command::Pause
        | Command::Stop
        | Command::Confirm
        | Command::Agree
        | Command::Interrupt
        | Command::Suspend
        | Command::Redraw
        | Command::Add
        | Command::CallOff
        | Command::Earlier
        | Command::Later
        | Command::Undo
        | Command::Defaults
        | Command::SavePlan => (),
    }
    None
}

fn show(app: &mut App, screen: Screen) {
    (app.ui.screen, app.ui.overview.expanded) = (screen, false);
}

/// Up and down: through the attacks, the taps or the log, whichever the screen is about.
fn travel(app: &mut App, by: isize) {
    let (taps, listed) = (app.tap_names().len(), app.listed());
    let ui = &mut app.ui;
    match (ui.screen, ui.overview.pane) {
        (Screen::Attacks, _) => attacks::travel(app, by),
        (Screen::Samples, _) => samples::travel(app, by),
        (Screen::Log, _) | (Screen::Overview, Pane::Log) => ui.log.scroll(by),
        (Screen::Overview, pane) if pane != Pane::Chart || !ui.chart.as_table => {
            let place = listed.iter().position(|&attack| attack == ui.selected).unwrap_or(0);
            ui.selected = moved(place, by, listed.len()).map_or(0, |place| listed[place]);
        }
        (Screen::Overview | Screen::Layers, _) => ui.cursor = moved(ui.cursor.unwrap_or(0), by, taps),
    }
}

/// Left and right: through the taps of the chart, or the attacks of Samples and Layers.
fn sideways(app: &mut App, by: isize) {
    let (attacks, taps) = (app.attacks(), app.tap_names().len());
    let ui = &mut app.ui;
    match ui.screen {
        Screen::Samples | Screen::Layers => ui.selected = moved(ui.selected, by, attacks).unwrap_or(0),
        _ => {
            ui.cursor = match ui.cursor {
                None if by > 0 => moved(0, 0, taps),
                None => moved(0, isize::MAX, taps),
                Some(cursor) => moved(cursor, by, taps),
            }
        }
    }
}

fn pause(app: &mut App) -> Effect {
    let is_paused = app.ui.clock.toggle_pause();
    app.log(Level::Info, if is_paused { "paused" } else { "going on" });
    Effect::Pause(is_paused)
}

/// Asks the run to stop, once.
fn stop(app: &mut App, wish: Wish) -> Option<Effect> {
    if !app.is_busy() {
        return (wish == Wish::Leave).then_some(Effect::Quit);
    }
    let before = app.ui.run.wish;
    app.ui.run.wish = before.max(wish);
    app.ui.clock.paused = None;
    if before != Wish::GoOn {
        return None;
    }
    app.log(Level::Info, "stopping: the batches in work have a few seconds to finish");
    Some(Effect::StopRun)
}

/// Ctrl-C and its like: the first stops the run and leaves, the second leaves at once.
fn interrupt(app: &mut App) -> Option<Effect> {
    app.ui.overlay = None;
    if app.is_busy() && app.ui.run.wish == Wish::Leave { Some(Effect::Kill) } else { stop(app, Wish::Leave) }
}

fn click(app: &mut App, spot: Option<Spot>) -> Option<Effect> {
    if matches!(app.ui.overlay, Some(Overlay::Help { .. })) {
        app.ui.overlay = None;
        return None;
    }
    app.ui.notice = None;
    match spot? {
        Spot::Tab(screen) => show(app, screen),
        Spot::Pane(pane) => app.ui.overview.pane = pane,
        Spot::Item(item) => {
            app.ui.attacks.in_form = false;
            attacks::select(app, Some(item));
        }
        Spot::Sample(sample) => app.ui.samples.sample = Some(sample),
        Spot::Field(field) => app.ui.attacks.enter(field),
        Spot::Command(command) => return obey(app, command),
        Spot::Attack(attack) => (app.ui.overview.pane, app.ui.selected) = (Pane::Results, attack),
    }
    None
}
