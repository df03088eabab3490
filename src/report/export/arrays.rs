//! What the array formats hold: the same names everywhere.

use super::{AttackImages, Row};

pub(super) type Column = (&'static str, fn(&Row<'_>) -> i64);

/// `y` is the true label, `indices` the place in the data set, `samples` the place in the report's list.
pub(super) const COLUMNS: [Column; 4] = [
    ("y", |row| i64::from(row.label)),
    ("indices", |row| row.index as i64),
    ("samples", |row| row.result.sample as i64),
    ("predictions", |row| i64::from(row.result.prediction)),
];

/// Adversarial pixels in `[0, 1]`.
pub(super) const X: &str = "x";
/// The originals, 0 to 255.
pub(super) const X_CLEAN: &str = "x_clean";
/// Whether the attack met its goal.
pub(super) const SUCCESS: &str = "success";

/// `[N, C, H, W]`.
pub(super) fn shape(images: &AttackImages<'_>) -> [usize; 4] {
    let [channels, height, width] = images.pixels.shape();
    [images.rows.len(), channels, height, width]
}
