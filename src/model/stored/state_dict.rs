//! From a pickle that PyTorch wrote to named tensors.

use std::collections::BTreeMap;

use super::{Dtype, Problem, RawTensor};
use crate::pickle::{Id, Node, Pickle};

/// A storage that a pickle refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageRef {
    /// Its name in the file.
    pub key: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Number of its elements, as the pickle claims.
    pub elements: usize,
}

/// A tensor as a view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// What it looks at.
    pub storage: StorageRef,
    /// First element.
    pub offset: usize,
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// Elements between neighbours, per dimension.
    pub strides: Vec<usize>,
}

/// Nested dictionaries under which training scripts keep the weights, in order of preference.
const NESTS: &[&str] =
    &["state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"];

/// The globals that a file of weights may name: what `torch.save` writes for tensors, and the plain values beside them.
pub(super) fn allowed(module: &str, name: &str) -> bool {
    match module {
        "torch" => {
            name.ends_with("Storage")
                || matches!(name, "Size" | "device" | "dtype" | "Tensor")
                || scalar_type(name).is_some()
                || matches!(
                    name,
                    "complex64" | "complex128" | "quint8" | "qint8" | "qint32" | "strided" | "contiguous_format"
                )
        }
        "torch._utils" => name.starts_with("_rebuild_"),
        "torch.storage" => matches!(name, "UntypedStorage" | "TypedStorage" | "_LegacyStorage" | "_load_from_bytes"),
        "torch.nn.parameter" => name == "Parameter",
        "torch.serialization" => name == "_get_layout",
        "collections" => matches!(name, "OrderedDict" | "defaultdict" | "Counter"),
        "argparse" => name == "Namespace",
        "numpy" => matches!(name, "dtype" | "ndarray") || name.starts_with("float") || name.starts_with("int"),
        "numpy.core.multiarray" | "numpy._core.multiarray" => matches!(name, "scalar" | "_reconstruct"),
        "_codecs" => name == "encode",
        // Named by dictionaries with default values and by sets; never called here.
        "__builtin__" | "builtins" => {
            matches!(name, "set" | "dict" | "list" | "int" | "float" | "str" | "bytearray" | "complex")
        }
        _ => false,
    }
}

/// The tensors of a checkpoint, by name.
pub(super) fn views(pickle: &Pickle<'_>) -> Result<Vec<(String, View)>, Problem> {
    let found = find(pickle, pickle.root(), 0)?;
    let mut views = Vec::with_capacity(found.len());
    for (name, id) in found {
        views.push((name.to_owned(), view(pickle, id, name)?));
    }
    for prefix in ["module.", "_orig_mod."] {
        if !views.is_empty() && views.iter().all(|(name, _)| name.starts_with(prefix)) {
            views.iter_mut().for_each(|(name, _)| *name = name[prefix.len()..].to_owned());
        }
    }
    Ok(views)
}

/// Cuts a view out of its storage's bytes.
pub(super) fn materialize(name: &str, view: &View, storage: &[u8]) -> Result<RawTensor, Problem> {
    let fail = |what: &str| Problem::Tensor { name: name.to_owned(), what: what.to_owned() };
    let size = view.storage.dtype.size();
    let available = storage.len() / size;
    let count = view.shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side));
    let count = count.ok_or_else(|| fail("its shape is absurd"))?;
    let empty = RawTensor { dtype: view.storage.dtype, shape: view.shape.clone(), bytes: Vec::new() };
    if count == 0 {
        return Ok(empty);
    }
    let reach = view
        .shape
        .iter()
        .zip(&view.strides)
        .try_fold(view.offset, |reach, (&side, &stride)| reach.checked_add(stride.checked_mul(side - 1)?));
    match reach {
        // A view may repeat elements, but one much larger than its storage is an attack on memory.
        Some(reach) if reach < available && (count <= available || count <= 1 << 24) => (),
        _ => return Err(fail("it reaches beyond its storage; the file is damaged or truncated")),
    }
    let mut bytes = Vec::with_capacity(count * size);
    let mut place = vec![0; view.shape.len()];
    for _ in 0..count {
        let at: usize =
            view.offset + place.iter().zip(&view.strides).map(|(place, stride)| place * stride).sum::<usize>();
        bytes.extend_from_slice(&storage[at * size..(at + 1) * size]);
        for dimension in (0..place.len()).rev() {
            place[dimension] += 1;
            if place[dimension] < view.shape[dimension] {
                break;
            }
            place[dimension] = 0;
        }
    }
    Ok(RawTensor { bytes, ..empty })
}

