//! Attacks that look for the smallest change: each test is named for what goes wrong elsewhere.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use advmod_attacks::testing::{ConvVictim, LinearVictim, images, predictions};
use advmod_attacks::threat::Norm;
use tch::{Device, Kind, Tensor};

use common::{Changed, Recorder, attack_all, config, one_thread, same_bits};

const CW: &str = "cw:search_steps=9,steps=100";

fn rounded(pixels: &Tensor) -> Tensor {
    pixels.round()
}

#[test]
fn carlini_wagner_comes_near_the_exact_distance_of_a_linear_victim() {
    one_thread();
    let victim = LinearVictim::seeded(3, 4, 60);
    let pixels = images(4, [8, 1, 6, 10]);
    let labels = predictions(&victim, &pixels).unwrap();
    let outcome = attack_all(&victim, &config(CW), &pixels, &labels).unwrap();
    for (i, sample) in outcome.samples.iter().enumerate() {
        let exact = victim.distance(&pixels.get(i as i64).flatten(0, -1), sample.label, Norm::L2);
        assert!(sample.success, "sample {i}");
        assert!(exact * 0.999 <= sample.l2 && sample.l2 <= 1.25 * exact, "sample {i}: {} for {exact}", sample.l2);
    }
}

#[test]
fn fab_finds_the_exact_distance_of_a_linear_victim() {
    one_thread();
    let victim = LinearVictim::seeded(3, 4, 60);
    let pixels = images(4, [8, 1, 6, 10]) * 0.6 + 0.2;
    let labels = predictions(&victim, &pixels).unwrap();
    for norm in [Norm::Linf, Norm::L2] {
        let outcome = attack_all(&victim, &config(&format!("fab-t:steps=20,norm={norm}")), &pixels, &labels).unwrap();
        for (i, sample) in outcome.samples.iter().enumerate() {
            let exact = victim.distance(&pixels.get(i as i64).flatten(0, -1), sample.label, norm);
            let found = if norm == Norm::L2 { sample.l2 } else { sample.linf };
            assert!(sample.success, "{norm} sample {i}");
            assert!(exact * 0.999 <= found && found <= 1.001 * exact, "{norm} sample {i}: {found} for {exact}");
        }
    }
}

#[test]
fn fab_lets_go_of_what_is_near_enough_and_counts_nothing_else() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(4, [12, 3, 8, 8]);
    let labels = predictions(&victim, &pixels).unwrap();
    let all = attack_all(&victim, &config("fab-t:steps=10"), &pixels, &labels).unwrap();
    let mut distances: Vec<f64> = all.samples.iter().map(|it| it.linf).collect();
    distances.sort_by(f64::total_cmp);
    let bound = f64::midpoint(distances[5], distances[6]);
    let text = format!("fab-t:steps=10,eps={bound},stop=first");
    let near = attack_all(&victim, &config(&text), &pixels, &labels).unwrap();
    for (all, near) in all.samples.iter().zip(&near.samples) {
        assert_eq!(near.success, all.linf <= bound);
        assert_eq!(near.success, near.forwards_to_success.is_some());
        assert!(!near.success || near.forwards <= all.forwards && near.linf <= bound);
        assert!(near.success || (near.forwards, near.linf) == (all.forwards, 0.0));
    }
}

#[test]
fn minimal_attacks_come_within_a_twentieth_of_the_exact_distance_of_a_linear_victim() {
    one_thread();
    let victim = LinearVictim::seeded(3, 4, 60);
    // Far enough from 0 and 1: the exact distance knows no box.
    let pixels = images(4, [8, 1, 6, 10]) * 0.5 + 0.25;
    let labels = predictions(&victim, &pixels).unwrap();
    for (text, norm) in [
        ("ddn", Norm::L2),
        ("fmn:norm=l2", Norm::L2),
        ("fmn:norm=linf", Norm::Linf),
        ("hop-skip-jump:queries=2500", Norm::L2),
    ] {
        let samples = attack_all(&victim, &config(text), &pixels, &labels).unwrap().samples;
        let near = samples.iter().enumerate().filter(|(i, sample)| {
            let exact = victim.distance(&pixels.get(*i as i64).flatten(0, -1), sample.label, norm);
            let found = if norm == Norm::L2 { sample.l2 } else { sample.linf };
            assert!(sample.success && exact * 0.999 <= found, "{text} sample {i}: {found} for {exact}");
            found <= 1.05 * exact
        });
        // Labels alone do not tell which of the other classes is nearest.
        let least = if text.starts_with("hop-skip-jump") { 7 } else { 8 };
        assert!(least <= near.count(), "{text}");
    }
}

