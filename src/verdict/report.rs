//! What `report.json` holds. Other formats render this and nothing else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::across::{self, BudgetResult, Sweep, WorstCase};
use super::change::{self, Changes};
use super::classes::{self, ClassResult};
use super::findings::{self, Finding};
use super::gates::{self, GateResult};
use super::validity::Validity;
use crate::audit::attack::ResolvedAttack;
use crate::audit::event::{
    AttackCurves, AuditStart, CleanCurves, DataSummary, ModelSummary, Outcome, SCHEMA_VERSION, SampleResult, Tool,
};
use crate::audit::gate::Day;
use crate::audit::resolved::ResolvedPlan;
use crate::audit::state::{AttackState, AuditState};
use crate::measure::clean::ClassProbability;
use crate::modularity::{Curve, Interval};
use crate::stats::rates::{Distances, Rate};

/// An audit's results. Two runs of one plan on one machine differ in `timing` only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Grows when a field changes its meaning or goes away.
    pub schema_version: u32,
    /// What wrote it.
    pub tool: Tool,
    /// Whether everything that was planned is in here.
    pub outcome: Outcome,
    /// Every setting, defaults filled in.
    pub plan: ResolvedPlan,
    /// The same as the text of a plan file; absent where a path has no text.
    pub plan_file: Option<String>,
    /// The classifier.
    pub model: ModelSummary,
    /// The images.
    pub data: DataSummary,
    /// Module paths of the curves' points.
    pub taps: Vec<String>,
    /// Clean images.
    pub clean: CleanResult,
    /// Class by class, in label order: those that have samples.
    pub classes: Vec<ClassResult>,
    /// In the plan's order.
    pub attacks: Vec<AttackResult>,
    /// All attacks together, where there are at least two.
    #[serde(default)]
    pub worst_case: Option<WorstCase>,
    /// What comes of each budget (norm and ε) that was tried, whichever attack that takes.
    #[serde(default)]
    pub budgets: Vec<BudgetResult>,
    /// Success against ε, for each attack that ran at several sizes.
    #[serde(default)]
    pub sweeps: Vec<Sweep>,
    /// What the gates come to, in the plan's order. Waivers count by the day on which the audit started.
    #[serde(default)]
    pub gates: Vec<GateResult>,
    /// What has changed since the baseline, where one was given.
    #[serde(default)]
    pub changes: Option<Changes>,
    /// Whether the attacks were strong enough for their failures to mean anything.
    pub validity: Validity,
    /// Weaknesses for a security review, the most severe first.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Things that a reader must know.
    pub warnings: Vec<String>,
    /// The only part that differs between two runs.
    pub timing: Timing,
}

/// The model on clean images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanResult {
    /// Correct of all; absent if the run ended before.
    pub accuracy: Option<Rate>,
    /// Class per sample.
    pub predictions: Vec<u32>,
    /// The likeliest classes per sample, where they are known.
    #[serde(default)]
    pub likeliest: Vec<Vec<ClassProbability>>,
    /// Where the true classes are separated best.
    pub peak: Option<PeakResult>,
    /// Over all samples.
    pub curves: Option<CleanCurves>,
}

/// The largest Q of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeakResult {
    /// Where.
    pub tap: String,
    /// How much.
    pub q: f64,
    /// 95 % jackknife interval.
    pub interval: Option<Interval>,
}

impl PeakResult {
    fn of(curve: &Curve) -> Option<Self> {
        let peak = curve.peak()?;
        Some(Self { interval: curve.taps[peak.index].interval, tap: peak.tap, q: peak.q })
    }
}

/// One attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttackResult {
    /// What was run.
    pub attack: ResolvedAttack,
    /// `complete`, `incomplete` or `failed`.
    pub status: AttackStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// Broken of attacked samples. Attacked are the samples that the model classifies correctly.
    pub success_rate: Rate,
    /// Samples classified correctly under attack, of all samples; absent for targeted attacks and incomplete runs.
    pub adversarial_accuracy: Option<Rate>,
    /// Of broken samples, pixels in `[0, 1]`.
    pub l2: Option<Distances>,
    /// Of broken samples.
    pub linf: Option<Distances>,
    /// Of broken samples: pixels changed.
    pub l0: Option<Distances>,
    /// Of all attacked samples.
    pub forwards: Option<Distances>,
    /// Of all attacked samples.
    pub backwards: Option<Distances>,
    /// Forwards until the goal was first met, of the broken samples where the attack knows.
    #[serde(default)]
    pub forwards_to_success: Option<Distances>,
    /// Samples that a smaller ε of the same sweep broke and this attack did not; they count as broken.
    #[serde(default)]
    pub carried: usize,
    /// Of the matched clean curve.
    pub clean_peak: Option<PeakResult>,
    /// Of the adversarial curve, true labels.
    pub adversarial_peak: Option<PeakResult>,
    /// Difference of the two peaks, paired.
    pub peak_drop: Option<Interval>,
    /// Matched curves.
    pub curves: Option<AttackCurves>,
    /// Per sample, in sample order.
    pub samples: Vec<SampleResult>,
}

