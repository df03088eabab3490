//! `advmod report`: a stored run in any format.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::args::{Manner, ReportArgs};
use super::{CliError, Exit, print, stored_study};
use crate::atomic_file::{folder_of, write_file};
use crate::audit::event::SCHEMA_VERSION;
use crate::audit::journal;
use crate::confine::Needs;
use crate::input;
use crate::memory::opening;
use crate::report::{Evidence, FORMATS, Format, table};
use crate::store::{JOURNAL_FILE, REPORT_FILE, RunFolder, pixels};
use crate::text::json;
use crate::verdict::Report;

/// GitHub refuses step summaries above 1 MiB.
const SUMMARY_LIMIT: usize = 1000 * 1024;

pub(super) fn run(args: &ReportArgs, manner: Manner) -> Result<Exit, CliError> {
    // Before the process is confined to what it knows by then.
    let summary = if args.format.as_deref() == Some("github") { summary()? } else { None };
    manner.confine(&reading([&args.run]).writing_files(&args.output))?;
    if let Some(stored) = opening(&args.run, || stored_study::find(&args.run))? {
        return stored.render(args);
    }
    if let Some(flag) = args.text_flags().next() {
        return Err(CliError::Usage(format!(
            "{flag} is for the text of a study, and {} is an audit",
            args.run.display()
        )));
    }
    let format = format(args)?;
    let (report, folder) = read(&args.run)?;
    let evidence = evidence(&report, &folder);
    let bytes = render(format, &report, &evidence)?;
    match &args.output {
        Some(file) => write_file(file, &bytes)?,
        None => print(&String::from_utf8_lossy(&bytes))?,
    }
    if let Some((path, file)) = summary {
        summarize(&report, file).map_err(|error| CliError::at(&path, format!("cannot be written: {error}")))?;
    }
    Ok(Exit::Pass)
}

/// What stored runs are read from: folders, or files with the images beside them.
pub(super) fn reading<'a>(runs: impl IntoIterator<Item = &'a PathBuf>) -> Needs {
    let folders: Vec<PathBuf> =
        (runs.into_iter()).map(|run| if run.is_dir() { run.clone() } else { folder_of(run).to_owned() }).collect();
    Needs::default().reading(&folders)
}

/// What there is in a run's folder of the images that its report shows; those that cannot be read are left out.
pub(super) fn evidence(report: &Report, folder: &Path) -> Evidence {
    Evidence::gather(report, &mut |attack, sample| {
        let found = match attack {
            None => pixels::clean(folder, sample),
            Some(label) => pixels::adversarial(folder, label, sample),
        };
        found.ok().flatten()
    })
}

pub(super) fn render(format: Option<&Format>, report: &Report, evidence: &Evidence) -> Result<Vec<u8>, CliError> {
    let Some(format) = format else { return Ok(table::text(report).into_bytes()) };
    let bytes = (format.render)(report, evidence);
    match bytes.is_empty() {
        true => {
            Err(CliError::Runtime(format!("there is no {} of this run: a path of its plan is not text", format.name)))
        }
        false => Ok(bytes),
    }
}

/// By name, or by the end of the output's name; `None` is the table.
fn format(args: &ReportArgs) -> Result<Option<&'static Format>, CliError> {
    let names = || FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = &args.format {
        let found = FORMATS.iter().find(|format| format.name == *name);
        return match (found, name.as_str()) {
            (None, "text") => Ok(None),
            (None, _) => Err(CliError::Usage(format!("no format is called {name:?}; known: text, {}", names()))),
            (found, _) => Ok(found),
        };
    }
    args.output.as_ref().map_or(Ok(None), |file| by_ending(file))
}

/// The format that a file's name asks for; `None` is the table.
pub(super) fn by_ending(file: &Path) -> Result<Option<&'static Format>, CliError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt")) {
        return Ok(None);
    }
    let found = FORMATS.iter().find(|format| !format.ending.is_empty() && name.ends_with(format.ending));
    let known: Vec<&str> = FORMATS.iter().map(|format| format.ending).filter(|ending| !ending.is_empty()).collect();
    let unknown =
        || CliError::Usage(format!("{}: no format ends like this; known: .txt, {}", file.display(), known.join(", ")));
    found.map(Some).ok_or_else(unknown)
}

/// A report.json, a run.jsonl, or the folder of a run; with the folder that it lies in.
pub(super) fn read(path: &Path) -> Result<(Report, PathBuf), CliError> {
    opening(path, || read_any(path))
}

fn read_any(path: &Path) -> Result<(Report, PathBuf), CliError> {
    let runtime = |problem: String| CliError::at(path, problem);
    let unreadable = |error: std::io::Error| runtime(error.to_string());
    let (folder, file, bytes) = if path.is_dir() {
        let run = RunFolder::open(path).map_err(unreadable)?;
        let mut found = [REPORT_FILE, JOURNAL_FILE]
            .into_iter()
            .filter_map(|name| Some(run.read(name).transpose()?.map(|bytes| (path.to_owned(), run.path(name), bytes))));
        let missing = || runtime("has no report.json and no run.jsonl; give the --out of an audit".to_owned());
        found.next().ok_or_else(missing)?.map_err(unreadable)?
    } else {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        (folder, path.to_owned(), input::read(path).map_err(unreadable)?)
    };
    let text =
        String::from_utf8(bytes).map_err(|_| runtime("is no text; expected a report or a journal".to_owned()))?;
    if file.extension().is_some_and(|extension| extension == "jsonl") {
        let (state, _) = journal::replay(&text);
        let report = Report::new(&state).ok_or_else(|| runtime("the run in it has not begun".to_owned()))?;
        return Ok((report, folder));
    }
    let report: Report = json::read(&text).map_err(|error| runtime(format!("no report of advmod: {error}")))?;
    match report.schema_version {
        SCHEMA_VERSION => Ok((report, folder)),
        other => Err(runtime(format!("has schema version {other}; this advmod reads {SCHEMA_VERSION}"))),
    }
}

/// The file of the job's summary page, where GitHub names one.
fn summary() -> Result<Option<(PathBuf, File)>, CliError> {
    let named = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from);
    named
        .map(|path| match input::open_to_append(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) => {
                Err(CliError::at(&path, format!("GITHUB_STEP_SUMMARY names it, and it cannot be opened: {error}")))
            }
        })
        .transpose()
}

/// Adds the Markdown report to it.
fn summarize(report: &Report, mut file: File) -> std::io::Result<()> {
    let markdown = FORMATS
        .iter()
        .find(|format| format.name == "markdown")
        .map(|format| (format.render)(report, &Evidence::default()));
    let short = || format!("```\n{}```\n", table::text(report)).into_bytes();
    file.write_all(&markdown.filter(|bytes| bytes.len() < SUMMARY_LIMIT).unwrap_or_else(short))
}
