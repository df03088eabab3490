//! The images that a report shows: a few of each attack, before and after.

use sha2::{Digest as _, Sha256};

use crate::audit::event::SampleResult;
use crate::store::picture::Picture;
use crate::verdict::Report;
use crate::verdict::facts::AttackResult;

/// Images of a run. Empty where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Attack by attack, kind by kind.
    pub(crate) pairs: Vec<Pair>,
    /// Of every block of so many pixels in a square one is kept, the one that changes most; 0 or 1 where all are.
    pub shrunk: usize,
    /// Whether fewer images are here than there would be with more room.
    pub is_cut: bool,
}

/// One image before and after.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pair {
    /// The attack's place in the plan.
    pub attack: usize,
    pub sample: usize,
    pub chosen: Chosen,
    pub clean: Picture,
    pub adversarial: Picture,
}

/// Why a report shows a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// Among the broken samples its change is one of the smallest.
    SmallestChange,
    /// Drawn by the seed from the broken samples.
    Broken,
    /// Drawn by the seed from the samples that held.
    Held,
    /// Drawn by the seed from all attacked samples.
    Drawn,
}

/// Most samples of an attack of each kind.
pub(crate) const EACH: usize = 3;

/// Most bytes of the page that shows them.
const PAGE: usize = 4_600_000;

/// Least bytes for images, however much else there is.
const LEAST: usize = 300_000;

/// Most pairs: beyond that nobody looks.
const PAIRS: usize = 120;

/// A file's own bytes around its pixels.
const OVERHEAD: usize = 200;

impl Evidence {
    /// What `find` has of the images that the report should show: it is asked for a sample as an attack (by its label) left it, or, without
    /// one, for the clean image. Which images these are depends on the report alone.
    pub(crate) fn gather(report: &Report, find: &mut dyn FnMut(Option<&str>, usize) -> Option<Picture>) -> Self {
        let room = Room::new(report.data.shape, report.attacks.len(), report.taps.len());
        let mut evidence = Self { shrunk: room.shrink, is_cut: room.each < EACH, ..Self::default() };
        for (place, attack) in report.attacks.iter().enumerate() {
            for (sample, chosen) in choose(attack, report.plan.seed, room.each) {
                if evidence.pairs.len() >= PAIRS {
                    evidence.is_cut = true;
                    return evidence;
                }
                let Some(clean) = find(None, sample) else { continue };
                let Some(adversarial) = find(Some(&attack.attack.label), sample) else { continue };
                // Images of another size are not those of this report, and not what there is room for.
                if clean.shape != report.data.shape || adversarial.shape != report.data.shape {
                    continue;
                }
                let (clean, adversarial) = shrink(clean, adversarial, room.shrink);
                evidence.pairs.push(Pair { attack: place, sample, chosen, clean, adversarial });
            }
        }
        evidence
    }
}

/// How much of what there is fits.
#[derive(Debug, PartialEq)]
struct Room {
    /// Samples of an attack of each kind.
    each: usize,
    /// As [`Evidence::shrunk`].
    shrink: usize,
}

impl Room {
    /// One sample of each kind and attack in any case, in pictures as small as that needs; then as many as fit.
    fn new([_, height, width]: [usize; 3], attacks: usize, taps: usize) -> Self {
        let budget = budget(attacks, taps);
        let pairs = |each: usize| (2 * each * attacks).min(PAIRS);
        let bytes = |shrink: usize, each: usize| {
            let image = height.div_ceil(shrink).saturating_mul(width.div_ceil(shrink)).saturating_mul(3);
            image.saturating_add(OVERHEAD).saturating_mul(3 * pairs(each))
        };
        let side = height.max(width);
        let shrink = (1..side).find(|&shrink| bytes(shrink, 1) <= budget).unwrap_or(side.max(1));
        let each = (1..=EACH).rev().find(|&each| bytes(shrink, each) <= budget).unwrap_or(1);
        Self { each, shrink }
    }
}

/// Most bytes of all images together, three per pair (before, after, difference) with three bytes a pixel: noise does not compress.
fn budget(attacks: usize, taps: usize) -> usize {
    // What the page has besides, measured on long names: findings, classes, and a chart with its table for each attack.
    let text = 150_000 + attacks.saturating_mul(20_000 + 450 * taps);
    // Base64 makes four bytes of three.
    (PAGE.saturating_sub(text) / 4 * 3).max(LEAST)
}

