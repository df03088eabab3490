//! Calls into the C world: loads libtorch's CUDA backend where the machine has it, and tells malloc to keep memory.
#![expect(unsafe_code, reason = "loading a library runs its initializers, and mallopt is C")]

use std::sync::OnceLock;

/// Loads `libtorch_cuda.so`, which registers the CUDA backend with libtorch: one binary serves machines with and without a GPU. Repeated calls
/// do nothing.
///
/// # Errors
/// The loader's message, when the library or one that it needs is missing.
pub(crate) fn load_cuda() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    let load = || {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: libtorch_cuda's initializers only register kernels; the library stays loaded for the life of the process.
        let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
        // The loader's own words are behind the error, not in it.
        library
            .map(std::mem::forget)
            .map_err(|error| std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string))
    };
    LOADED.get_or_init(load).clone()
}

/// Tells malloc to keep up to 2 GiB of freed memory instead of handing it back.
///
/// Each step of an attack frees its activations and needs as much again in the next; getting them from the system anew costs a tenth of the
/// step in page faults. Call once, before any work.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGEST_MMAP_THRESHOLD: i32 = 32 << 20;
        const TOP_PAD: i32 = 256 << 20;
        // SAFETY: mallopt only sets limits of the allocator, and takes any number.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD);
            libc::mallopt(libc::M_TOP_PAD, TOP_PAD);
        }
    }
}
