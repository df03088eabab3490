//! Clean curves over disjoint sets of samples, for one setting or a sweep over several.

use std::ops::ControlFlow;
use std::path::Path;

use tch::Device;

use super::each::{Each, Fault, Watch, question_normalization};
use crate::data::{Dataset, Selection, draw, select};
use crate::measure::classes::Matched;
use crate::measure::fit::{check_labels, enough_for_k};
use crate::measure::pixels::ImagePixels;
use crate::measure::taps::{TraceError, visit_taps};
use crate::measure::{Progress, ProgressOf};
use crate::model::Model;
use crate::model::load::{LoadOptions, ModelError, load};
use crate::modularity::{
    Curve, ModularityError, Similarity, TapDetails, TapModularity, TapPoint, class_note, curve_notes, neighbors,
};
use crate::study::results::curve::{CurveResult, ModelCurve};

/// A curve and what its graphs say beyond Q.
#[derive(Clone, Debug, PartialEq)]
pub struct DetailedCurve {
    /// Q per tap.
    pub curve: Curve,
    pub(crate) details: Vec<TapDetails>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CurvePlan {
    /// Neighbours per sample.
    pub k: usize,
    pub similarity: Similarity,
    pub repeats: usize,
    /// The samples of one set.
    pub samples: Selection,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SweepPlan {
    /// Neighbours per sample.
    pub ks: Vec<usize>,
    pub similarities: Vec<Similarity>,
    /// Disjoint sets wanted for each of `samples`.
    pub repeats: usize,
    /// The samples of one set.
    pub samples: Vec<Selection>,
}

/// The mean curve of a model over the repeats, with every value, and warnings.
///
/// The sets are disjoint: with `First(n)` they follow each other in file order, with `Sample` they are parts of one drawn sample.
/// Where the data does not hold so many, there are fewer repeats and a warning. `progress(done, total)` counts taps × samples.
pub fn measure(
    model: &Model,
    data: &dyn Dataset,
    plan: &CurvePlan,
    progress: &mut ProgressOf<'_>,
) -> Result<(Curve, Vec<String>), String> {
    let plan = SweepPlan {
        ks: vec![plan.k],
        similarities: vec![plan.similarity],
        repeats: plan.repeats,
        samples: vec![plan.samples],
    };
    let (mut curves, warnings) = sweep(model, data, &plan, progress)?;
    Ok((curves.remove(0).curve, warnings))
}

/// The curves of a sweep, by samples, then similarity, then k, and warnings.
///
/// Every set of samples goes through the model once, whatever the number of similarities and k: the neighbours for the largest k
/// hold those for the smaller ones. All else as for [`measure`]. What does not fit is refused before anything is measured.
pub fn sweep(
    model: &Model,
    data: &dyn Dataset,
    plan: &SweepPlan,
    progress: &mut ProgressOf<'_>,
) -> Result<(Vec<DetailedCurve>, Vec<String>), String> {
    let data: &dyn Dataset = &Matched::new(data, model)?;
    let info = data.info();
    model.check(info.channels, info.height, info.width)?;
    let largest = plan.ks.iter().copied().max().unwrap_or(0);
    for samples in &plan.samples {
        let n = match samples {
            Selection::All | Selection::UpTo { .. } => samples.n().min(info.n),
            samples => samples.n(),
        };
        enough_for_k(n, largest)?;
    }
    let sets: Vec<Vec<Vec<usize>>> =
        plan.samples.iter().map(|samples| sets(data, *samples, plan.repeats)).collect::<Result<_, _>>()?;
    check_labels(model, data, sets.iter().flatten().flatten())?;
    let n_taps = model.tap_paths().len();
    let total = n_taps * sets.iter().flatten().map(Vec::len).sum::<usize>();
    let mut before = 0;
    let (mut curves, mut warnings) = (Vec::new(), data.notes().to_vec());
    for sets in &sets {
        let n = sets.first().map_or(0, Vec::len);
        if sets.len() < plan.repeats {
            warnings.push(format!(
                "{} repeat(s) instead of {}: the data holds {} images, {n} per repeat",
                sets.len(),
                plan.repeats,
                info.n
            ));
        }
        let mut told = |done| progress(before as u64 + done, total as u64);
        curves.extend(curves_of_sets(model, data, plan, sets, &mut told, &mut warnings)?);
        before += n_taps * n * sets.len();
    }
    // What holds whatever the settings is said once.
    for DetailedCurve { curve, .. } in &curves {
        for note in curve_notes(curve) {
            if !warnings.iter().any(|it| it.ends_with(&note)) {
                let of = format!("N = {}, k = {}, {}: ", curve.n, curve.k, curve.similarity);
                warnings.push(if curves.len() > 1 { of + &note } else { note });
            }
        }
    }
    Ok((curves, warnings))
}

/// A model's file, with its own weights or random ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network<'a> {
    /// The embedded model where it is absent.
    pub file: Option<&'a Path>,
    pub random_init: Option<u64>,
}

impl Network<'_> {
    /// What it is called while it is measured.
    fn name(&self, model: &Model) -> String {
        match self.random_init {
            None => model.info().name.clone(),
            Some(seed) => format!("{}, random weights {seed}", model.info().name),
        }
    }
}

