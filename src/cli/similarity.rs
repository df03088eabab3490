//! `advmod similarity`: how alike a model's taps are.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde_json::json;

use super::args::{CkaArg, OutputFormat, SimilarityArgs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, print, say, setup};
use crate::data::Selection;
use crate::model::load::load;
use crate::report::run_dir::write_atomically;
use crate::report::safe_cell;
use crate::report::svg::{Heatmap, heatmaps};
use crate::study::curve::{CurvePlan, measure};
use crate::study::similarity::{CkaPlan, Matrix, difference, linear_cka};

pub(super) fn run(args: &SimilarityArgs, quiet: bool) -> Result<Exit, CliError> {
    setup::set_threads(args.run.threads)?;
    let device = args.run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    let data = setup::open_data(&args.data.source)?;
    let options = setup::load_options(&args.model, setup::tap_selection(args.taps.taps.as_deref()))?;
    let model = load(args.model.model.as_deref(), &options, device)?;
    let samples = match (args.data.first, args.data.samples) {
        (Some(n), _) => Selection::First(n),
        (None, n) => Selection::Sample { n: n.unwrap_or(500), seed: args.run.seed.unwrap_or(0) },
    };
    let plan = CurvePlan {
        k: args.taps.k.unwrap_or(3),
        similarity: args.taps.similarity.unwrap_or_default(),
        repeats: 1,
        samples,
    };
    let interrupt = Interrupt::listen()?;
    let mut progress = Progress::new(args.run.progress, quiet);
    let mut begun = "";
    let mut tell = |name: &'static str, done: u64, total: u64| {
        if begun != name {
            progress.begin(name, total);
            begun = name;
        }
        progress.update(done, None);
        if interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let measured = measure(&model, data.as_ref(), &plan, &mut |done, total| tell("curve", done, total));
    let estimate = match args.cka {
        CkaArg::Full => CkaPlan::Full,
        CkaArg::Batches(n) => CkaPlan::Batches(n),
    };
    let found = measured.and_then(|measured| {
        let cka = linear_cka(&model, data.as_ref(), &samples, estimate, &mut |done, total| tell("CKA", done, total))?;
        Ok((measured, cka))
    });
    progress.finish();
    if interrupt.asked() {
        say("interrupted: nothing was written");
        return Ok(interrupt.exit());
    }
    let ((curve, warnings), cka) = found.map_err(CliError::Runtime)?;
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
        "taps": taps,
        "q": q,
        "difference": difference,
        "cka": cka,
    });
    let json = serde_json::to_string_pretty(&document).expect("plain data always has a JSON form") + "\n";
    match args.run.format {
        OutputFormat::Json => print(&json)?,
        OutputFormat::Text => {
            let of = format!("{} on {}, N = {}", info.name, data.info().name, curve.n);
            let text = [
                table(&format!("|Q_i − Q_j| of {of}, k = {}, {}", curve.k, curve.similarity), &taps, &difference),
                table(&format!("linear CKA ({}) of {of}", args.cka), &taps, &cka),
            ];
            print(&text.join("\n"))?;
        }
    }
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::Runtime(format!("cannot make {}: {error}", folder.display())))?;
        write_atomically(&folder.join("similarity.json"), json.as_bytes())?;
        write_atomically(&folder.join("difference.csv"), &csv(&taps, &difference))?;
        write_atomically(&folder.join("cka.csv"), &csv(&taps, &cka))?;
        let map = |title: &str, matrix: &Matrix, largest: f64| Heatmap {
            title: title.to_owned(),
            names: taps.clone(),
            values: matrix.0.clone(),
            largest,
        };
        let largest = difference.0.iter().flatten().flatten().copied().fold(0.0, f64::max);
        let maps = [map("|Q_i − Q_j|", &difference, largest), map("linear CKA", &cka, 1.0)];
        let about = format!("Difference of modularity and linear CKA between the taps of {}", info.name);
        write_atomically(&folder.join("similarity.svg"), heatmaps(&maps, &about).as_bytes())?;
    }
    Ok(Exit::Pass)
}

/// Most taps of a table of numbers; more are drawn with blocks.
const NUMBERS: usize = 16;

/// A matrix for people: numbers, or a block per cell, the fuller the larger.
fn table(title: &str, taps: &[String], Matrix(rows): &Matrix) -> String {
    let width = taps.iter().map(|tap| tap.chars().count()).max().unwrap_or(0);
    let mut text = format!("{title}\n");
    for (tap, row) in taps.iter().zip(rows) {
        write!(text, "  {tap:<width$} ").expect("writing to memory cannot fail");
        for value in row {
            match value {
                Some(value) if taps.len() <= NUMBERS => write!(text, " {value:5.2}"),
                None if taps.len() <= NUMBERS => write!(text, "     –"),
                Some(value) => write!(text, "{}", block(*value)),
                None => write!(text, "–"),
            }
            .expect("writing to memory cannot fail");
        }
        text.push('\n');
    }
    if taps.len() > NUMBERS {
        text.push_str(
            "  a cell per two taps: ' ' below 0.2, then ░ ▒ ▓ █ from 0.8; numbers are in --out and --format json\n",
        );
    }
    text
}

fn block(value: f64) -> char {
    [' ', '░', '▒', '▓', '█'][(value.clamp(0.0, 1.0) * 5.0).min(4.0) as usize]
}

fn csv(taps: &[String], Matrix(rows): &Matrix) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut record = |cells: Vec<String>| writer.write_record(&cells).expect("writing to memory cannot fail");
    let names = || taps.iter().map(|tap| safe_cell(tap));
    record(std::iter::once("tap".to_owned()).chain(names()).collect());
    for (tap, row) in names().zip(rows) {
        let cells = row.iter().map(|value| value.map_or(String::new(), |value| value.to_string()));
        record(std::iter::once(tap).chain(cells).collect());
    }
    writer.into_inner().expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_taps_are_numbers_and_many_are_blocks() {
        let names = |n: usize| (0..n).map(|it| format!("t{it}")).collect::<Vec<_>>();
        let text = table("x", &names(2), &Matrix(vec![vec![Some(1.0), None], vec![Some(0.126), Some(-0.5)]]));
        assert_eq!(text, "x\n  t0   1.00     –\n  t1   0.13 -0.50\n");
        let many = Matrix(vec![vec![Some(0.5); 20]; 20]);
        assert!(table("x", &names(20), &many).contains(&"▒".repeat(20)));
        assert_eq!([0.0, 0.2, 0.79, 0.8, 1.0, 7.0].map(block), [' ', '░', '▓', '█', '█', '█']);
    }
}
