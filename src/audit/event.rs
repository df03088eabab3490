//! What happens during an audit, as plain data: the only thing that leaves the engine.

use std::ops::ControlFlow;
use std::sync::Arc;

use advmod_attacks::threat::{Epsilon, Norm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::allowed::Allowed;
use super::attack::{Budget, ResolvedAttack};
use super::baseline::Baseline;
use super::resolved::ResolvedPlan;
use crate::measure::clean::ClassProbability;
pub(crate) use crate::model::info::ModelSummary;
use crate::modularity::{AnchoredCurve, Curve, Interval};

/// Version of the event and report schema. It grows when a field changes its meaning or goes away.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// One step of an audit. A journal is a sequence of these; every front-end and every report is a fold over them.
/// `attack` is a place in the plan's list of attacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditEvent {
    /// Model and data are loaded and everything is decided.
    Started {
        /// [`SCHEMA_VERSION`] of the writer.
        schema_version: u32,
        start: Box<AuditStart>,
    },
    /// A run that was interrupted goes on: what is there stands, what broke off or was called off is tried again.
    Resumed {
        /// Results that have no pixels any more: they are made again.
        lost: Vec<LostSamples>,
        #[serde(default)]
        allowed: Allowed,
    },
    /// A stage has begun; `total` steps are expected.
    StageStarted {
        stage: Stage,
        /// In the stage's own steps.
        total: u64,
    },
    /// A stage went on. May be dropped or merged: the journal does not keep it.
    StageProgress { stage: Stage, done: u64 },
    CleanMeasured {
        /// One per sample, in sample order.
        predictions: Vec<u32>,
        /// Samples whose logits are not finite: they count as wrong.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nonfinite: Vec<usize>,
        #[serde(default)]
        likeliest: Vec<Vec<ClassProbability>>,
    },
    CleanCurvesMeasured {
        /// Under the true labels and under the predicted ones.
        curves: CleanCurves,
    },
    /// One batch of samples has been attacked and judged.
    BatchAttacked {
        attack: usize,
        /// In sample order.
        samples: Vec<SampleResult>,
    },
    /// The curves of the samples that an attack in work has handed over so far.
    AttackCurvesGrew {
        attack: usize,
        /// Clean and adversarial over the same samples.
        curves: GrowingCurves,
    },
    /// Pixels to look at. Sent only where the job asks for pictures; no journal keeps them.
    #[serde(skip)]
    Pictures(Arc<Pictures>),
    AttackCurvesMeasured {
        attack: usize,
        /// Clean and adversarial over the same samples.
        curves: Box<AttackCurves>,
    },
    AttackFinished {
        attack: usize,
        /// Wall time of the attack alone, without judging and measuring.
        seconds: f64,
    },
    /// A control of the attacks was made.
    ControlMeasured {
        control: Box<ControlResult>,
        /// Wall time.
        seconds: f64,
    },
    /// An attack broke off; the audit goes on with the next.
    AttackFailed { attack: usize, error: String },
    /// An attack was called off while it waited or ran; what it had handed over stands.
    AttackCancelled { attack: usize },
    /// Attacks were put behind those of the plan.
    AttacksAdded {
        /// In the order of the plan.
        attacks: Vec<ResolvedAttack>,
        /// The command line that runs the longer plan again.
        command: String,
        /// The longer plan as the text of a plan file.
        #[serde(default)]
        plan_file: Option<String>,
    },
    /// An attack was not put behind those of the plan.
    AttackRefused { error: String },
    /// Something that a reader of the results must know.
    Warned { message: String },
    /// Everything planned was done, or the run ends before that. Only added attacks come after it.
    Finished {
        /// Whether everything that was planned is there.
        outcome: Outcome,
        /// Of work, since the start.
        seconds: f64,
        /// What kept the audit from going on, in one line. A failed attack does not.
        #[serde(default)]
        error: Option<String>,
    },
}

