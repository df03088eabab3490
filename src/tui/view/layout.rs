//! Where everything stands, for the views and for the mouse.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::widgets::{Paragraph, Widget as _, Wrap};

use super::super::app::App;
use super::super::message::Spot;
use super::super::state::Overlay;
use super::super::state::screen::{Pane, Screen};
use super::{attacks, frame, question, results, samples};

/// Smallest terminal that everything fits on.
const SMALLEST: (u16, u16) = (60, 16);

pub(super) struct Areas {
    pub(super) header: Rect,
    pub(super) tabs: Rect,
    pub(super) body: Rect,
    pub(super) footer: Rect,
    /// Of the Overview, the ones that are shown.
    pub(super) panes: Vec<(Pane, Rect)>,
}

pub(super) fn is_too_small(area: Rect) -> bool {
    area.width < SMALLEST.0 || area.height < SMALLEST.1
}

pub(super) fn say_too_small(area: Rect, buffer: &mut Buffer) {
    let (columns, rows) = SMALLEST;
    let notice = format!("advmod needs {columns}×{rows}, this is {}×{}", area.width, area.height);
    let room = Rect { height: area.height.min(2), y: area.y + area.height.saturating_sub(2) / 2, ..area };
    Paragraph::new(notice).wrap(Wrap { trim: true }).centered().render(room, buffer);
}

pub(super) fn areas(app: &App, area: Rect) -> Areas {
    let [header, tabs, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(area);
    let panes = if app.ui.screen == Screen::Overview { panes(app, area, body) } else { Vec::new() };
    Areas { header, tabs, body, footer, panes }
}

/// The Overview's panes: all of them, without the log on smaller terminals, or one.
fn panes(app: &App, area: Rect, body: Rect) -> Vec<(Pane, Rect)> {
    let attacks = app.attacks().max(1) as u16;
    if app.ui.overview.expanded || area.width < 80 || area.height < 24 {
        return vec![(app.ui.overview.pane, body)];
    }
    let results_rows = results::rows(app) as u16 + 3;
    if area.width >= 110 && area.height >= 30 {
        let [top, progress, log] = Layout::vertical([
            Constraint::Min(14),
            Constraint::Length((attacks + 3).min(9)),
            Constraint::Length(if area.height >= 45 { 10 } else { 7 }),
        ])
        .areas(body);
        let wanted = results::width(app) + 2;
        let results_width = wanted.min(area.width - area.width * 2 / 5);
        let [chart, results] = Layout::horizontal([Constraint::Min(40), Constraint::Length(results_width)]).areas(top);
        vec![(Pane::Chart, chart), (Pane::Results, results), (Pane::Progress, progress), (Pane::Log, log)]
    } else {
        let progress_rows = (attacks + 3).min(if area.height >= 30 { 8 } else { 4 });
        let [chart, results, progress] = Layout::vertical([
            Constraint::Min(8),
            Constraint::Length(results_rows.min(body.height.saturating_sub(9 + progress_rows).max(5))),
            Constraint::Length(progress_rows),
        ])
        .areas(body);
        vec![(Pane::Chart, chart), (Pane::Results, results), (Pane::Progress, progress)]
    }
}

pub(in super::super) fn spot(app: &App, column: u16, row: u16) -> Option<Spot> {
    let area = Rect::new(0, 0, app.ui.size.0, app.ui.size.1);
    if is_too_small(area) {
        return None;
    }
    let (areas, cell) = (areas(app, area), Position::new(column, row));
    match app.ui.overlay {
        Some(Overlay::Stop { .. } | Overlay::CallOff { .. }) => {
            return question::answer_at(area, cell).map(Spot::Command);
        }
        Some(Overlay::Help { .. } | Overlay::SavePlan) => return None,
        None => (),
    }
    if areas.footer.contains(cell) {
        return frame::command_at(app, area.width, column).map(Spot::Command);
    }
    if areas.tabs.contains(cell) {
        return frame::tab_at(column - areas.tabs.x).map(Spot::Tab);
    }
    if app.ui.screen == Screen::Attacks {
        return attacks::at(app, areas.body, cell);
    }
    if app.ui.screen == Screen::Samples {
        return samples::sample_at(app, areas.body, column, row).map(Spot::Sample);
    }
    let (pane, area) = areas.panes.into_iter().find(|(_, area)| area.contains(cell))?;
    let attack = (pane == Pane::Results).then(|| results::attack_at(app, area, row)).flatten();
    Some(attack.map_or(Spot::Pane(pane), Spot::Attack))
}
