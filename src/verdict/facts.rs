//! What an audit measured: complete, and without any judgement. Every judge reads this.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::attack::{Budget, ResolvedAttack};
use crate::audit::event::{AttackCurves, CleanCurves, ControlResult, DataSummary, ModelSummary, SampleResult};
use crate::audit::resolved::ResolvedPlan;
use crate::audit::state::{AttackState, AuditState};
use crate::measure::clean::ClassProbability;
use crate::modularity::{AnchoredCurve, CapturedFrom, Curve, Interval};
use crate::stats::rates::{Distances, Measured, Rate};

/// A view of the measured parts of a report, also of one that is not made yet.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub(crate) plan: &'a ResolvedPlan,
    /// Absent where a path of the plan has no text.
    pub plan_file: Option<&'a str>,
    pub(crate) model: &'a ModelSummary,
    pub(crate) data: &'a DataSummary,
    pub taps: &'a [String],
    pub(crate) clean: &'a CleanResult,
    pub(crate) attacks: &'a [AttackResult],
    pub(crate) controls: &'a [ControlResult],
    /// UTC, RFC 3339.
    pub started: &'a str,
}

impl Facts<'_> {
    /// Every budget that an untargeted attack was given, in the plan's order.
    pub(super) fn budgets(&self) -> Vec<Budget> {
        let given = self.attacks.iter().filter(|it| !it.attack.is_targeted()).filter_map(|it| it.attack.budget());
        let mut budgets: Vec<Budget> = Vec::new();
        for budget in given {
            let is_same = |it: &Budget| it.norm == budget.norm && it.eps.value().total_cmp(&budget.eps.value()).is_eq();
            if !budgets.iter().any(is_same) {
                budgets.push(budget);
            }
        }
        budgets
    }

    /// Untargeted attacks that form an ensemble within a budget, in the plan's order.
    pub(super) fn ensembles(&self) -> Vec<Ensemble<'_>> {
        let mut found: Vec<Ensemble<'_>> = Vec::new();
        for it in self.attacks.iter().filter(|it| !it.attack.is_targeted()) {
            let (Some(name), Some(budget)) = (it.attack.ensemble.as_deref(), it.attack.budget()) else { continue };
            if let Some(group) = found.iter_mut().find(|group| group.attacks[0].attack.is_with(&it.attack)) {
                group.attacks.push(it);
                continue;
            }
            let before = found.iter().filter(|group| group.name == name).count();
            let label = if before == 0 { name.to_owned() } else { format!("{name}-{}", before + 1) };
            found.push(Ensemble { label, name, budget, attacks: vec![it] });
        }
        found
    }

    /// Every adversarial image of the audit, those of the controls among them.
    pub(super) fn adversarial(&self) -> impl Iterator<Item = &SampleResult> + Clone {
        let controls = self.controls.iter().flat_map(|it| &it.samples);
        self.attacks.iter().flat_map(|it| &it.samples).chain(controls)
    }

    /// Whether the model misclassifies an adversarial image that lies inside a budget, whatever made it.
    pub(crate) fn breaks_within(&self, sample: &SampleResult, budget: &Budget) -> bool {
        self.data.labels.get(sample.sample) != Some(&sample.prediction) && sample.lies_within(budget)
    }
}

/// Attacks of which each saw what those before it left.
#[derive(Debug)]
pub(super) struct Ensemble<'a> {
    /// Its name, with a number where it has several budgets.
    pub label: String,
    pub name: &'a str,
    pub budget: Budget,
    /// At least one.
    pub attacks: Vec<&'a AttackResult>,
}

