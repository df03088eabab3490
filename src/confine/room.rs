//! Memory, by the limit of the system on what a process holds for itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
    let Some(held) = kilobytes("/proc/self/status", "VmData:") else { return Ok(()) };
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    let limit = held.saturating_add(bytes).min(maximum.unwrap_or(u64::MAX)).min(current.unwrap_or(u64::MAX));
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum })
        .map_err(|error| format!("cannot limit the memory of the process: {error}"))
}

/// Bytes that the machine, or the container, still has.
fn free() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemAvailable:")?;
    let number =
        |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    let container = number("memory.max").zip(number("memory.current")).map(|(most, now)| most.saturating_sub(now));
    Some(container.map_or(machine, |container| container.min(machine)))
}

/// A line of one of the system's tables, in bytes.
fn kilobytes(table: &str, name: &str) -> Option<u64> {
    let table = std::fs::read_to_string(table).ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
}
