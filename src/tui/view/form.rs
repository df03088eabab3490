//! The form of one attack: its parameters, what they cost, and the command line that means the same.

use advmod_attacks::attack::Preset;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::app::App;
use super::super::attacks::plain;
use super::super::state::Source;
use super::super::state::attacks::{Item, Standing};
use super::super::theme::{Role, Theme};
use super::text::{self, clock, fit, fit_line, framed, more, padded, stack, width, wrapped};
use crate::audit::attack::spec;
use crate::audit::plan::{AttackPlan, AuditPlan};
use crate::audit::preview::Preview;
use crate::text::shell::quoted;

/// Columns of a parameter's name and of its value.
const NAME: usize = 14;
const VALUE: usize = 16;

struct Form {
    item: Item,
    given: toml::Table,
    preview: Result<Preview, String>,
    defaults: Option<Preview>,
}

impl Form {
    fn new(app: &App) -> Self {
        let item = app.item();
        let given = app.given(item);
        let norm = given.get("norm").map(|norm| ("norm".to_owned(), norm.clone()));
        let defaults = app.preview(item, &norm.into_iter().collect()).ok();
        Self { item, preview: app.preview(item, &given), given, defaults }
    }

    fn value(&self, name: &str) -> String {
        App::value(self.preview.as_ref().ok(), &self.given, name)
    }
}

pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let form = Form::new(app);
    let inner = framed(area, buffer, theme, app.ui.attacks.in_form, &title(app, &form));
    let (columns, height) = (usize::from(inner.width), usize::from(inner.height));
    let below = below(app, theme, &form, columns, height);
    let room = height.saturating_sub(below.len());
    let (rows, first) = rows(app, theme, &form, columns, room);
    let hidden = rows.len().saturating_sub(room);
    stack(inner, buffer, rows.into_iter().skip(first).take(room).map(|(_, line)| line));
    stack(text::below(inner, room as u16), buffer, below);
    more(area, buffer, theme, hidden);
}

/// Which field is in a row of the form.
pub(super) fn field_at(app: &App, inner: Rect, row: usize) -> Option<usize> {
    let form = Form::new(app);
    let (columns, height) = (usize::from(inner.width), usize::from(inner.height));
    let room = height.saturating_sub(below(app, Theme::default(), &form, columns, height).len());
    let (rows, first) = rows(app, Theme::default(), &form, columns, room);
    if row < room { rows.get(first + row).map(|(field, _)| *field) } else { None }
}

fn title(app: &App, form: &Form) -> String {
    let is_changed = app.ui.attacks.drafts.contains_key(&form.item);
    let changed = if is_changed { ", changed" } else { "" };
    match form.item {
        Item::Run(attack) => {
            let name = app.label(attack);
            if is_changed { format!("{name}{changed}: for the next run") } else { format!("{name} as in this run") }
        }
        Item::Catalog(_) => {
            app.spec(form.item).map_or_else(String::new, |it| format!("{}: {}{changed}", it.id, it.title))
        }
    }
}

