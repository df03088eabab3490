//! Where the user is on the Samples screen.

use clap::ValueEnum;

use crate::audit::event::SampleResult;
use crate::store::picture::Picture;

#[derive(Clone, Debug, Default)]
pub(crate) struct SamplesUi {
    /// Which of an attack's samples are listed.
    pub fate: Fate,
    /// Only those of this class.
    pub class: Option<u32>,
    /// Which sample is selected; the first of the list where it is not among them.
    pub sample: Option<usize>,
    pub gain: Gain,
    /// Which picture comes first where not all three have room.
    pub first: usize,
    /// Whether even large images are drawn in cells, where the terminal could draw them in pixels.
    pub in_cells: bool,
    /// What was asked for: attack and sample.
    pub asked: Option<(usize, usize)>,
    pub look: Option<Look>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fate {
    #[default]
    Broken,
    Held,
    All,
}

impl Fate {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Held => "held",
            Self::All => "all",
        }
    }

    pub(in super::super) fn takes(self, sample: &SampleResult) -> bool {
        match self {
            Self::Broken => sample.success,
            Self::Held => !sample.success,
            Self::All => true,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Gain {
    One,
    Eight,
    /// Grey plus 16 times the change: 8/255 is half of all there is.
    #[default]
    Sixteen,
    SixtyFour,
    /// Red where pixels became brighter, blue where darker.
    Sign,
    /// The size of the change, from black over red and yellow to white.
    Heat,
}

impl Gain {
    pub(in super::super) fn factor(self) -> Option<f32> {
        match self {
            Self::One => Some(1.0),
            Self::Eight => Some(8.0),
            Self::Sixteen => Some(16.0),
            Self::SixtyFour => Some(64.0),
            Self::Sign | Self::Heat => None,
        }
    }
}

/// The images of one sample under one attack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Place in the plan.
    pub attack: usize,
    /// Place in the list of samples.
    pub sample: usize,
    pub(crate) clean: Option<Picture>,
    pub(crate) adversarial: Option<Picture>,
    /// Why one of them is not there.
    pub note: Option<String>,
}

impl SamplesUi {
    /// Filters by the next of `n` classes, or the one before; all of them lie between the last and the first.
    pub(in super::super) fn next_class(&mut self, n: u32, is_back: bool) {
        self.class = match (self.class, is_back) {
            _ if n == 0 => None,
            (None, false) => Some(0),
            (None, true) => Some(n - 1),
            (Some(class), false) => Some(class + 1).filter(|&class| class < n),
            (Some(class), true) => class.checked_sub(1),
        };
    }

    /// Asks again when something may have come that was missing.
    pub(in super::super) fn ask_again(&mut self) {
        let is_whole = |look: &Look| look.clean.is_some() && look.adversarial.is_some();
        if !self.look.as_ref().is_some_and(is_whole) {
            self.asked = None;
        }
    }

    /// Takes images in, if they are still wanted.
    pub(in super::super) fn show(&mut self, look: Look) {
        if self.asked == Some((look.attack, look.sample)) {
            self.look = Some(look);
        }
    }
}
