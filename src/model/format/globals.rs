//! What a pickle of `torch.save` may name, and what the names mean. Everything else is refused.

use super::Dtype;
use super::error::{FormatError, SAVE_WEIGHTS, Source, printable};

/// Functions that make a tensor: modules, and names in them.
const TENSORS: [(&str, &str); 2] = [
    (
        "torch._utils",
        "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state",
    ),
    ("torch._tensor", "_rebuild_from_type_v2"),
];

/// Functions of `torch._utils` that make a tensor which is not read, and why.
const UNREAD_TENSORS: [(&str, &str); 8] = [
    ("_rebuild_qtensor", "is quantized, which is not read; save it with .dequantize()"),
    ("_rebuild_sparse_tensor", "is sparse, which is not read; save it with .to_dense()"),
    ("_rebuild_sparse_csr_tensor", "is sparse, which is not read; save it with .to_dense()"),
    ("_rebuild_nested_tensor", "is nested, which is not read; save its parts"),
    ("_rebuild_meta_tensor_no_storage", "is on the meta device and has no values; save the loaded model"),
    ("_rebuild_device_tensor_from_numpy", "is stored as a NumPy array, which is not read; save it with .cpu()"),
    ("_rebuild_device_tensor_from_cpu_tensor", "is on a special device; save it with .cpu()"),
    ("_rebuild_wrapper_subclass", "is of a wrapper class, which is not read; save a plain tensor"),
];

/// Classes of storages: bytes per element, and the type that tensors over them have, where it is one that is read.
const STORAGES: [(&str, usize, Option<Dtype>); 17] = [
    ("FloatStorage", 4, Some(Dtype::F32)),
    ("DoubleStorage", 8, Some(Dtype::F64)),
    ("HalfStorage", 2, Some(Dtype::F16)),
    ("BFloat16Storage", 2, Some(Dtype::Bf16)),
    ("LongStorage", 8, Some(Dtype::I64)),
    ("IntStorage", 4, Some(Dtype::I32)),
    ("ShortStorage", 2, Some(Dtype::I16)),
    ("CharStorage", 1, Some(Dtype::I8)),
    ("ByteStorage", 1, Some(Dtype::U8)),
    ("BoolStorage", 1, Some(Dtype::Bool)),
    ("UntypedStorage", 1, None),
    ("ComplexFloatStorage", 8, None),
    ("ComplexDoubleStorage", 16, None),
    ("QInt8Storage", 1, None),
    ("QUInt8Storage", 1, None),
    ("QUInt4x2Storage", 1, None),
    ("QInt32Storage", 4, None),
];

/// `torch.float32` and the like, which name the type of an untyped storage's elements.
const DTYPES: [(&str, Dtype); 10] = [
    ("float32", Dtype::F32),
    ("float64", Dtype::F64),
    ("float16", Dtype::F16),
    ("bfloat16", Dtype::Bf16),
    ("int64", Dtype::I64),
    ("int32", Dtype::I32),
    ("int16", Dtype::I16),
    ("int8", Dtype::I8),
    ("uint8", Dtype::U8),
    ("bool", Dtype::Bool),
];

/// Those of elements that are not read.
const UNREAD_DTYPES: &str = "uint16 uint32 uint64 complex32 complex64 complex128 qint8 quint8 qint32 quint4x2 float8_e4m3fn \
     float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2";

/// Plain data around the tensors of a checkpoint (settings, scores, counters): modules, and names in them.
const PLAIN: [(&str, &str); 14] = [
    ("collections", "OrderedDict defaultdict Counter deque"),
    ("argparse", "Namespace"),
    ("types", "SimpleNamespace"),
    ("pathlib", "Path PosixPath WindowsPath PurePosixPath"),
    ("pathlib._local", "PosixPath WindowsPath"),
    ("datetime", "datetime timedelta"),
    ("builtins", "set frozenset bytearray complex int float list dict object"),
    ("__builtin__", "set int float list dict object"),
    ("_codecs", "encode"),
    ("copy_reg", "_reconstructor"),
    ("copyreg", "_reconstructor"),
    ("torch", "Size device Tensor per_tensor_affine per_channel_affine strided sparse_coo"),
    ("torch.nn.parameter", "Parameter Buffer"),
    ("torch.serialization", "_get_layout"),
];