/// The samples to show, `each` of each kind: of equal changes the ones that come first.
fn choose(attack: &AttackResult, seed: u64, each: usize) -> Vec<(usize, Chosen)> {
    let size = |it: &SampleResult| it.size(attack.attack.norm);
    // A hash of seed, attack and sample orders the samples at random, and alike whichever of them are there.
    let ticket = |it: &SampleResult| {
        let text = format!("{seed} {} {}", attack.attack.label, it.sample);
        <[u8; 32]>::from(Sha256::digest(text.as_bytes()))
    };
    let drawn = |keep: &dyn Fn(&SampleResult) -> bool, chosen: Chosen| {
        let kept = attack.samples.iter().filter(|it| keep(it));
        let mut drawn: Vec<([u8; 32], usize)> = kept.map(|it| (ticket(it), it.sample)).collect();
        drawn.sort_unstable();
        drawn.into_iter().map(|(_, sample)| (sample, chosen)).collect::<Vec<_>>()
    };
    // With a budget nearly every change is as large as that: the smallest ones tell nothing.
    if attack.attack.epsilon.is_some() {
        let (mut broken, mut held) = (drawn(&|it| it.success, Chosen::Broken), drawn(&|it| !it.success, Chosen::Held));
        // Where one kind has fewer, the other takes its place.
        let (of_broken, of_held) = (broken.len(), held.len());
        broken.truncate(2 * each - each.min(of_held));
        held.truncate(2 * each - each.min(of_broken));
        return [broken, held].concat();
    }
    let mut broken: Vec<&SampleResult> = attack.samples.iter().filter(|it| it.success).collect();
    broken.sort_by(|a, b| size(a).total_cmp(&size(b)).then(a.l2.total_cmp(&b.l2)).then(a.sample.cmp(&b.sample)));
    let smallest = broken.iter().take(each).map(|it| (it.sample, Chosen::SmallestChange));
    smallest.chain(drawn(&|_| true, Chosen::Drawn).into_iter().take(each)).collect()
}

