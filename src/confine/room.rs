//! Memory, by the limit of the system on what a process holds for itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::memory::{free, held};

/// What is there if the GPU driver is. Its libraries hold far more address space than they use.
const GPU_DRIVER: &str = "/dev/nvidiactl";

/// Takes from the process all memory beyond these bytes: what asks for more is refused, and says so, before the machine begins to swap. Without
/// a number, three quarters of what is free; on a machine with a GPU nothing is limited then.
///
/// # Errors
/// The system's, in a line.
pub(super) fn confine(bytes: Option<u64>) -> Result<(), String> {
    let free = || free().filter(|_| !std::path::Path::new(GPU_DRIVER).exists()).map(|free| free / 4 * 3);
    let Some(bytes) = bytes.or_else(free) else { return Ok(()) };
    let Some(held) = held() else { return Ok(()) };
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    let limit = held.saturating_add(bytes).min(maximum.unwrap_or(u64::MAX)).min(current.unwrap_or(u64::MAX));
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum })
        .map_err(|error| format!("cannot limit the memory of the process: {error}"))
}
