//! `advmod audit`: the headless front-end of the engine.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::args::{AuditArgs, OutputFormat, SplitArg};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, print, say, setup};
use crate::audit::engine::{self, EngineError};
use crate::audit::event::{AuditEvent, Outcome, Stage};
use crate::audit::plan::{AttackPlan, AuditPlan, CurvePlan, DataPlan, ModelPlan, PlanError};
use crate::audit::stage::attack::GRACE;
use crate::audit::state::AuditState;
use crate::report::run_dir::{RunDir, RunDirError};
use crate::report::{Report, table};

pub(super) fn run(args: &AuditArgs, quiet: bool) -> Result<Exit, CliError> {
    let mut plan = plan_from(args)?;
    if let Some(file) = &args.plan {
        plan = plan.over(AuditPlan::read(file)?);
    }
    let out = plan.out.clone();
    let job = plan.resolve()?;
    setup::set_threads(Some(job.plan.threads))?;
    let interrupt = Interrupt::listen()?;
    let mut front_end = Headless {
        state: AuditState::default(),
        progress: Progress::new(args.run.progress, quiet),
        quiet,
        out: out.clone(),
        run_dir: None,
        disk_error: None,
        interrupt: interrupt.clone(),
        interrupt_shown: false,
    };
    let adversarial = out.as_ref().map(|folder| folder.join("adversarial"));
    let finished = engine::run_on_worker(job, adversarial, &interrupt.flag(), &mut |event| front_end.take(&event));
    front_end.progress.finish();
    front_end.conclude(finished, args.run.format)
}

/// Follows the events of a run.
struct Headless {
    state: AuditState,
    progress: Progress,
    quiet: bool,
    out: Option<PathBuf>,
    run_dir: Option<RunDir>,
    disk_error: Option<RunDirError>,
    interrupt: Interrupt,
    interrupt_shown: bool,
}

