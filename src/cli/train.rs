//! `advmod train`: a built-in architecture, with SGD.

use std::ops::ControlFlow;
use std::path::Path;

use super::args::{Manner, OutputFormat, TrainArgs, TrainPreset};
use super::deliver::Delivery;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, print, say, setup};
use crate::confine::Needs;
use crate::data::Dataset as _;
use crate::measure::classes::Matched;
use crate::measure::fit::DEFAULT_SEED;
use crate::model::normalize::Normalization;
use crate::model::zoo::{self, Architecture};
use crate::report::study::dynamics::{checkpoint_text, head_text, trends_text};
use crate::study::dynamics::Following;
use crate::study::each::Fault;
use crate::study::results::dynamics::{Checkpoint, DynamicsResult};
use crate::study::train::{
    Accuracy, Adversarial, CROP_PADDING, Interrupted, MOMENTUM, PAPER, Parts, ROBUST_IMAGES, STANDARD, TrainError,
    TrainEvent, TrainPlan, checkpoint_file, ready, train,
};

pub(super) fn run(args: &TrainArgs, manner: Manner) -> Result<Exit, CliError> {
    let quiet = manner.quiet;
    let interrupted = args.resume.as_deref().map(Interrupted::read).transpose()?;
    let plan = match &interrupted {
        None => plan(args)?,
        Some(interrupted) => TrainPlan {
            data: args.data.clone().unwrap_or_else(|| interrupted.standing.plan.data.clone()),
            output: args.out.clone().unwrap_or_else(|| interrupted.standing.plan.output.clone()),
            checkpoints: args.resume.clone(),
            ..interrupted.standing.plan.clone()
        },
    };
    plan.check().map_err(CliError::Usage)?;
    let needs = Needs::default().reading_data([&plan.data]).writing_files([&plan.output]);
    manner.confine(
        &needs.writing_files(&plan.checkpoints).writing(plan.checkpoints.as_deref().filter(|it| it.is_dir())),
    )?;
    let before = interrupted.as_ref().map(|it| it.standing.threads);
    setup::set_threads(args.threads.or(before))?;
    if let (Some(now), Some(before)) = (args.threads, before)
        && now != before
        && !quiet
    {
        say(&format!(
            "warning: the training began with --threads {before}; with {now} its weights end differently in their last digits"
        ));
    }
    let device = args.device.resolve().map_err(CliError::Runtime)?;
    let [training, test] = setup::open_parts(&plan.data, "training")?;
    let test = Matched::to_classes_of(test.as_ref(), training.info()).map_err(CliError::Runtime)?;
    let parts = Parts { train: training.as_ref(), test: &test };
    let name = interrupted.as_ref().map(|it| &it.standing.architecture).or(args.arch.as_ref());
    let architecture = architecture(name.map_or("", String::as_str), parts)?;
    ready(architecture.as_ref(), parts, &plan, interrupted.as_ref())?;
    if let Some(folder) = &plan.checkpoints {
        if interrupted.is_none() {
            begin_anew(folder)?;
        }
        std::fs::create_dir_all(folder).map_err(|error| {
            CliError::Runtime(format!("cannot make the checkpoint folder {}: {error}; give another", folder.display()))
        })?;
    }
    let mut followed = plan.checkpoints.as_ref().filter(|_| plan.measure).map(|folder| Followed {
        folder,
        following: Following::new(folder, parts.test, device, plan.seed),
        problem: None,
    });
    let interrupt = Interrupt::listen()?;
    let done = interrupted.as_ref().map_or(0, |it| it.standing.epoch);
    if interrupted.is_some() && !quiet {
        say(&format!("{done} of {} epochs are done; going on behind them", plan.epochs));
    }
    if let Some(followed) = &mut followed {
        followed.catch_up(done);
    }
    let progress = Progress::new(args.progress, quiet);
    let n_attacked = test.info().n.min(ROBUST_IMAGES);
    let mut shown = Shown { plan: &plan, interrupt, progress, current: 0, done, followed, n_attacked };
    let trained = train(architecture.as_ref(), parts, &plan, device, interrupted.as_ref(), &mut |it| shown.take(&it));
    shown.end(trained)
}

