//! Results of `advmod prune` for people and other tools.

use std::fmt::Write as _;

use super::results::{Pruning, RuleRow};
use crate::audit::stats::{Measured, Rate};
use crate::cli::inspect::thousands;
use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::report::{cell, csv_table, safe_cell};
use crate::study::prune::{Judged, Size};

/// What was measured of each unit.
pub(super) fn units_table(it: &Pruning, has_margin: bool) -> String {
    let survey = &it.survey;
    let mut text = format!(
        "{} ({}), training images of {}: N = {}, k = {}, {}, {} repeat(s)\n",
        it.model, it.architecture, it.data, survey.n, survey.k, survey.similarity, survey.repeats
    );
    let width = survey.units.iter().map(|unit| unit.unit.chars().count()).max().unwrap_or(0).max("unit".len());
    let has_cka = survey.units.iter().any(|unit| unit.cka.is_some());
    let cka_head = if has_cka { "  CKA with the one before" } else { "" };
    let mut line = |cells: String| writeln!(text, "{}", cells.trim_end()).expect("writing to memory cannot fail");
    let margin_head = if has_margin { format!("  {:<26}", "Q − largest before [95 %]") } else { String::new() };
    line(format!("  {:<width$}  {:>7}  {:<26}{margin_head}{cka_head}", "unit", "Q", "ΔQ [95 %]"));
    for unit in &survey.units {
        let interval = |it: Option<Measured>| it.map_or("–".to_owned(), |it| signed(it, 3));
        let delta = interval(unit.delta);
        let margin = if has_margin { format!("  {:<26}", interval(unit.margin)) } else { String::new() };
        let cka = unit.cka.map_or(String::new(), |cka| format!("  {cka:.3}"));
        line(format!("  {:<width$}  {:>7.4}  {delta:<26}{margin}{cka}", unit.unit, unit.q));
    }
    text + "\n"
}

fn signed(it: Measured, digits: usize) -> String {
    format!("{:+.digits$} [{:+.digits$}, {:+.digits$}]", it.value, it.low, it.high)
}

/// `12.3` of two counts: how many percent fewer.
fn saved(before: u64, after: u64) -> f64 {
    100.0 * (1.0 - after as f64 / before.max(1) as f64)
}

fn percent(rate: Rate) -> String {
    rate.value.map_or("–".to_owned(), |value| format!("{:.2}", 100.0 * value))
}