/// How the model does on the clean images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanResult {
    /// Share of all samples that the model classifies correctly; absent if the run ended before that was known.
    pub accuracy: Option<Rate>,
    /// Class that the model gives each sample, in sample order; absent if the run ended before that was known.
    pub predictions: Option<Vec<u32>>,
    /// Samples whose logits are not finite; they count as wrong.
    #[serde(default)]
    pub nonfinite: Vec<usize>,
    /// The likeliest classes of each sample, where they are known.
    #[serde(default)]
    pub likeliest: Vec<Vec<ClassProbability>>,
    /// Tap at which the true classes are separated best.
    pub peak: Option<PeakResult>,
    /// Modularity curves over all samples.
    pub curves: Option<CleanCurves>,
}

impl CleanResult {
    /// Class that the model gives a sample, where that is known.
    pub(crate) fn prediction(&self, sample: usize) -> Option<u32> {
        self.predictions.as_ref()?.get(sample).copied()
    }

    pub(super) fn of(state: &AuditState) -> Self {
        Self {
            accuracy: state.clean_accuracy().map(|(correct, n)| Rate::new(correct, n)),
            predictions: state.predictions.clone(),
            nonfinite: state.nonfinite.clone(),
            likeliest: state.likeliest.clone(),
            peak: state.clean_curves.as_ref().and_then(|curves| PeakResult::of(&curves.true_labels)),
            curves: state.clean_curves.clone(),
        }
    }
}

/// The largest modularity Q of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeakResult {
    /// Module path of the tap where Q is largest.
    pub tap: String,
    /// Modularity Q at this tap.
    pub q: f64,
    /// 95 % interval of this Q, from random halves.
    pub interval: Option<Interval>,
}

impl PeakResult {
    fn of(curve: &Curve) -> Option<Self> {
        let peak = curve.peak()?;
        Some(Self { interval: curve.taps[peak.index].interval, tap: peak.tap, q: peak.q })
    }
}

/// What one attack of the plan did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttackResult {
    /// The attack with all its parameters.
    pub attack: ResolvedAttack,
    /// How far the attack got: `complete`, `incomplete` or `failed`.
    pub status: AttackStatus,
    /// Why the attack failed, in one line.
    pub error: Option<String>,
    /// Share of the attacked samples on which the attack met its goal. Only samples that the model classifies correctly are attacked.
    pub success_rate: Rate,
    /// Samples classified correctly under attack, of all samples; absent for targeted attacks, for attacks of an ensemble, which see only what
    /// others left, and for incomplete runs.
    pub adversarial_accuracy: Option<Rate>,
    /// Where the model is random: share of right answers under attack, as a mean over repeated judgements of each of all samples, with its 95 %
    /// interval over samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_accuracy: Option<Measured>,
    /// L2 size of the changes that broke a sample, with pixels in `[0, 1]`.
    pub l2: Option<Distances>,
    /// Largest change of a pixel value in each broken sample.
    pub linf: Option<Distances>,
    /// Number of pixels changed in each broken sample.
    pub l0: Option<Distances>,
    /// Forward passes that the attack spent on each attacked sample.
    pub forwards: Option<Distances>,
    /// Gradients that the attack computed for each attacked sample.
    pub backwards: Option<Distances>,
    /// Forward passes until the goal was first met, over the broken samples for which the attack knows this.
    #[serde(default)]
    pub forwards_to_success: Option<Distances>,
    /// Samples that a smaller ε of the same sweep broke and this attack did not; they count as broken.
    #[serde(default)]
    pub carried: usize,
    /// Peak of the clean curve over the attacked samples.
    pub clean_peak: Option<PeakResult>,
    /// Peak of the adversarial curve over the attacked samples, under the true labels.
    pub adversarial_peak: Option<PeakResult>,
    /// Clean peak minus adversarial peak, with the interval of the paired difference: the paper's number. It does not measure robustness.
    pub peak_drop: Option<Interval>,
    /// Share of the nearest clean images that have the true class, at the last tap: before the attack minus after it, as a paired difference.
    #[serde(default)]
    pub(crate) retention_drop: Option<Interval>,
    /// Tap from which on adversarial images lie rather among clean images of the predicted class than of the true class.
    #[serde(default)]
    pub(crate) captured_from: Option<CapturedFrom>,
    /// Modularity curves of the attacked samples, clean and adversarial.
    pub curves: Option<AttackCurves>,
    /// What the attack did to each sample, in sample order.
    pub samples: Vec<SampleResult>,
}

