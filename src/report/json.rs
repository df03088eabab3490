//! `report.json`: the whole report.

use super::Evidence;
use crate::text::json::pretty;
use crate::verdict::Report;

pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    pretty(report)
}
