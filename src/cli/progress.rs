//! Progress on stderr: a bar with an ETA on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::ProgressMode;
use super::say;

/// How often a line is printed where there is no bar.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    mode: Shown,
    task: Option<Task>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Bar,
    Lines,
    Nothing,
}

struct Task {
    name: String,
    bar: ProgressBar,
    total: u64,
    done: u64,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// What the flags and the terminal ask for.
    pub(super) fn new(mode: ProgressMode, quiet: bool) -> Self {
        let mode = match mode {
            ProgressMode::None => Shown::Nothing,
            _ if quiet => Shown::Nothing,
            ProgressMode::Bar => Shown::Bar,
            ProgressMode::Auto if std::io::stderr().is_terminal() => Shown::Bar,
            ProgressMode::Auto | ProgressMode::Plain => Shown::Lines,
        };
        Self { mode, task: None }
    }

    /// Ends the current task, if any, and begins another of `total` steps (0: unknown).
    pub(super) fn begin(&mut self, name: &str, total: u64) {
        self.finish();
        if self.mode == Shown::Nothing {
            return;
        }
        let target = if self.mode == Shown::Bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = match total {
            0 => "{msg:<12} {spinner} {elapsed}",
            _ => "{msg:<12} {bar:32} {percent:>3} %  {elapsed} ETA {eta}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("a constant template").progress_chars("█▉▊▋▌▍▎▏░"));
        bar.set_message(name.to_owned());
        if self.mode == Shown::Bar {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        let now = Instant::now();
        self.task = Some(Task { name: name.to_owned(), bar, total, done: 0, started: now, last_line: now });
    }

    /// So many steps of the current task are done; `note` is shown beside it.
    pub(super) fn update(&mut self, done: u64, note: Option<&str>) {
        let Some(task) = &mut self.task else { return };
        task.done = done;
        task.bar.set_position(done);
        if let Some(note) = note {
            task.bar.set_message(format!("{} {note}", task.name));
        }
        if self.mode == Shown::Lines && task.last_line.elapsed() >= LINE_INTERVAL && task.total > 0 {
            task.last_line = Instant::now();
            let share = done as f64 / task.total as f64;
            let elapsed = task.started.elapsed().as_secs_f64();
            let eta = if share > 0.0 { format!(", {:.0} s left", elapsed / share - elapsed) } else { String::new() };
            let note = note.map_or(String::new(), |note| format!(" {note}"));
            say(&format!("{}{note}: {:.0} %{eta}", task.name, 100.0 * share));
        }
    }

    /// Prints a line above the bar.
    pub(super) fn line(&self, text: &str) {
        match &self.task {
            Some(task) if self.mode == Shown::Bar => task.bar.suspend(|| say(text)),
            _ => say(text),
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some(task) = self.task.take() {
            task.bar.finish_and_clear();
        }
    }
}
