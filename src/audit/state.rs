//! The audit so far: a fold over events that every front-end and every report shares.

use super::event::{
    AttackCurves, AuditEvent, AuditStart, CleanCurves, ControlResult, GrowingCurves, LostSamples, Outcome,
    SampleResult, Stage,
};
use super::fits::fits;
use crate::measure::clean::ClassProbability;

/// Everything that is known about an audit. Only [`apply`](Self::apply) changes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditState {
    /// Plan, model, data; absent while these are loaded.
    pub start: Option<AuditStart>,
    /// Class that the model gives each clean sample.
    pub predictions: Option<Vec<u32>>,
    /// Clean samples whose logits are not finite.
    pub(crate) nonfinite: Vec<usize>,
    /// The likeliest classes of each clean sample.
    pub(crate) likeliest: Vec<Vec<ClassProbability>>,
    pub clean_curves: Option<CleanCurves>,
    /// One per attack of the plan, in its order.
    pub attacks: Vec<AttackState>,
    /// In the order in which they were made.
    pub(crate) controls: Vec<ControlResult>,
    /// Spent on them.
    pub(crate) control_seconds: f64,
    pub(crate) stage: Option<StageState>,
    /// In order of appearance.
    pub warnings: Vec<String>,
    /// How it ended and after how many seconds.
    pub finished: Option<(Outcome, f64)>,
    pub error: Option<String>,
    /// How often it was interrupted and went on.
    pub resumed: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttackState {
    /// Judged samples, in sample order.
    pub samples: Vec<SampleResult>,
    /// Curves over the samples so far, until the matched curves are there.
    pub growing: Option<GrowingCurves>,
    pub curves: Option<AttackCurves>,
    /// Spent attacking; present when the attack is through.
    pub seconds: Option<f64>,
    pub error: Option<String>,
    pub cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StageState {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
}

impl AuditState {
    /// Takes in one event. Events that do not fit (an attack that the plan does not have) are ignored: a journal may be damaged.
    pub fn apply(&mut self, event: &AuditEvent) {
        if !fits(event, self.start.as_ref(), self.predictions.as_deref()) {
            return;
        }
        match event {
            AuditEvent::Started { start, .. } => {
                self.attacks = vec![AttackState::default(); start.plan.attacks.len()];
                self.start = Some((**start).clone());
            }
            AuditEvent::Resumed { lost, allowed } => {
                if let Some(start) = &mut self.start {
                    start.allowed = start.allowed.or(*allowed);
                }
                (self.finished, self.error, self.stage) = (None, None, None);
                self.resumed += 1;
                for attack in &mut self.attacks {
                    (attack.error, attack.cancelled) = (None, false);
                }
                for LostSamples { attack, samples } in lost {
                    self.change(*attack, |state| {
                        state.samples.retain(|it| !samples.contains(&it.sample));
                        (state.seconds, state.curves) = (None, None);
                    });
                }
            }
            AuditEvent::StageStarted { stage, total } => {
                self.stage = Some(StageState { stage: *stage, done: 0, total: *total });
            }
            AuditEvent::StageProgress { stage, done } => {
                if let Some(state) = self.stage.as_mut().filter(|state| state.stage == *stage) {
                    state.done = state.done.max((*done).min(state.total));
                }
            }
            AuditEvent::CleanMeasured { predictions, nonfinite, likeliest } => {
                self.nonfinite.clone_from(nonfinite);
                (self.predictions, self.likeliest) = (Some(predictions.clone()), likeliest.clone());
            }
            AuditEvent::CleanCurvesMeasured { curves } => self.clean_curves = Some(curves.clone()),
            AuditEvent::BatchAttacked { attack, samples } => {
                // Batches mostly come in sample order; one that a damaged journal has twice counts once.
                self.change(*attack, |state| {
                    for sample in samples {
                        if let Err(place) = state.samples.binary_search_by_key(&sample.sample, |it| it.sample) {
                            state.samples.insert(place, sample.clone());
                        }
                    }
                });
            }
            AuditEvent::AttackCurvesGrew { attack, curves } => {
                self.change(*attack, |it| it.growing = Some(curves.clone()));
            }
            AuditEvent::AttackCurvesMeasured { attack, curves } => {
                self.change(*attack, |it| (it.curves, it.growing) = (Some((**curves).clone()), None));
            }
            AuditEvent::AttackFinished { attack, seconds } => self.change(*attack, |it| it.seconds = Some(*seconds)),
            AuditEvent::ControlMeasured { control, seconds } => {
                self.controls.push((**control).clone());
                self.control_seconds += seconds;
            }
            AuditEvent::AttackFailed { attack, error } => self.change(*attack, |it| it.error = Some(error.clone())),
            AuditEvent::AttackCancelled { attack } => self.change(*attack, |it| it.cancelled = true),
            AuditEvent::AttacksAdded { attacks, command, plan_file } => {
                if let Some(start) = &mut self.start {
                    start.plan.attacks.extend(attacks.iter().cloned());
                    start.plan.command.clone_from(command);
                    start.plan_file.clone_from(plan_file);
                    self.attacks.resize_with(start.plan.attacks.len(), AttackState::default);
                    self.finished = None;
                    // They are made anew, of what the longer plan leaves.
                    self.controls.clear();
                }
            }
            AuditEvent::Pictures(_) | AuditEvent::AttackRefused { .. } => (),
            AuditEvent::Warned { message } => {
                // A stage that is done again after an interruption says the same again.
                if !self.warnings.contains(message) {
                    self.warnings.push(message.clone());
                }
            }
            AuditEvent::Finished { outcome, seconds, error } => {
                self.finished = Some((*outcome, *seconds));
                self.error.clone_from(error);
                self.stage = None;
            }
        }
    }

    fn change(&mut self, attack: usize, change: impl FnOnce(&mut AttackState)) {
        if let Some(state) = self.attacks.get_mut(attack) {
            change(state);
        }
    }

    /// Samples that the model classifies correctly, of all; absent before that is known.
    pub(crate) fn clean_accuracy(&self) -> Option<(usize, usize)> {
        let (start, predictions) = (self.start.as_ref()?, self.predictions.as_ref()?);
        let correct =
            start.data.labels.iter().zip(predictions).filter(|(label, prediction)| label == prediction).count();
        Some((correct, predictions.len()))
    }
}
