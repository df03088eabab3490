//! `advmod report` on the result of a study.

use std::path::{Path, PathBuf};

use super::args::ReportArgs;
use super::{CliError, Exit, look, print, print_coloured};
use crate::atomic_file::write_file;
use crate::input;
use crate::report::study::{STUDIES, Study, TEXT, TextOptions};
use crate::store::{JOURNAL_FILE, REPORT_FILE};
use crate::study::results::study_of;

pub(super) struct StoredStudy {
    study: &'static Study,
    file: PathBuf,
    json: Vec<u8>,
}

/// The study of a file, or of a folder without an audit's run; none where there is something else, or nothing.
pub(super) fn find(path: &Path) -> Result<Option<StoredStudy>, CliError> {
    let Some(file) = file_of(path)? else { return Ok(None) };
    let Ok(json) = input::read(&file) else { return Ok(None) };
    let Some(name) = study_of(&json) else { return Ok(None) };
    let study = STUDIES.iter().find(|study| study.name == name).ok_or_else(|| {
        let known = STUDIES.iter().map(|study| study.name).collect::<Vec<_>>().join(", ");
        CliError::at(&file, format!("no study of advmod is called {name:?}; known: {known}"))
    })?;
    Ok(Some(StoredStudy { study, file, json }))
}

fn file_of(path: &Path) -> Result<Option<PathBuf>, CliError> {
    if !path.is_dir() {
        let is_journal = path.extension().is_some_and(|extension| extension == "jsonl");
        return Ok((path.is_file() && !is_journal).then(|| path.to_owned()));
    }
    if [REPORT_FILE, JOURNAL_FILE].iter().any(|name| path.join(name).is_file()) {
        return Ok(None);
    }
    let names: Vec<&str> = STUDIES.iter().map(|study| study.file).filter(|name| path.join(name).is_file()).collect();
    match names[..] {
        [] => Ok(None),
        [name] => Ok(Some(path.join(name))),
        _ => Err(CliError::Usage(format!("{} holds {}; give one of these files", path.display(), names.join(", ")))),
    }
}

impl StoredStudy {
    pub(super) fn render(&self, args: &ReportArgs) -> Result<Exit, CliError> {
        let format = self.format(args)?;
        let own = if format == TEXT { self.study.flags } else { &[] };
        if let Some(flag) = args.text_flags().find(|flag| !own.contains(flag)) {
            return Err(CliError::Usage(format!("the {format} of advmod {} does not take {flag}", self.study.name)));
        }
        let usual = TextOptions::new(look());
        let options = TextOptions { details: args.details, top: args.top.unwrap_or(usual.top), ..usual };
        let bytes =
            (self.study.render)(&self.json, format, &options).map_err(|problem| CliError::at(&self.file, problem))?;
        match &args.output {
            Some(file) => write_file(file, &bytes)?,
            None if format == TEXT => print_coloured(&String::from_utf8_lossy(&bytes))?,
            None => print(&String::from_utf8_lossy(&bytes))?,
        }
        Ok(Exit::Pass)
    }

    /// By name, or by the name or the ending of the output.
    fn format(&self, args: &ReportArgs) -> Result<&'static str, CliError> {
        let formats = (self.study.formats)();
        let wanted = match (&args.format, &args.output) {
            (Some(name), _) => name.clone(),
            (None, None) => TEXT.to_owned(),
            (None, Some(output)) => {
                let name = output.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
                let own = formats.iter().find(|[_, file]| name.ends_with(file));
                own.map_or_else(|| name.rsplit('.').next().unwrap_or_default().to_owned(), |own| own[0].to_owned())
            }
        };
        formats.iter().map(|[format, _]| *format).find(|format| *format == wanted).ok_or_else(|| {
            let known: Vec<&str> = formats.iter().map(|[format, _]| *format).collect();
            CliError::Usage(format!("advmod {} has no format {wanted:?}; known: {}", self.study.name, known.join(", ")))
        })
    }
}
