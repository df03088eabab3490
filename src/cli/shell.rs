//! `advmod completions`, `advmod man` and `advmod schema`: made from the definitions of the flags and of the report.

use clap::CommandFactory as _;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::{CliError, Exit, print};
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

pub(super) fn schema() -> Result<Exit, CliError> {
    print(&schema::text())?;
    Ok(Exit::Pass)
}
