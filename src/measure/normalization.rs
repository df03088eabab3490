//! Whether another normalization than the one in use fits the model better, judged by clean accuracy.

use advmod_attacks::query::padded_logits;
use advmod_attacks::victim::VictimError;
use tch::{Kind, Tensor};

use super::pixels::PixelSource;
use super::taps::TraceError;
use crate::measure::Progress;
use crate::model::Model;
use crate::model::normalize::Normalization;
use crate::model::upload::to_device;

const MOST_IMAGES: usize = 128;

/// A better one is better by this much.
const MARGIN: f64 = 0.1;

/// Accuracy as the model is used, and with another normalization.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rival {
    pub images: usize,
    /// Share that is right as the model is used.
    pub accuracy: f64,
    pub name: String,
    /// Share that is right with it.
    pub with_it: f64,
}

impl Rival {
    pub(crate) fn wins(&self) -> bool {
        self.with_it > self.accuracy + MARGIN
    }

    /// What the user should know about a model with this normalization, which a flag has given or not.
    pub(crate) fn advice(&self, own: &Normalization, given: bool) -> Option<String> {
        let Self { images, name, .. } = self;
        let [accuracy, rival] = [self.accuracy, self.with_it].map(|share| format!("{:.0} %", 100.0 * share));
        let own_name = &own.name;
        Some(match (self.wins(), name.as_str()) {
            (true, "none") => format!(
                "the model is right on {accuracy} of {images} images with --normalize {own_name} and on {rival} without: it seems \
                 to contain its own normalization"
            ),
            (true, _) if own.is_none() => format!(
                "the model is right on {accuracy} of {images} images as they are and on {rival} with --normalize {name}, which it \
                 seems to need"
            ),
            (true, _) => format!(
                "the model is right on {accuracy} of {images} images with --normalize {own_name} and on {rival} with --normalize \
                 {name}"
            ),
            (false, _) if given => return None,
            (false, _) => "no --normalize was given, and no known one does better: the model sees pixels in [0, 1] as they are, and contains \
                           its own normalization or needs none"
                .to_owned(),
        })
    }
}

/// The normalizations to try on some images.
pub(crate) struct Trial<'a> {
    model: &'a Model,
    others: Vec<Normalization>,
    images: usize,
    batch: usize,
}

impl<'a> Trial<'a> {
    /// The known ones but the model's own, `none` among them, on some of `n` images, at most `batch` at once.
    pub(crate) fn new(model: &'a Model, n: usize, batch: usize) -> Self {
        let info = model.info();
        let fits = |it: &Normalization| {
            it.name != info.normalization.name && (it.is_none() || it.mean.len() as i64 == info.channels)
        };
        Self { model, others: Normalization::presets().filter(fits).collect(), images: n.min(MOST_IMAGES), batch }
    }

    /// Which of `n` images are tried: evenly spread, for files are often sorted by class.
    pub(crate) fn places(&self, n: usize) -> Vec<usize> {
        (0..self.images).map(|at| at * n / self.images).collect()
    }

    /// Images × normalizations, the model's own included.
    pub(crate) fn steps(&self) -> u64 {
        (self.images * (1 + self.others.len())) as u64
    }

    /// The best of them on the images at [`places`](Self::places); none where there is no other. `progress(done)` counts [`steps`](Self::steps).
    pub(crate) fn run(
        &self,
        source: &dyn PixelSource,
        labels: &[usize],
        progress: &mut Progress<'_>,
    ) -> Result<Option<Rival>, TraceError> {
        let _guard = tch::no_grad_guard();
        let own = &self.model.info().normalization;
        let mut done = 0;
        let mut accuracy = |other: &Normalization| -> Result<f64, TraceError> {
            let mut right = 0;
            for start in (0..self.images).step_by(self.batch) {
                let range = start..(start + self.batch).min(self.images);
                let pixels = self.disguised(&source.pixels(range.clone())?, own, other)?;
                let logits = padded_logits(self.model, &pixels).map_err(TraceError::Victim)?;
                let classes = Vec::<i64>::try_from(logits.f_argmax(1, false)?)?;
                done += range.len() as u64;
                right +=
                    classes.iter().zip(&labels[range]).filter(|(class, label)| **class as usize == **label).count();
                if progress(done).is_break() {
                    return Err(TraceError::Stopped);
                }
            }
            Ok(right as f64 / self.images as f64)
        };
        let own_accuracy = accuracy(own)?;
        let mut best: Option<(&str, f64)> = None;
        for other in &self.others {
            let found = accuracy(other)?;
            if best.is_none_or(|(_, best)| found > best) {
                best = Some((&other.name, found));
            }
        }
        Ok(best.map(|(name, with_it)| Rival {
            images: self.images,
            accuracy: own_accuracy,
            name: name.to_owned(),
            with_it,
        }))
    }

    /// Pixels that the model's own normalization turns into what another one makes of the given ones.
    fn disguised(&self, pixels: &Tensor, own: &Normalization, other: &Normalization) -> Result<Tensor, TraceError> {
        if own == other {
            return Ok(pixels.shallow_clone());
        }
        let (mean, std) = self.constants(other, pixels)?;
        let (own_mean, own_std) = self.constants(own, pixels)?;
        Ok(pixels.f_sub(&mean)?.f_div(&std)?.f_mul(&own_std)?.f_add(&own_mean)?)
    }

    /// Mean and deviation per channel, beside these pixels.
    fn constants(&self, of: &Normalization, pixels: &Tensor) -> Result<(Tensor, Tensor), TraceError> {
        let misfit = |problem: String| TraceError::Victim(VictimError::from_message(problem));
        let (mean, std) = of.for_channels(self.model.info().channels).map_err(misfit)?;
        let constant = |values: &[f64]| {
            to_device(&Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?.f_view([1, -1, 1, 1])?, pixels.device())
        };
        Ok((constant(&mean)?, constant(&std)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_what_is_better_and_by_how_much() {
        let rival = |name: &str, accuracy, with_it| Rival { images: 100, accuracy, name: name.to_owned(), with_it };
        let cifar = Normalization::parse("cifar10").unwrap();
        let own = rival("none", 0.2, 0.9).advice(&cifar, true).unwrap();
        assert!(own.contains("20 %") && own.contains("90 %") && own.contains("its own normalization"), "{own}");
        let missing = rival("imagenet", 0.2, 0.9).advice(&Normalization::none(), false).unwrap();
        assert!(missing.contains("--normalize imagenet"), "{missing}");
        assert_eq!(rival("imagenet", 0.85, 0.9).advice(&cifar, true), None);
        assert!(rival("imagenet", 0.85, 0.9).advice(&Normalization::none(), false).unwrap().contains("no known one"));
    }
}
