//! What happens to the state: a pure function of the state and one message.

use ratatui::crossterm::event::{KeyEvent, MouseButton, MouseEvent, MouseEventKind};

use super::app::{App, ChartMode, Effect, Msg, Overlay, Pane, Screen, Sort, Wish};
use super::attacks::{AttacksUi, act as attacks};
use super::keys::{self, Command};
use super::samples;
use super::view::layout;
use crate::audit::event::AuditEvent;
use crate::audit::follow::Feed;
use crate::audit::state::AuditState;
use crate::report::lines::{self, Level, LogLine};

/// Takes in one message. What is to be done outside comes back, in order.
pub fn update(app: &mut App, msg: Msg) -> Vec<Effect> {
    let mut effects = respond(app, msg);
    effects.extend(samples::ask(app));
    effects
}

fn respond(app: &mut App, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Key(key) => press(app, key),
        Msg::Mouse(mouse) => point(app, mouse),
        Msg::Resize(columns, rows) => {
            app.ui.size = (columns, rows);
            Vec::new()
        }
        Msg::Feed(feed) => take(app, feed),
        Msg::Stderr(text) => {
            app.log(Level::Warning, text);
            Vec::new()
        }
        Msg::Tick(now) => {
            app.ui.now = app.ui.now.max(now);
            Vec::new()
        }
        Msg::Terminate => interrupt(app),
        Msg::Suspend => vec![Effect::Suspend],
        Msg::Exported(result) => {
            match result {
                Ok(folder) => notify(app, Level::Info, format!("results so far are in {folder}")),
                Err(error) => notify(app, Level::Error, error),
            }
            Vec::new()
        }
        Msg::Looked(look) => {
            samples::show(app, *look);
            Vec::new()
        }
        Msg::PicturesSaved(result) => {
            match result {
                Ok(files) => notify(app, Level::Info, format!("written: {files}")),
                Err(error) => notify(app, Level::Error, error),
            }
            Vec::new()
        }
        Msg::Queue(queue) => {
            app.ui.attacks.queue = queue;
            Vec::new()
        }
        Msg::PlanDrafted(draft) => {
            attacks::drafted(app, draft);
            Vec::new()
        }
        Msg::PlanSaved(result) => {
            match result {
                Ok(name) => {
                    notify(
                        app,
                        Level::Info,
                        format!("the attacks are in {name}; advmod audit --plan {name} runs them"),
                    );
                }
                Err(error) => notify(app, Level::Error, error),
            }
            Vec::new()
        }
    }
}

fn take(app: &mut App, feed: Feed) -> Vec<Effect> {
    match feed {
        Feed::Event(event) => {
            app.audit.apply(&event);
            attacks::follow(app, &event);
            app.stale = true;
            match *event {
                AuditEvent::Started { .. } => {
                    app.ui.shares = vec![0.0; app.attacks()];
                    app.ui.selected = app.ui.selected.min(app.attacks().saturating_sub(1));
                    app.ui.cursor = app.ui.cursor.filter(|&cursor| cursor < app.taps());
                }
                AuditEvent::StageStarted { .. } => app.ui.stage_began = Some(app.ui.now),
                AuditEvent::AttacksAdded { .. } => app.ui.shares.resize(app.attacks(), 0.0),
                AuditEvent::Pictures(_) | AuditEvent::AttackFinished { .. } => samples::ask_again(app),
                // Mere progress does not change the results.
                AuditEvent::StageProgress { .. } => app.stale = app.report.is_none(),
                _ => (),
            }
            for attack in 0..app.ui.shares.len() {
                app.ui.shares[attack] = app.ui.shares[attack].max(app.share_now(attack));
            }
            if let Some(line) = lines::line(&event, &app.audit) {
                app.log(line.level, line.text);
            }
            Vec::new()
        }
        Feed::Restarted => {
            app.audit = AuditState::default();
            (app.report, app.stale, app.ui.closed) = (None, false, None);
            app.ui.shares.clear();
            app.ui.log.clear();
            app.ui.log_back = 0;
            app.ui.attacks = AttacksUi::default();
            // The images were another run's.
            (app.ui.samples.asked, app.ui.samples.look) = (None, None);
            app.log(Level::Info, "a new run has begun");
            Vec::new()
        }
        Feed::Unreadable(line) => {
            app.log(Level::Warning, format!("line {line} of the journal cannot be read"));
            Vec::new()
        }
        Feed::Closed(error) => {
            if let Some(error) = &error {
                app.log(Level::Error, error.clone());
            }
            app.ui.closed = Some(error);
            app.ui.closed_at = app.ui.now;
            app.ui.attacks.pending = 0;
            if matches!(app.ui.overlay, Some(Overlay::Stop { .. } | Overlay::CallOff { .. })) {
                app.ui.overlay = None;
            }
            if app.ui.wish == Wish::Leave { vec![Effect::Quit] } else { Vec::new() }
        }
    }
}

