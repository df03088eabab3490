//! `advmod flow`: where the adversarial images of a stored run lie among the clean ones.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::args::{FlowArgs, OutputFormat};
use super::measure::{Outcome, Work, make_folder, write_files};
use super::{CliError, Exit, export, harmless, print, print_coloured, report, say, setup};
use crate::audit::plan::AuditPlan;
use crate::report::svg::{Heatmap, heatmaps};
use crate::report::{cell, csv_table, safe_cell};
use crate::store::pixels::PixelFile;
use crate::study::flow::{AttackedImages, Flow, FlowModel};
use crate::text::heatmap::heatmap;
use crate::verdict::Report;
use crate::verdict::report::AttackResult;

/// Most classes of a matrix for people.
const CLASSES: usize = 16;

/// An attack of the run, and where its images lie, or why that cannot be said.
type Measured = (String, Result<Flow, String>);

pub(super) fn run(args: &FlowArgs, quiet: bool) -> Result<Exit, CliError> {
    let (report, folder) = report::read(&args.run)?;
    let attacks = export::attacks(&report, &args.attack)?;
    let runtime = |problem: String| CliError::Runtime(format!("{}: {problem}", args.run.display()));
    let similarity = args.similarity.unwrap_or(report.plan.similarity);
    let model = model(&report).map_err(runtime)?;
    make_folder(args.out.as_deref())?;
    let mut work = Work::new(args.progress, quiet)?;
    let mut outcome = Outcome::new("attacks", attacks.len());
    let mut flows: Vec<Measured> = Vec::new();
    for attack in attacks.iter().map(|&at| &report.attacks[at]) {
        let label = &attack.attack.label;
        let images = match images(&report, attack, &folder) {
            Ok(images) => images.unwrap_or_default(),
            Err(problem) => {
                outcome.faults.push(runtime(problem));
                continue;
            }
        };
        let n = images.labels.len();
        if n <= args.k {
            let problem = match n {
                0 => "the run kept none of its pixels".to_owned(),
                _ => format!("needs more than k images: the run kept {n}, k = {}; lower --k", args.k),
            };
            flows.push((label.clone(), Err(problem)));
            continue;
        }
        let steps = model.steps(&images);
        work.begin(label);
        let flow = model.flow(&images, (args.k, similarity), &mut |done| work.tell(label, done, steps));
        outcome.interrupted = work.finish();
        if outcome.interrupted.is_some() {
            break;
        }
        match flow {
            Ok(flow) => {
                outcome.done += 1;
                flows.push((label.clone(), Ok(flow)));
            }
            Err(problem) => outcome.faults.push(runtime(format!("{label}: {problem}"))),
        }
    }
    let left_out = flows.iter().filter_map(|(label, flow)| Some(format!("{label}: {}", flow.as_ref().err()?)));
    if outcome.done == 0 {
        outcome.faults.extend(left_out.map(runtime));
        return outcome.end(None);
    }
    for reason in left_out.filter(|_| !quiet) {
        say(&format!("warning: left out: {reason}"));
    }
    let classes = class_names(&report);
    let attacks: Vec<_> = (flows.iter())
        .map(|(label, flow)| json!({ "attack": label, "flow": flow.as_ref().ok(), "reason": flow.as_ref().err() }))
        .collect();
    let document = json!({ "model": report.model, "data": report.data.name, "classes": classes, "attacks": attacks });
    let json = serde_json::to_string_pretty(&document).expect("plain data always has a JSON form") + "\n";
    let found: Vec<(&str, &Flow)> =
        (flows.iter()).filter_map(|(label, flow)| Some((label.as_str(), flow.as_ref().ok()?))).collect();
    let mut files = vec![
        ("flow.json", json.clone().into_bytes()),
        ("flow.csv", flow_csv(&found, &classes)),
        ("detection.csv", detection_csv(&found)),
    ];
    if classes.len() <= 100 {
        files.push(("flow.svg", picture(&found, &classes).into_bytes()));
    }
    let out = outcome.written(args.out.as_deref(), write_files(args.out.as_deref(), &files));
    match args.format {
        OutputFormat::Json => print(&json)?,
        OutputFormat::Text => {
            for (label, flow) in &found {
                print_coloured(&text(label, flow, &classes).expect("writing to memory cannot fail"))?;
            }
        }
    }
    outcome.end(out)
}

