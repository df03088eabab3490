//! The Rust side of `boxed.cpp`: hands arguments over and takes tensors back.
#![expect(unsafe_code, reason = "calls the C++ shim")]

use std::ffi::{CStr, CString, c_char, c_void};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

#[repr(i32)]
#[derive(Clone, Copy)]
enum Tag {
    Default,
    None,
    Tensor,
    Tensors,
    Integer,
    Integers,
    Number,
    Numbers,
    Flag,
    Text,
}

#[repr(C)]
struct RawValue {
    tag: Tag,
    integer: i64,
    number: f64,
    text: *const c_char,
    integers: *const i64,
    numbers: *const f64,
    tensors: *const *const C_tensor,
    length: usize,
}

type Take = unsafe extern "C" fn(data: *mut c_void, tensor: *mut C_tensor);
#[cfg(test)]
type TakeText = unsafe extern "C" fn(data: *mut c_void, text: *const c_char, bits: i32);

unsafe extern "C" {
    fn advmod_aten_free_text(text: *mut c_char);
    fn advmod_aten_call(
        name: *const c_char,
        overload: *const c_char,
        schema: *const c_char,
        values: *const RawValue,
        count: usize,
        meta: bool,
        take: Take,
        data: *mut c_void,
    ) -> *mut c_char;
    #[cfg(test)]
    fn advmod_aten_schemas(take: TakeText, data: *mut c_void) -> *mut c_char;
}

/// An argument of an operator.
#[derive(Debug)]
pub(super) enum Value<'t> {
    /// What the schema says.
    Default,
    None,
    Tensor(&'t Tensor),
    Tensors(Vec<Option<&'t Tensor>>),
    Integer(i64),
    Integers(Vec<i64>),
    Number(f64),
    Numbers(Vec<f64>),
    Flag(bool),
    Text(String),
}

/// Calls the operator with this schema; `meta` where only sizes and types of the results are wanted.
pub(super) fn call(
    (name, overload, schema): (&str, &str, &str),
    values: &[Value<'_>],
    meta: bool,
) -> Result<Vec<Tensor>, TchError> {
    let text = |text: &str| CString::new(text).map_err(|_| TchError::Torch("has a text with a zero byte".to_owned()));
    let (name, overload, schema) = (text(name)?, text(overload)?, text(schema)?);
    // What the raw values point to.
    let mut texts = Vec::new();
    let mut pointers: Vec<Vec<*const C_tensor>> = Vec::new();
    let mut flags: Vec<Vec<i64>> = Vec::new();
    for value in values {
        texts.push(match value {
            Value::Text(it) => text(it)?,
            _ => CString::default(),
        });
        pointers.push(match value {
            Value::Tensor(tensor) => vec![tensor.as_ptr()],
            Value::Tensors(all) => all.iter().map(|it| it.map_or(std::ptr::null(), Tensor::as_ptr)).collect(),
            _ => Vec::new(),
        });
        flags.push(match value {
            Value::Integers(all) => all.clone(),
            _ => Vec::new(),
        });
    }
    let raw = |(at, value): (usize, &Value<'_>)| {
        let (tag, length) = match value {
            Value::Default => (Tag::Default, 0),
            Value::None => (Tag::None, 0),
            Value::Tensor(_) => (Tag::Tensor, 1),
            Value::Tensors(all) => (Tag::Tensors, all.len()),
            Value::Integer(_) => (Tag::Integer, 0),
            Value::Integers(all) => (Tag::Integers, all.len()),
            Value::Number(_) => (Tag::Number, 0),
            Value::Numbers(all) => (Tag::Numbers, all.len()),
            Value::Flag(_) => (Tag::Flag, 0),
            Value::Text(_) => (Tag::Text, 0),
        };
        RawValue {
            tag,
            integer: match value {
                Value::Integer(number) => *number,
                Value::Flag(flag) => i64::from(*flag),
                _ => 0,
            },
            number: if let Value::Number(number) = value { *number } else { 0.0 },
            text: texts[at].as_ptr(),
            integers: flags[at].as_ptr(),
            numbers: if let Value::Numbers(all) = value { all.as_ptr() } else { std::ptr::null() },
            tensors: pointers[at].as_ptr(),
            length,
        }
    };
    let raw: Vec<RawValue> = values.iter().enumerate().map(raw).collect();
    let mut made: Vec<Tensor> = Vec::new();
    let data = std::ptr::from_mut(&mut made).cast();
    // SAFETY: all that the pointers lead to outlives the call, which keeps none of them; `take` gets `data` back on this thread.
    let message = unsafe {
        let texts = (name.as_ptr(), overload.as_ptr(), schema.as_ptr());
        advmod_aten_call(texts.0, texts.1, texts.2, raw.as_ptr(), raw.len(), meta, take, data)
    };
    match taken(message) {
        None => Ok(made),
        Some(message) => Err(TchError::Torch(message)),
    }
}

unsafe extern "C" fn take(data: *mut c_void, tensor: *mut C_tensor) {
    // SAFETY: `data` is the list of the call that is going on, and the tensor is ours.
    unsafe { (*data.cast::<Vec<Tensor>>()).push(Tensor::from_ptr(tensor)) }
}

/// The text of a message, which is freed.
fn taken(message: *mut c_char) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the shim's messages end with 0 and belong to the caller.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        advmod_aten_free_text(message);
        Some(text)
    }
}

/// Every operator that libtorch has registered: its schema, and bits that tell whether it writes to its arguments (the first one) and which
/// tags it has, in the order of `at::Tag`.
#[cfg(test)]
pub(super) fn registered() -> Vec<(String, u32)> {
    unsafe extern "C" fn note(data: *mut c_void, text: *const c_char, bits: i32) {
        // SAFETY: `data` is the list below, and the text ends with 0.
        unsafe {
            let text = CStr::from_ptr(text).to_string_lossy().into_owned();
            (*data.cast::<Vec<(String, u32)>>()).push((text, bits as u32));
        }
    }
    let mut all = Vec::new();
    // SAFETY: the list outlives the call, which keeps no pointer to it.
    let message = unsafe { advmod_aten_schemas(note, std::ptr::from_mut(&mut all).cast()) };
    assert_eq!(taken(message), None);
    all.sort();
    all
}
