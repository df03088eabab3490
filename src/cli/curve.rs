//! `advmod curve`: clean modularity curves, without any attack.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::args::{CurveArgs, OutputFormat, SweepArgs};
use super::deliver::{Outcome, make_folder, write_files};
use super::measure::{self, Work};
use super::{CliError, Exit, print, say, setup};
use crate::audit::resolved::quoted;
use crate::data::Selection;
use crate::model::load::{LoadOptions, load};
use crate::modularity::{Similarity, TapDetails, TapPoint};
use crate::report::curve_page;
use crate::report::measured::{ModelCurve, classes_csv, curve_csv, picture, tail};
use crate::study::curve::{SweepPlan, sweep};

pub(super) fn run(args: &CurveArgs, quiet: bool) -> Result<Exit, CliError> {
    let how = &args.measure;
    let (device, data) = measure::begin(&how.run, &args.source)?;
    let plan = plan(&args.sweep, how.repeats.unwrap_or(5), how.run.seed.unwrap_or(0));
    make_folder(args.out.as_deref())?;
    let mut work = Work::new(how.run.progress, quiet)?;
    let files: Vec<_> = if args.model.is_empty() { vec![None] } else { args.model.iter().map(Some).collect() };
    let seeds = once(args.random_init.clone());
    let open = |file: Option<&PathBuf>, random_init| {
        let taps = setup::tap_selection(args.sweep.taps.as_deref());
        let options = LoadOptions { random_init, ..setup::load_options(&how.read, taps)? };
        load(file.map(PathBuf::as_path), &options, device).map_err(CliError::from)
    };
    // What cannot be initialized is said before anything is measured.
    for file in files.iter().filter(|_| !seeds.is_empty()) {
        // What cannot be read at all is no reason to lose the others.
        if open(*file, None).is_ok() {
            open(*file, seeds.first().copied())?;
        }
    }
    let variants = || std::iter::once(None).chain(seeds.iter().copied().map(Some));
    let mut curves = Vec::new();
    let (mut warned, mut told) = (Vec::new(), Vec::new());
    let mut outcome = Outcome::new("networks", files.len() * (1 + seeds.len()));
    for (file, random_init) in files.iter().flat_map(|file| variants().map(move |seed| (*file, seed))) {
        // A file that cannot be read or does not fit is no reason to lose what the others give.
        let model = match open(file, random_init) {
            Ok(model) => model,
            Err(fault) => {
                outcome.faults.push(fault);
                continue;
            }
        };
        let info = model.info();
        let name = match random_init {
            None => info.name.clone(),
            Some(seed) => format!("{}, random weights {seed}", info.name),
        };
        let file_path = file.map(PathBuf::as_path).filter(|_| random_init.is_none());
        let doubt = work.question_normalization(&model, data.as_ref(), plan.samples[0], (file_path, &how.read));
        work.begin(&name);
        let measured = sweep(&model, data.as_ref(), &plan, &mut |done, total| work.tell(&name, done, total));
        outcome.interrupted = work.finish();
        if outcome.interrupted.is_some() {
            break;
        }
        let (found, warnings) = match measured {
            Ok(measured) => measured,
            Err(reason) => {
                outcome.faults.push(CliError::Runtime(match file {
                    Some(file) if files.len() > 1 => format!("{}: {reason}", file.display()),
                    _ => reason,
                }));
                continue;
            }
        };
        outcome.done += 1;
        for warning in doubt.into_iter().chain(warnings) {
            // Of random weights only what their file has not had.
            let is_new = random_init.is_none() || !warned.contains(&(file, warning.clone()));
            if is_new {
                told.push(format!("{name}: {warning}"));
                if !quiet {
                    say(&format!("warning: {name}: {warning}"));
                }
            }
            warned.push((file, warning));
        }
        curves.extend(found.into_iter().map(|it| ModelCurve {
            // As typed: two files may have the same name.
            model: file.map_or_else(|| info.name.clone(), |file| file.display().to_string()),
            architecture: info.architecture.clone(),
            sha256: random_init.is_none().then(|| info.sha256.clone()),
            random_init,
            data: data.info().name.clone(),
            class_names: data.info().classes.clone(),
            curve: it.curve,
            details: it.details,
        }));
    }
    if curves.is_empty() {
        return outcome.end(None);
    }
    told.extend(outcome.missing());
    let out = outcome.written(args.out.as_deref(), write(args.out.as_deref(), &curves, &told));
    let is_sweep = plan.ks.len() * plan.similarities.len() * plan.samples.len() > 1 || !args.random_init.is_empty();
    match how.run.format {
        OutputFormat::Json => print(&json(&curves))?,
        OutputFormat::Text => {
            if is_sweep {
                print(&table(&curves))?;
            }
            for it in &curves {
                let text = if is_sweep { Ok(String::new()) } else { text(it) };
                let more = if args.details { details(it, is_sweep) } else { Ok(String::new()) };
                print(&(text.and_then(|text| Ok(text + &more?)).expect("writing to memory cannot fail")))?;
            }
        }
    }
    outcome.end(out)
}

