//! The part of the loop that attacks: from clean pixels to adversarial ones, their results on disk, and their curves.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use advmod_attacks::execute::Options;
use advmod_attacks::query::JUDGEMENTS;
use advmod_attacks::victim::Victim as _;

use super::error::{EngineError, Stop};
use super::loaded::Audit;
use crate::audit::event::{AuditEvent, SampleResult, Stage};
use crate::audit::stage::attack::{self, AttackJob, StageError};
use crate::audit::stage::attacked::{Attacked, Judged};
use crate::audit::stage::curve::Matched;
use crate::audit::stage::growth::{Growth, pictures};
use crate::measure::pixels::{ImagePixels, KeptPixels};
use crate::measure::taps::{TraceError, matched_neighbors};
use crate::modularity::Splits;
use crate::stats::rates::Measured;
use crate::store::{Columns, Kept, Part, save_adversarial};

impl Audit<'_> {
    pub(super) fn attack(&mut self, attack: usize) -> Result<(), Stop> {
        let before = self.earlier.attacks.get_mut(attack).map(std::mem::take).unwrap_or_default();
        let is_done = before.seconds.is_some() && before.curves.is_some();
        let sweep = self.job.plan.attacks[attack].sweep;
        if is_done && sweep.is_none() {
            self.results.insert(attack, before.samples);
            return Ok(());
        }
        let kept = match self.folder.as_ref().filter(|_| !before.samples.is_empty()) {
            Some(folder) => Kept::read(folder, &self.job.plan.attacks[attack].label, self.shape()),
            None => Kept::default(),
        };
        let kept = Attacked::kept(&kept, &before.samples, self.shape()).map_err(TraceError::from)?;
        let attacked = match before.seconds {
            Some(_) => kept,
            None => match self.attack_rest(attack, &kept)? {
                Some(attacked) => attacked,
                None => return Ok(()),
            },
        };
        self.results.insert(attack, attacked.results.clone());
        self.attack_warnings(attack, &attacked);
        if let Some(first) = sweep {
            // The pixels of broken samples are kept no longer than a larger size may need them.
            match self.job.plan.attacks.get(attack + 1).is_some_and(|next| next.sweep == sweep) {
                true => self.broken.entry(first).or_default().add(attack, &attacked).map_err(TraceError::from)?,
                false => drop(self.broken.remove(&first)),
            }
        }
        if is_done { Ok(()) } else { self.attack_curves(attack, &attacked) }
    }

    /// Samples that an attack is to break: those that are right when clean and that no other attack of its ensemble has broken within its budget.
    fn open(&self, attack: usize) -> Vec<usize> {
        let attacks = &self.job.plan.attacks;
        let own = &attacks[attack];
        let mut open = self.correct.clone().unwrap_or_default();
        if let (Some(_), Some(budget)) = (&own.ensemble, own.budget()) {
            let others =
                self.results.iter().filter(|(place, _)| **place != attack && attacks[**place].ensemble == own.ensemble);
            let made = others.flat_map(|(_, samples)| samples);
            let breaks =
                |it: &&SampleResult| it.lies_within(&budget) && it.prediction as usize != self.labels[it.sample];
            let broken: BTreeSet<usize> = made.filter(breaks).map(|it| it.sample).collect();
            open.retain(|sample| !broken.contains(sample));
        }
        open
    }

    /// Attacks the samples that are not among those that were `kept`. All of them come back; nothing if the attack failed or was called off.
    fn attack_rest(&mut self, attack: usize, kept: &Attacked) -> Result<Option<Attacked>, Stop> {
        let stage = Stage::Attack { attack };
        let open = self.open(attack);
        let rest: Vec<usize> =
            open.iter().copied().filter(|sample| kept.samples.binary_search(sample).is_err()).collect();
        let done_before = (1000 * (open.len() - rest.len())) as u64;
        self.emit(AuditEvent::StageStarted { stage, total: (open.len() * 1000) as u64 })?;
        let part =
            self.folder.as_ref().map(|folder| Part::open(folder, &self.job.plan.attacks[attack].label, self.shape()));
        let mut part = part.transpose()?;
        let mut not_written = None;
        let plan = &self.job.plan;
        let job = AttackJob {
            model: self.model,
            config: &self.job.attacks[attack],
            source: ImagePixels { images: &self.images, places: &rest, device: self.model.device() },
            // Only inside a sweep do results outlive their attack.
            smaller: plan.attacks[attack].sweep.and_then(|first| self.broken.get(&first)),
            options: Options { seed: plan.seed, eight_bit: plan.eight_bit },
            batch: self.model.batch(plan.batch),
            threads: plan.threads,
            control: self.control,
            place: attack,
        };
        let sink = std::cell::RefCell::new(&mut *self.sink);
        let mut progress = |done| sink.borrow_mut()(AuditEvent::StageProgress { stage, done: done_before + done });
        let mut growth = self.pictures.then(|| Growth::new(self.model, &self.settings, &self.images, &self.labels));
        if let Some(growth) = growth.as_mut().filter(|_| !kept.results.is_empty()) {
            let pixels = [kept.pixels.shallow_clone()];
            let _ = growth.take(&Judged { results: &kept.results, pixels: &pixels }, open.len());
        }
        let mut on_batch = |batch: Judged<'_>| {
            // Before its results are told: what the journal has, the folder has too.
            if let Some(Err(error)) = part.as_mut().map(|part| append(part, batch)) {
                not_written.get_or_insert(error);
                return ControlFlow::Break(());
            }
            let mut sink = sink.borrow_mut();
            let flow = sink(AuditEvent::BatchAttacked { attack, samples: batch.results.to_vec() });
            let Some(growth) = &mut growth else { return flow };
            if let Some(pictures) = pictures(attack, &batch) {
                let _ = sink(AuditEvent::Pictures(Arc::new(pictures)));
            }
            match growth.take(&batch, open.len()) {
                Some(curves) if flow.is_continue() => sink(AuditEvent::AttackCurvesGrew { attack, curves }),
                _ => flow,
            }
        };
        let finished = attack::run(&job, &mut progress, &mut on_batch);
        if let Some(error) = not_written {
            return Err(Stop::Error(error));
        }
        let (attacked, is_stopped) = match finished {
            Ok(attacked) => (attacked, false),
            Err(StageError::Stopped(attacked)) => (attacked, true),
            Err(StageError::Failed(error)) => {
                self.failures += 1;
                self.emit(AuditEvent::AttackFailed { attack, error })?;
                return Ok(None);
            }
        };
        let attacked = attacked.with(kept).map_err(TraceError::from)?;
        self.save(attack, &attacked)?;
        if is_stopped {
            let is_cancelled = self.control.is_cancelled(attack) && !self.control.is_stopped();
            return if is_cancelled { self.cancel(attack).map(|()| None) } else { Err(Stop::Asked) };
        }
        self.emit(AuditEvent::AttackFinished { attack, seconds: attacked.seconds })?;
        Ok(Some(attacked))
    }

    fn attack_warnings(&mut self, attack: usize, attacked: &Attacked) {
        let (label, of) = (self.job.plan.attacks[attack].label.clone(), attacked.samples.len());
        let n = attacked.results.iter().filter(|it| it.zero_gradients > 0).count();
        if n > 0 {
            self.warn(&format!(
                "{label}: {n} of {of} samples had a gradient that was zero everywhere; the model masks gradients"
            ));
        }
        let n = attacked.results.iter().filter(|it| it.nonfinite_gradients > 0).count();
        if n > 0 {
            self.warn(&format!(
                "{label}: {n} of {of} samples had a gradient that was not finite somewhere; such entries counted as 0, so the attack did not \
                 change these pixels"
            ));
        }
        // Where the margin was flat too, it did not help.
        let n = attacked.results.iter().filter(|it| it.fallbacks > it.zero_gradients).count();
        if n > 0 {
            self.warn(&format!(
                "{label}: the cross-entropy of {n} of {of} samples was flat at some step, because the model is very sure of itself; there \
                 the logit margin was climbed instead"
            ));
        }
        let wrong: Vec<f64> = attacked.results.iter().filter_map(|it| it.wrong).collect();
        if let (false, Some(correct)) = (wrong.is_empty(), &self.correct) {
            let right = wrong.iter().map(|it| 1.0 - it).sum::<f64>() + (correct.len() - wrong.len()) as f64;
            let n = self.labels.len();
            let accuracy = Measured::mean_share(right / n as f64, n);
            self.warn(&format!(
                "{label}: over {JUDGEMENTS} judgements of each image, accuracy under attack is {:.1} % [{:.1}, {:.1}]",
                100.0 * accuracy.value,
                100.0 * accuracy.low,
                100.0 * accuracy.high
            ));
        }
        let overshoots = || attacked.results.iter().map(|it| it.overshoot).filter(|&it| it > 0.0);
        if let Some(largest) = overshoots().max_by(f64::total_cmp) {
            let n = overshoots().count();
            self.warn(&format!(
                "{label}: the attack's own pixels of {n} of {of} samples were outside of its budget or of [0, 1], by up to {largest:.2e}; \
                 they were put back inside before they were judged"
            ));
        }
    }

    fn attack_curves(&mut self, attack: usize, attacked: &Attacked) -> Result<(), Stop> {
        let stage = Stage::AttackCurve { attack };
        let total = (2 * attacked.samples.len() * self.taps.len()) as u64;
        self.emit(AuditEvent::StageStarted { stage, total })?;
        self.model.seed(self.job.plan.seed, 0);
        let device = self.model.device();
        let clean = ImagePixels { images: &self.images, places: &attacked.samples, device };
        let adversarial = KeptPixels { pixels: &attacked.pixels, device };
        let sink = &mut *self.sink;
        let mut progress = |done| sink(AuditEvent::StageProgress { stage, done });
        let found = matched_neighbors(self.model, &clean, &adversarial, &self.settings, &mut progress)?;
        let labels: Vec<usize> = attacked.samples.iter().map(|&sample| self.labels[sample]).collect();
        let splits = Splits::new(labels.len());
        let matched = Matched { taps: &self.taps, found, labels: &labels, predictions: &attacked.predictions };
        let curves = matched.curves(&self.settings, &splits);
        self.emit(AuditEvent::AttackCurvesMeasured { attack, curves: Box::new(curves) })
    }

    /// Writes the adversarial pixels with what is needed to find the originals.
    fn save(&self, attack: usize, attacked: &Attacked) -> Result<(), Stop> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let label = &self.job.plan.attacks[attack].label;
        let of_samples = |values: &[usize]| -> Vec<usize> { attacked.samples.iter().map(|&it| values[it]).collect() };
        let columns = Columns {
            samples: &attacked.samples,
            indices: &of_samples(&self.indices),
            labels: &of_samples(&self.labels),
            predictions: &attacked.predictions,
        };
        let pixels = Vec::<f32>::try_from(attacked.pixels.contiguous().view(-1)).map_err(TraceError::from)?;
        Ok(save_adversarial(folder, label, &pixels, self.shape(), columns)?)
    }
}

fn append(part: &mut Part, batch: Judged<'_>) -> Result<(), EngineError> {
    let rows = batch.plain().map_err(EngineError::Unsuitable)?;
    let samples = batch.results.iter().map(|result| result.sample);
    Ok(part.append(samples.zip(rows.iter().map(Vec::as_slice)))?)
}
