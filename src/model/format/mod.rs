//! Model files: named tensors out of safetensors files and of both formats of `torch.save`, programs out of `torch.export`
//! archives ([`pt2`]), and TorchScript, told apart by content.
//!
//! Nothing in a file is ever run: a pickle is read as data, and one that asks for anything but tensors and plain values is refused by
//! name. No size that a file states is believed before it has been checked against the file's own length.

mod detect;
mod error;
mod globals;
mod legacy;
mod pickled;
pub(crate) mod pt2;
mod safetensors;
mod state_dict;
mod strided;
mod torch_script;
mod torch_zip;

#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use half::{bf16, f16};

pub(crate) use self::detect::read_file;
pub(crate) use self::error::FormatError;
pub(crate) use self::safetensors::safetensors_bytes;
pub use self::safetensors::write_safetensors;
pub(crate) use self::torch_script::{Item, ScriptFile};
use self::torch_zip::ArchiveKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Dtype {
    pub fn width(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// A tensor as plain bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    pub dtype: Dtype,
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order without gaps, little endian.
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// The elements as f32: exact for f32, f16, bf16 and integers up to 2^24, rounded to the nearest otherwise.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            Dtype::F32 => self.map(f32::from_le_bytes),
            Dtype::F64 => self.map(|bytes| f64::from_le_bytes(bytes) as f32),
            Dtype::F16 => self.map(|bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::Bf16 => self.map(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::I64 => self.map(|bytes| i64::from_le_bytes(bytes) as f32),
            Dtype::I32 => self.map(|bytes| i32::from_le_bytes(bytes) as f32),
            Dtype::I16 => self.map(|bytes| f32::from(i16::from_le_bytes(bytes))),
            Dtype::I8 => self.map(|bytes| f32::from(i8::from_le_bytes(bytes))),
            Dtype::U8 => self.map(|[byte]| f32::from(byte)),
            Dtype::Bool => self.map(|[byte]| f32::from(u8::from(byte != 0))),
        }
    }

    fn map<const WIDTH: usize>(&self, read: impl Fn([u8; WIDTH]) -> f32) -> Vec<f32> {
        self.bytes.as_chunks().0.iter().map(|bytes| read(*bytes)).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightFormat {
    /// `torch.save` since 1.6: a zip archive.
    TorchZip,
    /// `torch.save` before 1.6: one stream of pickles and raw storages.
    TorchLegacy,
    /// <https://github.com/huggingface/safetensors>
    Safetensors,
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TorchZip => "PyTorch state_dict (zip)",
            Self::TorchLegacy => "PyTorch state_dict (stream, before 1.6)",
            Self::Safetensors => "safetensors",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFile {
    pub(crate) format: WeightFormat,
    /// At least one. In the file's own order, which for `torch.save` is the order of the modules: a message that names the first tensor
    /// names the first layer.
    pub tensors: Vec<(String, RawTensor)>,
    /// The header's `__metadata__` in safetensors; empty for the others.
    pub metadata: BTreeMap<String, String>,
    /// Of the file's bytes, in hexadecimal.
    pub sha256: String,
}

/// Reads a weight file of any format.
pub fn read_weights(path: &Path) -> Result<WeightFile, FormatError> {
    read_weights_from(&detect::read_file(path)?, path)
}

/// As [`read_weights`], from bytes; `path` is what errors call them.
pub(crate) fn read_weights_from(bytes: &[u8], path: &Path) -> Result<WeightFile, FormatError> {
    let source = error::Source { path, bytes };
    let format = detect::format_of(source)?;
    let (tensors, metadata) = match format {
        WeightFormat::Safetensors => safetensors::read(source)?,
        WeightFormat::TorchZip => (torch_zip::read(source)?, BTreeMap::new()),
        WeightFormat::TorchLegacy => (legacy::read(source)?, BTreeMap::new()),
    };
    let tensors = state_dict::without_wrapper_prefixes(tensors);
    let sha256 = sha256_of(bytes);
    Ok(WeightFile { format, tensors, metadata, sha256 })
}

#[derive(Clone, Debug)]
pub(crate) enum ModelFile {
    Weights(WeightFile),
    Export(pt2::ExportedProgram),
    Script(ScriptFile),
}

/// Reads a weight file or an exported program; where its sha256 is known, only that one.
pub(crate) fn read_model(path: &Path, sha256: Option<&str>) -> Result<ModelFile, FormatError> {
    let bytes = detect::read_file(path)?;
    expect(&bytes, path, sha256)?;
    read_model_from(&bytes, path)
}

/// Refuses bytes that have another sha256 than the one expected; `path` is what errors call them.
pub(crate) fn expect(bytes: &[u8], path: &Path, sha256: Option<&str>) -> Result<(), FormatError> {
    let Some(was) = sha256 else { return Ok(()) };
    let is = sha256_of(bytes);
    match is == was {
        true => Ok(()),
        false => Err(error::Source { path, bytes }.other(format!(
            "the model has changed: its sha256 was {was} in the run, is {is}; bring back the run's, or start a new run"
        ))),
    }
}

/// As [`read_model`], from bytes; `path` is what errors call them.
pub(crate) fn read_model_from(bytes: &[u8], path: &Path) -> Result<ModelFile, FormatError> {
    let source = error::Source { path, bytes };
    let kind = if bytes.starts_with(b"PK") { torch_zip::kind_of(source) } else { ArchiveKind::Other };
    match kind {
        ArchiveKind::Export => pt2::read(source).map(ModelFile::Export),
        ArchiveKind::Script => torch_script::read(source).map(ModelFile::Script),
        ArchiveKind::Other => read_weights_from(bytes, path).map(ModelFile::Weights),
    }
}

pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: Dtype, bytes: &[u8]) -> RawTensor {
        RawTensor { dtype, shape: vec![bytes.len() / dtype.width()], bytes: bytes.to_vec() }
    }

    #[test]
    fn every_type_becomes_f32() {
        assert_eq!(tensor(Dtype::F32, &1.5_f32.to_le_bytes()).to_f32(), [1.5]);
        assert_eq!(tensor(Dtype::F64, &(-2.25_f64).to_le_bytes()).to_f32(), [-2.25]);
        // IEEE 754 half precision: 0x3555 is 0.333251953125, 0x0001 the smallest subnormal 2^-24.
        assert_eq!(tensor(Dtype::F16, &[0x55, 0x35, 0x01, 0x00]).to_f32(), [0.333_251_95, 2.0_f32.powi(-24)]);
        // bfloat16 is the upper half of an f32.
        assert_eq!(tensor(Dtype::Bf16, &[0x49, 0x40]).to_f32(), [f32::from_bits(0x4049_0000)]);
        assert_eq!(tensor(Dtype::I64, &(-3_i64).to_le_bytes()).to_f32(), [-3.0]);
        assert_eq!(tensor(Dtype::I32, &70_000_i32.to_le_bytes()).to_f32(), [70_000.0]);
        assert_eq!(tensor(Dtype::I16, &[0xff, 0xff]).to_f32(), [-1.0]);
        assert_eq!(tensor(Dtype::I8, &[0x80]).to_f32(), [-128.0]);
        assert_eq!(tensor(Dtype::U8, &[0xff]).to_f32(), [255.0]);
        assert_eq!(tensor(Dtype::Bool, &[0, 1]).to_f32(), [0.0, 1.0]);
    }
}
