//! `report.plan.toml`: the plan that makes the report again.

use super::Evidence;
use crate::verdict::Report;

/// Nothing where a path in the plan has no text.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    report.plan_file.clone().unwrap_or_default().into_bytes()
}
