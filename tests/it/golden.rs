//! The embedded model and images against PyTorch and networkx (`fixtures/golden.json`, made by `fixtures/make_golden.py`).

use advmod::model::load::LoadOptions;
use advmod::modularity::Similarity;
use advmod_attacks::victim::Victim as _;
use serde_json::Value;

use crate::support::{attack, clean_curve, first, largest_difference, model, pixel_curve, root};

/// f32 sums in another order move Q by less than a thousandth; a wrong neighbour rule moves it by hundredths.
const Q: f64 = 0.005;

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(root().join("fixtures/golden.json")).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
}

#[test]
fn logits_and_curves_of_the_embedded_model_are_pytorchs() {
    let golden = golden();
    let n = golden["n"].as_u64().unwrap() as usize;
    let (model, images) = (model(None, &LoadOptions::default()), first(None, n));
    let (pixels, labels) = advmod::model::upload::upload(&images, tch::Device::Cpu).unwrap();
    let logits = tch::no_grad(|| model.logits(&pixels)).unwrap();
    for (row, expected) in golden["logits_of_first_4"].as_array().unwrap().iter().enumerate() {
        let found: Vec<f64> = Vec::try_from(logits.get(row as i64).to_kind(tch::Kind::Double)).unwrap();
        assert!(largest_difference(&found, &floats(expected)) < 1e-3);
    }
    let correct = i64::try_from(logits.argmax(1, false).eq_tensor(&labels).sum(tch::Kind::Int64)).unwrap();
    assert_eq!(correct, golden["correct"].as_i64().unwrap());
    let all: Vec<usize> = (0..n).collect();
    for (k, similarity) in [(3, Similarity::COSINE), (5, Similarity::PEARSON), (3, Similarity::SAMPLE_CENTRED)] {
        let expected = floats(&golden["curves"][format!("{similarity}, k={k}")]);
        let difference = largest_difference(&clean_curve(&model, &images, &all, k, similarity), &expected);
        assert!(difference < Q, "{similarity} k = {k}: {difference}");
    }
}

#[test]
fn attacks_on_the_embedded_model_break_what_pytorch_breaks() {
    let golden = golden();
    let n = golden["n"].as_u64().unwrap() as usize;
    let (model, images) = (model(None, &LoadOptions::default()), first(None, n));
    let all: Vec<usize> = (0..n).collect();
    for (name, spec) in
        [("fgsm", "fgsm:eps=8/255"), ("pgd", "pgd:eps=8/255,step=2/255,steps=10,random_start=false,iterate=last")]
    {
        let expected = &golden["attacks"][name];
        let outcome = attack(&model, spec, &images, &all);
        let attacked: Vec<usize> = (0..n).filter(|&row| outcome.samples[row].attacked).collect();
        let broken: Vec<f64> = outcome.samples.iter().filter(|sample| sample.success).map(|sample| sample.l2).collect();
        // The sign of a gradient near zero is float noise: a sample on the boundary may fall on either side.
        let difference = broken.len() as i64 - expected["broken"].as_i64().unwrap();
        assert!(difference.abs() <= 2, "{name}: {} broken, expected {}", broken.len(), expected["broken"]);
        let mean_l2 = broken.iter().sum::<f64>() / broken.len() as f64;
        assert!((mean_l2 - expected["mean_l2"].as_f64().unwrap()).abs() < 0.01, "{name}: {mean_l2}");

        let labels: Vec<usize> = attacked.iter().map(|&row| images.labels[row] as usize).collect();
        let predictions: Vec<usize> =
            attacked.iter().map(|&row| outcome.samples[row].adversarial.prediction as usize).collect();
        let rows: Vec<i64> = attacked.iter().map(|&row| row as i64).collect();
        let pixels = outcome.adversarial.index_select(0, &tch::Tensor::from_slice(&rows));
        let clean = clean_curve(&model, &images, &attacked, 3, Similarity::COSINE);
        assert!(largest_difference(&clean, &floats(&expected["clean"])) < Q);
        for (key, labels) in [("adversarial", &labels), ("adversarial_predicted", &predictions)] {
            let difference = largest_difference(&pixel_curve(&model, &pixels, labels, 3), &floats(&expected[key]));
            // Ten steps let noise in the gradient's sign move 3 % of the pixels.
            assert!(difference < 0.02, "{name} {key}: {difference}");
        }
    }
}