/// The dictionary of tensors: this one, or one nested in it.
fn find<'p>(pickle: &'p Pickle<'_>, id: Id, depth: usize) -> Result<Vec<(&'p str, Id)>, Problem> {
    let Some(entries) = pickle.entries(id) else {
        if let Node::Call { callable, .. } = pickle.node(id)
            && let Some((module, _)) = pickle.global(*callable)
        {
            return Err(match depth {
                0 if module == "torch._utils" => Problem::Foreign("a single tensor"),
                _ => Problem::Foreign("a pickled object"),
            });
        }
        return Err(Problem::NoTensors);
    };
    let tensors = entries.iter().filter_map(|&(key, value)| Some((pickle.text(key)?, value)));
    let tensors: Vec<(&str, Id)> = tensors.filter(|&(_, value)| is_tensor(pickle, value)).collect();
    if !tensors.is_empty() || depth == 3 {
        return Ok(tensors);
    }
    let nested = |name: &str| pickle.get(id, name).filter(|&value| pickle.entries(value).is_some());
    let named = NESTS.iter().filter_map(|name| nested(name));
    let others = entries.iter().map(|&(_, value)| value).filter(|&value| pickle.entries(value).is_some());
    for inner in named.chain(others) {
        let found = find(pickle, inner, depth + 1)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// The name of a `torch._utils` rebuild function, if the value is a call of one.
fn rebuilder<'p>(pickle: &'p Pickle<'_>, id: Id) -> Option<(&'p str, &'p [Id])> {
    match pickle.node(id) {
        Node::Call { callable, arguments, .. } => match pickle.global(*callable)? {
            ("torch._utils", name) => Some((name, pickle.sequence(*arguments)?)),
            _ => None,
        },
        _ => None,
    }
}

fn is_tensor(pickle: &Pickle<'_>, id: Id) -> bool {
    rebuilder(pickle, id).is_some()
}

fn view(pickle: &Pickle<'_>, id: Id, name: &str) -> Result<View, Problem> {
    let fail = |what: String| Problem::Tensor { name: name.to_owned(), what };
    let (function, arguments) = rebuilder(pickle, id).ok_or_else(|| fail("it is no tensor".to_owned()))?;
    match (function, arguments) {
        ("_rebuild_parameter" | "_rebuild_parameter_with_state", [data, ..]) => {
            // One level: a parameter of a parameter is not something that PyTorch writes.
            match rebuilder(pickle, *data) {
                Some((inner, _)) if !inner.starts_with("_rebuild_parameter") => view(pickle, *data, name),
                _ => Err(fail("its parameter holds no tensor; the file is damaged".to_owned())),
            }
        }
        ("_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3", [storage, offset, shape, strides, ..]) => {
            let mut storage =
                storage_ref(pickle, *storage).ok_or_else(|| fail("its storage is not understood".to_owned()))?;
            // Version 3 names the type beside an untyped storage.
            if function == "_rebuild_tensor_v3"
                && let Some((_, dtype)) = arguments.get(6).and_then(|&dtype| pickle.global(dtype))
            {
                let known = scalar_type(dtype).ok_or_else(|| fail(format!("its type {dtype} is not supported")))?;
                storage.elements /= known.size();
                storage.dtype = known;
            }
            let sizes = |id: Id| -> Option<Vec<usize>> {
                pickle.sequence(id)?.iter().map(|&size| usize::try_from(pickle.int(size)?).ok()).collect()
            };
            let offset = pickle.int(*offset).and_then(|offset| usize::try_from(offset).ok());
            match (offset, sizes(*shape), sizes(*strides)) {
                (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() && shape.len() <= 16 => {
                    Ok(View { storage, offset, shape, strides })
                }
                _ => Err(fail("its shape is not understood; the file is damaged".to_owned())),
            }
        }
        (other, _) => {
            Err(fail(format!("{other} makes a kind of tensor that is not supported; save plain dense weights")))
        }
    }
}

/// `('storage', torch.FloatStorage, key, location, elements, …)`; where it lived (`cuda:0`) does not matter.
fn storage_ref(pickle: &Pickle<'_>, id: Id) -> Option<StorageRef> {
    let Node::Persistent(id) = pickle.node(id) else { return None };
    let [tag, class, key, _, elements, ..] = pickle.sequence(*id)? else { return None };
    (pickle.text(*tag)? == "storage").then_some(())?;
    let (_, class) = pickle.global(*class)?;
    Some(StorageRef {
        key: pickle.text(*key)?.to_owned(),
        dtype: storage_type(class)?,
        elements: usize::try_from(pickle.int(*elements)?).ok()?,
    })
}

fn storage_type(class: &str) -> Option<Dtype> {
    match class {
        "DoubleStorage" => Some(Dtype::F64),
        "FloatStorage" => Some(Dtype::F32),
        "HalfStorage" => Some(Dtype::F16),
        "BFloat16Storage" => Some(Dtype::Bf16),
        "LongStorage" => Some(Dtype::I64),
        "IntStorage" => Some(Dtype::I32),
        "ShortStorage" => Some(Dtype::I16),
        "CharStorage" => Some(Dtype::I8),
        "ByteStorage" | "UntypedStorage" => Some(Dtype::U8),
        "BoolStorage" => Some(Dtype::Bool),
        _ => None,
    }
}

fn scalar_type(name: &str) -> Option<Dtype> {
    match name {
        "float64" | "double" => Some(Dtype::F64),
        "float32" | "float" => Some(Dtype::F32),
        "float16" | "half" => Some(Dtype::F16),
        "bfloat16" => Some(Dtype::Bf16),
        "int64" | "long" => Some(Dtype::I64),
        "int32" | "int" => Some(Dtype::I32),
        "int16" | "short" => Some(Dtype::I16),
        "int8" => Some(Dtype::I8),
        "uint8" => Some(Dtype::U8),
        "bool" => Some(Dtype::Bool),
        _ => None,
    }
}

/// Materializes every view from storages by key.
pub(super) fn tensors(
    views: Vec<(String, View)>,
    storages: &BTreeMap<String, &[u8]>,
) -> Result<Vec<(String, RawTensor)>, Problem> {
    let mut tensors = Vec::with_capacity(views.len());
    for (name, view) in views {
        let storage = storages.get(&view.storage.key).ok_or_else(|| Problem::Tensor {
            name: name.clone(),
            what: format!("its storage {} is missing; the file is damaged", view.storage.key),
        })?;
        let tensor = materialize(&name, &view, storage)?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}
