//! Losses per sample, turned so that larger is always better for the attacker.
//!
//! `classes` holds the class to leave (untargeted) or to reach (targeted). Nothing here sums over the batch, so no sample
//! feels another.

use tch::{Kind, Tensor};

use crate::threat::Goal;
use crate::victim::VictimError;

/// Cross-entropy `L = −log softmax(Z)_y`, with its sign flipped when y is to be reached.
///
/// # Shapes and units
/// `logits`: `[N, K]` f32. `classes`: `[N]` i64. Returns `[N]`.
pub fn cross_entropy(logits: &Tensor, classes: &Tensor, goal: Goal) -> Tensor {
    let log_probability = logits.log_softmax(-1, Kind::Float).gather(1, &classes.unsqueeze(1), false).squeeze_dim(1);
    match goal {
        Goal::Untargeted => -log_probability,
        Goal::Targeted(_) => log_probability,
    }
}

/// Margin `max_{i≠y} Z_i − Z_y`, with its sign flipped when y is to be reached: positive exactly where the goal is met.
///
/// Unlike cross-entropy it keeps a gradient when the model is sure of itself. Other classes are masked with −∞ rather than
/// multiplied by 0, so negative logits are handled as well.
///
/// # Shapes and units
/// As [`cross_entropy`]; in logits.
/// # Source
/// Carlini and Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017, `f_6` with κ = 0 and without the
/// outer maximum, <https://arxiv.org/abs/1608.04644>.
pub fn margin(logits: &Tensor, classes: &Tensor, goal: Goal) -> Tensor {
    let classes = classes.unsqueeze(1); // [N, 1]
    let own = logits.gather(1, &classes, false).squeeze_dim(1); // [N]
    let is_own = logits.zeros_like().to_kind(Kind::Bool).scatter_value(1, &classes, 1); // [N, K]
    let best_other = logits.masked_fill(&is_own, f64::NEG_INFINITY).amax(1, false); // [N]
    match goal {
        Goal::Untargeted => best_other - own,
        Goal::Targeted(_) => own - best_other,
    }
}

/// Whether `logits` `[N, K]` are in truth probabilities: none is negative and each row sums to 1.
///
/// An attack on those sees hardly any gradient, since the softmax is saturated wherever the model is sure of itself.
pub fn look_like_probabilities(logits: &Tensor) -> Result<bool, VictimError> {
    let off_by = (logits.sum_dim_intlist([1_i64].as_slice(), false, Kind::Double) - 1.0).abs().amax(0, false);
    let least = logits.amin([0_i64, 1].as_slice(), false);
    Ok(f64::try_from(off_by)? < 1e-3 && 0.0 <= f64::try_from(least)?)
}

/// Logarithm of the odds against y, `ln((1 − p) / p) = logsumexp_{i≠y} Z_i − Z_y` with `p = softmax(Z)_y`; its sign flipped
/// when y is to be reached.
///
/// It orders images as p does, also where p is so near 0 or 1 that p and the cross-entropy in f32 are the same for all of
/// them. Adding a constant to the logits changes nothing.
///
/// # Shapes and units
/// As [`cross_entropy`]; returns f64 `[N]`.
pub fn log_odds(logits: &Tensor, classes: &Tensor, goal: Goal) -> Tensor {
    let logits = logits.to_kind(Kind::Double);
    let classes = classes.unsqueeze(1); // [N, 1]
    let own = logits.gather(1, &classes, false).squeeze_dim(1); // [N]
    let is_own = logits.zeros_like().to_kind(Kind::Bool).scatter_value(1, &classes, 1); // [N, K]
    let others = logits.masked_fill(&is_own, f64::NEG_INFINITY); // [N, K]
    // logsumexp Z = max Z − max log_softmax Z. Unlike libtorch's sum, its log_softmax does not depend on the other rows.
    let spread = -others.log_softmax(-1, Kind::Double).amax(1, false); // [N]
    let against = (others.amax(1, false) - own) + spread; // [N]
    match goal {
        Goal::Untargeted => against,
        Goal::Targeted(_) => -against,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;
    use crate::threat::Target;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn margin_is_right_where_all_logits_are_negative() {
        let logits = Tensor::from_slice(&[-103.0_f32, -101.0, -108.0]).reshape([1, 3]);
        let classes = Tensor::from_slice(&[1_i64]);
        assert_eq!(values(&margin(&logits, &classes, Goal::Untargeted)), [-2.0]);
        assert_eq!(values(&margin(&logits, &classes, Goal::Targeted(Target::Class(1)))), [2.0]);
    }

    #[test]
    fn probabilities_are_told_from_logits() {
        let probabilities = Tensor::from_slice(&[0.2_f32, 0.8, 1.0, 0.0]).reshape([2, 2]);
        assert!(look_like_probabilities(&probabilities).unwrap());
        assert!(!look_like_probabilities(&(&probabilities * 2.0)).unwrap());
        assert!(!look_like_probabilities(&Tensor::from_slice(&[-0.5_f32, 1.5]).reshape([1, 2])).unwrap());
    }

    #[test]
    fn cross_entropy_of_equal_logits_is_the_logarithm_of_the_class_count() {
        let logits = Tensor::zeros([1, 4], (Kind::Float, tch::Device::Cpu));
        let classes = Tensor::from_slice(&[2_i64]);
        let expected = 4.0_f32.ln();
        assert!((values(&cross_entropy(&logits, &classes, Goal::Untargeted))[0] - expected).abs() < 1e-6);
        assert!(
            (values(&cross_entropy(&logits, &classes, Goal::Targeted(Target::Class(2))))[0] + expected).abs() < 1e-6
        );
    }

    #[test]
    fn log_odds_are_those_of_the_probability_and_keep_their_order_where_it_saturates() {
        let odds = |logits: &[f32], goal| {
            let logits = Tensor::from_slice(logits).reshape([1, -1]);
            f64::try_from(log_odds(&logits, &Tensor::from_slice(&[0_i64]), goal)).unwrap()
        };
        let others = 2_f64.exp() + 1_f64.exp();
        assert!((odds(&[0.5, 2.0, 1.0], Goal::Untargeted) - (others.ln() - 0.5)).abs() < 1e-12);
        assert!((odds(&[0.5, 2.0, 1.0], Goal::Targeted(Target::Class(0))) + (others.ln() - 0.5)).abs() < 1e-12);
        assert!(odds(&[60.0, 1.0, 0.0], Goal::Untargeted) < odds(&[59.0, 1.0, 0.0], Goal::Untargeted));
        assert_eq!(odds(&[0.5, 2.0, 1.0], Goal::Untargeted), odds(&[-99.5, -98.0, -99.0], Goal::Untargeted));
    }
}
