//! `advmod audit`: the headless front-end of the engine.

use std::path::{Path, PathBuf};

use super::args::{AuditArgs, Manner, SplitArg};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::recorder::{Ending, Recorder};
use super::{CliError, Exit, report, setup};
use crate::audit::control::Control;
use crate::audit::engine::{self, EngineError, Run};
use crate::audit::event::AuditEvent;
use crate::audit::gate::GatePlan;
use crate::audit::plan::{AttackPlan, AuditPlan, CurvePlan, DataPlan, ModelPlan};
use crate::audit::resume;
use crate::audit::run_dir::RunDir;
use crate::audit::stage::attack::GRACE;
use crate::audit::state::AuditState;
use crate::confine::Needs;
use crate::memory::opening;
use crate::report::file_names;
use crate::report::lines::{self, Level};
use crate::store::PLAN_FILE;
use crate::verdict::change::baseline;

pub(super) fn run(args: &AuditArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let interrupt = Interrupt::listen()?;
    let Prepared { run, mut recorder } = prepare(args)?;
    manner.confine(&needs(&run, args))?;
    setup::set_threads(Some(run.job.plan.threads))?;
    let mut front_end = Headless {
        state: AuditState::default(),
        progress: Progress::new(args.run.progress, quiet),
        quiet,
        interrupt: interrupt.clone(),
        interrupt_shown: false,
    };
    let finished = engine::run_on_worker(run, &Control::with_flag(interrupt.flag()), &mut |event| {
        recorder.before(&event).iter().for_each(|earlier| front_end.state.apply(earlier));
        front_end.take(&event);
        recorder.take(&event)
    });
    interrupt.conclude();
    front_end.progress.finish();
    recorder.conclude(&front_end.state, finished, args.ending(quiet, interrupt.exit()))
}

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
            AuditEvent::Started { .. } | AuditEvent::Resumed { .. } => self.interrupt.begin(),
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
    pub(super) run: Run,
    /// Where its results go.
    pub(super) recorder: Recorder,
}

/// The files of a run. Plan, baseline and an earlier journal have been read.
pub(super) fn needs(run: &Run, args: &AuditArgs) -> Needs {
    let out = args.resume.as_ref().or(run.job.written().out.as_ref()).map(PathBuf::as_path);
    Needs::default().reading(&run.job.model).reading_data(&run.job.data).writing(out).writing_files(&args.output)
}

/// The run of the flags, or the one that `--resume` names.
pub(super) fn prepare(args: &AuditArgs) -> Result<Prepared, CliError> {
    let (mut run, recorder) = match &args.resume {
        None => begin(plan_from(args)?, args.force)?,
        Some(folder) => go_on(folder)?,
    };
    run.folder = recorder.folder()?;
    run.job.load.trust_torchscript = args.model.trust.trust_torchscript;
    run.exit_zero = args.gates.exit_zero;
    Ok(Prepared { run, recorder: recorder.with_outputs(&args.output)? })
}

fn begin(plan: AuditPlan, force: bool) -> Result<(Run, Recorder), CliError> {
    let out = plan.out.clone();
    let mut run = Run::from(plan.resolve().map_err(CliError::Usage)?);
    run.job.read_classes()?;
    let plan = run.job.written();
    if let (Some(file), Some(name)) = (plan.located(plan.baseline.as_ref()), &plan.baseline) {
        let (report, _) = report::read(&file)?;
        run.baseline = Some(Box::new(baseline(&report.facts(), &name.display().to_string())));
    }
    Ok((run, Recorder::new(out.as_deref(), force)?))
}

fn go_on(folder: &Path) -> Result<(Run, Recorder), CliError> {
    let (run_dir, events) = opening(folder, || RunDir::resume(folder, file_names().collect()))
        .map_err(|error| CliError::Runtime(format!("cannot go on: {}: {}", error.path.display(), error.source)))?;
    let mut state = AuditState::default();
    for event in &events {
        state.apply(event);
    }
    let job = resume::job(&state, folder).map_err(|problem| CliError::at(folder, problem))?;
    Ok((Run { earlier: Some(Box::new(state)), ..Run::from(job) }, Recorder::resumed(run_dir, events)))
}

