//! Gates as a user wrote them, and as they are checked before anything runs. What they come to is computed from the report.

pub(crate) mod check;
pub(crate) mod expr;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::value::Datetime;

use expr::GateExpr;

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
    pub reason: Option<String>,
    /// Where it stands, once the file is known.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// One `[[waiver]]` of a plan file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WaiverPlan {
    pub gate: String,
    pub reason: String,
    /// Last day on which it is: a TOML date, or text such as `"2026-12-31"`.
    pub expires: toml::Value,
    pub owner: Option<String>,
}

/// Consequence of a failed gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "GateSeverity")]
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
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
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
    pub(crate) fn named(expr: &str) -> Self {
        let expr = Spanned::new(0..0, expr.to_owned());
        Self { id: None, expr, severity: Severity::Error, reason: None, place: None }
    }

    /// Finds the line on which its expression stands.
    pub(super) fn locate(&mut self, file: &Path, text: &str) {
        let before = text.get(..self.expr.span().start).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        self.place = Some(Place { file: file.display().to_string(), line });
    }
}
