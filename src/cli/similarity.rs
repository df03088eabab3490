//! `advmod similarity`: how alike a model's taps are.

use std::fmt::Write as _;

use serde_json::json;

use super::args::{CkaArg, OutputFormat, SimilarityArgs};
use super::deliver::{Outcome, make_folder, write_files};
use super::measure::{self, Work};
use super::{CliError, Exit, print, print_coloured, say, setup};
use crate::model::load::load;
use crate::modularity::{Curve, Interval};
use crate::report::svg::{Heatmap, heatmaps};
use crate::report::{cell, csv_table, safe_cell};
use crate::study::curve::CurvePlan;
use crate::study::similarity::{Cka, CkaPlan, Matrix, difference, differs, linear_cka, paired_curve};
use crate::text::heatmap::heatmap;
use crate::text::names::harmless;

pub(super) fn run(args: &SimilarityArgs, quiet: bool) -> Result<Exit, CliError> {
    let (device, data) = measure::begin(&args.run, &args.data.source)?;
    let options = setup::load_options(&args.model.read, setup::tap_selection(args.taps.taps.as_deref()))?;
    let model = load(args.model.model.as_deref(), &options, device)?;
    let samples = args.data.selection(args.run.seed);
    let plan = CurvePlan {
        k: args.taps.k.unwrap_or(3),
        similarity: args.taps.similarity.unwrap_or_default(),
        repeats: 1,
        samples,
    };
    let seed = args.run.seed.unwrap_or(0);
    let estimate = match args.cka {
        CkaArg::Full => CkaPlan::Full,
        CkaArg::Batches(of) => CkaPlan::Batches { of, seed },
    };
    // Before the curve, which takes its time.
    estimate.at_once(samples.n(), model.tap_paths().len()).map_err(CliError::Usage)?;
    make_folder(args.out.as_deref())?;
    let mut work = Work::new(args.run.progress, quiet)?;
    let file = (args.model.model.as_deref(), &args.model.read);
    let doubt = work.question_normalization(&model, data.as_ref(), samples, file);
    let paired = paired_curve(&model, data.as_ref(), &plan, seed, &mut |done, total| work.tell("curve", done, total));
    if let Some(exit) = work.finish_whole() {
        return Ok(exit);
    }
    let paired = paired.map_err(CliError::Runtime)?;
    let mut outcome = Outcome { done: 1, ..Outcome::new("parts", 2) };
    let mut tell = |done, total| work.tell("CKA", done, total);
    let cka = linear_cka(&model, data.as_ref(), &samples, estimate, &mut tell);
    outcome.interrupted = work.finish();
    let cka = match (cka, outcome.interrupted) {
        (Ok(cka), _) => {
            outcome.interrupted = None;
            outcome.done += 1;
            cka
        }
        (Err(fault), None) => {
            outcome.faults.push(CliError::Runtime(format!("CKA: {fault}")));
            Cka::missing(paired.curve.taps.len(), "it could not be measured")
        }
        // The curve is whole all the same.
        (_, Some(_)) => Cka::missing(paired.curve.taps.len(), "interrupted"),
    };
    let changes = paired.changes();
    let (curve, mut warnings) = (paired.curve, paired.warnings);
    warnings.extend(doubt);
    if outcome.done == 2 {
        warnings.extend(notes(&curve, &cka));
    }
    let Cka { matrix: cka, flaws, samples: cka_samples } = cka;
    for warning in warnings.iter().filter(|_| !quiet) {
        say(&format!("warning: {warning}"));
    }
    let taps: Vec<String> = curve.taps.iter().map(|it| it.tap.clone()).collect();
    let q: Vec<Option<f64>> = curve.taps.iter().map(|it| it.q).collect();
    let difference = difference(&q);
    let info = model.info();
    let document = json!({
        "model": info.name,
        "architecture": info.architecture,
        "sha256": info.sha256,
        "data": data.info().name,
        "n": curve.n,
        "k": curve.k,
        "similarity": curve.similarity,
        "cka_estimate": args.cka.to_string(),
        "cka_samples": cka_samples,
        "cka_absent": flaws,
        "q_absent": curve.taps.iter().map(|it| it.reason.as_ref().filter(|_| it.q.is_none())).collect::<Vec<_>>(),
        "taps": taps,
        "q": q,
        "difference": difference,
        "change": changes,
        "cka": cka,
    });
    let json = serde_json::to_string_pretty(&document).expect("plain data always has a JSON form") + "\n";
    let svg = picture(&info.name, &taps, (&difference, &changes), &cka);
    let files = [
        ("similarity.json", json.clone().into_bytes()),
        ("difference.csv", csv(&taps, &difference)),
        ("change.csv", changes_csv(&taps, &changes)),
        ("cka.csv", csv(&taps, &cka)),
        ("similarity.svg", svg.into_bytes()),
    ];
    let out = outcome.written(args.out.as_deref(), write_files(args.out.as_deref(), &files));
    match args.run.format {
        OutputFormat::Json => print(&json)?,
        OutputFormat::Text => {
            let of = format!("{} on {}, N = {}", info.name, data.info().name, curve.n);
            let titles = [
                format!("|Q_i − Q_j| of {of}, k = {}, {}", curve.k, curve.similarity),
                format!("linear CKA ({}) of {of}", args.cka),
            ];
            print_coloured(&text(titles, &taps, (&difference, &changes), &cka))?;
        }
    }
    outcome.end(out)
}

