//! How often the 95 % intervals of a report hold the truth, on real representations:
//! `cargo run --release --example coverage -- [--model FILE] [--normalize N] [--data PATH] [--sets 400] [--images 4000] [--n 300,500]`.
//!
//! Attacks the first so many images that the network classifies correctly, and takes them for the whole population. From it so many sets of N
//! images are drawn without replacement, and each is measured as an audit measures: Q at four taps, its change from tap to tap, drops under two
//! attacks, retention, and how another network differs on the same images (the same one without its normalization). The truth is the mean over all
//! sets. Prints a table in Markdown: SE / sd is the root of the mean squared standard error over the spread of the values, and coverage how many
//! of 100 intervals hold the truth, with Wilson's interval of that share.
//!
//! A set is a large part of its population, so that its values spread less than the standard error, which is meant for images without end:
//! both are compared after the usual correction, √(1 − N / images).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use advmod::audit::event::AttackCurves;
use advmod::audit::stage::curve::Matched;
use advmod::data::{self, Images, OpenOptions};
use advmod::measure::pixels::{ImagePixels, KeptPixels, PixelSource};
use advmod::measure::taps::{CurveSettings, MatchedNeighbors, TapNeighbors, curve_with_intervals};
use advmod::model::Model;
use advmod::model::load::{LoadOptions, load};
use advmod::model::normalize::Normalization;
use advmod::modularity::{Interval, Neighbors, Replicates, Similarity, Splits, candidates_for, paired_difference};
use advmod::stats::rates::Rate;
use advmod_attacks::attack::Preset;
use advmod_attacks::config::{AttackConfig, parse_spec_string};
use advmod_attacks::execute::{Options, Samples, execute};
use advmod_attacks::victim::Victim as _;
use anyhow::{Context as _, bail, ensure};
use rand::SeedableRng as _;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

/// One that breaks much, and one that changes little.
const ATTACKS: [&str; 2] = ["fgsm:eps=8/255", "pgd:eps=1/255,steps=3"];
const K: usize = 3;
/// Images per batch.
const BATCH: usize = 128;

struct Asked {
    model: Option<PathBuf>,
    normalization: Option<Normalization>,
    data: Option<PathBuf>,
    sets: u64,
    images: usize,
    sizes: Vec<usize>,
}

impl Asked {
    fn new(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut asked =
            Self { model: None, normalization: None, data: None, sets: 400, images: 4000, sizes: vec![300, 500] };
        let mut arguments = arguments;
        while let Some(flag) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--model" => asked.model = Some(value.into()),
                "--normalize" => asked.normalization = Some(Normalization::parse(&value).map_err(anyhow::Error::msg)?),
                "--data" => asked.data = Some(value.into()),
                "--sets" => asked.sets = value.parse()?,
                "--images" => asked.images = value.parse()?,
                "--n" => asked.sizes = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                _ => bail!("unknown flag {flag}"),
            }
        }
        Ok(asked)
    }

    fn load(&self, normalization: Option<Normalization>) -> anyhow::Result<Model> {
        let options = LoadOptions { normalization, ..LoadOptions::default() };
        Ok(load(self.model.as_deref(), &options, Device::Cpu)?)
    }
}

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() -> anyhow::Result<()> {
    tch::set_num_threads(1);
    let asked = Asked::new(std::env::args().skip(1))?;
    let population = Population::new(&asked)?;
    println!("{}", population.title);
    for &n in &asked.sizes {
        let images = population.labels.len();
        ensure!(n < images, "{n} of {images} correctly classified images leave nothing to vary");
        let share_left = (1.0 - n as f64 / images as f64).sqrt();
        let mut found: BTreeMap<(usize, String), Vec<Interval>> = BTreeMap::new();
        for set in 0..asked.sets {
            let mut random = ChaCha8Rng::seed_from_u64(set);
            let places = sample(&mut random, images, n).into_vec();
            for (at, (name, interval)) in population.measure(&places)?.into_iter().enumerate() {
                found.entry((at, name)).or_default().push(interval);
            }
        }
        println!("\nN = {n}, {} sets out of {images} images:\n", asked.sets);
        println!("| quantity | mean | sd | SE / sd | coverage |\n|---|---|---|---|---|");
        for ((_, name), intervals) in &found {
            println!("| {name} | {} |", row(intervals, share_left));
        }
    }
    Ok(())
}

/// Mean, spread, standard error over spread, and coverage.
fn row(intervals: &[Interval], share_left: f64) -> String {
    let n = intervals.len() as f64;
    let truth = intervals.iter().map(|it| it.estimate).sum::<f64>() / n;
    let variance = intervals.iter().map(|it| (it.estimate - truth).powi(2)).sum::<f64>() / (n - 1.0);
    let squared_error = intervals.iter().map(|it| it.se.powi(2)).sum::<f64>() / n;
    let holds =
        |it: &&Interval| (it.estimate - truth).abs() <= (share_left * (it.high - it.low) / 2.0).max(f64::EPSILON);
    let held = Rate::new(intervals.iter().filter(holds).count(), intervals.len());
    let [coverage, low, high] = [held.value.unwrap_or_default(), held.low, held.high].map(|share| 100.0 * share);
    let (sd, ratio) = (variance.sqrt() / share_left, share_left * (squared_error / variance).sqrt());
    format!("{truth:.3} | {sd:.4} | {ratio:.2} | {coverage:.1} [{low:.1}, {high:.1}]")
}

