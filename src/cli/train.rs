//! `advmod train`: a built-in architecture, with SGD.

use std::ops::ControlFlow;
use std::path::Path;

use tch::Device;

use super::args::{SourceArgs, SplitArg, TrainArgs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, dynamics, print, say, setup};
use crate::data::{Dataset, Selection};
use crate::model::load::{LoadOptions, load};
use crate::model::normalize::Normalization;
use crate::model::zoo;
use crate::modularity::Similarity;
use crate::study::curve::CurvePlan;
use crate::study::dynamics::{Checkpoint, checkpoint};
use crate::study::train::{TrainError, TrainEvent, TrainPlan, checkpoint_file, train};

pub(super) fn run(args: &TrainArgs, quiet: bool) -> Result<Exit, CliError> {
    check(args)?;
    setup::set_threads(args.threads)?;
    let normalization = Normalization::parse(&args.normalize).map_err(CliError::Usage)?;
    let device = args.device.resolve().map_err(CliError::Runtime)?;
    let open = |split| {
        setup::open_data(&SourceArgs { data: Some(args.data.clone()), split: Some(split), ..SourceArgs::default() })
    };
    let (training, test) = (open(SplitArg::Train)?, open(SplitArg::Test)?);
    let info = training.info();
    let labels = training.labels().iter().chain(test.labels()).max().map_or(1, |&label| label as usize + 1);
    let classes = labels.max(info.classes.len());
    let architecture = zoo::named(&args.arch, info.channels as i64, classes as i64).ok_or_else(|| {
        let known: Vec<&str> = zoo::names().collect();
        CliError::Usage(format!("unknown architecture `{}`; known are {}", args.arch, known.join(", ")))
    })?;
    if let Some(folder) = &args.checkpoints {
        std::fs::create_dir_all(folder).map_err(|error| {
            CliError::Runtime(format!("cannot make the checkpoint folder {}: {error}; give another", folder.display()))
        })?;
    }
    let milestones = args.milestones.clone().unwrap_or_else(|| {
        // The epoch after 60 % and after 85 % of the way.
        vec![(args.epochs * 6).div_ceil(10) + 1, (args.epochs * 17).div_ceil(20) + 1]
    });
    let plan = TrainPlan {
        epochs: args.epochs,
        batch: args.batch,
        learning_rate: args.lr,
        milestones,
        momentum: args.momentum,
        weight_decay: args.weight_decay,
        crop_padding: args.crop_padding,
        flip: !args.no_flip,
        seed: args.seed,
        normalization,
        checkpoints: args.checkpoints.clone(),
    };
    let interrupt = Interrupt::listen()?;

    let mut progress = Progress::new(args.progress, quiet);
    let mut current = 0;
    let mut followed = Followed { measured: Vec::new(), problem: None };
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
                if let Some(folder) = plan.checkpoints.as_ref().filter(|_| args.measure) {
                    followed.follow((folder, epoch), test.as_ref(), device, args.seed);
                }
            }
        }
        if interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let trained =
        train(architecture.as_ref(), (training.as_ref(), test.as_ref()), &plan, device, &args.out, &mut report);
    progress.finish();
    match trained {
        Ok(accuracy) => {
            if args.measure {
                print(&dynamics::trend_table(&followed.measured))?;
            }
            if let Some(problem) = followed.problem {
                return Err(problem);
            }
            print(&format!("wrote {} ({:.2} % on the test images)\n", args.out.display(), 100.0 * accuracy))?;
            Ok(Exit::Pass)
        }
        Err(TrainError::Stopped) => {
            say("interrupted: training was stopped; the checkpoints written so far are complete");
            Ok(interrupt.exit())
        }
        Err(error) => Err(error.into()),
    }
}

/// The curves of the checkpoints so far.
struct Followed {
    measured: Vec<Checkpoint>,
    /// Why one has none. The training goes on all the same.
    problem: Option<CliError>,
}

impl Followed {
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
        let _ = print(&dynamics::row(&measured, true, &test.info().name));
        self.measured.push(measured);
        dynamics::write(folder, &self.measured, &test.info().name)
    }
}

/// Numbers that a type cannot hold back.
fn check(args: &TrainArgs) -> Result<(), CliError> {
    let refuse =
        |flag: &str, value: f64, wanted: &str| Err(CliError::Usage(format!("--{flag} {value}: must be {wanted}")));
    match () {
        () if !(args.lr.is_finite() && args.lr > 0.0) => refuse("lr", args.lr, "above 0"),
        () if !(0.0..1.0).contains(&args.momentum) => refuse("momentum", args.momentum, "at least 0 and below 1"),
        () if !(args.weight_decay.is_finite() && args.weight_decay >= 0.0) => {
            refuse("weight-decay", args.weight_decay, "at least 0")
        }
        () => Ok(()),
    }
}