/// A row per rule, the whole network first.
pub(super) fn table(it: &Pruning) -> String {
    let is_trained = it.rules.iter().any(|row| row.judged.is_some());
    let has_cost = it.rules.iter().any(|row| row.judged.as_ref().is_some_and(|judged| judged.cost.is_some()));
    let has_scratch = it.rules.iter().any(|row| row.judged.as_ref().is_some_and(|judged| judged.scratch.is_some()));
    let mut head: Vec<String> =
        ["rule", "left", "removed", "ΔQ", "parameters", "−%", "MACs", "−%"].map(str::to_owned).to_vec();
    if is_trained {
        head.extend(["acc. at once", "fine-tuned", "drop [95 %]"].map(str::to_owned));
    }
    head.extend(has_cost.then(|| "below none [95 %]".to_owned()));
    head.extend(has_scratch.then(|| "from scratch".to_owned()));
    let size = |size: &Size| {
        let share =
            |before, after| if size == &it.size { "–".to_owned() } else { format!("{:.1}", saved(before, after)) };
        [
            thousands(size.parameters),
            share(it.size.parameters, size.parameters),
            thousands(size.macs[0]),
            share(it.size.macs[0], size.macs[0]),
        ]
    };
    let mut rows = vec![head];
    let mut whole = vec!["(whole)".to_owned(), it.architecture.clone(), "–".to_owned(), "–".to_owned()];
    whole.extend(size(&it.size));
    if is_trained {
        whole.extend([it.accuracy.map_or("–".to_owned(), percent), "–".to_owned(), "–".to_owned()]);
    }
    whole.extend(has_cost.then(|| "–".to_owned()));
    whole.extend(has_scratch.then(|| "–".to_owned()));
    rows.push(whole);
    for row in &it.rules {
        let removed = match row.removed.len() {
            0 => "nothing".to_owned(),
            1..=3 => row.removed.join(" "),
            n => format!("{n} units"),
        };
        let delta = row.delta_q.map_or("–".to_owned(), |delta| format!("{delta:+.3}"));
        let mut cells = vec![row.rule.clone(), row.architecture.clone(), removed, delta];
        cells.extend(size(&row.size));
        if let Some(judged) = &row.judged {
            let points =
                |it: Measured| Measured { value: 100.0 * it.value, low: 100.0 * it.low, high: 100.0 * it.high };
            let interval = |it: Option<Measured>| it.map_or("–".to_owned(), |it| signed(points(it), 2));
            cells.extend([percent(judged.removed), percent(judged.tuned), interval(judged.drop)]);
            cells.extend(has_cost.then(|| interval(judged.cost)));
            cells.extend(has_scratch.then(|| judged.scratch.map_or("–".to_owned(), percent)));
        }
        rows.push(cells);
    }
    let mut text = aligned(&rows);
    text += "ΔQ: sum over what was removed; parameters and MACs (convolutions, linear layers) per image, −%: saved\n";
    if is_trained {
        text += "acc.: % of the test images; at once: without any training; drop: whole − fine-tuned, in points, on the same images\n";
        if has_cost {
            text += "below none: the whole network fine-tuned alike (rule none) − fine-tuned: what the removal alone costs\n";
        }
        text += "intervals are for other test images, not for another training\n";
    }
    if let Some(recipe) = it.recipe.as_ref().filter(|_| is_trained) {
        writeln!(text, "fine-tuning: {recipe}").expect("writing to memory cannot fail");
    }
    if let Some(recipe) = it.scratch_recipe.as_ref().filter(|_| has_scratch) {
        writeln!(text, "from scratch: {recipe}").expect("writing to memory cannot fail");
    }
    for row in &it.rules {
        text += &notes(row);
    }
    text
}

/// What a row does not say.
fn notes(row: &RuleRow) -> String {
    let mut text = String::new();
    let mut note = |line: String| writeln!(text, "{}: {line}", row.rule).expect("writing to memory cannot fail");
    if row.removed.len() > 3 {
        note(format!("removed {}", row.removed.join(" ")));
    }
    for repair in &row.repairs {
        note(format!("{} stays: {}", repair.unit, repair.why));
    }
    for missing in &row.missing {
        note(missing.clone());
    }
    if !row.remade.is_empty() {
        note(format!("did not fit and starts afresh: {}", row.remade.join(" ")));
    }
    text
}

/// Columns as wide as their widest cell, the first three to the left.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0..=2 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A row per rule.
pub(super) fn csv(it: &Pruning) -> Vec<u8> {
    let header = [
        "rule",
        "architecture",
        "removed",
        "delta_q",
        "parameters",
        "parameters_saved",
        "macs",
        "macs_saved",
        "macs_thop",
        "accuracy_whole",
        "accuracy_removed",
        "accuracy_tuned",
        "drop",
        "drop_low_95",
        "drop_high_95",
        "below_none",
        "below_none_low_95",
        "below_none_high_95",
        "accuracy_scratch",
    ];
    let interval = |it: Option<Measured>| [it.map(|it| it.value), it.map(|it| it.low), it.map(|it| it.high)].map(cell);
    let row = |row: &RuleRow| {
        let judged = row.judged.as_ref();
        let mut cells = vec![
            row.rule.clone(),
            safe_cell(&row.architecture),
            safe_cell(&row.removed.join(" ")),
            cell(row.delta_q),
            row.size.parameters.to_string(),
            (saved(it.size.parameters, row.size.parameters) / 100.0).to_string(),
            row.size.macs[0].to_string(),
            (saved(it.size.macs[0], row.size.macs[0]) / 100.0).to_string(),
            row.size.macs[1].to_string(),
            cell(it.accuracy.and_then(|rate| rate.value)),
            cell(judged.and_then(|judged| judged.removed.value)),
            cell(judged.and_then(|judged| judged.tuned.value)),
        ];
        cells.extend(interval(judged.and_then(|judged| judged.drop)));
        cells.extend(interval(judged.and_then(|judged| judged.cost)));
        cells.push(cell(judged.and_then(|judged| judged.scratch?.value)));
        cells
    };
    csv_table(&header, it.rules.iter().map(row))
}

