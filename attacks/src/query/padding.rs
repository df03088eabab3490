//! Fills batches up to whole blocks of rows.

use tch::{Kind, TchError, Tensor};

use crate::victim::{Victim, VictimError};

/// `pixels` `[N, C, H, W]` with its last row repeated until there are at least 16 rows and a multiple of 8.
///
/// On the CPU libtorch's convolutions treat the rows left over after whole blocks of 8 differently, and its matrix
/// products with 512 and more inputs add in another order below 16 rows. In a batch as made here a row's logits and
/// gradient are the same bits whatever else is in it. (One kind of layer was found where they are not: several thousand
/// inputs, several hundred outputs and several threads; the environment variable `MKL_CBWR=AVX2,STRICT` mends that.)
/// The copies carry no gradient.
pub fn padded(pixels: &Tensor) -> Result<Tensor, TchError> {
    let n = pixels.size()[0];
    let n_padding = padding(n as usize) as i64;
    if n_padding == 0 {
        return Ok(pixels.shallow_clone());
    }
    let mut shape = pixels.size();
    shape[0] = n_padding;
    let copies = pixels.f_detach()?.f_narrow(0, n - 1, 1)?.f_expand(&shape, false)?;
    Tensor::f_cat(&[pixels, &copies], 0)
}

/// Logits `[N, K]` of `pixels`, run in a batch as [`padded`] makes it and checked for shape.
pub fn padded_logits(victim: &dyn Victim, pixels: &Tensor) -> Result<Tensor, VictimError> {
    let n = pixels.size()[0];
    let logits = victim.logits(&padded(pixels)?)?;
    let expected = [n + padding(n as usize) as i64, victim.n_classes()];
    if logits.size() != expected {
        let message = format!("logits have shape {:?}, expected {expected:?}", logits.size());
        return Err(VictimError::Unusable(message));
    }
    Ok(logits.to_kind(Kind::Float).narrow(0, 0, n))
}

/// Rows that [`padded`] adds to `n`.
pub(crate) fn padding(n: usize) -> u64 {
    (n.next_multiple_of(ROW_MULTIPLE).max(LEAST_ROWS) - n) as u64
}

const ROW_MULTIPLE: usize = 8;
const LEAST_ROWS: usize = 16;