impl AttackResult {
    /// `correct` of all samples were classified correctly before any attack, where that is known.
    pub(super) fn of(attack: &ResolvedAttack, found: &AttackState, correct: Option<Rate>) -> Self {
        let status = match (&found.error, found.seconds, &found.curves) {
            (Some(_), ..) => AttackStatus::Failed,
            (None, Some(_), Some(_)) => AttackStatus::Complete,
            _ => AttackStatus::Incomplete,
        };
        let broken = || found.samples.iter().filter(|sample| sample.success);
        let n_broken = broken().count();
        let sees_all = !attack.is_targeted() && attack.ensemble.is_none();
        let has_accuracy = status == AttackStatus::Complete && sees_all;
        let survived = |clean: Rate| Rate::new(clean.count.saturating_sub(n_broken), clean.of);
        let mean_accuracy = |clean: Rate| {
            let right: Option<Vec<f64>> = found.samples.iter().map(|it| it.wrong.map(|wrong| 1.0 - wrong)).collect();
            let right = right.filter(|it| !it.is_empty())?.iter().sum::<f64>();
            let untouched = clean.count.saturating_sub(found.samples.len()) as f64;
            Some(Measured::mean_share((right + untouched) / clean.of as f64, clean.of))
        };
        let curves = found.curves.as_ref();
        let anchored = curves.and_then(|curves| curves.anchored.as_ref());
        Self {
            attack: attack.clone(),
            status,
            error: found.error.clone(),
            success_rate: Rate::new(n_broken, found.samples.len()),
            adversarial_accuracy: correct.filter(|_| has_accuracy).map(survived),
            mean_accuracy: correct.filter(|_| has_accuracy).and_then(mean_accuracy),
            l2: Distances::new(broken().map(|sample| sample.l2)),
            linf: Distances::new(broken().map(|sample| sample.linf)),
            l0: Distances::new(broken().map(|sample| f64::from(sample.l0))),
            forwards: Distances::new(found.samples.iter().map(|sample| sample.forwards as f64)),
            backwards: Distances::new(found.samples.iter().map(|sample| sample.backwards as f64)),
            forwards_to_success: Distances::new(
                broken().filter_map(|sample| sample.forwards_to_success).map(|forwards| forwards as f64),
            ),
            carried: found.samples.iter().filter(|sample| sample.carried_from.is_some()).count(),
            clean_peak: curves.and_then(|curves| PeakResult::of(&curves.clean)),
            adversarial_peak: curves.and_then(|curves| PeakResult::of(&curves.adversarial)),
            peak_drop: curves.and_then(|curves| curves.peak_drop),
            retention_drop: anchored.and_then(AnchoredCurve::retention_drop),
            captured_from: anchored.and_then(AnchoredCurve::captured_from),
            curves: found.curves.clone(),
            samples: found.samples.clone(),
        }
    }

    /// Whether it broke every image that it attacked, so that nothing is left for more effort.
    pub(crate) fn is_whole(&self) -> bool {
        self.success_rate.of > 0 && self.success_rate.count == self.success_rate.of
    }
}

/// How far an attack got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttackStatus {
    /// All samples and curves are there.
    Complete,
    /// The run was stopped before or during this attack.
    Incomplete,
    /// The attack broke off with an error.
    Failed,
}

/// An attack's label, with its norm and size where the audit runs others of its name.
pub(crate) fn shown_label(attacks: &[AttackResult], attack: &ResolvedAttack) -> String {
    match attacks.iter().filter(|it| it.attack.name == attack.name).count() {
        0 | 1 => attack.label.clone(),
        _ => format!("{} ({})", attack.label, attack.summary()),
    }
}
