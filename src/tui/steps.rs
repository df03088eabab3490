//! Steps through lists: of values that a key goes round, and of rows that are too many to be shown at once.

/// The value after this one; the first after the last.
pub(super) fn after<T: Copy + PartialEq, const N: usize>(all: [T; N], it: T) -> T {
    let place = all.iter().position(|other| *other == it).unwrap_or(0);
    all[(place + 1) % N]
}

/// A place moved within a list of `len`; none in an empty one.
pub(super) fn moved(place: usize, by: isize, len: usize) -> Option<usize> {
    (len > 0).then(|| place.saturating_add_signed(by).min(len - 1))
}

/// The first of `len` rows that is shown where there is room for `room`, so that the selected one is among them.
pub(super) fn first_shown(selected: usize, len: usize, room: usize) -> usize {
    if len <= room { 0 } else { selected.saturating_sub(room / 2).min(len - room) }
}
