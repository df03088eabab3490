//! Whether another normalization than the one in use fits the model better, judged by clean accuracy.

use advmod_attacks::query::padded_logits;
use tch::{Kind, Tensor};

use super::curve::TraceError;
use super::pixels::PixelSource;
use crate::model::Model;
use crate::model::normalize::Normalization;
use crate::model::upload::to_device;

/// Images that are tried.
const MOST_IMAGES: usize = 128;

/// A better one is better by this much.
const MARGIN: f64 = 0.1;

/// Accuracy as the model is used, and with another normalization.
#[derive(Clone, Debug, PartialEq)]
pub struct Rival {
    /// Images tried.
    pub images: usize,
    /// Share that is right as the model is used.
    pub accuracy: f64,
    /// The best other normalization.
    pub name: String,
    /// Share that is right with it.
    pub rival: f64,
}

impl Rival {
    /// What the user should know about a model with this normalization, which a flag has given or not.
    pub fn advice(&self, own: &Normalization, given: bool) -> Option<String> {
        let Self { images, name, .. } = self;
        let [accuracy, rival] = [self.accuracy, self.rival].map(|share| format!("{:.0} %", 100.0 * share));
        let wins = self.rival > self.accuracy + MARGIN;
        let own_name = &own.name;
        Some(match (wins, name.as_str()) {
            (true, "none") => format!(
                "the model is right on {accuracy} of the first {images} images with --normalize {own_name} and on {rival} without: it seems \
                 to contain its own normalization"
            ),
            (true, _) if own.is_none() => format!(
                "the model is right on {accuracy} of the first {images} images as they are and on {rival} with --normalize {name}, which it \
                 seems to need"
            ),
            (true, _) => format!(
                "the model is right on {accuracy} of the first {images} images with --normalize {own_name} and on {rival} with --normalize \
                 {name}"
            ),
            (false, _) if given => return None,
            (false, _) => "no --normalize was given, and no known one does better: the model sees pixels in [0, 1] as they are, and contains \
                           its own normalization or needs none"
                .to_owned(),
        })
    }
}

/// Tries the other known normalizations on the first images, `none` among them.
pub fn best_rival(model: &Model, source: &dyn PixelSource, labels: &[usize]) -> Result<Option<Rival>, TraceError> {
    let _guard = tch::no_grad_guard();
    let own = &model.info().normalization;
    let channels = model.info().channels;
    let images = labels.len().min(MOST_IMAGES);
    let pixels = source.pixels(0..images)?;
    let accuracy = |pixels: &Tensor| -> Result<f64, TraceError> {
        let logits = padded_logits(model, pixels).map_err(TraceError::Victim)?;
        let classes = Vec::<i64>::try_from(logits.f_argmax(1, false)?)?;
        let right = classes.iter().zip(labels).filter(|(class, label)| **class as usize == **label).count();
        Ok(right as f64 / images as f64)
    };
    let constants = |it: &Normalization| {
        let constant = |values: &[f64]| {
            let tensor = Tensor::from_slice(values).to_kind(Kind::Float).view([1, -1, 1, 1]);
            to_device(&tensor, pixels.device()).ok()
        };
        let (mean, std) = it.for_channels(channels).ok()?;
        Some((constant(&mean)?, constant(&std)?))
    };
    let Some((own_mean, own_std)) = constants(own) else { return Ok(None) };
    let mut best: Option<(String, f64)> = None;
    let fitting = |it: &Normalization| it.name != own.name && (it.is_none() || it.mean.len() as i64 == channels);
    for other in Normalization::presets().filter(fitting) {
        let Some((mean, std)) = constants(&other) else { continue };
        // What the model's own normalization turns into the other one.
        let disguised = (&pixels - mean) / std * &own_std + &own_mean;
        let found = accuracy(&disguised)?;
        if best.as_ref().is_none_or(|(_, best)| found > *best) {
            best = Some((other.name, found));
        }
    }
    let Some((name, rival)) = best else { return Ok(None) };
    Ok(Some(Rival { images, accuracy: accuracy(&pixels)?, name, rival }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_what_is_better_and_by_how_much() {
        let rival = |name: &str, accuracy, rival| Rival { images: 100, accuracy, name: name.to_owned(), rival };
        let cifar = Normalization::parse("cifar10").unwrap();
        let own = rival("none", 0.2, 0.9).advice(&cifar, true).unwrap();
        assert!(own.contains("20 %") && own.contains("90 %") && own.contains("its own normalization"), "{own}");
        let missing = rival("imagenet", 0.2, 0.9).advice(&Normalization::none(), false).unwrap();
        assert!(missing.contains("--normalize imagenet"), "{missing}");
        assert_eq!(rival("imagenet", 0.85, 0.9).advice(&cifar, true), None);
        assert!(rival("imagenet", 0.85, 0.9).advice(&Normalization::none(), false).unwrap().contains("no known one"));
    }
}