/// The run's model, by the plan in its report.
fn model(report: &Report) -> Result<FlowModel, String> {
    let text = report.plan_file.as_ref().ok_or("the report has no plan (a path in it has no text)")?;
    let plan: AuditPlan = toml::from_str(text).map_err(|error| format!("its plan: {}", error.message()))?;
    let job = plan.resolve().map_err(|error| format!("its plan: {error}"))?;
    setup::set_threads(Some(job.plan.threads)).map_err(|error| error.to_string())?;
    FlowModel::load(&job, &report.model.sha256, report.data.shape)
}

/// The names of all classes of the model, or else their labels.
fn class_names(report: &Report) -> Vec<String> {
    let name = |class: usize| report.data.classes.get(class).cloned().unwrap_or_else(|| class.to_string());
    (0..report.model.classes).map(name).collect()
}

/// An attack's images, clean and adversarial; none where the run kept none.
fn images(report: &Report, attack: &AttackResult, folder: &Path) -> Result<Option<AttackedImages>, String> {
    let label = &attack.attack.label;
    let open = |file: Result<Option<PixelFile>, _>| {
        file.map_err(|error: crate::store::pixels::PictureError| error.to_string())
    };
    let Some(mut adversarial) = open(PixelFile::adversarial(folder, label))? else { return Ok(None) };
    let Some(mut clean) = open(PixelFile::clean(folder))? else {
        return Err("clean.safetensors is not there; give the folder as the audit left it".to_owned());
    };
    let unfit = |file: &str| format!("{file} is of another run; give the folder as the audit left it");
    if [&clean, &adversarial].iter().any(|file| file.shape() != report.data.shape) {
        return Err(unfit("clean.safetensors or adversarial/*.safetensors"));
    }
    let mut images = AttackedImages::default();
    for (row, place) in adversarial.samples().to_vec().into_iter().enumerate() {
        let found = usize::try_from(place).ok().and_then(|sample| {
            let at = attack.samples.binary_search_by_key(&sample, |it| it.sample).ok()?;
            let original = clean.samples().binary_search(&place).ok()?;
            Some((&attack.samples[at], *report.data.labels.get(sample)? as usize, original))
        });
        let Some((result, class, original)) = found else {
            return Err(unfit(&format!("adversarial/{label}.safetensors")));
        };
        if class.max(result.prediction as usize) >= report.model.classes {
            return Err(unfit("the report"));
        }
        let picture = |file: &mut PixelFile, row| file.picture(row).map_err(|error| error.to_string());
        images.clean.extend(picture(&mut clean, original)?.pixels);
        images.adversarial.extend(picture(&mut adversarial, row)?.pixels);
        images.labels.push(class);
        images.predictions.push(result.prediction as usize);
        images.is_broken.push(result.success);
    }
    Ok(Some(images))
}

