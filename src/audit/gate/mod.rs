//! Gates as a user wrote them, and as they are checked before anything runs. What they come to is computed from the report.

pub mod expr;

use std::path::Path;

use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::config::did_you_mean;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::value::Datetime;

use super::attack::ResolvedAttack;
use expr::{GateExpr, Quantity, Subject};

/// One `[[gate]]` of a plan file, or one `--gate`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatePlan {
    /// By which waivers and reports name it; without it, its metric.
    pub id: Option<String>,
    /// Such as `asr.pgd <= 0.5`.
    pub expr: Spanned<String>,
    /// Whether it fails the audit.
    #[serde(default)]
    pub severity: Severity,
    /// Why it is there.
    pub reason: Option<String>,
    /// Where it stands, once the file is known.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// One `[[waiver]]` of a plan file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WaiverPlan {
    /// Id of the gate.
    pub gate: String,
    /// Why its failure is accepted.
    pub reason: String,
    /// Last day on which it is: a TOML date, or text such as `"2026-12-31"`.
    pub expires: toml::Value,
    /// Who accepted it.
    pub owner: Option<String>,
}

/// Consequence of a failed gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A failed gate fails the audit.
    #[default]
    Error,
    /// A failed gate is reported and leaves the exit code as it is.
    Warning,
}

/// A line of a plan file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// Number of the line, counted from 1.
    pub line: usize,
}

/// A gate as it was checked against the attacks that run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// Identifier of the gate, unique within the plan.
    pub id: String,
    /// What the gate asks for, such as `asr.pgd <= 0.5`.
    pub expr: GateExpr,
    /// Whether a failure of the gate fails the audit.
    pub severity: Severity,
    /// Why the gate is there, as the plan says.
    pub reason: Option<String>,
    /// Where the gate stands, if in a plan file.
    pub place: Option<Place>,
    /// Waiver that accepts a failure of the gate.
    pub waiver: Option<Waiver>,
}

/// An accepted failure of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiver {
    /// Why the failure is accepted.
    pub reason: String,
    /// Last day on which the waiver counts.
    pub expires: Day,
    /// Who accepted the failure, where that is named.
    pub owner: Option<String>,
}

/// A calendar day, written as `2026-12-31`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
#[serde(try_from = "String", into = "String")]
pub struct Day(String);

impl Day {
    /// Reads a day; what follows it (a time) does not matter.
    ///
    /// # Errors
    /// That the text is no day.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = text.parse::<Datetime>().ok().and_then(|it| it.date);
        // Four digits, two, two: their order as text is their order in time.
        read.map(|date| Self(date.to_string())).ok_or_else(|| format!("{text:?} is no day; expected YYYY-MM-DD"))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.0
    }
}

impl GatePlan {
    /// The gate of a `--gate`.
    pub fn named(expr: &str) -> Self {
        let expr = Spanned::new(0..0, expr.to_owned());
        Self { id: None, expr, severity: Severity::Error, reason: None, place: None }
    }

    /// Finds the line on which its expression stands.
    pub(super) fn locate(&mut self, file: &Path, text: &str) {
        let before = text.get(..self.expr.span().start).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        self.place = Some(Place { file: file.display().to_string(), line });
    }

    fn check(&self, attacks: &[ResolvedAttack]) -> Result<GateExpr, String> {
        let text = self.expr.get_ref();
        let expr = GateExpr::parse(text)?;
        check_attacks(&expr, attacks).map_err(|problem| format!("gate {text:?}: {problem}"))?;
        Ok(expr)
    }
}

