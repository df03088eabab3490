//! What every run of an audit leaves behind, whatever front-end shows it: its folder, its table on stdout, its exit code.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::args::OutputFormat;
use super::report::{by_ending, evidence, render};
use super::{CliError, Exit, json, print, say};
use crate::atomic_file::{self, WriteError, write_file};
use crate::audit::engine::EngineError;
use crate::audit::event::{AuditEvent, Outcome};
use crate::audit::run_dir::{FolderError, RunDir};
use crate::audit::state::AuditState;
use crate::report::{self, Format, table};
use crate::store::{CLEAN_FILE, JOURNAL_FILE, RunFolder, adversarial_file};
use crate::verdict::Report;
use crate::verdict::conclusion::Conclusion;

/// Writes the run's folder, where one was asked for.
#[derive(Default)]
pub(super) struct Recorder {
    run_dir: Option<RunDir>,
    /// What was told before an interruption.
    earlier: Vec<AuditEvent>,
    outputs: Vec<Output>,
    disk_error: Option<WriteError>,
}

struct Output {
    file: PathBuf,
    /// Without one, the table.
    format: Option<&'static Format>,
}

#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub(super) format: OutputFormat,
    /// Only errors on stderr.
    pub(super) quiet: bool,
    /// The exit code of a run that was stopped.
    pub(super) stopped: Exit,
    pub(super) exit_zero: bool,
}

impl Recorder {
    /// Of a run whose results go to `out`, if anywhere: in place of an earlier run's only by `force`.
    pub(super) fn new(out: Option<&Path>, force: bool) -> Result<Self, CliError> {
        // Before anything is loaded: a folder that cannot be written must not cost an hour of attacking.
        let run_dir = out.map(|out| RunDir::claim(out, report::file_names().collect(), force)).transpose()?;
        Ok(Self { run_dir, ..Self::default() })
    }

    /// Of a run that goes on in its folder.
    pub(super) fn resumed(run_dir: RunDir, earlier: Vec<AuditEvent>) -> Self {
        Self { run_dir: Some(run_dir), earlier, ..Self::default() }
    }

    /// Also writes the report to these files. What names no format or cannot be written is refused now, not when the work is done.
    pub(super) fn with_outputs(mut self, files: &[PathBuf]) -> Result<Self, CliError> {
        for file in files {
            self.outputs.push(Output { file: file.clone(), format: by_ending(file)? });
            let unwritable = |source| WriteError { path: file.clone(), source };
            atomic_file::check(file).map_err(unwritable).map_err(|error| CliError::Runtime(error.to_string()))?;
        }
        Ok(self)
    }

    /// Where the run writes its images.
    pub(super) fn folder(&self) -> Result<Option<RunFolder>, CliError> {
        let copied = self.run_dir.as_ref().map(|run_dir| run_dir.work().try_clone()).transpose();
        copied.map_err(|error| CliError::Runtime(format!("cannot hold the folder of the run open: {error}")))
    }

