//! What `report.json` holds. Other formats render this and nothing else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::across::{BudgetResult, DistanceResult, EnsembleResult, Sweep, budgets, distances, ensembles, sweeps};
use super::change::{Changes, changes};
use super::classes::{self, ClassResult};
use super::facts::{AttackResult, CleanResult, Facts};
use super::findings::{Finding, findings};
use super::gates::{self, GateResult};
use super::validity::Validity;
use crate::audit::allowed::Allowed;
use crate::audit::event::{AuditStart, ControlResult, DataSummary, ModelSummary, Outcome, SCHEMA_VERSION, Tool};
use crate::audit::resolved::ResolvedPlan;
use crate::audit::state::AuditState;

/// An audit's results. Two runs of one plan on one machine differ in `timing` only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this schema: it grows when a field changes its meaning or goes away.
    pub schema_version: u32,
    /// Program that wrote the report.
    pub(crate) tool: Tool,
    /// Whether everything that was planned is in the report.
    pub outcome: Outcome,
    /// The settings of the audit, with defaults filled in.
    pub plan: ResolvedPlan,
    /// What flags allowed this run that are never part of a plan.
    #[serde(default)]
    pub(crate) allowed: Allowed,
    /// The same settings as the text of a plan file; absent where a path has no text.
    pub plan_file: Option<String>,
    /// The classifier that was audited.
    pub model: ModelSummary,
    /// The images that were used.
    pub data: DataSummary,
    /// Module paths of the taps at which curves were measured, in forward order.
    pub taps: Vec<String>,
    /// How the model does on the clean images.
    pub clean: CleanResult,
    /// Results class by class, in label order, of the classes that have samples.
    pub(crate) classes: Vec<ClassResult>,
    /// Results attack by attack, in the plan's order.
    pub attacks: Vec<AttackResult>,
    /// Controls of the attacks, in the order in which they were made. What they break counts as broken.
    pub(crate) controls: Vec<ControlResult>,
    /// The worst case within each budget (norm and ε) that was tried, in the plan's order.
    pub budgets: Vec<BudgetResult>,
    /// What ensembles of attacks break together, in the plan's order.
    #[serde(default)]
    pub(crate) ensembles: Vec<EnsembleResult>,
    /// How large a change it takes, for each attack that looks for the smallest one without a bound.
    pub(crate) distances: Vec<DistanceResult>,
    /// Success against ε, for each attack that ran at several sizes.
    #[serde(default)]
    pub sweeps: Vec<Sweep>,
    /// Results of the gates, in the plan's order. Waivers count by the day on which the audit started.
    #[serde(default)]
    pub gates: Vec<GateResult>,
    /// What has changed since the baseline, where one was given.
    #[serde(default)]
    pub(crate) changes: Option<Changes>,
    /// Whether the attacks were strong enough for their failures to mean anything.
    pub validity: Validity,
    /// Weaknesses for a security review, the most severe first.
    #[serde(default)]
    pub(crate) findings: Vec<Finding>,
    /// Remarks that a reader of the results must know.
    pub warnings: Vec<String>,
    /// Times of the run: the only part that differs between two runs.
    pub(crate) timing: Timing,
}

/// When the audit ran and how long it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Timing {
    /// When the audit started: UTC, RFC 3339.
    pub started: String,
    /// Wall-clock seconds of the whole run; absent of a run that was killed before it could say.
    pub seconds: Option<f64>,
    /// How often the run was interrupted and resumed; if it was, the times are those of its last parts.
    #[serde(default)]
    pub resumed: usize,
    /// Wall-clock seconds of each attack alone (without judging and measuring), in the plan's order; absent where it did not finish.
    pub attack_seconds: Vec<Option<f64>>,
    /// Wall-clock seconds of all controls together.
    pub control_seconds: f64,
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
        let AuditStart { tool, plan_file, base: _, baseline, allowed, plan, model, data, taps, started } =
            state.start.clone()?;
        let (outcome, seconds) =
            state.finished.map_or((Outcome::Interrupted, None), |(outcome, took)| (outcome, Some(took)));
        let clean = CleanResult::of(state);
        let attacks: Vec<AttackResult> = (plan.attacks.iter().zip(&state.attacks))
            .map(|(attack, found)| AttackResult::of(attack, found, clean.accuracy))
            .collect();
        let mut warnings = state.warnings.clone();
        warnings.extend(state.error.iter().map(|error| format!("the audit broke off: {error}")));
        let facts = Facts {
            plan: &plan,
            plan_file: plan_file.as_deref(),
            model: &model,
            data: &data,
            taps: &taps,
            clean: &clean,
            attacks: &attacks,
            controls: &state.controls,
            started: &started,
        };
        let baseline = baseline.as_deref();
        let sweeps = sweeps(&facts);
        let validity = Validity::of(&facts, &sweeps);
        let gates = gates::evaluate(&facts, &plan.gates, baseline, &validity, state.finished.is_none());
        Some(Self {
            schema_version: SCHEMA_VERSION,
            tool,
            outcome,
            classes: classes::results(&facts),
            budgets: budgets(&facts),
            ensembles: ensembles(&facts),
            distances: distances(&facts),
            changes: baseline.map(|baseline| changes(&facts, baseline)),
            findings: findings(&facts, &gates, &validity),
            sweeps,
            gates,
            validity,
            plan,
            allowed,
            plan_file,
            model,
            data,
            taps,
            clean,
            attacks,
            controls: state.controls.clone(),
            warnings,
            timing: Timing {
                started,
                seconds,
                resumed: state.resumed,
                attack_seconds: state.attacks.iter().map(|attack| attack.seconds).collect(),
                control_seconds: state.control_seconds,
            },
        })
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts {
            plan: &self.plan,
            plan_file: self.plan_file.as_deref(),
            model: &self.model,
            data: &self.data,
            taps: &self.taps,
            clean: &self.clean,
            attacks: &self.attacks,
            controls: &self.controls,
            started: &self.timing.started,
        }
    }
}
