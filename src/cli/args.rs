//! What was typed: the command line, one definition per flag.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::device::DeviceChoice;
use crate::modularity::Similarity;
use crate::tui::graphics::Choice;
use crate::tui::theme::{Marker, Palette};

/// Audits the adversarial robustness of trained image classifiers and shows where in the network they break.
#[derive(Debug, Parser)]
#[command(name = "advmod", version, max_term_width = 110, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 pass, 1 a gate failed, 2 usage or configuration, 3 runtime (model, data, device, disk), \
                  4 inconclusive, 130 interrupted, 143 terminated."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Only errors on stderr: no progress, no warnings.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More on stderr: the causes behind an error.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attack a model and compare its clean and adversarial modularity curves.
    Audit(Box<AuditArgs>),
    /// The same as audit, live on the terminal; or a recorded run, or one of another process.
    Tui(Box<TuiArgs>),
    /// Measure a model's clean modularity curve, without any attack.
    Curve(Box<CurveArgs>),
    /// Compare a model's taps with each other: difference of Q, and linear CKA.
    Similarity(Box<SimilarityArgs>),
    /// Measure curve and accuracy of every checkpoint of a training.
    Dynamics(Box<DynamicsArgs>),
    /// Train a built-in architecture.
    Train(Box<TrainArgs>),
    /// Show what is in a model file: format, architecture, taps, parameters, MACs, sha256.
    Inspect(Box<InspectArgs>),
    /// Print the Python that saves a model in each format that advmod opens.
    ExportHelp,
    /// List the attacks, or explain one.
    Attacks(AttacksArgs),
    /// Render a stored run again, in any format.
    Report(ReportArgs),
    /// Compare two stored runs, metric by metric.
    Diff(DiffArgs),
    /// Write the adversarial images of a stored run for other tools: arrays, or PNG files.
    Export(ExportArgs),
    /// Print the JSON Schema of report.json.
    Schema,
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write one per command to a folder.
    Man(ManArgs),
}

/// Which model, and how to read it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Model file: torch.export (.pt2), TorchScript, a state_dict (.pt, .pth, .th) or .safetensors; content decides. Without it, the
    /// embedded ResNet-20.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Architecture, where the file's names and shapes do not tell it (resnet20, vgg16-bn, …).
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// What the model expects: cifar10, cifar100, imagenet, mnist, fashion-mnist, none, or MEAN,…/STD,….
    #[arg(long, value_name = "PRESET")]
    pub normalize: Option<String>,
    /// Image height and width that the model was trained at, where that differs from what its architecture suggests.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub input_size: Option<u32>,
}

/// Which images.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Images: IDX (MNIST, Fashion-MNIST), CIFAR-10/100 (binary or Python batches), .npz, or a folder of class folders. Without it,
    /// the embedded Fashion-MNIST images.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Which part of the data set, where it has parts.
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<SplitArg>,
    /// So many images, drawn by --seed [default: 500].
    #[arg(long, value_name = "N", conflicts_with = "first", value_parser = positive, allow_negative_numbers = true)]
    pub samples: Option<usize>,
    /// The first N images in file order.
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub first: Option<usize>,
    /// Scale the shorter side of each image to this (image folders).
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub resize: Option<u32>,
    /// Then cut the central square of this side (image folders).
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub crop: Option<u32>,
}

/// How the curve is measured.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Curve")]
pub struct TapArgs {
    /// Neighbours per sample [default: 3].
    #[arg(long, value_name = "K", value_parser = positive, allow_negative_numbers = true)]
    pub k: Option<usize>,
    /// How representations are compared: cosine, pearson or sample-centred [default: cosine].
    #[arg(long, value_name = "NAME")]
    pub similarity: Option<Similarity>,
    /// Where: default, relu, all, or module paths such as 'layer3.*,conv1'.
    #[arg(long, value_name = "PATTERNS")]
    pub taps: Option<String>,
}

/// On what, and how it shows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Of everything random: sampling, starts, groups [default: 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// auto, cpu, cuda or cuda:N [default: auto].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Images per batch; bounds memory, never changes results [default: 128].
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub batch: Option<usize>,
    /// Processor threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// Progress on stderr.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

/// What the results must meet.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Gates")]
pub struct GateArgs {
    /// A bound on asr, accuracy, peak_drop or peak_q, such as 'asr.pgd <= 50 %', 'accuracy.clean >= 0.9', 'peak_drop.* <= 0.2' or
    /// 'asr.worst.class.3 <= 0.5'. Repeatable; adds to the plan file's. The whole 95 % interval must be on the right side.
    #[arg(long, value_name = "EXPR")]
    pub gate: Vec<String>,
    /// An earlier report (report.json, or the folder of its run) to compare with; gates such as 'regression(asr.*) <= 2 %' bound by how
    /// much a metric may be worse than there.
    #[arg(long, value_name = "REPORT")]
    pub baseline: Option<PathBuf>,
    /// End with 0 where a gate failed; all other exit codes stay.
    #[arg(long)]
    pub exit_zero: bool,
}

