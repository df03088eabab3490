//! Results of `advmod prune` for people and other tools.

use std::fmt::Write as _;

use super::inspect::thousands;
use super::prune::{Outcome, Pruning};
use crate::audit::stats::{Measured, Rate};
use crate::report::safe_cell;
use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::study::prune::Size;

/// What was measured of each unit.
pub(super) fn units_table(it: &Pruning) -> String {
    let survey = &it.survey;
    let mut text = format!(
        "{} ({}), training images of {}: N = {}, k = {}, {}, {} repeat(s)\n",
        it.model, it.architecture, it.data, survey.n, survey.k, survey.similarity, survey.repeats
    );
    let width = survey.units.iter().map(|unit| unit.unit.chars().count()).max().unwrap_or(0).max("unit".len());
    let has_cka = survey.units.iter().any(|unit| unit.cka.is_some());
    let cka_head = if has_cka { "  CKA with the one before" } else { "" };
    let mut line = |cells: String| writeln!(text, "{}", cells.trim_end()).expect("writing to memory cannot fail");
    line(format!("  {:<width$}  {:>7}  {:<26}{cka_head}", "unit", "Q", "ΔQ [95 %]"));
    for unit in &survey.units {
        let delta = unit.delta.map_or("–".to_owned(), |it| signed(it, 3));
        let cka = unit.cka.map_or(String::new(), |cka| format!("  {cka:.3}"));
        line(format!("  {:<width$}  {:>7.4}  {delta:<26}{cka}", unit.unit, unit.q));
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
    let has_scratch = it.rules.iter().any(|row| row.judged.as_ref().is_some_and(|judged| judged.scratch.is_some()));
    let mut head: Vec<String> =
        ["rule", "left", "removed", "ΔQ", "parameters", "−%", "MACs", "−%"].map(str::to_owned).to_vec();
    if is_trained {
        head.extend(["acc. at once", "fine-tuned", "drop [95 %]"].map(str::to_owned));
    }
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
            let drop = judged.drop.map_or("–".to_owned(), |drop| signed(points(drop), 2));
            cells.extend([percent(judged.removed), percent(judged.tuned), drop]);
            cells.extend(judged.scratch.map(percent));
        }
        rows.push(cells);
    }
    let mut text = aligned(&rows);
    text += "ΔQ: sum over what was removed; parameters and MACs (convolutions, linear layers) per image, −%: saved\n";
    if is_trained {
        text += "acc.: % of the test images; at once: without any training; drop: whole − fine-tuned, in points, on the same images\n";
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
fn notes(row: &Outcome) -> String {
    let mut text = String::new();
    let mut note = |line: String| writeln!(text, "{}: {line}", row.rule).expect("writing to memory cannot fail");
    if row.removed.len() > 3 {
        note(format!("removed {}", row.removed.join(" ")));
    }
    for repair in &row.repairs {
        note(format!("{} stays: {}", repair.unit, repair.why));
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
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut row = |cells: &[String]| writer.write_record(cells).expect("writing to memory cannot fail");
    row(&[
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
        "drop_low",
        "drop_high",
        "accuracy_scratch",
    ]
    .map(str::to_owned));
    let cell = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for outcome in &it.rules {
        let judged = outcome.judged.as_ref();
        let drop = judged.and_then(|judged| judged.drop);
        row(&[
            outcome.rule.clone(),
            safe_cell(&outcome.architecture),
            safe_cell(&outcome.removed.join(" ")),
            cell(outcome.delta_q),
            outcome.size.parameters.to_string(),
            (saved(it.size.parameters, outcome.size.parameters) / 100.0).to_string(),
            outcome.size.macs[0].to_string(),
            (saved(it.size.macs[0], outcome.size.macs[0]) / 100.0).to_string(),
            outcome.size.macs[1].to_string(),
            cell(it.accuracy.and_then(|rate| rate.value)),
            cell(judged.and_then(|judged| judged.removed.value)),
            cell(judged.and_then(|judged| judged.tuned.value)),
            cell(drop.map(|drop| drop.value)),
            cell(drop.map(|drop| drop.low)),
            cell(drop.map(|drop| drop.high)),
            cell(judged.and_then(|judged| judged.scratch?.value)),
        ]);
    }
    writer.into_inner().expect("writing to memory cannot fail")
}

/// The curve with its increments, and the accuracies by rule.
pub(super) fn picture(it: &Pruning) -> String {
    let survey = &it.survey;
    let line = |name: &str, values: Vec<Option<f64>>, spread: Vec<Option<f64>>, colour: usize| Line {
        name: name.to_owned(),
        values,
        spread,
        colour: Colour::Own(colour),
    };
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
                deltas().map(|it| it.map(|it| it.high - it.value)).collect(),
                1,
            ),
        ],
    };
    let of = |value: fn(&Outcome) -> Option<Rate>| -> Vec<Option<f64>> {
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

/// What was removed by its ΔQ, the smallest first, beside the accuracy that it cost; nothing to compare with a single rule.
fn lost(rules: &[Outcome]) -> Option<LineChart> {
    let mut rows: Vec<(&str, f64, Measured)> =
        rules.iter().filter_map(|row| Some((row.rule.as_str(), row.delta_q?, row.judged.as_ref()?.drop?))).collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let all = || rows.iter().flat_map(|(_, delta, drop)| [*delta, drop.low, drop.high]);
    let ends = |value: f64| (20.0 * value).abs().ceil() / 20.0;
    (rows.len() > 1).then(|| LineChart {
        title: "ΔQ removed, and test accuracy lost".to_owned(),
        places: rows.iter().map(|row| row.0.to_owned()).collect(),
        range: (-ends(all().fold(0.0, f64::min)), ends(all().fold(0.05, f64::max))),
        lines: vec![
            Line {
                name: "sum of ΔQ".to_owned(),
                values: rows.iter().map(|row| Some(row.1)).collect(),
                spread: Vec::new(),
                colour: Colour::Own(0),
            },
            Line {
                name: "lost, 95 %".to_owned(),
                values: rows.iter().map(|row| Some(row.2.value)).collect(),
                spread: rows.iter().map(|row| Some(row.2.high - row.2.value)).collect(),
                colour: Colour::Own(1),
            },
        ],
    })
}
