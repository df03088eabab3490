//! Where the user is on the Attacks screen, and what was typed there.

use std::collections::{BTreeMap, BTreeSet};

use super::line::TextLine;

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// An attack of the run, by its place in the plan.
    Run(usize),
    /// An attack that can be added, by its place in the catalog.
    Catalog(usize),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct AttacksUi {
    /// The selected entry, if one was chosen.
    pub item: Option<Item>,
    /// Whether the form has the keys, rather than the list.
    pub in_form: bool,
    pub field: usize,
    /// The field's new value, while it is typed.
    pub edit: Option<TextLine>,
    /// The parameters that differ from their defaults, of each entry whose form was changed.
    pub drafts: BTreeMap<Item, Draft>,
    /// The attacks that wait, in their order, as the engine has them.
    pub queue: Vec<usize>,
    /// The attacks that have begun, in their order.
    pub begun: Vec<usize>,
    pub called_off: BTreeSet<usize>,
    /// Attacks that were asked for and are not in the plan yet.
    pub pending: usize,
    /// Seconds of the clean stage per image.
    pub clean_pace: Option<f64>,
    pub plan_file: Option<PlanDraft>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Draft {
    pub given: toml::Table,
    /// What was given before each change.
    pub before: Vec<toml::Table>,
}

/// The file that the run's attacks are saved to.
pub(crate) const PLAN_FILE: &str = "advmod.toml";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanDraft {
    /// What the file holds now, if it is there.
    pub before: Option<String>,
    /// What it would hold.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Queued,
    Running,
    /// At work, and called off.
    Ending,
    /// Its curves are being measured.
    Measuring,
    Done,
    CalledOff,
    Failed,
    /// Stopped with the run.
    Stopped,
    /// The run ended before it began.
    NotRun,
}

impl AttacksUi {
    /// Goes into a field of the form, and leaves what was typed in another.
    pub(in super::super) fn enter(&mut self, field: usize) {
        (self.in_form, self.field, self.edit) = (true, field, None);
    }

    /// Takes the last change of a form back, if there is one.
    pub(in super::super) fn undo(&mut self, item: Item) -> bool {
        let Some(draft) = self.drafts.get_mut(&item) else { return false };
        if let Some(before) = draft.before.pop() {
            draft.given = before;
        }
        // The first thing that was given is what the form says without a draft.
        if draft.before.is_empty() {
            self.drafts.remove(&item);
        }
        true
    }

    pub(in super::super) fn call_off(&mut self, attack: usize) {
        self.called_off.insert(attack);
        self.queue.retain(|it| *it != attack);
    }
}
