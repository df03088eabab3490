//! The samples of an attack: a list, and the selected one before, after, and what changed.

use std::rc::Rc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Margin, Rect, Size};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::samples::difference::difference;
use super::super::state::samples::Look;
use super::super::steps::first_shown;
use super::super::theme::{Role, Theme};
use super::picture;
use super::text::{below, corner, fit, fit_line, framed, list, note, padded, stack};
use crate::audit::event::SampleResult;
use crate::measure::clean::ClassProbability;
use crate::store::picture::Picture;

const LIST: u16 = 16;

/// Rows of the numbers below the pictures, with their frame: all, fewer where pictures then fit as they are, and the fewest.
const NUMBERS: [u16; 3] = [7, 5, 4];

pub(super) fn draw(body: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let (list, shown) = parts(app, body);
    draw_list(list, buffer, app, theme);
    let Some((_, sample)) = app.selected_sample() else {
        let inner = framed(shown, buffer, theme, false, "Sample");
        return note(inner, buffer, theme, nothing(app));
    };
    let [pictures, numbers] = split(app, body, shown);
    draw_pictures(pictures, buffer, app, theme);
    draw_numbers(numbers, buffer, app, theme, sample);
}

/// The pictures, and the numbers below them.
fn split(app: &App, body: Rect, shown: Rect) -> [Rect; 2] {
    Layout::vertical([Constraint::Min(3), Constraint::Length(numbers_rows(app, body))]).areas(shown)
}

fn numbers_rows(app: &App, body: Rect) -> u16 {
    let [_, height, _] = shape(app);
    let is_exact = |rows: u16| height.div_ceil(2) + 2 <= usize::from(body.height.saturating_sub(rows));
    let smallest = if body.height < 16 { NUMBERS[2] } else { NUMBERS[0] };
    NUMBERS.into_iter().find(|&rows| is_exact(rows)).unwrap_or(smallest)
}

/// Channels, height and width of the images.
fn shape(app: &App) -> [usize; 3] {
    app.audit.start.as_ref().map_or([1, 32, 32], |start| start.data.shape)
}

/// The list, and what is right of it: wide enough for three pictures where they fit as they are.
fn parts(app: &App, body: Rect) -> (Rect, Rect) {
    let [_, _, wide] = shape(app);
    let wanted = 3 * (wide.min(200) as u16 + 2);
    let list = body.width.saturating_sub(wanted).clamp(LIST, 34).min(body.width / 3).max(LIST);
    let [list, shown] = Layout::horizontal([Constraint::Length(list), Constraint::Min(0)]).areas(body);
    (list, shown)
}

/// Why no sample can be shown.
fn nothing(app: &App) -> &'static str {
    let attack = app.audit.attacks.get(app.ui.selected);
    let is_over = !app.phase().goes_on();
    match attack {
        None if is_over => "The run ended before there was a sample.",
        None => "Samples come when model and images are loaded.",
        Some(attack) if attack.samples.is_empty() && attack.error.is_some() => "This attack failed; the log says why.",
        Some(attack) if attack.samples.is_empty() && is_over => "This attack has no samples.",
        Some(attack) if attack.samples.is_empty() => "No samples yet: they come batch by batch.",
        Some(_) => "No sample is like that: o and c change what is listed.",
    }
}

/// Which sample is in this row.
pub(super) fn sample_at(app: &App, body: Rect, column: u16, row: u16) -> Option<usize> {
    let (list, _) = parts(app, body);
    let line = usize::from(row.checked_sub(list.y + 2)?);
    let room = usize::from(list.height.saturating_sub(3));
    if column >= list.right() || line >= room {
        return None;
    }
    let (place, listed) = (app.selected_sample()?.0, app.listed_samples());
    listed.get(first_shown(place, listed.len(), room) + line).map(|sample| sample.sample)
}