/// The flags, and the groups of flags, that make a plan: a run that goes on has its own.
const PLAN_FLAGS: [&str; 16] = [
    "ModelArgs",
    "DataArgs",
    "TapArgs",
    "attacks",
    "attack",
    "preset",
    "stop",
    "eight_bit",
    "gate",
    "baseline",
    "seed",
    "device",
    "batch",
    "threads",
    "plan",
    "out",
];

/// `advmod audit`.
#[derive(Args, Debug, Default)]
pub struct AuditArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which images.
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
    /// How the curve is measured.
    #[command(flatten)]
    pub taps: TapArgs,
    /// What the results must meet.
    #[command(flatten)]
    pub gates: GateArgs,
    /// On what, and how it shows.
    #[command(flatten)]
    pub run: RunArgs,
    /// A plan file (TOML) with any of these settings; flags win over it.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub plan: Option<PathBuf>,
    /// Go on with the interrupted run in this folder: same plan, same report in the end as without the interruption.
    #[arg(long, value_name = "DIR", help_heading = "Run", conflicts_with_all = PLAN_FLAGS)]
    pub resume: Option<PathBuf>,
    /// Folder for report.json, report.md, report.sarif, report.junit.xml, curves.csv, samples.csv, run.jsonl and adversarial/.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// A file for the report in one format, by its ending: .json, .md, .html, .sarif, .xml (JUnit), .txt, … Repeatable.
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: Vec<PathBuf>,
}

/// `advmod tui`.
#[derive(Args, Debug)]
pub struct TuiArgs {
    /// Show a recorded run (run.jsonl) instead of starting one; needs no model.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attach", "model", "data", "attacks", "attack", "gate", "plan", "out", "resume"], help_heading = "Watch")]
    pub replay: Option<PathBuf>,
    /// Replay so many times faster than it happened; without it, the end is shown at once.
    #[arg(long, value_name = "X", requires = "replay", value_parser = speed, allow_negative_numbers = true, help_heading = "Watch")]
    pub speed: Option<f64>,
    /// Follow the run that another process writes to this folder (its --out).
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "data", "attacks", "attack", "gate", "plan", "out", "resume"], help_heading = "Watch")]
    pub attach: Option<PathBuf>,
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
    /// What to run, as for audit.
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// How curves of several model files are measured.
#[derive(Args, Clone, Debug, Default)]
pub struct MeasureArgs {
    /// How to read the files.
    #[command(flatten)]
    pub read: ReadArgs,
    /// Which images; --samples and --first count those of one repeat.
    #[command(flatten)]
    pub data: DataArgs,
    /// How the curve is measured.
    #[command(flatten)]
    pub taps: TapArgs,
    /// Disjoint sets of samples to measure; fewer where the data does not hold so many [default: 5 for curve, 1 for dynamics].
    #[arg(long, value_name = "R", help_heading = "Curve", value_parser = positive, allow_negative_numbers = true)]
    pub repeats: Option<usize>,
    /// On what, and how it shows.
    #[command(flatten)]
    pub run: RunArgs,
}

/// How to read several model files alike.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct ReadArgs {
    /// Architecture, where the files' names and shapes do not tell it.
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// What the models expect: cifar10, cifar100, imagenet, mnist, fashion-mnist, none, or MEAN,…/STD,….
    #[arg(long, value_name = "PRESET")]
    pub normalize: Option<String>,
    /// Image height and width that the models were trained at, where that differs from what their architecture suggests.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub input_size: Option<u32>,
}

impl ReadArgs {
    /// These for one of the files.
    pub fn of(&self, model: Option<PathBuf>) -> ModelArgs {
        let Self { arch, normalize, input_size } = self.clone();
        ModelArgs { model, arch, normalize, input_size }
    }
}

/// `advmod similarity`.
#[derive(Args, Debug)]
pub struct SimilarityArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which images.
    #[command(flatten)]
    pub data: DataArgs,
    /// How Q is measured.
    #[command(flatten)]
    pub taps: TapArgs,
    /// How CKA is estimated: full over all samples, or without bias over batches of N samples.
    #[arg(long, value_name = "full|N", default_value = "full", help_heading = "Curve")]
    pub cka: CkaArg,
    /// On what, and how it shows.
    #[command(flatten)]
    pub run: RunArgs,
    /// Folder for similarity.json, difference.csv, cka.csv and similarity.svg.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

