//! What keys do on the Attacks screen.

use std::ops::ControlFlow;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

use super::super::app::App;
use super::super::keys::Command;
use super::super::message::Effect;
use super::super::state::attacks::{Item, PLAN_FILE, PlanDraft, Standing};
use super::super::state::line::TextLine;
use super::super::state::{Overlay, Source, Wish};
use super::super::steps::moved;
use super::NONE;
use crate::audit::event::{AuditEvent, Stage};
use crate::audit::plan::AttackPlan;
use crate::report::lines::Level;

pub(in super::super) fn follow(app: &mut App, event: &AuditEvent) {
    let ui = &mut app.ui.attacks;
    match event {
        AuditEvent::Started { .. } => (ui.begun, ui.queue, ui.called_off) = Default::default(),
        AuditEvent::StageStarted { stage: Stage::Attack { attack }, .. } => {
            ui.begun.push(*attack);
            ui.queue.retain(|it| it != attack);
        }
        AuditEvent::CleanMeasured { predictions, .. } if !predictions.is_empty() => {
            let took = app.ui.clock.stage_seconds().filter(|took| *took > 0.0);
            ui.clean_pace = took.map(|took| took / predictions.len() as f64);
        }
        AuditEvent::AttacksAdded { attacks, .. } => {
            let first = app.audit.attacks.len().saturating_sub(attacks.len());
            if ui.pending > 0 && !ui.in_form {
                ui.item = Some(Item::Run(first));
            }
            ui.pending = ui.pending.saturating_sub(1);
        }
        AuditEvent::AttackRefused { .. } => ui.pending = ui.pending.saturating_sub(1),
        _ => (),
    }
}

/// Takes a key while a field is edited. Everything that types goes into the field.
pub(in super::super) fn type_key(app: &mut App, key: KeyEvent) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    match key.code {
        KeyCode::Enter => apply(app),
        KeyCode::Esc => app.ui.attacks.edit = None,
        _ => app.ui.attacks.edit.iter_mut().for_each(|line| line.press(key)),
    }
}

/// Makes the typed text the field's value, if it can be.
fn apply(app: &mut App) {
    let item = app.item();
    let (Some(field), Some(line)) = (app.field(item), &app.ui.attacks.edit) else { return };
    let given = app.given_with(item, field, &line.text());
    if app.edit_error().is_some() {
        return;
    }
    app.ui.attacks.edit = None;
    change(app, item, given);
}

fn change(app: &mut App, item: Item, given: toml::Table) {
    let before = app.given(item);
    if before != given {
        let draft = app.ui.attacks.drafts.entry(item).or_default();
        draft.before.push(before);
        draft.given = given;
    }
}

/// Up and down, in the list or the form.
pub(in super::super) fn travel(app: &mut App, by: isize) {
    let (items, item) = (app.items(), app.item());
    if app.ui.attacks.in_form {
        app.ui.attacks.edit = None;
        app.ui.attacks.field = moved(app.ui.attacks.field, by, app.fields(item).len()).unwrap_or(0);
        return;
    }
    let place = items.iter().position(|it| *it == item).unwrap_or(0);
    select(app, moved(place, by, items.len()).map(|place| items[place]));
}

pub(in super::super) fn select(app: &mut App, item: Option<Item>) {
    if item != Some(app.item()) {
        (app.ui.attacks.field, app.ui.attacks.edit) = (0, None);
    }
    app.ui.attacks.item = item;
}

/// What a command does here; goes on if it means nothing special on this screen.
pub(in super::super) fn act(app: &mut App, command: Command) -> ControlFlow<Option<Effect>> {
    let item = app.item();
    let ui = &mut app.ui.attacks;
    match command {
        Command::NextPane | Command::PreviousPane => ui.in_form ^= true,
        Command::Left => ui.in_form = false,
        Command::Close if ui.in_form => ui.in_form = false,
        Command::Right => ui.in_form = true,
        Command::Confirm if !ui.in_form => ui.in_form = true,
        Command::Confirm => begin_edit(app, item),
        Command::Undo if ui.undo(item) => (),
        Command::Undo => app.notify(Level::Info, "there is nothing to undo here"),
        Command::Defaults => change(app, item, toml::Table::new()),
        Command::Add => return ControlFlow::Break(add(app, item)),
        Command::CallOff => return ControlFlow::Break(call_off(app, item)),
        Command::Earlier => return ControlFlow::Break(shift(app, item, false)),
        Command::Later => return ControlFlow::Break(shift(app, item, true)),
        Command::SavePlan if app.audit.start.is_some() => return ControlFlow::Break(Some(Effect::DraftPlan)),
        Command::SavePlan => app.notify(Level::Warning, "the run's attacks are not known yet"),
        _ => return ControlFlow::Continue(()),
    }
    ControlFlow::Break(None)
}

