//! What the measuring commands have in common: work that Ctrl-C stops, results that outlive what goes wrong later, and their files.

use std::ops::ControlFlow;
use std::path::Path;

use tch::Device;

use super::args::{ProgressMode, ReadArgs, RunArgs, SourceArgs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, say, setup};
use crate::atomic_file::write_file;
use crate::data::{Dataset, Selection, select};
use crate::measure::doubt::doubt;
use crate::model::Model;

/// Threads, device and data of the flags.
pub(super) fn begin(run: &RunArgs, source: &SourceArgs) -> Result<(Device, Box<dyn Dataset>), CliError> {
    setup::set_threads(run.threads)?;
    let device = run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    Ok((device, setup::open_data(source)?))
}

/// Work with progress, one task after the other, until the user interrupts it.
pub(super) struct Work {
    interrupt: Interrupt,
    progress: Progress,
    /// Name and total.
    task: Option<(String, u64)>,
}

impl Work {
    /// Listens for Ctrl-C from here on.
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
        self.go_on()
    }

    /// Whether the user lets it.
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
        // More images than there are is said by whoever measures them.
        let places = select(&samples, data.info().n).ok()?;
        let mut tell = |done, total| self.tell("normalization", done, total);
        doubt(model, data, &places, read.normalize.is_some(), &mut tell)
    }

    /// Ends the task. Where the user has interrupted it, the exit code of that comes back.
    pub(super) fn finish(&mut self) -> Option<Exit> {
        self.progress.finish();
        self.task = None;
        self.interrupt.asked().then(|| self.interrupt.exit())
    }

    /// As [`finish`](Self::finish), where a part of the work is worth nothing.
    pub(super) fn finish_whole(&mut self) -> Option<Exit> {
        self.finish().inspect(|_| say("interrupted: nothing was written"))
    }
}

/// How far a command came that measures several things, each for itself.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What they are: `checkpoints`.
    pub(super) what: &'static str,
    /// How many were to be measured.
    pub(super) of: usize,
    /// How many were.
    pub(super) done: usize,
    /// What went wrong with others.
    pub(super) faults: Vec<CliError>,
    /// The exit code, where the user has interrupted it.
    pub(super) interrupted: Option<Exit>,
}

impl Outcome {
    /// Of so many things, none of which is measured yet.
    pub(super) fn new(what: &'static str, of: usize) -> Self {
        Self { what, of, done: 0, faults: Vec::new(), interrupted: None }
    }

    /// The folder of `--out`, unless its files could not be written: that is said at the end, for the results go to stdout all the same.
    pub(super) fn written<'a>(&mut self, out: Option<&'a Path>, written: Result<(), CliError>) -> Option<&'a Path> {
        match written {
            Ok(()) => out,
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    /// What is missing, in lines; none where nothing is.
    pub(super) fn missing(&self) -> Vec<String> {
        let faults = self.faults.iter().map(|fault| fault.message(false));
        faults.chain(self.interrupted.map(|_| format!("interrupted: {}", self.state()))).collect()
    }

    fn state(&self) -> String {
        let Self { what, of, done, .. } = self;
        if *done == 0 {
            format!("none of {of} {what} was measured")
        } else {
            format!("{done} of {of} {what} are measured")
        }
    }

    /// Says what went wrong, and what there is nevertheless. Where there is nothing, the first fault is the command's own: it is likely to be
    /// that of all.
    pub(super) fn end(mut self, out: Option<&Path>) -> Result<Exit, CliError> {
        let written = match out {
            _ if self.done == 0 => "; nothing was written".to_owned(),
            Some(folder) => format!(", and written to {}", folder.display()),
            None => String::new(),
        };
        let state = self.state() + &written;
        if self.done == 0 && self.interrupted.is_none() && !self.faults.is_empty() {
            return Err(self.faults.swap_remove(0));
        }
        let last = if self.interrupted.is_some() { None } else { self.faults.pop() };
        for fault in &self.faults {
            say(&format!("error: {}", fault.message(false)));
        }
        match (self.interrupted, last) {
            (Some(exit), _) => {
                say(&format!("interrupted: {state}"));
                Ok(exit)
            }
            (None, Some(fault)) => Err(CliError::Runtime(format!("{}; {state}", fault.message(false)))),
            (None, None) => Ok(Exit::Pass),
        }
    }
}

/// Makes the folder of `--out`, if there is one: before the work, which must not be for nothing.
pub(super) fn make_folder(out: Option<&Path>) -> Result<(), CliError> {
    let Some(folder) = out else { return Ok(()) };
    std::fs::create_dir_all(folder)
        .map_err(|error| CliError::Runtime(format!("cannot make {}: {error}", folder.display())))
}

/// Writes files by their names into a folder that is there, if there is one.
pub(super) fn write_files(folder: Option<&Path>, files: &[(&str, Vec<u8>)]) -> Result<(), CliError> {
    let Some(folder) = folder else { return Ok(()) };
    for (name, bytes) in files {
        write_file(&folder.join(name), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_outlives_what_goes_wrong() {
        let fault = |text: &str| CliError::Usage(text.to_owned());
        let of = |done, faults, interrupted| Outcome { done, faults, interrupted, ..Outcome::new("models", 3) };
        assert!(matches!(of(3, vec![], None).end(None), Ok(Exit::Pass)));
        // Alone it stays what it is; beside results it says that they are there.
        assert_eq!(of(0, vec![fault("a"), fault("b")], None).end(None).unwrap_err().to_string(), "a");
        assert_eq!(of(0, vec![fault("a")], None).end(None).unwrap_err().exit(), Exit::Usage);
        let error = of(2, vec![fault("a")], None).end(Some(Path::new("out"))).unwrap_err();
        assert_eq!(error.to_string(), "a; 2 of 3 models are measured, and written to out");
        assert_eq!(error.exit(), Exit::Runtime);
        let interrupted = of(1, vec![fault("a")], Some(Exit::Interrupted));
        assert_eq!(interrupted.missing(), ["a", "interrupted: 1 of 3 models are measured"]);
        assert_eq!(interrupted.end(None).unwrap(), Exit::Interrupted);
    }
}
