//! Where everything stands, for the views and for the mouse.

use ratatui::layout::{Constraint, Layout, Position, Rect};

use super::super::app::{App, Overlay, Pane, Screen};
use super::super::attacks::Item;
use super::super::keys::Command;
use super::{attacks, frame, question, results, samples};

/// Smallest terminal that everything fits on.
pub const SMALLEST: (u16, u16) = (60, 16);

/// The parts of the terminal.
#[derive(Clone, Debug)]
pub struct Areas {
    /// First row.
    pub header: Rect,
    /// Second row.
    pub tabs: Rect,
    /// Everything between tabs and footer.
    pub body: Rect,
    /// Last row.
    pub footer: Rect,
    /// Of the Overview, the ones that are shown.
    pub panes: Vec<(Pane, Rect)>,
}

/// What is under the mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The name of a screen.
    Tab(Screen),
    /// A row of the results.
    Attack(usize),
    /// A pane elsewhere.
    Pane(Pane),
    /// A row of the samples.
    Sample(usize),
    /// An entry of the list of attacks.
    Item(Item),
    /// A field of an attack's form.
    Field(usize),
    /// The footer's word for this, or an answer to the question.
    Command(Command),
}

/// What to say instead, where the terminal is too small.
pub fn too_small(area: Rect) -> Option<String> {
    let (columns, rows) = SMALLEST;
    (area.width < columns || area.height < rows)
        .then(|| format!("advmod needs {columns}×{rows}, this is {}×{}", area.width, area.height))
}

/// Divides the terminal.
pub fn areas(app: &App, area: Rect) -> Areas {
    let [header, tabs, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(area);
    let panes = if app.ui.screen == Screen::Overview { panes(app, area, body) } else { Vec::new() };
    Areas { header, tabs, body, footer, panes }
}

/// The Overview's panes: all of them, without the log on smaller terminals, or one.
fn panes(app: &App, area: Rect, body: Rect) -> Vec<(Pane, Rect)> {
    let attacks = app.attacks().max(1) as u16;
    if app.ui.expanded || area.width < 80 || area.height < 24 {
        return match app.ui.pane {
            Pane::Progress if !app.ui.expanded => vec![(Pane::Progress, body)],
            pane => vec![(pane, body)],
        };
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

/// What is under a cell of the terminal.
pub fn at(app: &App, column: u16, row: u16) -> Option<Spot> {
    let area = Rect::new(0, 0, app.ui.size.0, app.ui.size.1);
    if too_small(area).is_some() {
        return None;
    }
    let (areas, cell) = (areas(app, area), Position::new(column, row));
    match app.ui.overlay {
        Some(Overlay::Stop { .. } | Overlay::CallOff { .. }) => {
            return question::answer_at(area, cell).map(Spot::Command);
        }
        Some(Overlay::Help | Overlay::SavePlan) => return None,
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
