//! A published CIFAR-10 ResNet-20 against values from independent libraries.

use std::io::Read as _;
use std::path::Path;

use advmod::data::{Images, Selection};
use advmod::model::Model;
use advmod::model::load::LoadOptions;
use advmod::model::normalize::Normalization;
use advmod::model::passes::count::count;
use advmod::modularity::Similarity;
use advmod::study::curve::{DetailedCurve, SweepPlan, sweep};
use advmod::study::similarity::{CkaPlan, linear_cka};
use advmod_attacks::outcome::SampleOutcome;
use advmod_attacks::victim::Victim as _;
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::support::{attack, clean_curve, first, largest_difference, model, pixel_curve};
use crate::{Test, shared, tests};

const DATA: &str = "data/cifar10-jpeg-test-4000.npz";

/// The files that the tests read.
pub const FILES: &[&str] = &[
    DATA,
    "models/resnet20-12fca82f.th",
    "models/resnet32-d509ac18.th",
    "reference/resnet20.json",
    "reference/resnet20.npz",
];

pub const TESTS: &[Test] = tests![
    logits_are_pytorchs_and_401_of_the_first_500_are_correct,
    modularity_is_networkxs_for_all_settings,
    a_sweep_is_networkxs_too,
    matched_curves_under_pgd_are_networkxs,
    fgsm_and_pgd_steps_are_torchattacks,
    targeted_jsma_changes_the_features_that_advertorchs_changes,
    carlini_wagner_is_as_near_as_advertorchs,
    the_attacks_stand_to_each_other_as_they_must,
    parameters_and_macs_are_those_of_a_hand_count,
    linear_cka_is_that_of_an_independent_implementation,
];

struct Reference {
    model: Model,
    images: Images,
    json: Value,
    arrays: std::path::PathBuf,
}

fn reference() -> Reference {
    let json = std::fs::read(shared("reference/resnet20.json")).unwrap();
    Reference {
        model: published(&shared("models/resnet20-12fca82f.th")),
        images: first(Some(&shared(DATA)), 500),
        json: serde_json::from_slice(&json).unwrap(),
        arrays: shared("reference/resnet20.npz"),
    }
}

fn published(weights: &Path) -> Model {
    let normalization = Normalization::parse("imagenet").unwrap();
    model(Some(weights), &LoadOptions { normalization: Some(normalization), ..LoadOptions::default() })
}

impl Reference {
    fn array(&self, name: &str) -> Tensor {
        let mut archive = npyz::npz::NpzArchive::open(&self.arrays).unwrap();
        let array = archive.by_name(name).unwrap().unwrap();
        let shape: Vec<i64> = array.shape().iter().map(|&size| size as i64).collect();
        match array.dtype() {
            npyz::DType::Plain(kind) if kind.type_char() == npyz::TypeChar::Int => {
                Tensor::from_slice(&array.into_vec::<i64>().unwrap()).view(&shape[..])
            }
            _ => Tensor::from_slice(&array.into_vec::<f32>().unwrap()).view(&shape[..]),
        }
    }

    fn floats(&self, pointer: &str) -> Vec<f64> {
        let found = self.json.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        found.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
    }

    fn attacked(&self) -> Vec<usize> {
        Vec::<i64>::try_from(self.array("attacked")).unwrap().into_iter().map(|place| place as usize).collect()
    }
}

fn logits_are_pytorchs_and_401_of_the_first_500_are_correct() {
    let reference = reference();
    let (pixels, labels) = advmod::model::upload::upload(&reference.images, tch::Device::Cpu).unwrap();
    let logits = tch::no_grad(|| reference.model.logits(&pixels)).unwrap();
    let difference = (&logits - reference.array("logits")).abs().max().double_value(&[]);
    assert!(difference < 1e-3, "{difference}");
    let correct = i64::try_from(logits.argmax(1, false).eq_tensor(&labels).sum(Kind::Int64)).unwrap();
    assert_eq!(correct, 401);
}

fn modularity_is_networkxs_for_all_settings() {
    let reference = reference();
    assert_eq!(Value::from(reference.model.tap_paths()), reference.json["taps"]);
    for (n, k, similarity) in [
        (500, 3, Similarity::COSINE),
        (500, 5, Similarity::COSINE),
        (500, 11, Similarity::COSINE),
        (500, 100, Similarity::COSINE),
        (200, 3, Similarity::COSINE),
        (500, 3, Similarity::PEARSON),
    ] {
        let places: Vec<usize> = (0..n).collect();
        let found = clean_curve(&reference.model, &reference.images, &places, k, similarity);
        let key = format!("n={n},k={k},{similarity}");
        let expected: Vec<f64> = reference.floats(&format!("/modularity/{key}"));
        let difference = largest_difference(&found, &expected);
        // Similarities that are equal up to f32 rounding may swap neighbours.
        assert!(difference < 0.005, "{key}: {difference}");
    }
}

