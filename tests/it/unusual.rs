//! What an audit makes of networks whose outputs are unusual.

use serde_json::Value;
use tch::Tensor;

use crate::masked::{audit, save};
use crate::support::{first, write_idx};

/// The check of a report whose sentence holds these words.
fn check<'a>(report: &'a Value, words: &str) -> &'a Value {
    let mut checks = report["validity"]["checks"].as_array().unwrap().iter();
    checks.find(|it| it["check"].as_str().unwrap().contains(words)).unwrap()
}

fn warns(report: &Value, words: &str) -> bool {
    report["warnings"].as_array().unwrap().iter().any(|it| it.as_str().unwrap().contains(words))
}

/// Divided by its own deviation, an image of one colour has no logits, and the root of black has no gradient: the others go on.
#[test]
fn images_and_gradients_that_are_not_finite_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pt");
    save(
        |logits, pixels| {
            let none: Tensor = pixels.flatten(1, -1).std_dim([1_i64].as_slice(), false, true).reciprocal() * 0.0;
            logits(&(pixels.sqrt() * pixels.sqrt())) + none
        },
        &file,
    );
    let mut images = first(None, 15);
    images.pixels.extend([128; 28 * 28]);
    images.labels.push(0);
    write_idx(folder.path(), &images.pixels, &images.labels);
    let (file, data) = (file.display().to_string(), folder.path().display().to_string());
    let model = ["--model", &file, "--input-size", "28", "--trust-torchscript"];
    let (_, report) = audit(folder.path(), "pgd", &[&model[..], &["--data", &data]].concat());
    let (clean, pgd) = (&report["clean"], &report["attacks"][0]);
    assert_eq!((&report["outcome"], &pgd["status"]), (&"complete".into(), &"complete".into()));
    assert_eq!((&clean["nonfinite"], &clean["accuracy"]["of"]), (&serde_json::json!([15]), &16.into()));
    assert_ne!(clean["predictions"][15], 0, "its label");
    assert!(warns(&report, "1 of 16 clean images are not finite (image 15)"), "{}", report["warnings"]);
    assert!(warns(&report, "had a gradient that was not finite somewhere"), "{}", report["warnings"]);
    let samples = pgd["samples"].as_array().unwrap();
    assert!(samples.len() >= 12 && samples.iter().all(|it| it["nonfinite_gradients"].as_u64() > Some(0)), "{pgd}");
    assert!(pgd["success_rate"]["value"].as_f64() > Some(0.8), "{}", pgd["success_rate"]);
    let found = check(&report, "gradients are finite");
    assert!(found["found"].as_str().unwrap().contains("not finite somewhere"), "{found}");
}

/// Noise before the network: the same seed gives the same report, and whoever is wrong at the second look is not lost.
#[test]
fn a_random_network_is_said_to_be_one_and_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("noisy.pt");
    save(|logits, pixels| logits(&(pixels + pixels.randn_like() * 0.03)), &file);
    let file = file.display().to_string();
    let run = |more: &[&str]| {
        let model = ["--model", &file, "--input-size", "28", "--trust-torchscript", "--force"];
        let (_, mut report) = audit(folder.path(), "fgsm", &[&model, more].concat());
        report["timing"] = Value::Null;
        (report["plan"]["batch"], report["plan"]["command"], report["plan_file"]) = Default::default();
        // The same command again.
        for finding in report["findings"].as_array_mut().unwrap() {
            finding["retest"] = Value::Null;
        }
        report
    };
    let report = run(&[]);
    assert_eq!(report["model"]["is_random"], true);
    assert_eq!(report["validity"]["verdict"], "limited", "{}", report["validity"]);
    assert!(warns(&report, "something random is in the network"), "{}", report["warnings"]);
    let (correct, second) = (&report["clean"]["accuracy"]["count"], &report["attacks"][0]);
    // Every image that was right at the first look is in the result.
    let samples = second["samples"].as_array().unwrap();
    assert_eq!(samples.len() as u64, correct.as_u64().unwrap());
    assert!(samples.iter().any(|it| it["forwards"] == 10), "{samples:?}");
    assert!(samples.iter().all(|it| it["wrong"].as_f64().is_some()));
    assert!(second["mean_accuracy"]["value"].as_f64() < Some(0.5), "{}", second["mean_accuracy"]);
    // Also where other images are asked for together.
    assert_eq!(run(&["--batch", "5"]), report);
    let report = run(&["--attack", "fgsm:eot=2"]);
    assert!(report["attacks"][1]["samples"].as_array().unwrap().iter().any(|it| it["forwards"] == 2));
    assert_eq!(report["attacks"][1]["attack"]["params"]["eot"], "2");
    assert!(check(&report, "asked twice")["found"].as_str().unwrap().contains("average 2 passes"));
}
