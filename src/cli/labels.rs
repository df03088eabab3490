//! `advmod labels`: images whose neighbours disagree with their label.

use std::fmt::Write as _;

use serde_json::json;

use super::args::{LabelsArgs, OutputFormat};
use super::measure::{self, Work, make_folder, write_files};
use super::{CliError, Exit, print, say, setup};
use crate::data::{Dataset, Selection};
use crate::model::load::load;
use crate::model::program::TapSelection;
use crate::report::{csv_table, safe_cell};
use crate::study::labels::{LabelPlan, RankedSample, rank};

/// Most images that are compared where the flags do not say how many.
const MOST: usize = 10_000;

pub(super) fn run(args: &LabelsArgs, quiet: bool) -> Result<Exit, CliError> {
    let (device, data) = measure::begin(&args.run, &args.source)?;
    let mut options = setup::load_options(&args.model.read, setup::tap_selection(args.taps.as_deref()))?;
    let mut model = load(args.model.model.as_deref(), &options, device)?;
    if let (None, Some(last)) = (&args.taps, model.tap_paths().last()) {
        options.taps = TapSelection::Globs(vec![last.clone()]);
        model = load(args.model.model.as_deref(), &options, device)?;
    }
    let seed = args.run.seed.unwrap_or(0);
    let samples = match (args.first, args.samples) {
        (Some(n), _) => Selection::First(n),
        (None, Some(n)) => Selection::Sample { n, seed },
        (None, None) if data.info().n <= MOST => Selection::All,
        (None, None) => Selection::Sample { n: MOST, seed },
    };
    let plan = LabelPlan { k: args.k, similarity: args.similarity, samples };
    make_folder(args.out.as_deref())?;
    let mut work = Work::new(args.run.progress, quiet)?;
    let file = (args.model.model.as_deref(), &args.model.read);
    let doubt = work.question_normalization(&model, data.as_ref(), samples, file);
    work.begin("labels");
    let ranked = rank(&model, data.as_ref(), &plan, &mut |done, total| work.tell("labels", done, total));
    if let Some(exit) = work.finish_whole() {
        return Ok(exit);
    }
    let (ranked, warnings) = ranked.map_err(CliError::Runtime)?;
    for warning in doubt.iter().chain(&warnings).filter(|_| !quiet) {
        say(&format!("warning: {warning}"));
    }
    if samples == (Selection::Sample { n: MOST, seed }) && args.samples.is_none() && !quiet {
        let n = data.info().n;
        say(&format!("warning: {MOST} of {n} images, drawn by --seed; --samples {n} compares all, which takes longer"));
    }
    let info = model.info();
    let document = json!({
        "model": info.name,
        "architecture": info.architecture,
        "sha256": info.sha256,
        "data": data.info().name,
        "data_sha256": data.info().sha256,
        "classes": data.info().classes,
        "n": ranked.len(),
        "k": plan.k,
        "similarity": plan.similarity,
        "taps": model.tap_paths(),
        "samples": ranked,
    });
    let json = serde_json::to_string_pretty(&document).expect("plain data always has a JSON form") + "\n";
    let files = [("labels.json", json.clone().into_bytes()), ("labels.csv", csv(&ranked, data.as_ref()))];
    // Said at the end: the results go to stdout all the same.
    let written = write_files(args.out.as_deref(), &files);
    match args.run.format {
        OutputFormat::Json => print(&json)?,
        OutputFormat::Text => {
            let taps = model.tap_paths().join(", ");
            let heading = format!(
                "{} ({}) on {}: N = {}, k = {}, {}, {taps}",
                info.name,
                info.architecture,
                data.info().name,
                ranked.len(),
                plan.k,
                plan.similarity
            );
            print(&text(&heading, &ranked, plan.k, args.top, data.as_ref()).expect("writing to memory cannot fail"))?;
        }
    }
    written.map(|()| Exit::Pass)
}

/// A class's name, or else its label.
fn class_name(data: &dyn Dataset, class: usize) -> String {
    data.info().classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

fn text(
    heading: &str,
    ranked: &[RankedSample],
    k: usize,
    top: usize,
    data: &dyn Dataset,
) -> Result<String, std::fmt::Error> {
    let other = ranked.iter().filter(|it| it.suggested != it.label).count();
    let shown = &ranked[..top.min(ranked.len())];
    let name = |class| class_name(data, class);
    let n = ranked.len() as f64;
    let width = |of: fn(&RankedSample) -> usize, least: usize| {
        shown.iter().map(|it| name(of(it)).chars().count()).max().unwrap_or(0).max(least)
    };
    let (label, suggested) = (width(|it| it.label, 5), width(|it| it.suggested, 14));
    let mut text = format!("{heading}\n{other} of {} images would suit another class better\n", ranked.len());
    writeln!(text, "   image  {:<label$}  {:<suggested$}  same label  agreement     N·q", "label", "neighbours say")?;
    for it in shown {
        let same = format!("{} of {k}", it.same_label);
        let (own, better) = (name(it.label), name(it.suggested));
        writeln!(
            text,
            "{:>8}  {own:<label$}  {better:<suggested$}  {same:>10}  {:>9.3}  {:>6.2}",
            it.index,
            it.agreement,
            n * it.q
        )?;
    }
    Ok(text)
}

fn csv(ranked: &[RankedSample], data: &dyn Dataset) -> Vec<u8> {
    let header =
        ["rank", "index", "label", "label_name", "suggested", "suggested_name", "q", "agreement", "gain", "same_label"];
    let row = |(rank, it): (usize, &RankedSample)| {
        vec![
            (rank + 1).to_string(),
            it.index.to_string(),
            it.label.to_string(),
            safe_cell(&class_name(data, it.label)),
            it.suggested.to_string(),
            safe_cell(&class_name(data, it.suggested)),
            it.q.to_string(),
            it.agreement.to_string(),
            it.gain.to_string(),
            it.same_label.to_string(),
        ]
    };
    csv_table(&header, ranked.iter().enumerate().map(row))
}
