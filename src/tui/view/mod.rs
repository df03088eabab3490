//! Draws the state. One file per pane; none changes anything.

mod attacks;
mod chart;
mod dynamics;
mod facets;
mod form;
mod frame;
mod help;
mod layers;
mod layout;
mod log;
mod numbers;
mod picture;
mod plot;
mod progress;
mod question;
mod raster;
mod results;
mod samples;
mod series;
mod text;

pub(crate) use dynamics::dynamics;
pub(super) use layout::spot;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::app::{App, Phase};
use super::state::Overlay;
use super::state::screen::{Pane, Screen};
use super::theme::{Role, Theme};
use crate::store::picture::Picture;

pub fn render(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    if layout::is_too_small(area) {
        return layout::say_too_small(area, buffer);
    }
    let areas = layout::areas(app, area);
    frame::header(areas.header, buffer, app, theme);
    frame::tabs(areas.tabs, buffer, app, theme);
    frame::footer(areas.footer, buffer, app, theme);
    match app.ui.screen {
        Screen::Overview => {
            for (pane, area) in areas.panes {
                match pane {
                    Pane::Chart if app.audit.clean_curves.is_none() => waiting(area, buffer, app, theme),
                    Pane::Chart => chart::draw(area, buffer, app, theme),
                    Pane::Results => results::draw(area, buffer, app, theme),
                    Pane::Progress => progress::draw(area, buffer, app, theme),
                    Pane::Log => log::draw(area, buffer, app, theme),
                }
            }
        }
        Screen::Samples => samples::draw(areas.body, buffer, app, theme),
        Screen::Layers => layers::draw(areas.body, buffer, app, theme),
        Screen::Attacks => attacks::draw(areas.body, buffer, app, theme),
        Screen::Log => log::draw(areas.body, buffer, app, theme),
    }
    match app.ui.overlay {
        Some(Overlay::Help { down }) => help::draw(area, buffer, theme, down),
        Some(Overlay::Stop { leave }) => question::stop(area, buffer, theme, leave),
        Some(Overlay::CallOff { attack }) => question::call_off(area, buffer, app, theme, attack),
        Some(Overlay::SavePlan) => question::save_plan(area, buffer, app, theme),
        None => (),
    }
    if theme.ascii {
        text::to_ascii(area, buffer);
    }
}

/// The images that the terminal is to draw in pixels of its own, and where; the frame leaves these places empty.
pub(crate) fn pictures(area: Rect, app: &App, theme: Theme) -> Vec<(Rect, Picture)> {
    let is_covered = app.ui.overlay.is_some() || layout::is_too_small(area);
    if !theme.graphics || app.ui.screen != Screen::Samples || is_covered {
        return Vec::new();
    }
    samples::in_pixels(layout::areas(app, area).body, app, theme)
}

/// Where there is no curve yet: what is being done, or why there is none.
fn waiting(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let inner = text::pane(area, buffer, app, theme, Pane::Chart, "Modularity Q by tap");
    let (role, message) = match app.phase() {
        Phase::Loading => (Role::Plain, "Loading model and images.".to_owned()),
        Phase::Running => (Role::Plain, "The clean curve comes first; it is being measured.".to_owned()),
        Phase::Paused => (Role::Warning, "Paused.".to_owned()),
        Phase::Stopping => (Role::Plain, "Stopping.".to_owned()),
        Phase::Failed => {
            let error = app.ui.run.closed.as_ref().and_then(|closed| closed.error.as_deref()).unwrap_or_default();
            (Role::Bad, format!("The audit failed: {error}"))
        }
        Phase::Finished(_) | Phase::Ended => (Role::Plain, "The run ended before a curve was measured.".to_owned()),
    };
    text::in_the_middle(inner, buffer, Line::styled(message, theme.style(role)));
}
