//! The Rust side of `shim.cpp`: owns its objects and turns its messages into errors.
#![expect(unsafe_code, reason = "calls the C++ shim")]

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

use crate::model::VisitTap;
use crate::model::blocks::Call;

#[repr(C)]
struct RawScript {
    _private: [u8; 0],
}

#[repr(C)]
struct RawCall {
    path: *const c_char,
    class: *const c_char,
    parent: i64,
    mark: i64,
    weighted: bool,
    works: bool,
}

type Visit = unsafe extern "C" fn(data: *mut c_void, mark: i64, tensor: *mut C_tensor) -> i32;

unsafe extern "C" {
    fn advmod_script_load(bytes: *const c_char, length: usize, gpu: i32, out: *mut *mut RawScript) -> *mut c_char;
    fn advmod_script_free(script: *mut RawScript);
    fn advmod_script_free_text(text: *mut c_char);
    fn advmod_script_class(script: *const RawScript) -> *const c_char;
    fn advmod_script_parameters(script: *const RawScript) -> i64;
    fn advmod_script_calls(script: *const RawScript) -> usize;
    fn advmod_script_call(script: *const RawScript, index: usize) -> RawCall;
    fn advmod_script_run(
        script: *const RawScript,
        pixels: *const C_tensor,
        visit: Option<Visit>,
        data: *mut c_void,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

type Visitor<'v> = &'v mut VisitTap<'v>;

/// A loaded module. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Handle(Arc<Owned>);

#[derive(Debug)]
struct Owned(*mut RawScript);

// SAFETY: after loading, the shim only reads its script (every function but `free` takes it as const), libtorch's interpreter keeps what a
// run changes in the run, and reference counts inside are atomic.
unsafe impl Send for Owned {}
// SAFETY: as for Send.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `advmod_script_load`, and this is its only owner.
        unsafe { advmod_script_free(self.0) }
    }
}

impl Handle {
    pub(super) fn load(bytes: &[u8], device: Device) -> Result<Self, String> {
        let gpu = match device {
            Device::Cuda(index) => index as i32,
            _ => -1,
        };
        let mut script = std::ptr::null_mut();
        // SAFETY: the bytes outlive the call, which keeps no pointer to them: libtorch copies what it reads.
        let message = unsafe { advmod_script_load(bytes.as_ptr().cast(), bytes.len(), gpu, &raw mut script) };
        match taken(message) {
            None => Ok(Self(Arc::new(Owned(script)))),
            Some(message) => Err(reason(&message)),
        }
    }

    pub(super) fn class(&self) -> String {
        // SAFETY: the script is alive, and the text lives as long.
        unsafe { CStr::from_ptr(advmod_script_class(self.0.0)).to_string_lossy().into_owned() }
    }

    pub(super) fn parameters(&self) -> u64 {
        // SAFETY: the script is alive.
        unsafe { advmod_script_parameters(self.0.0) as u64 }
    }

    /// The calls of modules inside it, in the order in which they begin; only those that hold a layer themselves are `weighted`.
    pub(super) fn calls(&self) -> Vec<Call> {
        // SAFETY: the script is alive.
        let count = unsafe { advmod_script_calls(self.0.0) };
        let call = |index: usize| {
            // SAFETY: the index is below the count, and the texts live as long as the script.
            let (path, class, raw) = unsafe {
                let raw = advmod_script_call(self.0.0, index);
                (CStr::from_ptr(raw.path), CStr::from_ptr(raw.class), raw)
            };
            Call {
                path: path.to_string_lossy().into_owned(),
                class: super::class_name(&class.to_string_lossy()),
                parent: usize::try_from(raw.parent).ok(),
                output: usize::try_from(raw.mark).ok(),
                weighted: raw.weighted,
                works: raw.works,
            }
        };
        (0..count).map(call).collect()
    }

    /// Logits of pixels. `visit` sees the marks' tensors as they are made; without it, marks cost nothing.
    pub(super) fn run(&self, pixels: &Tensor, visit: Option<Visitor<'_>>) -> Result<Tensor, TchError> {
        let mut visiting = visit.map(|visit| Visiting { visit, stopped: None });
        let data = visiting.as_mut().map_or(std::ptr::null_mut(), |it| std::ptr::from_mut(it).cast());
        let callback = visiting.is_some().then_some(show as Visit);
        let mut logits = std::ptr::null_mut();
        // SAFETY: script, pixels and `visiting` outlive the call; the callback gets `data` back on this thread.
        let message = unsafe { advmod_script_run(self.0.0, pixels.as_ptr(), callback, data, &raw mut logits) };
        let message = taken(message);
        match visiting.and_then(|it| it.stopped) {
            Some(Stop::Error(error)) => return Err(error),
            Some(Stop::Panic(panic)) => resume_unwind(panic),
            None => (),
        }
        match message {
            // SAFETY: without a message the shim has made a tensor, which is ours.
            None => Ok(unsafe { Tensor::from_ptr(logits) }),
            Some(message) => Err(TchError::Torch(reason(&message))),
        }
    }
}

struct Visiting<'v> {
    visit: Visitor<'v>,
    stopped: Option<Stop>,
}

enum Stop {
    Error(TchError),
    Panic(Box<dyn std::any::Any + Send>),
}

/// Called by the shim. No panic may leave it.
unsafe extern "C" fn show(data: *mut c_void, mark: i64, tensor: *mut C_tensor) -> i32 {
    // SAFETY: `data` is the `Visiting` of the run that is going on, and the tensor is ours.
    let (visiting, tensor) = unsafe { (&mut *data.cast::<Visiting<'_>>(), Tensor::from_ptr(tensor)) };
    let shown = catch_unwind(AssertUnwindSafe(|| (visiting.visit)(mark as usize, &tensor)));
    visiting.stopped = match shown {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => Some(Stop::Error(error)),
        Err(panic) => Some(Stop::Panic(panic)),
    };
    1
}

/// The text of a message, which is freed.
fn taken(message: *mut c_char) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the shim's messages end with 0 and belong to the caller.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        advmod_script_free_text(message);
        Some(text)
    }
}

/// What libtorch says in the end, below the traceback of the script.
fn reason(message: &str) -> String {
    let end = message.rsplit("RuntimeError: ").next().unwrap_or(message);
    end.lines().next().unwrap_or_default().trim().to_owned()
}
