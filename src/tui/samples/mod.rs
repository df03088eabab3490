//! The Samples screen: which images are listed, which one is looked at and how.

pub mod difference;

use std::path::Path;

use super::app::{App, Effect, Screen};
use crate::atomic_file::write_file;
use crate::audit::event::SampleResult;
use crate::store::pixels::Picture;
use difference::{Gain, difference};

/// Where the user is on the screen.
#[derive(Clone, Debug, Default)]
pub struct SamplesUi {
    /// Which of an attack's samples are listed.
    pub fate: Fate,
    /// Only those of this class.
    pub class: Option<u32>,
    /// Which sample is selected; the first of the list where it is not among them.
    pub sample: Option<usize>,
    /// How the change is shown.
    pub gain: Gain,
    /// Which picture comes first where not all three have room.
    pub first: usize,
    /// Whether even large images are drawn in cells, where the terminal could draw them in pixels.
    pub in_cells: bool,
    /// What was asked for: attack and sample.
    pub asked: Option<(usize, usize)>,
    /// What came.
    pub look: Option<Look>,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// The attack broke it.
    #[default]
    Broken,
    /// It held.
    Held,
    /// Either.
    All,
}

impl Fate {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Broken => Self::Held,
            Self::Held => Self::All,
            Self::All => Self::Broken,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Held => "held",
            Self::All => "all",
        }
    }

    fn takes(self, sample: &SampleResult) -> bool {
        match self {
            Self::Broken => sample.success,
            Self::Held => !sample.success,
            Self::All => true,
        }
    }
}

/// The images of one sample under one attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Place in the plan.
    pub attack: usize,
    /// Place in the list of samples.
    pub sample: usize,
    /// As it was.
    pub clean: Option<Picture>,
    /// As the attack left it.
    pub adversarial: Option<Picture>,
    /// Why one of them is not there.
    pub note: Option<String>,
}

impl Look {
    /// Without images.
    pub fn of(attack: usize, sample: usize) -> Self {
        Self { attack, sample, clean: None, adversarial: None, note: None }
    }
}

impl App {
    /// The samples of the selected attack that are listed, in their order.
    pub fn listed_samples(&self) -> Vec<&SampleResult> {
        let Some(attack) = self.audit.attacks.get(self.ui.selected) else { return Vec::new() };
        let is_listed = |sample: &&SampleResult| {
            let class = self.ui.samples.class;
            self.ui.samples.fate.takes(sample) && class.is_none_or(|class| self.label_of(sample.sample) == Some(class))
        };
        attack.samples.iter().filter(is_listed).collect()
    }

    /// Which of the listed samples is selected, and its place in the list.
    pub fn selected_sample(&self) -> Option<(usize, &SampleResult)> {
        let listed = self.listed_samples();
        // A sample that is filtered away hands over to the next one.
        let wanted = self.ui.samples.sample.unwrap_or(0);
        let place = listed.iter().position(|it| it.sample >= wanted).or(listed.len().checked_sub(1))?;
        Some((place, listed[place]))
    }

    /// A sample's true class.
    pub fn label_of(&self, sample: usize) -> Option<u32> {
        self.audit.start.as_ref()?.data.labels.get(sample).copied()
    }

    /// A class in words: its name, or its number.
    pub fn class_name(&self, class: u32) -> String {
        let names = self.audit.start.as_ref().map_or(&[][..], |start| &start.data.classes);
        names.get(class as usize).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// How many classes there are to filter by.
    fn classes(&self) -> u32 {
        self.audit.start.as_ref().map_or(0, |start| start.model.classes as u32)
    }
}

/// Selects a sample so many places away.
pub(super) fn travel(app: &mut App, by: isize) {
    let Some((place, _)) = app.selected_sample() else { return };
    let listed = app.listed_samples();
    let place = place.saturating_add_signed(by).min(listed.len() - 1);
    app.ui.samples.sample = Some(listed[place].sample);
}

/// Filters by the next class, or the one before; all of them lie between the last and the first.
pub(super) fn next_class(app: &mut App, is_back: bool) {
    let n = app.classes();
    let class = app.ui.samples.class;
    app.ui.samples.class = match (class, is_back) {
        _ if n == 0 => None,
        (None, false) => Some(0),
        (None, true) => Some(n - 1),
        (Some(class), false) => Some(class + 1).filter(|&class| class < n),
        (Some(class), true) => class.checked_sub(1),
    };
}

/// Asks for the images of what is selected, where they were not asked for yet.
pub(super) fn ask(app: &mut App) -> Option<Effect> {
    if app.ui.screen != Screen::Samples {
        return None;
    }
    let wanted = app.selected_sample().map(|(_, sample)| (app.ui.selected, sample.sample));
    if wanted == app.ui.samples.asked {
        return None;
    }
    (app.ui.samples.asked, app.ui.samples.look) = (wanted, None);
    wanted.map(|(attack, sample)| Effect::Look { attack, sample })
}

/// Asks again when something may have come that was missing.
pub(super) fn ask_again(app: &mut App) {
    let is_whole = |look: &Look| look.clean.is_some() && look.adversarial.is_some();
    if !app.ui.samples.look.as_ref().is_some_and(is_whole) {
        app.ui.samples.asked = None;
    }
}

/// Writes the images that are looked at into a folder, with what is known of the sample beside them; the files' common name comes back.
///
/// # Errors
/// One line that says what could not be written.
pub(super) fn save(app: &App, folder: &Path) -> Result<String, String> {
    let look = app.ui.samples.look.as_ref().ok_or("there are no pictures to save")?;
    let label = app.planned(look.attack).map_or("", |it| it.label.as_str());
    let name = format!("advmod-sample-{}-{label}", look.sample);
    let change = match (&look.clean, &look.adversarial) {
        (Some(clean), Some(adversarial)) => difference(clean, adversarial, app.ui.samples.gain).map(|it| it.0),
        _ => None,
    };
    let pictures = [("before", look.clean.as_ref()), ("after", look.adversarial.as_ref()), ("change", change.as_ref())];
    let write = |suffix: &str, bytes: &[u8]| {
        write_file(&folder.join(format!("{name}-{suffix}")), bytes).map_err(|error| format!("cannot save: {error}"))
    };
    for (which, picture) in pictures {
        if let Some(picture) = picture {
            let png = picture.png().map_err(|error| format!("cannot save {name}-{which}.png: {error}"))?;
            write(&format!("{which}.png"), &png)?;
        }
    }
    let result =
        app.audit.attacks.get(look.attack).and_then(|it| it.samples.iter().find(|it| it.sample == look.sample));
    let sidecar = serde_json::json!({
        "attack": app.planned(look.attack),
        "label": app.label_of(look.sample),
        "clean": app.audit.likeliest.get(look.sample),
        "result": result,
        "note": "PNG files hold 8 bits per value: rounded, they may be classified differently",
    });
    write("sample.json", format!("{sidecar:#}\n").as_bytes())?;
    Ok(format!("{name}-*.png and .json"))
}

/// Takes images in, if they are still wanted.
pub(super) fn show(app: &mut App, look: Look) {
    if app.ui.samples.asked == Some((look.attack, look.sample)) {
        app.ui.samples.look = Some(look);
    }
}
