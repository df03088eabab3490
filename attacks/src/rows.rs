//! Arithmetic per sample whose bits do not depend on the other samples.
//!
//! libtorch's reductions pick their order of summation by the shape of the whole tensor, so the last bits of a row's sum
//! may change with the batch. Here sums are built from elementwise additions only.

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::threat::Norm;

/// Plain numbers as a tensor where other tensors already are.
#[expect(clippy::disallowed_methods, reason = "follows the victim's device, chooses none")]
pub(crate) fn upload<T: Element>(numbers: &[T], device: Device) -> Tensor {
    Tensor::from_slice(numbers).to_device(device)
}

/// Sum of each row of `values`, `[N, ...]` to `[N]`, by repeatedly adding the second half of a row to its first.
pub(crate) fn sum(values: &Tensor) -> Tensor {
    let n = values.size()[0];
    let mut values = values.reshape([n, values.size()[1..].iter().product()]); // [N, D]
    let mut width = values.size()[1];
    if width == 0 {
        return Tensor::zeros([n], (values.kind(), values.device()));
    }
    while 1 < width {
        let half = width / 2;
        let folded = values.narrow(1, 0, half) + values.narrow(1, half, half);
        if width % 2 == 1 {
            let _ = folded.narrow(1, 0, 1).g_add_(&values.narrow(1, width - 1, 1));
        }
        values = folded;
        width = half;
    }
    values.squeeze_dim(1)
}

/// Euclidean length of each row, f64 `[N]`: neither small gradients underflow nor long rows lose digits.
pub(crate) fn l2(values: &Tensor) -> Tensor {
    sum(&values.to_kind(Kind::Double).square()).sqrt()
}

/// Each row scaled to length 1; a row of zeros stays.
pub(crate) fn unit(values: &Tensor) -> Tensor {
    let length = l2(values); // [N], f64
    let length = length.masked_fill(&length.eq(0.0), 1.0);
    (values.to_kind(Kind::Double) / broadcast(&length, values)).to_kind(Kind::Float)
}

/// Largest absolute value of each row, `[N]`; not-a-number where the row holds one.
pub(crate) fn max_abs(values: &Tensor) -> Tensor {
    values.abs().flatten(1, -1).amax(1, false)
}

/// The size of each row in a norm, f64 `[N]`; for L0 the number of values that are not 0.
pub(crate) fn size(norm: Norm, values: &Tensor) -> Tensor {
    match norm {
        Norm::L0 => sum(&values.ne(0.0).to_kind(Kind::Double)),
        Norm::L2 => l2(values),
        Norm::Linf => max_abs(values).to_kind(Kind::Double),
    }
}

/// `[N]` shaped so that it broadcasts over rows like those of `like`.
pub(crate) fn broadcast(per_row: &Tensor, like: &Tensor) -> Tensor {
    let mut shape = vec![1; like.dim()];
    shape[0] = per_row.size()[0];
    per_row.reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right_for_every_width() {
        for width in [1_i64, 2, 3, 5, 8, 13, 100] {
            let values = Tensor::arange(2 * width, (Kind::Double, tch::Device::Cpu)).reshape([2, width]);
            let expected = values.sum_dim_intlist([1_i64].as_slice(), false, Kind::Double);
            assert_eq!(sum(&values), expected, "width {width}");
        }
    }

    #[test]
    fn lengths_survive_tiny_gradients() {
        let tiny = Tensor::from_slice(&[3e-30_f32, 4e-30]).reshape([1, 2, 1, 1]);
        let length = f64::try_from(l2(&tiny)).unwrap();
        assert!((length / 5e-30 - 1.0).abs() < 1e-6);
    }
}
