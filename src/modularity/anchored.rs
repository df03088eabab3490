//! The clean-anchored curve: among which classes of clean images adversarial images come to lie, tap by tap.
//!
//! Q of the adversarial images among themselves does not see *where* a class goes: one that is moved as a whole stays a community. Here each
//! adversarial image is placed among the clean ones instead, its own original left out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::halves::{Replicates, SPLITS, Splits};
use super::{Interval, ModularityError, Neighbors, Similarity, paired_difference};

/// Share of the k nearest clean images that have a class, on average over the attacked images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassShare {
    /// Share before the attack: of the images when clean.
    pub clean: f64,
    /// Share after the attack.
    pub adversarial: f64,
    /// 95 % interval of the share after the attack, from random halves.
    pub interval: Option<Interval>,
    /// Share after the attack minus share before it, as a paired difference.
    pub change: Option<Interval>,
}

/// One tap of a clean-anchored curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnchoredTap {
    /// Module path of the tap in the network.
    pub tap: String,
    /// Share of neighbours of the true class.
    pub retained: Option<ClassShare>,
    /// Share of neighbours of the class that the model gives the adversarial image; for an image that the attack did not break that is the true
    /// class.
    pub captured: Option<ClassShare>,
    /// Captured minus retained share after the attack, as a paired difference.
    pub lead: Option<Interval>,
    /// Why the shares are absent.
    pub reason: Option<String>,
}

/// Where adversarial images lie among the clean images of the same attack, tap by tap in forward order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnchoredCurve {
    /// Number of attacked images N, which are also those among which they are placed.
    pub n: usize,
    /// Number of nearest clean images k of each image.
    pub k: usize,
    /// How representations were compared.
    pub similarity: Similarity,
    /// Share of the true class that neighbours drawn at random would have.
    pub retained_by_chance: Option<f64>,
    /// Share of the predicted class that neighbours drawn at random would have.
    pub captured_by_chance: Option<f64>,
    /// The taps in forward order.
    pub taps: Vec<AnchoredTap>,
    /// Half the difference between the two random halves of the images in each split, of the retention drop: with it a later report of the same
    /// images is compared as a pair.
    #[serde(default)]
    pub drop_halves: Vec<f64>,
}

/// The tap from which on adversarial images lie rather among the predicted class than among their own. Before it the two shares may cross by
/// chance where they are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapturedFrom {
    /// Module path of the tap; absent where it is none.
    pub tap: Option<String>,
    /// Number of taps before it; of all taps where it is none.
    pub before: usize,
    /// Number of taps before the one from which on the interval of captured minus retained does not exclude it.
    pub earliest: usize,
    /// Number of taps before the one from which on this interval is wholly above 0.
    pub latest: usize,
}

/// What the curve is of, besides neighbours.
pub(crate) struct Anchor<'a> {
    pub(crate) k: usize,
    pub(crate) similarity: Similarity,
    /// True classes.
    pub(crate) labels: &'a [usize],
    /// Classes that the model gives the adversarial images.
    pub(crate) predictions: &'a [usize],
    pub(crate) splits: &'a Splits,
}

