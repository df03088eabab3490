//! `advmod curve`: clean modularity curves, without any attack.

use std::ops::ControlFlow;

use super::args::{CurveArgs, Manner, SweepArgs};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::{self, Work};
use super::{CliError, Exit, setup};
use crate::confine::Needs;
use crate::data::Selection;
use crate::measure::fit::{CURVE_REPEATS, DEFAULT_K, DEFAULT_SAMPLES, DEFAULT_SEED};
use crate::model::Model;
use crate::model::load::{LoadOptions, load};
use crate::modularity::Similarity;
use crate::report::study::TextOptions;
use crate::study::curve::{Network, Networks, SweepPlan, curves};
use crate::text::shell::quoted;

pub(super) fn run(args: &CurveArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let how = &args.measure;
    let _made = make_folder(args.out.as_deref())?;
    let needs = Needs::default().reading(&args.model).writing(args.out.as_deref());
    let (device, data) = measure::begin(&how.run, &args.source, needs, manner)?;
    let plan = plan(&args.sweep, how.repeats.unwrap_or(CURVE_REPEATS), how.run.seed.unwrap_or(DEFAULT_SEED));
    let mut work = Work::new(how.run.progress, quiet)?;
    let open = |network: &Network<'_>| -> Result<Model, CliError> {
        let options = setup::load_options(&how.read, how.trust, setup::tap_selection(args.sweep.taps.as_deref()))?;
        Ok(load(network.file, &LoadOptions { random_init: network.random_init, ..options }, device)?)
    };
    let networks = networks(args);
    refuse_uninitializable(&networks, &open)?;
    let mut outcome = Outcome::new("networks", networks.len());
    let mut measured = Networks::new(command());
    for network in &networks {
        let found = open(network).and_then(|model| {
            let name = network.name(&model);
            let file = (network.file.filter(|_| network.random_init.is_none()), &how.read);
            let doubt = work.question_normalization(&model, data.as_ref(), plan.samples[0], file);
            work.begin(&name);
            let mut tell = |done, total| work.tell(&name, done, total);
            let found = curves(&model, data.as_ref(), &plan, network, &mut tell);
            let (found, warnings) = found.map_err(|reason| match network.file {
                Some(file) if args.model.len() > 1 => CliError::at(file, reason),
                _ => CliError::Runtime(reason),
            })?;
            Ok((name, found, doubt.into_iter().chain(warnings)))
        });
        let (name, found, warnings) = match outcome.settle(&mut work, found) {
            ControlFlow::Break(()) => break,
            ControlFlow::Continue(None) => continue,
            ControlFlow::Continue(Some(found)) => found,
        };
        warn(measured.add(*network, &name, found, warnings), quiet);
    }
    let Some(result) = measured.finish(outcome.missing()) else { return outcome.end(None) };
    let delivery = Delivery::new(args.out.as_deref(), how.run.format);
    let text = TextOptions { details: args.details, ..delivery.text };
    outcome.deliver(&result, &Delivery { text, ..delivery })
}

/// Each file as it is, then with the weights of each seed.
fn networks(args: &CurveArgs) -> Vec<Network<'_>> {
    let files =
        if args.model.is_empty() { vec![None] } else { args.model.iter().map(|it| Some(it.as_path())).collect() };
    let seeds: Vec<Option<u64>> =
        std::iter::once(None).chain(once(args.random_init.clone()).into_iter().map(Some)).collect();
    let of_file = |file| seeds.iter().map(move |&random_init| Network { file, random_init });
    files.into_iter().flat_map(of_file).collect()
}

/// What can be read but not initialized is said before anything is measured. What cannot be read at all is no reason to lose the others.
fn refuse_uninitializable(
    networks: &[Network<'_>],
    open: &dyn Fn(&Network<'_>) -> Result<Model, CliError>,
) -> Result<(), CliError> {
    for pair in networks.windows(2).filter(|pair| pair[0].random_init.is_none() && pair[1].random_init.is_some()) {
        if open(&pair[0]).is_ok() {
            open(&pair[1])?;
        }
    }
    Ok(())
}

/// As typed, but for the name of the program.
fn command() -> String {
    let flags = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    std::iter::once("advmod".to_owned()).chain(flags).collect::<Vec<_>>().join(" ")
}

/// The flags with their defaults; a value that is given twice counts once.
fn plan(args: &SweepArgs, repeats: usize, seed: u64) -> SweepPlan {
    let samples = match (&args.first[..], &args.samples[..]) {
        ([], []) => vec![Selection::UpTo { n: DEFAULT_SAMPLES, seed }],
        ([], samples) => samples.iter().map(|&n| Selection::Sample { n, seed }).collect(),
        (first, _) => first.iter().map(|&n| Selection::First(n)).collect(),
    };
    SweepPlan {
        ks: once(or(&args.k, DEFAULT_K)),
        similarities: once(or(&args.similarity, Similarity::default())),
        repeats,
        samples: once(samples),
    }
}

fn or<T: Clone>(given: &[T], default: T) -> Vec<T> {
    if given.is_empty() { vec![default] } else { given.to_vec() }
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
