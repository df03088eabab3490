//! What an attack did, sample by sample.

use tch::Tensor;

/// The result of one attack on one batch.
#[derive(Debug)]
pub struct Outcome {
    /// One entry per sample, in the order given.
    pub samples: Vec<SampleOutcome>,
    /// f32 `[N, C, H, W]` in `[0, 1]`; the original bits where a sample was not attacked.
    pub adversarial: Tensor,
    pub cost: Cost,
}

/// Cost of a run. An image run through the victim once is one forward.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub forwards: u64,
    pub backwards: u64,
    /// The judge's forwards: clean images before, adversarial ones after.
    pub judge_forwards: u64,
    /// Rows run only to fill batches up to 16 or a multiple of 8; in none of the other counts.
    pub padding: u64,
    /// Wall time of the attack alone.
    pub attack_seconds: f64,
    /// Wall time of the attack and its judgement.
    pub seconds: f64,
}

/// One sample's result: plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleOutcome {
    pub id: u32,
    pub label: i64,
    /// The class to reach, if the attack is targeted.
    pub target: Option<i64>,
    /// Whether it was attacked: classified correctly, and not of the target class already.
    pub attacked: bool,
    /// Whether it was attacked and the final pixels meet the goal.
    pub success: bool,
    /// How the victim sees the original.
    pub clean: Verdict,
    /// How the victim sees the final pixels.
    pub adversarial: Verdict,
    /// Pixels changed, a pixel counting once.
    pub l0: u64,
    /// Euclidean size of the change.
    pub l2: f64,
    pub linf: f64,
    /// How far outside the ball or of `[0, 1]` the attack's own result was, in the norm's unit; should be 0.
    pub overshoot: f64,
    /// The attack's forwards for this sample.
    pub forwards: u64,
    /// The attack's backwards for this sample.
    pub backwards: u64,
    /// Forwards until the goal was first met, where the attack knows.
    pub forwards_to_success: Option<u64>,
    /// Gradients that were zero everywhere.
    pub zero_gradients: u64,
    /// Gradients that were not finite somewhere; there they counted as 0.
    pub nonfinite_gradients: u64,
    /// Gradients of the margin that stood in for those of a loss that was flat.
    pub fallbacks: u64,
}

/// How the victim classifies one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The class of the largest logit. Of equals one that is not the label, the first of these: a label is right only where it stands alone,
    /// whatever its number.
    pub prediction: i64,
    /// Share of the judgements that are wrong: 0 or 1 where there is one.
    pub wrong: f64,
    /// Whether the logits are finite. Where they are not, the image is misclassified.
    pub is_finite: bool,
    /// `max_{i≠label} Z_i − Z_label`: positive where misclassified, infinite where the logits are not finite.
    pub margin: f64,
    /// Softmax probability of the label.
    pub probability: f64,
    /// The [`LIKELIEST`] classes of the largest softmax probabilities with these, the largest first; all where there are fewer, none where the
    /// logits are not finite.
    pub likeliest: Vec<(i64, f64)>,
}

/// How many classes a verdict names.
pub const LIKELIEST: usize = 3;

impl Verdict {
    /// What several judgements, each the `logits` (at least two) of one look, say of an image of class `label`: that of their mean, unless half
    /// of them or more are wrong, which then counts as wrong.
    pub fn of(judgements: &[Vec<f32>], label: i64) -> Self {
        let n = judgements.len() as f64;
        let wrong: Vec<i64> = judgements.iter().map(|it| prediction(it, label)).filter(|it| *it != label).collect();
        let mut verdict = Self::new(&mean(judgements), label);
        verdict.wrong = wrong.len() as f64 / n;
        if verdict.wrong >= 0.5 && verdict.prediction == label {
            // The class that most of them give; of equals the first.
            let votes = |class: i64| wrong.iter().filter(|it| **it == class).count();
            let most = wrong.iter().copied().max_by_key(|&class| (votes(class), std::cmp::Reverse(class)));
            verdict.prediction = most.unwrap_or(verdict.prediction);
        }
        verdict
    }

    /// The verdict of `logits` (at least two) on an image of class `label`.
    pub(crate) fn new(logits: &[f32], label: i64) -> Self {
        let prediction = prediction(logits, label);
        let wrong = f64::from(u8::from(prediction != label));
        if !is_finite(logits) {
            return Self {
                prediction,
                wrong,
                is_finite: false,
                margin: f64::INFINITY,
                probability: 0.0,
                likeliest: Vec::new(),
            };
        }
        let best_other = best_other(logits, label);
        let likeliest = likeliest(logits);
        let (first, p) = likeliest[0];
        let (label, largest) = (label as usize, logits[first as usize]);
        Self {
            prediction,
            wrong,
            is_finite: true,
            margin: f64::from(best_other) - f64::from(logits[label]),
            probability: p * (f64::from(logits[label]) - f64::from(largest)).exp(),
            likeliest,
        }
    }
}

