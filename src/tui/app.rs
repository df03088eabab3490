//! What there is to show: the audit's state, and where the user is in it.

use std::time::Duration;

use ratatui::crossterm::event::{KeyEvent, MouseEvent};

use super::attacks::{AttacksUi, PlanDraft};
use super::samples::{Look, SamplesUi};
use super::theme::Theme;
use crate::audit::event::{Outcome, Stage};
use crate::audit::follow::Feed;
use crate::audit::plan::{AttackPlan, AuditPlan};
use crate::audit::state::AuditState;
use crate::report::lines::{Level, LogLine};
use crate::verdict::Report;

/// Everything that a frame is drawn from.
#[derive(Clone, Debug, Default)]
pub struct App {
    /// The fold over the events.
    pub audit: AuditState,
    /// What the results would be if the run ended now; renewed by [`refresh`](Self::refresh).
    pub report: Option<Report>,
    /// Where the user is.
    pub ui: UiState,
    /// The plan as it was written, where the run is this process's.
    pub plan: Option<AuditPlan>,
    /// Whether `report` is older than `audit`.
    pub stale: bool,
}

/// Where the events come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// A run of this process.
    #[default]
    Live,
    /// A journal that is read once.
    Replay,
    /// A journal that another process writes.
    Attached,
}

/// The part of the state that no event of the audit changes, but for the clocks and the log.
#[derive(Clone, Debug, Default)]
pub struct UiState {
    /// Where the events come from.
    pub source: Source,
    /// Which screen is shown.
    pub screen: Screen,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// Which pane of the Overview has the keys.
    pub pane: Pane,
    /// Whether that pane fills the screen.
    pub expanded: bool,
    /// Which attack is selected, from 0.
    pub selected: usize,
    /// Which tap the cursor is on, if it is shown.
    pub cursor: Option<usize>,
    /// What the chart shows.
    pub chart: ChartMode,
    /// Whether the chart's numbers are shown in its place.
    pub as_table: bool,
    /// In which order the attacks are listed.
    pub sort: Sort,
    /// Colours and markers.
    pub theme: Theme,
    /// Whether the chart's axis is fitted to the curves instead of 0 to 1.
    pub fitted_axis: bool,
    /// Where the user is on the Samples screen.
    pub samples: SamplesUi,
    /// Lines that the log is scrolled back from its end.
    pub log_back: usize,
    /// Lines that the help is scrolled down.
    pub help_down: usize,
    /// What happened, the oldest first.
    pub log: Vec<LogEntry>,
    /// Time since the start of the interface.
    pub now: Duration,
    /// When the stage in work began.
    pub stage_began: Option<Duration>,
    /// The Attacks screen.
    pub attacks: AttacksUi,
    /// Per attack the largest share that was reached, in `[0, 1]`.
    pub shares: Vec<f64>,
    /// Set when nothing more comes: the reason, if it is an error.
    pub closed: Option<Option<String>>,
    /// When it was.
    pub closed_at: Duration,
    /// What the run was asked for.
    pub wish: Wish,
    /// Since when the run is halted, if it is.
    pub paused: Option<Duration>,
    /// Said in place of the keys until the next one is pressed.
    pub notice: Option<LogLine>,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
}

/// What the user wants of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// That it goes on.
    #[default]
    GoOn,
    /// That it stops soon.
    Stop,
    /// That it stops soon, and the interface with it.
    Leave,
}

/// A line of the log with its time, where that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Since the start of the interface; absent in a replay.
    pub at: Option<Duration>,
    /// What.
    pub line: LogLine,
}

/// Log lines that are kept.
pub const LOG_LINES: usize = 2000;

/// The screens, in the order of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    /// Chart, results, progress, log.
    #[default]
    Overview,
    /// Images before and after.
    Samples,
    /// Each tap's numbers.
    Layers,
    /// The run's attacks, and more of them.
    Attacks,
    /// All log lines.
    Log,
}

impl Screen {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Overview, Self::Samples, Self::Layers, Self::Attacks, Self::Log];

    /// Its name.
    pub fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Samples => "Samples",
            Self::Layers => "Layers",
            Self::Attacks => "Attacks",
            Self::Log => "Log",
        }
    }
}

/// The panes of the Overview.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// The curves.
    #[default]
    Chart,
    /// The table.
    Results,
    /// How far the attacks are.
    Progress,
    /// The last log lines.
    Log,
}

impl Pane {
    /// All of them, in the order of Tab.
    pub const ALL: [Self; 4] = [Self::Chart, Self::Results, Self::Progress, Self::Log];
}

/// What lies over a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// All keys.
    Help,
    /// Whether to stop a run, and then leave.
    Stop {
        /// Whether the interface ends with the run.
        leave: bool,
    },
    /// Whether to call a running attack off.
    CallOff {
        /// Its place in the plan.
        attack: usize,
    },
    /// Whether to write the plan file.
    SavePlan,
}

/// What the chart shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChartMode {
    /// Q of every curve.
    #[default]
    Level,
    /// Q under attack − Q of the same images when clean.
    Difference,
    /// One small chart per attack.
    Each,
}

/// In which order the attacks are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// As planned.
    #[default]
    Plan,
    /// The most successful first.
    Success,
    /// The largest peak drop first.
    PeakDrop,
}

