//! Whether a model seems to need another normalization: a curve alone does not tell.

use advmod_attacks::victim::Victim as _;

use crate::data::Dataset;
use crate::measure::ProgressOf;
use crate::measure::classes::Matched;
use crate::measure::normalization::{Rival, Trial};
use crate::measure::pixels::ImagePixels;
use crate::model::Model;

/// Images that go through the model at once.
const BATCH: usize = 64;

/// What the user should know where the clean accuracy on some of these images speaks for another normalization than the model's, which a flag
/// has given or not. Nothing where it does not, and where data and model do not fit each other: whoever measures them says so.
/// `progress(done, total)` counts images × normalizations.
pub(crate) fn doubt(
    model: &Model,
    data: &dyn Dataset,
    places: &[usize],
    given: bool,
    progress: &mut ProgressOf<'_>,
) -> Option<String> {
    let own = &model.info().normalization;
    let data: &dyn Dataset = &Matched::new(data, model).ok()?;
    let info = data.info();
    if !(given || own.is_none()) || model.check(info.channels, info.height, info.width).is_err() {
        return None;
    }
    let trial = Trial::new(model, places.len(), BATCH);
    let tried: Vec<usize> = trial.places(places.len()).into_iter().map(|at| places[at]).collect();
    let images = data.read(&tried).ok()?;
    let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
    let places: Vec<usize> = (0..labels.len()).collect();
    let source = ImagePixels { images: &images, places: &places, device: model.device() };
    let rival = trial.run(&source, &labels, &mut |done| progress(done, trial.steps())).ok()??;
    Some(rival).filter(Rival::wins)?.advice(own, given)
}
