//! `samples.csv`: one row per attack and attacked sample.

use super::{Column, Evidence, cell, csv_columns, safe_cell};
use crate::audit::event::SampleResult;
use crate::verdict::Report;
use crate::verdict::across::BudgetResult;
use crate::verdict::facts::AttackResult;

struct Row<'a> {
    report: &'a Report,
    attack: &'a AttackResult,
    sample: &'a SampleResult,
}

/// Distances are of pixels in `[0, 1]`; `index` is the sample's place in the data set; `carried_from` is the attack of the same sweep whose
/// result this is; `breaks_within` has the budgets inside which the row's image breaks the sample.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let columns: &[Column<Row<'_>>] = &[
        ("attack", |it| safe_cell(&it.attack.attack.label)),
        ("sample", |it| it.sample.sample.to_string()),
        ("index", |it| cell(it.report.data.indices.get(it.sample.sample))),
        ("label", |it| cell(it.report.data.labels.get(it.sample.sample))),
        ("clean_prediction", |it| cell(it.report.clean.prediction(it.sample.sample))),
        ("target", |it| cell(it.sample.target)),
        ("adversarial_prediction", |it| it.sample.prediction.to_string()),
        ("success", |it| it.sample.success.to_string()),
        ("l0_pixels", |it| it.sample.l0.to_string()),
        ("l2", |it| it.sample.l2.to_string()),
        ("linf", |it| it.sample.linf.to_string()),
        ("forwards", |it| it.sample.forwards.to_string()),
        ("backwards", |it| it.sample.backwards.to_string()),
        ("forwards_to_success", |it| cell(it.sample.forwards_to_success)),
        ("carried_from", |it| {
            let from = it.sample.carried_from.and_then(|at| it.report.attacks.get(at));
            from.map_or(String::new(), |from| safe_cell(&from.attack.label))
        }),
        ("breaks_within", |it| {
            let budgets = it.report.budgets.iter().map(BudgetResult::budget);
            let inside = budgets.filter(|budget| it.report.facts().breaks_within(it.sample, budget));
            inside.map(|budget| budget.to_string()).collect::<Vec<_>>().join(" ")
        }),
    ];
    let rows = report
        .attacks
        .iter()
        .flat_map(|attack| attack.samples.iter().map(move |sample| Row { report, attack, sample }));
    csv_columns(columns, rows)
}
