//! The part of the loop that controls the attacks: whether there was a gradient to follow, and whether others break what they left.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use advmod_attacks::attack::Scale;
use advmod_attacks::config::AttackConfig;
use advmod_attacks::controls;
use advmod_attacks::error::ParamError;
use advmod_attacks::execute::Options;
use advmod_attacks::query::JUDGEMENTS;
use advmod_attacks::threat::{Ball, Epsilon, Norm};
use advmod_attacks::victim::{Access, Victim as _};

use super::error::{EngineError, Stop};
use super::loaded::Audit;
use crate::audit::attack::{Budget, ResolvedAttack};
use crate::audit::event::{AuditEvent, ControlKind, ControlResult, SampleResult, Stage};
use crate::audit::stage::attack::{self, AttackJob, StageError};
use crate::audit::stage::control;
use crate::measure::pixels::ImagePixels;

/// Most images of a control, and fewest where there are as many, whatever they cost.
const MOST: usize = 100;
const LEAST: usize = 16;

/// What a control may cost at most, as a share of the passes that the attacks took: a search on robust images would take longer than they did.
fn share(kind: ControlKind) -> f64 {
    match kind {
        ControlKind::BlackBox => 0.06,
        ControlKind::LargeEps => 0.03,
        ControlKind::Noise | ControlKind::Gradient => 0.02,
    }
}

/// The place of a control among the attacks: nobody can call it off.
const NO_PLACE: usize = usize::MAX;

