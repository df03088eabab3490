//! `advmod dynamics`: curve and accuracy of every checkpoint of a training.

use std::fmt::Write as _;
use std::path::Path;

use super::args::{DynamicsArgs, OutputFormat};
use super::deliver::{Outcome, make_folder, write_files};
use super::measure::{self, Work};
use super::{CliError, Exit, print, say, setup};
use crate::model::load::load;
use crate::report::study::curve::q_range;
use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::report::{cell, csv_table, safe_cell};
use crate::study::curve::CurvePlan;
use crate::study::dynamics::{Checkpoint, Dynamics, checkpoint, checkpoints, trends};
use crate::text::names::tail;

/// Letters of a checkpoint's name.
const NAME: usize = 28;

pub(super) fn run(args: &DynamicsArgs, quiet: bool) -> Result<Exit, CliError> {
    let how = &args.measure;
    let files = checkpoints(&args.folder).map_err(CliError::Runtime)?;
    let (device, data) = measure::begin(&how.run, &args.data.source)?;
    let plan = CurvePlan {
        k: args.taps.k.unwrap_or(3),
        similarity: args.taps.similarity.unwrap_or_default(),
        repeats: how.repeats.unwrap_or(1),
        samples: args.data.selection(how.run.seed),
    };
    let options = setup::load_options(&how.read, setup::tap_selection(args.taps.taps.as_deref()))?;
    make_folder(args.out.as_deref())?;
    let mut work = Work::new(how.run.progress, quiet)?;
    let mut outcome = Outcome::new("checkpoints", files.len());
    let (mut measured, mut written): (Vec<Checkpoint>, _) = (Vec::new(), Ok(()));
    for file in &files {
        // A file that cannot be read or does not fit is no reason to lose the others.
        let model = match load(Some(file), &options, device) {
            Ok(model) => model,
            Err(error) => {
                outcome.faults.push(error.into());
                continue;
            }
        };
        let fault = |reason: String| CliError::Runtime(format!("{}: {reason}", file.display()));
        if let Some(first) = measured.first()
            && !model.tap_paths().iter().eq(first.curve.taps.iter().map(|it| &it.tap))
        {
            let reason = format!("has other taps than {}; put each training into its own folder", first.name);
            outcome.faults.push(fault(reason));
            continue;
        }
        let name = model.info().name.clone();
        // All are of one training: what holds for the last, which knows most, holds for the rest.
        let doubt = match Some(file) == files.last() {
            true => work.question_normalization(&model, data.as_ref(), plan.samples, (Some(file), &how.read)),
            false => None,
        };
        let found = checkpoint(&model, data.as_ref(), &plan, &mut |done, total| work.tell(&name, done, total));
        outcome.interrupted = work.finish();
        if outcome.interrupted.is_some() {
            break;
        }
        let (checkpoint, warnings) = match found {
            Ok(found) => found,
            Err(reason) => {
                outcome.faults.push(fault(reason));
                continue;
            }
        };
        for warning in doubt.iter().chain(&warnings).filter(|_| !quiet) {
            say(&format!("warning: {name}: {warning}"));
        }
        if how.run.format == OutputFormat::Text {
            // Each as soon as it is there: a training has many.
            print(&row(&checkpoint, measured.is_empty(), &data.info().name))?;
        }
        measured.push(checkpoint);
        outcome.done += 1;
        written = write(args.out.as_deref(), &measured, &data.info().name);
    }
    if !measured.is_empty() {
        match how.run.format {
            OutputFormat::Json => print(&json(&measured, &data.info().name))?,
            OutputFormat::Text => print(&trend_table(&measured))?,
        }
    }
    let out = outcome.written(args.out.as_deref(), written);
    outcome.end(out)
}

/// Writes dynamics.json, dynamics.csv and dynamics.svg.
pub(super) fn write(folder: Option<&Path>, measured: &[Checkpoint], data: &str) -> Result<(), CliError> {
    let files = [
        ("dynamics.json", json(measured, data).into_bytes()),
        ("dynamics.csv", csv(measured)),
        ("dynamics.svg", picture(measured).into_bytes()),
    ];
    write_files(folder, &files)
}

fn json(measured: &[Checkpoint], data: &str) -> String {
    let document = Dynamics { checkpoints: measured.to_vec(), data: data.to_owned(), taps: trends(measured) };
    serde_json::to_string_pretty(&document).expect("plain data always has a JSON form") + "\n"
}

/// A checkpoint's line of the table, the first one under its head.
pub(super) fn row(checkpoint: &Checkpoint, is_first: bool, data: &str) -> String {
    let head = if is_first { head(checkpoint, data) } else { String::new() };
    head + &line(checkpoint)
}

/// Q of so many taps stands in the table.
const COLUMNS: usize = 6;