/// Two classes with opposite logits: the fewest pixels are those of the largest weights, each at its farther end.
#[test]
fn sparse_attacks_find_the_fewest_pixels_of_a_linear_victim() {
    one_thread();
    let weight = LinearVictim::seeded(3, 1, 60).weight;
    let pixels = Tensor::full([1, 1, 6, 10], 0.5, (Kind::Float, Device::Cpu));
    let bias = Tensor::from_slice(&[4.0_f32, -4.0]);
    let victim = LinearVictim { weight: Tensor::cat(&[&weight, &-&weight], 0), bias };
    let labels = predictions(&victim, &pixels).unwrap();
    let margin = |logits: &Tensor| (logits.double_value(&[0, 0]) - logits.double_value(&[0, 1])).abs();
    let mut left = margin(&(pixels.flatten(1, -1).matmul(&victim.weight.tr()) + &victim.bias));
    let (gains, _) = weight.abs().flatten(0, -1).sort(0, true);
    let gains = Vec::<f32>::try_from(gains).unwrap();
    let exact = gains.iter().position(|&gain| {
        left -= f64::from(gain);
        left < 0.0
    });
    let exact = exact.unwrap() as u64 + 1;
    assert!(2 < exact, "{exact}");
    for text in ["sigma-zero", "sigma-zero:count=channels", "fmn:norm=l0"] {
        let found = &attack_all(&victim, &config(text), &pixels, &labels).unwrap().samples[0];
        assert!(found.success && exact <= found.l0 && found.l0 <= exact + 1, "{text}: {} for {exact}", found.l0);
    }
}

#[test]
fn carlini_wagner_moves_pixels_of_exactly_0_and_1() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = rounded(&images(4, [6, 3, 8, 8]));
    let labels = predictions(&victim, &pixels).unwrap();
    let outcome = attack_all(&victim, &config("cw:steps=300"), &pixels, &labels).unwrap();
    assert!(outcome.samples.iter().all(|sample| sample.success && 0.01 < sample.linf), "{:?}", outcome.samples);
}

#[test]
fn jsma_breaks_images_of_which_nothing_can_rise() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let white = Tensor::ones([4, 3, 8, 8], (Kind::Float, Device::Cpu));
    let labels = predictions(&victim, &white).unwrap();
    let outcome = attack_all(&victim, &config("jsma:gamma=1.0"), &white, &labels).unwrap();
    assert!(outcome.samples.iter().all(|sample| sample.success), "{:?}", outcome.samples);
    // A targeted search keeps to Papernot's one sign, by which a white image cannot move.
    let outcome = attack_all(&victim, &config("jsma:target=runner-up,gamma=1.0"), &white, &labels).unwrap();
    assert!(outcome.samples.iter().all(|sample| !sample.success && sample.l0 == 0), "{:?}", outcome.samples);
}

#[test]
fn logits_far_below_zero_are_attacked_like_any_others() {
    one_thread();
    let pixels = images(4, [6, 3, 8, 8]);
    let plain = ConvVictim::seeded(1, 3, 5);
    let labels = predictions(&plain, &pixels).unwrap();
    let shifted = Changed { inner: ConvVictim::seeded(1, 3, 5), change: |logits: Tensor| logits - 100.0 };
    for (text, tolerance) in [(CW, 0.02), ("jsma", 0.0), ("jsma:target=runner-up,theta=0.5", 0.0)] {
        let [a, b] = [
            attack_all(&plain, &config(text), &pixels, &labels),
            attack_all(&shifted, &config(text), &pixels, &labels),
        ];
        for (a, b) in a.unwrap().samples.iter().zip(&b.unwrap().samples) {
            assert_eq!(a.success, b.success, "{text}");
            // Shifting rounds the logits, which is all that may differ.
            assert!((a.l2 - b.l2).abs() <= tolerance * a.l2 + 1e-6, "{text}: {} and {}", a.l2, b.l2);
        }
    }
}