fn architecture(name: &str, parts: Parts<'_>) -> Result<Box<dyn Architecture>, CliError> {
    let info = parts.train.info();
    let labels = parts.train.labels().iter().chain(parts.test.labels()).max().map_or(1, |&label| label as usize + 1);
    let classes = labels.max(info.classes.len());
    zoo::named(name, info.channels as i64, classes as i64)
        .ok_or_else(|| CliError::Usage(format!("unknown architecture `{name}`; known are {}", zoo::known())))
}

/// Checkpoints of two trainings in one folder would pass for one training, and the first could not go on.
fn begin_anew(folder: &Path) -> Result<(), CliError> {
    let (is_interrupted, is_taken) = (Interrupted::is_in(folder), checkpoint_file(folder, 1).exists());
    if !is_interrupted && !is_taken {
        return Ok(());
    }
    let folder = folder.display();
    let way_on = if is_interrupted { format!("go on with it by --resume {folder}, or ") } else { String::new() };
    Err(CliError::Usage(format!("--checkpoints {folder}: holds another training; {way_on}give another folder")))
}

struct Shown<'a> {
    plan: &'a TrainPlan,
    interrupt: Interrupt,
    progress: Progress,
    /// The epoch whose steps are shown.
    current: usize,
    /// Epochs that are done.
    done: usize,
    /// With `--measure`.
    followed: Option<Followed<'a>>,
    /// Test images that an adversarial training attacks.
    n_attacked: usize,
}

impl Shown<'_> {
    fn take(&mut self, event: &TrainEvent) -> ControlFlow<()> {
        let epochs = self.plan.epochs;
        match *event {
            TrainEvent::Step { epoch, step, steps, loss, accuracy } => {
                self.interrupt.begin();
                if epoch != self.current {
                    self.progress.begin(&format!("epoch {epoch}/{epochs}"), steps as u64);
                    self.current = epoch;
                }
                let note = format!("loss {loss:.3} accuracy {:.1} %", 100.0 * accuracy);
                self.progress.update(step as u64, Some(&note));
            }
            TrainEvent::Epoch { epoch, learning_rate, loss, train_accuracy, test } => {
                self.progress.finish();
                let (train, clean) = (100.0 * train_accuracy, 100.0 * test.clean);
                let robust = test.robust.map_or(String::new(), |it| format!("  robust {:.2} %", 100.0 * it));
                // A reader that is gone misses the rest; the training goes on.
                let _ = print(&format!(
                    "epoch {epoch:>3}/{epochs}  lr {learning_rate:<8.5} loss {loss:.4}  train {train:.2} %  test {clean:.2} %{robust}\n"
                ));
                self.done = epoch;
                if let Some(followed) = &mut self.followed {
                    followed.follow(epoch);
                }
            }
        }
        if self.interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn end(mut self, trained: Result<Accuracy, TrainError>) -> Result<Exit, CliError> {
        self.progress.finish();
        match trained {
            Ok(accuracy) => {
                let trends = self.followed.as_ref().map_or(String::new(), |it| trends_text(&it.following.result));
                let (output, clean) = (self.plan.output.display(), 100.0 * accuracy.clean);
                let robust = accuracy.robust.map_or(String::new(), |it| {
                    let attack = self.plan.adversarial.as_ref().map_or("", |it| &it.attack);
                    format!("; {:.2} % under {attack}, of {} of them", 100.0 * it, self.n_attacked)
                });
                print(&format!("{trends}wrote {output} ({clean:.2} % on the test images{robust})\n"))?;
                self.followed.and_then(|it| it.problem).map_or(Ok(Exit::Pass), Err)
            }
            Err(TrainError::Stopped) => {
                let way_on = match self.plan.checkpoints.as_ref().filter(|_| self.done > 0) {
                    None => "nothing was written".to_owned(),
                    Some(folder) => {
                        format!("advmod train --resume {} goes on behind epoch {}", folder.display(), self.done)
                    }
                };
                say(&format!("interrupted: training was stopped; {way_on}"));
                Ok(self.interrupt.exit())
            }
            Err(error) => Err(error.into()),
        }
    }
}

