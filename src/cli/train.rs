//! `advmod train`: a built-in architecture, with SGD.

use std::ops::ControlFlow;
use std::path::Path;

use tch::Device;

use super::args::{TrainArgs, TrainPreset};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, dynamics as table, print, say, setup};
use crate::data::{Dataset, Selection};
use crate::model::load::{LoadOptions, load};
use crate::model::normalize::Normalization;
use crate::model::zoo;
use crate::modularity::Similarity;
use crate::study::curve::CurvePlan;
use crate::study::dynamics::{Checkpoint, checkpoint};
use crate::study::results::dynamics;
use crate::study::train::{Interrupted, TrainError, TrainEvent, TrainPlan, checkpoint_file, ready, train};

pub(super) fn run(args: &TrainArgs, quiet: bool) -> Result<Exit, CliError> {
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
    setup::set_threads(args.threads)?;
    let device = args.device.resolve().map_err(CliError::Runtime)?;
    let [training, test] = setup::open_parts(&plan.data, "training")?;
    let info = training.info();
    let labels = training.labels().iter().chain(test.labels()).max().map_or(1, |&label| label as usize + 1);
    let classes = labels.max(info.classes.len());
    let name =
        interrupted.as_ref().map(|it| &it.standing.architecture).or(args.arch.as_ref()).map_or("", String::as_str);
    let architecture = zoo::named(name, info.channels as i64, classes as i64)
        .ok_or_else(|| CliError::Usage(format!("unknown architecture `{name}`; known are {}", zoo::known())))?;
    ready(architecture.as_ref(), (training.as_ref(), test.as_ref()), &plan, interrupted.as_ref())?;
    if let Some(folder) = &plan.checkpoints {
        if interrupted.is_none() {
            begin_anew(folder)?;
        }
        std::fs::create_dir_all(folder).map_err(|error| {
            CliError::Runtime(format!("cannot make the checkpoint folder {}: {error}; give another", folder.display()))
        })?;
    }
    let interrupt = Interrupt::listen()?;

    let mut progress = Progress::new(args.progress, quiet);
    let mut current = 0;
    let mut followed = Followed { measured: Vec::new(), problem: None };
    let mut done = 0;
    if let Some(interrupted) = &interrupted {
        done = interrupted.standing.epoch;
        if !quiet {
            say(&format!("{done} of {} epochs are done; going on behind them", plan.epochs));
        }
        if let Some(folder) = plan.checkpoints.as_ref().filter(|_| plan.measure) {
            followed.catch_up((folder, done), test.as_ref(), device, plan.seed);
        }
    }
    let mut report = |event: TrainEvent| {
        match event {
            TrainEvent::Step { epoch, step, steps, loss, accuracy } => {
                if epoch != current {
                    progress.begin(&format!("epoch {epoch}/{}", plan.epochs), steps as u64);
                    current = epoch;
                }
                let note = format!("loss {loss:.3} accuracy {:.1} %", 100.0 * accuracy);
                progress.update(step as u64, Some(&note));
            }
            TrainEvent::Epoch { epoch, learning_rate, loss, train_accuracy, test_accuracy } => {
                progress.finish();
                // A reader that is gone misses the rest; the training goes on.
                let _ = print(&format!(
                    "epoch {epoch:>3}/{}  lr {learning_rate:<8.5} loss {loss:.4}  train {:.2} %  test {:.2} %\n",
                    plan.epochs,
                    100.0 * train_accuracy,
                    100.0 * test_accuracy
                ));
                done = epoch;
                if let Some(folder) = plan.checkpoints.as_ref().filter(|_| plan.measure) {
                    followed.follow((folder, epoch), test.as_ref(), device, plan.seed);
                }
            }
        }
        if interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let images = (training.as_ref(), test.as_ref());
    let trained = train(architecture.as_ref(), images, &plan, device, interrupted.as_ref(), &mut report);
    progress.finish();
    match trained {
        Ok(accuracy) => {
            let trends = if plan.measure { table::trend_table(&followed.measured) } else { String::new() };
            print(&format!(
                "{trends}wrote {} ({:.2} % on the test images)\n",
                plan.output.display(),
                100.0 * accuracy
            ))?;
            followed.problem.map_or(Ok(Exit::Pass), Err)
        }
        Err(TrainError::Stopped) => {
            say(&match plan.checkpoints.as_ref().filter(|_| done > 0) {
                None => "interrupted: training was stopped; nothing was written".to_owned(),
                Some(folder) => format!(
                    "interrupted: training was stopped; advmod train --resume {} goes on behind epoch {done}",
                    folder.display()
                ),
            });
            Ok(interrupt.exit())
        }
        Err(error) => Err(error.into()),
    }
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

/// The curves of the checkpoints so far.
struct Followed {
    measured: Vec<Checkpoint>,
    /// Why one has none. The training goes on all the same.
    problem: Option<CliError>,
}

impl Followed {
    /// Takes over what was measured before an interruption, and measures what it cut off.
    fn catch_up(&mut self, (folder, done): (&Path, usize), test: &dyn Dataset, device: Device, seed: u64) {
        let name = |epoch| checkpoint_file(folder, epoch).file_name().map(|it| it.to_string_lossy().into_owned());
        // Without the file, or with a damaged one, all are measured again.
        let before = dynamics::read(&folder.join(dynamics::FILE)).map_or(Vec::new(), |it| it.checkpoints);
        for epoch in 1..=done {
            match before.iter().find(|it| Some(&it.name) == name(epoch).as_ref()) {
                Some(measured) => self.measured.push(measured.clone()),
                None => self.follow((folder, epoch), test, device, seed),
            }
        }
    }

    fn follow(&mut self, (folder, epoch): (&Path, usize), test: &dyn Dataset, device: Device, seed: u64) {
        if let Err(problem) = self.try_follow((folder, epoch), test, device, seed) {
            say(&format!("warning: epoch {epoch} is not measured: {}", problem.message(false)));
            self.problem.get_or_insert(problem);
        }
    }

    fn try_follow(
        &mut self,
        (folder, epoch): (&Path, usize),
        test: &dyn Dataset,
        device: Device,
        seed: u64,
    ) -> Result<(), CliError> {
        let model = load(Some(&checkpoint_file(folder, epoch)), &LoadOptions::default(), device)?;
        let n = test.info().n.min(500);
        let plan =
            CurvePlan { k: 3, similarity: Similarity::default(), repeats: 1, samples: Selection::Sample { n, seed } };
        let measured = checkpoint(&model, test, &plan, &mut |_, _| ControlFlow::Continue(()));
        let (measured, _) = measured.map_err(CliError::Runtime)?;
        let _ = print(&table::row(&measured, true, &test.info().name));
        self.measured.push(measured);
        table::write(Some(folder), &self.measured, &test.info().name)
    }
}

/// The flags with what the preset says where they are silent.
fn plan(args: &TrainArgs) -> Result<TrainPlan, CliError> {
    let is_paper = args.preset == TrainPreset::Paper;
    let epochs = args.epochs.unwrap_or(if is_paper { 150 } else { 12 });
    let milestones = match is_paper {
        // The paper says nothing; its code steps the schedule before each epoch, so that its milestones 50 and 100 come one epoch early.
        true => vec![50, 100],
        false => default_milestones(epochs),
    };
    Ok(TrainPlan {
        data: args.data.clone().unwrap_or_default(),
        output: args.out.clone().unwrap_or_default(),
        epochs,
        batch: args.batch.unwrap_or(if is_paper { 256 } else { 128 }),
        learning_rate: args.lr.unwrap_or(if is_paper { 0.01 } else { 0.1 }),
        milestones: args.milestones.clone().unwrap_or(milestones),
        momentum: args.momentum.unwrap_or(0.9),
        weight_decay: args.weight_decay.unwrap_or(if is_paper { 5e-3 } else { 5e-4 }),
        crop_padding: args.crop_padding.unwrap_or(4),
        flip: !args.no_flip,
        seed: args.seed.unwrap_or(0),
        normalization: Normalization::parse(args.normalize.as_deref().unwrap_or("none")).map_err(CliError::Usage)?,
        bf16: args.bf16,
        checkpoints: args.checkpoints.clone(),
        measure: args.measure,
    })
}

/// The epoch after 60 % and after 85 % of the way.
pub(super) fn default_milestones(epochs: usize) -> Vec<usize> {
    vec![(epochs * 6).div_ceil(10) + 1, (epochs * 17).div_ceil(20) + 1]
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