fn draw_list(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let ui = &app.ui.samples;
    let label = app.planned(app.ui.selected).map_or("Samples", |it| it.label.as_str());
    let inner = framed(area, buffer, theme, true, label);
    let columns = usize::from(inner.width);
    let class = ui.class.map_or(String::new(), |class| format!(", {}", app.class_name(class)));
    let filter = fit(&format!("{}{class}", ui.fate.name()), columns);
    Line::styled(filter, theme.style(Role::Dim)).render(Rect { height: 1.min(inner.height), ..inner }, buffer);
    let listed = app.listed_samples();
    let selected = app.selected_sample().map_or(0, |(place, _)| place);
    list(below(inner, 1), area, buffer, theme, (selected, listed.len()), |place| {
        let (sample, is_selected) = (listed[place], place == selected);
        let name = |class: Option<u32>| class.map_or_else(|| "?".to_owned(), |class| app.class_name(class));
        let text =
            format!("{:>4} {}→{}", sample.sample, name(app.label_of(sample.sample)), name(Some(sample.prediction)));
        let pointer = if is_selected { theme.sign("▶", ">") } else { " " };
        vec![Span::raw(pointer), theme.span(text, Role::row(is_selected))]
    });
    if (1..usize::from(inner.height)).contains(&listed.len()) {
        corner(area, buffer, theme, &format!(" {} ", listed.len()));
    }
}

/// Up to three pictures, each with its heading.
fn pictures(app: &App, look: &Look) -> Vec<(String, Picture)> {
    let (Some(clean), Some(adversarial)) = (&look.clean, &look.adversarial) else {
        let alone = [("before", &look.clean), ("after", &look.adversarial)];
        return alone.into_iter().filter_map(|(title, picture)| Some((title.to_owned(), picture.clone()?))).collect();
    };
    let result = app.result_of(look.attack, look.sample);
    let name = |class: Option<u32>| class.map_or_else(String::new, |class| format!(": {}", app.class_name(class)));
    let mut shown = vec![
        (format!("before{}", name(app.label_of(look.sample))), clean.clone()),
        (format!("after{}", name(result.map(|it| it.prediction))), adversarial.clone()),
    ];
    shown.extend(difference(clean, adversarial, app.ui.samples.gain).map(|(picture, title)| (title, picture)));
    let first = app.ui.samples.first % shown.len();
    shown.rotate_left(first);
    shown
}

/// Where the pictures stand, and how.
struct Places {
    /// One for each picture that has room, with its frame.
    cells: Rc<[Rect]>,
    /// By how much a picture is divided where it is drawn in cells.
    divisor: usize,
    /// Whether the terminal draws them in pixels of its own.
    in_pixels: bool,
}

fn places(area: Rect, shape: [usize; 3], all: u16, app: &App, theme: Theme) -> Places {
    // As they are if at least one fits; else divided until all do.
    let room = |n: u16| Size::new((area.width / n).saturating_sub(2), area.height.saturating_sub(2));
    let divisor = match picture::divisor(shape, room(1)) {
        1 => 1,
        _ => picture::divisor(shape, room(all)),
    };
    let columns = picture::size(shape, divisor).width;
    // In cells they are exact where they fit: only larger ones gain.
    let in_pixels = theme.graphics && divisor > 1 && !app.ui.samples.in_cells;
    let n = if in_pixels { all } else { (area.width / (columns + 2)).clamp(1, all) };
    Places { cells: Layout::horizontal(vec![Constraint::Fill(1); usize::from(n)]).split(area), divisor, in_pixels }
}

/// The pictures that the terminal is to draw in pixels of its own, and where.
pub(super) fn in_pixels(body: Rect, app: &App, theme: Theme) -> Vec<(Rect, Picture)> {
    let (_, shown) = parts(app, body);
    let [area, _] = split(app, body, shown);
    let shown = app.ui.samples.look.as_ref().map_or_else(Vec::new, |look| pictures(app, look));
    let Some(shape) = shown.first().map(|(_, picture)| picture.shape) else { return Vec::new() };
    let places = places(area, shape, shown.len() as u16, app, theme);
    if !places.in_pixels || app.selected_sample().is_none() {
        return Vec::new();
    }
    let cells = places.cells.iter().map(|cell| cell.inner(Margin::new(1, 1)));
    cells.zip(shown.into_iter().map(|(_, picture)| picture)).collect()
}