/// Why numbers are absent, or over fewer samples.
fn notes(curve: &Curve, cka: &Cka) -> Vec<String> {
    let mut warnings = Vec::new();
    if cka.samples < curve.n {
        warnings.push(format!("CKA is over {} of the {} samples: the rest is no whole batch", cka.samples, curve.n));
    }
    for (point, flaw) in curve.taps.iter().zip(&cka.flaws) {
        warnings.extend(flaw.map(|flaw| format!("{} has no CKA: {flaw}", point.tap)));
        let reason = point.reason.as_ref().filter(|_| point.q.is_none());
        warnings.extend(reason.map(|reason| format!("{} has no Q: {reason}", point.tap)));
    }
    let mut without = curve.taps.iter().filter(|point| point.q.is_some() && point.interval.is_none());
    if let Some((tap, reason)) = without.find_map(|point| Some((&point.tap, point.reason.as_ref()?))) {
        warnings.push(format!("differences from {tap} have no interval: {reason}"));
    }
    warnings
}

/// From tap (row) to tap (column).
type Changes = [Vec<Option<Interval>>];

/// Both matrices with their titles, for stdout.
fn text(titles: [String; 2], taps: &[String], (difference, changes): (&Matrix, &Changes), cka: &Matrix) -> String {
    let look = super::look();
    let names: Vec<String> = taps.iter().map(|tap| harmless(tap)).collect();
    let [of_difference, of_cka] = titles.map(|title| harmless(&title));
    let (difference, cka) =
        (heatmap(&names, &difference.0, largest(difference), look), heatmap(&names, &cka.0, 1.0, look));
    let steps = steps(&names, changes);
    format!("{of_difference}\n{difference}\n{steps}\n{of_cka}\n{cka}")
}

/// How Q changes from each tap to the next.
fn steps(names: &[String], changes: &Changes) -> String {
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = "change of Q from tap to tap, 95 % paired jackknife intervals, each for itself\n".to_owned();
    for (at, pair) in names.windows(2).enumerate() {
        let line = match &changes[at][at + 1] {
            None => "–".to_owned(),
            Some(it) => {
                let word = if differs(it) { "" } else { "  not told apart" };
                format!("{:>+8.4} [{:+.4}, {:+.4}]{word}", it.estimate, it.low, it.high)
            }
        };
        writeln!(text, "  {:<width$} → {:<width$}  {line}", pair[0], pair[1]).expect("writing to memory cannot fail");
    }
    text
}

/// Both matrices as a file.
fn picture(model: &str, taps: &[String], (difference, changes): (&Matrix, &Changes), cka: &Matrix) -> String {
    let covers = |it: &Option<Interval>| it.as_ref().is_some_and(|it| !differs(it));
    let marks = changes.iter().map(|row| row.iter().map(covers).collect()).collect();
    let map = |title: &str, matrix: &Matrix, largest: f64, marks: Vec<Vec<bool>>| Heatmap {
        marks,
        title: title.to_owned(),
        names: taps.to_vec(),
        values: matrix.0.clone(),
        largest,
    };
    let maps = [
        map("|Q_i − Q_j|, · where 0 is in the 95 % interval", difference, largest(difference), marks),
        map("linear CKA", cka, 1.0, Vec::new()),
    ];
    heatmaps(&maps, &format!("Difference of modularity and linear CKA between the taps of {model}"))
}

fn largest(matrix: &Matrix) -> f64 {
    matrix.0.iter().flatten().flatten().copied().fold(0.0, f64::max)
}

/// A row for every two taps, the earlier one first.
fn changes_csv(taps: &[String], changes: &Changes) -> Vec<u8> {
    let header = ["from", "to", "is_adjacent", "change", "se", "low_95", "high_95", "differs"];
    let rows = changes.iter().enumerate().flat_map(|(a, row)| {
        row.iter().enumerate().skip(a + 1).map(move |(b, change)| {
            let names = [safe_cell(&taps[a]), safe_cell(&taps[b]), (b == a + 1).to_string()];
            let change = change.as_ref();
            let numbers = change.map(|it| [it.estimate, it.se, it.low, it.high]);
            let cells = [0, 1, 2, 3].map(|at| cell(numbers.map(|it| it[at])));
            [&names[..], &cells, &[cell(change.map(differs))]].concat()
        })
    });
    csv_table(&header, rows)
}

fn csv(taps: &[String], Matrix(rows): &Matrix) -> Vec<u8> {
    let names = || taps.iter().map(|tap| safe_cell(tap));
    let header: Vec<String> = std::iter::once("tap".to_owned()).chain(names()).collect();
    let row =
        |(tap, row): (String, &Vec<Option<f64>>)| std::iter::once(tap).chain(row.iter().map(|it| cell(*it))).collect();
    csv_table(&header, names().zip(rows).map(row))
}
