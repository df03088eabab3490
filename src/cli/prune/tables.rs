//! Results of `advmod prune` for people and other tools.

use std::fmt::Write as _;

use super::results::{Pruning, RuleRow};
use crate::cli::inspect::thousands;
use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::report::{cell, csv_table, safe_cell};
use crate::stats::rates::{Measured, Rate};
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

/// Q and its increments by unit, the accuracies by rule, and what removal costs.
pub(super) fn picture(it: &Pruning) -> String {
    let survey = &it.survey;
    let places: Vec<String> = survey.units.iter().map(|unit| unit.unit.clone()).collect();
    let q = || survey.units.iter().map(|unit| unit.q);
    let curve = LineChart {
        title: format!("Q by unit, N = {}, k = {}", survey.n, survey.k),
        places: places.clone(),
        range: around(q(), 0.1),
        lines: vec![line("Q", q().map(Some).collect(), Vec::new(), 0)],
        is_joined: true,
    };
    let deltas = || survey.units.iter().map(|unit| unit.delta);
    let threshold = vec![Some(it.threshold); places.len()];
    let increments = LineChart {
        title: "ΔQ by unit, with 95 % intervals".to_owned(),
        places,
        range: around(deltas().flatten().flat_map(|it| [it.low, it.high]).chain([0.0, it.threshold]), 0.02),
        lines: vec![
            line(
                "ΔQ",
                deltas().map(|it| it.map(|it| it.value)).collect(),
                deltas().map(|it| it.map(ends)).collect(),
                1,
            ),
            line(&format!("threshold {}", it.threshold), threshold, Vec::new(), 2),
        ],
        is_joined: true,
    };
    let mut drawn = vec![curve, increments];
    let of = |value: fn(&Judged) -> Option<Rate>| -> Vec<Option<Measured>> {
        it.rules.iter().map(|row| value(row.judged.as_ref()?).map(Measured::from)).collect()
    };
    let dots = |name: &str, rates: Vec<Option<Measured>>, colour| {
        line(
            name,
            rates.iter().map(|it| it.map(|it| it.value)).collect(),
            rates.iter().map(|it| it.map(ends)).collect(),
            colour,
        )
    };
    let whole: Vec<Option<Measured>> = it.rules.iter().map(|_| it.accuracy.map(Measured::from)).collect();
    let accuracies = [whole, of(|judged| Some(judged.tuned)), of(|judged| judged.scratch)];
    if it.rules.iter().any(|row| row.judged.is_some()) {
        let all = accuracies.iter().flatten().flatten().flat_map(|it| [it.low, it.high]);
        let range = around(all, 0.02);
        let [whole, tuned, scratch] = accuracies;
        let mut lines = vec![dots("whole, before", whole, 0), dots("fine-tuned", tuned, 1)];
        if scratch.iter().any(Option::is_some) {
            lines.push(dots("from scratch", scratch, 3));
        }
        drawn.push(LineChart {
            title: "test accuracy by rule, with 95 % intervals".to_owned(),
            places: it.rules.iter().map(|row| row.rule.clone()).collect(),
            range,
            lines,
            is_joined: false,
        });
    }
    drawn.extend(lost(&it.rules));
    charts(&drawn, "Modularity and its increments by unit, and test accuracy by pruning rule")
}

/// A range that holds all of these, from one multiple of `step` to another.
fn around(values: impl Iterator<Item = f64>, step: f64) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
    if low <= high { ((low / step).floor() * step, ((high / step).floor() + 1.0) * step) } else { (0.0, 1.0) }
}

fn ends(it: Measured) -> (f64, f64) {
    (it.low, it.high)
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
    // With a single rule there is nothing to compare.
    (rows.len() > 1).then(|| LineChart {
        title: title.to_owned(),
        places: rows.iter().map(|row| row.0.to_owned()).collect(),
        range: around(rows.iter().flat_map(|(_, delta, lost)| [*delta, lost.low, lost.high, 0.0]), 0.02),
        lines: vec![
            line("sum of ΔQ", rows.iter().map(|row| Some(row.1)).collect(), Vec::new(), 0),
            line(
                "accuracy lost, 95 %",
                rows.iter().map(|row| Some(row.2.value)).collect(),
                rows.iter().map(|row| Some(ends(row.2))).collect(),
                1,
            ),
        ],
        is_joined: false,
    })
}