fn json(curves: &[ModelCurve]) -> String {
    serde_json::to_string_pretty(curves).expect("plain data always has a JSON form") + "\n"
}

fn write(folder: Option<&Path>, curves: &[ModelCurve], warnings: &[String]) -> Result<(), CliError> {
    // As typed, but for the name of the program.
    let flags = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    let command: Vec<String> = std::iter::once("advmod".to_owned()).chain(flags).collect();
    let files = [
        ("curve.json", json(curves).into_bytes()),
        ("curve.csv", curve_csv(curves)),
        ("classes.csv", classes_csv(curves)),
        ("curve.svg", picture(curves).into_bytes()),
        ("curve.html", curve_page(curves, warnings, &command.join(" "))),
    ];
    write_files(folder, &files)
}

/// The flags with their defaults; a value that is given twice counts once.
fn plan(args: &SweepArgs, repeats: usize, seed: u64) -> SweepPlan {
    let samples = match (&args.first[..], &args.samples[..]) {
        ([], []) => vec![Selection::Sample { n: 500, seed }],
        ([], samples) => samples.iter().map(|&n| Selection::Sample { n, seed }).collect(),
        (first, _) => first.iter().map(|&n| Selection::First(n)).collect(),
    };
    SweepPlan {
        ks: once(if args.k.is_empty() { vec![3] } else { args.k.clone() }),
        similarities: once(if args.similarity.is_empty() {
            vec![Similarity::default()]
        } else {
            args.similarity.clone()
        }),
        repeats,
        samples: once(samples),
    }
}

