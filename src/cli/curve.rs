//! `advmod curve`: clean modularity curves, without any attack.

use super::args::{CurveArgs, Manner, SweepArgs};
use super::deliver::{Delivery, Outcome, make_folder, warn};
use super::measure::{self, Work};
use super::{CliError, Exit, setup};
use crate::confine::Needs;
use crate::data::Selection;
use crate::measure::fit::{CURVE_REPEATS, DEFAULT_K, DEFAULT_SAMPLES, DEFAULT_SEED};
use crate::modularity::Similarity;
use crate::report::study::TextOptions;
use crate::study::curve::{Measuring, Network, Networks, SweepPlan};
use crate::text::shell::quoted;

pub(super) fn run(args: &CurveArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let how = &args.measure;
    let _made = make_folder(args.out.as_deref())?;
    let needs = Needs::default().reading(&args.model).writing(args.out.as_deref());
    let (device, data) = measure::begin(&how.run, &args.source, needs, manner)?;
    let plan = plan(&args.sweep, how.repeats.unwrap_or(CURVE_REPEATS), how.run.seed.unwrap_or(DEFAULT_SEED));
    let mut work = Work::new(how.run.progress, quiet)?;
    let options = setup::load_options(&how.read, how.trust, setup::tap_selection(args.sweep.taps.as_deref()))?;
    let networks = networks(args);
    let measuring = Measuring { networks: &networks, options: &options, device, data: data.as_ref(), plan: &plan };
    measuring.check()?;
    let mut measured = Networks::new(command());
    let each = measuring.run(&mut measured, &mut work, &mut |warnings| warn(warnings, quiet));
    let outcome = Outcome::new("networks", networks.len()).after(each, &work);
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
