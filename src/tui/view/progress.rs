//! How far each attack is, how fast, and how long it will take.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::super::app::{App, Phase};
use super::super::state::Source;
use super::super::state::screen::Pane;
use super::super::steps::first_shown;
use super::super::theme::{Role, Theme};
use super::text::{below, clock, fit_line, more, padded, pane, row_at, stack};
use crate::audit::event::{Outcome, Stage};
use crate::report::lines::stage_name;

pub(super) fn draw(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme) {
    let inner = pane(area, buffer, app, theme, Pane::Progress, "Progress");
    if inner.height == 0 {
        return;
    }
    now(app, theme, usize::from(inner.width)).render(row_at(inner, 0), buffer);
    let (attacks, room) = (app.attacks(), usize::from(inner.height - 1));
    let at_work = current(app).unwrap_or(app.ui.selected).min(attacks.saturating_sub(1));
    let first = first_shown(at_work, attacks, room);
    let rows = (first..attacks).map(|attack| row(app, theme, attack, usize::from(inner.width)));
    stack(below(inner, 1), buffer, rows);
    more(area, buffer, theme, attacks.saturating_sub(room));
}

/// The attack in work or being measured.
fn current(app: &App) -> Option<usize> {
    match app.audit.stage?.stage {
        Stage::Attack { attack } | Stage::AttackCurve { attack } => Some(attack),
        _ => None,
    }
}

fn now(app: &App, theme: Theme, columns: usize) -> Line<'static> {
    let attacks = app.attacks();
    let through = app.audit.attacks.iter().filter(|it| it.seconds.is_some() || it.error.is_some()).count();
    let text = match (app.phase(), app.audit.stage) {
        (Phase::Loading, _) => "loading model and images".to_owned(),
        (Phase::Running | Phase::Paused | Phase::Stopping, Some(stage)) => {
            let name = match stage.stage {
                Stage::Attack { attack } => {
                    format!("attacking with {}", stage_name(&app.audit, Stage::Attack { attack }))
                }
                other => format!("measuring {}", stage_name(&app.audit, other)),
            };
            // A journal has no progress between its events.
            let share = match (stage.total, app.ui.run.source) {
                (total @ 1.., Source::Live) => format!(" {:.0} %", (100.0 * stage.done as f64 / total as f64).floor()),
                _ => String::new(),
            };
            format!("{name}{share}")
        }
        (Phase::Running | Phase::Paused | Phase::Stopping, None) => "preparing".to_owned(),
        (Phase::Failed, _) => "failed; the log says why".to_owned(),
        (Phase::Ended, _) => "the journal ends here, before its run's end".to_owned(),
        (Phase::Finished(Outcome::Complete), _) => "finished".to_owned(),
        (Phase::Finished(Outcome::Interrupted), _) => "stopped before the end".to_owned(),
        (Phase::Finished(Outcome::Failed), _) => "finished; not everything worked, the log says why".to_owned(),
    };
    let count = if attacks == 0 { String::new() } else { format!("   {through} of {attacks} attacks through") };
    let stopping = match app.phase() {
        Phase::Stopping => "stopping: ",
        Phase::Paused => "paused: ",
        _ => "",
    };
    fit_line(
        vec![theme.span(format!(" {stopping}"), Role::Warning), Span::raw(text), theme.span(count, Role::Dim)],
        columns,
    )
}

fn row(app: &App, theme: Theme, attack: usize, columns: usize) -> Line<'static> {
    const NAME: usize = 14;
    const AFTER: usize = 42;
    let name = padded(app.label(attack), NAME);
    let share = app.share(attack);
    let bar = columns.saturating_sub(NAME + AFTER + 9).clamp(8, 80);
    // Full only when it is: the last cell waits for the end.
    let full = if share >= 1.0 { bar } else { ((share * bar as f64) as usize).min(bar - 1) };
    fit_line(
        vec![
            Span::raw(format!(" {name}")),
            theme.span("█".repeat(full), Role::Attack(attack)),
            theme.span("░".repeat(bar - full), Role::Dim),
            Span::raw(format!(" {:>3.0} % ", (100.0 * share).floor())),
            words(app, theme, attack),
        ],
        columns,
    )
}

fn words(app: &App, theme: Theme, attack: usize) -> Span<'static> {
    let Some(state) = app.audit.attacks.get(attack) else { return Span::raw("") };
    if let Some(error) = &state.error {
        return theme.span(format!("failed: {error}"), Role::Bad);
    }
    if state.cancelled {
        let text = format!("called off after {} images", state.samples.len());
        return theme.span(text, Role::Warning);
    }
    let is_measured = app.audit.stage.is_some_and(|it| it.stage == Stage::AttackCurve { attack });
    if let Some(seconds) = state.seconds {
        let rate = if seconds > 0.0 { state.samples.len() as f64 / seconds } else { 0.0 };
        let what = if state.curves.is_some() {
            "done"
        } else if is_measured {
            "measuring its curves"
        } else {
            "no curve"
        };
        return Span::raw(format!(
            "{what}, {} images in {}, {}",
            state.samples.len(),
            time(seconds),
            images_per_second(rate)
        ));
    }
    let share = app.share(attack);
    let is_at_work = app.audit.stage.is_some_and(|it| it.stage == Stage::Attack { attack });
    match (is_at_work, app.ui.clock.stage_seconds(), app.audit.clean_accuracy()) {
        (true, Some(elapsed), Some((images, _))) if share > 0.0 && elapsed > 0.2 && app.is_open() => {
            let left = elapsed / share - elapsed;
            let rate = share * images as f64 / elapsed;
            let (done, left) = (state.samples.len(), clock(left));
            Span::raw(format!("{done} of {images} images, {}, ETA {left}", images_per_second(rate)))
        }
        (true, ..) => Span::raw(if app.phase() == Phase::Paused { "paused" } else { "running" }),
        _ if app.phase().goes_on() => theme.span("queued", Role::Dim),
        _ if state.samples.is_empty() => theme.span("not run", Role::Dim),
        _ => theme.span("stopped before its end", Role::Warning),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1} s") } else { clock(seconds) }
}

fn images_per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1} images/s") } else { format!("{rate:.0} images/s") }
}
