//! The experiments beside the audit.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::shared::{
    DataArgs, ModelArgs, ProgressMode, ReadArgs, RunArgs, SourceArgs, TapArgs, TrustArgs, comparison, comparisons,
    positive,
};
use crate::measure::fit::DEFAULT_JUDGING_K;
use crate::model::device::DeviceChoice;
use crate::modularity::Similarity;
use crate::report::study::TOP;
use crate::study::labels::MOST_RANKED;

/// What the commands have in common that measure curves of several model files.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MeasureArgs {
    #[command(flatten)]
    pub read: ReadArgs,
    /// Whether their code may run.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Disjoint sets of samples to measure; fewer where the data does not hold so many [default: 5 for curve, 1 for dynamics].
    #[arg(long, value_name = "R", help_heading = "Curve", value_parser = positive)]
    pub repeats: Option<usize>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SimilarityArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub taps: TapArgs,
    /// How CKA is estimated: full over all samples (too high where these are few), or without bias over batches of N samples.
    #[arg(long, value_name = "full|N", default_value = "full", help_heading = "Curve")]
    pub cka: CkaArg,
    #[command(flatten)]
    pub run: RunArgs,
    /// Folder for similarity.json, difference.csv, change.csv, cka.csv and similarity.svg.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CkaArg {
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

#[derive(Args, Debug)]
pub(crate) struct LabelsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[arg(long, value_name = "N", help = format!("Number of images, drawn by --seed [default: all, {MOST_RANKED} of more]"), conflicts_with = "first", value_parser = positive, help_heading = "Data")]
    pub samples: Option<usize>,
    /// The first N images in file order.
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Data")]
    pub first: Option<usize>,
    /// Neighbours per sample.
    #[arg(long, value_name = "K", default_value_t = DEFAULT_JUDGING_K, value_parser = positive, help_heading = "Curve")]
    pub k: usize,
    #[arg(long, value_name = "NAME", default_value_t, help_heading = "Curve", help = comparison(""))]
    pub similarity: Similarity,
    /// Where: module paths such as 'layer3.*', default, relu or all; several count alike [default: the last one of default].
    #[arg(long, value_name = "PATTERNS", help_heading = "Curve")]
    pub taps: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
    /// So many images are printed.
    #[arg(long, value_name = "N", default_value_t = TOP, value_parser = positive, help_heading = "Run")]
    pub top: usize,
    /// Folder for labels.json and labels.csv, which have all images.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct DynamicsArgs {
    /// Folder of model files, one per epoch, such as --checkpoints of advmod train; numbers in their names give the order.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub taps: TapArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Folder for dynamics.json, dynamics.csv and dynamics.svg.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

/// The settings that a sweep varies: a curve for each combination.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Curve")]
pub(crate) struct SweepArgs {
    /// Neighbours per sample; several, as in 3,5,7, are a sweep [default: 3].
    #[arg(long, value_name = "K,…", value_delimiter = ',', value_parser = positive)]
    pub k: Vec<usize>,
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help = comparisons())]
    pub similarity: Vec<Similarity>,
    /// Where: default, relu, all, or module paths such as 'layer3.*,conv1'.
    #[arg(long, value_name = "PATTERNS")]
    pub taps: Option<String>,
    /// So many images per repeat, drawn by --seed; several, as in 200,500, are a sweep [default: 500].
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "first", value_parser = positive, help_heading = "Data")]
    pub samples: Vec<usize>,
    /// The first N images in file order per repeat; several are a sweep.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = positive, help_heading = "Data")]
    pub first: Vec<usize>,
}

