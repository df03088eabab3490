//! What has changed since the baseline.

use minijinja::{Value, context};

use super::text::{self, clip, name};
use crate::report::verdict::{change_row, headline};
use crate::verdict::Report;
use crate::verdict::change::{Change, ChangeState};

/// The report beside its baseline; nothing where there was none.
pub(super) fn changes(report: &Report) -> Option<Value> {
    let changes = report.changes.as_ref()?;
    let count = |state| changes.changes.iter().filter(|it| it.state == state).count();
    let row = |it: &Change| {
        let [metric, before, now, difference, images, _] = change_row(it);
        let class = match it.state {
            ChangeState::Regressed => "fail",
            ChangeState::Improved => "pass",
            ChangeState::Incomparable | ChangeState::Gone => "unclear",
            ChangeState::Unclear | ChangeState::Same | ChangeState::New => "none",
        };
        let why = it.why.as_ref().map(|why| clip(why, text::SENTENCE));
        context! { metric => name(&metric), before, now, difference, images, word => it.state.word(), class, why }
    };
    let sentence = format!(
        "Compared with {} of {}, model {} (sha256 {}), on {} samples: {} worse, {} better, {} without a clear change or the same.",
        name(&changes.file),
        changes.started,
        name(&changes.model),
        name(&changes.model_sha256),
        if changes.same_samples { "the same" } else { "other" },
        count(ChangeState::Regressed),
        count(ChangeState::Improved),
        count(ChangeState::Unclear) + count(ChangeState::Same)
    );
    let headline = headline(changes).map(|line| clip(&line, text::SENTENCE));
    Some(context! { sentence, headline, rows => changes.changes.iter().map(row).collect::<Value>() })
}
