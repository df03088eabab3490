//! `advmod audit`: the headless front-end of the engine.

use super::args::{AuditArgs, SplitArg};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::recorder::{Conclusion, Recorder};
use super::{CliError, Exit, report, setup};
use crate::audit::control::Control;
use crate::audit::engine::{self, EngineError};
use crate::audit::event::AuditEvent;
use crate::audit::gate::GatePlan;
use crate::audit::plan::{AttackPlan, AuditPlan, CurvePlan, DataPlan, Job, ModelPlan, PlanError};
use crate::audit::resume;
use crate::audit::run_dir::RunDir;
use crate::audit::stage::attack::GRACE;
use crate::audit::state::AuditState;
use crate::report::lines::{self, Level};
use crate::verdict::change::baseline;

pub(super) fn run(args: &AuditArgs, quiet: bool) -> Result<Exit, CliError> {
    let Prepared { job, mut recorder, .. } = prepare(args)?;
    setup::set_threads(Some(job.plan.threads))?;
    let interrupt = Interrupt::listen()?;
    let mut front_end = Headless {
        state: AuditState::default(),
        progress: Progress::new(args.run.progress, quiet),
        quiet,
        interrupt: interrupt.clone(),
        interrupt_shown: false,
    };
    let finished = engine::run_on_worker(job, recorder.folder(), &Control::with_flag(interrupt.flag()), &mut |event| {
        recorder.before(&event).iter().for_each(|earlier| front_end.state.apply(earlier));
        front_end.take(&event);
        recorder.take(&event)
    });
    front_end.progress.finish();
    recorder.conclude(
        &front_end.state,
        finished,
        Conclusion { format: args.run.format, quiet, stopped: interrupt.exit(), exit_zero: args.gates.exit_zero },
    )
}

/// Follows the events of a run.
struct Headless {
    state: AuditState,
    progress: Progress,
    quiet: bool,
    interrupt: Interrupt,
    interrupt_shown: bool,
}

impl Headless {
    fn take(&mut self, event: &AuditEvent) {
        self.state.apply(event);
        if self.interrupt.asked() && !self.interrupt_shown && !self.quiet {
            self.progress.line(&format!(
                "stopping: the batches in work have {} s to finish, then end at their next step; a second signal stops at once, without reports",
                GRACE.as_secs()
            ));
            self.interrupt_shown = true;
        }
        match event {
            AuditEvent::StageStarted { stage, total } => {
                self.progress.begin(&lines::stage_name(&self.state, *stage), *total);
            }
            AuditEvent::StageProgress { done, .. } => self.progress.update(*done, None),
            _ => (),
        }
        if let Some(line) = lines::line(event, &self.state) {
            match line.level {
                Level::Error => self.progress.line(&format!("error: {}", line.text)),
                _ if self.quiet => (),
                Level::Warning => self.progress.line(&format!("warning: {}", line.text)),
                Level::Info => self.progress.line(&line.text),
            }
        }
    }
}

/// A run that can start, or go on.
pub(super) struct Prepared {
    /// What to do.
    pub(super) job: Job,
    /// Where its results go.
    pub(super) recorder: Recorder,
    /// The plan as its user wrote it.
    pub(super) written: AuditPlan,
}

/// The run of the flags, or the one that `--resume` names.
pub(super) fn prepare(args: &AuditArgs) -> Result<Prepared, CliError> {
    let Some(folder) = &args.resume else {
        let written = plan_from(args)?;
        let recorder = Recorder::new(written.out.clone());
        let mut job = written.clone().resolve()?;
        if let Some(file) = &written.baseline {
            let (report, _) = report::read(file)?;
            job.baseline = Some(Box::new(baseline(&report.facts(), &file.display().to_string())));
        }
        let recorder = recorder.with_outputs(&args.output)?;
        return Ok(Prepared { job, recorder, written });
    };
    let (run_dir, events) = RunDir::resume(folder)
        .map_err(|error| CliError::Runtime(format!("cannot go on: {}: {}", error.path.display(), error.source)))?;
    let mut state = AuditState::default();
    for event in &events {
        state.apply(event);
    }
    let (job, plan) =
        resume::job(state).map_err(|problem| CliError::Runtime(format!("{}: {problem}", folder.display())))?;
    let written = AuditPlan { out: args.resume.clone(), ..plan };
    let recorder = Recorder::resumed(run_dir, events).with_outputs(&args.output)?;
    Ok(Prepared { job, recorder, written })
}

/// The plan that the flags make, over the plan file's.
pub(super) fn plan_from(args: &AuditArgs) -> Result<AuditPlan, CliError> {
    let named = args.attacks.iter().flat_map(|name| AttackPlan::named(name.trim())).map(Ok);
    let detailed = args.attack.iter().map(|text| AttackPlan::parse(text).map_err(CliError::from));
    let attack = named.chain(detailed).collect::<Result<Vec<AttackPlan>, CliError>>()?;
    let (model, data, run) = (&args.model, &args.data, &args.run);
    let flags = AuditPlan {
        model: ModelPlan {
            file: model.model.clone(),
            arch: model.read.arch.clone(),
            normalize: model.read.normalize.clone(),
            input_size: model.read.input_size,
        },
        data: DataPlan {
            path: data.source.data.clone(),
            split: data.source.split.map(|split| if split == SplitArg::Train { "train" } else { "test" }.to_owned()),
            samples: data.samples,
            first: data.first,
            resize: data.source.resize,
            crop: data.source.crop,
        },
        curve: CurvePlan { k: args.taps.k, similarity: args.taps.similarity, taps: args.taps.taps.clone() },
        attack,
        gate: args.gates.gate.iter().map(|expr| GatePlan::named(expr)).collect(),
        waiver: Vec::new(),
        baseline: args.gates.baseline.clone(),
        preset: args.preset.clone(),
        stop: args.stop.clone(),
        eight_bit: args.eight_bit.then_some(true),
        seed: run.seed,
        device: run.device.map(|device| device.to_string()),
        batch: args.batch,
        threads: run.threads,
        out: args.out.clone(),
    };
    Ok(match &args.plan {
        Some(file) => flags.over(AuditPlan::read(file)?),
        None => flags,
    })
}

impl From<PlanError> for CliError {
    fn from(error: PlanError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Model(error) => error.into(),
            EngineError::Gate(problem) => Self::Usage(problem),
            other => Self::Caused(other.into()),
        }
    }
}
