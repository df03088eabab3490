//! Which images of a data set are used.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::DataError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    All,
    /// The first so many, in file order.
    First(usize),
    Sample {
        n: usize,
        seed: u64,
    },
    /// As `Sample`, or all where there are fewer.
    UpTo {
        n: usize,
        seed: u64,
    },
}

impl Selection {
    /// How many images are wanted; more than there can be for all of them.
    pub fn n(&self) -> usize {
        match *self {
            Self::All => usize::MAX,
            Self::First(n) | Self::Sample { n, .. } | Self::UpTo { n, .. } => n,
        }
    }
}

/// Places of the chosen images, ascending. The same on every machine.
pub(crate) fn select(selection: &Selection, available: usize) -> Result<Vec<usize>, DataError> {
    match *selection {
        Selection::All => Ok((0..available).collect()),
        Selection::First(n) => check(n, available).map(|()| (0..n).collect()),
        Selection::UpTo { n, seed } => select(&Selection::Sample { n: n.min(available), seed }, available),
        Selection::Sample { n, seed } => {
            let mut drawn = draw(n, seed, available)?;
            drawn.sort_unstable();
            Ok(drawn)
        }
    }
}

/// `n` places in the order in which they are drawn: every part of them is a random sample too, whatever the order of the file.
pub(crate) fn draw(n: usize, seed: u64, available: usize) -> Result<Vec<usize>, DataError> {
    check(n, available)?;
    let mut places: Vec<usize> = (0..available).collect();
    let (drawn, _) = places.partial_shuffle(&mut ChaCha8Rng::seed_from_u64(seed), n);
    Ok(drawn.to_vec())
}

fn check(wanted: usize, available: usize) -> Result<(), DataError> {
    if wanted > available { Err(DataError::TooFew { wanted, available }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_drawn_by_seed_and_sorted() {
        let draw = |seed| select(&Selection::Sample { n: 5, seed }, 1000).unwrap();
        assert_eq!(draw(1), draw(1));
        // Fixed numbers: the same draw on every machine and after every update of a dependency.
        assert_eq!(draw(1), [278, 548, 581, 659, 708]);
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn more_than_there_are_is_an_error_that_says_how_many_there_are() {
        for selection in [Selection::First(11), Selection::Sample { n: 11, seed: 0 }] {
            assert!(select(&selection, 10).unwrap_err().to_string().contains("the data has 10"));
        }
        assert_eq!(select(&Selection::First(2), 10).unwrap(), [0, 1]);
        assert_eq!(select(&Selection::All, 3).unwrap(), [0, 1, 2]);
        assert_eq!(select(&Selection::UpTo { n: 5, seed: 1 }, 3).unwrap(), [0, 1, 2]);
        assert_eq!(select(&Selection::UpTo { n: 5, seed: 1 }, 1000).unwrap(), [278, 548, 581, 659, 708]);
    }
}
