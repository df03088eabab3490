//! What advmod writes into the header of its own model files, so that they need no flags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::normalize::Normalization;
use crate::text::json;

/// The key in a safetensors header under which the metadata lies, as JSON.
const KEY: &str = "advmod";

/// Everything that weights alone do not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelMetadata {
    /// As `--arch` takes it.
    pub architecture: String,
    /// Class names in label order; empty when unknown.
    pub classes: Vec<String>,
    /// Applied to the pixels before the first layer.
    pub normalization: Normalization,
    /// Height and width of the images that it was trained on.
    pub input_size: [i64; 2],
    pub training: String,
}

impl ModelMetadata {
    pub(crate) fn to_header(&self) -> BTreeMap<String, String> {
        let json = serde_json::to_string(self).expect("plain data always has a JSON form");
        BTreeMap::from([(KEY.to_owned(), json)])
    }

    /// From a safetensors header, if advmod wrote it.
    ///
    /// # Errors
    /// A sentence, when the entry is there but is not what this version writes.
    pub(crate) fn from_header(header: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let Some(json) = header.get(KEY) else { return Ok(None) };
        let damaged = |why: String| format!("the advmod entry of its header cannot be read: {why}; was it edited?");
        let metadata: Self = json::read(json).map_err(|error| damaged(error.to_string()))?;
        let Normalization { mean, std, .. } = &metadata.normalization;
        if mean.is_empty() || mean.len() != std.len() || !std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(damaged(format!("mean {mean:?} and std {std:?} are no normalization")));
        }
        Ok(Some(metadata))
    }
}
