//! Ctrl-C and SIGTERM: the first asks the work to stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::{CliError, Exit};

/// Set when the user or the system wants the process to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Takes over both signals for the rest of the process.
    pub(super) fn listen() -> Result<Self, CliError> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            let register = || {
                // In this order: the shutdown looks at the flag that the signal before has set.
                flag::register_conditional_shutdown(signal, 128 + signal, interrupt.asked.clone())?;
                flag::register(signal, interrupt.asked.clone())?;
                flag::register_usize(signal, interrupt.signal.clone(), signal as usize)
            };
            register().map_err(|error| CliError::Runtime(format!("cannot listen for signals: {error}")))?;
        }
        Ok(interrupt)
    }

    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        self.asked.clone()
    }

    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The exit code of a run that the signal stopped.
    pub(super) fn exit(&self) -> Exit {
        exit_of(self.signal.load(Ordering::Relaxed) as i32)
    }
}

/// The exit code of a run that this signal stopped.
pub(super) fn exit_of(signal: i32) -> Exit {
    if matches!(signal, SIGTERM | SIGHUP) { Exit::Terminated } else { Exit::Interrupted }
}
