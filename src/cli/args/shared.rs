//! What several commands take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::data::{LONGEST_SIDE, Selection};
use crate::measure::fit::{DEFAULT_K, DEFAULT_SAMPLES, DEFAULT_SEED};
use crate::model::device::DeviceChoice;
use crate::modularity::Similarity;

/// Which model, and how to read it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Model file: torch.export (.pt2), TorchScript, a state_dict (.pt, .pth, .th) or .safetensors; content decides. Without it, the
    /// embedded ResNet-20.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub read: ReadArgs,
    /// Whether its code may run.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// How to read model files.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub(crate) struct ReadArgs {
    /// Architecture, where a file's names and shapes do not tell it (resnet20, vgg16-bn, …).
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// What the model expects: cifar10, cifar100, imagenet, mnist, fashion-mnist, none, or MEAN,…/STD,….
    #[arg(long, value_name = "PRESET")]
    pub normalize: Option<String>,
    /// Image height and width that the model was trained at, where that differs from what its architecture suggests.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST_SIDE)))]
    pub input_size: Option<u32>,
}

/// What is done with a file that brings code.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Model")]
pub(crate) struct TrustArgs {
    /// Let libtorch run a TorchScript file, which can then do all that you can: read and write your files, use the network. Otherwise such
    /// a file is read as data and translated. It has to be typed: no plan, report or run folder can say it.
    #[arg(long)]
    pub trust_torchscript: bool,
}

/// Which data.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Data")]
pub(crate) struct SourceArgs {
    /// Images: IDX (MNIST, Fashion-MNIST), CIFAR-10/100 (binary or Python batches), .npz, or a folder of class folders. Without it,
    /// the embedded Fashion-MNIST images.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Which part of the data set, where it has parts.
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<SplitArg>,
    /// Scale the shorter side of each image to this (image folders).
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST_SIDE)))]
    pub resize: Option<u32>,
    /// Then cut the central square of this side (image folders).
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST_SIDE)))]
    pub crop: Option<u32>,
    /// Names of the model's classes, by which folders of images are numbered: a file with one per line, lines `name,output` or JSON; or imagenet.
    /// Without it, the names that the model's file has.
    #[arg(long, value_name = "FILE")]
    pub classes: Option<String>,
}

/// Which images.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Number of images to draw (see --seed); all where there are fewer than the default [default: 500].
    #[arg(long, value_name = "N", conflicts_with = "first", value_parser = positive)]
    pub samples: Option<usize>,
    /// The first N images in file order.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub first: Option<usize>,
}

impl DataArgs {
    /// The flags with their defaults.
    pub(in crate::cli) fn selection(&self, seed: Option<u64>) -> Selection {
        let seed = seed.unwrap_or(DEFAULT_SEED);
        match (self.first, self.samples) {
            (Some(n), _) => Selection::First(n),
            (None, Some(n)) => Selection::Sample { n, seed },
            (None, None) => Selection::UpTo { n: DEFAULT_SAMPLES, seed },
        }
    }
}

/// How the curve is measured.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Curve")]
pub(crate) struct TapArgs {
    /// Neighbours per sample [default: 3].
    #[arg(long, value_name = "K", value_parser = positive)]
    pub k: Option<usize>,
    #[arg(long, value_name = "NAME", help = comparison("[default: cosine]"))]
    pub similarity: Option<Similarity>,
    /// Where: default, relu, all, or module paths such as 'layer3.*,conv1'.
    #[arg(long, value_name = "PATTERNS")]
    pub taps: Option<String>,
}

impl TapArgs {
    /// Neighbours per sample, or their default.
    pub(in crate::cli) fn k(&self) -> usize {
        self.k.unwrap_or(DEFAULT_K)
    }
}

/// Help of a --similarity.
pub(super) fn comparison(default: &str) -> String {
    format!("How representations are compared: {} {default}", Similarity::names()).trim_end().to_owned()
}

/// Help of a --similarity that takes several.
pub(super) fn comparisons() -> String {
    let names: Vec<&str> = Similarity::all().map(Similarity::name).collect();
    format!(
        "How representations are compared: {}, or several of them [default: {}]",
        names.join(", "),
        Similarity::default()
    )
}

/// On what, and how it shows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunArgs {
    // What TOML can hold, so that every plan can be stored.
    /// Of everything random: sampling, starts [default: 0].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// auto, cpu, cuda or cuda:N [default: auto].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Processor threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Progress on stderr.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,
    /// What is printed on stdout.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Tables for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitArg {
    /// Training images.
    Train,
    /// Test images.
    Test,
}

/// A count of at least one.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("`{text}` is not a whole number")),
    }
}