/// The fields with their numbers, the selected one's error below it, and the first row to show.
fn rows(app: &App, theme: Theme, form: &Form, columns: usize, room: usize) -> (Vec<(usize, Line<'static>)>, usize) {
    let selected = app.ui.attacks.field;
    let mut rows: Vec<(usize, Line<'static>)> = Vec::new();
    let mut end = 0;
    for (place, field) in app.fields(form.item).into_iter().enumerate() {
        let is_selected = place == selected && app.ui.attacks.in_form;
        let mark = if is_selected { theme.sign("▸", ">") } else { " " };
        let name = format!(" {mark} {} ", padded(field.name, NAME));
        let line = match &app.ui.attacks.edit {
            Some(line) if is_selected => {
                let left = columns.saturating_sub(width(&name) + 1);
                let (before, behind) = line.halves();
                let typed = window(before, behind, theme.sign("▏", "_"), left);
                Line::from(vec![theme.span(name, Role::Title), theme.span(typed, Role::Focus)])
            }
            _ => {
                let is_given = form.given.contains_key(field.name);
                let value = fit(&form.value(field.name), VALUE);
                let pad = " ".repeat(VALUE.saturating_sub(width(&value)) + 1);
                let changed = if is_given { "* " } else { "  " };
                let style = if is_selected { theme.style(Role::Selected) } else { Style::new() };
                let spans = vec![
                    Span::raw(name),
                    Span::styled(value, style),
                    Span::raw(pad),
                    theme.span(changed, Role::Warning),
                    theme.span(field.range, Role::Dim),
                ];
                fit_line(spans, columns)
            }
        };
        rows.push((place, line));
        if is_selected && let Some(error) = app.edit_error() {
            let lines = at_most(wrapped(&error, columns.saturating_sub(5)), 4.min(room.saturating_sub(1)));
            rows.extend(
                lines.into_iter().map(|text| (place, Line::styled(format!("   {text}"), theme.style(Role::Bad)))),
            );
        }
        if place == selected {
            end = rows.len();
        }
    }
    let first = end.saturating_sub(room).max(if rows.len() > room {
        end.saturating_sub(room / 2 + 1).min(rows.len() - room)
    } else {
        0
    });
    (rows, first)
}

/// The part of a typed text round its cursor that fits.
fn window(before: &str, behind: &str, cursor: &str, columns: usize) -> String {
    let whole = format!("{before}{cursor}{behind}");
    if width(&whole) <= columns {
        return whole;
    }
    // What stands before the cursor matters most; its beginning goes first.
    let room = columns.saturating_sub(3);
    let mut start = before.chars();
    while width(start.as_str()) > room {
        start.next();
    }
    let cut = if start.as_str().len() < before.len() { "…" } else { "" };
    fit(&format!("{cut}{}{cursor}{behind}", start.as_str()), columns)
}

/// What stands under the fields: help, cost, command line, to what it applies.
fn below(app: &App, theme: Theme, form: &Form, columns: usize, height: usize) -> Vec<Line<'static>> {
    let wide = columns.saturating_sub(2).max(1);
    let is_tall = height >= 17;
    let mut lines = Vec::new();
    let mut add = |text: &str, role: Role, most: usize| {
        let texts = at_most(wrapped(text, wide), most);
        lines.extend(texts.into_iter().map(|text| Line::styled(format!(" {text}"), theme.style(role))));
    };
    if is_tall {
        add("", Role::Plain, 1);
    }
    if let Some(field) = app.fields(form.item).get(app.ui.attacks.field).filter(|_| app.ui.attacks.in_form) {
        let default = App::value(form.defaults.as_ref(), &toml::Table::new(), field.name);
        let text = format!("{}: {}. {}; default {default}", field.name, field.help, field.range);
        add(&text, Role::Plain, if is_tall { 4 } else { 2 });
    } else if let Some(spec) = app.spec(form.item) {
        add(spec.what, Role::Plain, if is_tall { 4 } else { 2 });
    } else {
        add("This version does not know this attack.", Role::Warning, 2);
    }
    if let Item::Run(attack) = form.item
        && app.standing(attack) == Standing::Failed
    {
        let error = app.audit.attacks.get(attack).and_then(|it| it.error.clone()).unwrap_or_default();
        add(&format!("Failed: {error}"), Role::Bad, if is_tall { 4 } else { 2 });
    }
    match &form.preview {
        Ok(preview) => {
            add(&cost(app, preview), Role::Plain, if is_tall { 3 } else { 2 });
            add(&command(app, form, preview), Role::Dim, if is_tall { 4 } else { 2 });
        }
        Err(error) => add(&format!("Cannot run: {error}"), Role::Bad, 3),
    }
    if is_tall {
        let text = match app.ui.run.source {
            _ if app.is_open() => "Applies to the next run; a running attack keeps its parameters.",
            Source::Live => "The run is over: start advmod again to run more.",
            Source::Replay | Source::Attached => "This run is only shown: nothing can be run here.",
        };
        add(text, Role::Dim, 2);
    }
    lines
}

fn at_most(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let end = last.char_indices().next_back().map_or(0, |(at, _)| at);
            last.truncate(end);
            last.push('…');
        }
    }
    lines
}

fn cost(app: &App, preview: &Preview) -> String {
    let (Some(most), Some(images)) = (preview.most, app.attacked_images()) else {
        return "Cost: known when model and images are loaded.".to_owned();
    };
    let count = |n: u64, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let gradients =
        if most.backwards > 0 { format!(" + {}", count(most.backwards, "gradient")) } else { String::new() };
    let forwards = count(most.forwards, "forward");
    let time = match app.estimate(most) {
        Some(estimate) => {
            let by = if estimate.is_by_attacks { "attacks" } else { "clean images" };
            format!("≈ {} (estimate by this run's {by})", duration(estimate.seconds))
        }
        None => "(no rate measured yet)".to_owned(),
    };
    format!("Cost at most: ({forwards}{gradients}) × {images} images {time}")
}

fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds if seconds < 1e9 => clock(seconds),
        _ => "more than 30 years".to_owned(),
    }
}

/// The command line's words for this attack: as short as they can be and still mean the same.
fn command(app: &App, form: &Form, preview: &Preview) -> String {
    let pairs: Vec<String> = form.given.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
    let name = preview.attacks.first().map_or("", |attack| attack.name.as_str());
    let short = if pairs.is_empty() { name.to_owned() } else { format!("{name}:{}", pairs.join(",")) };
    let preset = app.basis().preset.filter(|preset| *preset != Preset::default().to_string());
    let bare = AuditPlan { preset: preset.clone(), ..AuditPlan::default() };
    let again = AttackPlan::parse(&short).and_then(|attack| bare.preview(&attack, None));
    let flag = preset.map_or_else(String::new, |preset| format!("--preset {preset} "));
    match again {
        Ok(again) if again.attacks == preview.attacks => format!("Equivalent CLI: {flag}--attack {}", quoted(&short)),
        _ => format!("Equivalent CLI: --attack {}", quoted(&spec(&preview.attacks))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shown_round_its_cursor() {
        let window = |before: &str, behind: &str| window(before, behind, "|", 8);
        assert_eq!(window("abc", "def"), "abc|def");
        assert_eq!(window("abcdefghij", ""), "…fghij|");
        assert_eq!(window("ab", "cdefghij"), "ab|cdef…");
    }

    #[test]
    fn what_is_left_out_is_marked() {
        let lines = || vec!["one".to_owned(), "two".to_owned(), "three".to_owned()];
        assert_eq!(at_most(lines(), 2), ["one", "tw…"]);
        assert_eq!(at_most(lines(), 3), lines());
    }
}
