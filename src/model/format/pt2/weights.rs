//! Weights and constants of a `torch.export` archive: raw files, and a JSON file that says how each is to be read.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::{FormatError, Source, printable};
use super::super::strided::Layout;
use super::super::torch_zip::Archive;
use super::super::{Dtype, RawTensor};
use super::schema::{PayloadConfig, SymInt, TensorMeta};

/// Reads the named tensors of a kind, `weights` or `constants`, with their strides in memory. Others are not looked at.
pub(super) fn read(
    source: Source<'_>,
    archive: &mut Archive<'_>,
    kind: &str,
    wanted: &BTreeSet<&str>,
    room: &mut u64,
) -> Result<BTreeMap<String, (RawTensor, Vec<usize>)>, FormatError> {
    let mut tensors = BTreeMap::new();
    let config_name = format!("data/{kind}/model_{kind}_config.json");
    if wanted.is_empty() || !archive.has(&config_name) {
        return Ok(tensors);
    }
    let config: PayloadConfig = source.json(&config_name, &archive.entry(&config_name)?)?;
    for (name, payload) in config.config {
        if !wanted.contains(name.as_str()) {
            continue;
        }
        let Some(meta) = payload.tensor_meta.filter(|_| !payload.use_pickle) else {
            return Err(source.tensor(&name, "is stored as a pickle, which is not read; export the model again"));
        };
        if payload.path_name.contains(['/', '\\']) || payload.path_name.starts_with('.') {
            let shown = printable(&payload.path_name);
            return Err(source.tensor(&name, format!("is said to lie in `{shown}`, which is no plain file name")));
        }
        let (dtype, layout) = layout_of(&meta).map_err(|reason| source.tensor(&name, reason))?;
        let bytes = archive.entry(&format!("data/{kind}/{}", payload.path_name))?;
        let size = layout.count().map_err(|reason| source.tensor(&name, reason))?.saturating_mul(dtype.width());
        // Several names may share one file.
        *room = room.checked_sub(size as u64).ok_or_else(|| source.oversized())?;
        let elements = layout.gather(&bytes, dtype.width()).map_err(|reason| source.tensor(&name, reason))?;
        tensors.insert(name, (RawTensor { dtype, shape: layout.shape, bytes: elements }, layout.stride));
    }
    Ok(tensors)
}

fn layout_of(meta: &TensorMeta) -> Result<(Dtype, Layout), String> {
    let number = |it: &SymInt| match it {
        SymInt::AsInt(size) => usize::try_from(*size).map_err(|_| format!("has a negative size or stride ({size})")),
        SymInt::AsExpr(_) => Err("has a size that is no number".to_owned()),
    };
    let numbers = |all: &[SymInt]| all.iter().map(number).collect::<Result<Vec<usize>, String>>();
    let offset = meta.storage_offset.as_ref().map_or(Ok(0), number)?;
    let layout = Layout { offset, shape: numbers(&meta.sizes)?, stride: numbers(&meta.strides)? };
    Ok((dtype_of(meta.dtype)?, layout))
}

/// The numbers are those of `torch._export.serde.schema.ScalarType`.
fn dtype_of(code: i64) -> Result<Dtype, String> {
    Ok(match code {
        1 => Dtype::U8,
        2 => Dtype::I8,
        3 => Dtype::I16,
        4 => Dtype::I32,
        5 => Dtype::I64,
        6 => Dtype::F16,
        7 => Dtype::F32,
        8 => Dtype::F64,
        12 => Dtype::Bool,
        13 => Dtype::Bf16,
        _ => return Err(format!("has elements of a type that is not read (number {code})")),
    })
}
