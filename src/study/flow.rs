//! Where adversarial images go among clean ones: which classes they come to lie in, tap by tap how well that gives them away.

use std::ops::ControlFlow;
use std::path::Path;

use advmod_attacks::victim::Victim as _;
use tch::Tensor;

use super::auc::Paired;
use super::each::{Each, Fault, Watch};
use crate::measure::Progress;
use crate::measure::pixels::{Joined, KeptPixels};
use crate::measure::taps::{TraceError, visit_taps};
use crate::model::Model;
use crate::model::info::ModelSummary;
use crate::modularity::{ModularityError, Neighbors, Similarity, neighbors, neighbors_among};
use crate::store::pixels::{PictureError, PixelFile};
use crate::store::{CLEAN_FILE, adversarial_file};
use crate::study::results::flow::{AttackFlow, Flow, FlowResult, TapDetection};

/// An attack's images, pixels in `[0, 1]`, and what is known of them; one entry per image.
#[derive(Clone, Debug, Default)]
struct AttackedImages {
    /// Before, `[N, C, H, W]` row-major.
    clean: Vec<f32>,
    adversarial: Vec<f32>,
    /// True classes, which the model finds on the clean images.
    labels: Vec<usize>,
    /// What the model says after the attack.
    predictions: Vec<usize>,
    is_broken: Vec<bool>,
}

impl AttackedImages {
    /// Why they have no neighbours to speak of, where they are so few.
    fn too_few(&self, k: usize) -> Option<String> {
        match self.labels.len() {
            0 => Some("the run kept none of its pixels".to_owned()),
            n => (n <= k).then(|| format!("needs more than k images: the run kept {n}, k = {k}; lower --k")),
        }
    }
}

/// What a run says of an attack.
pub(crate) struct StoredAttack<'a> {
    pub label: &'a str,
    /// In the order of their places.
    pub samples: Vec<AttackedSample>,
}

/// A run whose images are in a folder, and what must fit them.
pub(crate) struct StoredRun<'a> {
    pub folder: &'a Path,
    /// `[channels, height, width]` of each image.
    pub shape: [usize; 3],
    /// Of all samples.
    pub labels: &'a [u32],
    pub classes: usize,
}

/// What a run says of a sample that was attacked.
#[derive(Clone, Copy)]
pub(crate) struct AttackedSample {
    /// Its place in the list of samples.
    pub sample: usize,
    pub prediction: u32,
    pub is_broken: bool,
}

impl StoredRun<'_> {
    /// Where the images of these attacks lie, one attack after the other; what has too few images says so.
    pub(crate) fn flows(
        &self,
        model: &FlowModel,
        attacks: &[StoredAttack<'_>],
        (k, similarity): (usize, Similarity),
        watch: &mut dyn Watch,
    ) -> (Vec<AttackFlow>, Each) {
        let (mut flows, mut each) = (Vec::new(), Each::default());
        for StoredAttack { label, samples } in attacks {
            let attack = (*label).to_owned();
            let images = match self.images(label, samples) {
                Ok(images) => images,
                Err(problem) => {
                    each.faults.push(Fault::Other(problem));
                    continue;
                }
            };
            if let Some(reason) = images.too_few(k) {
                flows.push(AttackFlow { attack, flow: None, reason: Some(reason) });
                continue;
            }
            let steps = model.steps(&images);
            let _ = watch.tell(label, 0, 0);
            let flow = model.flow(&images, k, similarity, &mut |done| watch.tell(label, done, steps));
            match each.settle(watch, flow.map_err(|problem| Fault::Other(format!("{label}: {problem}")))) {
                ControlFlow::Break(()) => break,
                ControlFlow::Continue(None) => (),
                ControlFlow::Continue(flow) => flows.push(AttackFlow { attack, flow, reason: None }),
            }
        }
        (flows, each)
    }

    /// The images of an attack that has attacked these samples, in their order; empty where the run kept none.
    fn images(&self, attack: &str, samples: &[AttackedSample]) -> Result<AttackedImages, String> {
        let open = |file: Result<_, PictureError>| file.map_err(|error| error.to_string());
        let mut images = AttackedImages::default();
        let Some(mut adversarial) = open(PixelFile::adversarial(self.folder, attack))? else { return Ok(images) };
        let Some(mut clean) = open(PixelFile::clean(self.folder))? else {
            return Err(format!("{CLEAN_FILE} is not there; give the folder as the audit left it"));
        };
        let unfit = |file: &str| format!("{file} is of another run; give the folder as the audit left it");
        if [&clean, &adversarial].iter().any(|file| file.shape() != self.shape) {
            return Err(unfit(&format!("{CLEAN_FILE} or {}", adversarial_file("*"))));
        }
        for (row, place) in adversarial.samples().to_vec().into_iter().enumerate() {
            let found = usize::try_from(place).ok().and_then(|sample| {
                let at = samples.binary_search_by_key(&sample, |it| it.sample).ok()?;
                let original = clean.samples().binary_search(&place).ok()?;
                Some((&samples[at], *self.labels.get(sample)? as usize, original))
            });
            let Some((result, class, original)) = found else {
                return Err(unfit(&adversarial_file(attack)));
            };
            let prediction = result.prediction as usize;
            if class.max(prediction) >= self.classes {
                return Err(unfit("the report"));
            }
            let picture = |file: &mut PixelFile, row| file.picture(row).map_err(|error| error.to_string());
            images.clean.extend(picture(&mut clean, original)?.pixels);
            images.adversarial.extend(picture(&mut adversarial, row)?.pixels);
            images.labels.push(class);
            images.predictions.push(prediction);
            images.is_broken.push(result.is_broken);
        }
        Ok(images)
    }
}

