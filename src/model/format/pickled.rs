//! What `torch.save` puts into a pickle: which globals it may name, and what its tensors and storages are.

use super::Dtype;
use super::error::{FormatError, Source, printable};
use super::globals::{
    dtype_named, is_allowed, is_foreign_class, is_whole_module, makes_tensor, refuse, storage_width, unread_tensor,
};
use super::strided::Layout;
use crate::pickle::{Id, Node, Pickle, PickleError};

/// Where the raw bytes of a file's storages are.
pub(super) trait Storages {
    /// The bytes of the storage with this key.
    fn storage(&mut self, key: &str) -> Result<&[u8], FormatError>;
}

/// The longest pickle that is read; those of state dicts have some hundred kilobytes. A value takes some 80 bytes in memory.
const LONGEST: usize = 32 << 20;

const MOST_DIMENSIONS: usize = 64;

/// Reads the pickle at the start of `bytes`, which are all or a part of the file's.
pub(super) fn load<'a>(source: Source<'_>, bytes: &'a [u8]) -> Result<Pickle<'a>, FormatError> {
    let whole = is_whole_module(&bytes[..bytes.len().min(LONGEST)]);
    load_with(source, bytes, &|module, name| is_allowed(module, name) || !whole && is_foreign_class(module, name))
}

/// As [`load`], with another list of what may be named.
pub(super) fn load_with<'a>(
    source: Source<'_>,
    bytes: &'a [u8],
    is_allowed: &dyn Fn(&str, &str) -> bool,
) -> Result<Pickle<'a>, FormatError> {
    let input = &bytes[..bytes.len().min(LONGEST)];
    Pickle::read(input, is_allowed).map_err(|error| match error {
        PickleError::Truncated(_) if input.len() < bytes.len() => {
            source.damaged(format!("its pickle has more than {LONGEST} bytes, which no state_dict has"))
        }
        PickleError::Truncated(_) => source.truncated("its pickle stops in the middle"),
        PickleError::Refused { module, name, .. } => refuse(source, input, &module, &name),
        PickleError::Malformed { what, at } => source.damaged(format!("its pickle has {what} at byte {at}")),
    })
}

/// A tensor as a view of a storage.
#[derive(Debug)]
pub(super) struct View {
    pub(super) dtype: Dtype,
    pub(super) key: String,
    /// Bytes that the storage has at least.
    pub(super) storage_size: usize,
    pub(super) layout: Layout,
    pub(super) requires_grad: bool,
}

/// Whether a value is a tensor of any kind.
pub(super) fn is_tensor(pickle: &Pickle<'_>, id: Id) -> bool {
    call(pickle, id).is_some_and(|(function, _)| makes_tensor(function))
}

/// Whether a value is a tensor with dimensions; scalars are often mere scores.
pub(super) fn has_dimensions(pickle: &Pickle<'_>, id: Id) -> bool {
    is_tensor(pickle, id) && view(pickle, id).map_or(true, |view| !view.layout.shape.is_empty())
}

/// Reads a tensor's description.
///
/// # Errors
/// A sentence that says why it cannot be read.
pub(super) fn view(pickle: &Pickle<'_>, tensor: Id) -> Result<View, String> {
    let damaged = || "its description is damaged; save it again".to_owned();
    let (mut function, mut arguments) = call(pickle, tensor).ok_or_else(damaged)?;
    // Parameters and subclasses wrap a tensor; a list may hold itself, so there is an end to it.
    for _ in 0..8 {
        if let Some(reason) = unread_tensor(function) {
            return Err(reason.to_owned());
        }
        let inner = match function.1 {
            "_rebuild_from_type_v2" => {
                let target = arguments.first().and_then(|&id| pickle.global(id));
                target.zip(arguments.get(2).and_then(|&id| pickle.sequence(id)))
            }
            "_rebuild_parameter" | "_rebuild_parameter_with_state" => {
                arguments.first().and_then(|&id| call(pickle, id))
            }
            _ => return plain_view(pickle, function.1, arguments).ok_or_else(damaged)?,
        };
        (function, arguments) = inner.ok_or_else(damaged)?;
    }
    Err(damaged())
}