/// How networks are measured, one after the other, all on the same images.
pub(crate) struct Measuring<'a> {
    pub networks: &'a [Network<'a>],
    /// How each is read; random weights have a seed of their own.
    pub options: &'a LoadOptions,
    pub device: Device,
    pub data: &'a dyn Dataset,
    pub plan: &'a SweepPlan,
}

impl<'a> Measuring<'a> {
    fn open(&self, network: &Network<'_>) -> Result<Model, ModelError> {
        let options = LoadOptions { random_init: network.random_init, ..self.options.clone() };
        load(network.file, &options, self.device)
    }

    /// Refuses what can be read but not initialized, before anything is measured. What cannot be read at all is no reason to lose the others.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let pairs = self.networks.windows(2);
        for pair in pairs.filter(|pair| pair[0].random_init.is_none() && pair[1].random_init.is_some()) {
            if self.open(&pair[0]).is_ok() {
                self.open(&pair[1])?;
            }
        }
        Ok(())
    }

    /// The result takes in the curves of each; `warn` is told the warnings that are new.
    pub(crate) fn run(
        &self,
        result: &mut Networks<'a>,
        watch: &mut dyn Watch,
        warn: &mut dyn FnMut(&[String]),
    ) -> Each {
        let mut each = Each::default();
        for network in self.networks {
            let found = self.one(network, watch);
            match each.settle(watch, found) {
                ControlFlow::Break(()) => break,
                ControlFlow::Continue(None) => (),
                ControlFlow::Continue(Some((name, found, warnings))) => {
                    warn(result.add(*network, &name, found, warnings));
                }
            }
        }
        each
    }

    /// Name, curves and warnings of a network.
    fn one(
        &self,
        network: &Network<'_>,
        watch: &mut dyn Watch,
    ) -> Result<(String, Vec<ModelCurve>, Vec<String>), Fault> {
        let model = self.open(network)?;
        let name = network.name(&model);
        let (is_file, given) =
            (network.file.is_some() && network.random_init.is_none(), self.options.normalization.is_some());
        let samples = self.plan.samples[0];
        let doubt = is_file.then(|| question_normalization(&model, self.data, samples, given, watch)).flatten();
        let _ = watch.tell(&name, 0, 0);
        let mut tell = |done, total| watch.tell(&name, done, total);
        let found = curves(&model, self.data, self.plan, network, &mut tell);
        let files = self.networks.iter().filter(|it| it.random_init.is_none()).count();
        let (found, warnings) = found.map_err(|reason| match network.file {
            Some(file) if files > 1 => Fault::At { file: file.to_owned(), reason },
            _ => Fault::Other(reason),
        })?;
        Ok((name, found, doubt.into_iter().chain(warnings).collect()))
    }
}

/// A result that grows network by network.
pub(crate) struct Networks<'a> {
    result: CurveResult,
    warned: Vec<(Option<&'a Path>, String)>,
}

impl<'a> Networks<'a> {
    /// Of a command that measures them again.
    pub(crate) fn new(command: String) -> Self {
        let result = CurveResult {
            advmod: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch: crate::LIBTORCH_VERSION.to_owned(),
            command,
            curves: Vec::new(),
            warnings: Vec::new(),
        };
        Self { result, warned: Vec::new() }
    }

    /// Takes in the curves of a network under its name; those of its warnings come back that are told. Of random weights these are the ones
    /// that their file has not had.
    fn add(
        &mut self,
        network: Network<'a>,
        name: &str,
        curves: Vec<ModelCurve>,
        warnings: impl IntoIterator<Item = String>,
    ) -> &[String] {
        self.result.curves.extend(curves);
        let before = self.result.warnings.len();
        for warning in warnings {
            let warning = (network.file, warning);
            if network.random_init.is_none() || !self.warned.contains(&warning) {
                self.result.warnings.push(format!("{name}: {}", warning.1));
            }
            self.warned.push(warning);
        }
        &self.result.warnings[before..]
    }

    /// The result, with a warning for each thing that is missing; none where nothing was measured.
    pub(crate) fn finish(mut self, missing: Vec<String>) -> Option<CurveResult> {
        self.result.warnings.extend(missing);
        (!self.result.curves.is_empty()).then_some(self.result)
    }
}

