//! The Attacks screen: what runs and what can be added, beside the form of one of them.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Widget as _};

use super::super::app::{App, Phase};
use super::super::message::Spot;
use super::super::state::attacks::{Item, Standing};
use super::super::steps::first_shown;
use super::super::theme::{Role, Theme};
use super::form;
use super::text::{fit, fit_line, framed, more, row_at, width};

enum Row {
    Heading(&'static str),
    Note(String),
    Item(Item),
}

fn rows(app: &App) -> Vec<Row> {
    let order = app.running_order();
    let (run, mut more): (Vec<Item>, Vec<Item>) = app.items().into_iter().partition(|it| matches!(it, Item::Run(_)));
    let mut rows = vec![Row::Heading("In this run, in order")];
    if order.is_empty() {
        rows.push(Row::Note(if app.phase() == Phase::Loading { "not known while loading" } else { "none" }.to_owned()));
    }
    rows.extend(run.into_iter().map(Row::Item));
    if app.ui.attacks.pending > 0 {
        rows.push(Row::Note(format!("{} more asked for", app.ui.attacks.pending)));
    }
    rows.push(Row::Heading(if app.is_open() { "Can be added (a)" } else { "Catalog" }));
    rows.extend(more.drain(..).map(Row::Item));
    rows
}

/// Where list and form stand; on narrow terminals only the one that has the keys is shown.
fn parts(app: &App, body: Rect) -> (Option<Rect>, Option<Rect>) {
    if body.width < 80 {
        return if app.ui.attacks.in_form { (None, Some(body)) } else { (Some(body), None) };
    }
    let list = if body.width >= 100 { 36 } else { 29 };
    let [list, form] = Layout::horizontal([Constraint::Length(list), Constraint::Min(40)]).areas(body);
    (Some(list), Some(form))
}

pub(super) fn draw(body: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let (list, form) = parts(app, body);
    if let Some(area) = list {
        draw_list(area, buffer, app, theme);
    }
    if let Some(area) = form {
        form::draw(area, buffer, app, theme);
    }
}

/// The first row that is shown, so that the selected one is.
fn first(app: &App, rows: &[Row], room: usize) -> usize {
    let item = app.item();
    let selected = rows.iter().position(|row| matches!(row, Row::Item(it) if *it == item)).unwrap_or(0);
    first_shown(selected, rows.len(), room)
}

fn draw_list(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let inner = framed(area, buffer, theme, !app.ui.attacks.in_form, "Attacks");
    let (rows, room) = (rows(app), usize::from(inner.height));
    let first = first(app, &rows, room);
    for (at, row) in rows.iter().skip(first).take(room).enumerate() {
        let columns = usize::from(inner.width);
        let line = match row {
            Row::Heading(text) => fit_line(vec![theme.span(format!(" {text}"), Role::Title)], columns),
            Row::Note(text) => fit_line(vec![theme.span(format!("   {text}"), Role::Dim)], columns),
            Row::Item(item) => entry(app, theme, *item, columns),
        };
        line.render(row_at(inner, at), buffer);
    }
    more(area, buffer, theme, rows.len().saturating_sub(room));
}

fn entry(app: &App, theme: Theme, item: Item, columns: usize) -> Line<'static> {
    let is_selected = item == app.item();
    let mark = if is_selected { theme.sign("▸", ">") } else { " " };
    let changed = if app.ui.attacks.drafts.contains_key(&item) { "*" } else { "" };
    let (name, role, word) = match item {
        Item::Run(attack) => {
            let (role, word) = words(app, attack);
            (app.label(attack), role, word)
        }
        Item::Catalog(_) => (app.spec(item).map_or("", |spec| spec.id), Role::Dim, String::new()),
    };
    let room = columns.saturating_sub(width(&word) + 4);
    let name = fit(&format!("{name}{changed}"), room);
    let pad = " ".repeat(room.saturating_sub(width(&name)));
    let name_style = theme.style(if is_selected { Role::Selected } else { Role::Plain });
    fit_line(
        vec![Span::raw(format!(" {mark} ")), Span::styled(name, name_style), Span::raw(pad), theme.span(word, role)],
        columns,
    )
}

pub(super) fn words(app: &App, attack: usize) -> (Role, String) {
    let share = (100.0 * app.share(attack)).floor();
    match app.standing(attack) {
        Standing::Queued => (Role::Dim, "queued".to_owned()),
        Standing::Running if app.phase() == Phase::Paused => (Role::Warning, format!("paused {share:.0} %")),
        Standing::Running => (Role::Good, format!("running {share:.0} %")),
        Standing::Ending => (Role::Warning, "being called off".to_owned()),
        Standing::Measuring => (Role::Good, "measuring curves".to_owned()),
        Standing::Done => (Role::Plain, "done".to_owned()),
        Standing::CalledOff => (Role::Warning, "called off".to_owned()),
        Standing::Failed => (Role::Bad, "failed".to_owned()),
        Standing::Stopped => (Role::Warning, "stopped".to_owned()),
        Standing::NotRun => (Role::Dim, "not run".to_owned()),
    }
}

pub(super) fn at(app: &App, body: Rect, cell: Position) -> Option<Spot> {
    let (list, form) = parts(app, body);
    let inside = |area: Rect| Some(Block::bordered().inner(area)).filter(|inner| inner.contains(cell));
    if let Some(inner) = list.and_then(inside) {
        let rows = rows(app);
        let place = first(app, &rows, usize::from(inner.height)) + usize::from(cell.y - inner.y);
        return match rows.get(place) {
            Some(Row::Item(item)) => Some(Spot::Item(*item)),
            _ => None,
        };
    }
    let inner = form.and_then(inside)?;
    form::field_at(app, inner, usize::from(cell.y - inner.y)).map(Spot::Field)
}
