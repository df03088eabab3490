//! The Samples screen: which images are listed, which one is looked at and how.

pub(crate) mod difference;

use std::path::Path;

use super::app::App;
use super::message::Effect;
use super::state::screen::Screen;
use super::steps::moved;
use crate::atomic_file::write_file;
use crate::audit::event::SampleResult;
use difference::difference;

impl App {
    /// The samples of the selected attack that are listed, in their order.
    pub(crate) fn listed_samples(&self) -> Vec<&SampleResult> {
        let Some(attack) = self.audit.attacks.get(self.ui.selected) else { return Vec::new() };
        let is_listed = |sample: &&SampleResult| {
            let class = self.ui.samples.class;
            self.ui.samples.fate.takes(sample) && class.is_none_or(|class| self.label_of(sample.sample) == Some(class))
        };
        attack.samples.iter().filter(is_listed).collect()
    }

    /// Which of the listed samples is selected, and its place in the list.
    pub(crate) fn selected_sample(&self) -> Option<(usize, &SampleResult)> {
        let listed = self.listed_samples();
        // A sample that is filtered away hands over to the next one.
        let wanted = self.ui.samples.sample.unwrap_or(0);
        let place = listed.iter().position(|it| it.sample >= wanted).or(listed.len().checked_sub(1))?;
        Some((place, listed[place]))
    }

    pub(crate) fn label_of(&self, sample: usize) -> Option<u32> {
        self.audit.start.as_ref()?.data.labels.get(sample).copied()
    }

    pub(super) fn result_of(&self, attack: usize, sample: usize) -> Option<&SampleResult> {
        self.audit.attacks.get(attack)?.samples.iter().find(|it| it.sample == sample)
    }

    /// A class in words: its name, or its number.
    pub(crate) fn class_name(&self, class: u32) -> String {
        let names = self.audit.start.as_ref().map_or(&[][..], |start| &start.data.classes);
        names.get(class as usize).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// How many classes there are to filter by.
    pub(super) fn classes(&self) -> u32 {
        self.audit.start.as_ref().map_or(0, |start| start.model.classes as u32)
    }
}

/// Selects a sample so many places away.
pub(super) fn travel(app: &mut App, by: isize) {
    let Some((place, _)) = app.selected_sample() else { return };
    let listed = app.listed_samples();
    app.ui.samples.sample = moved(place, by, listed.len()).map(|place| listed[place].sample);
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

/// Writes the images that are looked at into a folder, with what is known of the sample beside them; the files' common name comes back.
pub(super) fn save(app: &App, folder: &Path) -> Result<String, String> {
    let look = app.ui.samples.look.as_ref().ok_or("there are no pictures to save")?;
    let name = format!("advmod-sample-{}-{}", look.sample, app.label(look.attack));
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
    let sidecar = serde_json::json!({
        "attack": app.planned(look.attack),
        "label": app.label_of(look.sample),
        "clean": app.audit.likeliest.get(look.sample),
        "result": app.result_of(look.attack, look.sample),
        "note": "PNG files hold 8 bits per value: rounded, they may be classified differently",
    });
    write("sample.json", format!("{sidecar:#}\n").as_bytes())?;
    Ok(format!("{name}-*.png and .json"))
}
