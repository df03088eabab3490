//! The curves: Q at each tap, clean and under each attack.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::Span;

use super::super::app::App;
use super::super::state::ChartMode;
use super::super::state::screen::Pane;
use super::super::theme::{Role, Theme};
use super::series::{Series, growing, series};
use super::text::{on_frame, pane};
use super::{facets, numbers, plot};
use crate::text::numbers::number;

pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let title = match app.ui.chart.mode {
        ChartMode::Level => "Modularity Q by tap",
        ChartMode::Difference => "Q under attack − Q of the same images when clean",
        ChartMode::Each => "Q of the attacked images, clean and adversarial",
        ChartMode::Shares => "Classes of the nearest clean images",
    };
    let inner = pane(area, buffer, app, theme, Pane::Chart, title);
    if inner.height < 5 || inner.width < 20 {
        return;
    }
    if app.ui.chart.as_table {
        numbers::draw(inner, buffer, app, theme, &series(app));
        return;
    }
    if app.ui.chart.mode == ChartMode::Each {
        facets::draw(inner, buffer, app, theme);
        return;
    }
    let series = series(app);
    plot::curves(inner, buffer, app, theme, &series, app.ui.chart.mode == ChartMode::Difference);
    // On the frame: every row counts.
    on_frame(inner, buffer, legend(app, theme, &series));
}

/// The curves' names, or at the cursor their values.
fn legend(app: &App, theme: Theme, series: &[Series]) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let tap = app.ui.cursor.and_then(|cursor| Some((cursor, app.tap_names().get(cursor)?)));
    if let Some((_, name)) = tap {
        spans.push(theme.span(format!(" {name}:"), Role::Title));
    }
    for it in series {
        let value = match tap.map(|(cursor, _)| it.value(cursor)) {
            None => it.note.clone(),
            Some(value) => format!(" {}", number(value, 3)),
        };
        let text = format!(" {} {}{value}", theme.mark(it.curve), it.name);
        let style = theme.style(it.role());
        let style = if it.selected { style.add_modifier(Modifier::BOLD) } else { style };
        spans.push(Span::styled(text, style));
    }
    spans.push(Span::raw(" "));
    let attacks = app.report.iter().flat_map(|report| &report.attacks).enumerate();
    let without = attacks.filter(|(place, it)| it.curves.is_none() && growing(app, *place).is_none());
    let without: Vec<&str> = without.map(|(_, it)| it.attack.label.as_str()).collect();
    if !without.is_empty() && tap.is_none() {
        spans.push(theme.span(format!(" no curve: {} ", without.join(", ")), Role::Dim));
    }
    spans
}
