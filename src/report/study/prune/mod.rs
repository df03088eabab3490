//! What pruning finds out: tables for people, a row per rule as CSV, and pictures.

mod picture;

use std::fmt::Write as _;

use super::{StudyFile, StudyReport, TextOptions};
use crate::report::{Column, cell, csv_columns, safe_cell};
use crate::stats::rates::{Measured, Rate};
use crate::study::results::prune::{PruneResult, RuleResult, Size};
use crate::text::names::{column, harmless};
use crate::text::numbers::{number, or_dash, thousands};
use crate::text::table::aligned;

impl StudyReport for PruneResult {
    const FILES: &'static [StudyFile<Self>] = &[
        StudyFile::json(),
        StudyFile::new("prune.csv", "csv", csv),
        StudyFile::new("prune.svg", "svg", |it| picture::picture(it).into_bytes()),
    ];

    fn text(&self, _: &TextOptions) -> String {
        units_text(self) + &rules_text(self)
    }
}

/// What was measured of each unit.
pub(crate) fn units_text(it: &PruneResult) -> String {
    let survey = &it.survey;
    let mut text = format!(
        "{} ({}), training images of {}: N = {}, k = {}, {}, {} repeat(s)\n",
        it.of.model, it.of.architecture, it.of.data, survey.n, survey.k, survey.similarity, survey.repeats
    );
    let width = column(survey.units.iter().map(|unit| &unit.unit), 4);
    let (has_margin, has_cka) = (it.asks_for("b"), survey.units.iter().any(|unit| unit.cka.is_some()));
    let margin = |text: &str| if has_margin { format!("  {text:<26}") } else { String::new() };
    let mut line = |cells: String| writeln!(text, "{}", cells.trim_end()).expect("writing to memory cannot fail");
    let cka_head = if has_cka { "  CKA with the one before" } else { "" };
    line(format!(
        "  {:<width$}  {:>7}  {:<26}{}{cka_head}",
        "unit",
        "Q",
        "ΔQ [95 %]",
        margin("Q − largest before [95 %]")
    ));
    for unit in &survey.units {
        let (delta, margin) = (signed(unit.delta, 1.0, 3), margin(&signed(unit.margin, 1.0, 3)));
        let cka = unit.cka.map_or(String::new(), |cka| format!("  {cka:.3}"));
        line(format!("  {:<width$}  {:>7.4}  {delta:<26}{margin}{cka}", unit.unit, unit.q));
    }
    harmless(&(text + "\n"))
}

/// `+1.2 [+0.9, +1.5]` of so many times the value, or a dash.
fn signed(it: Option<Measured>, times: f64, digits: usize) -> String {
    or_dash(it, |it| {
        let [value, low, high] = [it.value, it.low, it.high].map(|it| times * it);
        format!("{value:+.digits$} [{low:+.digits$}, {high:+.digits$}]")
    })
}

/// How many percent fewer.
fn saved(before: u64, after: u64) -> f64 {
    100.0 * (1.0 - after as f64 / before.max(1) as f64)
}

fn percent(rate: Option<Rate>) -> String {
    number(rate.and_then(|rate| rate.value).map(|value| 100.0 * value), 2)
}

/// All columns but a rule's name and what is left and removed.
const RIGHT: [usize; 10] = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// A row per rule, the whole network first; nothing before the first rule.
pub(crate) fn rules_text(it: &PruneResult) -> String {
    if it.rules.is_empty() {
        return String::new();
    }
    let judged = || it.rules.iter().filter_map(|row| row.judged.as_ref());
    let is_trained = judged().next().is_some();
    let has_cost = judged().any(|judged| judged.cost.is_some());
    let has_scratch = judged().any(|judged| judged.scratch.is_some());
    let dash = || "–".to_owned();
    let mut head = ["rule", "left", "removed", "ΔQ", "parameters", "−%", "MACs", "−%"].map(str::to_owned).to_vec();
    let mut whole = vec!["(whole)".to_owned(), it.of.architecture.clone(), dash(), dash()];
    whole.extend(size_cells(it, &it.size));
    if is_trained {
        head.extend(["acc. at once", "fine-tuned", "drop [95 %]"].map(str::to_owned));
        whole.extend([percent(it.accuracy), dash(), dash()]);
    }
    head.extend(has_cost.then(|| "below none [95 %]".to_owned()));
    head.extend(has_scratch.then(|| "from scratch".to_owned()));
    whole.extend([has_cost, has_scratch].into_iter().filter(|has| *has).map(|_| dash()));
    let row = |row: &RuleResult| {
        let removed = match row.removed.len() {
            0 => "nothing".to_owned(),
            1..=3 => row.removed.join(" "),
            n => format!("{n} units"),
        };
        let delta = or_dash(row.delta_q, |delta| format!("{delta:+.3}"));
        let mut cells = vec![row.rule.clone(), row.architecture.clone(), removed, delta];
        cells.extend(size_cells(it, &row.size));
        if let Some(judged) = &row.judged {
            let points = |it| signed(it, 100.0, 2);
            cells.extend([percent(Some(judged.removed)), percent(Some(judged.tuned)), points(judged.drop)]);
            cells.extend(has_cost.then(|| points(judged.cost)));
            cells.extend(has_scratch.then(|| percent(judged.scratch)));
        }
        cells
    };
    let rows: Vec<_> = [head, whole].into_iter().chain(it.rules.iter().map(row)).collect();
    let mut text = aligned(&rows, &RIGHT);
    text += "ΔQ: sum over what was removed; parameters and MACs (convolutions, linear layers) per image, −%: saved\n";
    if is_trained {
        text += "acc.: % of the test images; at once: without any training; drop: whole − fine-tuned, in points, on the same images\n";
        if has_cost {
            text += "below none: the whole network fine-tuned alike (rule none) − fine-tuned: what the removal alone costs\n";
        }
        text += "intervals are for other test images, not for another training\n";
    }
    let recipes = [("fine-tuning", &it.recipe, is_trained), ("from scratch", &it.scratch_recipe, has_scratch)];
    for (name, recipe, _) in recipes.iter().filter(|it| it.2) {
        text.extend(recipe.iter().map(|recipe| format!("{name}: {recipe}\n")));
    }
    text.extend(it.rules.iter().map(notes));
    harmless(&text)
}

