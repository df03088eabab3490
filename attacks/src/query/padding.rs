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

/// The mean of so many [`padded_logits`] of the same pixels; of one the same bits.
pub fn averaged_logits(victim: &dyn Victim, pixels: &Tensor, draws: u32) -> Result<Tensor, VictimError> {
    let mut sum = padded_logits(victim, pixels)?;
    if draws > 1 {
        for _ in 1..draws {
            sum = sum.f_add(&padded_logits(victim, pixels)?)?;
        }
        sum = sum.f_div_scalar(f64::from(draws))?;
    }
    Ok(sum)
}

/// Which rows of `outputs` `[N, K]` do not have the class of the largest of `logits` alone at their top, `[N]`.
pub fn decides_otherwise(logits: &Tensor, outputs: &Tensor) -> Result<Tensor, VictimError> {
    let tops = outputs.f_eq_tensor(&outputs.f_amax(1, true)?)?;
    let top = tops.f_gather(1, &logits.f_argmax(1, true)?, false)?.f_squeeze_dim(1)?;
    let is_alone = tops.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)?.f_eq(1)?;
    Ok(top.f_logical_and(&is_alone)?.f_logical_not()?)
}

/// Logits of `pixels` as plain numbers, row by row: all that a verdict is made of. One answer each, and [`JUDGEMENTS`] where the victim is random.
/// Where what the victim makes of its logits gives another class, or several, it stands in their place.
pub fn judged_logits(victim: &dyn Victim, pixels: &Tensor) -> Result<Vec<Vec<Vec<f32>>>, VictimError> {
    let mut rows = vec![Vec::new(); pixels.size()[0] as usize];
    for _ in 0..if victim.is_random() { JUDGEMENTS } else { 1 } {
        let mut logits = padded_logits(victim, pixels)?;
        if let Some(outputs) = victim.outputs(&padded(pixels)?)? {
            let outputs = outputs.f_narrow(0, 0, pixels.size()[0])?;
            let is_other = decides_otherwise(&logits, &outputs)?;
            logits = outputs.f_where_self(&is_other.f_unsqueeze(1)?, &logits)?;
        }
        let logits = Vec::<Vec<f32>>::try_from(logits)?;
        rows.iter_mut().zip(logits).for_each(|(row, logits)| row.push(logits));
    }
    Ok(rows)
}

/// How often a random victim is asked for a verdict.
pub const JUDGEMENTS: u32 = 10;

/// Rows that [`padded`] adds to `n`.
pub(crate) fn padding(n: usize) -> u64 {
    (n.next_multiple_of(ROW_MULTIPLE).max(LEAST_ROWS) - n) as u64
}

const ROW_MULTIPLE: usize = 8;
const LEAST_ROWS: usize = 16;