    /// Where its results are until it ends.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.run_dir.as_ref().map(RunDir::path)
    }

    /// What the disk said, if it did not take something.
    pub(super) fn error(&self) -> Option<String> {
        self.disk_error.as_ref().map(ToString::to_string)
    }

    /// What a front-end must take in before this event: all that was told before an interruption, once it is known that the run goes on.
    pub(super) fn before(&mut self, event: &AuditEvent) -> Vec<AuditEvent> {
        if matches!(event, AuditEvent::Resumed { .. }) { std::mem::take(&mut self.earlier) } else { Vec::new() }
    }

    /// Journals an event. `Break` when the disk does not take it.
    pub(super) fn take(&mut self, event: &AuditEvent) -> ControlFlow<()> {
        let recorded = self.record(event);
        // Without its journal the run would be lost when it is killed: stop, and keep what there is in memory.
        self.unless_broken(recorded)
    }

    fn record(&mut self, event: &AuditEvent) -> Result<(), WriteError> {
        self.run_dir.as_mut().map_or(Ok(()), |run_dir| run_dir.record(event))
    }

    /// Writes the reports of a run that may go on, so that nothing is lost if it is killed. `Break` when the disk does not take them.
    pub(super) fn write_reports(&mut self, state: &AuditState) -> ControlFlow<()> {
        let written = match (&self.run_dir, Report::new(state)) {
            (Some(run_dir), Some(report)) => write_all(run_dir, &report).map(drop),
            _ => Ok(()),
        };
        self.unless_broken(written)
    }

    fn unless_broken(&mut self, written: Result<(), WriteError>) -> ControlFlow<()> {
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.disk_error.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Writes the reports, prints the table and says how to exit.
    pub(super) fn conclude(
        mut self,
        state: &AuditState,
        finished: Result<(), EngineError>,
        how: Ending,
    ) -> Result<Exit, CliError> {
        // A journal that cannot even begin leaves nothing to tell.
        let nothing_measured = self.disk_error.is_some() && state.predictions.is_none();
        let report = Report::new(state).filter(|_| !nothing_measured);
        let delivered = report.as_ref().map_or(Ok(()), |report| self.deliver(state, report, how));
        if let Some(error) = self.disk_error {
            return Err(error.into());
        }
        delivered?;
        finished?;
        exit(report.as_ref().map_or(Conclusion::Interrupted, Conclusion::of), how)
    }

    fn deliver(&mut self, state: &AuditState, report: &Report, how: Ending) -> Result<(), CliError> {
        let text = match how.format {
            OutputFormat::Text => table::text(report),
            OutputFormat::Json => json(report),
        };
        // Neither a full disk nor a terminal that has gone away may cost the user the other one.
        let printed = print(&text);
        if let Some(run_dir) = &mut self.run_dir {
            let reports = write_all(run_dir, report)?;
            check(run_dir, state, report, reports)?;
            if matches!(state.finished, Some((Outcome::Complete, _))) && self.disk_error.is_none() {
                run_dir.replace_earlier()?;
            }
        }
        let folder = self.path();
        let evidence = folder.as_ref().map(|folder| evidence(report, folder)).unwrap_or_default();
        for Output { file, format } in &self.outputs {
            write_file(file, &render(*format, report, &evidence)?)?;
        }
        printed?;
        if !how.quiet {
            self.say_where();
        }
        Ok(())
    }

    /// Where the results are, and what else is there.
    fn say_where(&self) {
        let Some(run_dir) = &self.run_dir else { return };
        say(&format!("results: {}", run_dir.path().display()));
        if let Some(earlier) = run_dir.earlier() {
            let earlier = earlier.display();
            say(&format!(
                "{earlier} keeps its earlier run until this one is complete: advmod audit --resume {earlier}"
            ));
        }
        run_dir.foreign().iter().for_each(|line| say(line));
    }
}

/// How a run ends that came to this, which is said where no table says it.
fn exit(conclusion: Conclusion, how: Ending) -> Result<Exit, CliError> {
    match conclusion {
        Conclusion::NothingAttacked => say(
            "inconclusive: the model classifies no clean image correctly, so nothing was attacked; check --normalize and --data",
        ),
        Conclusion::ValidityFailed => {
            say(
                "inconclusive: attack validity failed, so images that the attacks left prove nothing; see the checks above",
            );
        }
        Conclusion::BrokeOff => {
            return Err(CliError::Runtime("at least one attack failed; its row says so".to_owned()));
        }
        Conclusion::Interrupted => say("interrupted: what was done is marked incomplete"),
        Conclusion::GateFailed if how.exit_zero => return Ok(Exit::Pass),
        Conclusion::GateFailed | Conclusion::GateUndecided | Conclusion::Passed | Conclusion::NoGates => (),
    }
    Ok(conclusion.exit().map_or(how.stopped, |(exit, _)| exit))
}

/// Writes the report in every format into the run's folder; the names of the files come back.
fn write_all(run_dir: &RunDir, report: &Report) -> Result<Vec<&'static str>, WriteError> {
    let evidence = evidence(report, &run_dir.path());
    report::files(report, &evidence).map(|(name, bytes)| run_dir.write(name, &bytes).map(|()| name)).collect()
}

/// That all is there which a run in this state has written.
fn check(run_dir: &RunDir, state: &AuditState, report: &Report, reports: Vec<&'static str>) -> Result<(), WriteError> {
    let clean = state.predictions.is_some().then_some(CLEAN_FILE);
    let attacks = report.attacks.iter().zip(&state.attacks).filter(|(_, attack)| attack.seconds.is_some());
    let images: Vec<String> = attacks.map(|(attack, _)| adversarial_file(&attack.attack.label)).collect();
    run_dir.check(reports.into_iter().chain([JOURNAL_FILE]).chain(clean).chain(images.iter().map(String::as_str)))
}

impl From<FolderError> for CliError {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Write(error) => error.into(),
            FolderError::Taken(problem) => Self::Usage(problem),
        }
    }
}
