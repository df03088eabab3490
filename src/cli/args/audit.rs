//! `advmod audit` and `advmod tui`.

use std::path::PathBuf;

use clap::Args;

use super::shared::{DataArgs, ModelArgs, RunArgs, TapArgs, positive};
use crate::audit::plan::AuditPlan;
use crate::tui::graphics::Choice;
use crate::tui::theme::{Marker, Palette};

/// What the results must meet.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Gates")]
pub(crate) struct GateArgs {
    /// A bound on accuracy, asr, retention_drop, captured_from, peak_drop or peak_q, such as 'accuracy.worst >= 30 %', 'asr.pgd <= 50 %' or
    /// 'asr.worst.class.3 <= 0.5'. Repeatable; adds to the plan file's. The whole 95 % interval must be on the right side.
    #[arg(long, value_name = "EXPR")]
    pub gate: Vec<String>,
    /// An earlier report (report.json, or the folder of its run) to compare with; gates such as 'regression(accuracy.*) <= 2 %' bound by how
    /// much a metric may be worse than there.
    #[arg(long, value_name = "REPORT")]
    pub baseline: Option<PathBuf>,
    /// Let gates that claim robustness (accuracy >=, asr <=, …) pass on a report whose attack validity is limited, too; the report says so.
    /// Without it they are inconclusive there. Where validity failed they always are.
    #[arg(long)]
    pub accept_limited: bool,
    /// End with 0 where a gate failed; all other exit codes stay.
    #[arg(long)]
    pub exit_zero: bool,
}

/// The flags that make a plan: a run that goes on has its own.
fn plan_flags() -> impl Iterator<Item = &'static str> {
    AuditPlan::flags().map(|setting| setting.flag).chain(["attacks", "plan", "force"])
}

#[derive(Args, Debug, Default)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// Attacks to run, in order, or all [default: fgsm,pgd].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Attacks")]
    pub attacks: Vec<String>,
    /// An attack with parameters, such as pgd:eps=8/255,steps=20. Repeatable; adds to --attacks. Several sizes, as in
    /// 'pgd:eps=2/255|4/255|8/255', are a sweep: one run for each, and what a smaller one broke counts as broken at every larger one.
    #[arg(long, value_name = "NAME:KEY=VALUE,…", help_heading = "Attacks")]
    pub attack: Vec<String>,
    /// Where parameters that are not given come from: quick, standard or paper [default: standard].
    #[arg(long, value_name = "NAME", help_heading = "Attacks")]
    pub preset: Option<String>,
    /// How attacks stop: never early (never), or each sample when it is broken (first). The same as stop=… for each attack that has it.
    #[arg(long, value_name = "WHEN", help_heading = "Attacks")]
    pub stop: Option<String>,
    /// Judge adversarial pixels after rounding them to 8 bits.
    #[arg(long, help_heading = "Attacks")]
    pub eight_bit: bool,
    #[command(flatten)]
    pub taps: TapArgs,
    #[command(flatten)]
    pub gates: GateArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// Images per batch of an attack; bounds memory, never changes results [default: 128].
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Run")]
    pub batch: Option<usize>,
    /// A plan file (TOML) with any of these settings; flags win over it.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub plan: Option<PathBuf>,
    /// Go on with the interrupted run in this folder: same plan, same report in the end as without the interruption.
    #[arg(long, value_name = "DIR", help_heading = "Run", conflicts_with_all = plan_flags())]
    pub resume: Option<PathBuf>,
    /// Folder for report.json, report.md, report.html, report.sarif, report.junit.xml, curves.csv, samples.csv, report.plan.toml, run.jsonl and
    /// adversarial/.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// Replace the run that is in the folder of --out, once this one is complete.
    #[arg(long, help_heading = "Run")]
    pub force: bool,
    /// A file for the report in one format, by its ending: .json, .md, .html, .sarif, .xml (JUnit), .txt, .toml (its plan), … Repeatable.
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: Vec<PathBuf>,
}

/// What starts a run of its own, where another one is watched.
const A_RUN: [&str; 11] =
    ["model", "data", "attacks", "attack", "gate", "plan", "out", "force", "output", "baseline", "resume"];

#[derive(Args, Debug)]
pub(crate) struct TuiArgs {
    /// Show a recorded run (run.jsonl) instead of starting one; needs no model.
    #[arg(long, value_name = "FILE", conflicts_with = "attach", conflicts_with_all = A_RUN, help_heading = "Watch")]
    pub replay: Option<PathBuf>,
    /// Replay so many times faster than it happened; without it, the end is shown at once.
    #[arg(long, value_name = "X", requires = "replay", value_parser = speed, help_heading = "Watch")]
    pub speed: Option<f64>,
    /// Follow the run that another process writes to this folder (its --out).
    #[arg(long, value_name = "DIR", conflicts_with_all = A_RUN, help_heading = "Watch")]
    pub attach: Option<PathBuf>,
    /// Watch a training instead: the folder that advmod train --measure writes its checkpoints to, or the --out of advmod dynamics.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["replay", "attach"], conflicts_with_all = A_RUN, help_heading = "Watch")]
    pub dynamics: Option<PathBuf>,
    /// Draw with ASCII only.
    #[arg(long, help_heading = "Watch")]
    pub ascii: bool,
    /// Colours: the terminal's own, or a set for dark or light backgrounds that colour-blind people tell apart. NO_COLOR turns them off.
    #[arg(long, value_name = "NAME", default_value = "terminal", help_heading = "Watch")]
    pub theme: Palette,
    /// How images are drawn that have no room in cells. auto goes by the terminal's environment, and is off inside tmux.
    #[arg(long, value_name = "PROTOCOL", default_value = "auto", help_heading = "Watch")]
    pub graphics: Choice,
    /// What curves are drawn with.
    #[arg(long, value_name = "NAME", default_value = "braille", help_heading = "Watch")]
    pub marker: Marker,
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// A factor that is more than nothing.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("must be a number greater than 0".to_owned()),
    }
}
