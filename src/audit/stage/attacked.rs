//! What an attack has made of its samples.

use advmod_attacks::victim::first_line;
use tch::{TchError, Tensor};

use crate::audit::event::SampleResult;
use crate::store::Kept;

/// A batch of samples that has been attacked and judged.
#[derive(Clone, Copy)]
pub(crate) struct Judged<'a> {
    /// In sample order.
    pub results: &'a [SampleResult],
    /// Their adversarial pixels, f32 `[N, C, H, W]` on the processor.
    pub pixels: &'a [Tensor],
}

impl Judged<'_> {
    /// The pixels of each sample as plain numbers.
    pub(crate) fn plain(&self) -> Result<Vec<Vec<f32>>, String> {
        let rows = self.pixels.iter().map(|pixels| Vec::<Vec<f32>>::try_from(pixels.flatten(1, -1)));
        let rows: Vec<_> = rows.collect::<Result<_, _>>().map_err(|error| first_line(&error))?;
        Ok(rows.concat())
    }
}

/// Adversarial pixels of the samples that were attacked.
#[derive(Debug)]
pub(crate) struct Attacked {
    /// Places of the samples in the list of samples.
    pub samples: Vec<usize>,
    /// f32 `[N, C, H, W]` on the processor, in the order of `samples`.
    pub pixels: Tensor,
    /// Class of each sample's adversarial pixels.
    pub predictions: Vec<usize>,
    pub results: Vec<SampleResult>,
    /// Wall time of the attack alone, of the worker that took longest: without loading, judging and measuring.
    pub seconds: f64,
}

impl Attacked {
    /// These results and pixels, in the same order.
    pub(crate) fn of(results: Vec<SampleResult>, pixels: Tensor, seconds: f64) -> Self {
        let samples = results.iter().map(|result| result.sample).collect();
        let predictions = results.iter().map(|result| result.prediction as usize).collect();
        Self { samples, pixels, predictions, results, seconds }
    }

    /// These results with the pixels that were kept; results without pixels are left out. `shape` is `[C, H, W]`.
    pub(crate) fn kept(kept: &Kept, results: &[SampleResult], shape: [usize; 3]) -> Result<Self, TchError> {
        let found = results.iter().filter_map(|result| Some((result.clone(), kept.pixels(result.sample)?)));
        let (results, pixels): (Vec<SampleResult>, Vec<&[f32]>) = found.unzip();
        let [channels, height, width] = shape.map(|size| size as i64);
        let shape = [results.len() as i64, channels, height, width];
        let pixels = Tensor::f_from_slice(&pixels.concat())?.f_view(shape)?;
        Ok(Self::of(results, pixels, 0.0))
    }

    /// Together with other samples of the same attack, in sample order.
    pub(crate) fn with(self, other: &Self) -> Result<Self, TchError> {
        let pixels = Tensor::f_cat(&[&self.pixels, &other.pixels], 0)?;
        let all: Vec<SampleResult> = self.results.into_iter().chain(other.results.iter().cloned()).collect();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&row| all[row].sample);
        let rows: Vec<i64> = order.iter().map(|&row| row as i64).collect();
        let results = order.into_iter().map(|row| all[row].clone()).collect();
        Ok(Self::of(results, pixels.f_index_select(0, &Tensor::f_from_slice(&rows)?)?, self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ADVERSARIAL_FOLDER, Part, RunFolder};

    fn result(sample: usize) -> SampleResult {
        SampleResult { sample, success: true, ..SampleResult::default() }
    }

    #[test]
    fn kept_pixels_come_back_with_their_results() {
        let inside = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(inside.path()).unwrap();
        folder.make_folder(ADVERSARIAL_FOLDER).unwrap();
        let shape = [1, 2, 2];
        let pixels = Tensor::rand([3, 1, 2, 2], (tch::Kind::Float, tch::Device::Cpu));
        let results = [result(4), result(9), result(2)];
        let batch = Judged { results: &results, pixels: &[pixels.narrow(0, 0, 1), pixels.narrow(0, 1, 2)] };
        let rows = batch.plain().unwrap();
        let images = results.iter().zip(&rows).map(|(result, row)| (result.sample, &row[..]));
        Part::open(&folder, "pgd", shape).unwrap().append(images).unwrap();
        let kept = Kept::read(&folder, "pgd", shape);
        let attacked = Attacked::kept(&kept, &[result(2), result(3), result(9)], shape).unwrap();
        assert_eq!(attacked.samples, [2, 9]);
        assert_eq!(attacked.pixels, pixels.index_select(0, &Tensor::from_slice(&[2_i64, 1])));
        assert_eq!(Attacked::kept(&Kept::default(), &results, shape).unwrap().pixels.size(), [0, 1, 2, 2]);
    }
}
