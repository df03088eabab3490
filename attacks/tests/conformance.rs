//! What every attack of the catalog must keep, for each of its norms and goals.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::cell::Cell;
use std::ops::ControlFlow;

use advmod_attacks::attack::{Attack, Preset, Scale};
use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::config::{AttackConfig, parse_spec_string};
use advmod_attacks::error::AttackError;
use advmod_attacks::execute::{Options, execute};
use advmod_attacks::query::Progress;
use advmod_attacks::testing::{ConvVictim, CountingVictim, LinearVictim, images, predictions};
use advmod_attacks::threat::Norm;
use advmod_attacks::victim::{Access, Victim, VictimError};
use tch::{Device, Kind, Tensor};

use common::{Changed, attack_all, bits, ids, one_thread, options, run, same_bits};

/// Other ways of working than those of the smallest presets.
const VARIANTS: &[&str] = &[
    "jsma:variant=maximal,theta=0.4",
    "jsma:variant=every-target",
    "one-pixel:search=best1bin,population=10,generations=3",
    "one-pixel:search=exhaustive",
    "one-pixel:search=random,pixels_tried=20",
    "one-pixel:until=confidence,pixels=2,population=10",
    "local-search:exclude=2,adaptive=true,p=0.2,accept=round",
    "square:p=0.05,rescale=true,queries=40",
    "apgd:loss=dlr,restarts=2,steps=6,stop=first",
    "apgd:loss=margin,norm=l2",
    "apgd:loss=dlr,target=next",
    "apgd-t:stop=first,restarts=2,steps=4",
    "fab-t:eps=4/255,stop=first",
    "fab-t:eps=0.1,norm=l2,target=next",
    "pgd:loss=kl,random_start=false",
    "sigma-zero:count=channels",
    "hop-skip-jump:queries=100,evaluations=10",
    "hop-skip-jump:queries=90,evaluations=10,norm=linf",
];

/// Every attack with each norm and each goal that it knows, in its smallest preset, and the variants.
fn all_configs() -> Vec<AttackConfig> {
    // With the toy in the table it alone is new: the others are held to this without it.
    let is_meant = |id: &str| !cfg!(feature = "toy") || id == "toy";
    let variants = VARIANTS.iter().filter(|text| is_meant(text.split(':').next().unwrap_or_default()));
    let mut configs: Vec<AttackConfig> = variants.map(|text| config_of(text)).collect();
    for spec in ATTACKS.iter().filter(|spec| is_meant(spec.id)) {
        for norm in spec.norms {
            let goals = [(spec.untargeted, None), (spec.targeted, Some("runner-up")), (spec.targeted, Some("random"))];
            for (_, target) in goals.into_iter().filter(|(is_known, _)| *is_known) {
                let mut given = toml::Table::from_iter([("norm".to_owned(), norm.to_string().into())]);
                if let Some(target) = target {
                    given.insert("target".to_owned(), target.into());
                }
                configs.push(AttackConfig::new(spec.id, Preset::Quick, &given).unwrap());
            }
        }
    }
    configs
}

fn config_of(text: &str) -> AttackConfig {
    let (id, given) = parse_spec_string(text).unwrap();
    AttackConfig::new(&id, Preset::Quick, &given).unwrap()
}

fn name(config: &AttackConfig) -> String {
    format!("{} {} {} {:?}", config.spec.id, config.norm, config.goal, config.params)
}

/// Thirteen images of odd shape; all are classified correctly but number 3.
fn samples(victim: &dyn Victim) -> (Tensor, Tensor) {
    let pixels = images(11, [13, 3, 6, 9]);
    let labels = predictions(victim, &pixels).unwrap();
    let wrong = (labels.int64_value(&[3]) + 1) % victim.n_classes();
    let _ = labels.get(3).fill_(wrong);
    (pixels, labels)
}

/// The scale of the [`samples`].
fn scale(victim: &dyn Victim, config: &AttackConfig) -> Scale {
    let classes = victim.n_classes() as u64;
    Scale { channels: 3, height: 6, width: 9, classes, is_targeted: config.goal.is_targeted() }
}

#[test]
fn no_sample_costs_more_than_the_most_that_was_foretold() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let (pixels, labels) = samples(&victim);
    for config in all_configs() {
        let most = config.attack.most_passes(&scale(&victim, &config));
        for sample in attack_all(&victim, &config, &pixels, &labels).unwrap().samples {
            let used = (sample.forwards, sample.backwards);
            assert!(used.0 <= most.forwards && used.1 <= most.backwards, "{} {used:?} {most:?}", name(&config));
        }
    }
}

