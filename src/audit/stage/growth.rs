//! What can be seen of an attack before it is through: its pixels, and the curves of the samples so far.

use std::time::{Duration, Instant};

use advmod_attacks::victim::Victim as _;
use tch::Tensor;

use super::attacked::Judged;
use crate::audit::event::{GrowingCurves, Pictures};
use crate::data::Images;
use crate::measure::pixels::{ImagePixels, KeptPixels, PixelSource};
use crate::measure::taps::{CurveSettings, TapNeighbors, TraceError, measure, tap_neighbors};
use crate::model::Model;

/// Fewest samples of a growing curve: with fewer, neighbours say little about classes.
const FEWEST: usize = 32;

/// A measurement waits until so many times its predecessor's duration have gone by, so that attacks keep the machine.
const RESTRAINT: u32 = 20;

pub(crate) struct Growth<'a> {
    model: &'a Model,
    settings: &'a CurveSettings,
    images: &'a Images,
    labels: &'a [usize],
    samples: Vec<usize>,
    pixels: Vec<Tensor>,
    /// When the last measurement ended and how long it took.
    last: Option<(Instant, Duration)>,
}

impl<'a> Growth<'a> {
    /// Nothing yet; `labels` are those of all samples.
    pub(crate) fn new(model: &'a Model, settings: &'a CurveSettings, images: &'a Images, labels: &'a [usize]) -> Self {
        Self { model, settings, images, labels, samples: Vec::new(), pixels: Vec::new(), last: None }
    }

    /// Takes in a batch and measures the curves when it is time; not when all `n` samples are there, which the matched curves will show.
    ///
    /// What fails here fails again, and is told, where the matched curves are measured.
    pub(crate) fn take(&mut self, batch: &Judged<'_>, n: usize) -> Option<GrowingCurves> {
        self.samples.extend(batch.results.iter().map(|result| result.sample));
        self.pixels.extend(batch.pixels.iter().map(Tensor::shallow_clone));
        let is_time = self.last.is_none_or(|(at, took)| at.elapsed() >= took * RESTRAINT);
        if !is_time || self.samples.len() < FEWEST || self.samples.len() >= n {
            return None;
        }
        let begun = Instant::now();
        let curves = self.measure().ok();
        self.last = Some((Instant::now(), begun.elapsed()));
        curves
    }

    fn measure(&self) -> Result<GrowingCurves, TraceError> {
        let device = self.model.device();
        let labels: Vec<usize> = self.samples.iter().map(|&sample| self.labels[sample]).collect();
        let found = |source: &dyn PixelSource| -> Result<TapNeighbors, TraceError> {
            tap_neighbors(self.model, source, self.settings, &mut |_| std::ops::ControlFlow::Continue(()))
        };
        let levels = |found: &TapNeighbors| {
            measure(found, self.settings, &labels).into_iter().map(|tap| tap.ok().map(|tap| tap.modularity.q)).collect()
        };
        let pixels = Tensor::f_cat(&self.pixels, 0)?;
        let clean = found(&ImagePixels { images: self.images, places: &self.samples, device })?;
        let adversarial = found(&KeptPixels { pixels: &pixels, device })?;
        Ok(GrowingCurves { n: labels.len(), clean: levels(&clean), adversarial: levels(&adversarial) })
    }
}

/// A batch's adversarial pixels as plain numbers; none if they cannot be had.
pub(crate) fn pictures(attack: usize, batch: &Judged<'_>) -> Option<Pictures> {
    let pixels = Tensor::f_cat(batch.pixels, 0).ok()?;
    let size: Vec<usize> = pixels.size().iter().map(|&size| size as usize).collect();
    let &[_, channels, height, width] = &size[..] else { return None };
    let samples = batch.results.iter().map(|result| result.sample).collect();
    let pixels = Vec::try_from(pixels.contiguous().view(-1)).ok()?;
    Some(Pictures { attack: Some(attack), samples, shape: [channels, height, width], pixels })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::audit::event::SampleResult;
    use crate::data::OpenOptions;
    use crate::model::load::{LoadOptions, load};
    use crate::model::upload::upload;
    use crate::modularity::Similarity;

    fn result(sample: usize) -> SampleResult {
        SampleResult { sample, ..SampleResult::default() }
    }

    #[test]
    fn growing_curves_are_over_the_samples_so_far_and_stop_before_the_last() {
        let model = load(None, &LoadOptions::default(), Device::Cpu).unwrap();
        let images =
            crate::data::open(None, &OpenOptions::default()).unwrap().read(&(0..80).collect::<Vec<_>>()).unwrap();
        let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
        let settings = CurveSettings { k: 3, similarity: Similarity::default(), classes: 10 };
        let mut growth = Growth::new(&model, &settings, &images, &labels);
        let take = |growth: &mut Growth<'_>, samples: std::ops::Range<usize>, change: f64| {
            let results: Vec<SampleResult> = samples.clone().map(result).collect();
            let places: Vec<usize> = samples.collect();
            let (pixels, _) = upload(&images.subset(&places), Device::Cpu).unwrap();
            growth.take(&Judged { results: &results, pixels: &[(pixels + change).clamp(0.0, 1.0)] }, 80)
        };
        assert_eq!(take(&mut growth, 0..20, 0.0), None);
        let curves = take(&mut growth, 20..40, 0.0).unwrap();
        assert_eq!((curves.n, curves.clean.len()), (40, model.tap_paths().len()));
        // Nothing was changed yet, and what was is seen.
        assert_eq!(curves.clean, curves.adversarial);
        assert!(curves.clean.iter().all(Option::is_some));
        std::thread::sleep(growth.last.unwrap().1 * RESTRAINT);
        let curves = take(&mut growth, 40..60, 0.4).unwrap();
        assert_ne!(curves.clean, curves.adversarial);
        assert_eq!(take(&mut growth, 60..80, 0.4), None);
    }
}
