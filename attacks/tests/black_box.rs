//! One-Pixel and Local Search against victims whose weak spots are known.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::ops::ControlFlow;

use advmod_attacks::error::AttackError;
use advmod_attacks::execute::execute;
use advmod_attacks::outcome::Outcome;
use advmod_attacks::testing::{ConvVictim, CountingVictim, LinearVictim, images, predictions};
use advmod_attacks::victim::{Victim, VictimError};
use tch::{Device, Kind, Tensor};

use common::{Changed, Recorder, attack_all, bits, config, ids, one_thread, options, run, same_bits};

/// Every way in which the two attacks can search, with small budgets.
const SEARCHES: [&str; 12] = [
    "one-pixel:population=12,generations=3",
    "one-pixel:pixels=3,population=12,generations=3",
    "one-pixel:population=12,generations=3,until=confidence",
    "one-pixel:search=best1bin,population=12,generations=3",
    "one-pixel:search=best1bin,population=12,generations=3,recombination=0.5",
    "one-pixel:search=exhaustive",
    "one-pixel:search=random,pixels_tried=40",
    "local-search:rounds=3,candidates=10",
    "local-search:rounds=3,candidates=10,accept=round",
    "local-search:rounds=3,candidates=10,exclude=30",
    "local-search:rounds=3,candidates=10,p=0.2,adaptive=true",
    "local-search:rounds=3,candidates=10,k=2",
];

/// A victim of two classes made of a function from pixels to the logit of class 1; that of class 0 is 0.
struct Judge<F>(F);

impl<F: Fn(&Tensor) -> Tensor> Victim for Judge<F> {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        let logit = (self.0)(pixels).to_kind(Kind::Float);
        Ok(Tensor::stack(&[logit.zeros_like(), logit], 1))
    }

    fn n_classes(&self) -> i64 {
        2
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// Number of pixels in which each of the images differs from `original`, a pixel counting once, `[N]`.
fn n_changed(images: &Tensor, original: &Tensor) -> Tensor {
    let is_changed = images.ne_tensor(original).any_dim(1, false); // [N, H, W]
    is_changed.flatten(1, 2).sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)
}

fn attack(victim: &dyn Victim, text: &str, pixels: &Tensor) -> Outcome {
    let labels = predictions(victim, pixels).unwrap();
    attack_all(victim, &config(text), pixels, &labels).unwrap()
}

#[test]
fn images_that_are_not_square_and_any_number_of_channels_work() {
    one_thread();
    for shape in [[3, 1, 12, 20], [3, 3, 12, 20], [3, 4, 20, 12], [3, 3, 1, 2], [3, 1, 1, 1]] {
        let n_values = shape[1..].iter().product();
        let victim = LinearVictim::seeded(3, 3, n_values);
        let pixels = images(4, shape);
        for search in SEARCHES {
            let outcome = attack(&victim, search, &pixels);
            for sample in &outcome.samples {
                let most = if search.contains("pixels=3") { 3 } else { 1 };
                assert!(!search.starts_with("one-pixel") || sample.l0 <= most, "{search} {shape:?}: {sample:?}");
                assert!(0 < sample.forwards, "{search} {shape:?}");
            }
        }
    }
}

#[test]
fn a_failed_sample_comes_back_bit_for_bit() {
    one_thread();
    let victim = Judge(|pixels: &Tensor| pixels.flatten(1, -1).mean_dim(1, false, Kind::Float) - 5.0);
    let pixels = images(4, [5, 3, 6, 9]);
    for search in SEARCHES.iter().filter(|search| !search.contains("k=2")) {
        let outcome = attack(&victim, search, &pixels);
        assert!(same_bits(&outcome.adversarial, &pixels), "{search}");
        assert!(outcome.samples.iter().all(|sample| !sample.success && sample.l0 == 0), "{search}");
    }
}

#[test]
fn samples_alone_and_in_threes_and_permuted_cost_and_give_the_same() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [9, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    let order = [7_i64, 2, 0, 3, 5, 8, 1, 4, 6];
    for search in SEARCHES {
        let config = config(search);
        let whole = attack_all(&victim, &config, &pixels, &labels).unwrap();
        for chunk in order.chunks(1).take(2).chain(order.chunks(3)).chain([order.as_slice()]) {
            let rows = Tensor::from_slice(chunk);
            let some_ids: Vec<u32> = chunk.iter().map(|&row| row as u32).collect();
            let (some, some_labels) = (pixels.index_select(0, &rows), labels.index_select(0, &rows));
            let part = run(&victim, &config, &some, &some_labels, &some_ids, options()).unwrap();
            assert!(same_bits(&part.adversarial, &whole.adversarial.index_select(0, &rows)), "{search} {chunk:?}");
            for (sample, &row) in part.samples.iter().zip(chunk) {
                assert_eq!(sample, &whole.samples[row as usize], "{search} {chunk:?}");
            }
        }
    }
}