impl AuditEvent {
    pub(crate) fn is_kept(&self) -> bool {
        !matches!(self, Self::StageProgress { .. } | Self::Pictures(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    Clean,
    /// Trying other normalizations on the clean images; steps are images × normalizations.
    Normalization,
    CleanCurve,
    /// Attacking; steps are samples × iterations.
    Attack {
        attack: usize,
    },
    AttackCurve {
        attack: usize,
    },
    /// Controlling the attacks; steps are images, or thousandths of them.
    Control {
        control: ControlKind,
    },
}

/// How an audit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was planned was done.
    Complete,
    /// The audit was stopped before its end; what is there is right.
    Interrupted,
    /// At least one attack failed, or the audit broke off.
    Failed,
}

/// Everything that is known when the work begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditStart {
    pub(crate) tool: Tool,
    /// The same plan as the text of a plan file; absent where a path has no text.
    pub plan_file: Option<String>,
    /// Folder in which the plan's relative paths begin; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What the results are compared with.
    #[serde(default)]
    pub baseline: Option<Box<Baseline>>,
    #[serde(default)]
    pub(crate) allowed: Allowed,
    /// Every setting, defaults filled in.
    pub plan: ResolvedPlan,
    pub(crate) model: ModelSummary,
    pub(crate) data: DataSummary,
    /// Module paths in forward order.
    pub taps: Vec<String>,
    /// UTC, RFC 3339.
    pub started: String,
}

/// The program that ran the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Tool {
    /// Name of the program: `advmod`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Version of libtorch that the program is built for.
    pub libtorch: String,
    /// Processor and operating system, such as `x86_64 linux`; another platform may round differently.
    #[serde(default)]
    pub platform: String,
}

impl Tool {
    pub(crate) fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch: crate::LIBTORCH_VERSION.to_owned(),
            platform: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
        }
    }
}

/// The images of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataSummary {
    /// Name of the data's file or folder, or `embedded`.
    pub name: String,
    /// Name of the data format that was read.
    pub format: String,
    /// Part of the data that was used, such as `test`, where the data has parts.
    pub split: Option<String>,
    /// SHA-256 of the data's content; of a folder of images, that of the samples' files and labels.
    pub sha256: String,
    /// Start of the SHA-256 of each sample's pixels, in sample order; empty in reports of earlier versions.
    #[serde(default)]
    pub digests: Vec<String>,
    /// Number of images that the data has.
    pub available: usize,
    /// Shape of an image: `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Class names in label order; empty when they are unknown.
    pub classes: Vec<String>,
    /// Place of each sample in the data.
    pub indices: Vec<usize>,
    /// Label of each sample, in sample order.
    pub labels: Vec<u32>,
}

/// Modularity curves of the clean images, over all samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanCurves {
    /// Curve whose communities are the true labels.
    pub(crate) true_labels: Curve,
    /// Curve whose communities are the model's predictions.
    pub(crate) predicted_labels: Curve,
    /// Half the difference between the two random halves of the images in each split, of the peak under the true labels: with it a later report
    /// of the same images is compared as a pair.
    #[serde(default)]
    pub(crate) peak_halves: Vec<f64>,
}

/// Matched curves: clean and adversarial pixels of the same (attacked) samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttackCurves {
    /// Curve of the clean pixels under the true labels; the predictions are the same, since only correctly classified samples are attacked.
    pub clean: Curve,
    /// Curve of the adversarial pixels under the true labels.
    pub adversarial: Curve,
    /// Curve of the adversarial pixels under the predicted labels.
    pub adversarial_predicted: Curve,
    /// Clean Q minus adversarial Q at each tap, as a paired difference.
    pub drops: Vec<Option<Interval>>,
    /// Clean peak minus adversarial peak, as a paired difference at the two peaks' taps.
    pub peak_drop: Option<Interval>,
    /// As in the curves of the clean images, of the adversarial peak.
    #[serde(default)]
    pub peak_halves: Vec<f64>,
    /// The same of the peak drop.
    #[serde(default)]
    pub drop_halves: Vec<f64>,
    /// Among which classes of the clean images the adversarial ones lie; absent in reports of earlier versions.
    #[serde(default)]
    pub anchored: Option<AnchoredCurve>,
}

/// Curves of an attack that is not through: levels only, no intervals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrowingCurves {
    pub n: usize,
    /// Q of the clean pixels per tap, true labels.
    pub clean: Vec<Option<f64>>,
    /// Q of the adversarial pixels per tap, true labels.
    pub adversarial: Vec<Option<f64>>,
}

/// Pixels of some samples, for people to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictures {
    /// The attack that made them, by its place in the plan; absent for the clean images.
    pub attack: Option<usize>,
    /// Places in the list of samples.
    pub samples: Vec<usize>,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// In `[0, 1]`, sample by sample, channel by channel, row by row.
    pub pixels: Vec<f32>,
}

/// What a control of the attacks looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// Whether the margin rises along its gradient as the gradient says.
    Gradient,
    /// Whether noise as large as the budget breaks what the attacks left.
    Noise,
    /// Whether a search without gradients breaks what the attacks left within the same budget.
    BlackBox,
    /// Whether gradient steps break every image once the budget is large.
    LargeEps,
}

impl ControlKind {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gradient => "control: gradient",
            Self::Noise => "control: noise",
            Self::BlackBox => "control: black-box search",
            Self::LargeEps => "control: large ε",
        }
    }
}