impl Anchor<'_> {
    /// The curve over these taps; at each, the nearest clean images of every clean and of every adversarial image.
    pub(crate) fn curve<'n>(
        &self,
        taps: impl Iterator<Item = (&'n str, [&'n Result<Neighbors, ModularityError>; 2])>,
    ) -> AnchoredCurve {
        let mut drop = None;
        let taps = taps.map(|(tap, found)| self.tap(tap, found, &mut drop)).collect();
        AnchoredCurve {
            n: self.labels.len(),
            k: self.k,
            similarity: self.similarity,
            retained_by_chance: self.by_chance(self.labels),
            captured_by_chance: self.by_chance(self.predictions),
            taps,
            drop_halves: drop.map(|it: Replicates| it.differences).unwrap_or_default(),
        }
    }

    /// `drop` becomes that of the retained share, if it is known.
    fn tap(
        &self,
        tap: &str,
        found: [&Result<Neighbors, ModularityError>; 2],
        drop: &mut Option<Replicates>,
    ) -> AnchoredTap {
        *drop = None;
        let missing = |reason: String| {
            let (tap, reason) = (tap.to_owned(), Some(reason));
            AnchoredTap { tap, retained: None, captured: None, lead: None, reason }
        };
        let [clean, adversarial] = match found {
            [Ok(clean), Ok(adversarial)] => [clean, adversarial],
            [Err(error), _] | [_, Err(error)] => return missing(error.to_string()),
        };
        let of = |classes| [self.share(clean, classes), self.share(adversarial, classes)];
        let ([kept, retained], [own, captured]) = (of(self.labels), of(self.predictions));
        let difference = |a: &Share, b: &Share| paired_difference(a.replicates.as_ref()?, b.replicates.as_ref()?).ok();
        let share = |before: &Share, after: &Share| ClassShare {
            clean: before.value,
            adversarial: after.value,
            interval: after.replicates.as_ref().map(Replicates::interval),
            change: difference(after, before),
        };
        *drop = kept.replicates.as_ref().zip(retained.replicates.as_ref()).and_then(|(a, b)| a.minus(b).ok());
        AnchoredTap {
            tap: tap.to_owned(),
            retained: Some(share(&kept, &retained)),
            captured: Some(share(&own, &captured)),
            lead: difference(&captured, &retained),
            reason: None,
        }
    }

    /// Mean share of the first k neighbours of each image that have a class: of all images, and of each half among its own.
    fn share(&self, neighbors: &Neighbors, classes: &[usize]) -> Share {
        let (n, k) = (classes.len(), self.k);
        let is_hit = |image: usize, other: usize| usize::from(self.labels[other] == classes[image]);
        let of_image =
            |image| neighbors.row(image).take(k).map(|(other, _)| is_hit(image, other as usize)).sum::<usize>();
        let value = (0..n).map(of_image).sum::<usize>() as f64 / (n * k).max(1) as f64;
        let mut halves = [(0, 0); 2 * SPLITS];
        let found = self.splits.nearest(neighbors, k, &mut |half, image, other, _| {
            let (hits, of) = halves[half];
            halves[half] = (hits + is_hit(image, other), of + 1);
        });
        let shares = halves.map(|(hits, of)| hits as f64 / f64::from(of.max(1)));
        Share { value, replicates: found.ok().map(|()| self.splits.replicates(value, &shares)) }
    }

    /// The share that images have of a class which each of the others is as likely to be a neighbour.
    fn by_chance(&self, classes: &[usize]) -> Option<f64> {
        let n = self.labels.len();
        let mut counts: Vec<usize> = vec![0; self.labels.iter().chain(classes).max().map_or(0, |most| most + 1)];
        self.labels.iter().for_each(|&label| counts[label] += 1);
        let others = classes.iter().zip(self.labels).map(|(class, label)| counts[*class] - usize::from(class == label));
        (n > 1).then(|| others.sum::<usize>() as f64 / (n * (n - 1)) as f64)
    }
}

struct Share {
    value: f64,
    replicates: Option<Replicates>,
}

impl AnchoredCurve {
    /// Share of the true class before minus after the attack at the last tap: how much of its classes the network has lost in the end.
    pub(crate) fn retention_drop(&self) -> Option<Interval> {
        self.taps.last()?.retained?.change.map(Interval::negated)
    }

    pub(crate) fn captured_from(&self) -> Option<CapturedFrom> {
        // Without an interval the value decides alone.
        let leads: Vec<Option<[f64; 3]>> = self.taps.iter().map(lead).collect();
        leads.iter().any(Option::is_some).then_some(())?;
        let from = |end: usize| {
            let captured = leads.iter().rev().take_while(|it| it.is_some_and(|it| it[end] > 0.0));
            leads.len() - captured.count()
        };
        let [earliest, before, latest] = [0, 1, 2].map(from);
        Some(CapturedFrom { tap: self.taps.get(before).map(|it| it.tap.clone()), before, earliest, latest })
    }
}

