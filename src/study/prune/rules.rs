//! Which units to keep: pure functions on curves, and what mends their answer where no network could be built of it.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::model::zoo::Unit;
use crate::study::results::prune::Repair;

/// ΔQ that a layer must bring in the paper's Table 1.
pub(crate) const THRESHOLD: f64 = 0.03;

/// How the units to take out are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Takes out nothing: what fine-tuning alone does.
    Nothing,
    /// Rule A: keeps a unit whose Q is above the Q of the tap before it by at least the threshold.
    Increment { threshold: f64 },
    /// Rule B: keeps a unit whose Q is above that of every earlier tap.
    RunningMaximum,
    /// Takes out so many from the back.
    Last(usize),
    /// Takes out so many at random.
    Random(usize),
    /// Takes out so many whose output is most like that of the tap before, by linear CKA.
    Cka(usize),
    /// Takes out so many with the smallest ΔQ.
    Smallest(usize),
    /// Takes out so many with the largest ΔQ.
    Largest(usize),
}

impl Rule {
    /// Reads `a`, `b`, `none`, or `last`, `random`, `cka`, `smallest`, `largest` with `:N` (1 without). Rule A takes `threshold`.
    pub(crate) fn parse(text: &str, threshold: f64) -> Result<Self, String> {
        let (name, count) = match text.split_once(':') {
            None => (text, None),
            Some((name, count)) => {
                let count: Option<usize> = count.parse().ok().filter(|count| *count > 0);
                (name, Some(count.ok_or_else(|| format!("`{text}`: expected a count of at least 1 behind the colon"))?))
            }
        };
        let n = count.unwrap_or(1);
        match (name, count) {
            ("none", None) => Ok(Self::Nothing),
            ("a", None) => Ok(Self::Increment { threshold }),
            ("b", None) => Ok(Self::RunningMaximum),
            ("last", _) => Ok(Self::Last(n)),
            ("random", _) => Ok(Self::Random(n)),
            ("cka", _) => Ok(Self::Cka(n)),
            ("smallest", _) => Ok(Self::Smallest(n)),
            ("largest", _) => Ok(Self::Largest(n)),
            _ => Err(format!(
                "`{text}` is no rule; expected a, b, none, or last:N, random:N, cka:N, smallest:N, largest:N (without :N, 1)"
            )),
        }
    }

    /// As [`parse`](Self::parse) reads it, with `-` for the colon: a part of file names.
    pub(crate) fn slug(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Increment { .. } => f.write_str("a"),
            Self::RunningMaximum => f.write_str("b"),
            Self::Last(n) => write!(f, "last:{n}"),
            Self::Random(n) => write!(f, "random:{n}"),
            Self::Cka(n) => write!(f, "cka:{n}"),
            Self::Smallest(n) => write!(f, "smallest:{n}"),
            Self::Largest(n) => write!(f, "largest:{n}"),
        }
    }
}

/// Rule A on increments: kept are those of at least the threshold, and taps that have none.
pub(crate) fn by_increment(increments: &[Option<f64>], threshold: f64) -> Vec<bool> {
    increments.iter().map(|it| it.is_none_or(|it| it >= threshold)).collect()
}

/// Rule B on what each tap's Q is above the largest earlier one: kept are those above 0, and taps that have none.
pub(crate) fn by_running_maximum(margins: &[Option<f64>]) -> Vec<bool> {
    margins.iter().map(|it| it.is_none_or(|it| it > 0.0)).collect()
}

/// Puts back what the network cannot do without: units that change the shape where others cannot take their place, and one unit of each
/// stage: the one of the largest Q (`q`: one per unit).
///
/// With `remakes`, any unit of a stage can become its first: a convolution is then made anew for its new input.
pub(crate) fn repair(units: &[Unit], q: &[f64], remakes: bool, kept: &mut [bool]) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let mut put_back = |at: usize, why: &str, kept: &mut [bool]| {
        kept[at] = true;
        repairs.push(Repair { unit: units[at].path.clone(), why: why.to_owned() });
    };
    for at in (0..units.len()).filter(|&at| units[at].changes_shape && !remakes) {
        if !kept[at] {
            put_back(at, "it changes the shape", kept);
        }
    }
    let stages = units.last().map_or(0, |unit| unit.stage + 1);
    for stage in 0..stages {
        let of_stage = || (0..units.len()).filter(|&at| units[at].stage == stage);
        if of_stage().any(|at| kept[at]) {
            continue;
        }
        // Of equal ones the first.
        if let Some(at) = of_stage().reduce(|best, at| if q[at] > q[best] { at } else { best }) {
            put_back(at, "its stage would be empty, and its Q is the stage's largest", kept);
        }
    }
    repairs
}

