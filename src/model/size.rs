//! [`Size`]: a number of a program that may go with the number of images.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// This many; −1 is "what is left" or "as it is".
    Fixed(i64),
    /// So many times the number of images in the batch.
    Batch(i64),
}

impl Size {
    /// For so many images.
    pub(crate) fn of(self, batch: i64) -> i64 {
        match self {
            Self::Fixed(size) => size,
            Self::Batch(times) => times.saturating_mul(batch),
        }
    }
}