/// Numbers of parameters and multiply-accumulates, each with what is saved.
fn size_cells(it: &PruneResult, size: &Size) -> [String; 4] {
    let share = |before, after| number((*size != it.size).then(|| saved(before, after)), 1);
    [
        thousands(size.parameters, ','),
        share(it.size.parameters, size.parameters),
        thousands(size.macs[0], ','),
        share(it.size.macs[0], size.macs[0]),
    ]
}

/// What a row does not say.
fn notes(row: &RuleResult) -> String {
    let removed = (row.removed.len() > 3).then(|| format!("removed {}", row.removed.join(" ")));
    let repairs = row.repairs.iter().map(|repair| format!("{} stays: {}", repair.unit, repair.why));
    let remade = (!row.remade.is_empty()).then(|| format!("did not fit and starts afresh: {}", row.remade.join(" ")));
    let lines = removed.into_iter().chain(repairs).chain(row.missing.iter().cloned()).chain(remade);
    lines.map(|line| format!("{}: {line}\n", row.rule)).collect::<Vec<_>>().concat()
}

/// A row per rule.
fn csv(it: &PruneResult) -> Vec<u8> {
    let columns: &[Column<(&PruneResult, &RuleResult)>] = &[
        ("rule", |(_, row)| safe_cell(&row.rule)),
        ("architecture", |(_, row)| safe_cell(&row.architecture)),
        ("removed", |(_, row)| safe_cell(&row.removed.join(" "))),
        ("delta_q", |(_, row)| cell(row.delta_q)),
        ("parameters", |(_, row)| row.size.parameters.to_string()),
        ("parameters_saved", |(it, row)| (saved(it.size.parameters, row.size.parameters) / 100.0).to_string()),
        ("macs", |(_, row)| row.size.macs[0].to_string()),
        ("macs_saved", |(it, row)| (saved(it.size.macs[0], row.size.macs[0]) / 100.0).to_string()),
        ("macs_thop", |(_, row)| row.size.macs[1].to_string()),
        ("accuracy_whole", |(it, _)| cell(it.accuracy.and_then(|rate| rate.value))),
        ("accuracy_removed", |(_, row)| cell(row.judged.as_ref().and_then(|it| it.removed.value))),
        ("accuracy_tuned", |(_, row)| cell(row.judged.as_ref().and_then(|it| it.tuned.value))),
        ("drop", |(_, row)| cell(drop(row).map(|it| it.value))),
        ("drop_low_95", |(_, row)| cell(drop(row).map(|it| it.low))),
        ("drop_high_95", |(_, row)| cell(drop(row).map(|it| it.high))),
        ("below_none", |(_, row)| cell(cost(row).map(|it| it.value))),
        ("below_none_low_95", |(_, row)| cell(cost(row).map(|it| it.low))),
        ("below_none_high_95", |(_, row)| cell(cost(row).map(|it| it.high))),
        ("accuracy_scratch", |(_, row)| cell(row.judged.as_ref().and_then(|it| it.scratch?.value))),
    ];
    csv_columns(columns, it.rules.iter().map(|row| (it, row)))
}

fn drop(row: &RuleResult) -> Option<Measured> {
    row.judged.as_ref()?.drop
}

fn cost(row: &RuleResult) -> Option<Measured> {
    row.judged.as_ref()?.cost
}