fn a_sweep_is_networkxs_too() {
    let reference = reference();
    let data = advmod::data::open(Some(&shared(DATA)), &advmod::data::OpenOptions::default()).unwrap();
    let plan = SweepPlan {
        ks: vec![3, 5, 11, 100],
        similarities: vec![Similarity::COSINE, Similarity::PEARSON],
        repeats: 1,
        samples: vec![Selection::First(200), Selection::First(500)],
    };
    let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
    let (curves, _) = sweep(&reference.model, data.as_ref(), &plan, go_on).unwrap();
    assert_eq!(curves.len(), 2 * 2 * 4);
    let mut compared = 0;
    for DetailedCurve { curve, .. } in curves {
        let key = format!("n={},k={},{}", curve.n, curve.k, curve.similarity);
        if reference.json["modularity"].get(&key).is_none() {
            continue;
        }
        let found: Vec<f64> = curve.taps.iter().map(|tap| tap.q.unwrap()).collect();
        let difference = largest_difference(&found, &reference.floats(&format!("/modularity/{key}")));
        assert!(difference < 0.005, "{key}: {difference}");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

fn matched_curves_under_pgd_are_networkxs() {
    let reference = reference();
    let all: Vec<usize> = (0..500).collect();
    let spec = "pgd:eps=8/255,step=2/255,steps=10,random_start=false,iterate=last";
    let correct = attack(&reference.model, "fgsm", &reference.images, &all);
    let correct: Vec<usize> = all.into_iter().filter(|&place| correct.samples[place].attacked).take(256).collect();
    let outcome = attack(&reference.model, spec, &reference.images, &correct);
    assert_eq!(outcome.samples.iter().filter(|sample| sample.success).count(), 256);
    let labels: Vec<usize> = correct.iter().map(|&place| reference.images.labels[place] as usize).collect();
    let clean = clean_curve(&reference.model, &reference.images, &correct, 3, Similarity::COSINE);
    let adversarial = pixel_curve(&reference.model, &outcome.adversarial, &labels, 3);
    for (found, pointer) in [(clean, "/matched_256/clean"), (adversarial, "/matched_256/adversarial")] {
        let difference = largest_difference(&found, &reference.floats(pointer));
        assert!(difference < 0.02, "{pointer}: {difference}");
    }
}

fn fgsm_and_pgd_steps_are_torchattacks() {
    let reference = reference();
    let attacked = reference.attacked();
    for (spec, name) in [
        ("fgsm:eps=8/255", "fgsm_8_255"),
        ("pgd:eps=8/255,step=2/255,steps=1,random_start=false,iterate=last", "pgd_8_255_steps1"),
        ("pgd:eps=8/255,step=2/255,steps=3,random_start=false,iterate=last", "pgd_8_255_steps3"),
    ] {
        let outcome = attack(&reference.model, spec, &reference.images, &attacked);
        let difference = (&outcome.adversarial - reference.array(name)).abs();
        let equal = difference.lt(1e-6).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!(equal >= 0.995, "{name}: {equal}");
    }
    let spec = "pgd:eps=8/255,step=2/255,steps=40,random_start=false,iterate=last";
    let outcome = attack(&reference.model, spec, &reference.images, &attacked);
    assert_eq!(outcome.samples.iter().filter(|sample| sample.success).count(), 32);
}

/// Which features a targeted JSMA changes, image by image.
///
/// AdverTorch never drops features that are saturated from the start: where such a one is part of its best pair it spends half a step
/// on nothing. It also weighs its pairs with unfolded batch norm, so two pairs that are equal up to f32 rounding may change places.
fn targeted_jsma_changes_the_features_that_advertorchs_changes() {
    let reference = reference();
    let places: Vec<usize> = reference.floats("/jsma_targeted/attacked").iter().map(|&place| place as usize).collect();
    let outcome = attack(&reference.model, "jsma:target=runner-up,theta=1.0,gamma=0.1", &reference.images, &places);
    let targets: Vec<f64> = outcome.samples.iter().map(|sample| sample.target.unwrap() as f64).collect();
    assert_eq!(targets, reference.floats("/jsma_targeted/target"));
    assert!(outcome.samples.iter().all(|sample| sample.success));
    let (images, _) = advmod::model::upload::upload(&reference.images, tch::Device::Cpu).unwrap();
    let rows: Vec<i64> = places.iter().map(|&place| place as i64).collect();
    let original = images.index_select(0, &Tensor::from_slice(&rows));
    let changed = |pixels: &Tensor| (pixels - &original).abs().gt(1e-6).flatten(1, -1); // [8, D]
    let differing = changed(&outcome.adversarial).logical_xor(&changed(&reference.array("jsma_targeted")));
    let differing = Vec::<i64>::try_from(differing.sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)).unwrap();
    assert!(7 <= differing.iter().filter(|&&n| n == 0).count(), "features that differ per image: {differing:?}");
}

fn carlini_wagner_is_as_near_as_advertorchs() {
    let reference = reference();
    let places: Vec<usize> = reference.floats("/cw_9x200/attacked").iter().map(|&place| place as usize).collect();
    let outcome = attack(&reference.model, "cw:search_steps=9,steps=200,abort=false", &reference.images, &places);
    assert!(outcome.samples.iter().all(|sample| sample.success));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let ours: Vec<f64> = outcome.samples.iter().map(|sample| sample.l2).collect();
    let theirs = reference.floats("/cw_9x200/l2");
    // Adam's path depends on the last bits of the gradients, and ours differ by batch-norm folding: hence 2 %.
    assert!(mean(&ours) <= 1.02 * mean(&theirs), "{ours:?} for {theirs:?}");
}

/// What must hold between attacks whatever their budgets, on a few images of a model that nobody defended.
fn the_attacks_stand_to_each_other_as_they_must() {
    let reference = reference();
    let places: Vec<usize> = reference.attacked().into_iter().take(12).collect();
    let run = |spec: &str| attack(&reference.model, spec, &reference.images, &places).samples;
    let n_broken = |samples: &[SampleOutcome]| samples.iter().filter(|sample| sample.success).count();
    let mean_l2 =
        |samples: &[SampleOutcome]| samples.iter().map(|sample| sample.l2).sum::<f64>() / samples.len() as f64;

    let (fgsm, pgd) = (run("fgsm"), run("pgd:steps=10"));
    assert!(fgsm.iter().zip(&pgd).all(|(fgsm, pgd)| !fgsm.success || pgd.success), "PGD misses what FGSM breaks");
    let cw = run("cw:search_steps=5,steps=60,initial_c=0.01");
    assert_eq!((n_broken(&pgd), n_broken(&cw)), (12, 12));
    assert!(mean_l2(&cw) < 0.5 * mean_l2(&pgd), "{} and {}", mean_l2(&cw), mean_l2(&pgd));
    assert!(11 <= n_broken(&run("jsma")));
    let exhaustive = run("one-pixel:search=exhaustive");
    for search in ["rand1", "best1bin"] {
        let evolution = run(&format!("one-pixel:search={search},population=40,generations=5"));
        assert!(n_broken(&evolution) <= n_broken(&exhaustive), "{search}");
    }
    // Changes add up over the rounds, so nearly all images break; AdverTorch's break about a third.
    assert!(10 <= n_broken(&run("local-search:rounds=40")));
}

/// Multiply-accumulates of a CIFAR ResNet with option-A shortcuts, counted by hand: stem, blocks, linear layer.
fn by_hand(depth: u64) -> u64 {
    let blocks = (depth - 2) / 6;
    let conv = |inputs: u64, outputs: u64, side: u64| 9 * inputs * outputs * side * side;
    let stage = |inputs: u64, outputs: u64, side: u64| {
        conv(inputs, outputs, side) + (2 * blocks - 1) * conv(outputs, outputs, side)
    };
    conv(3, 16, 32) + stage(16, 16, 32) + stage(16, 32, 16) + stage(32, 64, 8) + 64 * 10
}

fn parameters_and_macs_are_those_of_a_hand_count() {
    for (file, depth, parameters) in [("resnet20-12fca82f.th", 20, 269_722), ("resnet32-d509ac18.th", 32, 464_154)] {
        let weights = shared(&format!("models/{file}"));
        let model = published(&weights);
        let cost = count(model.program().unwrap(), 32, 32).unwrap();
        assert_eq!(
            (model.info().architecture.as_str(), cost.parameters),
            (format!("resnet{depth}").as_str(), parameters)
        );
        assert_eq!(cost.macs, by_hand(depth));
        let mut bytes = Vec::new();
        std::fs::File::open(&weights).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(model.info().sha256.len(), 64);
    }
}

fn linear_cka_is_that_of_an_independent_implementation() {
    let reference = reference();
    let data = advmod::data::open(Some(&shared(DATA)), &advmod::data::OpenOptions::default()).unwrap();
    let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
    let measure = |samples, plan, go_on: &mut dyn FnMut(u64, u64) -> std::ops::ControlFlow<()>| {
        linear_cka(&reference.model, data.as_ref(), &Selection::First(samples), plan, go_on).unwrap().matrix
    };
    let found = measure(500, CkaPlan::Full, go_on);
    let expected: Vec<Vec<f64>> = serde_json::from_value(reference.json["linear_cka"].clone()).unwrap();
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        // f32 products of up to 16,384 values against f64.
        assert!((found.unwrap() - expected).abs() < 1e-3, "{found:?} {expected}");
    }
    // Without bias, batches of 250 estimate what all samples at once do.
    let batches = |of| CkaPlan::Batches { of, seed: 0 };
    let (all, batches) = (measure(2000, batches(2000), go_on), measure(2000, batches(250), go_on));
    for (all, batches) in all.iter().flatten().zip(batches.iter().flatten()) {
        assert!((all.unwrap() - batches.unwrap()).abs() < 0.01, "{all:?} {batches:?}");
    }
}
