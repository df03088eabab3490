//! What a pickle of `torch.save` may name, and what the names mean. Everything else is refused.

use super::Dtype;
use super::error::{FormatError, Source, printable};

/// Functions that make a tensor, and what keeps the reader from making it.
const TENSOR_FUNCTIONS: [(&str, &str, Option<&str>); 14] = [
    ("torch._utils", "_rebuild_tensor", None),
    ("torch._utils", "_rebuild_tensor_v2", None),
    ("torch._utils", "_rebuild_tensor_v3", None),
    ("torch._utils", "_rebuild_parameter", None),
    ("torch._utils", "_rebuild_parameter_with_state", None),
    ("torch._tensor", "_rebuild_from_type_v2", None),
    ("torch._utils", "_rebuild_qtensor", Some("is quantized, which is not read; save it with .dequantize()")),
    ("torch._utils", "_rebuild_sparse_tensor", Some("is sparse, which is not read; save it with .to_dense()")),
    ("torch._utils", "_rebuild_sparse_csr_tensor", Some("is sparse, which is not read; save it with .to_dense()")),
    ("torch._utils", "_rebuild_nested_tensor", Some("is nested, which is not read; save its parts")),
    (
        "torch._utils",
        "_rebuild_meta_tensor_no_storage",
        Some("is on the meta device and has no values; save the loaded model"),
    ),
    (
        "torch._utils",
        "_rebuild_device_tensor_from_numpy",
        Some("is stored as a NumPy array, which is not read; save it with .cpu()"),
    ),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", Some("is on a special device; save it with .cpu()")),
    (
        "torch._utils",
        "_rebuild_wrapper_subclass",
        Some("is of a wrapper class, which is not read; save a plain tensor"),
    ),
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
const DTYPES: [(&str, Option<Dtype>); 26] = [
    ("float32", Some(Dtype::F32)),
    ("float64", Some(Dtype::F64)),
    ("float16", Some(Dtype::F16)),
    ("bfloat16", Some(Dtype::Bf16)),
    ("int64", Some(Dtype::I64)),
    ("int32", Some(Dtype::I32)),
    ("int16", Some(Dtype::I16)),
    ("int8", Some(Dtype::I8)),
    ("uint8", Some(Dtype::U8)),
    ("bool", Some(Dtype::Bool)),
    ("uint16", None),
    ("uint32", None),
    ("uint64", None),
    ("complex32", None),
    ("complex64", None),
    ("complex128", None),
    ("qint8", None),
    ("quint8", None),
    ("qint32", None),
    ("quint4x2", None),
    ("float8_e4m3fn", None),
    ("float8_e4m3fnuz", None),
    ("float8_e5m2", None),
    ("float8_e5m2fnuz", None),
    ("float8_e8m0fnu", None),
    ("float4_e2m1fn_x2", None),
];

/// Plain data around the tensors of a checkpoint: settings, scores, counters.
const PLAIN: [(&str, &str); 42] = [
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("collections", "deque"),
    ("argparse", "Namespace"),
    ("types", "SimpleNamespace"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "WindowsPath"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "bytearray"),
    ("builtins", "complex"),
    ("builtins", "int"),
    ("builtins", "float"),
    ("builtins", "list"),
    ("builtins", "dict"),
    ("__builtin__", "set"),
    ("__builtin__", "int"),
    ("__builtin__", "float"),
    ("__builtin__", "list"),
    ("__builtin__", "dict"),
    ("_codecs", "encode"),
    ("copy_reg", "_reconstructor"),
    ("copyreg", "_reconstructor"),
    ("__builtin__", "object"),
    ("builtins", "object"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "Tensor"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parameter", "Buffer"),
    ("torch.serialization", "_get_layout"),
    ("torch", "per_tensor_affine"),
    ("torch", "per_channel_affine"),
    ("torch", "strided"),
    ("torch", "sparse_coo"),
];

const NUMPY: [&str; 6] = ["scalar", "_reconstruct", "dtype", "ndarray", "_frombuffer", "bool_"];

pub(super) fn is_allowed(module: &str, name: &str) -> bool {
    match module {
        "numpy" | "numpy.core.multiarray" | "numpy._core.multiarray" | "numpy.core.numeric" | "numpy._core.numeric" => {
            NUMPY.contains(&name)
        }
        // `numpy.dtypes.Float64DType` and its sisters are classes of types.
        "numpy.dtypes" => name.ends_with("DType"),
        "torch" if storage_width(name).is_some() || DTYPES.iter().any(|(known, _)| *known == name) => true,
        "torch.storage" if storage_width(name).is_some() => true,
        _ => PLAIN.contains(&(module, name)) || makes_tensor((module, name)),
    }
}

/// The error for a global that is not allowed. A whole module is told from an attack by the attributes that every module has.
pub(super) fn refuse(source: Source<'_>, pickle: &[u8], module: &str, name: &str) -> FormatError {
    const SYSTEM: &str =
        "os posix nt sys subprocess builtins __builtin__ shutil socket runpy importlib pickle ctypes webbrowser";
    let path = source.path();
    let global = printable(&format!("{module}.{name}"));
    let package = module.split('.').next().unwrap_or_default();
    let is_system = SYSTEM.split_whitespace().any(|system| system == package);
    let mentions = |attribute: &[u8]| pickle.windows(attribute.len()).any(|window| window == attribute);
    if !is_system && (mentions(b"_parameters") && mentions(b"_buffers") || module.starts_with("torch.nn.modules")) {
        FormatError::PickledModule { path, class: global }
    } else {
        FormatError::Forbidden { path, global }
    }
}

/// Bytes per element of a class of storages.
pub(super) fn storage_width(class: &str) -> Option<usize> {
    STORAGES.iter().find(|(known, ..)| *known == class).map(|(_, width, _)| *width)
}

/// The type that a class of storages or a dtype stands for, where it is one that is read.
pub(super) fn dtype_named(name: &str) -> Option<Dtype> {
    let storages = STORAGES.iter().map(|&(known, _, dtype)| (known, dtype));
    storages.chain(DTYPES).find(|(known, _)| *known == name)?.1
}

/// Whether a function makes tensors of any kind.
pub(super) fn makes_tensor(global: (&str, &str)) -> bool {
    TENSOR_FUNCTIONS.iter().any(|function| (function.0, function.1) == global)
}

/// Why the tensors that a function makes are not read, for those that are not.
pub(super) fn unread_tensor(global: (&str, &str)) -> Option<&'static str> {
    TENSOR_FUNCTIONS.iter().find(|function| (function.0, function.1) == global)?.2
}