/// An attack that does not run would make a gate that nobody ever sees fail.
fn check_attacks(expr: &GateExpr, attacks: &[ResolvedAttack]) -> Result<(), String> {
    let metric = &expr.metric;
    let meant: Vec<&ResolvedAttack> = match &metric.subject {
        Subject::Clean => return Ok(()),
        Subject::Worst => attacks.iter().collect(),
        Subject::Within(budget) => {
            if !attacks.iter().any(|attack| attack.measures(budget)) {
                let mut tried: Vec<String> = attacks.iter().filter_map(|it| Some(it.budget()?.to_string())).collect();
                tried.dedup();
                let tried = if tried.is_empty() { "no ε".to_owned() } else { tried.join(", ") };
                return Err(format!("no untargeted attack of this audit tries {budget}; they try {tried}"));
            }
            return Ok(());
        }
        Subject::Attacks(pattern) => {
            let meant: Vec<_> = attacks.iter().filter(|attack| metric.subject.fits(&attack.label)).collect();
            if meant.is_empty() {
                let labels = || attacks.iter().map(|attack| attack.label.as_str());
                let runs = labels().collect::<Vec<_>>().join(", ");
                return Err(match ATTACKS.iter().any(|spec| spec.id == pattern) {
                    true => format!("this audit does not run {pattern}; it runs {runs}"),
                    false => {
                        format!("no attack is called {pattern:?}{}; it runs {runs}", did_you_mean(pattern, labels()))
                    }
                });
            }
            meant
        }
    };
    if metric.quantity == Quantity::Accuracy && meant.iter().all(|attack| attack.is_targeted()) {
        return Err("a targeted attack has no accuracy; use its asr".to_owned());
    }
    Ok(())
}

/// Checks every gate and waiver.
///
/// # Errors
/// One line with what is wrong and where.
pub(crate) fn resolve(
    gates: &[GatePlan],
    waivers: &[WaiverPlan],
    attacks: &[ResolvedAttack],
) -> Result<Vec<Gate>, String> {
    let mut resolved: Vec<Gate> = Vec::with_capacity(gates.len());
    for gate in gates {
        let at = gate.place.as_ref().map_or(String::new(), |place| format!("{}:{}: ", place.file, place.line));
        let expr = gate.check(attacks).map_err(|problem| format!("{at}{problem}"))?;
        let is_taken = |id: &str| resolved.iter().any(|other| other.id == id);
        let id = match &gate.id {
            Some(id) if id.trim().is_empty() => return Err(format!("{at}gate {:?}: empty id", gate.expr.get_ref())),
            Some(id) if is_taken(id) => return Err(format!("{at}gate id {id:?} is given twice")),
            Some(id) => id.clone(),
            None => {
                let base = expr.metric.to_string();
                let numbered = (2..).map(|n| format!("{base}-{n}"));
                let mut names = std::iter::once(base.clone()).chain(numbered);
                names.find(|id| !is_taken(id)).unwrap_or(base)
            }
        };
        resolved.push(Gate {
            id,
            expr,
            severity: gate.severity,
            reason: gate.reason.clone(),
            place: gate.place.clone(),
            waiver: None,
        });
    }
    for plan in waivers {
        let day = match &plan.expires {
            toml::Value::String(text) => Day::parse(text),
            toml::Value::Datetime(date) => Day::parse(&date.to_string()),
            other => Err(format!("{other} is no day; expected YYYY-MM-DD")),
        };
        let expires = day.map_err(|problem| format!("waiver of {:?}: expires = {problem}", plan.gate))?;
        if plan.reason.trim().is_empty() {
            return Err(format!("waiver of {:?}: empty reason", plan.gate));
        }
        let Some(at) = resolved.iter().position(|gate| gate.id == plan.gate) else {
            let hint = did_you_mean(&plan.gate, resolved.iter().map(|gate| gate.id.as_str()));
            return Err(format!("waiver of {:?}: no gate has this id{hint}", plan.gate));
        };
        if resolved[at].waiver.is_some() {
            return Err(format!("waiver of {:?}: it has one already", plan.gate));
        }
        let (reason, owner) = (plan.reason.clone(), plan.owner.clone());
        resolved[at].waiver = Some(Waiver { reason, expires, owner });
    }
    Ok(resolved)
}

/// Checks the classes that gates name, once the data are there.
///
/// # Errors
/// Which class does not exist.
pub(super) fn check_classes(gates: &[Gate], names: &[String], classes: usize) -> Result<(), String> {
    gates.iter().try_for_each(|gate| {
        let found = gate.expr.metric.classes(names, classes);
        found.map(drop).map_err(|problem| format!("gate {:?}: {problem}", gate.expr.to_string()))
    })
}
