//! The Attacks screen: the run's attacks in their order, those that can be added, and the form of one of them.

pub(crate) mod act;
pub(crate) mod file;

use advmod_attacks::attack::{AttackSpec, ParamDoc, Passes};
use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::config::{EOT, SHARED_PARAMS, typed};

use super::app::App;
use super::state::attacks::{Item, Standing};
use crate::audit::attack::ResolvedAttack;
use crate::audit::event::Stage;
use crate::audit::plan::{AttackPlan, AuditPlan};
use crate::audit::preview::Preview;

/// How a parameter without a value is shown.
const NONE: &str = "none";

/// Where the number of passes follows from the model.
const AUTO: &str = "auto";

/// A parameter's value as the command line writes it.
pub(super) fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A cost in seconds and where the rate comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub seconds: f64,
    /// Whether attacks of this run have been measured; otherwise only the clean images have.
    pub is_by_attacks: bool,
}

impl App {
    /// The run's attacks in the order in which they run.
    pub(crate) fn running_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::with_capacity(self.attacks());
        let waiting = &self.ui.attacks.queue;
        let all = 0..self.attacks();
        let off = all.clone().filter(|attack| self.is_called_off(*attack) && !waiting.contains(attack));
        for attack in self.ui.attacks.begun.iter().copied().chain(off).chain(waiting.iter().copied()).chain(all) {
            if attack < self.attacks() && !order.contains(&attack) {
                order.push(attack);
            }
        }
        order
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        let run = self.running_order().into_iter().map(Item::Run);
        run.chain((0..ATTACKS.len()).map(Item::Catalog)).collect()
    }

    pub(crate) fn item(&self) -> Item {
        match self.ui.attacks.item {
            Some(Item::Run(attack)) if attack >= self.attacks() => Item::Catalog(0),
            Some(item) => item,
            None => self.running_order().first().map_or(Item::Catalog(0), |&attack| Item::Run(attack)),
        }
    }

    /// What the catalog says about an entry; nothing about an attack of a journal that this version does not know.
    pub(crate) fn spec(&self, item: Item) -> Option<&'static AttackSpec> {
        match item {
            Item::Run(attack) => self.planned(attack)?.spec,
            Item::Catalog(place) => ATTACKS.get(place).copied(),
        }
    }

    pub(crate) fn fields(&self, item: Item) -> Vec<&'static ParamDoc> {
        self.spec(item).map_or_else(Vec::new, |spec| SHARED_PARAMS.iter().chain(spec.params).collect())
    }

    fn field(&self, item: Item) -> Option<&'static str> {
        self.fields(item).get(self.ui.attacks.field).map(|field| field.name)
    }

    /// The plan that an attack would be added to.
    pub(super) fn basis(&self) -> AuditPlan {
        match (&self.plan, &self.audit.start) {
            (Some(plan), _) => plan.clone(),
            // A journal holds the plan that makes its report again.
            (None, Some(start)) => match start.plan_file.as_deref().map(toml::from_str) {
                Some(Ok(plan)) => plan,
                _ => AuditPlan {
                    preset: Some(start.plan.preset.to_string()),
                    eight_bit: Some(start.plan.eight_bit),
                    seed: Some(start.plan.seed),
                    ..AuditPlan::default()
                },
            },
            (None, None) => AuditPlan::default(),
        }
    }

    /// What would be added with these parameters, or why it cannot be.
    pub(crate) fn preview(&self, item: Item, given: &toml::Table) -> Result<Preview, String> {
        let name = self.spec(item).map_or("", |spec| spec.id).to_owned();
        let attack = AttackPlan { name, params: given.clone() };
        self.basis().preview(&attack, self.audit.start.as_ref())
    }

    /// The parameters of an entry that are not its defaults.
    pub(crate) fn given(&self, item: Item) -> toml::Table {
        if let Some(draft) = self.ui.attacks.drafts.get(&item) {
            return draft.given.clone();
        }
        let Item::Run(attack) = item else { return toml::Table::new() };
        self.planned(attack).map_or_else(toml::Table::new, |attack| self.differences(item, attack))
    }

    /// What must be given to have an attack of the run again.
    fn differences(&self, item: Item, attack: &ResolvedAttack) -> toml::Table {
        // Other norms have other defaults.
        let norm = toml::Table::from_iter([("norm".to_owned(), attack.norm.to_string().into())]);
        let defaults = self.preview(item, &norm).ok().and_then(|preview| preview.attacks.into_iter().next());
        let defaults = defaults.map(|attack| attack.params()).unwrap_or_default();
        let other = attack.params().into_iter().filter(|(key, text)| defaults.get(key) != Some(text));
        let mut given: toml::Table = other.map(|(key, text)| (key, typed(&text))).collect();
        if self.spec(item).is_some_and(|spec| attack.norm != spec.norms[0]) {
            given.extend(norm);
        }
        given
    }

    /// A field's value as it is shown.
    pub(crate) fn value(preview: Option<&Preview>, given: &toml::Table, name: &str) -> String {
        let first = preview.and_then(|preview| preview.attacks.first());
        let effective = first.and_then(|attack| match name {
            "goal" if attack.is_targeted() => Some("targeted".to_owned()),
            "target" if !attack.is_targeted() => Some(NONE.to_owned()),
            _ => attack.params().remove(name),
        });
        // A sweep has one value per attack.
        let sizes = preview.filter(|preview| name == "eps" && preview.attacks.len() > 1);
        let sweep = sizes.map(|preview| {
            let sizes = preview.attacks.iter().filter_map(|it| it.epsilon);
            sizes.map(|size| size.to_string()).collect::<Vec<_>>().join("|")
        });
        let absent = if name == EOT { AUTO } else { NONE };
        sweep.or(effective).or_else(|| given.get(name).map(plain)).unwrap_or_else(|| absent.to_owned())
    }

    /// The parameters of an entry with the text that is being typed into a field.
    pub(crate) fn given_with(&self, item: Item, field: &str, text: &str) -> toml::Table {
        let mut given = self.given(item);
        let text = text.trim();
        // Nothing typed: back to the default.
        let is_absent = (["eps", "target"].contains(&field) && text == NONE) || (field == EOT && text == AUTO);
        if text.is_empty() || is_absent {
            given.remove(field);
        } else {
            given.insert(field.to_owned(), typed(text));
        }
        match field {
            "goal" if text == "untargeted" => given.remove("target"),
            "target" => given.remove("goal"),
            _ => None,
        };
        given
    }

    /// What keeps the text that is being typed from being the field's value.
    pub(crate) fn edit_error(&self) -> Option<String> {
        let item = self.item();
        let (line, field) = (self.ui.attacks.edit.as_ref()?, self.field(item)?);
        self.preview(item, &self.given_with(item, field, &line.text())).err()
    }

    /// The images that an attack works on: those that the model classifies correctly, or all while that is not known.
    pub(crate) fn attacked_images(&self) -> Option<usize> {
        let all = self.audit.start.as_ref().map(|start| start.data.labels.len());
        self.audit.clean_accuracy().map(|(correct, _)| correct).or(all)
    }

    /// How long so many passes per image take, by what this run has measured. A gradient is taken for two forwards.
    pub(crate) fn estimate(&self, most: Passes) -> Option<Estimate> {
        let weight = |forwards: u64, backwards: u64| forwards as f64 + 2.0 * backwards as f64;
        let images = self.attacked_images()? as f64;
        let (mut seconds, mut work) = (0.0, 0.0);
        for attack in &self.audit.attacks {
            if let Some(took) = attack.seconds {
                seconds += took;
                work += attack.samples.iter().map(|it| weight(it.forwards, it.backwards)).sum::<f64>();
            }
        }
        let is_by_attacks = work > 0.0 && seconds > 0.0;
        let pace = if is_by_attacks { seconds / work } else { self.ui.attacks.clean_pace? };
        Some(Estimate { seconds: pace * images * weight(most.forwards, most.backwards), is_by_attacks })
    }

    /// Whether an attack is being called off, or was.
    fn is_called_off(&self, attack: usize) -> bool {
        self.audit.attacks.get(attack).is_some_and(|it| it.cancelled) || self.ui.attacks.called_off.contains(&attack)
    }

    pub(crate) fn standing(&self, attack: usize) -> Standing {
        let Some(state) = self.audit.attacks.get(attack) else { return Standing::Queued };
        let stage = self.audit.stage.map(|it| it.stage);
        let goes_on = self.phase().goes_on();
        if state.error.is_some() {
            Standing::Failed
        } else if state.cancelled {
            Standing::CalledOff
        } else if goes_on && stage == Some(Stage::AttackCurve { attack }) {
            Standing::Measuring
        } else if state.seconds.is_some() {
            Standing::Done
        } else if goes_on && stage == Some(Stage::Attack { attack }) {
            if self.is_called_off(attack) { Standing::Ending } else { Standing::Running }
        } else if self.is_called_off(attack) {
            Standing::CalledOff
        } else if goes_on {
            Standing::Queued
        } else if state.samples.is_empty() {
            Standing::NotRun
        } else {
            Standing::Stopped
        }
    }
}