/// How far an attack got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttackStatus {
    /// All samples and curves are there.
    Complete,
    /// The run was stopped before or during this attack.
    Incomplete,
    /// It broke off.
    Failed,
}

/// When and how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// UTC, RFC 3339.
    pub started: String,
    /// Wall clock, whole run.
    pub seconds: f64,
    /// How often the run was interrupted and went on; then the times are those of its last parts.
    #[serde(default)]
    pub resumed: usize,
    /// Wall clock of each attack alone (without judging and measuring), in the plan's order; absent where it did not finish.
    pub attack_seconds: Vec<Option<f64>>,
}

impl Timing {
    /// What there is to say of interruptions after the time, if anything.
    pub(crate) fn interruptions(&self) -> String {
        match self.resumed {
            0 => String::new(),
            1 => " since it was resumed; interrupted once".to_owned(),
            n => format!(" since it was last resumed; interrupted {n} times"),
        }
    }
}

impl Report {
    /// The report of an audit that has started; `None` before that.
    pub fn new(state: &AuditState) -> Option<Self> {
        let AuditStart { tool, plan_file, baseline, plan, model, data, taps, started } = state.start.clone()?;
        let (outcome, seconds) = state.finished.unwrap_or((Outcome::Interrupted, 0.0));
        let (n, labels) = (data.indices.len(), data.labels.clone());
        let correct = state.clean_accuracy();
        let attacks = plan.attacks.iter().zip(&state.attacks);
        let attacks: Vec<AttackResult> =
            attacks.map(|(attack, found)| attack_result(attack, found, correct, n)).collect();
        let accuracy = correct.map(|(correct, n)| Rate::new(correct, n));
        let mut warnings = state.warnings.clone();
        warnings.extend(state.error.iter().map(|error| format!("the audit broke off: {error}")));
        let today = Day::parse(&started).ok();
        let mut report = Self {
            schema_version: SCHEMA_VERSION,
            tool,
            outcome,
            plan,
            plan_file,
            model,
            data,
            taps,
            clean: CleanResult {
                accuracy,
                predictions: state.predictions.clone().unwrap_or_default(),
                likeliest: state.likeliest.clone(),
                peak: state.clean_curves.as_ref().and_then(|curves| PeakResult::of(&curves.true_labels)),
                curves: state.clean_curves.clone(),
            },
            worst_case: WorstCase::of(&attacks, &labels, accuracy.as_ref()),
            budgets: Vec::new(),
            sweeps: across::sweeps(&attacks),
            attacks,
            classes: Vec::new(),
            gates: Vec::new(),
            changes: None,
            validity: Validity::default(),
            findings: Vec::new(),
            warnings,
            timing: Timing {
                started,
                seconds,
                resumed: state.resumed,
                attack_seconds: state.attacks.iter().map(|attack| attack.seconds).collect(),
            },
        };
        report.budgets = across::budgets(&report);
        report.classes = classes::results(&report);
        report.validity = Validity::of(&report);
        report.changes = baseline.as_ref().map(|baseline| change::changes(&report, baseline));
        let when = (today.as_ref(), state.finished.is_none());
        report.gates = gates::evaluate(&report, &report.plan.gates, baseline.as_deref(), when);
        report.findings = findings::findings(&report);
        Some(report)
    }
}

pub(crate) fn attack_result(
    attack: &ResolvedAttack,
    found: &AttackState,
    correct: Option<(usize, usize)>,
    n: usize,
) -> AttackResult {
    let status = match (&found.error, found.seconds, &found.curves) {
        (Some(_), ..) => AttackStatus::Failed,
        (None, Some(_), Some(_)) => AttackStatus::Complete,
        _ => AttackStatus::Incomplete,
    };
    let broken = || found.samples.iter().filter(|sample| sample.success);
    let n_broken = broken().count();
    let untargeted = !attack.is_targeted();
    let survived = correct
        .filter(|_| status == AttackStatus::Complete && untargeted)
        .map(|(correct, _)| correct.saturating_sub(n_broken));
    let curves = found.curves.as_ref();
    AttackResult {
        attack: attack.clone(),
        status,
        error: found.error.clone(),
        success_rate: Rate::new(n_broken, found.samples.len()),
        adversarial_accuracy: survived.map(|survived| Rate::new(survived, n)),
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
        curves: found.curves.clone(),
        samples: found.samples.clone(),
    }
}