/// One control of the attacks, on images that these left (the gradient's: on these first).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlResult {
    /// What the control looks at.
    pub kind: ControlKind,
    /// How changes are measured: `linf` or `l2`.
    #[schemars(with = "String")]
    pub norm: Norm,
    /// Largest change ε, such as `8/255`; of the gradient's control, its step.
    #[schemars(with = "String")]
    pub eps: Epsilon,
    /// What the control did to each sample; empty for the gradient's.
    pub samples: Vec<SampleResult>,
    /// How each sample's margin rises along its gradient; of the gradient's control alone.
    pub rises: Vec<RiseResult>,
    /// Why the control could not be made.
    pub error: Option<String>,
}

impl ControlResult {
    pub(crate) fn new(kind: ControlKind, budget: Budget) -> Self {
        let Budget { norm, eps } = budget;
        Self { kind, norm, eps, samples: Vec::new(), rises: Vec::new(), error: None }
    }

    /// Whether it is the control of this kind for this budget.
    pub(crate) fn is_of(&self, kind: ControlKind, budget: &Budget) -> bool {
        self.kind == kind && self.norm == budget.norm && self.eps.value().total_cmp(&budget.eps.value()).is_eq()
    }
}

/// How the margin (the largest other logit minus that of the true class) of one sample rises by a small step up its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RiseResult {
    /// Place of the sample in the list of samples.
    pub sample: usize,
    /// Rise that the gradient foretells: its product with the step.
    pub predicted: f64,
    /// Rise of the model's answer.
    pub observed: f64,
}

/// Results of an attack whose pixels are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostSamples {
    pub attack: usize,
    /// Places in the list of samples.
    pub samples: Vec<usize>,
}

/// What an attack did to one sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleResult {
    /// Place of the sample in the list of samples.
    pub sample: usize,
    /// Whether the final, clipped, re-evaluated pixels meet the attack's goal.
    pub success: bool,
    /// Share of the judgements of the adversarial pixels that are wrong, where the model is random and was asked several times. From one half
    /// on the sample counts as misclassified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<f64>,
    /// Class that the model gives the adversarial pixels.
    pub prediction: u32,
    /// The likeliest classes of the adversarial pixels.
    #[serde(default)]
    pub likeliest: Vec<ClassProbability>,
    /// Class that a targeted attack aimed at.
    pub target: Option<u32>,
    /// Number of pixels that changed in any channel.
    pub l0: u32,
    /// L2 size of the change, with pixels in `[0, 1]`.
    pub l2: f64,
    /// Largest change of a pixel value, with pixels in `[0, 1]`.
    pub linf: f64,
    /// Forward passes of this sample that the attack used.
    pub forwards: u64,
    /// Gradients of this sample that the attack used.
    pub backwards: u64,
    /// Gradients of this sample that were zero everywhere.
    #[serde(default)]
    pub zero_gradients: u64,
    /// Gradients of this sample that were not finite somewhere; there they counted as 0.
    #[serde(default)]
    pub nonfinite_gradients: u64,
    /// Whether the logits of the adversarial pixels are not finite, which counts as wrong: `prediction` then is a class that is not the label.
    #[serde(default)]
    pub nonfinite_logits: bool,
    /// Gradients of the margin that stood in because the attack's own loss was flat.
    #[serde(default)]
    pub fallbacks: u64,
    /// How far the attack's own pixels were outside its budget or `[0, 1]`, in the norm's unit, before they were projected back.
    #[serde(default)]
    pub overshoot: f64,
    /// Forward passes until the goal was first met, where the attack knows this.
    #[serde(default)]
    pub forwards_to_success: Option<u64>,
    /// Place in the plan of the attack that broke this sample at a smaller ε of the same sweep where this one did not; all but the cost is
    /// then that attack's result.
    #[serde(default)]
    pub carried_from: Option<usize>,
}

impl SampleResult {
    /// Whether the change lies within a budget; distances are sums of f32 values.
    pub(crate) fn lies_within(&self, budget: &Budget) -> bool {
        self.size(budget.norm) <= budget.eps.value() + 1e-6
    }

    /// How far the sample was changed.
    pub(crate) fn size(&self, norm: Norm) -> f64 {
        match norm {
            Norm::L0 => f64::from(self.l0),
            Norm::L2 => self.l2,
            Norm::Linf => self.linf,
        }
    }
}

/// Receives an audit's events. `Break` asks the engine to stop: after the batch in work, or at the next step of an attack that takes long.
pub(crate) type Sink<'a> = dyn FnMut(AuditEvent) -> ControlFlow<()> + 'a;
