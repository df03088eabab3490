//! What a run says while it goes on: one line for each event that a reader should see.

use crate::audit::event::{AuditEvent, Stage};
use crate::audit::state::AuditState;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Info,
    /// A reader of the results must know this.
    Warning,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub level: Level,
    pub text: String,
}

/// What there is to say about an event; `state` has taken it in already.
pub(crate) fn line(event: &AuditEvent, state: &AuditState) -> Option<LogLine> {
    let (level, text) = match event {
        AuditEvent::Started { start, .. } => {
            let (model, data) = (&start.model, &start.data);
            let text = format!(
                "{} ({}, {} parameters) on {} of {} images of {}, {}, seed {}",
                model.name,
                model.architecture,
                model.parameters,
                data.indices.len(),
                data.available,
                data.name,
                start.plan.device,
                start.plan.seed
            );
            (Level::Info, text)
        }
        AuditEvent::Resumed { lost, .. } => {
            let done = state.attacks.iter().filter(|it| it.seconds.is_some()).count();
            let judged: usize = state.attacks.iter().map(|it| it.samples.len()).sum();
            let again: usize = lost.iter().map(|it| it.samples.len()).sum();
            let again = if again == 0 {
                String::new()
            } else {
                format!("; the pixels of {again} results are gone, they are made again")
            };
            let text = format!(
                "going on: {done} of {} attacks are through, {judged} results are there{again}",
                state.attacks.len()
            );
            (Level::Info, text)
        }
        AuditEvent::Finished { error: Some(error), .. } => (Level::Error, format!("the audit broke off: {error}")),
        AuditEvent::Warned { message } => (Level::Warning, message.clone()),
        AuditEvent::AttackFailed { attack, error } => {
            (Level::Error, format!("{} failed: {error}", attack_name(state, *attack)))
        }
        AuditEvent::AttackFinished { attack, seconds } => {
            let samples = &state.attacks.get(*attack)?.samples;
            let broken = samples.iter().filter(|sample| sample.success).count();
            let carried = match samples.iter().filter(|sample| sample.carried_from.is_some()).count() {
                0 => String::new(),
                carried => format!(", {carried} of them carried from a smaller ε"),
            };
            let name = attack_name(state, *attack);
            (Level::Info, format!("{name}: broke {broken} of {} in {seconds:.1} s{carried}", samples.len()))
        }
        AuditEvent::ControlMeasured { control, seconds } => {
            let name = control.kind.name();
            match (&control.error, control.rises.len()) {
                (Some(error), _) => (Level::Warning, format!("{name} failed: {error}")),
                (None, 0) => {
                    let (broken, of) = (control.samples.iter().filter(|it| it.success).count(), control.samples.len());
                    let budget = format!("{} ε {}", control.norm.sign(), control.eps);
                    (Level::Info, format!("{name} within {budget}: broke {broken} of {of} in {seconds:.1} s"))
                }
                (None, n) => (Level::Info, format!("{name} of {n} images in {seconds:.1} s")),
            }
        }
        AuditEvent::AttackCancelled { attack } => {
            let samples = state.attacks.get(*attack)?.samples.len();
            (Level::Warning, format!("{}: called off after {samples} images", attack_name(state, *attack)))
        }
        AuditEvent::AttacksAdded { attacks, .. } => {
            let names: Vec<String> = attacks.iter().map(|it| format!("{} ({})", it.label, it.summary())).collect();
            (Level::Info, format!("added: {}", names.join(", ")))
        }
        AuditEvent::AttackRefused { error } => (Level::Error, format!("not added: {error}")),
        _ => return None,
    };
    Some(LogLine { level, text })
}

/// The label of an attack of the plan; empty if the plan has no such attack.
fn attack_name(state: &AuditState, attack: usize) -> String {
    let plan = state.start.as_ref().map(|start| &start.plan);
    plan.and_then(|plan| plan.attacks.get(attack)).map_or_else(String::new, |attack| attack.label.clone())
}

/// A stage in a few words.
pub(crate) fn stage_name(state: &AuditState, stage: Stage) -> String {
    match stage {
        Stage::Clean => "clean images".to_owned(),
        Stage::Normalization => "other normalizations".to_owned(),
        Stage::CleanCurve => "clean curve".to_owned(),
        Stage::Attack { attack } => attack_name(state, attack),
        Stage::AttackCurve { attack } => format!("{} curve", attack_name(state, attack)),
        Stage::Control { control } => control.name().to_owned(),
    }
}
