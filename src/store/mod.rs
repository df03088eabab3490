//! The folder of a run: what its files are called, and its images.

use advmod_attacks::catalog::ATTACKS;

mod folder;
mod kept;
pub mod picture;
pub mod pixels;
mod write;

pub(crate) use folder::{RunFolder, busy};
pub(crate) use kept::{Kept, Part};
pub(crate) use write::{Columns, save_adversarial, save_clean};

/// The events of a run, one JSON object per line.
pub(crate) const JOURNAL_FILE: &str = "run.jsonl";

pub(crate) const REPORT_FILE: &str = "report.json";

/// The plan that makes the report again.
pub(crate) const PLAN_FILE: &str = "report.plan.toml";

/// The clean images of all samples, as u8.
pub(crate) const CLEAN_FILE: &str = "clean.safetensors";

/// One file per attack, `LABEL.safetensors`, with the adversarial images as f32. While an attack runs its batches are in `LABEL.part`: per
/// sample its place as u64 and its pixels as f32, little-endian, in the order in which they were judged.
pub(crate) const ADVERSARIAL_FOLDER: &str = "adversarial";

/// Where a run writes while an earlier one is still in its folder.
pub(crate) const NEXT_FOLDER: &str = ".advmod-next";

const WHOLE: &str = ".safetensors";
const PART: &str = ".part";

/// Tensors of the files of images: the images, and their places in the list of samples.
const PIXELS: &str = "pixels";
const SAMPLES: &str = "samples";

/// An attack's pixels when it is finished, as the folder's files are called.
pub(crate) fn adversarial_file(label: &str) -> String {
    format!("{ADVERSARIAL_FOLDER}/{label}{WHOLE}")
}

/// Where an attack's pixels are before that.
fn part_file(label: &str) -> String {
    format!("{ADVERSARIAL_FOLDER}/{label}{PART}")
}

/// Whether a run writes files of this name among its adversarial images. They are named after the attacks; what else lies there is the
/// user's.
pub(crate) fn is_adversarial(name: &str) -> bool {
    let is_number = |rest: &str| rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.parse::<usize>().is_ok());
    let is_label = |label: &str| ATTACKS.iter().any(|spec| label.strip_prefix(spec.id).is_some_and(is_number));
    name.strip_suffix(WHOLE).or_else(|| name.strip_suffix(PART)).is_some_and(is_label)
}
