//! `advmod completions`, `advmod man` and `advmod schema`: made from the definitions of the flags and of the report.

use clap::CommandFactory as _;

use super::args::{Cli, CompletionsArgs, ManArgs, SchemaArgs};
use super::{CliError, Exit, json, print};
use crate::report::study::STUDIES;
use crate::verdict::schema;

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "advmod", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Pass)
}

/// One page per command into the folder, or the first one on stdout.
pub(super) fn man(args: &ManArgs) -> Result<Exit, CliError> {
    if let Some(folder) = &args.folder {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
        written.map_err(|error| CliError::Runtime(format!("cannot write to {}: {error}", folder.display())))?;
    } else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|error| CliError::Runtime(error.to_string()))?;
        print(&String::from_utf8_lossy(&page))?;
    }
    Ok(Exit::Pass)
}

pub(super) fn schema(args: &SchemaArgs) -> Result<Exit, CliError> {
    let Some(name) = args.study.as_deref().filter(|name| *name != "audit") else {
        print(&schema::text())?;
        return Ok(Exit::Pass);
    };
    let study = STUDIES.iter().find(|study| study.name == name).ok_or_else(|| {
        let known: Vec<&str> = STUDIES.iter().map(|study| study.name).collect();
        CliError::Usage(format!("no study is called {name:?}; known: audit, {}", known.join(", ")))
    })?;
    print(&json(&(study.schema)()))?;
    Ok(Exit::Pass)
}
