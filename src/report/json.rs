//! `report.json`: the whole report.

use super::Evidence;
use crate::verdict::Report;

/// Indented JSON with a final newline; fields in the order of the types, so equal reports are equal bytes.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(report).expect("plain data always has a JSON form");
    bytes.push(b'\n');
    bytes
}