/// The curves of a [`sweep`] over this network, and warnings.
fn curves(
    model: &Model,
    data: &dyn Dataset,
    plan: &SweepPlan,
    network: &Network<'_>,
    progress: &mut ProgressOf<'_>,
) -> Result<(Vec<ModelCurve>, Vec<String>), String> {
    let (found, warnings) = sweep(model, data, plan, progress)?;
    let info = model.info();
    let curve = |it: DetailedCurve| ModelCurve {
        // As typed: two files may have the same name.
        model: network.file.map_or_else(|| info.name.clone(), |file| file.display().to_string()),
        architecture: info.architecture.clone(),
        sha256: network.random_init.is_none().then(|| info.sha256.clone()),
        random_init: network.random_init,
        data: data.info().name.clone(),
        class_names: data.info().classes.clone(),
        curve: it.curve,
        details: it.details,
    };
    Ok((found.into_iter().map(curve).collect(), warnings))
}

/// The repeats of one setting, tap by tap.
struct Measured {
    similarity: Similarity,
    k: usize,
    per_tap: Vec<Vec<Result<TapModularity, ModularityError>>>,
}

/// The curves over sets of equal size. `progress(done)` counts taps × samples.
fn curves_of_sets(
    model: &Model,
    data: &dyn Dataset,
    plan: &SweepPlan,
    sets: &[Vec<usize>],
    progress: &mut Progress<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<DetailedCurve>, String> {
    let classes = model.info().classes as usize;
    let largest = plan.ks.iter().copied().max().unwrap_or(0);
    let paths = model.tap_paths();
    let empty = |(similarity, k)| Measured { similarity, k, per_tap: vec![Vec::new(); paths.len()] };
    let settings = plan.similarities.iter().flat_map(|&similarity| plan.ks.iter().map(move |&k| (similarity, k)));
    let mut measured: Vec<Measured> = settings.map(empty).collect();
    let mut before = 0;
    for (repeat, set) in sets.iter().enumerate() {
        let images = data.read(set).map_err(|error| error.to_string())?;
        let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
        for note in plan.ks.iter().filter_map(|&k| class_note(&labels, classes, k)) {
            let of = if sets.len() > 1 { format!("repeat {} of {}: ", repeat + 1, sets.len()) } else { String::new() };
            // What holds in each repeat is said of the first.
            if !warnings.iter().any(|it| it.ends_with(&note)) {
                warnings.push(of + &note);
            }
        }
        let places: Vec<usize> = (0..set.len()).collect();
        let source =
            ImagePixels { images: &images, places: &places, device: advmod_attacks::victim::Victim::device(model) };
        let mut tap = 0;
        let n_similarities = plan.similarities.len() as f64;
        visit_taps(model, &source, &mut |done| progress(before + done), &mut |rows, share_done| {
            for (place, of_similarity) in measured.chunk_by_mut(|a, b| a.similarity == b.similarity).enumerate() {
                let mut tell = |share| share_done((place as f64 + share) / n_similarities);
                let found = neighbors(rows, of_similarity[0].similarity, largest, &mut tell);
                if found == Err(ModularityError::Stopped) {
                    return Err(TraceError::Stopped);
                }
                for it in of_similarity {
                    let found = found.as_ref().map_err(Clone::clone);
                    it.per_tap[tap].push(found.and_then(|found| TapModularity::measure(found, it.k, &labels, classes)));
                }
            }
            tap += 1;
            Ok(())
        })
        .map_err(|error: TraceError| error.to_string())?;
        before += (paths.len() * set.len()) as u64;
    }
    let curve = |it: Measured| {
        let (taps, details) = (paths.iter().zip(&it.per_tap))
            .map(|(path, repeats)| (TapPoint::from_repeats(path, repeats), TapDetails::from_repeats(path, repeats)))
            .unzip();
        let n = sets.first().map_or(0, Vec::len);
        DetailedCurve { curve: Curve { n, k: it.k, similarity: it.similarity, taps }, details }
    };
    Ok(measured.into_iter().map(curve).collect())
}

/// The samples of each repeat: places in the data. Fewer repeats than asked for where the data does not hold so many, but at least one.
pub fn sets(data: &dyn Dataset, samples: Selection, repeats: usize) -> Result<Vec<Vec<usize>>, String> {
    let held = data.info().n;
    let samples = match samples {
        Selection::UpTo { n, seed } => Selection::Sample { n: n.min(held), seed },
        samples => samples,
    };
    let n = samples.n().min(if samples == Selection::All { held } else { usize::MAX });
    let repeats = repeats.min(held / n.max(1)).max(1);
    let indices = match samples {
        Selection::First(n) => select(&Selection::First(n * repeats), held),
        Selection::Sample { n, seed } | Selection::UpTo { n, seed } => draw(n * repeats, seed, held),
        Selection::All => select(&Selection::All, held),
    };
    let indices = indices.map_err(|error| error.to_string())?;
    // Parts of what was drawn, not of its order in the file, which often goes by class.
    let mut sets: Vec<Vec<usize>> = indices.chunks_exact(n).map(<[usize]>::to_vec).collect();
    for set in &mut sets {
        set.sort_unstable();
    }
    Ok(sets)
}