fn text(label: &str, flow: &Flow, classes: &[String]) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "{}: {} broken images among {} clean ones, k = {}, {}\n",
        harmless(label),
        flow.broken,
        flow.reference,
        flow.k,
        flow.similarity
    );
    let width = flow.taps.iter().map(|tap| tap.tap.chars().count()).max().unwrap_or(0).max(3);
    writeln!(
        text,
        "  {:<width$}    AUC  [95 %]          neighbours that disagree with the prediction: clean, adversarial",
        "tap"
    )?;
    let percent = |share: Option<f64>| share.map_or("–".to_owned(), |it| format!("{:.1} %", 100.0 * it));
    for tap in &flow.taps {
        let auc = tap.auc.map_or("–".to_owned(), |auc| format!("{auc:.3}"));
        let interval = tap.auc_interval.map_or("–".to_owned(), |it| format!("[{:.3}, {:.3}]", it.low, it.high));
        let (before, after) = (percent(tap.clean_disagreement), percent(tap.adversarial_disagreement));
        let reason = tap.reason.as_deref().map_or(String::new(), |it| format!("  {}", harmless(it)));
        writeln!(text, "  {:<width$}  {auc:>5}  {interval:<14}  {before:>7}  {after:>7}{reason}", harmless(&tap.tap))?;
    }
    if flow.broken > 0 && classes.len() <= CLASSES {
        let names: Vec<String> = classes.iter().map(|name| harmless(name)).collect();
        let tap = harmless(&flow.tap);
        writeln!(
            text,
            "\n  neighbours at {tap} after the attack: true class (row), share of each class in label order (column)"
        )?;
        text += &heatmap(&names, &flow.adversarial, 1.0, super::look());
    } else if flow.broken > 0 {
        writeln!(text, "\n  the largest flows at {} (--out DIR writes all)", harmless(&flow.tap))?;
        for (share, from, to) in largest(flow).into_iter().take(10) {
            writeln!(text, "  {:>5.1} %  {} → {}", 100.0 * share, harmless(&classes[from]), harmless(&classes[to]))?;
        }
    }
    text.push('\n');
    Ok(text)
}

/// Shares of other classes, the largest first.
fn largest(flow: &Flow) -> Vec<(f64, usize, usize)> {
    let rows = flow.adversarial.iter().enumerate();
    let mut found: Vec<(f64, usize, usize)> = rows
        .flat_map(|(from, row)| row.iter().enumerate().filter_map(move |(to, share)| Some(((*share)?, from, to))))
        .filter(|(_, from, to)| from != to)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

fn picture(flows: &[(&str, &Flow)], classes: &[String]) -> String {
    let map = |title: String, values: &[Vec<Option<f64>>]| Heatmap {
        title,
        names: classes.to_vec(),
        values: values.to_vec(),
        largest: 1.0,
        marks: Vec::new(),
    };
    let maps: Vec<Heatmap> = flows
        .iter()
        .flat_map(|(label, flow)| {
            [map(format!("{label}: clean"), &flow.clean), map(format!("{label}: adversarial"), &flow.adversarial)]
        })
        .collect();
    heatmaps(&maps, "Classes (columns) of the clean neighbours of broken images by true class (rows)")
}

/// A row for each attack and two classes.
fn flow_csv(flows: &[(&str, &Flow)], classes: &[String]) -> Vec<u8> {
    let rows = flows.iter().flat_map(|(label, flow)| {
        let pairs = flow.clean.iter().zip(&flow.adversarial).enumerate();
        pairs.flat_map(move |(from, (clean, adversarial))| {
            clean.iter().zip(adversarial).enumerate().map(move |(to, (clean, adversarial))| {
                let names = [label, flow.tap.as_str(), &classes[from], &classes[to]].map(safe_cell);
                [&names[..], &[cell(*clean), cell(*adversarial)]].concat()
            })
        })
    });
    csv_table(&["attack", "tap", "true_class", "neighbour_class", "clean_share", "adversarial_share"], rows)
}

/// A row for each attack and tap.
fn detection_csv(flows: &[(&str, &Flow)]) -> Vec<u8> {
    let rows = flows.iter().flat_map(|(label, flow)| {
        flow.taps.iter().map(move |tap| {
            let interval = tap.auc_interval;
            let numbers = [
                tap.auc,
                interval.map(|it| it.se),
                interval.map(|it| it.low),
                interval.map(|it| it.high),
                tap.auc_two_sided,
                tap.clean_disagreement,
                tap.adversarial_disagreement,
            ]
            .map(cell);
            [&[safe_cell(label), safe_cell(&tap.tap)][..], &numbers].concat()
        })
    });
    let header = [
        "attack",
        "tap",
        "auc",
        "auc_se",
        "auc_low_95",
        "auc_high_95",
        "auc_two_sided",
        "clean_disagreement",
        "adversarial_disagreement",
    ];
    csv_table(&header, rows)
}