fn draw_pictures(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let look = app.ui.samples.look.as_ref();
    let shown = look.map_or_else(Vec::new, |look| pictures(app, look));
    let missing = look.and_then(|look| look.note.as_deref());
    let Some(shape) = shown.first().map(|(_, picture)| picture.shape) else {
        let inner = framed(area, buffer, theme, false, "Pictures");
        return note(inner, buffer, theme, missing.unwrap_or("Looking for the images."));
    };
    let all = shown.len();
    let Places { cells, divisor, in_pixels } = places(area, shape, all as u16, app, theme);
    let Size { width: columns, height: lines } = picture::size(shape, divisor);
    // Whatever is not exact says so.
    let scale = (divisor > 1).then(|| format!("1/{divisor}"));
    let depth = (theme.color && !theme.ascii && !theme.truecolor).then(|| "256 colours".to_owned());
    let letters = (!theme.color || theme.ascii).then(|| "brightness".to_owned());
    let limits: Vec<String> = scale.into_iter().chain(depth).chain(letters).collect();
    for ((title, picture), cell) in shown.iter().zip(cells.iter()) {
        let inner = framed(*cell, buffer, theme, false, title);
        if in_pixels {
            continue;
        }
        if !limits.is_empty() {
            let limits = fit(&format!(" {} ", limits.join(", ")), usize::from(cell.width.saturating_sub(2)));
            buffer.set_string(cell.x + 1, cell.bottom() - 1, limits, theme.style(Role::Dim));
        }
        let left = inner.width.saturating_sub(columns) / 2;
        let place = Rect { x: inner.x + left, width: inner.width - left, ..inner };
        picture::draw(place, buffer, picture, divisor, theme);
        if inner.height > lines + 1
            && let Some(missing) = missing
        {
            note(below(inner, lines + 1), buffer, theme, missing);
        }
    }
    if cells.len() < all {
        corner(area, buffer, theme, &format!(" v: {} more ", all - cells.len()));
    }
}

fn draw_numbers(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, sample: &SampleResult) {
    let index = app.audit.start.as_ref().and_then(|start| start.data.indices.get(sample.sample)).copied().unwrap_or(0);
    let inner = framed(area, buffer, theme, false, &format!("Sample {}, image {index} of the data", sample.sample));
    let columns = usize::from(inner.width);
    let mut lines = Vec::new();
    let fate = if sample.success { ("broken", Role::Bad) } else { ("held", Role::Good) };
    let mut told = vec![
        theme.span(format!(" {}", fate.0), fate.1),
        Span::raw(format!(
            "  L0 {}  L2 {:.3}  L∞ {:.4}  forwards {}, gradients {}",
            sample.l0, sample.l2, sample.linf, sample.forwards, sample.backwards
        )),
    ];
    if let Some(name) = sample.carried_from.and_then(|from| app.planned(from)) {
        told.push(theme.span(format!("  carried from {}", name.label), Role::Warning));
    }
    let before = app.audit.likeliest.get(sample.sample).map_or(&[][..], Vec::as_slice);
    let rows = usize::from(inner.height).saturating_sub(1);
    if before.is_empty() && sample.likeliest.is_empty() {
        lines.push(Line::styled(" no probabilities in this recording", theme.style(Role::Dim)));
    } else {
        let half = (columns / 2).max(1);
        for place in 0..3.min(rows) {
            let mut spans = chance(app, theme, " before ", before.get(place), half, place == 0);
            spans.extend(chance(app, theme, " after ", sample.likeliest.get(place), half, place == 0));
            lines.push(fit_line(spans, columns));
        }
    }
    lines.push(fit_line(told, columns));
    stack(inner, buffer, lines);
}

/// A class with its probability as a bar, in so many columns.
fn chance(
    app: &App,
    theme: Theme,
    head: &str,
    of: Option<&ClassProbability>,
    columns: usize,
    has_head: bool,
) -> Vec<Span<'static>> {
    const NAME: usize = 12;
    let Some(&ClassProbability { class, p }) = of else { return vec![Span::raw(" ".repeat(columns))] };
    let head = if has_head { head.to_owned() } else { " ".repeat(head.len()) };
    let name = padded(&app.class_name(class), NAME);
    let room = columns.saturating_sub(head.len() + NAME + 8);
    let full = ((p * room as f64).round() as usize).min(room);
    vec![
        theme.span(head, Role::Dim),
        Span::raw(format!("{name} {p:.3} ")),
        theme.span("█".repeat(full), Role::Clean),
        Span::raw(" ".repeat(room - full + 1)),
    ]
}