#[test]
fn where_nothing_succeeds_the_cost_is_what_was_foretold() {
    one_thread();
    // Class 0 stays far ahead, but the gradients of all classes are there.
    let ahead = Tensor::from_slice(&[1e4_f32, 0.0, 0.0, 0.0, 0.0]);
    let victim = Changed { inner: ConvVictim::seeded(1, 3, 5), change: |logits: Tensor| logits + &ahead };
    let pixels = images(11, [5, 3, 6, 9]);
    let labels = Tensor::zeros([5], (Kind::Int64, Device::Cpu));
    for text in [
        "fgsm",
        "pgd:steps=3",
        "pgd:steps=3,iterate=last",
        "pgd:steps=3,restarts=2,stop=first",
        "pgd:steps=3,restarts=2,iterate=last",
        "cw:search_steps=2,steps=7,abort=false",
        "jsma:gamma=0.0124",
        "jsma:gamma=0.0124,variant=maximal,classes=4",
        "jsma:gamma=0.0124,variant=every-target",
        "jsma:gamma=0.0124,variant=every-target,target=random",
        "one-pixel:population=6,generations=2",
        "one-pixel:population=6,generations=2,search=best1bin",
        "one-pixel:search=exhaustive",
        "one-pixel:search=random,pixels_tried=7",
        "one-pixel:search=random,pixels_tried=70",
        "local-search:rounds=3,candidates=4,t=4",
        "local-search:rounds=3,candidates=400,d=10",
        "apgd:steps=3",
        "apgd:steps=12,loss=dlr,restarts=2",
        "apgd:steps=3,norm=l2,loss=margin,stop=first",
        "apgd-t:steps=3,targets=2",
        "apgd-t:steps=3,targets=9,restarts=2,norm=l2",
        "fab-t:steps=3,targets=2",
        "fab-t:steps=3,targets=9,norm=l2,stop=first",
        "fab-t:steps=3,target=random",
        "pgd:steps=3,loss=kl",
        "ddn:steps=7",
        "fmn:steps=7,norm=l2",
        "fmn:steps=7,norm=linf",
        "fmn:steps=7,norm=l0",
        "sigma-zero:steps=7",
        "hop-skip-jump:queries=7",
        "square:queries=7",
        "square:queries=7,norm=l2",
    ] {
        let config = config_of(text);
        let most = config.attack.most_passes(&scale(&victim, &config));
        for sample in attack_all(&victim, &config, &pixels, &labels).unwrap().samples {
            let used = (sample.forwards, sample.backwards);
            // The first round draws from a tenth of the pixels, or from t.
            let slack = if text.contains("d=10") { 49 } else { 0 };
            assert_eq!((used.0 + slack, used.1), (most.forwards, most.backwards), "{text}");
        }
    }
}

#[test]
fn results_stay_inside_the_threat_and_are_judged_as_the_victim_sees_them() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let (pixels, labels) = samples(&victim);
    let before = bits(&pixels);
    for config in all_configs() {
        let name = name(&config);
        let outcome = attack_all(&victim, &config, &pixels, &labels).unwrap();
        let adversarial = &outcome.adversarial;
        assert_eq!(bits(&pixels), before, "{name} changed its input");
        assert!(!pixels.requires_grad(), "{name} changed its input");
        assert_eq!((adversarial.size(), adversarial.kind()), (pixels.size(), Kind::Float), "{name}");
        let (least, most) = (adversarial.min().double_value(&[]), adversarial.max().double_value(&[]));
        assert!(0.0 <= least && most <= 1.0, "{name}: {least} to {most}");
        let seen = Vec::<i64>::try_from(predictions(&victim, adversarial).unwrap()).unwrap();
        for (i, sample) in outcome.samples.iter().enumerate() {
            assert_eq!(sample.adversarial.prediction, seen[i], "{name} sample {i}");
            assert_eq!(
                sample.success,
                sample.attacked && sample.target.map_or(seen[i] != sample.label, |t| t == seen[i])
            );
            assert!(sample.overshoot.abs() < f64::EPSILON, "{name} sample {i}: {}", sample.overshoot);
            let distance = match config.norm {
                Norm::L0 => sample.l0 as f64,
                Norm::L2 => sample.l2,
                Norm::Linf => sample.linf,
            };
            if let Some(epsilon) = config.epsilon {
                assert!(distance <= epsilon.value() + 1e-6, "{name} sample {i}: {distance}");
            }
            let is_failure = matches!(config.attack, Attack::Minimal(_)) && !sample.success;
            if is_failure || !sample.attacked {
                assert!(same_bits(&adversarial.get(i as i64), &pixels.get(i as i64)), "{name} sample {i}");
            }
        }
        assert!(
            !outcome.samples[3].attacked && outcome.samples[3].forwards == 0,
            "{name} attacked a misclassified sample"
        );
        assert!(outcome.samples[4].attacked, "{name}");
    }
}