/// `--cka`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CkaArg {
    /// All samples at once.
    Full,
    /// Batches of so many.
    Batches(usize),
}

impl std::str::FromStr for CkaArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<usize>()) {
            ("full", _) => Ok(Self::Full),
            (_, Ok(n)) if n >= crate::modularity::cka::FEWEST => Ok(Self::Batches(n)),
            _ => Err(format!("expected full, or a batch of at least {}", crate::modularity::cka::FEWEST)),
        }
    }
}

impl std::fmt::Display for CkaArg {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Batches(n) => write!(f, "unbiased, batches of {n}"),
        }
    }
}

/// `advmod dynamics`.
#[derive(Args, Debug)]
pub struct DynamicsArgs {
    /// Folder of model files, one per epoch, such as --checkpoints of advmod train; numbers in their names give the order.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// How they are measured.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Folder for dynamics.json, dynamics.csv and dynamics.svg.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

/// `advmod curve`.
#[derive(Args, Debug)]
pub struct CurveArgs {
    /// Model files; several are compared. Without any, the embedded ResNet-20.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Model")]
    pub model: Vec<PathBuf>,
    /// How they are measured.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Folder for curve.json and curve.csv.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

/// `advmod train`.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Data set with a train and a test split.
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// What to train: resnet20, vgg16-bn, ….
    #[arg(long, value_name = "NAME")]
    pub arch: String,
    /// File for the trained model (.safetensors).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What the model will expect, as for --normalize elsewhere.
    #[arg(long, value_name = "PRESET", default_value = "none")]
    pub normalize: String,
    /// Passes over the training images.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = positive)]
    pub epochs: usize,
    /// Learning rate of the first epoch.
    #[arg(long, value_name = "RATE", default_value_t = 0.1, allow_negative_numbers = true)]
    pub lr: f64,
    /// Epochs before which the learning rate is divided by ten [default: at 60 % and 85 % of the epochs].
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    pub milestones: Option<Vec<usize>>,
    /// SGD momentum.
    #[arg(long, value_name = "M", default_value_t = 0.9, allow_negative_numbers = true)]
    pub momentum: f64,
    /// L2 penalty on every parameter.
    #[arg(long, value_name = "W", default_value_t = 5e-4, allow_negative_numbers = true)]
    pub weight_decay: f64,
    /// Pixels of zero padding for random crops; 0 turns them off.
    #[arg(long, value_name = "PIXELS", default_value_t = 4)]
    pub crop_padding: usize,
    /// Do not mirror images.
    #[arg(long)]
    pub no_flip: bool,
    /// Folder for one checkpoint per epoch.
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// After each epoch measure the curve on 500 test images; dynamics.json, dynamics.csv and dynamics.svg grow beside the checkpoints.
    #[arg(long, requires = "checkpoints")]
    pub measure: bool,
    /// Images per step.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub batch: usize,
    /// Of initialization, order and augmentation.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
    /// Processor threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// Progress on stderr.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,
}

/// `advmod inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which taps to list: default, relu, all, or patterns.
    #[arg(long, value_name = "PATTERNS", default_value = "default")]
    pub taps: String,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

/// `advmod attacks`.
#[derive(Args, Debug)]
pub struct AttacksArgs {
    /// The attack to explain.
    pub name: Option<String>,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

/// `advmod report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The folder of a run (--out of an audit), its report.json or its run.jsonl.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// text, json, markdown, curves, samples, sarif, junit or github [default: by the ending of --output, else text]. github also adds
    /// the Markdown to the file that GITHUB_STEP_SUMMARY names.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// File to write instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `advmod diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The earlier run: its folder, its report.json or its run.jsonl.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The later run.
    #[arg(value_name = "NOW")]
    pub now: PathBuf,
    /// A bound such as 'regression(asr.*) <= 2 %', or on the later run alone. Repeatable; the whole 95 % interval must be on the right side.
    #[arg(long, value_name = "EXPR")]
    pub gate: Vec<String>,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

/// `advmod export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
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
    /// Progress on stderr.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,
}

/// `advmod completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// Which shell.
    pub shell: clap_complete::Shell,
}

/// `advmod man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Folder for one page per command.
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// Bars.
    Bar,
    /// Lines.
    Plain,
    /// Nothing.
    None,
}

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Tables for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// `--split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitArg {
    /// Training images.
    Train,
    /// Test images.
    Test,
}

/// A count of at least one.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("`{text}` is not a whole number")),
    }
}

/// A factor that is more than nothing.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("must be a number greater than 0".to_owned()),
    }
}