impl AuditArgs {
    /// How the end of a run is told.
    pub(super) fn ending(&self, quiet: bool, stopped: Exit) -> Ending {
        Ending { format: self.run.format, quiet, stopped, exit_zero: self.gates.exit_zero }
    }
}

/// The plan that the flags make, over the plan file's.
fn plan_from(args: &AuditArgs) -> Result<AuditPlan, CliError> {
    let named = args.attacks.iter().flat_map(|name| AttackPlan::named(name.trim())).map(Ok);
    let detailed = args.attack.iter().map(|text| AttackPlan::parse(text).map_err(CliError::Usage));
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
            classes: data.source.classes.clone(),
        },
        curve: CurvePlan { k: args.taps.k, similarity: args.taps.similarity, taps: args.taps.taps.clone() },
        attack,
        gate: args.gates.gate.iter().map(|expr| GatePlan::named(expr)).collect(),
        waiver: Vec::new(),
        baseline: args.gates.baseline.clone(),
        accept_limited: args.gates.accept_limited.then_some(true),
        preset: args.preset.clone(),
        stop: args.stop.clone(),
        eight_bit: args.eight_bit.then_some(true),
        seed: run.seed,
        device: run.device.map(|device| device.to_string()),
        batch: args.batch,
        threads: run.threads,
        out: args.out.clone(),
        base: None,
    };
    let Some(file) = &args.plan else { return Ok(flags) };
    let plan = flags.over(opening(file, || AuditPlan::read(file)).map_err(CliError::Usage)?);
    if plan.out.as_ref().is_some_and(|out| is_replaced(file, out)) {
        let problem = "a run replaces the plan in its folder; move it, or give another folder to --out";
        return Err(CliError::Usage(format!("{}: {problem}", file.display())));
    }
    Ok(plan)
}

/// Whether a run with results in `out` would write its own plan in this one's place.
fn is_replaced(plan: &Path, out: &Path) -> bool {
    let there = std::fs::canonicalize(out.join(PLAN_FILE));
    there.is_ok_and(|there| std::fs::canonicalize(plan).is_ok_and(|plan| plan == there))
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::*;
    use crate::audit::command::command;

    #[test]
    fn a_command_says_all_of_a_plan_that_flags_can_say() {
        let path = |name: &str| Some(name.into());
        let text = |word: &str| Some(word.to_owned());
        let attack = AttackPlan::parse("pgd:eps=2/255").unwrap();
        // All of them, so that whoever adds a setting is asked here whether a command has it.
        let plan = AuditPlan {
            model: ModelPlan { file: path("it's.pt"), arch: text("a"), normalize: text("n"), input_size: Some(8) },
            data: DataPlan {
                path: path("p"),
                split: text("train"),
                samples: None,
                first: Some(9),
                resize: Some(2),
                crop: Some(1),
                classes: text("imagenet"),
            },
            curve: CurvePlan { k: Some(2), similarity: Some("pearson".parse().unwrap()), taps: text("all") },
            attack: vec![attack.clone()],
            gate: vec![GatePlan::named("asr.pgd <= 1")],
            waiver: Vec::new(),
            preset: text("quick"),
            stop: None,
            eight_bit: Some(true),
            seed: Some(3),
            device: text("cpu"),
            batch: Some(4),
            threads: Some(1),
            baseline: path("b"),
            accept_limited: Some(true),
            out: None,
            base: None,
        };
        let drawn = DataPlan { samples: Some(7), first: None, ..plan.data.clone() };
        for plan in [AuditPlan { data: drawn, ..plan.clone() }, plan] {
            let attacks =
                AuditPlan { attack: vec![attack.clone()], ..AuditPlan::default() }.resolve().unwrap().plan.attacks;
            // Words between quotes have no spaces here.
            let command =
                command(&plan, &attacks).replace("'it'\\''s.pt'", "it's.pt").replace("'asr.pgd <= 1'", "asr.pgd<=1");
            let Command::Audit(args) = Cli::try_parse_from(command.split(' ')).unwrap().command else {
                panic!("{command}")
            };
            let mut again = plan_from(&args).unwrap();
            again.attack.clone_from(&plan.attack);
            again.gate.clone_from(&plan.gate);
            assert_eq!(again, plan, "{command}");
            assert_eq!(args.gates.gate, ["asr.pgd<=1"]);
        }
    }
}