fn once<T: PartialEq>(values: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(values.len());
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// The numbers of a tap, as both tables have them.
fn numbers(point: &TapPoint) -> String {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
    let hub = point.hubness.map_or("–".to_owned(), |hub| hub.largest_in_degree.to_string());
    let (q, sd, null) = (number(point.q), number(point.std_dev), number(point.null));
    let z = point.z.map_or("–".to_owned(), |z| format!("{z:.1}"));
    let overlap = point.label_overlap.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let reason = point.reason.as_ref().filter(|_| point.q.is_none()).map_or(String::new(), |it| format!("  {it}"));
    format!("  {q:>7} {sd:>7} {null:>7} {z:>6}  {overlap:>10}  {hub:>11}{reason}\n")
}

const NUMBERS: &str = "   mean Q      sd    null      z  same label  largest hub\n";

fn text(it: &ModelCurve) -> Result<String, std::fmt::Error> {
    let curve = &it.curve;
    let mut text = format!("{}\n", it.heading());
    let width = curve.taps.iter().map(|tap| tap.tap.chars().count()).max().unwrap_or(0).max(3);
    write!(text, "  {:<width$}{NUMBERS}", "tap")?;
    for point in &curve.taps {
        write!(text, "  {:<width$}{}", point.tap, numbers(point))?;
    }
    if let Some(peak) = curve.peak() {
        writeln!(text, "  peak {:.4} at {}", peak.q, peak.tap)?;
    }
    Ok(text)
}

/// The table of a sweep: a row for each model, setting and tap.
fn table(curves: &[ModelCurve]) -> String {
    let model = |it: &ModelCurve| match it.random_init {
        None => tail(&it.model, 32),
        Some(seed) => format!("{}, random {seed}", tail(&it.model, 32)),
    };
    let longest = |of: &dyn Fn(&ModelCurve) -> usize, least: usize| curves.iter().map(of).max().unwrap_or(0).max(least);
    let width = longest(&|it| model(it).chars().count(), "model".len());
    let taps = |it: &ModelCurve| it.curve.taps.iter().map(|tap| tap.tap.chars().count()).max().unwrap_or(0);
    let tap_width = longest(&taps, "tap".len());
    let mut text =
        format!("{:<width$}  repeats     N    k  {:<14}  {:<tap_width$}{NUMBERS}", "model", "similarity", "tap");
    for it in curves {
        let (model, curve) = (model(it), &it.curve);
        for point in &curve.taps {
            write!(
                text,
                "{model:<width$}  {:>7} {:>5} {:>4}  {:<14}  {:<tap_width$}{}",
                it.repeats(),
                curve.n,
                curve.k,
                curve.similarity,
                point.tap,
                numbers(point)
            )
            .expect("writing to memory cannot fail");
        }
    }
    text
}

/// What the graphs say beyond Q, tap by tap, and the classes at the last tap.
fn details(it: &ModelCurve, has_heading: bool) -> Result<String, std::fmt::Error> {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let percent = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{:.1} %", 100.0 * value));
    let mut text = match has_heading {
        true => format!("\n{}\n", it.heading()),
        false => String::new(),
    };
    let width = it.details.iter().map(|tap| tap.tap.chars().count()).max().unwrap_or(0).max(3);
    let head = "tap";
    writeln!(text, "  {head:<width$}  kNN accuracy  hub skewness  never chosen  weakest class")?;
    for (point, tap) in it.curve.taps.iter().zip(&it.details) {
        let (accuracy, never) = (percent(tap.knn_accuracy), percent(tap.never_chosen));
        let skewness = number(point.hubness.map(|hub| hub.skewness));
        let weakest = tap.weakest().map_or("–".to_owned(), |class| {
            format!("{} (separation {})", it.class_name(class.class), number(class.separation))
        });
        writeln!(text, "  {:<width$}  {accuracy:>12}  {skewness:>12}  {never:>12}  {weakest}", tap.tap)?;
    }
    if let Some(tap) = it.details.last() {
        text += &classes(it, tap)?;
    }
    Ok(text)
}

/// Most classes of a table for people; `classes.csv` has them all.
const CLASSES: usize = 20;

fn classes(it: &ModelCurve, tap: &TapDetails) -> Result<String, std::fmt::Error> {
    let mut classes: Vec<_> = tap.classes.iter().collect();
    let by_separation = |separation: Option<f64>| separation.unwrap_or(f64::INFINITY);
    classes.sort_by(|a, b| by_separation(a.separation).total_cmp(&by_separation(b.separation)));
    let more = classes.len().saturating_sub(CLASSES);
    classes.truncate(CLASSES);
    let names: Vec<String> = classes.iter().map(|class| it.class_name(class.class)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    let mut text = format!("  classes at {}, the weakest first; their shares sum to Q\n", tap.tap);
    let head = "class";
    writeln!(text, "  {head:<width$}  share of Q  separation")?;
    for (class, name) in classes.iter().zip(names) {
        let separation = class.separation.map_or("–".to_owned(), |value| format!("{value:.3}"));
        writeln!(text, "  {name:<width$}  {:>10.4}  {separation:>10}", class.q)?;
    }
    if more > 0 {
        writeln!(text, "  and {more} more: --out DIR writes classes.csv")?;
    }
    Ok(text)
}
