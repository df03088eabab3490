//! How alike a model's taps are: by modularity, and by CKA (the paper's Fig. 8).

use std::ops::ControlFlow;

use advmod_attacks::victim::Victim as _;
use serde::Serialize;

use crate::audit::stage::curve::{TraceError, visit_taps};
use crate::audit::stage::pixels::ImagePixels;
use crate::data::{Dataset, Selection, select};
use crate::model::Model;
use crate::modularity::cka::{self, Gram};

/// How CKA is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CkaPlan {
    /// Over all samples at once.
    Full,
    /// Unbiased, over batches of so many.
    Batches(usize),
}

/// Most samples of the full estimate: it keeps N² numbers per tap.
pub const MOST: usize = 4000;

/// A value for every two taps; nothing where it is not defined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix(pub Vec<Vec<Option<f64>>>);

/// `|Q_i − Q_j|` of a curve's points.
pub fn difference(q: &[Option<f64>]) -> Matrix {
    let row = |a: &Option<f64>| q.iter().map(|b| Some((a.as_ref()? - b.as_ref()?).abs())).collect();
    Matrix(q.iter().map(row).collect())
}

/// Linear CKA of every two taps on these samples. `progress(done, total)` counts taps × samples.
///
/// # Errors
/// One line, when data and model do not fit each other or the samples are too few or too many.
pub fn linear_cka(
    model: &Model,
    data: &dyn Dataset,
    samples: &Selection,
    plan: CkaPlan,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Matrix, String> {
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    let indices = select(samples, info.n).map_err(|error| error.to_string())?;
    let n = indices.len();
    let length = match plan {
        CkaPlan::Full if n > MOST => {
            return Err(format!("N = {n} samples are too many for --cka full, which takes {MOST}; use --cka batches"));
        }
        CkaPlan::Full => n,
        CkaPlan::Batches(length) => length.min(n),
    };
    let fewest = if plan == CkaPlan::Full { 2 } else { cka::FEWEST };
    if length < fewest {
        return Err(format!("{length} samples at once are too few for CKA; it needs {fewest}"));
    }
    let images = data.read(&indices).map_err(|error| error.to_string())?;
    let n_taps = model.tap_paths().len();
    // A rest that is shorter than a batch would weigh as much as a whole one.
    let batches = n / length;
    let total = (n_taps * batches * length) as u64;
    let mut sums = vec![vec![0.0; n_taps]; n_taps];
    for batch in 0..batches {
        let places: Vec<usize> = (batch * length..(batch + 1) * length).collect();
        let source = ImagePixels { images: &images, places: &places, device: model.device() };
        let before = (batch * length * n_taps) as u64;
        let mut grams = Vec::with_capacity(n_taps);
        let gram = if plan == CkaPlan::Full { Gram::centred } else { Gram::hollow };
        visit_taps(model, &source, &mut |done| progress(before + done, total), &mut |rows| {
            grams.push(gram(rows)?);
            Ok(())
        })
        .map_err(|error: TraceError| error.to_string())?;
        let torch = |error: tch::TchError| format!("libtorch: {}", advmod_attacks::victim::first_line(&error));
        if plan == CkaPlan::Full {
            return cka::full(&grams).map(Matrix).map_err(torch);
        }
        for (sums, found) in sums.iter_mut().zip(cka::hsic(&grams).map_err(torch)?) {
            sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
        }
    }
    Ok(Matrix(cka::normalized(&sums)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_absolute_and_gaps_stay() {
        let Matrix(rows) = difference(&[Some(0.25), None, Some(1.0)]);
        assert_eq!(rows[0], [Some(0.0), None, Some(0.75)]);
        assert_eq!(rows[2], [Some(0.75), None, Some(0.0)]);
        assert_eq!(rows[1], [None; 3]);
    }
}