/// `_rebuild_tensor*(storage, offset, size, stride, …)`. `None` if it is no such call.
fn plain_view(pickle: &Pickle<'_>, function: &str, arguments: &[Id]) -> Option<Result<View, String>> {
    let [storage, offset, size, stride, ..] = *arguments else { return None };
    let storage = StorageId::of(pickle, storage)?;
    let dtype = match function {
        "_rebuild_tensor_v3" => pickle.global(*arguments.get(6)?)?.1,
        "_rebuild_tensor" | "_rebuild_tensor_v2" => storage.class,
        _ => return None,
    };
    let Some(element) = dtype_named(dtype) else {
        return Some(Err(format!("elements of type {} are not read; save it as float32", printable(dtype))));
    };
    let offset = usize::try_from(pickle.int(offset)?).ok()?.checked_add(storage.part_offset)?;
    let layout = Layout { offset, shape: sizes(pickle, size)?, stride: sizes(pickle, stride)? };
    let storage_size = storage.elements.checked_mul(storage.width()?)?;
    let requires_grad = arguments.get(4).is_some_and(|&id| matches!(pickle.node(id), Node::Bool(true)));
    Some(Ok(View { dtype: element, key: storage.key.to_owned(), storage_size, layout, requires_grad }))
}

/// What a call calls, and its arguments.
fn call<'p>(pickle: &'p Pickle<'_>, id: Id) -> Option<((&'p str, &'p str), &'p [Id])> {
    match pickle.node(id) {
        Node::Call { callable, arguments, .. } => Some((pickle.global(*callable)?, pickle.sequence(*arguments)?)),
        _ => None,
    }
}

/// A tuple of sizes, also as `torch.Size((…))`.
fn sizes(pickle: &Pickle<'_>, id: Id) -> Option<Vec<usize>> {
    let members = match call(pickle, id) {
        Some((("torch", "Size"), arguments)) => pickle.sequence(*arguments.first()?)?,
        _ => pickle.sequence(id)?,
    };
    if members.len() > MOST_DIMENSIONS {
        return None;
    }
    members.iter().map(|&member| usize::try_from(pickle.int(member)?).ok()).collect()
}

/// The persistent id of a storage: `('storage', class, key, location, elements)`, in the older stream with one more item,
/// `None` or `(key of the part, offset, elements of the part)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StorageId<'p> {
    pub(super) class: &'p str,
    pub(super) key: &'p str,
    pub(super) elements: usize,
    pub(super) part_offset: usize,
}

impl<'p> StorageId<'p> {
    /// Reads a persistent reference. `None` if it is none, or none to a storage.
    pub(super) fn of(pickle: &'p Pickle<'_>, reference: Id) -> Option<Self> {
        let Node::Persistent(id) = pickle.node(reference) else { return None };
        let &[kind, class, key, _location, elements, ref part @ ..] = pickle.sequence(*id)? else { return None };
        if pickle.text(kind)? != "storage" {
            return None;
        }
        let part_offset = match part.first().and_then(|&part| pickle.sequence(part)) {
            Some(part) => usize::try_from(pickle.int(*part.get(1)?)?).ok()?,
            None => 0,
        };
        let elements = usize::try_from(pickle.int(elements)?).ok()?;
        Some(Self { class: pickle.global(class)?.1, key: pickle.text(key)?, elements, part_offset })
    }

