//! An audit with everything loaded: what its stages read and change, and how they tell what happens.

use std::collections::BTreeMap;
use std::time::Duration;

use advmod_attacks::victim::Victim as _;

use super::error::Stop;
use crate::audit::control::Control;
use crate::audit::event::{AuditEvent, ControlResult, Outcome, SampleResult, Sink, Stage};
use crate::audit::job::Job;
use crate::audit::stage::carry::Broken;
use crate::audit::state::AuditState;
use crate::data::Images;
use crate::measure::pixels::ImagePixels;
use crate::measure::taps::{CurveSettings, TapNeighbors, tap_neighbors};
use crate::model::Model;
use crate::store::RunFolder;

/// A job with everything loaded.
pub(super) struct Audit<'a> {
    pub(super) job: Job,
    pub(super) model: &'a Model,
    pub(super) images: Images,
    /// Place of each sample in the data.
    pub(super) indices: Vec<usize>,
    pub(super) labels: Vec<usize>,
    pub(super) taps: Vec<String>,
    pub(super) settings: CurveSettings,
    /// Samples that the model classifies correctly, once that is known.
    pub(super) correct: Option<Vec<usize>>,
    /// What an earlier run of the plan has done and this one need not do.
    pub(super) earlier: AuditState,
    /// What each attack did, by its place in the plan.
    pub(super) results: BTreeMap<usize, Vec<SampleResult>>,
    /// Controls that were made, also before an interruption.
    pub(super) controlled: Vec<ControlResult>,
    /// What each sweep's smaller sizes have broken, by the sweep's first attack.
    pub(super) broken: BTreeMap<usize, Broken>,
    /// Where pixels are written.
    pub(super) folder: Option<RunFolder>,
    pub(super) pictures: bool,
    pub(super) control: &'a Control,
    pub(super) sink: &'a mut Sink<'a>,
    pub(super) failures: usize,
    pub(super) cancelled: bool,
}

impl Audit<'_> {
    pub(super) fn warn(&mut self, message: &str) {
        let _ = (self.sink)(AuditEvent::Warned { message: message.to_owned() });
    }

    pub(super) fn emit(&mut self, event: AuditEvent) -> Result<(), Stop> {
        if (self.sink)(event).is_break() { Err(Stop::Asked) } else { Ok(()) }
    }

    pub(super) fn finish(&mut self, outcome: Outcome, error: Option<String>, worked: Duration) {
        let _ = (self.sink)(AuditEvent::Finished { outcome, seconds: worked.as_secs_f64(), error });
    }

    pub(super) fn cancel(&mut self, attack: usize) -> Result<(), Stop> {
        self.cancelled = true;
        self.emit(AuditEvent::AttackCancelled { attack })
    }

    /// `[C, H, W]` of each image.
    pub(super) fn shape(&self) -> [usize; 3] {
        let [_, channels, height, width] = self.images.shape;
        [channels, height, width]
    }

    /// Neighbours of samples when clean.
    pub(super) fn neighbors(&mut self, samples: &[usize], stage: Stage) -> Result<TapNeighbors, Stop> {
        self.model.seed(self.job.plan.seed, 0);
        let source = ImagePixels { images: &self.images, places: samples, device: self.model.device() };
        let sink = &mut *self.sink;
        let mut progress = |done| sink(AuditEvent::StageProgress { stage, done });
        Ok(tap_neighbors(self.model, &source, &self.settings, &mut progress)?)
    }
}
