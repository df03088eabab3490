//! Calls into the C world: loads libtorch's CUDA backend where the machine has it.
#![expect(unsafe_code, reason = "loading a library runs its initializers")]

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
