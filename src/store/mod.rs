//! The folder of a run: what its files are called, and its images.

use std::path::{Path, PathBuf};

pub mod pixels;

/// The events of a run, one JSON object per line.
pub const JOURNAL_FILE: &str = "run.jsonl";

/// The clean images of all samples, as u8.
pub const CLEAN_FILE: &str = "clean.safetensors";

/// One file per attack, `LABEL.safetensors`, with the adversarial images as f32. While an attack runs its batches are in `LABEL.part`: per
/// sample its place as u64 and its pixels as f32, little-endian, in the order in which they were judged.
pub const ADVERSARIAL_FOLDER: &str = "adversarial";

/// Where an attack's pixels are when it is through.
pub fn whole_file(folder: &Path, label: &str) -> PathBuf {
    folder.join(ADVERSARIAL_FOLDER).join(format!("{label}.safetensors"))
}

/// Where an attack's pixels are before that.
pub fn part_file(folder: &Path, label: &str) -> PathBuf {
    folder.join(ADVERSARIAL_FOLDER).join(format!("{label}.part"))
}
