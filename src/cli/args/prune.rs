//! `advmod prune`.

use std::path::PathBuf;

use clap::Args;

use super::shared::{ModelArgs, RunArgs, TapArgs, positive};
use crate::measure::fit::{CURVE_REPEATS, DEFAULT_SAMPLES};
use crate::study::prune::rules::THRESHOLD;
use crate::study::train::{CROP_PADDING, FINE_TUNING, MOMENTUM};

#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Data set with a train and a test split: the curve is measured and the rest is trained on training images, test images only judge.
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub data: PathBuf,
    /// Training images per repeat of the curve, drawn by --seed.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SAMPLES, help_heading = "Data", value_parser = positive)]
    pub samples: usize,
    /// Disjoint sets of them; more make the intervals narrower.
    #[arg(long, value_name = "R", default_value_t = CURVE_REPEATS, help_heading = "Data", value_parser = positive)]
    pub repeats: usize,
    #[command(flatten)]
    pub taps: TapArgs,
    /// What to take out; several are compared. a: layers whose ΔQ is below the threshold; b: layers whose Q is not above all before;
    /// baselines: last:N, random:N, cka:N (most like the layer before), smallest:N and largest:N (of ΔQ; without :N, 1), none (fine-tuning alone).
    #[arg(long, value_name = "RULE,…", value_delimiter = ',', default_value = "a", help_heading = "Pruning")]
    pub rule: Vec<String>,
    /// ΔQ of rule a.
    #[arg(long, value_name = "T", default_value_t = THRESHOLD, help_heading = "Pruning")]
    pub threshold: f64,
    /// Let rules a and b go by the estimates alone, as the paper does; by default they take out only what the 95 % interval is sure of.
    #[arg(long, help_heading = "Pruning")]
    pub by_estimate: bool,
    /// Also train each pruned network from fresh weights, by the recipe of fine-tuning but for --scratch-epochs and --scratch-lr.
    #[arg(long, help_heading = "Pruning")]
    pub scratch: bool,
    /// Epochs from scratch: as many as the whole network had, to be fair; the rate falls at 60 % and 85 % of them [default: --epochs and
    /// --milestones].
    #[arg(long, value_name = "N", requires = "scratch", help_heading = "Pruning", value_parser = positive)]
    pub scratch_epochs: Option<usize>,
    /// Learning rate of the first epoch from scratch [default: --lr].
    #[arg(long, value_name = "RATE", requires = "scratch", help_heading = "Pruning")]
    pub scratch_lr: Option<f64>,
    /// Only say what would be taken out, and what it saves.
    #[arg(long, conflicts_with_all = ["out", "scratch"], help_heading = "Pruning")]
    pub dry_run: bool,
    #[command(flatten)]
    pub tuning: TuningArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// Folder for prune.json, prune.csv, prune.svg and a model per rule; a name that ends in .safetensors is the file of the only rule's model.
    #[arg(long, value_name = "PATH", help_heading = "Run")]
    pub out: Option<PathBuf>,
}

/// How the rest is fine-tuned.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Fine-tuning")]
pub(crate) struct TuningArgs {
    /// Passes over the training images; 0 does not train.
    #[arg(long, value_name = "N", default_value_t = FINE_TUNING.epochs)]
    pub epochs: usize,
    /// Images per step.
    #[arg(long, value_name = "N", default_value_t = FINE_TUNING.batch, value_parser = positive)]
    pub batch: usize,
    /// Learning rate of the first epoch.
    #[arg(long, value_name = "RATE", default_value_t = FINE_TUNING.learning_rate)]
    pub lr: f64,
    /// Epochs before which the learning rate is divided by ten [default: at 60 % and 85 % of the epochs].
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    pub milestones: Option<Vec<usize>>,
    /// SGD momentum.
    #[arg(long, value_name = "M", default_value_t = MOMENTUM)]
    pub momentum: f64,
    /// L2 penalty on every parameter.
    #[arg(long, value_name = "W", default_value_t = FINE_TUNING.weight_decay)]
    pub weight_decay: f64,
    /// Pixels of zero padding for random crops; 0 turns them off.
    #[arg(long, value_name = "PIXELS", default_value_t = CROP_PADDING)]
    pub crop_padding: usize,
    /// Do not mirror images.
    #[arg(long)]
    pub no_flip: bool,
}
