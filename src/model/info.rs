//! What a model is, in plain data.

use super::normalize::Normalization;

/// What a model is, in plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// File name without folders, or `embedded`.
    pub name: String,
    /// Of the file's bytes, hexadecimal.
    pub sha256: String,
    /// How the file stores its weights (`state_dict (zip)`, `safetensors`, …).
    pub format: String,
    /// `resnet20`, `vgg16-bn`, …
    pub architecture: String,
    /// Channels of the pixels.
    pub channels: i64,
    pub classes: i64,
    /// Names of the classes, where the file knows them.
    pub class_names: Vec<String>,
    /// Height and width that the model is meant for, where the file or the architecture tells.
    pub input_size: Option<[i64; 2]>,
    /// Applied to the pixels inside the model.
    pub normalization: Normalization,
}
