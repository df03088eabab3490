//! Calls into the C world: loads libtorch's CUDA backend where the machine has it, tells malloc to keep memory, and ends where there is none.
#![expect(unsafe_code, reason = "loading a library runs its initializers, mallopt is C, and allocators are unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::sync::OnceLock;

/// The system's allocator. Where it has no more memory, the process ends as after any other error; Rust's own way is to abort.
struct OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        or_end(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn or_end(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() && size > 0 {
        // Neither this nor what is behind it asks for memory.
        let _ = writeln!(
            std::io::stderr(),
            "error: out of memory: {size} bytes are not to be had; give fewer or smaller images, a smaller --batch, or fewer --threads"
        );
        signal_hook::low_level::exit(i32::from(crate::exit::Exit::Runtime.code()));
    }
    memory
}

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