/// Captured minus retained share: highest, value, lowest.
fn lead(tap: &AnchoredTap) -> Option<[f64; 3]> {
    let value = tap.captured?.adversarial - tap.retained?.adversarial;
    Some(tap.lead.map_or([value; 3], |it| [it.high, value, it.low]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modularity::candidates_for;

    /// N images of 2 classes on a line; each adversarial image lies where an image of the other class does, `moved` of them.
    fn placed(n: usize, moved: usize) -> ([Result<Neighbors, ModularityError>; 2], Vec<usize>, Vec<usize>) {
        let labels: Vec<usize> = (0..n).map(|i| usize::from(i >= n / 2)).collect();
        let predictions: Vec<usize> = (0..n).map(|i| if i < moved { 1 - labels[i] } else { labels[i] }).collect();
        let lists = |classes: &[usize]| {
            let value = |i: usize, j: usize| if classes[i] == labels[j] { 0.9 } else { 0.1 } - 1e-4 * j as f32;
            let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
            let dense: Vec<f32> = pairs.map(|(i, j)| value(i, j)).collect();
            Neighbors::from_dense(n, &dense, candidates_for(n, 3))
        };
        ([lists(&labels), lists(&predictions)], labels, predictions)
    }

    fn curve(n: usize, moved: usize) -> AnchoredCurve {
        let ([clean, adversarial], labels, predictions) = placed(n, moved);
        let splits = Splits::new(n);
        let anchor = Anchor {
            k: 3,
            similarity: Similarity::COSINE,
            labels: &labels,
            predictions: &predictions,
            splits: &splits,
        };
        // At the first tap nothing has moved yet.
        anchor.curve([("first", [&clean, &clean]), ("last", [&clean, &adversarial])].into_iter())
    }

    #[test]
    fn moved_images_are_retained_by_their_class_no_more_and_captured_by_the_other() {
        let found = curve(60, 15);
        let [first, last] = &found.taps[..] else { panic!("{found:?}") };
        let (kept, retained) = (first.retained.unwrap(), last.retained.unwrap());
        assert_eq!((kept.clean, kept.adversarial, retained.clean), (1.0, 1.0, 1.0));
        assert!((retained.adversarial - 0.75).abs() < 1e-12, "{retained:?}");
        // Those that did not move are still among the class that is predicted, their own.
        let captured = last.captured.unwrap();
        assert_eq!((captured.clean, captured.adversarial), (0.75, 1.0));
        assert!(captured.change.unwrap().low > 0.0 && retained.change.unwrap().high < 0.0);
        let drop = found.retention_drop().unwrap();
        assert!((drop.estimate - 0.25).abs() < 1e-12 && drop.low > 0.0 && drop.high < 0.5, "{drop:?}");
        // 29 of 59 others are of the own class.
        assert!((found.retained_by_chance.unwrap() - 29.0 / 59.0).abs() < 1e-12);
        let from = found.captured_from().unwrap();
        assert_eq!((from.tap.as_deref(), from.before, from.latest), (Some("last"), 1, 1));
        assert!(from.earliest <= 1);
    }

    #[test]
    fn where_nothing_is_broken_nothing_is_captured() {
        let found = curve(60, 0);
        assert_eq!(found.captured_from(), Some(CapturedFrom { tap: None, before: 2, earliest: 2, latest: 2 }));
        let drop = found.retention_drop().unwrap();
        assert_eq!((drop.estimate, drop.se), (0.0, 0.0));
    }

    #[test]
    fn few_images_have_shares_without_intervals_and_a_tap_without_neighbours_says_why() {
        let found = curve(12, 6);
        let last = found.taps.last().unwrap();
        assert!(last.retained.unwrap().interval.is_none() && last.lead.is_none() && found.retention_drop().is_none());
        assert_eq!(found.captured_from().unwrap().before, 1);
        let labels = [0, 0, 1];
        let splits = Splits::new(3);
        let anchor =
            Anchor { k: 3, similarity: Similarity::COSINE, labels: &labels, predictions: &labels, splits: &splits };
        let missing = Err(ModularityError::TooFewSamples { n: 3, k: 3 });
        let found = anchor.curve([("fc", [&missing, &missing])].into_iter());
        assert!(found.taps[0].reason.as_ref().unwrap().contains("more than k samples"));
        assert_eq!((found.captured_from(), found.retention_drop()), (None, None));
    }
}
