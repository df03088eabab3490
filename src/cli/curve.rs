//! `advmod curve`: clean modularity curves, without any attack.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::args::{CurveArgs, OutputFormat, SweepArgs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, print, say, setup};
use crate::data::Selection;
use crate::model::load::{LoadOptions, load};
use crate::modularity::{Curve, Similarity, TapPoint};
use crate::report::run_dir::write_atomically;
use crate::report::safe_cell;
use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::study::curve::{SweepPlan, sweep};

/// One model's curve, as `--format json` prints it.
#[derive(Clone, Serialize)]
struct ModelCurve {
    model: String,
    architecture: String,
    /// Of the file; random weights have none.
    sha256: Option<String>,
    /// Seed of random weights.
    random_init: Option<u64>,
    data: String,
    curve: Curve,
}

pub(super) fn run(args: &CurveArgs, quiet: bool) -> Result<Exit, CliError> {
    let how = &args.measure;
    setup::set_threads(how.run.threads)?;
    let device = how.run.device.unwrap_or_default().resolve().map_err(CliError::Runtime)?;
    let data = setup::open_data(&args.source)?;
    let plan = plan(&args.sweep, how.repeats.unwrap_or(5), how.run.seed.unwrap_or(0));
    let interrupt = Interrupt::listen()?;
    let mut progress = Progress::new(how.run.progress, quiet);
    let files: Vec<_> = if args.model.is_empty() { vec![None] } else { args.model.iter().map(Some).collect() };
    let seeds = once(args.random_init.clone());
    let open = |file: Option<&PathBuf>, random_init| {
        let model = how.read.of(file.cloned());
        let taps = setup::tap_selection(args.sweep.taps.as_deref());
        let options = LoadOptions { random_init, ..setup::load_options(&model, taps)? };
        load(model.model.as_deref(), &options, device).map_err(CliError::from)
    };
    // What cannot be initialized is said before anything is measured.
    for file in files.iter().filter(|_| !seeds.is_empty()) {
        open(*file, seeds.first().copied())?;
    }
    let variants = || std::iter::once(None).chain(seeds.iter().copied().map(Some));
    let mut curves = Vec::new();
    let mut warned = Vec::new();
    for (file, random_init) in files.iter().flat_map(|file| variants().map(move |seed| (*file, seed))) {
        let model = open(file, random_init)?;
        let info = model.info();
        let name = match random_init {
            None => info.name.clone(),
            Some(seed) => format!("{}, random weights {seed}", info.name),
        };
        progress.begin(&name, 0);
        let mut begun = false;
        let measured = sweep(&model, data.as_ref(), &plan, &mut |done, total| {
            if !begun {
                progress.begin(&name, total);
                begun = true;
            }
            progress.update(done, None);
            if interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        progress.finish();
        if interrupt.asked() {
            say("interrupted: nothing was written");
            return Ok(interrupt.exit());
        }
        let (found, warnings) = measured.map_err(CliError::Runtime)?;
        for warning in warnings {
            // Of random weights only what their file has not had.
            let is_new = random_init.is_none() || !warned.contains(&(file, warning.clone()));
            if is_new && !quiet {
                progress.line(&format!("warning: {name}: {warning}"));
            }
            warned.push((file, warning));
        }
        curves.extend(found.into_iter().map(|curve| ModelCurve {
            // As typed: two files may have the same name.
            model: file.map_or_else(|| info.name.clone(), |file| file.display().to_string()),
            architecture: info.architecture.clone(),
            sha256: random_init.is_none().then(|| info.sha256.clone()),
            random_init,
            data: data.info().name.clone(),
            curve,
        }));
    }
    let json = || serde_json::to_string_pretty(&curves).expect("plain data always has a JSON form") + "\n";
    let is_sweep = plan.ks.len() * plan.similarities.len() * plan.samples.len() > 1 || !args.random_init.is_empty();
    match how.run.format {
        OutputFormat::Json => print(&json())?,
        OutputFormat::Text if is_sweep => print(&table(&curves))?,
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
        write_atomically(&folder.join("curve.svg"), picture(&curves).as_bytes())?;
    }
    Ok(Exit::Pass)
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
    let repeats = repeats(curve);
    let mut text = format!(
        "{} ({}) on {}: N = {}, k = {}, {}, {repeats} repeat(s)\n",
        it.model, it.architecture, it.data, curve.n, curve.k, curve.similarity
    );
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

fn repeats(curve: &Curve) -> usize {
    curve.taps.iter().map(|tap| tap.repeats.len()).max().unwrap_or(0)
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
                repeats(curve),
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

/// The end of a long path, which tells files apart.
fn tail(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    format!("…{}", name.chars().skip(length + 1 - most).collect::<String>())
}

fn csv(curves: &[ModelCurve]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut row = |cells: &[String]| writer.write_record(cells).expect("writing to memory cannot fail");
    row(&["model", "tap_index", "tap", "n", "k", "similarity", "repeat", "q", "random_init"].map(str::to_owned));
    for it in curves {
        for (index, point) in it.curve.taps.iter().enumerate() {
            for (repeat, q) in point.repeats.iter().enumerate() {
                row(&[
                    safe_cell(&it.model),
                    index.to_string(),
                    safe_cell(&point.tap),
                    it.curve.n.to_string(),
                    it.curve.k.to_string(),
                    it.curve.similarity.to_string(),
                    repeat.to_string(),
                    q.to_string(),
                    it.random_init.map_or(String::new(), |seed| seed.to_string()),
                ]);
            }
        }
    }
    writer.into_inner().expect("writing to memory cannot fail")
}

/// What lines of weights that are not random are called.
const LOADED: &str = "as loaded";

/// Most lines of a chart before it is split by samples and similarity.
const LINES: usize = 6;

/// Longest title of a chart.
const TITLE: usize = 52;

/// A chart with standard deviations as bands for each list of taps, or for each of its N and similarities; lines are named by what they differ in.
fn picture(curves: &[ModelCurve]) -> String {
    let taps = |it: &ModelCurve| it.curve.taps.iter().map(|tap| tap.tap.clone()).collect::<Vec<_>>();
    let all: Vec<&ModelCurve> = curves.iter().collect();
    let drawn: Vec<Vec<&ModelCurve>> = (grouped(&all, &taps).into_iter())
        .flat_map(|group| match group.len() {
            0..=LINES => vec![group],
            _ => grouped(&group, &|it| (it.curve.n, it.curve.similarity)),
        })
        .collect();
    let lowest = curves.iter().flat_map(|it| &it.curve.taps).filter_map(|tap| tap.q).fold(0.0, f64::min);
    // To the next tenth below.
    let range = ((10.0 * lowest).floor() / 10.0, 1.0);
    let drawn: Vec<LineChart> = drawn.iter().map(|group| chart(group, range)).collect();
    charts(&drawn, "Modularity by tap, a line for each model and setting")
}

/// Those of equal keys together, in the order of their first ones.
fn grouped<'a, K: PartialEq>(curves: &[&'a ModelCurve], key: &dyn Fn(&ModelCurve) -> K) -> Vec<Vec<&'a ModelCurve>> {
    let mut groups: Vec<Vec<&ModelCurve>> = Vec::new();
    for &it in curves {
        match groups.iter_mut().find(|group| key(group[0]) == key(it)) {
            Some(group) => group.push(it),
            None => groups.push(vec![it]),
        }
    }
    groups
}

fn chart(group: &[&ModelCurve], range: (f64, f64)) -> LineChart {
    let what: [fn(&ModelCurve) -> String; 4] = [
        |it| it.random_init.map_or(LOADED.to_owned(), |seed| format!("random {seed}")),
        |it| format!("N = {}", it.curve.n),
        |it| format!("k = {}", it.curve.k),
        |it| it.curve.similarity.to_string(),
    ];
    let is_one_model = group.iter().all(|it| it.model == group[0].model);
    let (mut same, differing): (Vec<_>, Vec<_>) =
        what.into_iter().partition(|of| group.iter().all(|it| of(it) == of(group[0])));
    same.retain(|of| of(group[0]) != LOADED);
    let named = |parts: &[fn(&ModelCurve) -> String], it: &ModelCurve, has_model: bool, most: usize| {
        let mut words: Vec<String> = parts.iter().map(|of| of(it)).collect();
        let taken: usize = words.iter().map(|word| word.chars().count() + 2).sum();
        words.extend(has_model.then(|| tail(&it.model, most.saturating_sub(taken).max(8))));
        words.join(", ")
    };
    let steps = (group.len().max(2) - 1) as f64;
    let line = |(place, it): (usize, &&ModelCurve)| Line {
        name: named(&differing, it, !is_one_model, 56),
        values: it.curve.taps.iter().map(|point| point.q).collect(),
        // Many bands over each other tell nothing.
        spread: if group.len() <= LINES {
            it.curve.taps.iter().map(|point| point.std_dev).collect()
        } else {
            Vec::new()
        },
        colour: if group.len() <= LINES { Colour::Own(place) } else { Colour::Step(place as f64 / steps) },
    };
    LineChart {
        title: format!("Q: {}", named(&same, group[0], is_one_model, TITLE)),
        places: group[0].curve.taps.iter().map(|tap| tap.tap.clone()).collect(),
        range,
        lines: group.iter().enumerate().map(line).collect(),
    }
}
