//! Fills batches up to whole blocks of rows.

use crate::victim::{Victim, VictimError};
use tch::{Kind, Tensor};

/// Logits `[N, K]` of `pixels`, checked for shape and run in a batch of at least 16 whose size is a multiple of 8.
///
/// On the CPU libtorch's convolutions treat the rows left over after whole blocks of 8 differently, and its matrix
/// products with 512 and more inputs add in another order below 16 rows. In a batch as made here a row's logits and
/// gradient are the same bits whatever else is in it. (One kind of layer was found where they are not: several thousand
/// inputs, several hundred outputs and several threads; the environment variable `MKL_CBWR=AVX2,STRICT` mends that.)
/// The last row is repeated; its copies carry no gradient.
pub(crate) fn padded_logits(victim: &dyn Victim, pixels: &Tensor) -> Result<Tensor, VictimError> {
    let n = pixels.size()[0];
    let n_padding = padding(n as usize) as i64;
    let logits = if n_padding == 0 {
        victim.logits(pixels)?
    } else {
        let mut shape = pixels.size();
        shape[0] = n_padding;
        let copies = pixels.detach().narrow(0, n - 1, 1).expand(&shape, false);
        victim.logits(&Tensor::cat(&[pixels, &copies], 0))?
    };
    let expected = [n + n_padding, victim.n_classes()];
    if logits.size() != expected {
        let message = format!("logits have shape {:?}, expected {expected:?}", logits.size());
        return Err(VictimError::Unusable(message));
    }
    Ok(logits.to_kind(Kind::Float).narrow(0, 0, n))
}

/// Rows that [`padded_logits`] adds to `n`.
pub(crate) fn padding(n: usize) -> u64 {
    (n.next_multiple_of(ROW_MULTIPLE).max(LEAST_ROWS) - n) as u64
}

const ROW_MULTIPLE: usize = 8;
const LEAST_ROWS: usize = 16;