#[derive(Args, Debug)]
pub(crate) struct CurveArgs {
    /// Model files; several are compared. Without any, the embedded ResNet-20.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Model")]
    pub model: Vec<PathBuf>,
    /// Measure the same architectures with fresh random weights too, once for each seed [without a value: 0].
    #[arg(long, value_name = "SEED,…", num_args = 0..=1, value_delimiter = ',', default_missing_value = "0", help_heading = "Model")]
    pub random_init: Vec<u64>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub sweep: SweepArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Print more for each tap: accuracy of the neighbours' vote, hubs, the weakest class; and the classes at the last tap.
    #[arg(long, help_heading = "Run")]
    pub details: bool,
    /// Folder for curve.html (one page with all of it), curve.json, curve.csv, classes.csv and curve.svg.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    /// Data set with a train and a test split.
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// What to train: resnet20, vgg16-bn, ….
    #[arg(long, value_name = "NAME", required_unless_present = "resume")]
    pub arch: Option<String>,
    /// File for the trained model (.safetensors).
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub out: Option<PathBuf>,
    /// Go on with the interrupted training whose --checkpoints are in this folder, behind its last whole epoch: same recipe, and the same
    /// weights in the end as without the interruption. --data and --out say where these are now, if they have moved.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["RecipeArgs", "arch", "checkpoints"])]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Folder for one checkpoint per epoch, and for what --resume needs.
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// After each epoch measure the curve on 500 test images; dynamics.json, dynamics.csv and dynamics.svg grow beside the checkpoints.
    #[arg(long, requires = "checkpoints")]
    pub measure: bool,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
    /// Processor threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Progress on stderr.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressMode,
}

/// A training that goes on has its own.
#[derive(Args, Debug)]
pub(crate) struct RecipeArgs {
    /// Where what is not given comes from; paper is that of the modularity curve's authors.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub preset: TrainPreset,
    /// What the model will expect, as for --normalize elsewhere [default: none].
    #[arg(long, value_name = "PRESET")]
    pub normalize: Option<String>,
    /// Passes over the training images [default: 12; paper: 150].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,
    /// Learning rate of the first epoch [default: 0.1; paper: 0.01].
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,
    /// Epochs before which the learning rate is divided by ten [default: at 60 % and 85 % of the epochs; paper: 50,100].
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    pub milestones: Option<Vec<usize>>,
    /// SGD momentum [default: 0.9].
    #[arg(long, value_name = "M")]
    pub momentum: Option<f64>,
    /// L2 penalty on every parameter [default: 0.0005; paper: 0.005].
    #[arg(long, value_name = "W")]
    pub weight_decay: Option<f64>,
    /// Pixels of zero padding for random crops; 0 turns them off [default: 4].
    #[arg(long, value_name = "PIXELS")]
    pub crop_padding: Option<usize>,
    /// Do not mirror images.
    #[arg(long)]
    pub no_flip: bool,
    /// Round what goes into convolutions and matrix products to bf16; weights, their sums and all else stay f32. Faster on GPUs and on
    /// processors with AMX or AVX512-BF16 units, slower on others.
    #[arg(long)]
    pub bf16: bool,
    /// Learn from attacked images (Madry et al.), as in pgd:eps=8/255,steps=7: an attack within a budget, as audit --attacks takes it, which
    /// ends at its last iterate unless iterate= says otherwise.
    #[arg(long, value_name = "ATTACK")]
    pub adversarial: Option<String>,
    /// Share of each step's images that --adversarial attacks; the others are learned from as they are [default: 1].
    #[arg(long, value_name = "SHARE", requires = "adversarial", conflicts_with = "beta")]
    pub ratio: Option<f64>,
    /// TRADES (Zhang et al.): learn from clean images, and weigh by this how far the answers to attacked ones are from theirs, which is what
    /// the attack then climbs; the paper takes 6.
    #[arg(long, value_name = "WEIGHT", requires = "adversarial")]
    pub beta: Option<f64>,
    /// Images per step [default: 128; paper: 256].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch: Option<usize>,
    /// Of initialization, order, augmentation and dropout [default: 0].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrainPreset {
    /// A dozen epochs at a high learning rate.
    #[default]
    Standard,
    /// As the paper's code: 150 epochs at 0.01, divided by ten before epochs 50 and 100, weight decay 0.005, batches of 256.
    Paper,
}