/// What was found of the attacks of a run, with a warning for each that was left out.
pub(crate) fn result(
    model: ModelSummary,
    data: String,
    class_names: &[String],
    attacks: Vec<AttackFlow>,
) -> FlowResult {
    let name = |class: usize| class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    FlowResult {
        warnings: attacks.iter().filter_map(AttackFlow::left_out).map(|it| format!("left out: {it}")).collect(),
        classes: (0..model.classes).map(name).collect(),
        data,
        model,
        attacks,
    }
}

pub(crate) struct FlowModel {
    model: Model,
    shape: [usize; 3],
}

impl FlowModel {
    /// That of a run, for images of `[channels, height, width]`.
    pub(crate) fn new(model: Model, shape: [usize; 3]) -> Self {
        Self { model, shape }
    }

    /// Points of the network and images that [`FlowModel::flow`] works off: its steps.
    fn steps(&self, images: &AttackedImages) -> u64 {
        (2 * images.labels.len() * self.model.tap_paths().len()) as u64
    }

    /// Finds the `k` nearest clean images of each image, clean and adversarial, its own original left out.
    fn flow(
        &self,
        images: &AttackedImages,
        k: usize,
        similarity: Similarity,
        progress: &mut Progress<'_>,
    ) -> Result<Flow, String> {
        let n = images.labels.len();
        if n <= k {
            return Err(ModularityError::TooFewSamples { n, k }.to_string());
        }
        // With one more, an interval can leave each image out.
        let candidates = (k + 1).min(n - 1);
        let [channels, height, width] = self.shape.map(|size| size as i64);
        let tensor = |pixels: &[f32]| {
            let tensor = Tensor::f_from_slice(pixels).and_then(|it| it.f_view([n as i64, channels, height, width]));
            tensor.map_err(|error| TraceError::from(error).to_string())
        };
        let (clean, adversarial) = (tensor(&images.clean)?, tensor(&images.adversarial)?);
        let kept = |pixels| KeptPixels { pixels, device: self.model.device() };
        let both = Joined { first: &kept(&clean), second: &kept(&adversarial) };
        let mut found: Vec<[Result<Neighbors, ModularityError>; 2]> = Vec::new();
        visit_taps(&self.model, &both, progress, &mut |rows, share_done| {
            let (clean, adversarial) = (rows.f_narrow(0, 0, n as i64)?, rows.f_narrow(0, n as i64, n as i64)?);
            // Each pair of clean images is compared once only.
            let before = neighbors(&clean, similarity, candidates, &mut |share| share_done(share / 3.0));
            let mut rest = |share: f64| share_done((1.0 + 2.0 * share) / 3.0);
            let after = neighbors_among(&adversarial, &clean, similarity, candidates, &mut rest);
            if [&before, &after].contains(&&Err(ModularityError::Stopped)) {
                return Err(TraceError::Stopped);
            }
            found.push([before, after]);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        let taps = self.model.tap_paths();
        let classes = self.model.info().classes as usize;
        let flow = |at: usize| match found.last() {
            Some(last) => last[at].as_ref().map_or(Vec::new(), |it| class_flow(it, k, images, classes)),
            None => Vec::new(),
        };
        Ok(Flow {
            reference: n,
            broken: images.is_broken.iter().filter(|it| **it).count(),
            k,
            similarity,
            clean: flow(0),
            adversarial: flow(1),
            tap: taps.last().cloned().unwrap_or_default(),
            taps: taps.into_iter().zip(&found).map(|(tap, found)| detection(tap, found, k, images)).collect(),
        })
    }
}

/// Which classes the `k` neighbours of each class's broken images have.
fn class_flow(neighbors: &Neighbors, k: usize, images: &AttackedImages, classes: usize) -> Vec<Vec<Option<f64>>> {
    let mut counts = vec![vec![0_usize; classes]; classes];
    for sample in broken(images) {
        for (other, _) in neighbors.row(sample).take(k) {
            counts[images.labels[sample]][images.labels[other as usize]] += 1;
        }
    }
    let shares = |row: Vec<usize>| {
        let sum: usize = row.iter().sum();
        row.into_iter().map(|count| (sum > 0).then(|| count as f64 / sum as f64)).collect()
    };
    counts.into_iter().map(shares).collect()
}

fn broken(images: &AttackedImages) -> impl Iterator<Item = usize> {
    images.is_broken.iter().enumerate().filter(|(_, is_broken)| **is_broken).map(|(sample, _)| sample)
}

fn detection(
    tap: String,
    found: &[Result<Neighbors, ModularityError>; 2],
    k: usize,
    images: &AttackedImages,
) -> TapDetection {
    let [Ok(clean), Ok(adversarial)] = found else {
        let reason = found.iter().find_map(|it| Some(it.as_ref().err()?.to_string()));
        return TapDetection { tap, reason, ..TapDetection::default() };
    };
    let broken: Vec<usize> = broken(images).collect();
    let paired = Paired {
        labels: &images.labels,
        // Only images that the model classifies correctly are attacked: before, their labels are what it says.
        predictions: [&images.labels, &images.predictions],
        broken: &broken,
        neighbors: [clean, adversarial],
        k,
    };
    let Some((auc, interval)) = paired.auc() else {
        return TapDetection { tap, reason: Some("the attack broke no image".to_owned()), ..TapDetection::default() };
    };
    let share = |side| paired.counts(side).iter().sum::<usize>() as f64 / (k * broken.len()) as f64;
    TapDetection {
        tap,
        auc: Some(auc),
        auc_interval: interval,
        auc_two_sided: Some(auc.max(1.0 - auc)),
        clean_disagreement: Some(share(0)),
        adversarial_disagreement: Some(share(1)),
        reason: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_images_are_counted_where_they_land() {
        // Four references of classes 0 0 1 1; two neighbours each. Image 0 is broken and lies among class 1.
        let neighbors = |rows: [[u32; 2]; 4]| Neighbors::new(4, 2, rows.concat(), vec![0.5; 8]);
        let images = AttackedImages {
            labels: vec![0, 0, 1, 1],
            predictions: vec![1, 0, 1, 0],
            is_broken: vec![true, false, false, true],
            ..AttackedImages::default()
        };
        let clean = neighbors([[1, 2], [0, 2], [3, 0], [2, 0]]);
        let adversarial = neighbors([[2, 3], [0, 2], [3, 0], [2, 1]]);
        let flow = class_flow(adversarial.as_ref().unwrap(), 2, &images, 3);
        assert_eq!(flow[0], [Some(0.0), Some(1.0), Some(0.0)]);
        assert_eq!(flow[1], [Some(0.5), Some(0.5), Some(0.0)]);
        assert_eq!(flow[2], [None; 3]);
        let found = detection("fc".to_owned(), &[clean, adversarial], 2, &images);
        // Clean: of 0 one disagrees (2), of 3 one (0). Adversarial: of 0 none, of 3, predicted 0, one (2).
        assert_eq!((found.clean_disagreement, found.adversarial_disagreement), (Some(0.5), Some(0.25)));
        assert_eq!((found.auc, found.auc_two_sided), (Some(0.25), Some(0.75)));
        let nobody = AttackedImages { is_broken: vec![false; 4], ..images };
        let none = detection("fc".to_owned(), &[Err(ModularityError::ZeroK), Err(ModularityError::ZeroK)], 2, &nobody);
        assert!(none.auc.is_none() && none.reason.unwrap().contains("k = 0"));
    }
}
