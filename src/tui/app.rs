//! What there is to show: the audit's state, and where the user is in it.

use super::state::screen::Screen;
use super::state::{LogEntry, Sort, Source, UiState, Wish};
use crate::audit::attack::ResolvedAttack;
use crate::audit::event::{Outcome, Stage};
use crate::audit::plan::AuditPlan;
use crate::audit::state::AuditState;
use crate::report::lines::{Level, LogLine};
use crate::verdict::Report;

/// Everything that a frame is drawn from.
#[derive(Clone, Debug, Default)]
pub struct App {
    pub audit: AuditState,
    /// What the results would be if the run ended now; renewed by [`refresh`](Self::refresh).
    pub report: Option<Report>,
    pub ui: UiState,
    /// The plan as it was written, where the run is this process's.
    pub(crate) plan: Option<AuditPlan>,
    /// Whether `report` is older than `audit`.
    pub stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Loading,
    Running,
    Paused,
    /// Asked to stop, and not yet there.
    Stopping,
    Finished(Outcome),
    Failed,
    /// The journal ends before the run did.
    Ended,
}

impl Phase {
    pub(crate) fn goes_on(self) -> bool {
        matches!(self, Self::Loading) || self.is_at_work()
    }

    /// Whether a run has begun and not ended.
    pub(crate) fn is_at_work(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }
}

impl App {
    pub fn new(source: Source, size: (u16, u16)) -> Self {
        let mut app = Self::default();
        (app.ui.run.source, app.ui.size) = (source, size);
        app
    }

    pub fn refresh(&mut self) {
        if self.stale {
            self.report = Report::new(&self.audit);
            self.stale = false;
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        let closed = self.ui.run.closed.as_ref();
        match (closed, self.audit.finished) {
            (Some(closed), _) if closed.error.is_some() => Phase::Failed,
            (_, Some((outcome, _))) => Phase::Finished(outcome),
            (Some(_), None) => Phase::Ended,
            (None, None) if self.ui.run.wish != Wish::GoOn => Phase::Stopping,
            (None, None) if self.ui.clock.paused.is_some() => Phase::Paused,
            (None, None) if self.audit.start.is_none() => Phase::Loading,
            (None, None) => Phase::Running,
        }
    }

    /// Whether leaving now would break off a run of this process.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_open() && (self.audit.finished.is_none() || self.ui.attacks.pending > 0)
    }

    /// Whether a run of this process still takes orders, be it at work or finished.
    pub(crate) fn is_open(&self) -> bool {
        self.ui.run.source == Source::Live && self.ui.run.closed.is_none()
    }

    /// Whether keys go into a field.
    pub(crate) fn is_editing(&self) -> bool {
        self.ui.screen == Screen::Attacks && self.ui.attacks.edit.is_some() && self.ui.overlay.is_none()
    }

    pub fn attacks(&self) -> usize {
        self.audit.attacks.len()
    }

    pub(crate) fn planned(&self, attack: usize) -> Option<&ResolvedAttack> {
        self.audit.start.as_ref().and_then(|start| start.plan.attacks.get(attack))
    }

    pub fn label(&self, attack: usize) -> &str {
        self.planned(attack).map_or("", |it| it.label.as_str())
    }

    /// The attacks in the order in which they are listed.
    pub(crate) fn listed(&self) -> Vec<usize> {
        let mut listed: Vec<usize> = (0..self.attacks()).collect();
        let result = |attack: usize| self.report.as_ref().and_then(|report| report.attacks.get(attack));
        let key = |attack: &usize| match self.ui.overview.sort {
            Sort::Plan => None,
            Sort::Success => result(*attack).and_then(|it| it.success_rate.value),
            Sort::RetentionDrop => result(*attack).and_then(|it| it.retention_drop).map(|it| it.estimate),
        };
        // What has no value yet comes last; equals stay as planned.
        let value = |attack: &usize| key(attack).unwrap_or(f64::NEG_INFINITY);
        listed.sort_by(|a, b| value(b).total_cmp(&value(a)));
        listed
    }

    /// Names of the taps; none while they are not known.
    pub(crate) fn tap_names(&self) -> &[String] {
        self.audit.start.as_ref().map_or(&[], |start| &start.taps)
    }

    /// How far an attack is, in `[0, 1]`; never falls during a run.
    pub fn share(&self, attack: usize) -> f64 {
        self.ui.run.shares.get(attack).copied().unwrap_or(0.0)
    }

    /// Takes in how far each attack is by what has come.
    pub(super) fn renew_shares(&mut self) {
        for attack in 0..self.ui.run.shares.len() {
            self.ui.run.shares[attack] = self.share(attack).max(self.share_now(attack));
        }
    }

    fn share_now(&self, attack: usize) -> f64 {
        let Some(state) = self.audit.attacks.get(attack) else { return 0.0 };
        if state.seconds.is_some() {
            return 1.0;
        }
        let stage = self.audit.stage.filter(|it| it.stage == (Stage::Attack { attack }) && it.total > 0);
        let by_steps = stage.map_or(0.0, |it| it.done as f64 / it.total as f64);
        let correct = self.audit.clean_accuracy().map_or(0, |(correct, _)| correct);
        let by_samples = if correct > 0 { state.samples.len() as f64 / correct as f64 } else { 0.0 };
        by_steps.max(by_samples).clamp(0.0, 1.0)
    }

    pub(super) fn log(&mut self, level: Level, text: impl Into<String>) {
        let at = (self.ui.run.source == Source::Live).then_some(self.ui.clock.now);
        self.ui.log.push(LogEntry { at, line: LogLine { level, text: text.into() } });
    }

    /// Says something in the last row, until the next key.
    pub(super) fn tell(&mut self, text: impl Into<String>) {
        self.ui.notice = Some(LogLine { level: Level::Info, text: text.into() });
    }

    /// Says something in the log and, until the next key, in the last row.
    pub(super) fn notify(&mut self, level: Level, text: impl Into<String>) {
        let text = text.into();
        self.ui.notice = Some(LogLine { level, text: text.clone() });
        self.log(level, text);
    }
}
