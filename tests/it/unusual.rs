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
    let (_, report) = audit(folder.path(), &[&model[..], &["--data", &data]].concat());
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
