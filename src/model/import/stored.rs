//! Tensors of the file as libtorch has them after PyTorch has loaded them: with their data type, and laid out in memory as they were.

use tch::{Device, Kind, TchError, Tensor};

use super::{ImportError, first_line, shown};
use crate::model::format::{Dtype, RawTensor};
use crate::model::weights::not_finite;

/// What is known of a tensor of the file besides its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Whether an optimizer would train it.
    pub(super) parameter: bool,
    pub(super) requires_grad: bool,
    /// Whether tracing wrote down a Python number this way: libtorch makes one of it again before it runs the code.
    pub(super) number: bool,
}

/// A tensor of the file, and how many elements of memory its layout takes beyond its own; the numbers of a parameter must be finite.
pub(super) fn tensor_of(
    name: &str,
    raw: &RawTensor,
    stride: &[usize],
    parameter: bool,
) -> Result<(Tensor, f64), ImportError> {
    let failed = |error: TchError| ImportError(format!("tensor `{}`: {}", shown(name), first_line(&error)));
    let shape: Vec<i64> = raw.shape.iter().map(|&size| size as i64).collect();
    let kind = kind_of(raw.dtype);
    let tensor = match kind {
        // Any byte may stand there.
        Kind::Bool => {
            let flags: Vec<u8> = raw.bytes.iter().map(|byte| u8::from(*byte != 0)).collect();
            Tensor::f_from_data_size(&flags, &shape, kind)
        }
        _ => Tensor::f_from_data_size(&raw.bytes, &shape, kind),
    }
    .map_err(failed)?;
    if parameter {
        let odd = tensor.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
        if odd > 0 {
            return Err(ImportError(not_finite(name, odd)));
        }
    }
    let stride: Vec<i64> = stride.iter().map(|&stride| i64::try_from(stride).unwrap_or(i64::MAX)).collect();
    if stride.len() != shape.len() || is_plain(&shape, &stride) {
        return Ok((tensor, 0.0));
    }
    // The reader has seen that all of it lies inside the storage, which the file holds.
    let span: f64 = shape.iter().zip(&stride).map(|(size, stride)| (size - 1) as f64 * *stride as f64).sum();
    let gaps = (span - tensor.numel() as f64).max(0.0);
    let laid_out = Tensor::f_empty_strided(&shape, &stride, (kind, Device::Cpu))
        .and_then(|mut empty| empty.f_copy_(&tensor).map(|()| empty))
        .map_err(failed)?;
    Ok((laid_out, gaps))
}

/// Whether elements lie one after the other; strides of single elements say nothing.
fn is_plain(shape: &[i64], stride: &[i64]) -> bool {
    let mut expected = 1_i64;
    shape.contains(&0)
        || shape.iter().zip(stride).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        })
}

fn kind_of(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::Bf16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_strides_are_those_of_the_file() {
        let raw = RawTensor {
            dtype: Dtype::I32,
            shape: vec![2, 3],
            bytes: (0..24).map(|at| u8::from(at % 4 == 0)).collect(),
        };
        let (tensor, gaps) = tensor_of("t", &raw, &[1, 2], false).unwrap();
        assert_eq!((tensor.kind(), tensor.stride(), gaps as i64), (Kind::Int, vec![1, 2], 0));
        assert_eq!(tensor, Tensor::ones([2, 3], (Kind::Int, Device::Cpu)));
        let (spread, gaps) = tensor_of("t", &raw, &[100, 10], false).unwrap();
        assert_eq!((spread.stride(), gaps as i64), (vec![100, 10], 114));
        let odd = RawTensor { dtype: Dtype::Bool, shape: vec![2], bytes: vec![0, 7] };
        let (flags, _) = tensor_of("t", &odd, &[1], false).unwrap();
        assert_eq!(flags.to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[]), 1);
    }
}