/// Says something in the log and, until the next key, in the last row.
pub(super) fn notify(app: &mut App, level: Level, text: String) {
    app.ui.notice = Some(LogLine { level, text: text.clone() });
    app.log(level, text);
}

fn press(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    app.ui.notice = None;
    let command = keys::command(key, app.ui.screen);
    let reaches_past = matches!(command, Some(Command::Interrupt | Command::Suspend | Command::Redraw));
    if app.is_editing() && !reaches_past {
        attacks::type_key(app, key);
        return Vec::new();
    }
    command.map_or_else(Vec::new, |command| obey(app, command))
}

fn obey(app: &mut App, command: Command) -> Vec<Effect> {
    match (app.ui.overlay, command) {
        (_, Command::Interrupt) => interrupt(app),
        (_, Command::Suspend) => vec![Effect::Suspend],
        (_, Command::Redraw) => vec![Effect::Redraw],
        (Some(Overlay::CallOff { attack }), Command::Confirm | Command::Agree) => {
            app.ui.overlay = None;
            attacks::called_off(app, attack)
        }
        (Some(Overlay::SavePlan), Command::Confirm | Command::Agree) => {
            app.ui.overlay = None;
            vec![Effect::SavePlan]
        }
        (Some(Overlay::Stop { leave }), Command::Confirm | Command::Agree) => {
            app.ui.overlay = None;
            stop(app, if leave { Wish::Leave } else { Wish::Stop })
        }
        // A second q on the question that the first one asked is an answer too: no.
        (Some(_), Command::Close | Command::Quit | Command::Help) => {
            app.ui.overlay = None;
            Vec::new()
        }
        (Some(Overlay::Help), Command::Up) => scroll_help(app, -1),
        (Some(Overlay::Help), Command::Down) => scroll_help(app, 1),
        (Some(Overlay::Help), Command::PageUp) => scroll_help(app, -10),
        (Some(Overlay::Help), Command::PageDown) => scroll_help(app, 10),
        (Some(_), _) => Vec::new(),
        (None, command) if app.ui.screen == Screen::Attacks => {
            attacks::act(app, command).unwrap_or_else(|| act(app, command))
        }
        (None, command) => act(app, command),
    }
}

fn scroll_help(app: &mut App, by: isize) -> Vec<Effect> {
    app.ui.help_down = app.ui.help_down.saturating_add_signed(by).min(keys::BINDINGS.len());
    Vec::new()
}