    /// Bytes per element. `None` for elements that are not known.
    pub(super) fn width(&self) -> Option<usize> {
        storage_width(self.class)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{Py, call, dict, floats, ints, ordered, pickle, storage, text, torch_zip, vector};
    use super::super::{RawTensor, read_weights_from};
    use super::*;

    /// What a file with this one tensor over the storage 1, 2, 3 is read as.
    fn read(tensor: Py) -> Result<RawTensor, FormatError> {
        let bytes = torch_zip(&dict(vec![("w", tensor)]), &[("0", floats(&[1.0, 2.0, 3.0]))]);
        read_weights_from(&bytes, Path::new("model.pt")).map(|file| file.tensors[0].1.clone())
    }

    fn reason(tensor: Py) -> String {
        read(tensor).unwrap_err().to_string()
    }

    #[test]
    fn parameters_and_subclasses_are_the_tensor_inside() {
        let hooks = || call("collections", "OrderedDict", vec![]);
        let parameter = call("torch._utils", "_rebuild_parameter", vec![vector("0", 3), Py::Bool(true), hooks()]);
        let rest = vec![parameter.clone(), Py::Bool(true), hooks(), dict(vec![("note", Py::Int(1))])];
        let with_state = call("torch._utils", "_rebuild_parameter_with_state", rest);
        let Py::Call(function, arguments) = vector("0", 3) else { unreachable!() };
        let parts = vec![*function, Py::Global("torch.nn.parameter", "Parameter"), Py::Tuple(arguments), dict(vec![])];
        let subclass = call("torch._tensor", "_rebuild_from_type_v2", parts);
        for tensor in [parameter, with_state, subclass] {
            assert_eq!(read(tensor).unwrap().to_f32(), [1.0, 2.0, 3.0]);
        }
    }

    #[test]
    fn an_untyped_storage_takes_the_type_that_is_named_beside_it() {
        let build = |dtype| {
            let id = vec![
                text("storage"),
                Py::Global("torch.storage", "UntypedStorage"),
                text("0"),
                text("cpu"),
                Py::Int(12),
            ];
            let [requires_grad, hooks] = [Py::Bool(false), call("collections", "OrderedDict", vec![])];
            let args = vec![
                Py::Persistent(id),
                Py::Int(1),
                ints(&[2]),
                ints(&[1]),
                requires_grad,
                hooks,
                Py::Global("torch", dtype),
            ];
            call("torch._utils", "_rebuild_tensor_v3", args)
        };
        assert_eq!(read(build("float32")).unwrap().to_f32(), [2.0, 3.0]);
        assert!(reason(build("uint16")).contains("elements of type uint16 are not read"));
    }

    #[test]
    fn sizes_may_be_a_torch_size() {
        let size = call("torch", "Size", vec![ints(&[2])]);
        let args = vec![Py::Persistent(storage("FloatStorage", "0", 3)), Py::Int(0), size, ints(&[2])];
        assert_eq!(read(call("torch._utils", "_rebuild_tensor", args)).unwrap().to_f32(), [1.0, 3.0]);
    }

    #[test]
    fn tensors_that_are_not_plain_say_how_to_make_them_so() {
        for (function, advice) in [
            ("_rebuild_qtensor", ".dequantize()"),
            ("_rebuild_sparse_tensor", ".to_dense()"),
            ("_rebuild_meta_tensor_no_storage", "has no values"),
        ] {
            let message = reason(call("torch._utils", function, vec![]));
            assert!(message.starts_with("model.pt: tensor `w`: ") && message.contains(advice), "{message}");
        }
        let args = vec![Py::Persistent(storage("ComplexFloatStorage", "0", 1)), Py::Int(0), ints(&[1]), ints(&[1])];
        assert!(reason(call("torch._utils", "_rebuild_tensor", args)).contains("ComplexFloatStorage are not read"));
    }

    #[test]
    fn absurd_sizes_allocate_nothing() {
        let huge = 1_000_000_000_000_000;
        assert!(reason(vector("0", huge)).contains("has 12 of 4000000000000000 bytes"));
        assert!(reason(vector("0", -1)).contains("damaged"));
        let view = |shape: &[i64], stride: &[i64]| {
            super::super::testing::view(storage("FloatStorage", "0", 3), 0, shape, stride)
        };
        assert!(reason(view(&[huge], &[0])).contains("share memory"));
        assert!(reason(view(&[2], &[i64::MAX])).contains("outside its storage"));
        assert!(reason(view(&[1; 65], &[1; 65])).contains("damaged"));
        assert!(reason(view(&[huge, huge], &[1, 1])).contains("too large"));
    }

    #[test]
    fn a_tensor_that_holds_itself_is_damaged() {
        // c = _rebuild_parameter(l) with l = [c]: the list is filled after the call was made.
        let bytes = b"\x80\x02ctorch._utils\n_rebuild_parameter\n]q\x00Rq\x010h\x00h\x01a0h\x01.";
        let pickle = load(Source { path: Path::new("m"), bytes }, bytes).unwrap();
        assert!(view(&pickle, pickle.root()).unwrap_err().contains("damaged"));
    }

    #[test]
    fn an_attack_is_refused_by_name_and_a_module_says_how_to_save_it() {
        let load = |object: &Py| read_weights_from(&torch_zip(object, &[]), Path::new("model.pt")).unwrap_err();
        let attack = load(&call("os", "system", vec![text("touch /tmp/owned")]));
        let named = "its pickle names `os.system`, which no state_dict needs; nothing of it was run; if you trust";
        assert!(attack.to_string().contains(named), "{attack}");
        let state = dict(vec![("_parameters", ordered(vec![])), ("_buffers", Py::None)]);
        for (module, name) in [("__main__", "Net"), ("torchvision.models.resnet", "ResNet")] {
            let error = load(&Py::Tuple(vec![Py::Global(module, name), state.clone()]));
            assert!(error.to_string().contains(&format!("is a whole pickled module ({module}.{name})")), "{error}");
            assert!(error.to_string().contains("torch.save(model.state_dict(), \"model.pt\")"));
        }
        let disguised = load(&Py::Tuple(vec![Py::Global("posix", "system"), state]));
        assert!(disguised.to_string().contains("its pickle names `posix.system`"), "{disguised}");
    }

    #[test]
    fn only_listed_globals_are_read() {
        for (module, name) in [
            ("torch", "load"),
            ("torch.hub", "load"),
            ("numpy", "load"),
            ("builtins", "eval"),
            ("torch.storage", "_load_from_bytes"),
        ] {
            let bytes = pickle(&Py::Global(module, name));
            assert!(load(Source { path: Path::new("m"), bytes: &bytes }, &bytes).is_err(), "{module}.{name}");
        }
    }
}