/// The curve with its increments, and the accuracies by rule.
pub(super) fn picture(it: &Pruning) -> String {
    let survey = &it.survey;
    let deltas = || survey.units.iter().map(|unit| unit.delta);
    let lowest = deltas().flatten().map(|it| it.low).fold(0.0, f64::min);
    let curve = LineChart {
        title: format!("Q and ΔQ by unit, N = {}, k = {}", survey.n, survey.k),
        places: survey.units.iter().map(|unit| unit.unit.clone()).collect(),
        range: ((10.0 * lowest).floor() / 10.0, 1.0),
        lines: vec![
            line("Q", survey.units.iter().map(|unit| Some(unit.q)).collect(), Vec::new(), 0),
            line(
                "ΔQ, 95 %",
                deltas().map(|it| it.map(|it| it.value)).collect(),
                deltas().map(|it| it.map(|it| (it.low, it.high))).collect(),
                1,
            ),
        ],
    };
    let of = |value: fn(&RuleRow) -> Option<Rate>| -> Vec<Option<f64>> {
        it.rules.iter().map(|row| value(row).and_then(|rate| rate.value)).collect()
    };
    let whole = it.rules.iter().map(|_| it.accuracy.and_then(|rate| rate.value)).collect();
    let accuracies = LineChart {
        title: "test accuracy by rule".to_owned(),
        places: it.rules.iter().map(|row| row.rule.clone()).collect(),
        range: (0.0, 1.0),
        lines: vec![
            line("whole", whole, Vec::new(), 0),
            line("fine-tuned", of(|row| Some(row.judged.as_ref()?.tuned)), Vec::new(), 1),
            line("without training", of(|row| Some(row.judged.as_ref()?.removed)), Vec::new(), 2),
            line("from scratch", of(|row| row.judged.as_ref()?.scratch), Vec::new(), 3),
        ],
    };
    let mut drawn = vec![curve];
    if it.rules.iter().any(|row| row.judged.is_some()) {
        drawn.push(accuracies);
    }
    drawn.extend(lost(&it.rules));
    charts(&drawn, "Modularity and its increments by unit, and test accuracy by pruning rule")
}

fn line(name: &str, values: Vec<Option<f64>>, band: Vec<Option<(f64, f64)>>, colour: usize) -> Line {
    Line { name: name.to_owned(), values, band, colour: Colour::Own(colour) }
}

/// What was removed by its ΔQ, the smallest first, beside the accuracy that it cost: more than fine-tuning alone where that is known.
fn lost(rules: &[RuleRow]) -> Option<LineChart> {
    let is_known = |of: fn(&Judged) -> Option<Measured>| {
        rules.iter().filter_map(|row| Some((row.rule.as_str(), row.delta_q?, of(row.judged.as_ref()?)?))).collect()
    };
    let mut rows: Vec<(&str, f64, Measured)> = is_known(|judged| judged.cost);
    let title = if rows.is_empty() {
        "ΔQ removed, and test accuracy lost"
    } else {
        "ΔQ removed, and test accuracy below none"
    };
    if rows.is_empty() {
        rows = is_known(|judged| judged.drop);
    }
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let all = || rows.iter().flat_map(|(_, delta, lost)| [*delta, lost.low, lost.high]);
    let ends = |value: f64| (20.0 * value).abs().ceil() / 20.0;
    // With a single rule there is nothing to compare.
    (rows.len() > 1).then(|| LineChart {
        title: title.to_owned(),
        places: rows.iter().map(|row| row.0.to_owned()).collect(),
        range: (-ends(all().fold(0.0, f64::min)), ends(all().fold(0.05, f64::max))),
        lines: vec![
            line("sum of ΔQ", rows.iter().map(|row| Some(row.1)).collect(), Vec::new(), 0),
            line(
                "lost, 95 %",
                rows.iter().map(|row| Some(row.2.value)).collect(),
                rows.iter().map(|row| Some((row.2.low, row.2.high))).collect(),
                1,
            ),
        ],
    })
}
