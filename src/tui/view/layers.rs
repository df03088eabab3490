//! Each tap's numbers: Q when clean, Q under the selected attack, the drop with its interval; and the tap under the cursor in full.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::{App, Phase};
use super::super::theme::{Role, Theme};
use super::text::{below, corner, fit, fit_line, framed, list, padded, paragraph, pointer, stack, width};
use crate::modularity::{Interval, TapPoint};
use crate::text::numbers::{self, or_dash};
use crate::verdict::facts::AttackResult;

pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let Some(start) = &app.audit.start else {
        let inner = framed(area, buffer, theme, true, "Layers");
        let text = match app.phase() {
            Phase::Failed => " There are no taps: the model was not loaded. The log says why.",
            _ => " The taps are known when the model is loaded.",
        };
        Line::styled(text, theme.style(Role::Dim)).render(inner, buffer);
        return;
    };
    let attack = app.report.as_ref().and_then(|report| report.attacks.get(app.ui.selected));
    let cursor = app.ui.cursor.unwrap_or(0).min(start.taps.len().saturating_sub(1));
    let [list, detail] = if area.width >= 100 {
        Layout::horizontal([Constraint::Min(58), Constraint::Percentage(44)]).areas(area)
    } else {
        Layout::vertical([Constraint::Min(6), Constraint::Length(area.height / 3)]).areas(area)
    };
    table(list, buffer, app, theme, attack, cursor);
    one(detail, buffer, app, theme, cursor);
}

fn table(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, attack: Option<&AttackResult>, cursor: usize) {
    let label = attack.map_or("no attack", |attack| attack.attack.label.as_str());
    let inner = framed(area, buffer, theme, true, &format!("Layers: {label} (← → another attack)"));
    let taps = app.tap_names();
    let name_width = taps.iter().map(|tap| width(tap)).max().unwrap_or(3).clamp(3, 24);
    let clean = app.report.as_ref().and_then(|report| report.clean.curves.as_ref());
    let curves = attack.and_then(|attack| attack.curves.as_ref());
    let head = format!("  {:<name_width$} {:>8} {:>8} {:>8} {:>15}", "tap", "all", "clean", "adv", "drop ±95 %");
    Line::styled(fit(&head, usize::from(inner.width)), theme.style(Role::Dim)).render(inner, buffer);
    let largest =
        curves.map_or(0.0, |curves| curves.drops.iter().flatten().map(|drop| drop.estimate.abs()).fold(0.0, f64::max));
    list(below(inner, 1), area, buffer, theme, (cursor, taps.len()), |tap| {
        let q = |points: Option<&Vec<TapPoint>>| number(points.and_then(|it| it.get(tap)).and_then(|it| it.q));
        let drop = curves.and_then(|curves| curves.drops.get(tap).copied().flatten());
        let text = format!(
            "{} {:>8} {:>8} {:>8} {:>15} ",
            padded(&taps[tap], name_width),
            q(clean.map(|it| &it.true_labels.taps)),
            q(curves.map(|it| &it.clean.taps)),
            q(curves.map(|it| &it.adversarial.taps)),
            or_dash(drop, with_width)
        );
        let is_selected = tap == cursor;
        let share = drop.map_or(0.0, |drop| if largest > 0.0 { drop.estimate.abs() / largest } else { 0.0 });
        let role = if drop.is_some_and(|drop| drop.estimate < 0.0) { Role::Good } else { Role::Bad };
        let bar = "█".repeat((share * 10.0).round() as usize);
        let text = theme.span(text, Role::row(is_selected));
        vec![Span::raw(pointer(theme, is_selected)), text, theme.span(bar, role)]
    });
}

/// All that is known about one tap, every attack included.
fn one(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, cursor: usize) {
    let name = app.tap_names().get(cursor).map_or("", String::as_str);
    let inner = framed(area, buffer, theme, false, name);
    let Some(report) = &app.report else { return };
    let columns = usize::from(inner.width);
    let mut lines = Vec::new();
    let mut add = |text: String, role: Role| lines.extend(paragraph(&text, theme.style(role), columns));
    if let Some(point) = report.clean.curves.as_ref().and_then(|it| it.true_labels.taps.get(cursor)) {
        add(format!("clean, all images: Q {}{}", number(point.q), bounds(point.interval)), Role::Plain);
        add(deviation(point), Role::Plain);
        if let Some(overlap) = point.label_overlap {
            let null = point.null.map_or(String::new(), |null| format!("; Q of random labels {null:.3}"));
            add(format!("edges inside a class {:.1} %{null}", 100.0 * overlap), Role::Plain);
        }
        if let Some(hubness) = &point.hubness {
            let (largest, zero, twice) = (hubness.largest_in_degree, point.zero_rows, point.duplicates);
            add(format!("largest hub {largest} edges; zero rows {zero}; repeated images {twice}"), Role::Plain);
        }
        if let Some(reason) = &point.reason {
            add(reason.clone(), Role::Warning);
        }
    } else {
        add("The clean curve has not been measured yet.".to_owned(), Role::Dim);
    }
    for (place, attack) in report.attacks.iter().enumerate() {
        let mark = theme.span(format!(" {} ", theme.mark(place + 1)), Role::Attack(place));
        let label = Span::raw(format!("{:<12} ", attack.attack.label));
        let Some(curves) = &attack.curves else {
            lines.push(fit_line(vec![mark, label, theme.span("no curve", Role::Dim)], columns));
            continue;
        };
        let point = curves.adversarial.taps.get(cursor);
        let drop = curves.drops.get(cursor).copied().flatten();
        let q = number(point.and_then(|it| it.q));
        let text = format!("Q {q}{}", bounds(point.and_then(|it| it.interval)));
        lines.push(fit_line(vec![mark, label, Span::raw(text)], columns));
        let drop = format!("{:>16}drop {}", "", or_dash(drop, with_width));
        lines.push(fit_line(vec![Span::raw(drop)], columns));
        let anchored = curves.anchored.as_ref().and_then(|it| it.taps.get(cursor));
        if let Some((retained, captured)) = anchored.and_then(|it| it.retained.zip(it.captured)) {
            let [before, kept, taken] =
                [retained.clean, retained.adversarial, captured.adversarial].map(|it| format!("{:.0} %", 100.0 * it));
            let text = format!("{:>16}among clean: own class {kept} ({before} before), predicted {taken}", "");
            lines.push(fit_line(vec![Span::raw(text)], columns));
        }
    }
    let hidden = lines.len().saturating_sub(usize::from(inner.height));
    stack(inner, buffer, lines);
    if hidden > 0 {
        corner(area, buffer, theme, &format!(" {hidden} more lines "));
    }
}

/// How much Q varies: over repeats where there are several, else from random halves.
fn deviation(point: &TapPoint) -> String {
    match (point.std_dev, point.interval) {
        (Some(std_dev), _) => format!("{} repeats, standard deviation {std_dev:.3}", point.repeats.len()),
        (None, Some(interval)) => format!("one repeat; standard error {:.3}", interval.se),
        (None, None) => "one repeat, no deviation".to_owned(),
    }
}

fn number(value: Option<f64>) -> String {
    numbers::number(value, 3)
}

fn with_width(interval: Interval) -> String {
    format!("{:.3} ± {:.3}", interval.estimate, interval.estimate - interval.low)
}

fn bounds(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |it| format!(" [{:.3}, {:.3}]", it.low, it.high))
}
