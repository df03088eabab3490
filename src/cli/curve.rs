//! `advmod curve`: clean modularity curves, without any attack.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde::Serialize;

use super::args::{CurveArgs, OutputFormat};
use super::progress::Progress;
use super::{CliError, Exit, print, setup};
use crate::data::Selection;
use crate::model::load::load;
use crate::modularity::Curve;
use crate::report::run_dir::write_atomically;
use crate::study::curve::{CurvePlan, measure};

/// One model's curve, as `--format json` prints it.
#[derive(Serialize)]
struct ModelCurve {
    model: String,
    architecture: String,
    sha256: String,
    data: String,
    curve: Curve,
}

pub(super) fn run(args: &CurveArgs, quiet: bool) -> Result<Exit, CliError> {
    let how = &args.measure;
    setup::set_threads(how.run.threads)?;
    let device = how.run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    let data = setup::open_data(&how.data)?;
    let seed = how.run.seed.unwrap_or(0);
    let plan = CurvePlan {
        k: how.taps.k.unwrap_or(3),
        similarity: how.taps.similarity.unwrap_or_default(),
        repeats: how.repeats.unwrap_or(5),
        samples: match (how.data.first, how.data.samples) {
            (Some(n), _) => Selection::First(n),
            (None, n) => Selection::Sample { n: n.unwrap_or(500), seed },
        },
    };
    let mut progress = Progress::new(how.run.progress, quiet);
    let files: Vec<_> = if args.model.is_empty() { vec![None] } else { args.model.iter().map(Some).collect() };
    let mut curves = Vec::new();
    for file in files {
        let model = how.read.of(file.cloned());
        let options = setup::load_options(&model, setup::tap_selection(&how.taps))?;
        let model = load(model.model.as_deref(), &options, device)?;
        progress.begin(&model.info().name, 0);
        let mut begun = false;
        let measured = measure(&model, data.as_ref(), &plan, &mut |done, total| {
            if !begun {
                progress.begin(&model.info().name, total);
                begun = true;
            }
            progress.update(done, None);
            ControlFlow::Continue(())
        });
        progress.finish();
        let (curve, warnings) = measured.map_err(CliError::Runtime)?;
        for warning in warnings.iter().filter(|_| !quiet) {
            progress.line(&format!("warning: {}: {warning}", model.info().name));
        }
        let info = model.info();
        curves.push(ModelCurve {
            // As typed: two files may have the same name.
            model: file.map_or_else(|| info.name.clone(), |file| file.display().to_string()),
            architecture: info.architecture.clone(),
            sha256: info.sha256.clone(),
            data: data.info().name.clone(),
            curve,
        });
    }
    let json = || serde_json::to_string_pretty(&curves).expect("plain data always has a JSON form") + "\n";
    match how.run.format {
        OutputFormat::Json => print(&json())?,
        OutputFormat::Text => {
            for it in &curves {
                print(&text(it).expect("writing to memory cannot fail"))?;
            }
        }
    }
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::Runtime(format!("cannot make {}: {error}", folder.display())))?;
        write_atomically(&folder.join("curve.json"), json().as_bytes())?;
        write_atomically(&folder.join("curve.csv"), &csv(&curves))?;
    }
    Ok(Exit::Pass)
}

fn text(it: &ModelCurve) -> Result<String, std::fmt::Error> {
    let curve = &it.curve;
    let repeats = curve.taps.iter().map(|tap| tap.repeats.len()).max().unwrap_or(0);
    let mut text = format!(
        "{} ({}) on {}: N = {}, k = {}, {}, {repeats} repeat(s)\n",
        it.model, it.architecture, it.data, curve.n, curve.k, curve.similarity
    );
    let width = curve.taps.iter().map(|tap| tap.tap.chars().count()).max().unwrap_or(0).max(3);
    writeln!(text, "  {:<width$}   mean Q      sd    null  same label  largest hub", "tap")?;
    for point in &curve.taps {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
        let hub = point.hubness.map_or("–".to_owned(), |hub| hub.largest_in_degree.to_string());
        let (q, sd, null) = (number(point.q), number(point.std_dev), number(point.null));
        let overlap = point.label_overlap.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        write!(text, "  {:<width$}  {q:>7} {sd:>7} {null:>7}  {overlap:>10}  {hub:>11}", point.tap)?;
        if let Some(reason) = point.reason.as_ref().filter(|_| point.q.is_none()) {
            write!(text, "  {reason}")?;
        }
        text.push('\n');
    }
    if let Some(peak) = curve.peak() {
        writeln!(text, "  peak {:.4} at {}", peak.q, peak.tap)?;
    }
    Ok(text)
}

fn csv(curves: &[ModelCurve]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut row = |cells: &[String]| writer.write_record(cells).expect("writing to memory cannot fail");
    row(&["model", "tap_index", "tap", "n", "k", "similarity", "repeat", "q"].map(str::to_owned));
    for it in curves {
        for (index, point) in it.curve.taps.iter().enumerate() {
            for (repeat, q) in point.repeats.iter().enumerate() {
                let (n, k) = (it.curve.n.to_string(), it.curve.k.to_string());
                let similarity = it.curve.similarity.to_string();
                let model = crate::report::safe_cell(&it.model);
                row(&[
                    model,
                    index.to_string(),
                    point.tap.clone(),
                    n,
                    k,
                    similarity,
                    repeat.to_string(),
                    q.to_string(),
                ]);
            }
        }
    }
    writer.into_inner().expect("writing to memory cannot fail")
}