fn act(app: &mut App, command: Command) -> Vec<Effect> {
    let is_busy = app.is_busy();
    let ui = &mut app.ui;
    match command {
        Command::Quit if is_busy && ui.wish != Wish::GoOn => ui.wish = Wish::Leave,
        Command::Quit if is_busy => ui.overlay = Some(Overlay::Stop { leave: true }),
        Command::Quit => return vec![Effect::Quit],
        Command::Export if app.audit.start.is_some() => return vec![Effect::Export],
        Command::Export => notify(app, Level::Warning, "there are no results yet".to_owned()),
        Command::Pause if is_busy && ui.wish == Wish::GoOn => return pause(app),
        Command::Stop if is_busy && ui.wish == Wish::GoOn => ui.overlay = Some(Overlay::Stop { leave: false }),
        Command::Help => (ui.overlay, ui.help_down) = (Some(Overlay::Help), 0),
        Command::Show(screen) => (ui.screen, ui.expanded) = (screen, false),
        Command::NextPane => ui.pane = neighbour(ui.pane, 1),
        Command::PreviousPane => ui.pane = neighbour(ui.pane, Pane::ALL.len() - 1),
        Command::Expand => ui.expanded = !ui.expanded,
        Command::Close if ui.expanded => ui.expanded = false,
        Command::Close if ui.cursor.is_some() => ui.cursor = None,
        Command::Close => ui.screen = Screen::Overview,
        Command::ChartMode => {
            ui.chart = match ui.chart {
                ChartMode::Level => ChartMode::Difference,
                ChartMode::Difference => ChartMode::Each,
                ChartMode::Each => ChartMode::Level,
            };
        }
        Command::Axis => ui.fitted_axis = !ui.fitted_axis,
        Command::Table => ui.as_table = !ui.as_table,
        Command::Marker => ui.theme.next_marker(),
        Command::Fate => ui.samples.fate = ui.samples.fate.next(),
        Command::NextClass => samples::next_class(app, false),
        Command::PreviousClass => samples::next_class(app, true),
        Command::Gain => ui.samples.gain = ui.samples.gain.next(),
        Command::ImageMode if ui.theme.graphics => ui.samples.in_cells = !ui.samples.in_cells,
        Command::ImageMode => {
            let text = "this terminal draws no images, as far as its environment says; see --graphics".to_owned();
            ui.notice = Some(LogLine { level: Level::Info, text });
        }
        Command::NextPicture => ui.samples.first = (ui.samples.first + 1) % 3,
        Command::SavePictures if ui.samples.look.is_some() => return vec![Effect::SavePictures],
        Command::SavePictures => notify(app, Level::Warning, "there are no pictures to save".to_owned()),
        Command::Sort => {
            ui.sort = match ui.sort {
                Sort::Plan => Sort::Success,
                Sort::Success => Sort::PeakDrop,
                Sort::PeakDrop => Sort::Plan,
            };
        }
        Command::Theme => {
            ui.theme.next_palette();
            let text = match ui.theme.color {
                true => format!("colours: {}", ui.theme.palette.name()),
                false => "colours are off (NO_COLOR)".to_owned(),
            };
            ui.notice = Some(LogLine { level: Level::Info, text });
        }
        Command::Up => travel(app, -1),
        Command::Down => travel(app, 1),
        Command::PageUp => travel(app, -10),
        Command::PageDown => travel(app, 10),
        Command::First => travel(app, isize::MIN),
        Command::Last => travel(app, isize::MAX),
        Command::Left => sideways(app, -1),
        Command::Right => sideways(app, 1),
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
    Vec::new()
}

fn neighbour(pane: Pane, by: usize) -> Pane {
    let place = Pane::ALL.iter().position(|&it| it == pane).unwrap_or(0);
    Pane::ALL[(place + by) % Pane::ALL.len()]
}

/// Up and down: through the attacks, the taps or the log, whichever the screen is about.
fn travel(app: &mut App, by: isize) {
    if app.ui.screen == Screen::Attacks {
        return attacks::travel(app, by);
    }
    let (taps, lines, listed) = (app.taps(), app.ui.log.len(), app.listed());
    let ui = &mut app.ui;
    match (ui.screen, ui.pane) {
        (Screen::Attacks, _) => (),
        (Screen::Samples, _) => samples::travel(app, by),
        (Screen::Layers, _) => ui.cursor = moved(ui.cursor.unwrap_or(0), by, taps).filter(|_| taps > 0),
        (Screen::Log, _) | (Screen::Overview, Pane::Log) => {
            ui.log_back = moved(ui.log_back, by.saturating_neg(), lines).unwrap_or(0);
        }
        (Screen::Overview, Pane::Chart) if ui.as_table => {
            ui.cursor = moved(ui.cursor.unwrap_or(0), by, taps).filter(|_| taps > 0);
        }
        (Screen::Overview, _) => {
            let place = listed.iter().position(|&attack| attack == ui.selected).unwrap_or(0);
            ui.selected = moved(place, by, listed.len()).map_or(0, |place| listed[place]);
        }
    }
}

/// Left and right: through the taps of the chart, or the attacks of Samples and Layers.
fn sideways(app: &mut App, by: isize) {
    let (attacks, taps) = (app.attacks(), app.taps());
    let ui = &mut app.ui;
    match ui.screen {
        Screen::Samples | Screen::Layers => ui.selected = moved(ui.selected, by, attacks).unwrap_or(0),
        _ => {
            ui.cursor = match ui.cursor {
                None if taps > 0 => Some(if by > 0 { 0 } else { taps - 1 }),
                None => None,
                Some(cursor) => moved(cursor, by, taps),
            }
        }
    }
}

/// A place moved within a list of `len`; none in an empty one.
pub(super) fn moved(place: usize, by: isize, len: usize) -> Option<usize> {
    (len > 0).then(|| place.saturating_add_signed(by).min(len - 1))
}

/// Halts the run, or lets it go on. Clocks leave the time between out.
fn pause(app: &mut App) -> Vec<Effect> {
    let now = app.ui.now;
    match app.ui.paused.take() {
        None => app.ui.paused = Some(now),
        Some(since) => app.ui.stage_began = app.ui.stage_began.map(|began| began + now.saturating_sub(since)),
    }
    let is_paused = app.ui.paused.is_some();
    app.log(Level::Info, if is_paused { "paused" } else { "going on" });
    vec![Effect::Pause(is_paused)]
}

/// Asks the run to stop, once.
fn stop(app: &mut App, wish: Wish) -> Vec<Effect> {
    if !app.is_busy() {
        return if wish == Wish::Leave { vec![Effect::Quit] } else { Vec::new() };
    }
    let before = app.ui.wish;
    app.ui.wish = before.max(wish);
    app.ui.paused = None;
    if before != Wish::GoOn {
        return Vec::new();
    }
    app.log(Level::Info, "stopping: the batches in work have a few seconds to finish");
    vec![Effect::StopRun]
}

/// Ctrl-C and its like: the first stops the run and leaves, the second leaves at once.
fn interrupt(app: &mut App) -> Vec<Effect> {
    app.ui.overlay = None;
    if app.is_busy() && app.ui.wish == Wish::Leave { vec![Effect::Kill] } else { stop(app, Wish::Leave) }
}

fn point(app: &mut App, mouse: MouseEvent) -> Vec<Effect> {
    match mouse.kind {
        MouseEventKind::ScrollUp if app.ui.overlay.is_none() => travel(app, -1),
        MouseEventKind::ScrollDown if app.ui.overlay.is_none() => travel(app, 1),
        MouseEventKind::ScrollUp => return scroll_help(app, -1),
        MouseEventKind::ScrollDown => return scroll_help(app, 1),
        MouseEventKind::Down(MouseButton::Left) if app.ui.overlay == Some(Overlay::Help) => app.ui.overlay = None,
        MouseEventKind::Down(MouseButton::Left) => {
            let spot = layout::at(app, mouse.column, mouse.row);
            app.ui.notice = None;
            match spot {
                Some(layout::Spot::Tab(screen)) => (app.ui.screen, app.ui.expanded) = (screen, false),
                Some(layout::Spot::Pane(pane)) => app.ui.pane = pane,
                Some(layout::Spot::Item(item)) => {
                    app.ui.attacks.in_form = false;
                    attacks::select(app, Some(item));
                }
                Some(layout::Spot::Sample(sample)) => app.ui.samples.sample = Some(sample),
                Some(layout::Spot::Field(field)) => {
                    (app.ui.attacks.in_form, app.ui.attacks.field, app.ui.attacks.edit) = (true, field, None);
                }
                Some(layout::Spot::Command(command)) => return obey(app, command),
                Some(layout::Spot::Attack(attack)) => (app.ui.pane, app.ui.selected) = (Pane::Results, attack),
                None => (),
            }
        }
        _ => (),
    }
    Vec::new()
}
