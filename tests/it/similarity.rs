//! `advmod similarity` through the real executable.

use serde_json::Value;

use crate::support::advmod;

#[test]
fn taps_are_compared_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let flags = ["similarity", "--samples", "100", "--threads", "1", "--out", out.to_str().unwrap()];
    let text = String::from_utf8(advmod(&flags).output().unwrap().stdout).unwrap();
    assert!(text.contains("linear CKA (full)") && text.contains("layer3.2"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("similarity.json")).unwrap()).unwrap();
    let n = report["taps"].as_array().unwrap().len();
    let at = |matrix: &str, a: usize, b: usize| report[matrix][a][b].as_f64().unwrap();
    let q = |tap: usize| report["q"][tap].as_f64().unwrap();
    for a in 0..n {
        assert!((at("cka", a, a) - 1.0).abs() < 1e-9 && at("difference", a, a) == 0.0);
        for b in 0..n {
            assert!((0.0..=1.0 + 1e-9).contains(&at("cka", a, b)));
            assert_eq!(report["cka"][a][b], report["cka"][b][a]);
            assert!((at("difference", a, b) - (q(a) - q(b)).abs()).abs() < 1e-12);
        }
    }
    // Neighbouring taps are more alike than the two ends.
    assert!(at("cka", 0, 1) > at("cka", 0, n - 1));
    for file in ["difference.csv", "cka.csv"] {
        let csv = std::fs::read_to_string(out.join(file)).unwrap();
        assert!(csv.lines().count() == n + 1 && csv.lines().all(|line| line.split(',').count() == n + 1), "{csv}");
    }
    let svg = std::fs::read_to_string(out.join("similarity.svg")).unwrap();
    assert_eq!(svg.matches("</rect>").count(), 2 * n * n);
}

#[test]
fn what_cannot_be_compared_is_said_in_one_line() {
    for (flags, code, word) in [
        (vec!["--cka", "3"], 2, "at least 4"),
        (vec!["--cka", "some"], 2, "expected full"),
        (vec!["--samples", "2000"], 3, "1000"),
        (vec!["--model", "nowhere.pt"], 3, "nowhere.pt"),
    ] {
        let output = advmod(&[&["similarity"], &flags[..]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(word), "{flags:?} {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
