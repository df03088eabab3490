//! Memory: how much of it opening a file may take, and how the process ends where there is none.
//!
//! What parsers make of a file is counted where it is allocated, so that no reader has to promise anything: neither a flood of small objects
//! nor one absurd size takes more than the file's own length explains.
#![expect(unsafe_code, reason = "allocators are unsafe, and mallopt is C")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::exit::Exit;

/// What opening a file may take however small it is, in bytes.
const FIXED: u64 = 48 << 20;

/// And how much for each of its bytes.
const TIMES: u64 = 8;

/// Files of a folder that are asked for their size: more are no data set that is read at once.
const MOST_FILES: usize = 200_000;

/// How deep below a folder its files are looked for.
const DEEPEST: usize = 3;

/// The system's allocator, which counts while a file is opened. Where there is no memory the process ends as after any other error; Rust's own
/// way is to abort.
struct Metered;

#[global_allocator]
static ALLOCATOR: Metered = Metered;

/// Nothing is counted.
const UNLIMITED: i64 = i64::MAX;

thread_local! {
    /// Bytes that this thread may still ask for.
    static ROOM: Cell<i64> = const { Cell::new(UNLIMITED) };
    /// What is being opened.
    static OPENED: RefCell<Option<Allowance>> = const { RefCell::new(None) };
}

/// What gives a terminal back, where the process has taken one over.
static BEFORE_END: OnceLock<fn()> = OnceLock::new();

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promise is the same.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promise is the same.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        // SAFETY: the caller's promise is the same.
        let memory = or_end(unsafe { System.realloc(memory, layout, size) }, size);
        give(layout.size());
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What malloc takes for so many bytes.
fn chunk(size: usize) -> u64 {
    (size as u64).saturating_add(8).max(24).next_multiple_of(16)
}

fn take(size: usize) {
    let room = ROOM.get();
    if room != UNLIMITED {
        let left = room.saturating_sub_unsigned(chunk(size));
        if left < 0 {
            refuse();
        }
        ROOM.set(left);
    }
}

fn give(size: usize) {
    let room = ROOM.get();
    if room != UNLIMITED {
        ROOM.set(room.saturating_add_unsigned(chunk(size)).min(UNLIMITED - 1));
    }
}

/// Ends the process over a file that takes too much.
#[cold]
fn refuse() -> ! {
    // What is said of it takes memory too.
    ROOM.set(UNLIMITED);
    let opened = OPENED.take();
    let (file, limit) = opened.map_or_else(Default::default, |it| (it.file.display().to_string(), it.limit));
    end(&format!(
        "{file}: opening it takes more than {} MiB of memory ({} MiB and {TIMES} times its size); it is damaged, or made to fill the memory",
        limit >> 20,
        FIXED >> 20
    ))
}

fn or_end(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() && size > 0 {
        end(&format_args!(
            "out of memory: {size} bytes are not to be had; give fewer or smaller images, a smaller --batch, or fewer --threads"
        ));
    }
    memory
}

/// Neither this nor what is behind it asks for memory, unless a terminal is given back.
fn end(why: &dyn std::fmt::Display) -> ! {
    if let Some(give_back) = BEFORE_END.get() {
        give_back();
    }
    let _ = writeln!(std::io::stderr(), "error: {why}");
    signal_hook::low_level::exit(i32::from(Exit::Runtime.code()))
}

/// Is called where memory ends, before that is said.
pub(crate) fn before_end(give_back: fn()) {
    let _ = BEFORE_END.set(give_back);
}

/// What a thread may take for a file that it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    file: PathBuf,
    /// In bytes.
    limit: u64,
}

impl Allowance {
    /// For a file, or for the files of a folder, by their size. What cannot be looked at has none.
    pub(crate) fn of(path: &Path) -> Self {
        let size = std::fs::metadata(path).map_or(0, |found| match found.is_dir() {
            true => size_of_folder(path),
            false => found.len(),
        });
        Self::new(path, size)
    }

    /// For a text of so many bytes, under the name that is shown for it.
    pub(crate) fn new(name: impl Into<PathBuf>, bytes: u64) -> Self {
        Self { file: name.into(), limit: FIXED.saturating_add(bytes.saturating_mul(TIMES)) }
    }

    /// That of the calling thread, to hand it on to a thread that works for it.
    pub(crate) fn current() -> Option<Self> {
        OPENED.with_borrow(Clone::clone)
    }

