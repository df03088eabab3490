//! What was typed: the command line, one definition per flag.

mod about;
mod audit;
mod prune;
mod shared;
mod stored;
mod study;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::exit::Exit;

pub(crate) use about::{AttacksArgs, CompletionsArgs, InspectArgs, ManArgs, SchemaArgs};
pub(crate) use audit::{AuditArgs, TuiArgs};
pub(crate) use prune::PruneArgs;
pub(crate) use shared::{OutputFormat, ProgressMode, ReadArgs, RunArgs, SourceArgs, SplitArg, TrustArgs};
pub(crate) use stored::{DiffArgs, ExportArgs, FlowArgs, ReportArgs};
pub(crate) use study::{
    CkaArg, CurveArgs, DynamicsArgs, LabelsArgs, SimilarityArgs, SweepArgs, TrainArgs, TrainPreset,
};

/// Audits the adversarial robustness of trained image classifiers and shows where in the network they break.
#[derive(Debug, Parser)]
#[command(name = "advmod", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = Exit::HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub manner: Manner,
    /// More on stderr: the causes behind an error.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// How every command goes about its work.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Only errors on stderr: no progress, no warnings.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Do not confine the process to its own files, without network and programs (Landlock and seccomp; Linux).
    #[arg(long, global = true)]
    pub no_sandbox: bool,
    /// Most memory that the process may take, such as 8G or 500M (Linux) [default: three quarters of what is free; unlimited beside a GPU].
    #[arg(long, global = true, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
}

/// Bytes: a number with `K`, `M`, `G` or `T`.
fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected a size such as 8G or 500M".to_owned();
    let word = text.trim_end_matches(['B', 'b']).trim_end_matches(['i', 'I']);
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = units.iter().find(|(unit, _)| word.ends_with([*unit, unit.to_ascii_lowercase()]));
    let (_, shift) = unit.ok_or_else(expected)?;
    let number: u64 = word[..word.len() - 1].trim().parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0).ok_or_else(expected)
}

impl Cli {
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&negative_numbers(Self::command()).try_get_matches()?)
    }
}

/// Takes `-5` for a value, so that whoever checks the value refuses it, not for a flag that does not exist.
fn negative_numbers(command: clap::Command) -> clap::Command {
    let allow = |arg: clap::Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(allow).mut_subcommands(negative_numbers)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Attack a model and compare its clean and adversarial modularity curves.
    Audit(Box<AuditArgs>),
    /// The same as audit, live on the terminal; or a recorded run, or one of another process.
    Tui(Box<TuiArgs>),
    /// Measure a model's clean modularity curve, without any attack.
    Curve(Box<CurveArgs>),
    /// Compare a model's taps with each other: difference of Q, and linear CKA.
    Similarity(Box<SimilarityArgs>),
    /// List the images whose neighbours disagree with their label: which may be labelled wrongly.
    Labels(Box<LabelsArgs>),
    /// Measure curve and accuracy of every checkpoint of a training.
    Dynamics(Box<DynamicsArgs>),
    /// Take out layers that do not separate the classes any further, fine-tune the rest, and say what it costs.
    Prune(Box<PruneArgs>),
    /// Train a built-in architecture.
    Train(Box<TrainArgs>),
    /// Show what is in a model file: format, architecture, taps, parameters, MACs, sha256.
    Inspect(Box<InspectArgs>),
    /// Print the Python that saves a model in each format that advmod opens.
    ExportHelp,
    /// List the attacks, or explain one.
    Attacks(AttacksArgs),
    /// Render a stored run, or the result of a study, again in any of its formats.
    Report(ReportArgs),
    /// Compare two stored runs, metric by metric.
    Diff(DiffArgs),
    /// Show where the adversarial images of a stored run lie among the clean ones: class flow, and how well neighbours give them away.
    Flow(FlowArgs),
    /// Write the adversarial images of a stored run for other tools: arrays, or PNG files.
    Export(ExportArgs),
    /// Show what advmod finds on this machine: libtorch, devices, and whether it can be confined to its files.
    Doctor,
    /// Print the JSON Schema of report.json, or that of a study's JSON file.
    Schema(SchemaArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write one per command to a folder.
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use super::*;
    use crate::audit::job::{DEFAULT_ATTACKS, DEFAULT_BATCH};
    use crate::measure::fit::{CHECKPOINT_REPEATS, CURVE_REPEATS, DEFAULT_K, DEFAULT_SAMPLES};
    use crate::study::train::{CROP_PADDING, MOMENTUM, PAPER, STANDARD};

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("8G"), size("500m"), size("2KiB")), (Ok(8 << 30), Ok(500 << 20), Ok(2048)));
        for text in ["", "8", "G", "0M", "-1G", "1.5G", "99999999999T", "8É"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_help_names_the_defaults_that_are_used() {
        let cli = Cli::command();
        let help = |command: &str, flag: &str| {
            let command = cli.find_subcommand(command).unwrap();
            command.get_arguments().find(|it| it.get_long() == Some(flag)).unwrap().get_help().unwrap().to_string()
        };
        for command in ["audit", "tui", "curve", "similarity", "dynamics"] {
            assert!(help(command, "samples").ends_with(&format!("[default: {DEFAULT_SAMPLES}]")), "{command}");
            assert!(help(command, "k").ends_with(&format!("[default: {DEFAULT_K}]")), "{command}");
        }
        let train = |flag: &str, standard: &dyn Display, paper: &dyn Display| {
            let told = help("train", flag);
            assert!(told.ends_with(&format!("[default: {standard}; paper: {paper}]")), "{flag}: {told}");
        };
        train("epochs", &STANDARD.epochs, &PAPER.epochs);
        train("batch", &STANDARD.batch, &PAPER.batch);
        train("lr", &STANDARD.learning_rate, &PAPER.learning_rate);
        train("weight-decay", &STANDARD.weight_decay, &PAPER.weight_decay);
        assert!(help("train", "momentum").ends_with(&format!("[default: {MOMENTUM}]")));
        assert!(help("train", "crop-padding").ends_with(&format!("[default: {CROP_PADDING}]")));
        let repeats = format!("[default: {CURVE_REPEATS} for curve, {CHECKPOINT_REPEATS} for dynamics]");
        assert!(help("curve", "repeats").ends_with(&repeats));
        assert!(help("prune", "k").ends_with(&format!("[default: {DEFAULT_K}]")));
        assert!(help("train", "measure").contains(&format!("on {DEFAULT_SAMPLES} test images")));
        assert!(help("audit", "batch").ends_with(&format!("[default: {DEFAULT_BATCH}]")));
        assert!(help("audit", "attacks").ends_with(&format!("[default: {}]", DEFAULT_ATTACKS.join(","))));
    }
}
