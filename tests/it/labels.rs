//! `advmod labels` through the real executable.

use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::read::GzDecoder;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{advmod, make_data_set};

/// Gives a tenth of the test images another label, drawn by a seed; which ones comes back.
fn flip_labels(folder: &Path) -> Vec<bool> {
    let path = folder.join("t10k-labels-idx1-ubyte.gz");
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let n = bytes.len() - 8;
    let mut is_flipped: Vec<bool> = (0..n).map(|place| place < n / 10).collect();
    is_flipped.shuffle(&mut random);
    for (label, _) in bytes[8..].iter_mut().zip(&is_flipped).filter(|(_, is_flipped)| **is_flipped) {
        *label = (*label + random.random_range(1..10_u8)) % 10;
    }
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(&bytes).unwrap();
    std::fs::write(&path, out.finish().unwrap()).unwrap();
    is_flipped
}

/// How often a flipped label ranks before one that is not.
fn auc(ranking: &[bool]) -> f64 {
    let flipped = ranking.iter().filter(|it| **it).count();
    let (mut pairs, mut before) = (0, 0);
    for is_flipped in ranking {
        before += usize::from(*is_flipped);
        pairs += if *is_flipped { 0 } else { before };
    }
    pairs as f64 / (flipped * (ranking.len() - flipped)) as f64
}

#[test]
fn flipped_labels_rank_first_and_the_right_ones_are_suggested() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    make_data_set(&data);
    let original = std::fs::read(data.join("t10k-labels-idx1-ubyte.gz")).unwrap();
    let mut right = Vec::new();
    GzDecoder::new(&original[..]).read_to_end(&mut right).unwrap();
    let is_flipped = flip_labels(&data);
    let (data, files) = (data.to_str().unwrap(), out.to_str().unwrap());
    let output = advmod(&["labels", "--data", data, "--threads", "1", "--top", "7", "--out", files]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("k = 10, cosine, layer3.2"), "{text}");
    assert_eq!(text.lines().count(), 3 + 7, "{text}");
    let rows: Vec<_> =
        csv::Reader::from_path(out.join("labels.csv")).unwrap().into_records().map(Result::unwrap).collect();
    let place = |row: &csv::StringRecord| row[1].parse::<usize>().unwrap();
    let ranking: Vec<bool> = rows.iter().map(|row| is_flipped[place(row)]).collect();
    let found = auc(&ranking);
    assert!(ranking.len() == 1000 && found > 0.9, "{found}");
    // Of the flipped ones, most are told the label that they had.
    let flipped: Vec<_> = rows.iter().filter(|row| is_flipped[place(row)]).collect();
    let told = flipped.iter().filter(|row| row[4] == right[8 + place(row)].to_string()).count();
    assert!(told * 10 > flipped.len() * 8, "{told} of {}", flipped.len());
    let parts: Vec<f64> = rows.iter().map(|row| row[6].parse().unwrap()).collect();
    assert!(parts.is_sorted(), "{parts:?}");
}

#[test]
fn classes_that_cannot_fill_their_neighbourhoods_are_told() {
    let flags = ["labels", "--first", "60", "--k", "20", "--threads", "1", "--top", "1"];
    let error = String::from_utf8(advmod(&flags).output().unwrap().stderr).unwrap();
    assert!(error.starts_with("warning: ") && error.contains("class(es) have at most k = 20 samples"), "{error}");
    let output = advmod(&[&flags[..], &["--quiet"]].concat()).output().unwrap();
    assert!(output.stderr.is_empty());
}

#[test]
fn what_cannot_be_ranked_is_said_in_one_line() {
    for (flags, code, word) in [
        (vec!["--samples", "10"], 3, "N = 10"),
        (vec!["--samples", "2000"], 3, "1000"),
        (vec!["--k", "0"], 2, "at least 1"),
        (vec!["--taps", "nowhere"], 3, "nowhere"),
    ] {
        let output = advmod(&[&["labels"], &flags[..]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(word), "{flags:?} {error}");
        assert!(error.lines().count() == 1 && output.stdout.is_empty(), "{error}");
    }
}