/// The taps of the table: evenly spread, with the first and the last.
fn columns(checkpoint: &Checkpoint) -> Vec<usize> {
    let n = checkpoint.curve.taps.len();
    if n <= COLUMNS { (0..n).collect() } else { (0..COLUMNS).map(|it| it * (n - 1) / (COLUMNS - 1)).collect() }
}

fn head(first: &Checkpoint, data: &str) -> String {
    let curve = &first.curve;
    let taps: Vec<String> =
        columns(first).into_iter().map(|it| format!("{:>12}", tail(&curve.taps[it].tap, 11))).collect();
    format!(
        "Q by tap on {data}: N = {}, k = {}, {}\n{:<28} {:>8}{}\n",
        curve.n,
        curve.k,
        curve.similarity,
        "checkpoint",
        "accuracy",
        taps.concat()
    )
}

fn line(it: &Checkpoint) -> String {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
    let accuracy = it.accuracy.value.map_or("–".to_owned(), |value| format!("{:.2} %", 100.0 * value));
    let taps: Vec<String> =
        columns(it).into_iter().map(|tap| format!("{:>12}", number(it.curve.taps[tap].q))).collect();
    format!("{:<28} {accuracy:>8}{}\n", tail(&it.name, NAME), taps.concat())
}

pub(super) fn trend_table(measured: &[Checkpoint]) -> String {
    let trends = trends(measured);
    let mut text = String::from(
        "\nrank correlation of Q and accuracy over the checkpoints, and Q of the first and the last one\n",
    );
    let width = trends.iter().map(|it| it.tap.chars().count()).max().unwrap_or(0).max(3);
    let number =
        |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
    for it in &trends {
        let (first, last) = (number(it.first, 4), number(it.last, 4));
        writeln!(text, "  {:<width$}  {:>6}  {first:>7} → {last:>7}", it.tap, number(it.rank_correlation, 2))
            .expect("writing to memory cannot fail");
    }
    text
}

fn csv(measured: &[Checkpoint]) -> Vec<u8> {
    let header =
        ["checkpoint", "number", "accuracy", "tap_index", "tap", "n", "k", "similarity", "q", "q_std_dev", "null"];
    let rows = measured.iter().enumerate().flat_map(|(number, it)| {
        it.curve.taps.iter().enumerate().map(move |(index, point)| {
            vec![
                safe_cell(&it.name),
                (number + 1).to_string(),
                cell(it.accuracy.value),
                index.to_string(),
                safe_cell(&point.tap),
                it.curve.n.to_string(),
                it.curve.k.to_string(),
                it.curve.similarity.to_string(),
                cell(point.q),
                cell(point.std_dev),
                cell(point.null),
            ]
        })
    });
    csv_table(&header, rows)
}

/// A curve per checkpoint; and, over the checkpoints, accuracy and Q of three taps.
fn picture(measured: &[Checkpoint]) -> String {
    let Some(first) = measured.first() else { return charts(&[], "no checkpoints") };
    let taps: Vec<String> = first.curve.taps.iter().map(|it| it.tap.clone()).collect();
    let numbers: Vec<String> = measured.iter().enumerate().map(|(place, it)| it.number(place)).collect();
    let steps = (measured.len().max(2) - 1) as f64;
    let line =
        |name: &str, values: Vec<Option<f64>>, colour| Line { name: name.to_owned(), values, band: Vec::new(), colour };
    let curve = |(place, it): (usize, &Checkpoint)| {
        let colour = Colour::Step(place as f64 / steps);
        line(&numbers[place], it.curve.taps.iter().map(|point| point.q).collect(), colour)
    };
    let by_tap = LineChart {
        title: format!("Q by tap for each checkpoint, N = {}, k = {}", first.curve.n, first.curve.k),
        places: taps.clone(),
        range: q_range(measured.iter().map(|it| &it.curve), &[]),
        lines: measured.iter().enumerate().map(curve).collect(),
        is_joined: true,
    };
    let accuracy: Vec<Option<f64>> = measured.iter().map(|it| it.accuracy.value).collect();
    let range = q_range(measured.iter().map(|it| &it.curve), &accuracy.iter().flatten().copied().collect::<Vec<_>>());
    let mut lines = vec![line("accuracy", accuracy, Colour::Own(1))];
    let mut places = vec![0, taps.len().saturating_sub(1) / 2, taps.len().saturating_sub(1)];
    places.dedup();
    for (number, tap) in places.into_iter().enumerate().filter(|(_, tap)| *tap < taps.len()) {
        let values = measured.iter().map(|it| it.curve.taps.get(tap).and_then(|point| point.q)).collect();
        lines.push(line(&format!("Q {}", taps[tap]), values, Colour::Own([0, 2, 3][number % 3])));
    }
    let over_time = LineChart {
        title: "accuracy and Q by checkpoint".to_owned(),
        places: numbers.clone(),
        range,
        lines,
        is_joined: true,
    };
    charts(
        &[by_tap, over_time],
        "Modularity by tap of each checkpoint, and accuracy and modularity over the checkpoints",
    )
}
