//! Where the user is: one part per screen or pane, which changes itself.

pub(crate) mod attacks;
pub(crate) mod line;
pub(crate) mod samples;
pub mod screen;

use std::time::Duration;

use clap::ValueEnum;

use super::steps::moved;
use super::theme::Theme;
use crate::report::lines::LogLine;
use attacks::AttacksUi;
use samples::SamplesUi;
use screen::{Pane, Screen};

/// The part of the state that no event of the audit changes, but for the clocks and the log.
#[derive(Clone, Debug, Default)]
pub struct UiState {
    pub(crate) run: RunUi,
    pub screen: Screen,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) overview: OverviewUi,
    pub(crate) chart: ChartUi,
    /// Which attack is selected, from 0: on the Overview, among the samples and the layers.
    pub selected: usize,
    /// Which tap the cursor is on, if it is shown: in the chart and among the layers.
    pub cursor: Option<usize>,
    pub(crate) samples: SamplesUi,
    pub(crate) attacks: AttacksUi,
    pub(crate) log: LogUi,
    pub(crate) clock: Clock,
    pub theme: Theme,
    /// Said in place of the keys until the next one is pressed.
    pub(crate) notice: Option<LogLine>,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
}

/// The run as this interface sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunUi {
    pub source: Source,
    pub wish: Wish,
    /// Per attack the largest share that was reached, in `[0, 1]`.
    pub shares: Vec<f64>,
    /// Set when nothing more comes.
    pub closed: Option<Closed>,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    #[default]
    GoOn,
    Stop,
    /// That it stops, and the interface with it.
    Leave,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The reason, where it is an error.
    pub error: Option<String>,
    pub at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    /// All keys, so many lines scrolled down.
    Help {
        down: usize,
    },
    /// Whether to stop a run, and then leave.
    Stop {
        leave: bool,
    },
    /// Whether to call a running attack off, by its place in the plan.
    CallOff {
        attack: usize,
    },
    SavePlan,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct OverviewUi {
    pub pane: Pane,
    /// Whether that one fills the screen.
    pub expanded: bool,
    /// In which order the attacks are listed.
    pub sort: Sort,
}

/// In which order the attacks are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    #[default]
    Plan,
    Success,
    RetentionDrop,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ChartUi {
    pub mode: ChartMode,
    /// Whether the numbers are shown in the chart's place.
    pub as_table: bool,
    /// Whether the axis is fitted to the curves instead of 0 to 1.
    pub fitted_axis: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChartMode {
    #[default]
    Level,
    /// Q under attack − Q of the same images when clean.
    Difference,
    /// One small chart per attack.
    Each,
    /// Among which classes of the clean images those of the selected attack lie.
    Shares,
}

const LOG_LINES: usize = 2000;

#[derive(Clone, Debug, Default)]
pub(crate) struct LogUi {
    pub entries: Vec<LogEntry>,
    /// Lines that it is scrolled back from its end.
    pub back: usize,
}

/// A line of the log with its time, where that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    /// Since the start of the interface; absent in a replay.
    pub at: Option<Duration>,
    pub line: LogLine,
}

impl LogUi {
    pub(super) fn push(&mut self, entry: LogEntry) {
        self.entries.push(entry);
        if self.entries.len() > LOG_LINES {
            self.entries.remove(0);
        } else if self.back > 0 {
            // What is being read stays where it is.
            self.back += 1;
        }
    }

    pub(super) fn scroll(&mut self, by: isize) {
        self.back = moved(self.back, by.saturating_neg(), self.entries.len()).unwrap_or(0);
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// Time since the start of the interface.
    pub now: Duration,
    pub stage_began: Option<Duration>,
    /// Since when the run is halted, if it is.
    pub paused: Option<Duration>,
}

impl Clock {
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Halts, or goes on and leaves out the time between; whether it is halted now.
    pub(super) fn toggle_pause(&mut self) -> bool {
        match self.paused.take() {
            None => self.paused = Some(self.now),
            Some(since) => self.stage_began = self.stage_began.map(|began| began + self.now.saturating_sub(since)),
        }
        self.paused.is_some()
    }

    /// Seconds that the stage in work has taken so far.
    pub(super) fn stage_seconds(&self) -> Option<f64> {
        let now = self.paused.unwrap_or(self.now);
        self.stage_began.map(|began| now.saturating_sub(began).as_secs_f64())
    }
}