/// The mean of logits, class by class; of one the same bits.
pub(crate) fn mean(judgements: &[Vec<f32>]) -> Vec<f32> {
    match judgements {
        [one] => one.clone(),
        all => {
            let sum = |class: usize| all.iter().map(|it| f64::from(it[class])).sum::<f64>();
            let classes = all.first().map_or(0, Vec::len);
            (0..classes).map(|class| (sum(class) / all.len() as f64) as f32).collect()
        }
    }
}

/// The largest of `logits` but that of one class.
fn best_other(logits: &[f32], class: i64) -> f32 {
    let others = logits.iter().enumerate().filter(|(other, _)| *other as i64 != class);
    others.map(|(_, &logit)| logit).fold(f32::NEG_INFINITY, f32::max)
}

/// Whether a class stands alone at the top of `logits`, which are finite.
pub(crate) fn is_alone(logits: &[f32], class: i64) -> bool {
    is_finite(logits) && logits.get(class as usize).is_some_and(|&logit| logit > best_other(logits, class))
}

pub fn is_finite(logits: &[f32]) -> bool {
    logits.iter().all(|logit| logit.is_finite())
}

/// How `logits` classify an image of class `label`; of equals it is not the label, and neither is it where they are not finite. See
/// [`Verdict::prediction`].
pub fn prediction(logits: &[f32], label: i64) -> i64 {
    if is_alone(logits, label) {
        return label;
    }
    let (is_finite, top) = (is_finite(logits), best_other(logits, label));
    let mut others = (0_i64..).zip(logits).filter(|(class, logit)| *class != label && (!is_finite || **logit >= top));
    others.next().map_or(label, |(class, _)| class)
}

/// The [`LIKELIEST`] classes of `logits`, the likeliest first and the first of equals before the others, with their softmax probabilities;
/// none where the logits are not finite.
pub fn likeliest(logits: &[f32]) -> Vec<(i64, f64)> {
    if !is_finite(logits) {
        return Vec::new();
    }
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    // Finite numbers compare; −0 and +0 are equal.
    let order = |a: usize, b: usize| logits[b].partial_cmp(&logits[a]).unwrap_or(std::cmp::Ordering::Equal);
    classes.sort_by(|&a, &b| order(a, b).then(a.cmp(&b)));
    let largest = classes.first().map_or(0.0, |&class| f64::from(logits[class]));
    let weight = |class: usize| (f64::from(logits[class]) - largest).exp();
    let total: f64 = (0..logits.len()).map(weight).sum();
    classes.into_iter().take(LIKELIEST).map(|class| (class as i64, weight(class) / total)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_wrong_whatever_the_class_number() {
        for label in 0..3 {
            let at = |class: i64| Verdict::new(&[1.0, 1.0, 1.0], class).prediction;
            assert_ne!(at(label), label);
            let mut alone = [-0.0_f32; 3];
            assert_ne!(Verdict::new(&alone, label).prediction, label);
            alone[label as usize] = 0.0;
            assert_ne!(Verdict::new(&alone, label).prediction, label, "+0 is not more than -0");
            alone[label as usize] = 1e-30;
            assert_eq!(Verdict::new(&alone, label).prediction, label);
            assert!(is_alone(&alone, label) && !is_alone(&alone, (label + 1) % 3));
        }
    }

    #[test]
    fn half_of_the_judgements_decide() {
        let (right, wrong) = (vec![9.0, 0.0, 0.0], vec![0.0, 0.0, 1.0]);
        let of = |n: usize| Verdict::of(&[vec![right.clone(); 4 - n], vec![wrong.clone(); n]].concat(), 0);
        // The mean is right up to three of four.
        assert_eq!([0, 1, 2, 3, 4].map(|n| of(n).prediction), [0, 0, 2, 2, 2]);
        assert_eq!([0, 1, 2, 3, 4].map(|n| of(n).wrong.to_string()), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(Verdict::of(&[vec![0.25, 0.5]], 1), Verdict::new(&[0.25, 0.5], 1));
    }

    #[test]
    fn what_is_not_finite_is_wrong() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for label in 0..2 {
                let verdict = Verdict::new(&[3.0, bad], label);
                assert_ne!(verdict.prediction, label);
                assert!(!verdict.is_finite && verdict.likeliest.is_empty() && verdict.margin > 0.0);
                assert!(!is_alone(&[3.0, bad], label));
            }
        }
    }

    #[test]
    fn a_verdict_is_right_with_negative_logits_and_ties() {
        let verdict = Verdict::new(&[-3.0, -1.0, -1.0], 2);
        assert_eq!(verdict.prediction, 1);
        assert_eq!(verdict.margin.to_bits(), 0.0_f64.to_bits());
        let expected = 1.0 / (2.0 + (-2.0_f64).exp());
        assert!((verdict.probability - expected).abs() < 1e-12);
        let classes: Vec<i64> = verdict.likeliest.iter().map(|it| it.0).collect();
        assert_eq!(classes, [1, 2, 0]);
        assert!((verdict.likeliest.iter().map(|it| it.1).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
