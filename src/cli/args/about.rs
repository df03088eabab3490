//! What advmod says of files, attacks and itself.

use std::path::PathBuf;

use clap::Args;

use super::shared::{ModelArgs, OutputFormat};

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which taps to list: default, relu, all, or patterns.
    #[arg(long, value_name = "PATTERNS", default_value = "default")]
    pub taps: String,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

#[derive(Args, Debug)]
pub(crate) struct AttacksArgs {
    /// The attack to explain.
    pub name: Option<String>,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder for one page per command.
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct SchemaArgs {
    /// The command whose JSON file is meant, such as curve [default: audit, whose file is report.json].
    #[arg(value_name = "STUDY")]
    pub study: Option<String>,
}
