//! FGSM and PGD against answers that can be worked out.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use advmod_attacks::error::AttackError;
use advmod_attacks::execute::Options;
use advmod_attacks::testing::{ConvVictim, LinearVictim, images, predictions};
use advmod_attacks::threat::Norm;
use advmod_attacks::victim::{Victim, VictimError};
use tch::{Device, Kind, Tensor};

use common::{Changed, attack_all, bits, config, ids, one_thread, options, run, same_bits};

/// Images near the middle, so that small attacks stay off the walls of the box.
fn middle(seed: u64, shape: [i64; 4]) -> Tensor {
    images(seed, shape) * 0.2 + 0.4
}

#[test]
fn fgsm_on_a_linear_victim_is_the_analytic_optimum() {
    one_thread();
    let victim = LinearVictim::seeded(3, 2, 12);
    let pixels = middle(4, [8, 3, 2, 2]);
    let labels = predictions(&victim, &pixels).unwrap();
    let outcome = attack_all(&victim, &config("fgsm:eps=0.05"), &pixels, &labels).unwrap();
    for (i, sample) in outcome.samples.iter().enumerate() {
        let normal = victim.weight.get(1 - sample.label) - victim.weight.get(sample.label);
        let expected = pixels.get(i as i64).flatten(0, -1) + normal.sign() * 0.05;
        let error = (outcome.adversarial.get(i as i64).flatten(0, -1) - expected).abs().max().double_value(&[]);
        assert!(error < 1e-6, "sample {i}: {error}");
        let gain = 0.05 * normal.abs().sum(Kind::Double).double_value(&[]);
        assert!((sample.adversarial.margin - sample.clean.margin - gain).abs() < 1e-5, "sample {i}");
    }
}

#[test]
fn attacks_break_a_linear_victim_just_beyond_the_exact_distance_and_not_before() {
    one_thread();
    let victim = LinearVictim::seeded(3, 2, 12);
    let pixels = middle(4, [8, 3, 2, 2]);
    let labels = predictions(&victim, &pixels).unwrap();
    for norm in [Norm::Linf, Norm::L2] {
        for i in 0..8 {
            let (one, label) = (pixels.narrow(0, i, 1), labels.narrow(0, i, 1));
            let exact = victim.distance(&one.flatten(0, -1), label.int64_value(&[0]), norm);
            for attack in ["fgsm:", "pgd:step=auto,", "apgd:steps=20,", "apgd:loss=dlr,steps=20,", "apgd-t:steps=20,"] {
                for (share, is_broken) in [(1.01, true), (0.99, false)] {
                    let config = config(&format!("{attack}norm={norm},eps={}", exact * share));
                    let outcome = attack_all(&victim, &config, &one, &label).unwrap();
                    assert_eq!(outcome.samples[0].success, is_broken, "{attack} {norm} sample {i}, {share} of {exact}");
                }
            }
        }
    }
}

/// Of two classes the largest margin in the ball is `Z_i − Z_y + ε·‖w_i − w_y‖*`, where no pixel meets the wall of the box. Of more it is that of
/// the best class, and what climbs the ratio of differences comes near it.
#[test]
fn apgd_reaches_the_optimum_of_a_linear_victim() {
    one_thread();
    for (n_classes, slack) in [(2, 2e-4), (6, 0.2)] {
        let victim = LinearVictim::seeded(3, n_classes, 48);
        let pixels = middle(4, [8, 3, 4, 4]);
        let labels = predictions(&victim, &pixels).unwrap();
        let logits = victim.logits(&pixels).unwrap();
        for (norm, epsilon) in [("linf", 0.05), ("l2", 0.3)] {
            let losses = ["apgd-t:", "apgd:", "apgd:loss=dlr,", "apgd:loss=margin,"];
            for text in losses.into_iter().take(if n_classes == 2 { 4 } else { 1 }) {
                let text = format!("{text}norm={norm},eps={epsilon}");
                let outcome = attack_all(&victim, &config(&text), &pixels, &labels).unwrap();
                for (i, sample) in outcome.samples.iter().enumerate() {
                    let largest = |class: i64| {
                        let normal = victim.weight.get(class) - victim.weight.get(sample.label);
                        let size = if norm == "l2" { normal.norm() } else { normal.abs().sum(Kind::Float) };
                        let logits = logits.get(i as i64);
                        let margin = logits.double_value(&[class]) - logits.double_value(&[sample.label]);
                        margin + epsilon * size.double_value(&[])
                    };
                    let others = (0..n_classes).filter(|&class| class != sample.label);
                    let off = others.map(largest).fold(f64::NEG_INFINITY, f64::max) - sample.adversarial.margin;
                    assert!((-1e-4..slack).contains(&off), "{text} sample {i} is off by {off}");
                }
            }
        }
    }
}