/// Similarities of all images at a tap, `[images, images]` as plain rows.
type Similarities = Vec<f32>;

/// What sets are drawn from.
struct Population {
    title: String,
    taps: Vec<String>,
    classes: usize,
    labels: Vec<usize>,
    clean: Vec<Similarities>,
    /// Of the same images through the other network.
    other: Vec<Similarities>,
    attacks: Vec<Attacked>,
}

/// An attack's images: what the network says of them, and how like they are to each other, and to the clean images.
struct Attacked {
    name: &'static str,
    predictions: Vec<usize>,
    among: Vec<Similarities>,
    to_clean: Vec<Similarities>,
}

impl Population {
    fn new(asked: &Asked) -> anyhow::Result<Self> {
        let model = asked.load(asked.normalization.clone())?;
        let other = asked.load(Some(Normalization::none()))?;
        let dataset = data::open(asked.data.as_deref(), &OpenOptions::default())?;
        let images = dataset.read(&(0..asked.images.min(dataset.info().n)).collect::<Vec<_>>())?;
        let all: Vec<usize> = (0..images.labels.len()).collect();
        let source = ImagePixels { images: &images, places: &all, device: Device::Cpu };
        let predictions = predictions(&model, &source)?;
        let correct: Vec<usize> = all.into_iter().filter(|&at| predictions[at] == images.labels[at] as usize).collect();
        let images = images.subset(&correct);
        let places: Vec<usize> = (0..correct.len()).collect();
        let source = ImagePixels { images: &images, places: &places, device: Device::Cpu };
        let paths = model.tap_paths();
        let chosen: Vec<usize> = (0..4).map(|at| at * (paths.len() - 1) / 3).collect();
        let mut title = format!(
            "{} ({}), {} of {} images classified correctly",
            model.info().name,
            model.info().architecture,
            places.len(),
            predictions.len()
        );
        let of_clean = rows(&model, &source, &chosen)?;
        let mut attacks = Vec::new();
        for name in ATTACKS {
            let pixels = attacked(&model, &images, &source, name)?;
            let adversarial = KeptPixels { pixels: &pixels, device: Device::Cpu };
            let predictions = self::predictions(&model, &adversarial)?;
            let broken = predictions.iter().zip(&images.labels).filter(|&(&said, &label)| said != label as usize);
            let _ = write!(title, "; {name} breaks {:.1} %", 100.0 * broken.count() as f64 / places.len() as f64);
            let rows = rows(&model, &adversarial, &chosen)?;
            let (among, to_clean) = (similarities(&rows, &rows)?, similarities(&rows, &of_clean)?);
            attacks.push(Attacked { name, predictions, among, to_clean });
        }
        let clean = similarities(&of_clean, &of_clean)?;
        let of_other = rows(&other, &source, &chosen)?;
        let other = similarities(&of_other, &of_other)?;
        Ok(Self {
            title,
            taps: chosen.iter().map(|&tap| paths[tap].clone()).collect(),
            classes: model.info().classes as usize,
            labels: images.labels.iter().map(|&label| label as usize).collect(),
            clean,
            other,
            attacks,
        })
    }