/// What the audit is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Model and data are being read.
    Loading,
    /// Measuring or attacking.
    Running,
    /// Halted; goes on when it is told to.
    Paused,
    /// Asked to stop, and not yet there.
    Stopping,
    /// The end was reached.
    Finished(Outcome),
    /// Broke off before its end.
    Failed,
    /// The journal ends before the run did.
    Ended,
}

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Msg {
    /// A key.
    Key(KeyEvent),
    /// The mouse.
    Mouse(MouseEvent),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// From the run.
    Feed(Feed),
    /// A line that a library wrote to stderr.
    Stderr(String),
    /// So long after the start.
    Tick(Duration),
    /// SIGINT, SIGTERM or SIGHUP.
    Terminate,
    /// SIGTSTP.
    Suspend,
    /// Images that were asked for.
    Looked(Box<Look>),
    /// The images were written to these files, or why not.
    PicturesSaved(Result<String, String>),
    /// The results so far were written to this folder, or why not.
    Exported(Result<String, String>),
    /// The attacks that wait, in their order.
    Queue(Vec<usize>),
    /// What the plan file would be, or why there cannot be one.
    PlanDrafted(Result<PlanDraft, String>),
    /// The plan file was written, or why not.
    PlanSaved(Result<String, String>),
}

/// What [`update`](super::update::update) wants to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the run to stop.
    StopRun,
    /// Halt the run, or let it go on.
    Pause(bool),
    /// Leave; nothing runs any more.
    Quit,
    /// Leave at once, whatever runs.
    Kill,
    /// Give the terminal back and stop the process until it is continued.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Write the results so far.
    Export,
    /// Find the images of a sample under an attack.
    Look {
        /// Place in the plan.
        attack: usize,
        /// Place in the list of samples.
        sample: usize,
    },
    /// Write the images that are looked at as PNG files.
    SavePictures,
    /// Put an attack behind the others.
    Add(AttackPlan),
    /// Call off the attack at this place of the plan.
    Cancel(usize),
    /// Let a waiting attack change places with the one before it, or behind it.
    Shift {
        /// Its place in the plan.
        attack: usize,
        /// Whether with the one behind it.
        is_later: bool,
    },
    /// Find out what the plan file would be.
    DraftPlan,
    /// Write it.
    SavePlan,
}

impl App {
    /// Nothing has come yet.
    pub fn new(source: Source, size: (u16, u16)) -> Self {
        Self { ui: UiState { source, size, ..UiState::default() }, ..Self::default() }
    }

    /// Brings the report up to date.
    pub fn refresh(&mut self) {
        if self.stale {
            self.report = Report::new(&self.audit);
            self.stale = false;
        }
    }

    /// What the audit is doing.
    pub fn phase(&self) -> Phase {
        match (&self.ui.closed, self.audit.finished) {
            (Some(Some(_)), _) => Phase::Failed,
            (_, Some((outcome, _))) => Phase::Finished(outcome),
            (Some(None), None) => Phase::Ended,
            (None, None) if self.ui.wish != Wish::GoOn => Phase::Stopping,
            (None, None) if self.ui.paused.is_some() => Phase::Paused,
            (None, None) if self.audit.start.is_none() => Phase::Loading,
            (None, None) => Phase::Running,
        }
    }

    /// Whether leaving now would break off a run of this process.
    pub fn is_busy(&self) -> bool {
        self.is_open() && (self.audit.finished.is_none() || self.ui.attacks.pending > 0)
    }

    /// Whether a run of this process still takes orders, be it at work or through.
    pub fn is_open(&self) -> bool {
        self.ui.source == Source::Live && self.ui.closed.is_none()
    }

    /// Attacks of the plan.
    pub fn attacks(&self) -> usize {
        self.audit.attacks.len()
    }

    /// The attacks in the order in which they are listed.
    pub fn listed(&self) -> Vec<usize> {
        let mut listed: Vec<usize> = (0..self.attacks()).collect();
        let result = |attack: usize| self.report.as_ref().and_then(|report| report.attacks.get(attack));
        let key = |attack: &usize| match self.ui.sort {
            Sort::Plan => None,
            Sort::Success => result(*attack).and_then(|it| it.success_rate.value),
            Sort::PeakDrop => result(*attack).and_then(|it| it.peak_drop).map(|it| it.estimate),
        };
        // What has no value yet comes last; equals stay as planned.
        let value = |attack: &usize| key(attack).unwrap_or(f64::NEG_INFINITY);
        listed.sort_by(|a, b| value(b).total_cmp(&value(a)));
        listed
    }

    /// Taps of the curves.
    pub fn taps(&self) -> usize {
        self.audit.start.as_ref().map_or(0, |start| start.taps.len())
    }

    /// How far an attack is, in `[0, 1]`; never falls during a run.
    pub fn share(&self, attack: usize) -> f64 {
        self.ui.shares.get(attack).copied().unwrap_or(0.0)
    }

    /// How far an attack is by what has come in.
    pub(super) fn share_now(&self, attack: usize) -> f64 {
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

    /// Adds a line to the log.
    pub(super) fn log(&mut self, level: Level, text: impl Into<String>) {
        let at = (self.ui.source == Source::Live).then_some(self.ui.now);
        self.ui.log.push(LogEntry { at, line: LogLine { level, text: text.into() } });
        if self.ui.log.len() > LOG_LINES {
            self.ui.log.remove(0);
        } else if self.ui.log_back > 0 {
            // What is being read stays where it is.
            self.ui.log_back += 1;
        }
    }
}