    /// Opens a file within it. Where that takes more, the process ends with an error: an allocator cannot refuse in any other way. What is
    /// opened inside of it, a file of a folder for instance, counts as a part of it. Memory of libtorch and of other threads is not counted.
    pub(crate) fn open<T>(self, open: impl FnOnce() -> T) -> T {
        /// Also after a panic.
        struct Restore {
            room: i64,
            opened: Option<Allowance>,
        }
        impl Drop for Restore {
            fn drop(&mut self) {
                ROOM.set(self.room);
                OPENED.set(self.opened.take());
            }
        }
        if ROOM.get() != UNLIMITED {
            return open();
        }
        let room = i64::try_from(self.limit).unwrap_or(UNLIMITED - 1);
        let _restore = Restore { room: ROOM.get(), opened: OPENED.replace(Some(self)) };
        ROOM.set(room);
        open()
    }
}

/// Opens a file, or a folder of files, within what its size explains; see [`Allowance::open`].
pub(crate) fn opening<T>(path: &Path, open: impl FnOnce() -> T) -> T {
    Allowance::of(path).open(open)
}

fn size_of_folder(folder: &Path) -> u64 {
    let (mut size, mut seen, mut open) = (0_u64, 0, vec![(folder.to_owned(), 1)]);
    while let Some((folder, depth)) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST_FILES {
                return size;
            }
            let Ok(found) = std::fs::metadata(entry.path()) else { continue };
            if found.is_file() {
                size = size.saturating_add(found.len());
            } else if found.is_dir() && depth < DEEPEST {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    size
}

/// Bytes that the process may still take: to its limit, or what the machine has where it has none. Unknown outside of Linux.
pub(crate) fn left() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Data).current;
        limit.zip(held()).map(|(limit, held)| limit.saturating_sub(held)).or_else(free)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Bytes that the process holds for itself.
#[cfg(target_os = "linux")]
pub(crate) fn held() -> Option<u64> {
    kilobytes("/proc/self/status", "VmData:")
}

/// Bytes that the machine, or the container, still has.
#[cfg(target_os = "linux")]
pub(crate) fn free() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemAvailable:")?;
    let number =
        |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    let container = number("memory.max").zip(number("memory.current")).map(|(most, now)| most.saturating_sub(now));
    Some(container.map_or(machine, |container| container.min(machine)))
}

/// A line of one of the system's tables, in bytes.
#[cfg(target_os = "linux")]
fn kilobytes(table: &str, name: &str) -> Option<u64> {
    let table = std::fs::read_to_string(table).ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn left() -> i64 {
        ROOM.get()
    }

    #[test]
    fn what_is_taken_and_given_back_is_counted_while_a_file_is_opened() {
        assert_eq!(left(), UNLIMITED);
        let kept = Allowance { file: "a".into(), limit: 1 << 20 }.open(|| {
            let before = left();
            let mut bytes: Vec<u8> = Vec::with_capacity(100);
            assert_eq!(left(), before - 112);
            bytes.reserve_exact(296);
            assert_eq!(left(), before - 304);
            drop(bytes);
            assert_eq!(left(), before);
            // A file inside of it takes from the same room.
            let inner = Allowance { file: "b".into(), limit: 1 << 21 };
            let before = left();
            inner.open(|| {
                assert_eq!(left(), before);
                assert_eq!(Allowance::current().unwrap().limit, 1 << 20);
            });
            vec![0_u8; 10]
        });
        assert_eq!((left(), kept.len(), Allowance::current()), (UNLIMITED, 10, None));
    }

    #[test]
    fn a_panic_ends_the_count() {
        let panicked = std::panic::catch_unwind(|| Allowance { file: "a".into(), limit: 1 << 34 }.open(|| panic!("x")));
        assert!(panicked.is_err() && left() == UNLIMITED);
    }

    #[test]
    fn a_folder_allows_what_its_files_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("raw")).unwrap();
        std::fs::write(folder.path().join("a"), [0; 5]).unwrap();
        std::fs::write(folder.path().join("raw/b"), [0; 7]).unwrap();
        assert_eq!(Allowance::of(folder.path()).limit, FIXED + 12 * TIMES);
        assert_eq!(Allowance::of(&folder.path().join("a")).limit, FIXED + 5 * TIMES);
        assert_eq!(Allowance::of(Path::new("no/such/file")).limit, FIXED);
    }
}
