//! Stored runs.

use std::path::PathBuf;

use clap::Args;

use super::shared::{OutputFormat, ProgressMode, TrustArgs, comparison, positive};
use crate::measure::fit::DEFAULT_JUDGING_K;
use crate::modularity::Similarity;

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The folder of a run (--out of an audit), its report.json or its run.jsonl; or the --out of a study such as curve, or
    /// its JSON file.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Of a run: text, json, markdown, html, curves, samples, sarif, junit, plan or github [default: by the ending of --output, else text]. plan is
    /// what makes the report again with advmod audit --plan. github also adds the Markdown to the file that GITHUB_STEP_SUMMARY names. Of a study: text, json and what else its --out holds, such as csv, svg or html.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// File to write instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The text of a curve with its tables of details, as advmod curve --details prints it.
    #[arg(long)]
    pub details: bool,
    /// Number of images in the text of advmod labels [default: as there].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub top: Option<usize>,
}

impl ReportArgs {
    /// The flags given that only the texts of some studies take.
    pub(in crate::cli) fn text_flags(&self) -> impl Iterator<Item = &'static str> {
        [(self.details, "--details"), (self.top.is_some(), "--top")].into_iter().filter(|it| it.0).map(|it| it.1)
    }
}

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The earlier run: its folder, its report.json or its run.jsonl.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The later run.
    #[arg(value_name = "NOW")]
    pub now: PathBuf,
    /// A bound such as 'regression(accuracy.*) <= 2 %', or on the later run alone. Repeatable; the whole 95 % interval must be on the right side.
    #[arg(long, value_name = "EXPR")]
    pub gate: Vec<String>,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The folder of a run (--out of an audit).
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// npz and safetensors: a file per attack with x, x_clean, y, indices, samples, predictions and success. png: 8 bits per value, in
    /// folders of classes, with manifest.csv.
    #[arg(long, value_name = "FORMAT")]
    pub format: String,
    /// New folder for the files.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Only this attack, as the report labels it [default: all]. Repeatable.
    #[arg(long, value_name = "LABEL")]
    pub attack: Vec<String>,
    /// Do not ask the model again what it says of the pixels that png has rounded.
    #[arg(long)]
    pub unjudged: bool,
    /// Whether the model's code may run.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Progress on stderr.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,
}

#[derive(Args, Debug)]
pub(crate) struct FlowArgs {
    /// The folder of a run (--out of an audit).
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Only this attack, as the report labels it [default: all]. Repeatable.
    #[arg(long, value_name = "LABEL")]
    pub attack: Vec<String>,
    /// Clean neighbours of each image.
    #[arg(long, value_name = "K", default_value_t = DEFAULT_JUDGING_K, value_parser = positive)]
    pub k: usize,
    #[arg(long, value_name = "NAME", help = comparison("[default: the run's]"))]
    pub similarity: Option<Similarity>,
    /// Whether the model's code may run.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Progress on stderr.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
    /// Folder for flow.json, flow.csv, detection.csv and flow.svg.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