impl Headless {
    fn take(&mut self, event: &AuditEvent) -> ControlFlow<()> {
        self.state.apply(event);
        if self.interrupt.asked() && !self.interrupt_shown && !self.quiet {
            self.progress.line(&format!(
                "stopping: the batches in work have {} s to finish, then end at their next step; a second signal stops at once, without reports",
                GRACE.as_secs()
            ));
            self.interrupt_shown = true;
        }
        self.show(event);
        // Not before model and data are there: a run that cannot start leaves an earlier one's results alone. And not later: a folder that
        // cannot be written must not cost an hour of attacking.
        if let (AuditEvent::Started { .. }, Some(out)) = (event, &self.out) {
            match RunDir::create(out) {
                Ok(run_dir) => self.run_dir = Some(run_dir),
                Err(error) => {
                    self.disk_error.get_or_insert(error);
                    return ControlFlow::Break(());
                }
            }
        }
        if let Some(run_dir) = &mut self.run_dir
            && let Err(error) = run_dir.record(event)
        {
            // Without its journal the run would be lost when it is killed: stop, and keep what there is in memory.
            self.disk_error.get_or_insert(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn show(&mut self, event: &AuditEvent) {
        match event {
            AuditEvent::Started { start, .. } if !self.quiet => {
                let (model, data) = (&start.model, &start.data);
                self.progress.line(&format!(
                    "{} ({}, {} parameters) on {} of {} images of {}, {}, seed {}",
                    model.name,
                    model.architecture,
                    model.parameters,
                    data.indices.len(),
                    data.available,
                    data.name,
                    start.plan.device,
                    start.plan.seed
                ));
            }
            AuditEvent::StageStarted { stage, total } => self.progress.begin(&self.stage_name(*stage), *total),
            AuditEvent::StageProgress { done, .. } => self.progress.update(*done, None),
            AuditEvent::Warned { message } if !self.quiet => self.progress.line(&format!("warning: {message}")),
            AuditEvent::AttackFailed { attack, error } => {
                self.progress.line(&format!("error: {} failed: {error}", self.attack_name(*attack)));
            }
            AuditEvent::AttackFinished { attack, seconds } if !self.quiet => {
                let samples = &self.state.attacks[*attack].samples;
                let broken = samples.iter().filter(|sample| sample.success).count();
                let name = self.attack_name(*attack);
                let carried = match samples.iter().filter(|sample| sample.carried_from.is_some()).count() {
                    0 => String::new(),
                    carried => format!(", {carried} of them carried from a smaller ε"),
                };
                self.progress.line(&format!("{name}: broke {broken} of {} in {seconds:.1} s{carried}", samples.len()));
            }
            _ => (),
        }
    }

    fn attack_name(&self, attack: usize) -> String {
        let plan = self.state.start.as_ref().map(|start| &start.plan);
        plan.and_then(|plan| plan.attacks.get(attack)).map_or_else(String::new, |attack| attack.label.clone())
    }

    fn stage_name(&self, stage: Stage) -> String {
        match stage {
            Stage::Clean => "clean images".to_owned(),
            Stage::CleanCurve => "clean curve".to_owned(),
            Stage::Attack { attack } => self.attack_name(attack),
            Stage::AttackCurve { attack } => format!("{} curve", self.attack_name(attack)),
        }
    }

    /// Writes the reports, prints the table and says how to exit.
    fn conclude(self, finished: Result<(), EngineError>, format: OutputFormat) -> Result<Exit, CliError> {
        if let (Some(error), None) = (&self.disk_error, &self.run_dir) {
            return Err(CliError::Runtime(error.to_string()));
        }
        let report = Report::new(&self.state);
        if let Some(report) = &report {
            match format {
                OutputFormat::Text => print(&table::text(report))?,
                OutputFormat::Json => {
                    let json = serde_json::to_string_pretty(report).expect("plain data always has a JSON form");
                    print(&format!("{json}\n"))?;
                }
            }
            // After the table: a full disk must not cost the user that too.
            if let Some(run_dir) = &self.run_dir {
                run_dir.write_reports(report)?;
            }
            if let Some(run_dir) = self.run_dir.as_ref().filter(|_| !self.quiet) {
                say(&format!("results: {}", run_dir.path().display()));
            }
        }
        if let Some(error) = self.disk_error {
            return Err(error.into());
        }
        finished?;
        match report.map(|report| (report.outcome, report.clean.accuracy.map(|rate| rate.count))) {
            Some((Outcome::Complete, Some(0))) => {
                say(
                    "inconclusive: the model classifies no clean image correctly, so nothing was attacked; check --normalize and --data",
                );
                Ok(Exit::Inconclusive)
            }
            Some((Outcome::Complete, _)) => Ok(Exit::Pass),
            Some((Outcome::Failed, _)) => {
                Err(CliError::Runtime("at least one attack failed; its row says so".to_owned()))
            }
            Some((Outcome::Interrupted, _)) | None => {
                say("interrupted: what was done is marked incomplete");
                Ok(self.interrupt.exit())
            }
        }
    }
}

/// The plan that the flags make.
fn plan_from(args: &AuditArgs) -> Result<AuditPlan, CliError> {
    let named = args.attacks.iter().flat_map(|name| AttackPlan::named(name.trim())).map(Ok);
    let detailed = args.attack.iter().map(|text| AttackPlan::parse(text).map_err(CliError::from));
    let attack = named.chain(detailed).collect::<Result<Vec<AttackPlan>, CliError>>()?;
    let (model, data, run) = (&args.model, &args.data, &args.run);
    Ok(AuditPlan {
        model: ModelPlan {
            file: model.model.clone(),
            arch: model.arch.clone(),
            normalize: model.normalize.clone(),
            input_size: model.input_size,
        },
        data: DataPlan {
            path: data.data.clone(),
            split: data.split.map(|split| if split == SplitArg::Train { "train" } else { "test" }.to_owned()),
            samples: data.samples,
            first: data.first,
            resize: data.resize,
            crop: data.crop,
        },
        curve: CurvePlan { k: args.taps.k, similarity: args.taps.similarity, taps: args.taps.taps.clone() },
        attack,
        preset: args.preset.clone(),
        stop: args.stop.clone(),
        eight_bit: args.eight_bit.then_some(true),
        seed: run.seed,
        device: run.device.map(|device| device.to_string()),
        batch: run.batch,
        threads: run.threads,
        out: args.out.clone(),
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
            other => Self::Caused(other.into()),
        }
    }
}