/// What the network can do without, one at a time: units that keep the shape and are not their stage's only one.
pub(crate) fn removable(units: &[Unit]) -> Vec<usize> {
    let is_alone = |unit: &Unit| units.iter().filter(|it| it.stage == unit.stage).count() == 1;
    (0..units.len()).filter(|&at| !units[at].changes_shape && !is_alone(&units[at])).collect()
}

/// Takes out `n` of the removable units in this order, leaving one in each stage.
pub(crate) fn take_out(units: &[Unit], order: &[usize], n: usize) -> Result<Vec<bool>, String> {
    let mut kept = vec![true; units.len()];
    let mut out = 0;
    for &at in order {
        let left = units.iter().zip(&kept).filter(|(unit, kept)| **kept && unit.stage == units[at].stage).count();
        if out < n && left > 1 {
            kept[at] = false;
            out += 1;
        }
    }
    if out < n {
        return Err(format!(
            "{n} unit(s) cannot be taken out: only {out} of {} keep the shape and leave one in their stage",
            units.len()
        ));
    }
    Ok(kept)
}

pub(crate) fn last_first(units: &[Unit]) -> Vec<usize> {
    removable(units).into_iter().rev().collect()
}

/// The removable units in an order drawn from `seed`.
pub(crate) fn shuffled(units: &[Unit], seed: u64) -> Vec<usize> {
    let mut order = removable(units);
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}

