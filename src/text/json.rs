//! JSON for people and files.

use serde::Serialize;

/// Indented, with a final line break; fields in the order of the types, so that equal values are equal bytes.
pub(crate) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain data always has a JSON form");
    bytes.push(b'\n');
    bytes
}
