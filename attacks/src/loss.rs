//! Losses per sample, turned so that larger is always better for the attacker.
//!
//! `classes` holds the class to leave (untargeted) or to reach (targeted). Nothing here sums over the batch, so no sample
//! feels another.

use tch::{Kind, Tensor};

use crate::threat::Goal;

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

/// Difference of logits ratio: the [`margin`] over `Z_π1 − Z_π3`, or over `Z_π1 − (Z_π3 + Z_π4)/2` where a class is to be reached, with π the
/// classes in falling order of their logits.
///
/// Neither a constant added to the logits nor a factor changes it, so it does not go flat where the victim is sure of itself. It needs 3
/// classes, and 4 for a target; where there are fewer it is the margin.
///
/// # Shapes and units
/// As [`cross_entropy`]; without unit.
/// # Source
/// Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks", ICML 2020, equations 6
/// and 7, <https://arxiv.org/abs/2003.01690>.
/// # Deviations
/// For a target the equation subtracts the logit of the true class; here it is the largest but the target's, which is the same until another
/// class is ahead.
pub fn dlr(logits: &Tensor, classes: &Tensor, goal: Goal) -> Tensor {
    per_spread(margin(logits, classes, goal), logits, goal.is_targeted())
}

/// Equation 7 with a class of its own to approach per row: `(Z_t − Z_y) / (Z_π1 − (Z_π3 + Z_π4)/2)`, y the class to leave (`classes`) and t the
/// one to approach (`aims`); the difference alone where there are fewer than 4 classes. See [`dlr`].
///
/// # Shapes and units
/// As [`cross_entropy`]; `aims`: `[N]` i64.
pub(crate) fn dlr_towards(logits: &Tensor, classes: &Tensor, aims: &Tensor) -> Tensor {
    per_spread(difference(logits, classes, aims), logits, true)
}

/// `Z_t − Z_y`, t from `aims` and y from `classes`, both `[N]` i64.
pub(crate) fn difference(logits: &Tensor, classes: &Tensor, aims: &Tensor) -> Tensor {
    let of = |classes: &Tensor| logits.gather(1, &classes.unsqueeze(1), false).squeeze_dim(1);
    of(aims) - of(classes)
}

/// The `most` likeliest classes but that of `classes`, in falling order of `logits`, i64 `[N, T]`; all where there are fewer. Of equals the
/// first comes first.
pub(crate) fn likeliest_others(logits: &Tensor, classes: &Tensor, most: i64) -> Tensor {
    let is_own = logits.zeros_like().to_kind(Kind::Bool).scatter_value(1, &classes.unsqueeze(1), 1); // [N, K]
    let (_, order) = logits.masked_fill(&is_own, f64::NEG_INFINITY).sort_stable(true, 1, true);
    order.narrow(1, 0, most.min(logits.size()[1] - 1))
}

fn per_spread(difference: Tensor, logits: &Tensor, is_targeted: bool) -> Tensor {
    let n_classes = logits.size()[1];
    if n_classes < if is_targeted { 4 } else { 3 } {
        return difference;
    }
    let (sorted, _) = logits.sort_stable(true, 1, true);
    let place = |at: i64| sorted.select(1, at);
    let low = if is_targeted { (place(2) + place(3)) * 0.5 } else { place(2) };
    difference / (place(0) - low + 1e-12)
}

/// Logits as they are; where a row holds probabilities (none is negative, the sum is 1), their logarithms instead, which are logits but for a
/// constant. Probabilities themselves hardly change wherever the model is sure of itself.
///
/// # Shapes and units
/// `logits`: `[N, K]`; returns `[N, K]`.
pub fn of_probabilities(logits: &Tensor) -> Tensor {
    let sum = logits.sum_dim_intlist([1_i64].as_slice(), true, Kind::Double);
    let is_sum = (sum - 1.0).abs().lt(1e-3);
    let is_positive = logits.amin([1_i64].as_slice(), true).ge(0.0);
    logits.clamp_min(LEAST).log().where_self(&is_sum.logical_and(&is_positive), logits)
}

/// The smallest normal f32.
const LEAST: f64 = f32::MIN_POSITIVE as f64;

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

    /// Equations 6 and 7 by hand, and what a shift and a factor do to them.
    #[test]
    fn the_ratio_of_differences_is_the_papers_and_knows_neither_shift_nor_scale() {
        let logits = Tensor::from_slice(&[4.0_f32, 1.0, 3.0, 0.0]).reshape([1, 4]);
        let class = |class: i64| Tensor::from_slice(&[class]);
        let to = Goal::Targeted(Target::Next);
        for changed in [logits.shallow_clone(), &logits * 8.0 + 64.0] {
            assert_eq!(values(&dlr(&changed, &class(0), Goal::Untargeted)), [-1.0 / 3.0]);
            assert_eq!(values(&dlr(&changed, &class(2), to)), [-1.0 / 3.5]);
            assert_eq!(values(&dlr_towards(&changed, &class(0), &class(1))), [-3.0 / 3.5]);
        }
        let two = logits.narrow(1, 0, 2);
        assert_eq!(values(&dlr(&two, &class(0), Goal::Untargeted)), [-3.0]);
        assert_eq!(values(&dlr_towards(&logits.narrow(1, 0, 3), &class(0), &class(2))), [-1.0]);
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
        let probabilities = Tensor::from_slice(&[0.2_f32, 0.8, 0.9, 0.1]).reshape([2, 2]);
        let logarithms = of_probabilities(&probabilities);
        assert!(f64::try_from((&logarithms - probabilities.log()).abs().max()).unwrap() == 0.0);
        for others in [&probabilities * 2.0, Tensor::from_slice(&[-0.5_f32, 1.5]).reshape([1, 2])] {
            assert!(of_probabilities(&others).equal(&others));
        }
        // What is 0 keeps a finite logarithm.
        assert!(
            of_probabilities(&Tensor::from_slice(&[0.0_f32, 1.0]).reshape([1, 2])).isfinite().all().int64_value(&[])
                == 1
        );
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