/// A saturated cross-entropy has no gradient in f32; the ratio does not know how sure the victim is of itself.
#[test]
fn the_ratio_of_differences_makes_the_same_of_logits_of_any_scale() {
    one_thread();
    let pixels = images(2, [8, 3, 6, 9]);
    let plain = ConvVictim::seeded(1, 3, 5);
    let labels = predictions(&plain, &pixels).unwrap();
    let sure = Changed { inner: ConvVictim::seeded(1, 3, 5), change: |logits: Tensor| logits * 4096.0 };
    for text in ["apgd:loss=dlr,steps=10,eps=4/255", "apgd-t:steps=5,eps=4/255", "fab-t:steps=5"] {
        let [a, b] = [
            attack_all(&plain, &config(text), &pixels, &labels).unwrap(),
            attack_all(&sure, &config(text), &pixels, &labels).unwrap(),
        ];
        assert!((a.adversarial - b.adversarial).abs().max().double_value(&[]) < 1e-5, "{text}");
    }
}

#[test]
fn without_random_start_the_last_iterate_is_that_of_the_plain_formula() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [8, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    let (epsilon, step) = (8.0 / 255.0, 2.0 / 255.0);
    let mut expected = pixels.copy();
    for steps in 1..=6 {
        let leaf = expected.detach().set_requires_grad(true);
        let loss = victim.logits(&leaf).unwrap().cross_entropy_for_logits(&labels);
        let gradient = Tensor::run_backward(&[loss], &[&leaf], false, false).remove(0);
        let change = (&expected + gradient.sign() * step - &pixels).clamp(-epsilon, epsilon);
        expected = (&pixels + change).clamp(0.0, 1.0);
        // A share of ε is the same step.
        for step in ["2/255", "eps/4"] {
            let config = config(&format!("pgd:eps=8/255,step={step},steps={steps},random_start=false,iterate=last"));
            let outcome = attack_all(&victim, &config, &pixels, &labels).unwrap();
            assert_eq!(bits(&outcome.adversarial), bits(&expected), "{steps} steps of {step}");
            assert_eq!(outcome.samples[0].forwards, steps, "no forward is wasted");
        }
    }
}

#[test]
fn where_the_gradient_is_zero_nothing_moves_and_it_is_counted() {
    one_thread();
    let victim = LinearVictim {
        weight: Tensor::zeros([3, 12], (Kind::Float, Device::Cpu)),
        bias: Tensor::from_slice(&[1.0_f32, 0.0, 0.0]),
    };
    let pixels = images(2, [2, 3, 2, 2]);
    let labels = Tensor::from_slice(&[0_i64, 0]);
    for norm in ["linf", "l2"] {
        for attack in ["fgsm:", "pgd:random_start=false,"] {
            let outcome = attack_all(&victim, &config(&format!("{attack}norm={norm}")), &pixels, &labels).unwrap();
            assert!(same_bits(&outcome.adversarial, &pixels), "{attack} {norm}");
            let sample = &outcome.samples[1];
            // Each time the margin was tried in place of the cross-entropy, in vain.
            assert!(0 < sample.fallbacks && sample.zero_gradients == sample.fallbacks, "{attack} {norm}");
            assert_eq!(sample.backwards, 2 * sample.fallbacks, "{attack} {norm}");
        }
    }
}

