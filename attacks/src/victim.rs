//! What an attack may ask of a model.

use tch::{Device, TchError, Tensor};

/// An image classifier under attack.
pub trait Victim {
    /// Logits f32 `[N, K]` of `pixels`, f32 `[N, C, H, W]` in `[0, 1]`.
    ///
    /// The logits must be differentiable in `pixels`, belong to the rows one by one (evaluation mode) and be raw scores, not
    /// probabilities. `pixels` must not be changed. Weights should not require gradients, which would be computed in vain.
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError>;

    fn n_classes(&self) -> i64;

    /// Where `pixels` must lie.
    fn device(&self) -> Device;

    /// What a user of the victim gets to see for these pixels, where that is something else than the logits, such as their softmax: an image
    /// whose class it changes is judged by it.
    fn outputs(&self, _pixels: &Tensor) -> Result<Option<Tensor>, VictimError> {
        Ok(None)
    }

    /// Whether the same pixels may get other logits when they are shown again.
    fn is_random(&self) -> bool {
        false
    }
}

/// What an attacker must be able to ask of the victim, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// The predicted class of any image.
    Labels,
    /// The class scores of any image.
    Logits,
    Gradients,
}

/// A model could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VictimError {
    #[error("the model ran out of memory: {summary}; use a smaller batch")]
    OutOfMemory {
        /// First line of the message.
        summary: String,
        /// The whole message, for logs.
        detail: String,
    },
    #[error("the model failed: {summary}")]
    Failed {
        /// First line of the message.
        summary: String,
        /// The whole message, for logs.
        detail: String,
    },
    #[error("the model's answer is unusable: {0}")]
    Unusable(String),
}

/// libtorch's message without the C++ stack that follows it.
pub fn first_line(error: &TchError) -> String {
    match error {
        TchError::Torch(message) => first_line_of(message),
        other => first_line_of(&other.to_string()),
    }
}

fn first_line_of(message: &str) -> String {
    message.lines().next().unwrap_or("no message").trim().trim_end_matches('.').to_owned()
}

impl VictimError {
    /// Sorts a failure by its message and keeps the first line as the summary (libtorch appends its C++ stack).
    pub fn from_message(detail: String) -> Self {
        let summary = first_line_of(&detail);
        let out_of_memory = ["out of memory", "can't allocate memory", "not enough memory"]
            .iter()
            .any(|phrase| detail.to_ascii_lowercase().contains(phrase));
        if out_of_memory { Self::OutOfMemory { summary, detail } } else { Self::Failed { summary, detail } }
    }
}

impl From<TchError> for VictimError {
    fn from(error: TchError) -> Self {
        let message = match error {
            TchError::Torch(message) => message,
            other => other.to_string(),
        };
        Self::from_message(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_libtorch_error_shows_its_first_line_and_keeps_the_rest() {
        let error = VictimError::from(TchError::Torch("size mismatch.\nException raised from x\nframe #0".into()));
        assert_eq!(error.to_string(), "the model failed: size mismatch");
        let VictimError::Failed { detail, .. } = error else { panic!("wrong kind") };
        assert!(detail.contains("frame #0"));
    }

    #[test]
    fn running_out_of_memory_is_told_apart() {
        let error = VictimError::from(TchError::Torch("CUDA out of memory. Tried to allocate 2 GiB".into()));
        assert!(matches!(error, VictimError::OutOfMemory { .. }));
    }
}
