//! `advmod doctor`: what advmod finds on this machine.

use super::{CliError, Exit, print};
use crate::LIBTORCH_VERSION;
use crate::confine::{Needs, confine};
use crate::model::device::DeviceChoice;

pub(super) fn run() -> Result<Exit, CliError> {
    let device = DeviceChoice::Auto.resolve().map_err(CliError::Runtime)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // The only way to know is to try; nothing is opened after it.
    let confined = confine(&Needs::default()).map_err(|error| CliError::Runtime(error.to_string()))?;
    let state =
        |found: Result<&str, String>| found.map_or_else(|why| format!("no: {why}"), |by| format!("yes, by {by}"));
    print(&format!(
        "advmod              {}\n\
         libtorch            {LIBTORCH_VERSION}\n\
         default device      {}\n\
         processor           {cores} core(s)\n\
         confined to files   {}\n\
         no network, no exec {}\n",
        env!("CARGO_PKG_VERSION"),
        DeviceChoice::from(device),
        state(confined.files),
        state(confined.calls),
    ))?;
    Ok(Exit::Pass)
}
