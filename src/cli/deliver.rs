//! What the measuring commands do with their results, which outlive what goes wrong later: write them, print them, and say what is missing.

use std::path::Path;

use super::args::OutputFormat;
use super::measure::Work;
use super::{CliError, Exit, look, print, print_coloured, say};
use crate::atomic_file::write_file;
use crate::report::study::{StudyReport, TextOptions, files};
use crate::study::each::Each;
use crate::study::results::to_json;

pub(super) struct Delivery<'a> {
    /// Folder of `--out`.
    pub(super) out: Option<&'a Path>,
    pub(super) format: OutputFormat,
    pub(super) text: TextOptions,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(out: Option<&'a Path>, format: OutputFormat) -> Self {
        Self { out, format, text: TextOptions::new(look()) }
    }

    pub(super) fn write<R: StudyReport>(&self, result: &R) -> Result<(), CliError> {
        let Some(folder) = self.out else { return Ok(()) };
        files(result).try_for_each(|(name, bytes)| write_file(&folder.join(name), &bytes).map_err(CliError::from))
    }

    pub(super) fn print<R: StudyReport>(&self, result: &R) -> Result<(), CliError> {
        match self.format {
            OutputFormat::Json => print(&String::from_utf8_lossy(&to_json(result))),
            OutputFormat::Text => print_coloured(&result.text(&self.text)),
        }
    }

    /// Writes and prints a result that is whole. That it could not be written is said at the end, for it goes to stdout all the same.
    pub(super) fn whole<R: StudyReport>(&self, result: &R) -> Result<Exit, CliError> {
        let written = self.write(result);
        self.print(result)?;
        written.map(|()| Exit::Pass)
    }
}

pub(super) fn warn<'a>(warnings: impl IntoIterator<Item = &'a String>, quiet: bool) {
    for warning in warnings.into_iter().filter(|_| !quiet) {
        say(&format!("warning: {warning}"));
    }
}

/// How far a command came that measures several things, each for itself.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What they are: `checkpoints`.
    pub(super) what: &'static str,
    /// How many were to be measured.
    pub(super) of: usize,
    pub(super) done: usize,
    pub(super) faults: Vec<CliError>,
    /// The exit code, where the user has interrupted it.
    pub(super) interrupted: Option<Exit>,
}

impl Outcome {
    /// Of so many things, none of which is measured yet.
    pub(super) fn new(what: &'static str, of: usize) -> Self {
        Self { what, of, done: 0, faults: Vec::new(), interrupted: None }
    }

    /// As far as a study came.
    pub(super) fn after(self, each: Each, work: &Work) -> Self {
        Self {
            done: each.done,
            faults: each.faults.into_iter().map(CliError::from).collect(),
            interrupted: each.is_stopped.then(|| work.exit()),
            ..self
        }
    }

    /// Writes and prints what there is, and says what is missing.
    pub(super) fn deliver<R: StudyReport>(mut self, result: &R, delivery: &Delivery<'_>) -> Result<Exit, CliError> {
        let out = self.written(delivery.out, delivery.write(result));
        delivery.print(result)?;
        self.end(out)
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

/// Makes the folder of `--out`, if there is one: before the work, which must not be for nothing. One that is new and stays empty goes again with
/// what comes back.
pub(super) fn make_folder(out: Option<&Path>) -> Result<Made<'_>, CliError> {
    let Some(folder) = out else { return Ok(Made(None)) };
    let is_new = !folder.exists();
    std::fs::create_dir_all(folder)
        .map_err(|error| CliError::Runtime(format!("cannot make {}: {error}", folder.display())))?;
    Ok(Made(is_new.then_some(folder)))
}

#[must_use]
pub(super) struct Made<'a>(Option<&'a Path>);

impl Made<'_> {
    /// It stays, whatever comes into it.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // Where something is in it, this does nothing.
        let _ = self.0.map(std::fs::remove_dir);
    }
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