#[test]
fn the_meters_are_the_victims_own_count_and_success_comes_within_them() {
    one_thread();
    let victim = CountingVictim::new(ConvVictim::seeded(1, 3, 5));
    let pixels = images(2, [13, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    for search in SEARCHES {
        let before = victim.rows();
        let outcome = attack_all(&victim, &config(search), &pixels, &labels).unwrap();
        let cost = outcome.cost;
        assert_eq!(cost.forwards + cost.judge_forwards + cost.padding, victim.rows() - before, "{search}");
        assert_eq!((cost.backwards, victim.differentiated_rows()), (0, 0), "{search}");
        for sample in &outcome.samples {
            assert_eq!(sample.success, sample.forwards_to_success.is_some(), "{search}");
            assert!(sample.forwards_to_success.is_none_or(|n| 0 < n && n <= sample.forwards), "{search}");
        }
    }
}

#[test]
fn logits_shifted_by_a_constant_give_the_same_attack() {
    one_thread();
    let pixels = images(2, [5, 3, 6, 9]);
    // In whole 256ths, so that the shift itself loses no digits.
    let [plain, shifted] = [0.0, -100.0].map(|shift| Changed {
        inner: ConvVictim::seeded(1, 3, 5),
        change: move |logits: Tensor| (logits * 256.0).round() / 256.0 + shift,
    });
    for search in SEARCHES {
        let expected = attack(&plain, search, &pixels).adversarial;
        assert!(same_bits(&attack(&shifted, search, &pixels).adversarial, &expected), "{search}");
    }
}

#[test]
fn what_the_victim_sees_never_leaves_the_box() {
    one_thread();
    let pixels = images(4, [3, 3, 12, 20]);
    for search in SEARCHES.into_iter().chain(["one-pixel:pixels=4,population=20,generations=20,f=2"]) {
        let victim = Recorder::new(ConvVictim::seeded(1, 3, 5));
        attack(&victim, search, &pixels);
        for shown in victim.shown.borrow().iter() {
            let (least, most) = (shown.min().double_value(&[]), shown.max().double_value(&[]));
            assert!(0.0 <= least && most <= 1.0, "{search}: {least} to {most}");
        }
    }
}

#[test]
fn no_chunk_holds_a_whole_population_and_one_may_stop_between_chunks() {
    one_thread();
    let victim = Recorder::new(Judge(|pixels: &Tensor| pixels.flatten(1, -1).mean_dim(1, false, Kind::Float) - 5.0));
    let pixels = images(4, [12, 3, 6, 9]);
    attack(&victim, "one-pixel:population=100,generations=1", &pixels);
    assert_eq!(victim.shown.borrow().iter().map(|shown| shown.size()[0]).max(), Some(24));

    let labels = predictions(&victim, &pixels).unwrap();
    for search in ["one-pixel:population=100,generations=0", "local-search:rounds=1,candidates=50"] {
        victim.shown.borrow_mut().clear();
        let mut calls = 0;
        let mut stop = |_| {
            calls += 1;
            if calls == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let ids = ids(12);
        let result = execute(&victim, &config(search), &common::samples(&pixels, &labels, &ids), options(), &mut stop);
        assert!(matches!(result, Err(AttackError::Cancelled)), "{search}");
        // The judge's look at the clean images, and two chunks.
        assert_eq!(victim.shown.borrow().len(), 3, "{search}");
    }
}

#[test]
fn the_first_population_is_tested_for_success() {
    one_thread();
    let original = images(4, [1, 3, 6, 9]);
    let pixels = original.copy();
    let victim = Judge(move |pixels: &Tensor| n_changed(pixels, &original) - 0.5);
    for (search, forwards) in [
        ("one-pixel:population=30,generations=9", 30),
        ("one-pixel:search=best1bin,population=30,generations=9", 30),
        ("one-pixel:search=random", 64),
        ("local-search:candidates=5", 5),
    ] {
        let sample = &attack(&victim, search, &pixels).samples[0];
        assert!(sample.success, "{search}");
        assert_eq!((sample.forwards, sample.forwards_to_success, sample.l0), (forwards, Some(1), 1), "{search}");
    }
}

#[test]
fn exhaustive_search_finds_the_only_weak_pixel_and_its_only_colour() {
    one_thread();
    for (row, column, colour) in [(0, 0, [0.0_f32, 1.0, 1.0]), (11, 19, [1.0, 0.0, 0.0]), (3, 17, [0.0, 0.0, 0.0])] {
        let wanted = Tensor::from_slice(&colour);
        let victim = CountingVictim::new(Judge(move |pixels: &Tensor| {
            let pixel = pixels.select(2, row).select(2, column); // [N, C]
            pixel.eq_tensor(&wanted).all_dim(1, false).to_kind(Kind::Float) - 0.5
        }));
        let pixels = images(4, [2, 3, 12, 20]) * 0.8 + 0.1;
        let outcome = attack(&victim, "one-pixel:search=exhaustive", &pixels);
        for (i, sample) in outcome.samples.iter().enumerate() {
            assert!(sample.success && sample.l0 == 1 && sample.forwards <= 8 * 12 * 20, "{sample:?}");
            let pixel = outcome.adversarial.get(i as i64).select(1, row).select(1, column);
            assert_eq!(bits(&pixel), colour.map(f32::to_bits));
        }
        let gone = attack(&victim, "one-pixel:search=random,pixels_tried=1", &pixels);
        assert!(gone.samples.iter().all(|sample| sample.forwards == 2));
    }
}

#[test]
fn random_search_tries_distinct_pixels_in_black_and_white_only() {
    one_thread();
    let original = images(4, [1, 3, 5, 7]) * 0.8 + 0.1;
    let victim = Recorder::new(Judge(|pixels: &Tensor| pixels.flatten(1, -1).mean_dim(1, false, Kind::Float) - 5.0));
    // More than the image has.
    let outcome = attack(&victim, "one-pixel:search=random,pixels_tried=100", &original);
    assert_eq!(outcome.samples[0].forwards, 2 * 5 * 7);
    let shown = Tensor::cat(&victim.shown.borrow()[1..], 0);
    let is_changed = shown.ne_tensor(&original);
    let values = shown.masked_select(&is_changed);
    let is_extreme = values.eq(0.0).logical_or(&values.eq(1.0));
    assert_eq!(is_extreme.all().int64_value(&[]), 1);
    // Every pixel is changed twice at least, counting those repeated as padding.
    let times = is_changed.any_dim(1, false).sum_dim_intlist([0_i64].as_slice(), false, Kind::Int64);
    assert!(2 <= times.min().int64_value(&[]));
}

#[test]
fn evolution_gets_better_and_confidence_asks_for_more_than_success() {
    one_thread();
    let victim = LinearVictim::seeded(3, 3, 3 * 6 * 9);
    let pixels = images(4, [12, 3, 6, 9]);
    for search in ["rand1", "best1bin"] {
        let text = |more: &str| format!("one-pixel:search={search},pixels=2,population=40,{more}");
        let broken = |outcome: &Outcome| outcome.samples.iter().filter(|sample| sample.success).count();
        let first = attack(&victim, &text("generations=0"), &pixels);
        let last = attack(&victim, &text("generations=25"), &pixels);
        assert!(broken(&first) < broken(&last), "{search}: {} and {}", broken(&first), broken(&last));
        let sure = attack(&victim, &text("generations=25,until=confidence"), &pixels);
        assert_eq!(broken(&sure), broken(&last), "{search}");
        assert!(last.cost.forwards < sure.cost.forwards, "{search}");
        for (soon, sure) in last.samples.iter().zip(&sure.samples) {
            assert_eq!(soon.forwards_to_success, sure.forwards_to_success, "{search}");
            assert!(!soon.success || sure.adversarial.probability <= soon.adversarial.probability, "{search}");
        }
    }
}

#[test]
fn local_search_keeps_the_changes_of_earlier_rounds() {
    one_thread();
    let original = images(4, [1, 3, 12, 20]);
    let pixels = original.copy();
    // Broken by twenty changed pixels; AdverTorch never has more than five.
    let victim = Recorder::new(Judge(move |pixels: &Tensor| n_changed(pixels, &original) - 19.5));
    let outcome = attack(&victim, "local-search:candidates=16,exclude=30", &pixels);
    let sample = &outcome.samples[0];
    assert!(sample.success && sample.l0 == 20, "{sample:?}");
    // After the look for labels and the judge's, each round shows its candidates in one call of 16 and then its image.
    let shown = victim.shown.borrow();
    let after_rounds = (3..shown.len() - 1).step_by(2);
    let counts: Vec<i64> = after_rounds.map(|call| n_changed(&shown[call], &pixels).int64_value(&[0])).collect();
    assert_eq!(counts, [5, 10, 15, 20]);
    drop(shown);

    let outcome = attack(&victim, "local-search:candidates=16", &pixels);
    assert!(outcome.samples[0].success, "pixels may be chosen again");
}

#[test]
fn a_target_becomes_more_likely_with_each_round() {
    one_thread();
    // Local Search makes these pixels darker, so only some of them help; one in two harms.
    let pixels = Tensor::full([1, 1, 12, 20], 0.4, (Kind::Float, Device::Cpu));
    let weight = images(7, [1, 1, 12, 20]) - 0.5;
    let logit = move |pixels: &Tensor| {
        let terms = (pixels * &weight).flatten(1, -1); // [N, D]
        terms.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float) - 30.0
    };
    let clean = logit(&pixels).double_value(&[0]);
    for text in ["local-search:rounds=4,candidates=16,target=1", "local-search:rounds=4,candidates=16"] {
        let victim = Recorder::new(Judge(&logit));
        let outcome = attack(&victim, text, &pixels);
        assert!(!outcome.samples[0].success);
        let shown = victim.shown.borrow();
        let mut last = clean;
        for call in (3..shown.len() - 1).step_by(2) {
            let now = logit(&shown[call]).double_value(&[0]);
            assert!(last < now, "{text}: from {last} to {now}");
            last = now;
        }
    }
    // Both attacks reach a target that can be reached.
    let victim = LinearVictim::seeded(3, 3, 3 * 6 * 9);
    let pixels = images(4, [12, 3, 6, 9]);
    for text in ["one-pixel:pixels=3,population=40,generations=30,target=runner-up", "local-search:target=runner-up"] {
        let outcome = attack(&victim, text, &pixels);
        let n_broken = outcome.samples.iter().filter(|sample| sample.success).count();
        assert!(4 < n_broken, "{text}: {n_broken} of 12");
    }
}

#[test]
fn with_k_the_true_class_must_leave_the_k_best() {
    one_thread();
    let victim = LinearVictim::seeded(3, 10, 3 * 6 * 9);
    let pixels = images(4, [12, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    let mut costs = Vec::new();
    for k in [1, 2, 3] {
        for accept in ["any", "round"] {
            let text = format!("local-search:k={k},accept={accept}");
            let outcome = attack_all(&victim, &config(&text), &pixels, &labels).unwrap();
            let logits = victim.logits(&outcome.adversarial).unwrap();
            let own = logits.gather(1, &labels.unsqueeze(1), false);
            let n_above = logits.gt_tensor(&own).sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64);
            assert!(outcome.samples.iter().any(|sample| sample.success), "{text}");
            for (i, sample) in outcome.samples.iter().enumerate() {
                assert!(!sample.success || k <= n_above.int64_value(&[i as i64]), "{text} sample {i}");
            }
            costs.push(outcome.cost.forwards);
        }
    }
    assert!(costs[0] < costs[2] && costs[2] < costs[4], "{costs:?}");
    let outcome = attack_all(&victim, &config("local-search:k=10,rounds=3"), &pixels, &labels).unwrap();
    assert!(outcome.samples.iter().all(|sample| !sample.success), "ten of ten classes always hold the true one");
    let error = attack_all(&victim, &config("local-search:k=2,target=1"), &pixels, &labels).unwrap_err();
    assert_eq!(error.to_string(), "local-search.k = 2: needs goal = untargeted");
}

#[test]
fn a_candidate_that_breaks_the_image_is_not_thrown_away() {
    one_thread();
    // Only a white centre breaks it; the walk itself never makes one from 0.8: 1.5 · 0.3 = 0.45, and then it wraps.
    let pixels = Tensor::full([1, 1, 5, 5], 0.8, (Kind::Float, Device::Cpu));
    let victim =
        Judge(|pixels: &Tensor| pixels.select(2, 2).select(2, 2).select(1, 0).eq(1.0).to_kind(Kind::Float) - 0.5);
    let any = attack(&victim, "local-search:rounds=3", &pixels);
    assert!(any.samples[0].success && 0.999 < any.adversarial.double_value(&[0, 0, 2, 2]));
    assert!(!attack(&victim, "local-search:rounds=3,accept=round", &pixels).samples[0].success);
}

#[test]
fn another_seed_tries_other_pixels_and_exhaustive_search_does_not() {
    one_thread();
    let victim = LinearVictim::seeded(3, 3, 3 * 6 * 9);
    let pixels = images(4, [6, 3, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    for (search, is_same) in
        [("one-pixel:pixels=3,population=40", false), ("local-search", false), ("one-pixel:search=exhaustive", true)]
    {
        let [a, b] = [1, 2].map(|seed| {
            let options = advmod_attacks::execute::Options { seed, eight_bit: false };
            run(&victim, &config(search), &pixels, &labels, &ids(6), options).unwrap().adversarial
        });
        assert_eq!(same_bits(&a, &b), is_same, "{search}");
    }
}
