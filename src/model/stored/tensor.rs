//! A tensor as bytes.

use half::{bf16, f16};

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Dtype {
    F64,
    F32,
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
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// A tensor's type, shape and elements.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// Type of the elements.
    pub dtype: Dtype,
    /// Size of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements in row-major order, little endian.
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// The elements as f32: exact for f32, f16, bf16 and small integers, rounded for the rest.
    pub fn to_f32(&self) -> Vec<f32> {
        let elements = self.bytes.chunks_exact(self.dtype.size());
        macro_rules! read {
            ($type:ty, $convert:expr) => {
                elements
                    .map(|it| $convert(<$type>::from_le_bytes(it.try_into().expect("chunks of this size"))))
                    .collect()
            };
        }
        match self.dtype {
            Dtype::F64 => read!(f64, |value| value as f32),
            Dtype::F32 => read!(f32, |value| value),
            Dtype::F16 => read!(f16, f16::to_f32),
            Dtype::Bf16 => read!(bf16, bf16::to_f32),
            Dtype::I64 => read!(i64, |value| value as f32),
            Dtype::I32 => read!(i32, |value| value as f32),
            Dtype::I16 => read!(i16, f32::from),
            Dtype::I8 => read!(i8, f32::from),
            Dtype::U8 | Dtype::Bool => read!(u8, f32::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_becomes_f32() {
        let two = |dtype, bytes: &[u8]| RawTensor { dtype, shape: vec![], bytes: bytes.to_vec() }.to_f32();
        assert_eq!(two(Dtype::F64, &2.5_f64.to_le_bytes()), [2.5]);
        assert_eq!(two(Dtype::F32, &2.5_f32.to_le_bytes()), [2.5]);
        assert_eq!(two(Dtype::F16, &f16::from_f32(2.5).to_le_bytes()), [2.5]);
        assert_eq!(two(Dtype::Bf16, &bf16::from_f32(2.5).to_le_bytes()), [2.5]);
        assert_eq!(two(Dtype::I64, &(-3_i64).to_le_bytes()), [-3.0]);
        assert_eq!(two(Dtype::I8, &[0xff]), [-1.0]);
        assert_eq!(two(Dtype::U8, &[0xff, 1]), [255.0, 1.0]);
    }
}
