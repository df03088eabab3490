//! What keys do on the Attacks screen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

use super::super::app::{App, Effect, Overlay, Source, Wish};
use super::super::keys::Command;
use super::super::update::{moved, notify};
use super::line::TextLine;
use super::{Item, NONE, PlanDraft, Standing};
use crate::audit::event::{AuditEvent, Stage};
use crate::audit::plan::AttackPlan;
use crate::report::lines::{Level, LogLine};

/// Follows the run.
pub(in super::super) fn follow(app: &mut App, event: &AuditEvent) {
    let now = app.ui.now;
    let ui = &mut app.ui.attacks;
    match event {
        AuditEvent::Started { .. } => (ui.begun, ui.queue, ui.called_off) = Default::default(),
        AuditEvent::StageStarted { stage: Stage::Attack { attack }, .. } => {
            ui.begun.push(*attack);
            ui.queue.retain(|it| it != attack);
        }
        AuditEvent::CleanMeasured { predictions, .. } if !predictions.is_empty() => {
            let took = app.ui.stage_began.map(|began| now.saturating_sub(began).as_secs_f64());
            ui.clean_pace = took.filter(|took| *took > 0.0).map(|took| took / predictions.len() as f64);
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
        _ => {
            if let Some(line) = &mut app.ui.attacks.edit {
                line.press(key);
            }
        }
    }
}

/// What keeps the text that is being typed from being the field's value.
pub fn edit_error(app: &App) -> Option<String> {
    let item = app.item();
    let (line, field) = (app.ui.attacks.edit.as_ref()?, app.fields(item).get(app.ui.attacks.field)?.name);
    app.preview(item, &app.given_with(item, field, &line.text())).err().map(|error| error.to_string())
}

/// Makes the typed text the field's value, if it can be.
fn apply(app: &mut App) {
    let item = app.item();
    let Some(field) = app.fields(item).get(app.ui.attacks.field).map(|field| field.name) else { return };
    let Some(line) = app.ui.attacks.edit.clone() else { return };
    if edit_error(app).is_some() {
        return;
    }
    let given = app.given_with(item, field, &line.text());
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

/// Takes the last change of a form back.
fn undo(app: &mut App, item: Item) {
    let drafts = &mut app.ui.attacks.drafts;
    let Some(draft) = drafts.get_mut(&item) else {
        return notify(app, Level::Info, "there is nothing to undo here".to_owned());
    };
    if let Some(before) = draft.before.pop() {
        draft.given = before;
    }
    // The first thing that was given is what the form says without a draft.
    if draft.before.is_empty() {
        drafts.remove(&item);
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

/// Shows an entry's form.
pub(in super::super) fn select(app: &mut App, item: Option<Item>) {
    if item != Some(app.item()) {
        (app.ui.attacks.field, app.ui.attacks.edit) = (0, None);
    }
    app.ui.attacks.item = item;
}

/// What a command does here; none if it means nothing special on this screen.
pub(in super::super) fn act(app: &mut App, command: Command) -> Option<Vec<Effect>> {
    let item = app.item();
    match command {
        Command::NextPane | Command::PreviousPane => app.ui.attacks.in_form ^= true,
        Command::Left => app.ui.attacks.in_form = false,
        Command::Right => app.ui.attacks.in_form = true,
        Command::Close if app.ui.attacks.in_form => app.ui.attacks.in_form = false,
        Command::Confirm if !app.ui.attacks.in_form => app.ui.attacks.in_form = true,
        Command::Confirm => begin_edit(app, item),
        Command::Undo => undo(app, item),
        Command::Defaults => change(app, item, toml::Table::new()),
        Command::Add => return Some(add(app, item)),
        Command::CallOff => return Some(call_off(app, item)),
        Command::Earlier => return Some(shift(app, item, false)),
        Command::Later => return Some(shift(app, item, true)),
        Command::SavePlan if app.audit.start.is_some() => return Some(vec![Effect::DraftPlan]),
        Command::SavePlan => notify(app, Level::Warning, "the run's attacks are not known yet".to_owned()),
        _ => return None,
    }
    Some(Vec::new())
}

/// Whether the run takes orders; if not, says why.
fn takes_orders(app: &mut App) -> bool {
    let reason = match app.ui.source {
        Source::Replay | Source::Attached => "this run is only shown: nothing can be run, moved or called off here",
        Source::Live if app.ui.wish != Wish::GoOn => "the run was asked to stop and takes no more attacks",
        Source::Live if !app.is_open() => "the run is over and takes no more attacks",
        Source::Live => return true,
    };
    notify(app, Level::Warning, reason.to_owned());
    false
}

fn begin_edit(app: &mut App, item: Item) {
    let Some(field) = app.fields(item).get(app.ui.attacks.field).map(|field| field.name) else { return };
    let given = app.given(item);
    let value = App::value(app.preview(item, &given).ok().as_ref(), &given, field);
    app.ui.attacks.edit = Some(TextLine::new(if value == NONE { "" } else { &value }));
}

fn add(app: &mut App, item: Item) -> Vec<Effect> {
    let Some(name) = app.spec(item).map(|spec| spec.id.to_owned()) else { return Vec::new() };
    if !takes_orders(app) {
        return Vec::new();
    }
    let params = app.given(item);
    match app.preview(item, &params) {
        Ok(_) => {
            app.ui.attacks.pending += 1;
            if app.audit.stage.is_some() {
                let text = format!("{name} joins the queue when the attack in work is through");
                app.ui.notice = Some(LogLine { level: Level::Info, text });
            }
            vec![Effect::Add(AttackPlan { name, params })]
        }
        Err(error) => {
            notify(app, Level::Error, format!("not added: {error}"));
            Vec::new()
        }
    }
}

fn call_off(app: &mut App, item: Item) -> Vec<Effect> {
    let Item::Run(attack) = item else {
        notify(app, Level::Info, "this attack is not in the run; a adds it".to_owned());
        return Vec::new();
    };
    if !takes_orders(app) {
        return Vec::new();
    }
    match app.standing(attack) {
        Standing::Queued => called_off(app, attack),
        Standing::Running => {
            app.ui.overlay = Some(Overlay::CallOff { attack });
            Vec::new()
        }
        _ => {
            notify(app, Level::Info, "only a queued or running attack can be called off".to_owned());
            Vec::new()
        }
    }
}

/// Calls an attack off, if there still is something to call off.
pub(in super::super) fn called_off(app: &mut App, attack: usize) -> Vec<Effect> {
    if !matches!(app.standing(attack), Standing::Queued | Standing::Running) {
        return Vec::new();
    }
    app.ui.attacks.called_off.insert(attack);
    app.ui.attacks.queue.retain(|it| *it != attack);
    vec![Effect::Cancel(attack)]
}

fn shift(app: &mut App, item: Item, is_later: bool) -> Vec<Effect> {
    let place = match item {
        Item::Run(attack) => app.ui.attacks.queue.iter().position(|it| *it == attack).map(|place| (attack, place)),
        Item::Catalog(_) => None,
    };
    if !takes_orders(app) {
        return Vec::new();
    }
    let Some((attack, place)) = place else {
        notify(app, Level::Info, "only a queued attack can be moved".to_owned());
        return Vec::new();
    };
    let other = if is_later { place.checked_add(1) } else { place.checked_sub(1) };
    let Some(other) = other.and_then(|other| app.ui.attacks.queue.get(other).copied()) else { return Vec::new() };
    let sweep = |attack: usize| app.planned(attack).and_then(|it| it.sweep);
    if sweep(attack).is_some() && sweep(attack) == sweep(other) {
        notify(
            app,
            Level::Info,
            "the attacks of a sweep keep their order: larger sizes build on smaller ones".to_owned(),
        );
        return Vec::new();
    }
    vec![Effect::Shift { attack, is_later }]
}

/// Shows what the plan file would be, or why there cannot be one.
pub(in super::super) fn drafted(app: &mut App, draft: Result<PlanDraft, String>) {
    match draft {
        Ok(draft) if draft.before.as_ref() == Some(&draft.text) => {
            notify(app, Level::Info, format!("{} holds these attacks already", draft.name));
        }
        Ok(draft) => (app.ui.attacks.plan_file, app.ui.overlay) = (Some(draft), Some(Overlay::SavePlan)),
        Err(error) => notify(app, Level::Error, error),
    }
}