#[test]
fn a_sample_that_cannot_be_broken_keeps_its_bits() {
    one_thread();
    let victim = Changed {
        inner: ConvVictim::seeded(1, 3, 3),
        change: |logits: Tensor| logits + Tensor::from_slice(&[1e4_f32, 0.0, 0.0]),
    };
    let pixels = images(4, [3, 3, 8, 8]);
    let labels = predictions(&victim, &pixels).unwrap();
    for text in [
        "cw:search_steps=3,steps=5",
        "fab-t:steps=5",
        "jsma",
        "jsma:variant=maximal",
        "jsma:variant=every-target",
        "ddn:steps=5",
        "fmn:steps=5",
        "sigma-zero:steps=5",
        "hop-skip-jump:queries=20",
    ] {
        let outcome = attack_all(&victim, &config(text), &pixels, &labels).unwrap();
        assert!(outcome.samples.iter().all(|sample| sample.attacked && !sample.success), "{text}");
        assert!(same_bits(&outcome.adversarial, &pixels), "{text}");
    }
}

#[test]
fn kappa_is_the_margin_of_every_success() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(4, [6, 3, 8, 8]);
    let labels = predictions(&victim, &pixels).unwrap();
    let [loose, strict] = ["", ",kappa=0.5"]
        .map(|kappa| attack_all(&victim, &config(&format!("{CW}{kappa}")), &pixels, &labels).unwrap().samples);
    for (loose, strict) in loose.iter().zip(&strict) {
        assert!(strict.success && 0.5 - 1e-3 < strict.adversarial.margin, "{strict:?}");
        assert!(loose.l2 < strict.l2);
    }
}

/// Logarithms of probabilities are the logits but for a constant.
#[test]
fn carlini_wagner_takes_probabilities_for_the_logits_that_they_come_from() {
    one_thread();
    let (plain, pixels) = (ConvVictim::seeded(1, 3, 5), images(4, [6, 3, 8, 8]));
    let labels = predictions(&plain, &pixels).unwrap();
    let squashed =
        Changed { inner: ConvVictim::seeded(1, 3, 5), change: |logits: Tensor| logits.softmax(1, Kind::Float) };
    let plain = attack_all(&plain, &config(CW), &pixels, &labels).unwrap().samples;
    let squashed = attack_all(&squashed, &config(CW), &pixels, &labels).unwrap().samples;
    for (a, b) in plain.iter().zip(&squashed) {
        assert!(a.success && b.success && (a.l2 - b.l2).abs() <= 0.02 * a.l2, "{} and {}", a.l2, b.l2);
    }
}

/// Two classes with opposite logits: every feature helps by its weight, so the cheapest set is that of the largest weights.
#[test]
fn maximal_jsma_finds_the_fewest_features_of_a_linear_victim() {
    one_thread();
    let weight = LinearVictim::seeded(3, 1, 60).weight;
    let pixels = Tensor::full([1, 1, 6, 10], 0.5, (Kind::Float, Device::Cpu));
    let bias = Tensor::from_slice(&[4.0_f32, -4.0]);
    let victim = LinearVictim { weight: Tensor::cat(&[&weight, &-&weight], 0), bias };
    let labels = predictions(&victim, &pixels).unwrap();
    let outcome = attack_all(&victim, &config("jsma:variant=maximal,gamma=1.0"), &pixels, &labels).unwrap();
    let found = &outcome.samples[0];

    let mut margin = -f64::from(found.clean.margin as f32);
    let (gains, _) = weight.abs().flatten(0, -1).sort(0, true);
    // A feature moves by 0.5 and changes both logits.
    let gains = Vec::<f32>::try_from(gains).unwrap();
    let exact = gains.iter().position(|&gain| {
        margin -= f64::from(gain);
        margin < 0.0
    });
    let exact = exact.unwrap() as u64 + 1;
    assert!(found.success && 4 < exact, "{exact}");
    // Pairs cannot stop at an odd number.
    assert_eq!(found.l0, exact.next_multiple_of(2));
    assert!(found.l0 as f64 <= 1.25 * exact as f64, "{} for {exact}", found.l0);
}

#[test]
fn without_an_admissible_pair_jsma_stops_and_leaves_feature_0_alone() {
    one_thread();
    let flat = Changed {
        inner: ConvVictim::seeded(1, 3, 5),
        change: |logits: Tensor| logits * 0.0 + Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 0.0, 0.0]),
    };
    let pixels = images(4, [2, 3, 8, 8]);
    let labels = predictions(&flat, &pixels).unwrap();
    for text in ["jsma", "jsma:variant=maximal", "jsma:target=runner-up"] {
        let outcome = attack_all(&flat, &config(text), &pixels, &labels).unwrap();
        assert!(same_bits(&outcome.adversarial, &pixels), "{text}");
        assert!(outcome.samples.iter().all(|sample| sample.forwards == 1), "{text}");
    }
}

