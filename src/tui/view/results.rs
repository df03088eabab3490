//! The results, with the numbers and the words of the table that an audit prints.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::App;
use super::super::state::Sort;
use super::super::state::screen::Pane;
use super::super::theme::{Role, Theme};
use super::text::{below, fit, fit_line, more, padded, pane, paragraph, stack, width as text_width};
use crate::audit::gate::expr::Metric;
use crate::report::table::{HEAD, rows as table_rows, worst_cases};
use crate::text::numbers::{or_dash, percent};
use crate::verdict::Report;
use crate::verdict::facts::AttackStatus;
use crate::verdict::gates::{GateCheck, GateState};

/// Columns to leave out, the least important first, until the rest fits.
const EXPENDABLE: [usize; 8] = [11, 1, 5, 3, 8, 6, 7, 4];

/// Columns before the first of the table: the selection and the curve's mark.
const MARGIN: usize = 4;

/// Place of the column that the printed table does not have: what the gates say of a row.
const GATE: usize = 12;

/// A row of the printed table, and its gate.
type Cells = [String; GATE + 1];

/// Cells of all rows, the head first.
fn cells(app: &App) -> Vec<Cells> {
    let with_gate = |row: &[String; GATE], gate: &str| -> Cells {
        std::array::from_fn(|column| row.get(column).map_or_else(|| gate.to_owned(), Clone::clone))
    };
    let has_gates = app.report.as_ref().is_some_and(|report| !report.gates.is_empty());
    let mut cells = vec![with_gate(&HEAD.map(str::to_owned), if has_gates { "gate" } else { "" })];
    if let Some(report) = &app.report {
        let rows = table_rows(report);
        let gate =
            |row: usize| gates_of(report, &subject(report, row)).map(|it| it.result).max().map_or("", GateState::word);
        cells.extend(order(app, rows.len()).into_iter().map(|row| with_gate(&rows[row], gate(row))));
    }
    if app.phase().is_at_work() {
        // That a run goes on is said elsewhere.
        for row in &mut cells {
            row[2] = row[2].replace(" (incomplete)", "");
        }
    }
    cells
}

/// What a row of the printed table is called in metrics.
fn subject(report: &Report, row: usize) -> String {
    let attacks = report.attacks.len();
    match row {
        0 => "clean".to_owned(),
        row if row <= attacks => report.attacks[row - 1].attack.label.clone(),
        row => worst_cases(report).nth(row - 1 - attacks).map_or(String::new(), |it| it.budget().to_string()),
    }
}

/// What the gates say of a subject: `asr.pgd` and `accuracy.pgd.class.3` are of `pgd`.
fn gates_of<'a>(report: &'a Report, subject: &'a str) -> impl Iterator<Item = &'a GateCheck> {
    let checks = report.gates.iter().flat_map(|gate| &gate.checks);
    checks.filter(move |check| Metric::parse(&check.metric).is_ok_and(|metric| metric.subject.to_string() == subject))
}

/// The rows of the printed table in the order in which they are listed: the clean one, the attacks, the worst case per budget.
fn order(app: &App, rows: usize) -> Vec<usize> {
    let listed = app.listed();
    let after = 1 + listed.len();
    std::iter::once(0)
        .chain(listed.into_iter().map(|attack| 1 + attack))
        .chain(after..rows)
        .filter(|&row| row < rows)
        .collect()
}

fn widths(cells: &[Cells]) -> [usize; GATE + 1] {
    std::array::from_fn(|column| cells.iter().map(|row| text_width(&row[column])).max().unwrap_or(0))
}

/// Which columns are shown in so much room.
fn chosen(widths: &[usize; GATE + 1], room: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..=GATE).filter(|&column| widths[column] > 0).collect();
    for column in EXPENDABLE {
        let used: usize = MARGIN + chosen.iter().map(|&column| widths[column] + 1).sum::<usize>();
        if used <= room + 1 {
            break;
        }
        chosen.retain(|&it| it != column);
    }
    chosen
}

/// Room that all columns take.
pub(super) fn width(app: &App) -> u16 {
    let widths = widths(&cells(app));
    (MARGIN + widths.iter().sum::<usize>() + widths.iter().filter(|&&it| it > 0).count().saturating_sub(1)) as u16
}

/// Rows of the table without its head.
pub(super) fn rows(app: &App) -> usize {
    app.report.as_ref().map_or(1, |report| 1 + report.attacks.len() + worst_cases(report).count())
}

/// Which row of the table is at the top.
fn first_row(app: &App, height: u16) -> usize {
    let room = usize::from(height.saturating_sub(3)).max(1);
    // The clean row is row 0, the selected attack row 1 + its place.
    let place = app.listed().iter().position(|&attack| attack == app.ui.selected).unwrap_or(0);
    let (row, last) = (1 + place, rows(app));
    if last <= room { 0 } else { row.saturating_sub(room - 1).max(usize::from(row >= room)) }
}

/// Which attack's row is there.
pub(super) fn attack_at(app: &App, area: Rect, row: u16) -> Option<usize> {
    let line = usize::from(row.checked_sub(area.y + 2)?);
    if row + 1 >= area.bottom() {
        return None;
    }
    let place = (first_row(app, area.height) + line).checked_sub(1)?;
    app.listed().get(place).copied()
}

pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let title = match app.ui.overview.sort {
        Sort::Plan => "Results",
        Sort::Success => "Results by success",
        Sort::RetentionDrop => "Results by retention drop",
    };
    let inner = pane(area, buffer, app, theme, Pane::Results, title);
    let cells = cells(app);
    let widths = widths(&cells);
    let columns = chosen(&widths, usize::from(inner.width));
    let line = |row: &Cells| {
        let cells = columns.iter().map(|&column| {
            let (cell, wide) = (&row[column], widths[column]);
            // As in the printed table: names read from the left, numbers from the right.
            match column {
                0 | 1 | 10 | GATE => padded(cell, wide),
                _ => format!("{}{cell}", " ".repeat(wide - text_width(cell))),
            }
        });
        cells.collect::<Vec<_>>().join(" ")
    };
    let room = usize::from(inner.width).saturating_sub(MARGIN);
    let head = fit(&line(&cells[0]), room);
    Line::from(theme.span(format!("{}{head}", " ".repeat(MARGIN)), Role::Dim)).render(inner, buffer);
    let Some(report) = &app.report else { return };
    let first = first_row(app, area.height);
    let shown = usize::from(inner.height.saturating_sub(1));
    let order = order(app, cells.len() - 1);
    let rows = order.into_iter().zip(&cells[1..]).skip(first).map(|(row, cells)| {
        let (mark, mark_role) = mark(row, report.attacks.len(), theme);
        let is_selected = row == 1 + app.ui.selected;
        let attack = row.checked_sub(1).and_then(|row| report.attacks.get(row));
        let role = match attack {
            Some(attack) if attack.status == AttackStatus::Failed && !is_selected => Role::Bad,
            _ => Role::row(is_selected),
        };
        let pointer = if is_selected { theme.sign("▶", ">") } else { " " };
        let text = theme.span(fit(&line(cells), room), role);
        Line::from(vec![Span::raw(pointer), theme.span(mark, mark_role), Span::raw("  "), text])
    });
    stack(below(inner, 1), buffer, rows);
    let left = cells.len() - 1 - first;
    more(area, buffer, theme, left.saturating_sub(shown));
    let rest = below(inner, 1 + left.min(shown) as u16);
    if rest.height >= 3 {
        details(below(rest, 1), buffer, app, theme);
    }
}

fn mark(row: usize, attacks: usize, theme: Theme) -> (&'static str, Role) {
    match row {
        0 => (theme.mark(0), Role::Clean),
        row if row <= attacks => (theme.mark(row), Role::Attack(row - 1)),
        _ => (" ", Role::Plain),
    }
}

/// What the table has no room for, about the selected attack.
fn details(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let Some(attack) = app.report.as_ref().and_then(|report| report.attacks.get(app.ui.selected)) else { return };
    let what = &attack.attack;
    let columns = usize::from(area.width);
    let mut lines = vec![fit_line(
        vec![
            theme.span(format!(" {}", what.label), Role::Title),
            Span::raw(format!("  {}  {}", what.title, what.summary())),
        ],
        columns,
    )];
    let mut add = |text: String, role: Role| lines.extend(paragraph(&text, theme.style(role), columns));
    add(what.parameters_text(), Role::Dim);
    if let Some(error) = &attack.error {
        add(format!("failed: {error}"), Role::Bad);
    }
    if let Some(row) = app.report.as_ref().and_then(|report| table_rows(report).into_iter().nth(1 + app.ui.selected))
        && !attack.samples.is_empty()
    {
        let (broken, of) = (attack.success_rate.count, attack.success_rate.of);
        add(format!("broke {broken} of {of} images, {} forward passes per image", row[8]), Role::Plain);
        add(format!("means over the broken ones: L0 {}, L2 {}, L∞ {}", row[5], row[6], row[7]), Role::Plain);
    }
    for check in app.report.iter().flat_map(|report| gates_of(report, &what.label)) {
        let role = if check.result == GateState::Fail { Role::Bad } else { Role::Plain };
        let why = check.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        add(format!("gate {} {}{why}", check.metric, check.result.word()), role);
    }
    if let Some(shares) = attack.curves.as_ref().and_then(|it| it.anchored.as_ref()?.taps.last()?.retained) {
        let [before, after] = [shares.clean, shares.adversarial].map(|it| percent(Some(it)));
        let from = or_dash(attack.captured_from.as_ref(), |it| it.tap.clone().unwrap_or_else(|| "nowhere".to_owned()));
        add(
            format!(
                "nearest clean images of the true class: {before} % before, {after} % after; captured from: {from}"
            ),
            Role::Plain,
        );
    }
    if let (Some(clean), Some(adversarial)) = (&attack.clean_peak, &attack.adversarial_peak) {
        let (before, after) =
            (format!("{:.3} at {}", clean.q, clean.tap), format!("{:.3} at {}", adversarial.q, adversarial.tap));
        add(format!("peak Q of these images: clean {before}, adversarial {after}"), Role::Plain);
    }
    stack(area, buffer, lines);
}