/// Logits × 10⁴ leave the cross-entropy without a gradient in f32, and change no class; half of the rows stay as they were.
#[test]
fn where_cross_entropy_is_flat_the_margin_is_climbed_for_that_sample_alone() {
    one_thread();
    let plain = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [12, 3, 6, 9]);
    let labels = predictions(&plain, &pixels).unwrap();
    let is_sure = |sample: usize| sample.is_multiple_of(2);
    // The first pixel tells the rows apart, whatever batch they are in.
    let mark: Vec<f32> = (0..12).map(|sample| if is_sure(sample) { 0.0 } else { 1.0 }).collect();
    let factor = |pixels: &Tensor| {
        let marked = pixels.select(1, 0).select(1, 0).select(1, 0).lt(0.5).unsqueeze(1).to_kind(Kind::Float);
        marked * 9999.0 + 1.0
    };
    pixels.select(1, 0).select(1, 0).select(1, 0).copy_(&Tensor::from_slice(&mark));
    let labels = predictions(&plain, &pixels).unwrap_or(labels);
    let sure = Sure { inner: ConvVictim::seeded(1, 3, 5), factor };
    for text in ["fgsm:eps=6/255", "pgd:eps=6/255,steps=6", "pgd:eps=0.2,norm=l2,steps=6"] {
        let found = attack_all(&sure, &config(text), &pixels, &labels).unwrap();
        let [ordinary, margin] = [text.to_owned(), format!("{text},loss=margin")].map(|text| {
            let text = if text.starts_with("fgsm") { text.replace(",loss=margin", "") } else { text };
            attack_all(&plain, &config(&text), &pixels, &labels).unwrap()
        });
        for (row, sample) in (0_i64..).zip(&found.samples) {
            if is_sure(row as usize) {
                assert!(sample.fallbacks > 0 && sample.zero_gradients == 0, "{text} sample {row}");
                // The margin's direction is the same whatever its scale, but for rounding; FGSM has no such variant to compare with.
                let off = (found.adversarial.get(row) - margin.adversarial.get(row)).abs().max().double_value(&[]);
                assert!(text.starts_with("fgsm") || off < 1e-3, "{text} sample {row}: {off}");
            } else {
                assert_eq!(sample.fallbacks, 0, "{text} sample {row}");
                assert!(same_bits(&found.adversarial.get(row), &ordinary.adversarial.get(row)), "{text} sample {row}");
            }
        }
    }
}

/// A victim whose logits are multiplied by a factor that depends on the image.
struct Sure<F> {
    inner: ConvVictim,
    factor: F,
}

