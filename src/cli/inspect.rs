//! `advmod inspect`: what is in a model file.

use std::fmt::Write as _;

use advmod_attacks::victim::VictimError;
use serde::Serialize;

use super::args::{InspectArgs, Manner, OutputFormat};
use super::{CliError, Exit, json, print, setup};
use crate::confine::Needs;
use crate::model::load::load;
use crate::model::passes::count::Convention;
use crate::model::program::TapSelection;
use crate::text::numbers;

/// What `--format json` prints.
#[derive(Serialize)]
struct Inspection {
    name: String,
    format: String,
    sha256: String,
    architecture: String,
    channels: i64,
    classes: i64,
    class_names: Vec<String>,
    input_size: [i64; 2],
    /// Whether the file or the architecture tells the input size; else it is a guess for counting.
    input_size_known: bool,
    normalization: crate::model::normalize::Normalization,
    /// Operators at its end that audits leave out, as long as no clean image's class depends on them.
    ending: Option<String>,
    parameters: u64,
    /// Unknown where libtorch runs the file.
    macs: Option<u64>,
    /// By each convention; empty where libtorch runs the file.
    counts: Vec<Count>,
    taps: Vec<TapInspection>,
}

#[derive(Serialize)]
struct Count {
    convention: Convention,
    macs: u64,
    /// Two per multiply-accumulate: what other tools call FLOPs.
    flops: u64,
}

#[derive(Serialize)]
struct TapInspection {
    tap: String,
    /// Without the batch dimension.
    shape: Vec<i64>,
}

pub(super) fn run(args: &InspectArgs, manner: Manner) -> Result<Exit, CliError> {
    manner.confine(&Needs::default().reading(&args.model.model))?;
    let selection = TapSelection::parse(&args.taps);
    let options = setup::load_options(&args.model.read, args.model.trust, selection)?;
    let model = load(args.model.model.as_deref(), &options, tch::Device::Cpu)?;
    let info = model.info();
    // Without a hint, 32×32 for small stems and 224×224 for the rest.
    let large_stem = info.architecture.contains("imagenet") || info.architecture.starts_with("vgg");
    let guess = if large_stem { 224 } else { 32 };
    let input_size = info.input_size.unwrap_or([guess; 2]);
    let [height, width] = input_size;
    let too_small = |line: String| {
        let is_too_large = matches!(VictimError::from_message(line.clone()), VictimError::OutOfMemory { .. });
        let too_large = "it takes more memory than there is, or than --memory allows";
        let line = if is_too_large { too_large.to_owned() } else { line };
        CliError::Runtime(format!("{}: cannot run a {height}×{width} image: {line}; give --input-size", info.name))
    };
    let cost = model.cost(height, width).map_err(too_small)?;
    let shapes = model.tap_shapes(height, width).map_err(too_small)?;
    let taps = model.tap_paths().into_iter().zip(shapes).map(|(tap, shape)| TapInspection { tap, shape });
    let inspection = Inspection {
        name: info.name.clone(),
        format: info.format.clone(),
        sha256: info.sha256.clone(),
        architecture: info.architecture.clone(),
        channels: info.channels,
        classes: info.classes,
        class_names: info.class_names.clone(),
        input_size,
        input_size_known: info.input_size.is_some(),
        normalization: info.normalization.clone(),
        ending: model.ending().map(str::to_owned),
        parameters: cost.parameters,
        macs: cost.macs,
        counts: counts(cost.by_convention),
        taps: taps.collect(),
    };
    print(&match args.format {
        OutputFormat::Json => json(&inspection),
        OutputFormat::Text => text(&inspection).expect("writing to memory cannot fail"),
    })?;
    Ok(Exit::Pass)
}

fn text(it: &Inspection) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let thousands = |number| numbers::thousands(number, ',');
    let [height, width] = it.input_size;
    let assumed = if it.input_size_known { "" } else { " (assumed; set --input-size)" };
    writeln!(out, "file           {}", it.name)?;
    writeln!(out, "format         {}", it.format)?;
    writeln!(out, "sha256         {}", it.sha256)?;
    writeln!(out, "architecture   {}", it.architecture)?;
    writeln!(out, "input          {}×{height}×{width}{assumed}", it.channels)?;
    match it.class_names.is_empty() {
        true => writeln!(out, "classes        {}", it.classes)?,
        false => writeln!(out, "classes        {} ({})", it.classes, it.class_names.join(", "))?,
    }
    let normalization = &it.normalization;
    writeln!(
        out,
        "normalization  {} (mean {:?}, std {:?})",
        normalization.name, normalization.mean, normalization.std
    )?;
    if let Some(ending) = &it.ending {
        writeln!(out, "ends in        {ending}: audits attack the logits before that")?;
    }
    writeln!(out, "parameters     {}", thousands(it.parameters))?;
    if it.counts.is_empty() {
        writeln!(
            out,
            "MACs           unknown: libtorch runs the file; leave out --trust-torchscript, or export to .pt2, to count them"
        )?;
    } else {
        writeln!(
            out,
            "MACs           of one image, and 2·MACs, which many call FLOPs, by the convention for counting"
        )?;
    }
    let widest = it.counts.iter().map(|count| thousands(count.flops).len()).max().unwrap_or(0);
    for count in &it.counts {
        let (macs, flops) = (thousands(count.macs), thousands(count.flops));
        let convention = count.convention;
        writeln!(out, "  {:<11}  {macs:>widest$}  {flops:>widest$}  {}", convention.name(), convention.what())?;
    }
    writeln!(out, "taps           {}", it.taps.len())?;
    let width = it.taps.iter().map(|tap| tap.tap.chars().count()).max().unwrap_or(0);
    for tap in &it.taps {
        let shape: Vec<String> = tap.shape.iter().map(ToString::to_string).collect();
        writeln!(out, "  {:<width$}  {}", tap.tap, shape.join("×"))?;
    }
    Ok(out)
}

fn counts(by_convention: Option<[u64; Convention::ALL.len()]>) -> Vec<Count> {
    let count = |(convention, macs): (Convention, u64)| Count { convention, macs, flops: 2 * macs };
    by_convention.into_iter().flat_map(|macs| Convention::ALL.into_iter().zip(macs)).map(count).collect()
}
