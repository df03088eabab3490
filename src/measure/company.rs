//! Whether the logits of an image are its own, whatever else is in its batch. Where they are not, as with batch norm in training mode, what an
//! attack breaks depends on what it is run with: there is no answer that a report could state.

use advmod_attacks::query::padded_logits;
use advmod_attacks::victim::{Victim, VictimError};
use tch::{TchError, Tensor};

use super::pixels::PixelSource;

/// Images whose logits are compared.
const ASKED: usize = 8;

/// Largest difference that counts as rounding, as a share of the largest logit: f32 stays below 1e-5, TF32 below this. The statistics of a batch
/// are above 0.01.
const ROUNDING: f64 = 2e-3;

/// The largest difference between the logits of an image in different batches, as a share of the largest logit, if that is more than rounding:
/// beside other images, beside their negatives, in the opposite order, and alone.
pub(crate) fn influence(victim: &dyn Victim, source: &dyn PixelSource) -> Result<Option<f64>, VictimError> {
    let _guard = tch::no_grad_guard();
    let n = source.len().min(2 * ASKED);
    let asked = n.min(ASKED) as i64;
    if asked == 0 {
        return Ok(None);
    }
    let pixels = source.pixels(0..n)?;
    let images = pixels.f_narrow(0, 0, asked)?;
    let whole = padded_logits(victim, &pixels)?.f_narrow(0, 0, asked)?;
    let beside_negatives = padded_logits(victim, &Tensor::f_cat(&[&images, &images.f_neg()?.f_add_scalar(1.0)?], 0)?)?;
    let backwards = padded_logits(victim, &pixels.f_flip([0])?)?.f_flip([0])?;
    let alone = padded_logits(victim, &images.f_narrow(0, asked - 1, 1)?)?;
    // Logits that are not finite say nothing of this.
    let largest = |of: Result<Tensor, TchError>| f64::try_from(of?.f_nan_to_num(0.0, 0.0, 0.0)?.f_abs()?.f_max()?);
    let mut most = largest(whole.f_narrow(0, asked - 1, 1)?.f_sub(&alone))?;
    for other in [beside_negatives, backwards] {
        most = most.max(largest(whole.f_sub(&other.f_narrow(0, 0, asked)?))?);
    }
    let share = most / largest(Ok(whole))?.max(f64::MIN_POSITIVE);
    Ok((share > ROUNDING).then_some(share))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::measure::pixels::KeptPixels;

    /// Adds a share of the batch's mean to every image before it sums each image's halves.
    struct Halves {
        share: f64,
    }

    impl Victim for Halves {
        fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
            let mean = pixels.f_mean_dim([0_i64].as_slice(), true, Kind::Float)?;
            let mixed = pixels.f_add(&mean.f_mul_scalar(self.share)?)?;
            Ok(mixed.f_view([pixels.size()[0], 2, -1])?.f_sum_dim_intlist([2_i64].as_slice(), false, Kind::Float)?)
        }

        fn n_classes(&self) -> i64 {
            2
        }

        fn device(&self) -> Device {
            Device::Cpu
        }
    }

    #[test]
    fn a_mean_over_the_batch_is_found_whatever_the_number_of_images() {
        for n in [1, 2, 5, 8, 9, 40] {
            let pixels = (Tensor::arange(n * 16, (Kind::Float, Device::Cpu)) * 0.618).frac().view([n, 1, 4, 4]);
            let source = KeptPixels { pixels: &pixels, device: Device::Cpu };
            let found = |share| influence(&Halves { share }, &source).unwrap();
            assert_eq!(found(0.0), None, "{n}");
            assert!(found(0.3).is_some_and(|share| share > 2.0 * ROUNDING), "{n}: {:?}", found(0.3));
        }
    }
}