#[test]
fn jsma_skips_saturated_features_even_where_they_matter_most() {
    one_thread();
    let weight =
        Tensor::from_slice(&[9.0_f32, 8.0, 1.0, 2.0, 0.5, 0.1, -9.0, -8.0, -1.0, -2.0, -0.5, -0.1]).reshape([2, 6]);
    let victim = LinearVictim { weight, bias: Tensor::from_slice(&[-18.5_f32, 18.5]) };
    // The two features with the largest weights are at 1 already.
    let pixels = Tensor::from_slice(&[1.0_f32, 1.0, 0.0, 0.0, 0.0, 0.0]).reshape([1, 1, 2, 3]);
    let outcome =
        attack_all(&victim, &config("jsma:target=0,gamma=1.0"), &pixels, &Tensor::from_slice(&[1_i64])).unwrap();
    assert!(outcome.samples[0].success);
    let adversarial = Vec::<f32>::try_from(outcome.adversarial.flatten(0, -1)).unwrap();
    assert_eq!(adversarial, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn jsma_takes_two_gradients_per_step_for_any_number_of_classes_and_two_features_per_pair() {
    one_thread();
    for n_classes in [2, 12] {
        let victim = Recorder::new(ConvVictim::seeded(1, 3, n_classes));
        let pixels = images(4, [1, 3, 8, 8]);
        let labels = predictions(&victim, &pixels).unwrap();
        for text in ["jsma:gamma=0.2,theta=-0.5", "jsma:target=least-likely,gamma=0.2"] {
            victim.shown.borrow_mut().clear();
            let sample = attack_all(&victim, &config(text), &pixels, &labels).unwrap().samples.remove(0);
            let n_steps = 38; // ⌊0.2 · 192⌋ / 2 pairs
            let n_steps = if text.contains("theta") { 2 * (n_steps / 2) } else { n_steps / 2 };
            assert!(
                sample.backwards <= 2 * sample.forwards && 2 * (sample.forwards - 1) <= sample.backwards,
                "{sample:?}"
            );
            assert!(sample.forwards <= n_steps + 1, "{text}: {sample:?}");
            let seen = victim.shown.borrow();
            for pair in seen.windows(2).skip(1).take(sample.forwards as usize - 1) {
                let n_changed = (pair[1].get(0) - pair[0].get(0)).ne(0.0).sum(Kind::Int64).int64_value(&[]);
                assert_eq!(n_changed, 2, "{text}");
            }
        }
    }
}

#[test]
fn maximal_jsma_goes_both_ways_and_never_turns_back() {
    one_thread();
    let victim = Recorder::new(ConvVictim::seeded(1, 3, 5));
    let pixels = images(7, [1, 3, 8, 8]);
    let labels = predictions(&victim, &pixels).unwrap();
    victim.shown.borrow_mut().clear();
    let sample = attack_all(&victim, &config("jsma:variant=maximal,theta=0.1,gamma=0.5"), &pixels, &labels)
        .unwrap()
        .samples
        .remove(0);
    let seen = victim.shown.borrow();
    let changes: Vec<Tensor> = seen
        .windows(2)
        .skip(1)
        .take(sample.forwards as usize - 1)
        .map(|pair| pair[1].get(0) - pair[0].get(0))
        .collect();
    let all = Tensor::stack(&changes, 0);
    let (rises, falls) = (all.gt(0.0).any_dim(0, false), all.lt(0.0).any_dim(0, false));
    assert!(4 < changes.len(), "{sample:?}");
    assert!(bool::try_from(rises.any()).unwrap() && bool::try_from(falls.any()).unwrap());
    assert!(!bool::try_from(rises.logical_and(&falls).any()).unwrap(), "a feature turned back");
}

#[test]
fn aiming_at_every_class_is_never_dearer_than_aiming_at_one() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(4, [6, 3, 8, 8]);
    let labels = predictions(&victim, &pixels).unwrap();
    let every = attack_all(&victim, &config("jsma:variant=every-target,gamma=0.5"), &pixels, &labels).unwrap().samples;
    let mut n_compared = 0;
    for class in 0..5 {
        let one =
            attack_all(&victim, &config(&format!("jsma:target={class},gamma=0.5")), &pixels, &labels).unwrap().samples;
        for (one, every) in one.iter().zip(&every).filter(|(one, _)| one.success) {
            assert!(every.success && every.l0 <= one.l0, "{} for {}", every.l0, one.l0);
            n_compared += 1;
        }
    }
    assert!(12 < n_compared, "{n_compared}");
}
