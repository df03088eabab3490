//! What the measuring commands have in common before there are results: data and device, and work that Ctrl-C stops.

use std::ops::ControlFlow;
use std::path::Path;

use tch::Device;

use super::args::{Manner, ProgressMode, ReadArgs, RunArgs, SourceArgs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, say, setup};
use crate::confine::Needs;
use crate::data::{ClassList, Dataset, Selection};
use crate::model::Model;
use crate::study::each::{Watch, question_normalization};

/// Confines the process to the data and to what else is needed, and opens the data.
pub(super) fn begin(
    run: &RunArgs,
    source: &SourceArgs,
    needs: Needs,
    manner: Manner,
) -> Result<(Device, Box<dyn Dataset>), CliError> {
    let classes = source.classes.as_deref().map(|given| ClassList::open(given, Path::new(given))).transpose()?;
    manner.confine(&needs.reading_data(&source.data))?;
    setup::set_threads(run.threads)?;
    let device = run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    Ok((device, setup::open_data(source, classes)?))
}

/// Work with progress, one task after the other, until the user interrupts it.
pub(super) struct Work {
    interrupt: Interrupt,
    progress: Progress,
    task: Option<(String, u64)>,
}

impl Work {
    pub(super) fn new(mode: ProgressMode, quiet: bool) -> Result<Self, CliError> {
        Ok(Self { interrupt: Interrupt::listen()?, progress: Progress::new(mode, quiet), task: None })
    }

    /// Begins a task whose length is not known yet.
    pub(super) fn begin(&mut self, name: &str) {
        let _ = self.tell(name, 0, 0);
    }

    /// So much of a task is done; whether to go on comes back. Another name or total begins another task.
    pub(super) fn tell(&mut self, name: &str, done: u64, total: u64) -> ControlFlow<()> {
        self.tell_with_note(name, (done, total), None)
    }

    /// As [`tell`](Self::tell), with a note beside the bar.
    pub(super) fn tell_with_note(
        &mut self,
        name: &str,
        (done, total): (u64, u64),
        note: Option<&str>,
    ) -> ControlFlow<()> {
        if self.task.as_ref().is_none_or(|(task, of)| task != name || *of != total) {
            self.progress.begin(name, total);
            self.task = Some((name.to_owned(), total));
        }
        self.progress.update(done, note);
        if done > 0 {
            // A part of the work is worth something only to those who have some of it.
            self.interrupt.begin();
        }
        self.go_on()
    }

    pub(super) fn go_on(&self) -> ControlFlow<()> {
        if self.interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// A warning where a file's model seems to need another normalization than the flags give it.
    pub(super) fn question_normalization(
        &mut self,
        model: &Model,
        data: &dyn Dataset,
        samples: Selection,
        (file, read): (Option<&Path>, &ReadArgs),
    ) -> Option<String> {
        file?;
        question_normalization(model, data, samples, read.normalize.is_some(), self)
    }

    /// Ends the task. Where the user has interrupted it, the exit code of that comes back.
    pub(super) fn finish(&mut self) -> Option<Exit> {
        self.progress.finish();
        self.task = None;
        self.interrupt.asked().then(|| self.interrupt.exit())
    }

    /// The exit code of an interruption.
    pub(super) fn exit(&self) -> Exit {
        self.interrupt.exit()
    }

    /// As [`finish`](Self::finish), where a part of the work is worth nothing.
    pub(super) fn finish_whole(&mut self) -> Option<Exit> {
        self.finish().inspect(|_| say("interrupted: nothing was written"))
    }
}

impl Watch for Work {
    fn tell(&mut self, name: &str, done: u64, total: u64) -> ControlFlow<()> {
        Self::tell(self, name, done, total)
    }

    fn finish(&mut self) -> ControlFlow<()> {
        if Self::finish(self).is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
