//! How severe a weakness is: how large a change needs to be, and how many images it breaks.

use std::collections::BTreeSet;

use advmod_attacks::threat::Norm;

use super::finding::Severity;
use crate::stats::rates::Rate;
use crate::verdict::facts::{AttackResult, Facts};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Usual,
    Any,
}

impl Size {
    const ALL: [Self; 3] = [Self::Small, Self::Usual, Self::Any];

    /// Of L∞, and per value of L2: in 255ths; of L0: a share of the pixels.
    fn limit(self, norm: Norm, [channels, height, width]: [usize; 3]) -> f64 {
        let (linf, share) = match self {
            Self::Small => (2.0 / 255.0, 0.005),
            Self::Usual => (8.0 / 255.0, 0.05),
            Self::Any => return f64::INFINITY,
        };
        let area = (height * width) as f64;
        match norm {
            Norm::L0 => (share * area).floor().max(1.0),
            Norm::L2 => linf * (channels as f64 * area).sqrt(),
            Norm::Linf => linf,
        }
    }

    /// `of at most 8/255 in L∞`.
    pub(super) fn words(self, norm: Norm, shape: [usize; 3]) -> String {
        let limit = self.limit(norm, shape);
        match (self, norm) {
            (Self::Any, _) => "of any size that was tried".to_owned(),
            (_, Norm::L0) => format!("of at most {limit:.0} pixel{}", if limit > 1.0 { "s" } else { "" }),
            (_, Norm::L2) => format!("of at most {limit:.2} in L2"),
            (Self::Small, _) => "of at most 2/255 in L∞".to_owned(),
            (Self::Usual, _) => "of at most 8/255 in L∞".to_owned(),
        }
    }
}

fn severity(size: Size, is_black_box: bool, low: f64) -> Severity {
    use Severity::{High, Info, Low, Medium};
    let steps = [High, Medium, Low, Info, Info];
    let row = (size as usize).saturating_sub(usize::from(is_black_box));
    let column = match low {
        low if low >= 0.5 => 0,
        low if low >= 0.1 => 1,
        _ => 2,
    };
    steps[row + column]
}

/// What any of these attacks breaks with changes of a size.
pub(super) struct Broken {
    pub(super) size: Size,
    /// Of the samples that any attacked.
    pub(super) rate: Rate,
    /// The largest change among these.
    pub(super) largest: f64,
}

fn broken_within(size: Size, norm: Norm, shape: [usize; 3], attacks: &[&AttackResult]) -> Broken {
    // Distances are sums of f32 values.
    let limit = size.limit(norm, shape) + 1e-6;
    let samples = || attacks.iter().flat_map(|it| &it.samples);
    let attacked: BTreeSet<usize> = samples().map(|it| it.sample).collect();
    let inside = || samples().filter(|it| it.success && it.size(norm) <= limit);
    let broken: BTreeSet<usize> = inside().map(|it| it.sample).collect();
    let largest = inside().map(|it| it.size(norm)).fold(0.0, f64::max);
    Broken { size, rate: Rate::new(broken.len(), attacked.len()), largest }
}

/// What weighs most among the sizes of change.
pub(super) struct Gravest {
    pub(super) severity: Severity,
    /// Its place among all three sizes.
    pub(super) at: usize,
    pub(super) all: [Broken; 3],
}

/// Of equals, the size that breaks more; nothing where nothing is broken.
pub(super) fn gravest(facts: &Facts, norm: Norm, is_black_box: bool, attacks: &[&AttackResult]) -> Option<Gravest> {
    let all = Size::ALL.map(|size| broken_within(size, norm, facts.data.shape, attacks));
    let graded = all.iter().enumerate().filter(|(_, it)| it.rate.count > 0);
    let graded = graded.map(|(at, it)| (severity(it.size, is_black_box, it.rate.low), at));
    let weight = |it: &(Severity, usize)| (it.0, all[it.1].rate.count);
    let (severity, at) = graded.reduce(|best, next| if weight(&next) > weight(&best) { next } else { best })?;
    Some(Gravest { severity, at, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_rests_on_size_access_and_the_lower_end() {
        use Severity::{High, Info, Low, Medium};
        let table =
            |is_black_box| Size::ALL.map(|size| [0.5, 0.499, 0.0999].map(|low| severity(size, is_black_box, low)));
        assert_eq!(table(false), [[High, Medium, Low], [Medium, Low, Info], [Low, Info, Info]]);
        assert_eq!(table(true), [[High, Medium, Low], [High, Medium, Low], [Medium, Low, Info]]);
    }

    #[test]
    fn sizes_follow_the_shape_of_the_images() {
        assert_eq!(Size::Small.limit(Norm::L0, [3, 32, 32]).to_bits(), 5.0_f64.to_bits());
        assert_eq!(Size::Small.limit(Norm::L0, [1, 8, 8]).to_bits(), 1.0_f64.to_bits());
        assert!((Size::Small.limit(Norm::L2, [3, 32, 32]) - 0.4347).abs() < 1e-4);
        assert!(Size::Any.limit(Norm::Linf, [3, 32, 32]).is_infinite());
    }
}