/// The removable units that have a value, from the smallest on; of equal ones the first.
pub(crate) fn ascending(units: &[Unit], values: &[Option<f64>]) -> Vec<usize> {
    let mut order: Vec<(usize, f64)> = removable(units).into_iter().filter_map(|at| Some((at, values[at]?))).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    order.into_iter().map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::zoo::named;

    /// Curves that the authors of Lu et al., ECCV 2022, print in their code: ResNet-56 (the raw stem, then 27 blocks) and VGG-19
    /// (16 convolutions) on CIFAR-10, ResNet-56 on CIFAR-100.
    const RESNET56_C10: [f64; 28] = [
        0.149_047_039_253_803_78,
        0.084_927_382_947_067_21,
        0.067_946_523_113_158_14,
        0.058_426_988_429_695_18,
        0.057_742_299_888_598_38,
        0.066_613_664_192_333_68,
        0.055_583_824_362_309_284,
        0.096_097_249_919_392_49,
        0.149_260_328_877_187_13,
        0.171_900_497_358_195_15,
        0.211_931_998_316_804_5,
        0.204_969_583_394_07,
        0.203_958_700_535_301_77,
        0.219_401_740_198_616_72,
        0.233_104_476_320_359_85,
        0.256_061_724_329_862,
        0.288_175_910_637_973,
        0.323_578_464_465_341_55,
        0.350_352_054_383_220_7,
        0.427_413_525_807_404_9,
        0.441_341_397_801_300_6,
        0.471_266_652_511_895,
        0.507_360_541_642_674_6,
        0.565_929_999_829_753_3,
        0.646_669_957_268_051_4,
        0.727_501_227_447_875_2,
        0.780_540_461_381_600_9,
        0.809_295_637_867_689,
    ];
    const RESNET56_C100: [f64; 28] = [
        0.0514, 0.0102, 0.0016, 0.0274, 0.0252, 0.0312, 0.0353, 0.0435, 0.0466, 0.0435, 0.0743, 0.0717, 0.0707, 0.0717,
        0.0745, 0.0780, 0.0786, 0.0903, 0.0940, 0.1274, 0.1403, 0.1918, 0.2851, 0.4526, 0.5300, 0.5746, 0.5921, 0.5993,
    ];
    const VGG19_C10: [f64; 16] = [
        0.1468, 0.0465, 0.2384, 0.1642, 0.4178, 0.4543, 0.5440, 0.6443, 0.7832, 0.8061, 0.8127, 0.8173, 0.8065, 0.8027,
        0.7997, 0.7965,
    ];

    fn increments(q: &[f64]) -> Vec<Option<f64>> {
        (0..q.len()).map(|at| Some(q[at] - q[at.checked_sub(1)?])).collect()
    }

    fn running_maximum(q: &[f64]) -> Vec<bool> {
        let margins: Vec<Option<f64>> =
            (0..q.len()).map(|at| Some(q[at] - q[..at].iter().copied().reduce(f64::max)?)).collect();
        by_running_maximum(&margins)
    }

    /// Numbers of the blocks that stay, stage by stage; the first tap is the stem.
    fn blocks(kept: &[bool]) -> Vec<Vec<usize>> {
        kept[1..].chunks(9).map(|stage| (0..9).filter(|&idx| stage[idx]).collect()).collect()
    }

    fn units(name: &str) -> Vec<Unit> {
        named(name, 3, 10).unwrap().units()
    }

    #[test]
    fn rule_a_gives_the_papers_resnet() {
        let increments = increments(&RESNET56_C10);
        let of = |threshold| blocks(&by_increment(&increments, threshold));
        assert_eq!(of(THRESHOLD), [vec![6, 7], vec![0, 6, 7], vec![0, 3, 4, 5, 6, 7]]);
        let counts = |threshold| of(threshold).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!((counts(0.029), counts(0.035)), (vec![2, 3, 7], vec![2, 2, 6]));
        // It can be built as it is.
        let mut kept = by_increment(&increments, THRESHOLD)[1..].to_vec();
        assert_eq!(repair(&units("resnet56"), &RESNET56_C10[1..], false, &mut kept), []);
        let pruned = named("resnet56", 3, 10).unwrap().keeping(&kept);
        assert_eq!(pruned.architecture.name(), "resnet[2,3,6]");
        assert_eq!(pruned.origins[0], ("layer1.0".to_owned(), "layer1.6".to_owned()));
        assert_eq!(pruned.origins.last().unwrap(), &("layer3.5".to_owned(), "layer3.7".to_owned()));
    }

    #[test]
    fn rule_b_gives_the_papers_lists() {
        let all: Vec<usize> = (0..9).collect();
        let c10 = [vec![7, 8], vec![0, 3, 4, 5, 6, 7, 8], all.clone()];
        assert_eq!(blocks(&running_maximum(&RESNET56_C10)), c10);
        let c100 = [vec![], vec![0, 4, 5, 6, 7, 8], all];
        assert_eq!(blocks(&running_maximum(&RESNET56_C100)), c100);
        let kept = running_maximum(&VGG19_C10);
        let convs: Vec<usize> = (0..16).filter(|&at| kept[at]).collect();
        assert_eq!(convs, [0, 2, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn an_empty_stage_keeps_its_best_unit_and_says_so() {
        // The authors keep block 7 too.
        let mut kept = running_maximum(&RESNET56_C100)[1..].to_vec();
        let repairs = repair(&units("resnet56"), &RESNET56_C100[1..], false, &mut kept);
        assert_eq!(repairs.iter().map(|it| it.unit.as_str()).collect::<Vec<_>>(), ["layer1.7"]);
        assert_eq!(kept.iter().position(|kept| *kept), Some(7));
        let mut kept = running_maximum(&VGG19_C10);
        let repairs = repair(&units("vgg19-bn"), &VGG19_C10, true, &mut kept);
        assert_eq!(repairs.iter().map(|it| it.unit.as_str()).collect::<Vec<_>>(), ["features.40"]);
        assert_eq!(named("vgg19-bn", 3, 10).unwrap().keeping(&kept).architecture.name(), "vgg[1,1,4,4,1]-bn");
    }

    #[test]
    fn a_stage_keeps_the_block_that_changes_the_shape() {
        let mut kept = vec![true, true, false, true, false, false];
        let repairs = repair(&units("resnet14"), &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], false, &mut kept);
        assert_eq!(repairs.iter().map(|it| it.unit.as_str()).collect::<Vec<_>>(), ["layer2.0", "layer3.0"]);
        assert_eq!(kept, [true, true, true, true, true, false]);
    }

    #[test]
    fn baselines_leave_a_network() {
        let units = units("resnet14");
        assert_eq!(removable(&units), [0, 1, 3, 5]);
        assert_eq!(take_out(&units, &last_first(&units), 2).unwrap(), [true, true, true, false, true, false]);
        // Of the two blocks of the first stage one stays.
        let kept = take_out(&units, &last_first(&units), 3).unwrap();
        assert_eq!(kept, [true, false, true, false, true, false]);
        assert!(take_out(&units, &last_first(&units), 4).unwrap_err().contains("only 3 of 6"));
        assert_eq!(shuffled(&units, 7), shuffled(&units, 7));
        assert!((0..20).any(|seed| shuffled(&units, seed) != shuffled(&units, 7)));
        let order = ascending(&units, &[None, Some(0.2), Some(0.0), Some(-0.1), None, Some(0.1)]);
        assert_eq!(order, [3, 5, 1]);
        assert!(removable(&named("resnet8", 3, 10).unwrap().units()).is_empty());
    }

    #[test]
    fn rules_read_back_what_they_print() {
        for text in ["a", "b", "none", "last:3", "random:2", "cka:1", "smallest:1", "largest:4"] {
            assert_eq!(Rule::parse(text, 0.1).unwrap().to_string(), text);
        }
        assert_eq!(Rule::parse("a", 0.1), Ok(Rule::Increment { threshold: 0.1 }));
        assert_eq!(Rule::parse("smallest", 0.1), Ok(Rule::Smallest(1)));
        for text in ["", "c", "a:2", "last:0", "last:x", "none:1", "last:-1"] {
            assert!(Rule::parse(text, 0.1).is_err(), "{text}");
        }
    }
}
