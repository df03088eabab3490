//! The command line: one file per command. Text for people is made here and in `report/`, nowhere else.

pub mod args;

mod attacks;
mod audit;
mod curve;
mod inspect;
mod train;

mod error;
mod interrupt;
mod progress;
mod setup;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
pub use error::{CliError, Exit};

/// Parses the arguments, runs the command, prints at most one error, and says how the process should end.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 });
        }
    };
    let result = match &cli.command {
        Command::Audit(args) => audit::run(args, cli.quiet),
        Command::Curve(args) => curve::run(args, cli.quiet),
        Command::Train(args) => train::run(args, cli.quiet),
        Command::Inspect(args) => inspect::run(args),
        Command::Attacks(args) => attacks::run(args),
    };
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            say(&format!("error: {}", error.message(cli.verbose)));
            ExitCode::from(error.exit() as u8)
        }
    }
}

/// A line on stderr.
#[expect(clippy::print_stderr, reason = "the one place that writes messages")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Text on stdout. A reader that has gone away (`advmod … | head`) is no error.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