const NUMPY: &str = "scalar _reconstruct dtype ndarray _frombuffer bool_";

fn lists(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|it| it == name)
}

fn table_lists(table: &[(&str, &str)], (module, name): (&str, &str)) -> bool {
    table.iter().any(|(it, names)| *it == module && lists(names, name))
}

pub(super) fn is_allowed(module: &str, name: &str) -> bool {
    match module {
        "numpy" | "numpy.core.multiarray" | "numpy._core.multiarray" | "numpy.core.numeric" | "numpy._core.numeric" => {
            lists(NUMPY, name)
        }
        // `numpy.dtypes.Float64DType` and its sisters are classes of types.
        "numpy.dtypes" => name.ends_with("DType"),
        "torch" if dtype_named(name).is_some() || lists(UNREAD_DTYPES, name) => true,
        "torch" | "torch.storage" if storage_width(name).is_some() => true,
        _ => table_lists(&PLAIN, (module, name)) || makes_tensor((module, name)),
    }
}

/// Packages that act on the machine: nothing that is named after them is a plain value.
const SYSTEM: &str = "os posix nt sys subprocess builtins __builtin__ shutil socket runpy importlib pickle ctypes webbrowser asyncio multiprocessing";

/// Whether a class of some other package is named, such as settings that a training framework keeps beside the network: it stays unread. What
/// is named like a function is refused, and so is all that acts on the machine; neither would ever be called.
pub(super) fn is_foreign_class(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or_default();
    let is_class =
        name.rsplit('.').next().is_some_and(|name| name.starts_with(|first: char| first.is_ascii_uppercase()));
    is_class && !lists(SYSTEM, package) && !module.starts_with("torch.nn") && !module.starts_with("__")
}

/// Whether a pickle is a whole module, which has attributes that every module has.
pub(super) fn is_whole_module(pickle: &[u8]) -> bool {
    let mentions = |attribute: &[u8]| pickle.windows(attribute.len()).any(|window| window == attribute);
    mentions(b"_parameters") && mentions(b"_buffers")
}

/// The error for a global that is not allowed. A whole module is told from an attack by the attributes that every module has.
pub(super) fn refuse(source: Source<'_>, pickle: &[u8], module: &str, name: &str) -> FormatError {
    let global = printable(&format!("{module}.{name}"));
    let package = module.split('.').next().unwrap_or_default();
    let is_system = lists(SYSTEM, package);
    if !is_system && (is_whole_module(pickle) || module.starts_with("torch.nn.modules")) {
        FormatError::Refused {
            path: source.path(),
            what: format!("is a whole pickled module ({global}), which only its own code can read"),
            advice: format!(
                "where its code is, load and export it: model = torch.load(\"OLD\", weights_only=False).eval(); \
                 torch.export.save(torch.export.export(model, (images,), dynamic_shapes=({{0: torch.export.Dim.AUTO}},)), \
                 \"model.pt2\"), or {SAVE_WEIGHTS}"
            ),
        }
    } else {
        let what = format!("its pickle names `{global}`, which no state_dict needs");
        let advice = format!("if you trust where it came from, load it there and {SAVE_WEIGHTS}");
        FormatError::Refused { path: source.path(), what, advice }
    }
}

/// Bytes per element of a class of storages.
pub(super) fn storage_width(class: &str) -> Option<usize> {
    STORAGES.iter().find(|(known, ..)| *known == class).map(|(_, width, _)| *width)
}

/// The type that a class of storages or a dtype stands for, where it is one that is read.
pub(super) fn dtype_named(name: &str) -> Option<Dtype> {
    let storages = STORAGES.iter().filter_map(|&(known, _, dtype)| Some((known, dtype?)));
    storages.chain(DTYPES).find(|(known, _)| *known == name).map(|(_, dtype)| dtype)
}

/// Whether a function makes tensors of any kind.
pub(super) fn makes_tensor(global: (&str, &str)) -> bool {
    table_lists(&TENSORS, global) || unread_tensor(global).is_some()
}

/// Why the tensors that a function makes are not read, for those that are not.
pub(super) fn unread_tensor((module, name): (&str, &str)) -> Option<&'static str> {
    UNREAD_TENSORS.iter().find(|(it, _)| module == "torch._utils" && *it == name).map(|(_, why)| *why)
}