/// Grey and long, two classes: nothing counts on ten classes, three channels, or as many rows as columns.
#[test]
fn any_number_of_classes_and_channels_and_any_shape_will_do() {
    one_thread();
    for (n_classes, shape) in [(2, [3, 1, 12, 20]), (17, [3, 2, 4, 5])] {
        let victim = ConvVictim::seeded(2, shape[1], n_classes);
        let pixels = images(6, shape);
        let labels = predictions(&victim, &pixels).unwrap();
        for config in all_configs() {
            let outcome = attack_all(&victim, &config, &pixels, &labels).unwrap();
            assert_eq!(outcome.adversarial.size(), pixels.size(), "{}", name(&config));
            for sample in outcome.samples.iter().filter(|sample| sample.attacked) {
                assert!(0 < sample.forwards && sample.overshoot.abs() < f64::EPSILON, "{}", name(&config));
            }
        }
    }
}

#[test]
fn eight_bit_results_are_whole_levels_inside_the_threat() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = (images(11, [6, 3, 6, 9]) * 255.0).round() / 255.0;
    let labels = predictions(&victim, &pixels).unwrap();
    let eight_bit = Options { eight_bit: true, ..options() };
    for config in all_configs() {
        let outcome = run(&victim, &config, &pixels, &labels, &ids(6), eight_bit).unwrap();
        let levels = &outcome.adversarial * 255.0;
        let off = (&levels - levels.round()).abs().max().double_value(&[]);
        assert!(off < 1e-3, "{}: {off}", name(&config));
        for (i, sample) in outcome.samples.iter().enumerate() {
            let distance = if config.norm == Norm::L2 { sample.l2 } else { sample.linf };
            let budget = config.epsilon.map_or(f64::INFINITY, |epsilon| epsilon.value() + 1e-6);
            assert!(distance <= budget, "{} sample {i}: {distance}", name(&config));
            let is_original = same_bits(&outcome.adversarial.get(i as i64), &pixels.get(i as i64));
            assert!(sample.success || matches!(config.attack, Attack::Budget(_)) || is_original, "{}", name(&config));
        }
    }
}

#[test]
fn weights_that_want_gradients_get_none() {
    one_thread();
    let victim = LinearVictim::seeded(3, 4, 54);
    let weight = victim.weight.set_requires_grad(true);
    let victim = LinearVictim { weight: weight.shallow_clone(), bias: victim.bias };
    let pixels = images(11, [4, 1, 6, 9]);
    let labels = predictions(&victim, &pixels).unwrap();
    for config in all_configs() {
        attack_all(&victim, &config, &pixels, &labels).unwrap();
        assert!(!weight.grad().defined(), "{}", name(&config));
    }
}

#[test]
fn attacks_that_declare_logits_only_need_no_gradients() {
    one_thread();
    let victim = Changed { inner: ConvVictim::seeded(1, 3, 5), change: |logits: Tensor| logits.detach() };
    let (pixels, labels) = samples(&victim);
    for config in all_configs() {
        let result = attack_all(&victim, &config, &pixels, &labels);
        assert_eq!(result.is_ok(), config.spec.access < Access::Gradients, "{}", name(&config));
    }
}

