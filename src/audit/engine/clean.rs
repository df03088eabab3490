//! The part of the loop that looks at the clean images: predictions, curves, and whether the normalization is right.

use std::sync::Arc;

use advmod_attacks::victim::Victim as _;

use super::error::Stop;
use super::loaded::Audit;
use crate::audit::event::{AuditEvent, CleanCurves, Pictures, Stage};
use crate::measure::normalization::Trial;
use crate::measure::pixels::ImagePixels;
use crate::measure::{clean, taps};
use crate::modularity::{Curve, Splits, class_note, curve_notes};
use crate::stats::permutation::permutation;
use crate::store::{Columns, save_clean};
use crate::text::names::some;
use crate::text::numbers::listed;

impl Audit<'_> {
    /// Says when the clean accuracy speaks for another normalization. Only what a flag decides is questioned.
    fn question_normalization(&mut self, everything: &[usize]) -> Result<(), Stop> {
        let given = self.job.load.normalization.is_some();
        let own = &self.model.info().normalization;
        if self.job.model.is_some() && (given || own.is_none()) {
            let stage = Stage::Normalization;
            let trial = Trial::new(self.model, self.labels.len(), self.model.batch(self.job.plan.batch));
            self.emit(AuditEvent::StageStarted { stage, total: trial.steps() })?;
            let places: Vec<usize> = trial.places(everything.len()).into_iter().map(|at| everything[at]).collect();
            let labels: Vec<usize> = places.iter().map(|&place| self.labels[place]).collect();
            let source = ImagePixels { images: &self.images, places: &places, device: self.model.device() };
            let sink = &mut *self.sink;
            let mut progress = |done| sink(AuditEvent::StageProgress { stage, done });
            let rival = trial.run(&source, &labels, &mut progress)?;
            if let Some(advice) = rival.and_then(|rival| rival.advice(own, given)) {
                self.warn(&advice);
            }
        }
        Ok(())
    }

    /// Predictions and curves of all clean images.
    pub(super) fn clean(&mut self, everything: &[usize]) -> Result<Vec<u32>, Stop> {
        let predictions = match self.earlier.predictions.take() {
            Some(predictions) => predictions,
            None => self.classify(everything)?,
        };
        if let Some(folder) = &self.folder {
            let predictions: Vec<usize> = predictions.iter().map(|&class| class as usize).collect();
            let (indices, labels) = (&self.indices, &self.labels);
            save_clean(
                folder,
                &self.images,
                Columns { samples: everything, indices, labels, predictions: &predictions },
            )?;
        }
        if self.pictures {
            let pixels = self.images.pixels.iter().map(|&value| f32::from(value) / 255.0).collect();
            let shape = self.shape();
            let pictures = Pictures { attack: None, samples: everything.to_vec(), shape, pixels };
            self.emit(AuditEvent::Pictures(Arc::new(pictures)))?;
        }
        let curve = if let Some(curves) = self.earlier.clean_curves.take() {
            curves.true_labels
        } else {
            self.question_normalization(everything)?;
            self.clean_curves(everything, &predictions)?
        };
        let class_note = class_note(&self.labels, self.settings.classes, self.settings.k);
        curve_notes(&curve).iter().chain(&class_note).for_each(|note| self.warn(note));
        Ok(predictions)
    }

    fn classify(&mut self, everything: &[usize]) -> Result<Vec<u32>, Stop> {
        let stage = Stage::Clean;
        self.emit(AuditEvent::StageStarted { stage, total: everything.len() as u64 })?;
        let source = ImagePixels { images: &self.images, places: everything, device: self.model.device() };
        self.model.seed(self.job.plan.seed, 0);
        let sink = &mut *self.sink;
        let mut progress = |done| sink(AuditEvent::StageProgress { stage, done });
        let clean::Predicted { classes, likeliest, nonfinite } = clean::predict(
            self.model,
            &source,
            Some(&self.labels),
            self.model.batch(self.job.plan.batch),
            &mut progress,
        )?;
        if let Some(order) = permutation(&self.images.labels, &classes) {
            let moved = order
                .iter()
                .filter(|(label, class)| label != class)
                .map(|(label, class)| format!("{label} as {class}"));
            self.warn(&format!(
                "the predictions are the labels in another order ({}): number the classes as the model does (--classes, or the names of the folders)",
                some(&moved.collect::<Vec<_>>(), 8)
            ));
        }
        if !nonfinite.is_empty() {
            let images: Vec<usize> = nonfinite.iter().map(|&sample| self.indices[sample]).collect();
            self.warn(&format!(
                "the logits of {} of {} clean images are not finite (image {}): these count as wrong and are not attacked",
                images.len(),
                everything.len(),
                listed(&images)
            ));
        }
        self.emit(AuditEvent::CleanMeasured { predictions: classes.clone(), nonfinite, likeliest })?;
        Ok(classes)
    }

    /// Measures both clean curves; the one under the true labels comes back.
    fn clean_curves(&mut self, everything: &[usize], predictions: &[u32]) -> Result<Curve, Stop> {
        let stage = Stage::CleanCurve;
        self.emit(AuditEvent::StageStarted { stage, total: (everything.len() * self.taps.len()) as u64 })?;
        let found = self.neighbors(everything, stage)?;
        let splits = Splits::new(everything.len());
        let predicted: Vec<usize> = predictions.iter().map(|&class| class as usize).collect();
        let curve = |labels| taps::curve_with_intervals(&self.taps, &found, &self.settings, labels, &splits);
        let (true_labels, replicates) = curve(&self.labels);
        let peak_halves = true_labels.peak().and_then(|it| Some(replicates[it.index].as_ref()?.differences.clone()));
        let (predicted_labels, _) = curve(&predicted);
        let curves = CleanCurves { true_labels, predicted_labels, peak_halves: peak_halves.unwrap_or_default() };
        let curve = curves.true_labels.clone();
        self.emit(AuditEvent::CleanCurvesMeasured { curves })?;
        Ok(curve)
    }
}
