//! Ctrl-C and SIGTERM. Before there is anything to keep the first ends the process at once. After that it asks the work to stop, and the second
//! ends the process; so does time, where the work does not stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::{CliError, Exit, say};

/// How long work may take to stop. Docker kills a container 10 s after its SIGTERM.
const PATIENCE: Duration = Duration::from_secs(9);

/// How often it is looked whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// Set when the user or the system wants the process to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Whether a signal ends the process at once.
    at_once: Arc<AtomicBool>,
    /// Whether the work has stopped and its results are being written.
    concluding: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Takes over both signals for the rest of the process.
    pub(super) fn listen() -> Result<Self, CliError> {
        let interrupt = Self::default();
        interrupt.at_once.store(true, Ordering::Relaxed);
        for signal in [SIGINT, SIGTERM] {
            let register = || {
                // In this order: the shutdown looks at the flag that the signal before has set.
                flag::register_conditional_shutdown(signal, 128 + signal, interrupt.at_once.clone())?;
                flag::register(signal, interrupt.at_once.clone())?;
                flag::register_usize(signal, interrupt.signal.clone(), signal as usize)?;
                flag::register(signal, interrupt.asked.clone())
            };
            register().map_err(|error| CliError::Runtime(format!("cannot listen for signals: {error}")))?;
        }
        Ok(interrupt)
    }

    /// From now on there is something to keep: the next signal asks.
    pub(super) fn begin(&self) {
        if !self.at_once.swap(false, Ordering::Relaxed) || self.asked() {
            return;
        }
        let interrupt = self.clone();
        // Without the thread only a second signal ends work that does not stop.
        let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || interrupt.watch());
    }

    /// Ends the process when work that was asked to stop does not.
    fn watch(&self) {
        while !self.asked() {
            std::thread::sleep(TICK);
        }
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            std::thread::sleep(TICK);
        }
        if !self.concluding.load(Ordering::Relaxed) {
            say(&format!("interrupted: the work did not stop within {} s and was given up", PATIENCE.as_secs()));
            end_by(self.signal.load(Ordering::Relaxed) as i32);
        }
    }

    /// The work has stopped: what is left to do is not given up.
    pub(super) fn conclude(&self) {
        self.concluding.store(true, Ordering::Relaxed);
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

/// Waits for a thread that was asked to stop by a signal, but not for ever.
pub(super) fn wait_for<T>(worker: &std::thread::JoinHandle<T>, signal: i32) {
    let since = Instant::now();
    while !worker.is_finished() {
        if since.elapsed() >= PATIENCE {
            end_by(signal);
        }
        std::thread::sleep(TICK);
    }
}

/// Ends the process as the signal would have, without cleaning up.
pub(super) fn end_by(signal: i32) -> ! {
    low_level::exit(128 + signal)
}

/// The exit code of a run that this signal stopped.
pub(super) fn exit_of(signal: i32) -> Exit {
    if matches!(signal, SIGTERM | SIGHUP) { Exit::Terminated } else { Exit::Interrupted }
}