impl Audit<'_> {
    /// Every control that is due. Those that were made already, also before an interruption, stand.
    pub(super) fn controls(&mut self) -> Result<(), Stop> {
        if self.correct.as_ref().is_none_or(Vec::is_empty) || self.job.attacks.is_empty() {
            return Ok(());
        }
        let has_gradients = self.job.attacks.iter().any(|it| it.spec.access == Access::Gradients);
        if has_gradients {
            self.control_gradient()?;
        }
        let budgets = self.budgets();
        let is_iterated = self.job.attacks.iter().any(|it| it.spec.kind.repeats_steps());
        for budget in budgets {
            let ball = Ball::new(budget.norm, budget.eps);
            let Ok(ball) = ball else { continue };
            self.control(ControlKind::Noise, budget, controls::noise(ball))?;
            self.control(ControlKind::BlackBox, budget, controls::black_box(ball))?;
        }
        if is_iterated {
            let half = Epsilon::new(0.5).expect("one half is a size");
            let budget = Budget { norm: Norm::Linf, eps: half };
            self.control(ControlKind::LargeEps, budget, controls::large_epsilon())?;
        }
        Ok(())
    }

    /// Budgets that are worth a control, the smallest of each norm first: what breaks there breaks in all larger ones.
    fn budgets(&self) -> Vec<Budget> {
        let mut budgets: Vec<Budget> = self.job.plan.attacks.iter().filter_map(ResolvedAttack::proven_budget).collect();
        let order = |a: &Budget, b: &Budget| a.norm.cmp(&b.norm).then(a.eps.value().total_cmp(&b.eps.value()));
        budgets.sort_by(order);
        budgets.dedup_by(|a, b| order(a, b).is_eq());
        budgets
    }

    fn is_made(&self, kind: ControlKind, budget: &Budget) -> bool {
        self.controlled.iter().any(|it| it.is_of(kind, budget))
    }

    /// Correctly classified samples that no adversarial image within a budget breaks, or, without one, none at all. Whether gradients lead
    /// anywhere is asked of images that the attacks left, whatever other controls did to them.
    fn left(&self, kind: ControlKind, budget: Option<&Budget>) -> Vec<usize> {
        let is_of_gradients = matches!(kind, ControlKind::Gradient | ControlKind::LargeEps);
        let controls = self.controlled.iter().filter(|_| !is_of_gradients).flat_map(|it| &it.samples);
        let made = self.results.values().flatten().chain(controls);
        let is_inside = |it: &SampleResult| budget.is_none_or(|budget| it.lies_within(budget));
        let breaks = |it: &&SampleResult| is_inside(it) && it.prediction as usize != self.labels[it.sample];
        let broken: BTreeSet<usize> = made.filter(breaks).map(|it| it.sample).collect();
        let correct = self.correct.iter().flatten().copied();
        correct.filter(|sample| !broken.contains(sample)).collect()
    }

    /// Runs an attack on samples that are left, if any are.
    fn control(
        &mut self,
        kind: ControlKind,
        budget: Budget,
        config: Result<AttackConfig, ParamError>,
    ) -> Result<(), Stop> {
        let left = self.left(kind, Some(&budget));
        if left.is_empty() || self.is_made(kind, &budget) {
            return Ok(());
        }
        let config = config.map_err(|error| EngineError::Unsuitable(error.to_string()))?;
        let begun = Instant::now();
        let first = control::spread(&left, self.affordable(kind, &config));
        let (mut samples, mut error) = self.run_control(kind, &config, &first)?;
        // Where a search breaks most of these images, the others are broken fast, and count. A large ε always should.
        let is_search = kind != ControlKind::LargeEps;
        if is_search && samples.iter().filter(|it| it.success).count() * 2 > first.len() {
            let others: Vec<usize> = left.into_iter().filter(|it| !first.contains(it)).collect();
            let (more, failed) = self.run_control(kind, &config, &control::spread(&others, MOST - first.len()))?;
            samples.extend(more);
            samples.sort_by_key(|it| it.sample);
            error = error.or(failed);
        }
        self.controlled(ControlResult { samples, error, ..ControlResult::new(kind, budget) }, begun)
    }

    /// Runs an attack on these samples; where it fails, there is an error in place of results.
    fn run_control(
        &mut self,
        kind: ControlKind,
        config: &AttackConfig,
        places: &[usize],
    ) -> Result<(Vec<SampleResult>, Option<String>), Stop> {
        if places.is_empty() {
            return Ok((Vec::new(), None));
        }
        let stage = Stage::Control { control: kind };
        self.emit(AuditEvent::StageStarted { stage, total: 1000 * places.len() as u64 })?;
        let plan = &self.job.plan;
        let job = AttackJob {
            model: self.model,
            config,
            source: ImagePixels { images: &self.images, places, device: self.model.device() },
            smaller: None,
            options: Options { seed: plan.seed, eight_bit: plan.eight_bit },
            batch: self.model.batch(plan.batch),
            threads: plan.threads,
            control: self.control,
            place: NO_PLACE,
        };
        let sink = &mut *self.sink;
        let mut progress = |done| sink(AuditEvent::StageProgress { stage, done });
        match attack::run(&job, &mut progress, &mut |_| ControlFlow::Continue(())) {
            Ok(attacked) => Ok((attacked.results, None)),
            Err(StageError::Stopped(_)) => Err(Stop::Asked),
            Err(StageError::Failed(error)) => Ok((Vec::new(), Some(error))),
        }
    }

    /// How many images a control may look at.
    fn affordable(&self, kind: ControlKind, config: &AttackConfig) -> usize {
        let [channels, height, width] = self.shape().map(|size| size as u64);
        let classes = self.settings.classes as u64;
        // A backward takes about as long as two forwards.
        let cost = |forwards: u64, backwards: u64| (forwards + 2 * backwards) as f64;
        let most = config.attack.most_passes(&Scale { channels, height, width, classes, is_targeted: false });
        let looks = if self.model.is_random() { f64::from(JUDGEMENTS) } else { 1.0 };
        let one = looks * cost(most.forwards, most.backwards).max(1.0);
        let spent: f64 = self.results.values().flatten().map(|it| cost(it.forwards, it.backwards)).sum();
        ((share(kind) * spent / one) as usize).clamp(LEAST, MOST)
    }

    /// Compares the gradient with what it foretells: first on images that are left, then on others.
    fn control_gradient(&mut self) -> Result<(), Stop> {
        let step = Epsilon::new(controls::STEP).expect("the step is a size");
        let (kind, budget) = (ControlKind::Gradient, Budget { norm: Norm::Linf, eps: step });
        if self.is_made(kind, &budget) {
            return Ok(());
        }
        let left = self.left(kind, None);
        let others: Vec<usize> = self.correct.iter().flatten().copied().filter(|it| !left.contains(it)).collect();
        let mut places = control::spread(&left, MOST);
        places.extend(control::spread(&others, MOST - places.len()));
        places.sort_unstable();
        let (stage, begun) = (Stage::Control { control: kind }, Instant::now());
        self.emit(AuditEvent::StageStarted { stage, total: places.len() as u64 })?;
        let source = ImagePixels { images: &self.images, places: &places, device: self.model.device() };
        let sink = &mut *self.sink;
        let mut progress = |done| sink(AuditEvent::StageProgress { stage, done });
        let found = control::rises(
            self.model,
            &source,
            (self.model.batch(self.job.plan.batch), self.job.plan.seed),
            &mut progress,
        );
        let (rises, error) = match found {
            Ok(Some(rises)) => (rises, None),
            Ok(None) => return Err(Stop::Asked),
            Err(error) => (Vec::new(), Some(error)),
        };
        self.controlled(ControlResult { rises, error, ..ControlResult::new(kind, budget) }, begun)
    }

    fn controlled(&mut self, control: ControlResult, begun: Instant) -> Result<(), Stop> {
        self.controlled.push(control.clone());
        self.emit(AuditEvent::ControlMeasured { control: Box::new(control), seconds: begun.elapsed().as_secs_f64() })
    }
}