struct Followed<'a> {
    folder: &'a Path,
    following: Following<'a>,
    /// Why a checkpoint has no curve. The training goes on all the same.
    problem: Option<CliError>,
}

impl Followed<'_> {
    fn catch_up(&mut self, done: usize) {
        let Self { folder, following, problem } = self;
        following.catch_up(done, &mut |epoch, found| deliver(folder, problem, epoch, found));
    }

    fn follow(&mut self, epoch: usize) {
        deliver(self.folder, &mut self.problem, epoch, self.following.follow(epoch));
    }
}

/// Prints the newest checkpoint and writes all of them, or says why it has no curve.
fn deliver(folder: &Path, problem: &mut Option<CliError>, epoch: usize, found: Result<&DynamicsResult, Fault>) {
    let delivered = found.map_err(CliError::from).and_then(|result| {
        let text = |it: &Checkpoint| head_text(&result.data, it) + &checkpoint_text(it);
        let _ = print(&result.checkpoints.last().map_or_else(String::new, text));
        Delivery::new(Some(folder), OutputFormat::Text).write(result)
    });
    if let Err(new) = delivered {
        say(&format!("warning: epoch {epoch} is not measured: {}", new.message(false)));
        problem.get_or_insert(new);
    }
}

/// The flags with what the preset says where they are silent.
fn plan(args: &TrainArgs) -> Result<TrainPlan, CliError> {
    let flags = &args.recipe;
    let preset = match flags.preset {
        TrainPreset::Standard => STANDARD,
        TrainPreset::Paper => PAPER,
    };
    let epochs = flags.epochs.unwrap_or(preset.epochs);
    Ok(TrainPlan {
        data: args.data.clone().unwrap_or_default(),
        output: args.out.clone().unwrap_or_default(),
        epochs,
        batch: flags.batch.unwrap_or(preset.batch),
        learning_rate: flags.lr.unwrap_or(preset.learning_rate),
        milestones: flags.milestones.clone().unwrap_or_else(|| (preset.milestones)(epochs)),
        momentum: flags.momentum.unwrap_or(MOMENTUM),
        weight_decay: flags.weight_decay.unwrap_or(preset.weight_decay),
        crop_padding: flags.crop_padding.unwrap_or(CROP_PADDING),
        flip: !flags.no_flip,
        seed: flags.seed.unwrap_or(DEFAULT_SEED),
        normalization: Normalization::parse(flags.normalize.as_deref().unwrap_or("none")).map_err(CliError::Usage)?,
        bf16: flags.bf16,
        adversarial: flags.adversarial.clone().map(|attack| Adversarial {
            attack,
            ratio: flags.ratio.unwrap_or(1.0),
            beta: flags.beta,
        }),
        checkpoints: args.checkpoints.clone(),
        measure: args.measure,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::*;

    fn planned(flags: &str) -> TrainPlan {
        let words = format!("advmod train --data d --arch resnet20 --out o {flags}");
        match Cli::try_parse_from(words.split_whitespace()).unwrap().command {
            Command::Train(args) => plan(&args).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_papers_recipe_is_its_codes_and_flags_win() {
        let paper = planned("--preset paper");
        assert_eq!((paper.epochs, paper.batch, &paper.milestones[..]), (150, 256, &[50, 100][..]));
        assert_eq!((paper.learning_rate, paper.momentum, paper.weight_decay), (0.01, 0.9, 0.005));
        assert_eq!((paper.crop_padding, paper.flip), (4, true));
        let short = planned("--preset paper --epochs 30 --lr 0.02 --no-flip");
        assert_eq!((short.epochs, short.learning_rate, short.flip), (30, 0.02, false));
        assert_eq!(TrainPlan { epochs: 150, learning_rate: 0.01, flip: true, ..short }, paper);
        let standard = planned("");
        assert_eq!((standard.epochs, &standard.milestones[..], standard.batch), (12, &[9, 12][..], 128));
    }
}