/// Of every block of `factor`² pixels the one that changes most, in both pictures: true values, and no change is lost.
fn shrink(clean: Picture, adversarial: Picture, factor: usize) -> (Picture, Picture) {
    if factor < 2 {
        return (clean, adversarial);
    }
    let [channels, height, width] = clean.shape;
    let change = |x: usize, y: usize| {
        let values = (0..channels).map(|channel| (channel * height + y) * width + x);
        let of = |picture: &Picture, at: usize| picture.pixels.get(at).copied().unwrap_or(0.0);
        values.map(|at| (of(&clean, at) - of(&adversarial, at)).abs()).fold(0.0, f32::max)
    };
    let (rows, columns) = (height.div_ceil(factor), width.div_ceil(factor));
    let mut kept = Vec::with_capacity(rows * columns);
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let (x, y) = (column * factor, row * factor);
        let inside = (y..(y + factor).min(height)).flat_map(|y| (x..(x + factor).min(width)).map(move |x| (x, y)));
        let most =
            inside.reduce(|best, next| if change(next.0, next.1) > change(best.0, best.1) { next } else { best });
        kept.push(most.unwrap_or((x, y)));
    }
    let smaller = |picture: &Picture| {
        let value = |channel: usize, (x, y): (usize, usize)| picture.pixels.get((channel * height + y) * width + x);
        let pixels = (0..channels).flat_map(|channel| kept.iter().map(move |&at| (channel, at)));
        Picture {
            shape: [channels, rows, columns],
            pixels: pixels.map(|(channel, at)| value(channel, at).copied().unwrap_or(0.0)).collect(),
        }
    };
    (smaller(&clean), smaller(&adversarial))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::testing::recorded;

    fn flat(shape: [usize; 3], value: f32) -> Picture {
        Picture { shape, pixels: vec![value; shape.iter().product()] }
    }

    #[test]
    fn the_choice_depends_on_the_report_alone() {
        let mut report = recorded();
        let attack = &mut report.attacks[1];
        attack.attack.epsilon = None;
        let attack = &*attack;
        let chosen = choose(attack, 7, EACH);
        assert_eq!(chosen, choose(attack, 7, EACH));
        assert_ne!(chosen[EACH..], choose(attack, 8, EACH)[EACH..]);
        assert_eq!(chosen.len(), 2 * EACH);
        let l2 = |sample: usize| attack.samples.iter().find(|it| it.sample == sample).unwrap().l2;
        let linf = |it: &&SampleResult| it.success;
        let smallest = attack.samples.iter().filter(linf).map(|it| it.linf).fold(f64::INFINITY, f64::min);
        let first = attack.samples.iter().find(|it| it.sample == chosen[0].0).unwrap();
        assert!(first.success && first.linf.to_bits() == smallest.to_bits(), "{first:?}");
        assert!(chosen[..EACH].iter().all(|it| it.1 == Chosen::SmallestChange && l2(it.0) > 0.0));
        // Another sample less takes no other one's place.
        let mut fewer = attack.clone();
        fewer.samples.retain(|it| it.sample != chosen[EACH].0);
        let drawn: Vec<usize> = choose(&fewer, 7, EACH)[EACH..].iter().map(|it| it.0).collect();
        assert_eq!(drawn[..2], [chosen[EACH + 1].0, chosen[EACH + 2].0]);
    }

    #[test]
    fn of_an_attack_with_a_budget_some_broken_and_some_that_held_are_drawn() {
        let mut report = recorded();
        let attack = &mut report.attacks[1];
        let n = attack.samples.len();
        for (broken, expected) in
            [(n, (2 * EACH, 0)), (1, (1, 2 * EACH - 1)), (n / 2, (EACH, EACH)), (0, (0, 2 * EACH))]
        {
            attack.samples.iter_mut().enumerate().for_each(|(at, it)| it.success = at < broken);
            let chosen = choose(attack, 7, EACH);
            let count = |kind| chosen.iter().filter(|it| it.1 == kind).count();
            assert_eq!((count(Chosen::Broken), count(Chosen::Held)), expected, "{broken}");
            assert!(
                chosen
                    .iter()
                    .all(|it| (it.1 == Chosen::Broken) == (it.0 < attack.samples[broken.min(n - 1)].sample)
                        || broken == n)
            );
        }
    }

    #[test]
    fn images_stay_within_their_budget() {
        for (side, attacks, each, shrink) in [(28, 6, 3, 1), (224, 1, 3, 1), (224, 6, 2, 2), (32, 0, 3, 1)] {
            assert_eq!(Room::new([3, side, side], attacks, 20), Room { each, shrink }, "{side} {attacks}");
        }
        for side in [1, 28, 224, 500, 4096] {
            for (attacks, taps) in [(1, 10), (6, 20), (30, 150), (1000, 10)] {
                let Room { each, shrink } = Room::new([3, side, side], attacks, taps);
                let bytes = 9 * side.div_ceil(shrink).pow(2) * (2 * each * attacks).min(PAIRS);
                assert!(bytes <= budget(attacks, taps) && each > 0, "{side} {attacks}: {bytes}");
            }
        }
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        let mut report = recorded();
        let asked = |report: &Report, shape: [usize; 3]| {
            Evidence::gather(report, &mut |attack, sample| {
                (attack != Some("fgsm") && sample % 2 == 0).then(|| flat(shape, 0.5))
            })
        };
        let evidence = asked(&report, report.data.shape);
        assert!(!evidence.pairs.is_empty());
        assert!(evidence.pairs.iter().all(|it| it.attack == 1 && it.sample % 2 == 0));
        assert_eq!(asked(&report, [1, 500, 500]).pairs, []);
        report.data.shape = [3, 500, 500];
        let evidence = asked(&report, report.data.shape);
        assert!(evidence.shrunk > 1 && evidence.is_cut);
        assert!(evidence.pairs.iter().all(|it| it.clean.shape[1] == 500_usize.div_ceil(evidence.shrunk)));
    }

    #[test]
    fn a_smaller_picture_keeps_every_change() {
        let clean = Picture { shape: [1, 3, 3], pixels: vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] };
        let mut after = clean.clone();
        (after.pixels[4], after.pixels[2]) = (1.0, 0.0);
        let (before, after) = shrink(clean, after, 2);
        assert_eq!((before.shape, after.shape), ([1, 2, 2], [1, 2, 2]));
        assert_eq!(before.pixels, [0.5, 0.3, 0.7, 0.9]);
        assert_eq!(after.pixels, [1.0, 0.0, 0.7, 0.9]);
    }
}