impl<F: Fn(&Tensor) -> Tensor> Victim for Sure<F> {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        Ok(self.inner.logits(pixels)? * (self.factor)(&pixels.detach()))
    }

    fn n_classes(&self) -> i64 {
        self.inner.n_classes()
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// What is not finite counts as 0, and the sample goes on with the rest of its gradient.
#[test]
fn gradients_that_are_not_finite_are_counted_and_stop_nobody() {
    one_thread();
    // √ at 0 has an infinite derivative: the images' black pixels spoil the gradient there.
    let victim = Rooted(ConvVictim::seeded(1, 3, 5));
    let pixels = images(2, [4, 3, 6, 9]) * 0.5 + 0.25;
    let _ = pixels.get(1).select(1, 0).fill_(0.0);
    let labels = predictions(&victim, &pixels).unwrap();
    let found = attack_all(&victim, &config("pgd:steps=3,random_start=false"), &pixels, &labels).unwrap();
    let counts: Vec<bool> = found.samples.iter().map(|it| it.nonfinite_gradients > 0).collect();
    assert_eq!(counts, [false, true, false, false]);
    assert!(found.samples.iter().all(|it| it.zero_gradients == 0));
    assert!(found.samples[1].linf > 0.0, "the other pixels have moved");
}

struct Rooted(ConvVictim);

impl Victim for Rooted {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        self.0.logits(&pixels.sqrt())
    }

    fn n_classes(&self) -> i64 {
        self.0.n_classes()
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

#[test]
fn stopping_at_the_first_success_changes_no_other_sample() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [13, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    for text in [
        "pgd:norm=linf,eps=6/255,step=0.5/255,steps=12,restarts=3",
        "pgd:norm=l2,eps=0.2,steps=12,restarts=3",
        "apgd:norm=linf,eps=4/255,steps=12,restarts=3",
        "apgd:norm=l2,eps=0.2,loss=dlr,steps=12,restarts=3",
        "apgd-t:norm=linf,eps=4/255,steps=6",
    ] {
        let all = attack_all(&victim, &config(text), &pixels, &labels).unwrap();
        let first = attack_all(&victim, &config(&format!("{text},stop=first")), &pixels, &labels).unwrap();
        let n_broken = all.samples.iter().filter(|sample| sample.success).count();
        assert!(0 < n_broken && n_broken < 13, "{text} breaks {n_broken} of 13, which tests nothing");
        for (i, (all_steps, stopped)) in all.samples.iter().zip(&first.samples).enumerate() {
            assert_eq!(all_steps.success, stopped.success, "{text} sample {i}");
            assert_eq!(all_steps.forwards_to_success, stopped.forwards_to_success, "{text} sample {i}");
            if stopped.success {
                assert_eq!(Some(stopped.forwards), stopped.forwards_to_success, "{text} sample {i}");
                assert!(stopped.adversarial.margin <= all_steps.adversarial.margin, "{text} sample {i}");
            } else {
                let i = i as i64;
                assert!(same_bits(&all.adversarial.get(i), &first.adversarial.get(i)), "{text} sample {i}");
            }
        }
        assert!(first.cost.forwards < all.cost.forwards);
    }
}

#[test]
fn more_restarts_never_lower_a_samples_margin() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [8, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    let [one, four] = [1, 4].map(|restarts| {
        attack_all(&victim, &config(&format!("pgd:steps=3,eps=3/255,restarts={restarts}")), &pixels, &labels).unwrap()
    });
    let margins = one.samples.iter().zip(&four.samples).map(|(a, b)| (a.adversarial.margin, b.adversarial.margin));
    assert!(margins.clone().all(|(one, four)| one <= four));
    assert!(margins.clone().any(|(one, four)| one < four), "restarts start at different points");
}

#[test]
fn the_margin_loss_and_another_seed_give_other_pixels() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [8, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    let base = attack_all(&victim, &config("pgd:steps=3"), &pixels, &labels).unwrap();
    let margin = attack_all(&victim, &config("pgd:steps=3,loss=margin"), &pixels, &labels).unwrap();
    assert!(!same_bits(&base.adversarial, &margin.adversarial));
    let other_seed = Options { seed: 6, eight_bit: false };
    let other = run(&victim, &config("pgd:steps=3"), &pixels, &labels, &ids(8), other_seed).unwrap();
    assert!(!same_bits(&base.adversarial, &other.adversarial));
}

#[test]
fn eight_bit_results_are_whole_levels_inside_the_ball() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = (images(2, [8, 3, 6, 9]) * 255.0).round() / 255.0;
    let labels = predictions(&victim, &pixels).unwrap();
    for text in ["pgd:eps=3.5/255", "pgd:norm=l2,eps=0.3", "fgsm:eps=2/255"] {
        let options = Options { eight_bit: true, ..options() };
        let outcome = run(&victim, &config(text), &pixels, &labels, &ids(8), options).unwrap();
        let levels = &outcome.adversarial * 255.0;
        assert!((&levels - levels.round()).abs().max().double_value(&[]) < 1e-4, "{text}");
        for sample in &outcome.samples {
            let (distance, epsilon) = match text {
                "pgd:norm=l2,eps=0.3" => (sample.l2, 0.3),
                "fgsm:eps=2/255" => (sample.linf, 2.0 / 255.0),
                _ => (sample.linf, 3.0 / 255.0),
            };
            assert!(0.0 < distance && distance <= epsilon + 1e-6, "{text}: {distance}");
        }
    }
}

#[test]
fn a_target_is_reached_and_its_own_samples_are_left_alone() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [16, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    let target = labels.int64_value(&[0]);
    let config = config(&format!("pgd:eps=0.3,step=0.02,target={target}"));
    let outcome = attack_all(&victim, &config, &pixels, &labels).unwrap();
    assert!(outcome.samples.iter().all(|sample| sample.attacked == (sample.label != target)));
    assert!(outcome.samples.iter().any(|sample| sample.success));
    assert!(outcome.samples.iter().all(|sample| !sample.success || sample.adversarial.prediction == target));
}

#[test]
fn a_victim_without_gradients_says_so() {
    one_thread();
    let victim = Changed { inner: ConvVictim::seeded(1, 3, 5), change: |logits: Tensor| logits.detach() };
    let pixels = images(2, [2, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    let error = attack_all(&victim, &config("fgsm"), &pixels, &labels).unwrap_err();
    assert!(matches!(error, AttackError::Victim(VictimError::Unusable(_))), "{error}");
}

#[test]
fn unusable_input_is_named() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [2, 3, 6, 9]);
    let labels = Tensor::from_slice(&[0_i64, 1]);
    let config = config("fgsm");
    let message = |pixels: &Tensor, labels: &Tensor, ids: &[u32], eight_bit| {
        let options = Options { seed: 0, eight_bit };
        run(&victim, &config, pixels, labels, ids, options).unwrap_err().to_string()
    };
    let expectations = [
        (message(&(&pixels * 255.0), &labels, &[7, 8], false), "sample 7 has a pixel value of"),
        (message(&(&pixels * f64::NAN), &labels, &[7, 8], false), "sample 7 has a pixel value of NaN"),
        (message(&pixels, &(&labels + 4), &[7, 8], false), "sample 8 has label 5, the model has classes 0 to 4"),
        (message(&pixels, &labels, &[7, 7], false), "ids must be 2 distinct numbers"),
        (message(&pixels, &labels.narrow(0, 0, 1), &[7, 8], false), "labels are Int64 [1], expected i64 [2]"),
        (message(&pixels.get(0), &labels, &[7, 8], false), "pixels are Float [3, 6, 9]"),
        (message(&pixels, &labels, &[7, 8], true), "sample 7 is no 8-bit image"),
    ];
    for (message, expected) in expectations {
        assert!(message.contains(expected), "{message}");
    }
}