/// Scores that were rounded to the label's alone, as where only the predicted class is told.
#[test]
fn attacks_that_declare_labels_only_need_no_scores() {
    one_thread();
    let plain = ConvVictim::seeded(1, 3, 5);
    let (pixels, labels) = samples(&plain);
    let told = |logits: Tensor| logits.eq_tensor(&logits.amax(1, true)).to_kind(Kind::Float);
    let victim = Changed { inner: ConvVictim::seeded(1, 3, 5), change: told };
    for config in all_configs().iter().filter(|config| config.spec.access == Access::Labels) {
        let with_scores = attack_all(&plain, config, &pixels, &labels).unwrap();
        let without = attack_all(&victim, config, &pixels, &labels).unwrap();
        assert!(same_bits(&with_scores.adversarial, &without.adversarial), "{}", name(config));
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let (pixels, labels) = samples(&victim);
    for config in all_configs() {
        let [first, second] = [(); 2].map(|()| attack_all(&victim, &config, &pixels, &labels).unwrap());
        assert!(same_bits(&first.adversarial, &second.adversarial), "{}", name(&config));
        assert_eq!(first.samples, second.samples, "{}", name(&config));
    }
}

#[test]
fn a_sample_does_not_feel_the_rest_of_its_batch() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let (pixels, labels) = samples(&victim);
    let order: Vec<i64> = vec![7, 2, 12, 0, 3, 9, 5, 11, 1, 10, 4, 8, 6];
    let cuts: [Vec<&[i64]>; 4] = [
        order.chunks(1).take(3).collect(),
        order.chunks(3).collect(),
        order.chunks(8).collect(),
        order.chunks(13).collect(),
    ];
    for config in all_configs() {
        let whole = attack_all(&victim, &config, &pixels, &labels).unwrap();
        for chunk in cuts.iter().flatten() {
            let rows = Tensor::from_slice(chunk);
            let chunk_ids: Vec<u32> = chunk.iter().map(|&row| row as u32).collect();
            let (some_pixels, some_labels) = (pixels.index_select(0, &rows), labels.index_select(0, &rows));
            let part = run(&victim, &config, &some_pixels, &some_labels, &chunk_ids, options()).unwrap();
            for (k, &row) in chunk.iter().enumerate() {
                let place = format!("{} sample {row} in a batch of {}", name(&config), chunk.len());
                assert!(same_bits(&part.adversarial.get(k as i64), &whole.adversarial.get(row)), "{place}");
                assert_eq!(part.samples[k], whole.samples[row as usize], "{place}");
            }
        }
    }
}

#[test]
fn a_run_that_is_told_to_stop_is_cancelled() {
    one_thread();
    let victim = ConvVictim::seeded(1, 3, 5);
    let (pixels, labels) = samples(&victim);
    let ids = ids(13);
    for config in all_configs() {
        let mut stop = |progress: Progress| {
            if progress.step == 2.min(progress.n_steps - 1) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let result = execute(&victim, &config, &common::samples(&pixels, &labels, &ids), options(), &mut stop);
        assert!(matches!(result, Err(AttackError::Cancelled)), "{}", name(&config));
    }
}

#[test]
fn the_meters_agree_with_the_victim() {
    one_thread();
    for n in [16, 13] {
        let victim = CountingVictim::new(ConvVictim::seeded(1, 3, 5));
        let pixels = images(11, [n, 3, 6, 9]);
        let labels = predictions(&victim, &pixels).unwrap();
        for config in all_configs() {
            let before = victim.rows();
            let cost = attack_all(&victim, &config, &pixels, &labels).unwrap().cost;
            let metered = cost.forwards + cost.judge_forwards + cost.padding;
            assert_eq!(metered, victim.rows() - before, "{} of {n}", name(&config));
            if n == 16 && config.spec.id == "pgd" && config.params["loss"].as_str() == Some("ce") {
                assert_eq!((cost.forwards, cost.backwards, cost.judge_forwards), (16 * 11, 16 * 10, 32));
            }
        }
    }
}

#[test]
fn an_image_whose_logits_are_not_finite_counts_as_wrong() {
    one_thread();
    let victim = Spoiled { inner: ConvVictim::seeded(1, 3, 5), rows_left: Cell::new(0) };
    let (pixels, labels) = samples(&victim.inner);
    for config in all_configs() {
        // Enough for the judge's look at 13 clean images and 3 rows of padding.
        victim.rows_left.set(16);
        let found = attack_all(&victim, &config, &pixels, &labels).unwrap();
        for sample in found.samples.iter().filter(|it| it.attacked) {
            let is_wrong = sample.adversarial.prediction != sample.label && !sample.adversarial.is_finite;
            assert!(sample.success != config.goal.is_targeted(), "{} {sample:?}", name(&config));
            assert!(is_wrong || !sample.success, "{} {sample:?}", name(&config));
        }
    }
}

/// Answers not-a-number after a while.
struct Spoiled {
    inner: ConvVictim,
    rows_left: Cell<i64>,
}

impl Victim for Spoiled {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        let left = self.rows_left.get() - pixels.size()[0];
        self.rows_left.set(left);
        let logits = self.inner.logits(pixels)?;
        Ok(if left < 0 { logits * f64::NAN } else { logits })
    }

    fn n_classes(&self) -> i64 {
        self.inner.n_classes()
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}
