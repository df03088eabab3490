//! What a model is, in plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// What a network's outputs look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// Nothing speaks against logits.
    #[default]
    Logits,
    /// Logarithms of probabilities: as good as logits.
    LogProbabilities,
    /// None is negative and those of an image always have the same sum: probabilities, or shares in percent.
    Probabilities,
    /// All lie between 0 and 1, as those of sigmoids do.
    ZeroToOne,
    /// All lie between −1 and 1, as hyperbolic tangents and cosines do.
    MinusOneToOne,
    /// Those of an image hardly differ, so that cross-entropy climbs towards all other classes alike instead of the nearest one.
    Flat,
    /// Many are the same largest or smallest number, where they have no gradient.
    Saturated,
}

impl Outputs {
    /// What they look like, where attacks on them may see no gradient.
    pub(crate) fn doubt(self) -> Option<&'static str> {
        match self {
            Self::Logits | Self::LogProbabilities => None,
            Self::Probabilities => {
                Some("look like probabilities: none is negative, and each image's have the same sum")
            }
            Self::ZeroToOne => Some("all lie between 0 and 1, as behind a sigmoid"),
            Self::MinusOneToOne => Some("all lie between -1 and 1, as behind a hyperbolic tangent or of cosines"),
            Self::Flat => Some("hardly differ from class to class, as behind a high temperature"),
            Self::Saturated => Some(
                "are often exactly their largest or their smallest number, as behind a clamp or a saturated sigmoid",
            ),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The classifier that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelSummary {
    /// Name of the model's file without its folders, or `embedded`.
    pub name: String,
    /// SHA-256 of the model's file, in hexadecimal.
    pub sha256: String,
    /// How the file stores the weights.
    pub format: String,
    /// Architecture of the model, such as `resnet20`.
    pub architecture: String,
    /// Number of classes, which is the number of logits.
    pub classes: usize,
    /// Number of trainable parameters.
    pub parameters: u64,
    /// Multiply-accumulates of convolutions, linear layers, matrix products and attention, for one image; unknown where libtorch runs the file (`--trust-torchscript`).
    pub macs: Option<u64>,
    /// Whether two forward passes of the same images differ.
    #[serde(default)]
    pub is_random: bool,
    /// How much the logits of an image change with the other images of its batch, as a share of the largest logit; absent where they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_influence: Option<f64>,
    /// Operators at the network's end that keep the order of the classes, such as `softmax`, where they are left out: attacked are the logits
    /// before them, which give every clean image the same class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// Clean images to which the network would give another class without these operators, if there are any: then they are not left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ending_decides: usize,
    /// What is attacked, by how it looks on the clean images.
    #[serde(default)]
    pub outputs: Outputs,
    /// Name of the normalization that the model applies to its pixels.
    pub normalization: String,
    /// Mean that is subtracted from each channel, in units of a pixel from 0 to 1.
    pub mean: Vec<f64>,
    /// Standard deviation that each channel is divided by, in units of a pixel from 0 to 1.
    pub std: Vec<f64>,
}