    /// The intervals of one set, by what they are of.
    fn measure(&self, places: &[usize]) -> anyhow::Result<Vec<(String, Interval)>> {
        let settings = CurveSettings { k: K, similarity: Similarity::COSINE, classes: self.classes };
        let splits = Splits::new(places.len());
        let labels: Vec<usize> = places.iter().map(|&at| self.labels[at]).collect();
        let (clean, other) = (self.lists(&self.clean, places), self.lists(&self.other, places));
        let halves = |lists: &TapNeighbors| curve_with_intervals(&self.taps, lists, &settings, &labels, &splits).1;
        let (of_clean, of_other) = (halves(&clean), halves(&other));
        let of = |it: Option<Interval>| it.context("a value without an interval");
        let mut found = Vec::new();
        for (tap, values) in self.taps.iter().zip(&of_clean) {
            found.push((format!("Q, {tap}"), of(values.as_ref().map(Replicates::interval))?));
        }
        for (taps, values) in self.taps.windows(2).zip(of_clean.windows(2)) {
            let change =
                values[1].as_ref().zip(values[0].as_ref()).and_then(|(to, from)| paired_difference(to, from).ok());
            found.push((format!("ΔQ, {} to {}", taps[0], taps[1]), of(change)?));
        }
        for attack in &self.attacks {
            let lists = MatchedNeighbors {
                clean: clean.clone(),
                adversarial: self.lists(&attack.among, places),
                among_clean: self.lists(&attack.to_clean, places),
            };
            let predictions: Vec<usize> = places.iter().map(|&at| attack.predictions[at]).collect();
            let matched = Matched { taps: &self.taps, found: lists, labels: &labels, predictions: &predictions };
            let AttackCurves { drops, peak_drop, anchored, .. } = matched.curves(&settings, &splits);
            let name = attack.name.split(':').next().unwrap_or_default();
            for (tap, drop) in self.taps.iter().zip(drops) {
                found.push((format!("drop, {name}, {tap}"), of(drop)?));
            }
            found.push((format!("peak drop, {name}"), of(peak_drop)?));
            let anchored = anchored.context("an anchored curve")?;
            for tap in anchored.taps.iter().skip(2) {
                let retained = tap.retained.context("a retained share")?;
                found.push((format!("retained, {name}, {}", tap.tap), of(retained.interval)?));
                found.push((format!("change of retained, {name}, {}", tap.tap), of(retained.change)?));
                found.push((format!("captured − retained, {name}, {}", tap.tap), of(tap.lead)?));
            }
        }
        for (tap, (a, b)) in self.taps.iter().zip(of_clean.iter().zip(&of_other)) {
            let difference = a.as_ref().zip(b.as_ref()).and_then(|(a, b)| paired_difference(a, b).ok());
            found.push((format!("Q, against a baseline, {tap}"), of(difference)?));
        }
        Ok(found)
    }

    fn lists(&self, of_taps: &[Similarities], places: &[usize]) -> TapNeighbors {
        let (all, n) = (self.labels.len(), places.len());
        let of_tap = |similarities: &Similarities| {
            let row = |&i: &usize| places.iter().map(move |&j| similarities[i * all + j]);
            let dense: Vec<f32> = places.iter().flat_map(row).collect();
            Neighbors::from_dense(n, &dense, candidates_for(n, K))
        };
        of_taps.iter().map(of_tap).collect()
    }
}

fn batches(n: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..n).step_by(BATCH).map(move |start| start..(start + BATCH).min(n))
}

fn predictions(model: &Model, source: &dyn PixelSource) -> anyhow::Result<Vec<usize>> {
    let mut predictions = Vec::new();
    for range in batches(source.len()) {
        let classes = tch::no_grad(|| anyhow::Ok(model.logits(&source.pixels(range)?)?.argmax(1, false)))?;
        predictions.extend(Vec::<i64>::try_from(classes)?.into_iter().map(|class| class as usize));
    }
    Ok(predictions)
}

fn attacked(model: &Model, images: &Images, source: &dyn PixelSource, spec: &str) -> anyhow::Result<Tensor> {
    let (id, given) = parse_spec_string(spec)?;
    let config = AttackConfig::new(&id, Preset::Standard, &given)?;
    let mut all = Vec::new();
    for range in batches(source.len()) {
        let labels: Vec<i64> = images.labels[range.clone()].iter().map(|&label| label.into()).collect();
        let ids: Vec<u32> = range.clone().map(|at| at as u32).collect();
        let (pixels, labels) = (source.pixels(range)?, Tensor::from_slice(&labels));
        let samples = Samples { pixels: &pixels, labels: &labels, ids: &ids };
        let options = Options { seed: 0, eight_bit: true };
        all.push(execute(model, &config, &samples, options, &mut |_| ControlFlow::Continue(()))?.adversarial);
    }
    Ok(Tensor::f_cat(&all, 0)?)
}

/// Rows of length 1 at these taps, `[images, M]` each.
fn rows(model: &Model, source: &dyn PixelSource, taps: &[usize]) -> anyhow::Result<Vec<Tensor>> {
    let mut parts: Vec<Vec<Tensor>> = taps.iter().map(|_| Vec::new()).collect();
    for range in batches(source.len()) {
        let _logits = model.trace(&source.pixels(range)?, &mut |at, batch| {
            if let Some(place) = taps.iter().position(|&tap| tap == at) {
                let norms = batch.f_norm_scalaropt_dim(2.0, [1_i64].as_slice(), true)?.f_clamp_min(1e-8)?;
                parts[place].push(batch.f_div(&norms)?);
            }
            Ok(())
        })?;
    }
    Ok(parts.iter().map(|parts| Tensor::f_cat(parts, 0)).collect::<Result<_, _>>()?)
}

/// Of the rows of one kind of images to those of another, tap by tap.
fn similarities(of: &[Tensor], to: &[Tensor]) -> anyhow::Result<Vec<Similarities>> {
    let of_tap = |(of, to): (&Tensor, &Tensor)| {
        let products = of.f_matmul(&to.f_transpose(0, 1)?)?;
        anyhow::Ok(Vec::<f32>::try_from(products.f_contiguous()?.f_view(-1)?)?)
    };
    of.iter().zip(to).map(of_tap).collect()
}
