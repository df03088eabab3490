//! The one loop: loads, measures, attacks, and tells what happens as events.

mod attacks;
mod chosen;
mod clean;
mod controls;
mod error;
mod loaded;
mod prepare;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::unbounded;

use super::control::{Control, Next, Waiting};
use super::event::{AuditEvent, Outcome, Sink};
use super::plan::AttackPlan;
use super::preview::check_target;
use super::stage::panic_line;
use crate::data;
use crate::measure::classes::Matched;
use crate::model::load::load;
use chosen::Chosen;
pub use error::EngineError;
use error::Stop;
use loaded::Audit;
pub use prepare::Run;

const OUT_OF_MEMORY: &str = "out of memory; give fewer images (--samples), a smaller --batch, or fewer --threads";

/// Runs a job on a worker thread and hands its events to `take` on this one. `Break`, or the control, stops it soon. Events before an error are valid.
pub fn run_on_worker(job: Run, control: &Control, take: &mut Sink<'_>) -> Result<(), EngineError> {
    let (sender, events) = unbounded::<AuditEvent>();
    // Apart from the caller's flag, which says that a user wants to stop.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_seen = &stop;
        let worker = scope.spawn(move || {
            let mut sink = |event| {
                // A receiver that has gone away wants no more.
                let gone = sender.send(event).is_err();
                if gone || stop_seen.load(Ordering::Relaxed) || control.is_stopped() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            run(job, control, &mut sink)
        });
        for event in events {
            if take(event).is_break() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        worker.join().unwrap_or_else(|panic| {
            let line = panic_line(panic.as_ref());
            let lower = line.to_lowercase();
            // As libtorch says it, on the processor and on a GPU.
            Err(EngineError::Unsuitable(
                match ["allocate memory", "out of memory"].iter().any(|it| lower.contains(it)) {
                    true => OUT_OF_MEMORY.to_owned(),
                    false => format!("the audit broke off: {line}; please report this"),
                },
            ))
        })
    })
}

/// Runs a job to its end or until the sink says `Break`. Under an open control it then waits for more attacks.
fn run(run: Run, control: &Control, sink: &mut Sink<'_>) -> Result<(), EngineError> {
    let begun = Instant::now();
    let device = run.job.plan.device.resolve().map_err(EngineError::Unsuitable)?;
    // The data first, and no image of them yet: those of a stored run are compared with what it says before a file of it is loaded.
    let dataset = data::open(run.job.data.as_deref(), &run.job.open)?;
    let chosen = Chosen::new(&run.job, dataset.as_ref())?;
    let mut model = load(run.job.model.as_deref(), &run.job.load, device)?;
    let matched = Matched::new(dataset.as_ref(), &model).map_err(EngineError::Unsuitable)?;
    let chosen = Chosen { dataset: &matched, ..chosen };
    let mut audit = prepare::prepare(run, &mut model, chosen, control, sink)?;
    let mut worked = begun.elapsed();
    loop {
        let begun = Instant::now();
        let finished = audit.all();
        worked += begun.elapsed();
        let outcome = match finished {
            Ok(()) if audit.failures > 0 => Outcome::Failed,
            Ok(()) if audit.cancelled => Outcome::Interrupted,
            Ok(()) => Outcome::Complete,
            Err(Stop::Asked) => Outcome::Interrupted,
            Err(Stop::Error(error)) => {
                audit.finish(Outcome::Failed, Some(error.to_string()), worked);
                return Err(error);
            }
        };
        audit.finish(outcome, None, worked);
        if matches!(finished, Err(Stop::Asked)) || !control.wait_for_more() {
            return Ok(());
        }
    }
}

impl Audit<'_> {
    fn all(&mut self) -> Result<(), Stop> {
        if self.correct.is_none() {
            let everything: Vec<usize> = (0..self.labels.len()).collect();
            let predictions = self.clean(&everything)?;
            let is_correct = |&sample: &usize| predictions[sample] as usize == self.labels[sample];
            let correct: Vec<usize> = everything.into_iter().filter(is_correct).collect();
            if correct.is_empty() {
                self.warn("no clean image is classified correctly, so there is nothing to attack; check --normalize and the labels");
            }
            self.correct = Some(correct);
        }
        loop {
            // Between attacks too: a pause must not end with a stage that has no steps.
            self.control.wait_while_paused(&|| false);
            match self.control.next() {
                Next::Nothing => return self.controls(),
                Next::Cancelled(attack) => self.cancel(attack)?,
                Next::Add(planned) => self.add_planned(&planned)?,
                Next::Run(attack) => self.attack(attack)?,
            }
        }
    }

    /// Puts an attack behind the plan's, as its user wrote it.
    fn add_planned(&mut self, planned: &AttackPlan) -> Result<(), Stop> {
        let first = self.job.attacks.len();
        let added = self.job.add(planned, |config| check_target(config, self.settings.classes));
        match added {
            Ok(()) => {
                self.controlled.clear();
                let attacks = self.job.plan.attacks[first..].to_vec();
                self.control.enqueue((first..).zip(&attacks).map(|(attack, it)| Waiting { attack, sweep: it.sweep }));
                let (command, plan_file) = (self.job.plan.command.clone(), self.job.plan_file.clone());
                self.emit(AuditEvent::AttacksAdded { attacks, command, plan_file })
            }
            Err(error) => self.emit(AuditEvent::AttackRefused { error }),
        }
    }
}
