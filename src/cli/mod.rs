//! The command line: one file per command. Text for people is made here and in `report/`, nowhere else.

pub(crate) mod args;

mod attacks;
mod audit;
mod curve;
mod deliver;
mod diff;
mod doctor;
mod dynamics;
mod export;
mod export_help;
mod flow;
mod inspect;
mod labels;
mod prune;
mod report;
mod shell;
mod similarity;
mod train;
mod tui;

mod error;
mod interrupt;
mod measure;
mod progress;
mod recorder;
mod setup;
mod stored_study;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde::Serialize;

pub(crate) use crate::exit::Exit;
use crate::text::heatmap::Look;
use crate::text::json::pretty;
use crate::text::names::harmless;
use args::{Cli, Command};
pub(crate) use error::CliError;

/// Parses the arguments, runs the command, prints at most one error, and says how the process should end.
pub fn run() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    quiet_workers();
    let manner = cli.manner;
    let result = match &cli.command {
        Command::Audit(args) => audit::run(args, manner),
        Command::Tui(args) => tui::run(args, manner),
        Command::Curve(args) => curve::run(args, manner),
        Command::Similarity(args) => similarity::run(args, manner),
        Command::Labels(args) => labels::run(args, manner),
        Command::Dynamics(args) => dynamics::run(args, manner),
        Command::Prune(args) => prune::run(args, manner),
        Command::Train(args) => train::run(args, manner),
        Command::Inspect(args) => inspect::run(args, manner),
        Command::ExportHelp => export_help::run(),
        Command::Attacks(args) => attacks::run(args),
        Command::Report(args) => report::run(args, manner),
        Command::Diff(args) => diff::run(args, manner),
        Command::Flow(args) => flow::run(args, manner),
        Command::Export(args) => export::run(args, manner),
        Command::Doctor => doctor::run(),
        Command::Schema(args) => shell::schema(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(args),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            say(&format!("error: {}", error.message(cli.verbose)));
            ExitCode::from(error.exit().code())
        }
    }
}

/// Help and version go to stdout and are no failure. A wrong flag is one line, with clap's hint where it has one.
fn usage(error: &clap::Error) -> ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
    if !error.use_stderr() || is_help {
        // A closed pipe is nobody's fault.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Pass }.code());
    }
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let what = lines.split(|line| line.is_empty()).next().unwrap_or_default().join(" ");
    let hints: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("tip: ")).collect();
    let hint = hints.first().map_or(String::new(), |hint| format!("; {hint}"));
    say(&format!("{what}{hint}; see --help"));
    ExitCode::from(Exit::Usage.code())
}

/// A panic on a worker reaches the user as the error that it becomes; Rust's own report of it would only add libtorch's C++ stack.
fn quiet_workers() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some("main") {
            default(info);
        }
    }));
}

/// A line on stderr. That nobody reads it is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(text));
}

/// Whether the user lets us use colours (<https://no-color.org>: any value but an empty one says no).
fn has_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How matrices are shown on stdout: numbers for a file or a program; for people what their terminal can.
fn look() -> Look {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match std::io::stdout().is_terminal() {
        false => Look::Numbers,
        true if is_dumb || !has_colours() => Look::Blocks,
        true => Look::Colours,
    }
}

fn json(value: &impl Serialize) -> String {
    String::from_utf8(pretty(value)).expect("JSON is UTF-8")
}

fn print(text: &str) -> Result<(), CliError> {
    print_coloured(&harmless(text))
}

/// Text with our own colours in it: names from files must be [`harmless`] already. A reader that has gone away (`advmod … | head`) is no
/// error, a full disk is.
fn print_coloured(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Runtime(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
