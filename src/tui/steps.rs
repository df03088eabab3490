//! Steps through lists: of values that a key goes round, and of rows that are too many to be shown at once.

use clap::ValueEnum;

/// Replaces a value with the one so many places after it; the first follows the last.
pub(super) fn turn<T: ValueEnum + PartialEq>(it: &mut T, by: isize) {
    let all = T::value_variants();
    let place = all.iter().position(|other| other == it).unwrap_or(0) as isize;
    *it = all[(place + by).rem_euclid(all.len() as isize) as usize].clone();
}

/// A place moved within a list of `len`; none in an empty one.
pub(super) fn moved(place: usize, by: isize, len: usize) -> Option<usize> {
    (len > 0).then(|| place.saturating_add_signed(by).min(len - 1))
}

/// The first of `len` rows that is shown where there is room for `room`, so that the selected one is among them.
pub(super) fn first_shown(selected: usize, len: usize, room: usize) -> usize {
    if len <= room { 0 } else { selected.saturating_sub(room / 2).min(len - room) }
}