/// Whether the run takes orders; if not, says why.
fn takes_orders(app: &mut App) -> bool {
    let reason = match app.ui.run.source {
        Source::Replay | Source::Attached => "this run is only shown: nothing can be run, moved or called off here",
        Source::Live if app.ui.run.wish != Wish::GoOn => "the run was asked to stop and takes no more attacks",
        Source::Live if !app.is_open() => "the run is over and takes no more attacks",
        Source::Live => return true,
    };
    app.notify(Level::Warning, reason);
    false
}

fn begin_edit(app: &mut App, item: Item) {
    let Some(field) = app.field(item) else { return };
    let given = app.given(item);
    let value = App::value(app.preview(item, &given).ok().as_ref(), &given, field);
    app.ui.attacks.edit = Some(TextLine::new(if value == NONE { "" } else { &value }));
}

fn add(app: &mut App, item: Item) -> Option<Effect> {
    let name = app.spec(item)?.id.to_owned();
    if !takes_orders(app) {
        return None;
    }
    let params = app.given(item);
    if let Err(error) = app.preview(item, &params) {
        app.notify(Level::Error, format!("not added: {error}"));
        return None;
    }
    app.ui.attacks.pending += 1;
    if app.audit.stage.is_some() {
        app.tell(format!("{name} joins the queue when the attack in work is through"));
    }
    Some(Effect::Add(AttackPlan { name, params }))
}

fn call_off(app: &mut App, item: Item) -> Option<Effect> {
    let Item::Run(attack) = item else {
        app.notify(Level::Info, "this attack is not in the run; a adds it");
        return None;
    };
    if !takes_orders(app) {
        return None;
    }
    match app.standing(attack) {
        Standing::Queued => return called_off(app, attack),
        Standing::Running => app.ui.overlay = Some(Overlay::CallOff { attack }),
        _ => app.notify(Level::Info, "only a queued or running attack can be called off"),
    }
    None
}

/// Calls an attack off, if there still is something to call off.
pub(in super::super) fn called_off(app: &mut App, attack: usize) -> Option<Effect> {
    let is_open = matches!(app.standing(attack), Standing::Queued | Standing::Running);
    is_open.then(|| {
        app.ui.attacks.call_off(attack);
        Effect::Cancel(attack)
    })
}

fn shift(app: &mut App, item: Item, is_later: bool) -> Option<Effect> {
    if !takes_orders(app) {
        return None;
    }
    let queue = &app.ui.attacks.queue;
    let queued = match item {
        Item::Run(attack) => queue.iter().position(|it| *it == attack).map(|place| (attack, place)),
        Item::Catalog(_) => None,
    };
    let Some((attack, place)) = queued else {
        app.notify(Level::Info, "only a queued attack can be moved");
        return None;
    };
    let other = if is_later { place.checked_add(1) } else { place.checked_sub(1) };
    let other = *queue.get(other?)?;
    let sweep = |attack: usize| app.planned(attack).and_then(|it| it.sweep);
    if sweep(attack).is_some() && sweep(attack) == sweep(other) {
        app.notify(Level::Info, "the attacks of a sweep keep their order: larger sizes build on smaller ones");
        return None;
    }
    Some(Effect::Shift { attack, is_later })
}

/// Shows what the plan file would be, or why there cannot be one.
pub(in super::super) fn drafted(app: &mut App, draft: Result<PlanDraft, String>) {
    match draft {
        Ok(draft) if draft.before.as_ref() == Some(&draft.text) => {
            app.notify(Level::Info, format!("{PLAN_FILE} holds these attacks already"));
        }
        Ok(draft) => (app.ui.attacks.plan_file, app.ui.overlay) = (Some(draft), Some(Overlay::SavePlan)),
        Err(error) => app.notify(Level::Error, error),
    }
}
