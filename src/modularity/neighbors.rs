//! Each sample's most similar other samples: what the device hands over, as plain data.

use std::cmp::Ordering;

use super::ModularityError;

/// The best candidates of N samples: for each, other samples ordered by similarity descending, then index ascending.
///
/// Lists are longer than k so that half of the samples still find k neighbours among themselves
/// ([`candidates_for`](super::candidates_for) says how long).
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    n: usize,
    candidates: usize,
    indices: Vec<u32>,
    similarities: Vec<f32>,
    /// Representations that were all zero: their similarities are 0 and carry no weight.
    pub(super) zero_rows: usize,
}

/// How far rounding (bf16 inputs at worst) may push a similarity outside [−1, 1].
const ROUNDING: f32 = 0.02;

/// From this similarity on two rows count as the same up to f32 rounding.
const DUPLICATE: f32 = 1.0 - 1e-6;

impl Neighbors {
    /// Takes `n` × `candidates` row-major `indices` and `similarities`, the best others of each sample.
    ///
    /// Values just outside [−1, 1] are clamped, and each row is put in order (value descending, index ascending).
    /// *Which* samples are listed is the caller's choice: at the end of a list, ties must already have gone to the lower
    /// index, of values clamped before the choice.
    ///
    /// # Errors
    /// Lists of the wrong length, not between 1 and N − 1 candidates, non-finite values or values outside [−1, 1], a row
    /// that names itself, an unknown sample, or one sample twice.
    pub(crate) fn new(
        n: usize,
        candidates: usize,
        mut indices: Vec<u32>,
        mut similarities: Vec<f32>,
    ) -> Result<Self, ModularityError> {
        check_k(n, candidates)?;
        let expected = n.saturating_mul(candidates);
        check_length("indices", expected, indices.len())?;
        check_length("similarities", expected, similarities.len())?;
        clamp(&mut similarities, candidates)?;
        let mut row = Vec::with_capacity(candidates);
        let mut seen = vec![usize::MAX; n];
        let rows = indices.chunks_exact_mut(candidates).zip(similarities.chunks_exact_mut(candidates));
        for (i, (js, values)) in rows.enumerate() {
            for &j in js.iter() {
                // `seen` holds the last row that listed j, so it needs no clearing between rows.
                match seen.get_mut(j as usize) {
                    Some(last) if j as usize != i && *last != i => *last = i,
                    _ => return Err(ModularityError::BadNeighbor { row: i, neighbor: j, n }),
                }
            }
            row.clear();
            row.extend(values.iter().copied().zip(js.iter().copied()));
            row.sort_unstable_by(|&a, &b| best_first(a, b));
            for (slot, &(value, j)) in row.iter().enumerate() {
                values[slot] = value;
                js[slot] = j;
            }
        }
        Ok(Self { n, candidates, indices, similarities, zero_rows: 0 })
    }

    /// Selects from all `n` × `n` row-major similarities, which were computed elsewhere; the diagonal is not read.
    ///
    /// # Errors
    /// As [`Neighbors::new`].
    pub fn from_dense(n: usize, dense: &[f32], candidates: usize) -> Result<Self, ModularityError> {
        check_k(n, candidates)?;
        check_length("similarities", n.saturating_mul(n), dense.len())?;
        let mut dense = dense.to_vec();
        for i in 0..n {
            dense[i * n + i] = 1.0;
        }
        clamp(&mut dense, n)?;
        let (mut indices, mut similarities) = (Vec::new(), Vec::new());
        for (i, row) in dense.chunks_exact(n).enumerate() {
            let mut others: Vec<(f32, u32)> = row.iter().copied().zip(0_u32..).collect();
            others.remove(i);
            others.sort_unstable_by(|&a, &b| best_first(a, b));
            indices.extend(others[..candidates].iter().map(|&(_, j)| j));
            similarities.extend(others[..candidates].iter().map(|&(value, _)| value));
        }
        Self::new(n, candidates, indices, similarities)
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// Sample `i`'s neighbours with their similarities, best first.
    ///
    /// # Panics
    /// If `i` is not below N.
    pub fn row(&self, i: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let places = i * self.candidates..(i + 1) * self.candidates;
        self.indices[places.clone()].iter().copied().zip(self.similarities[places].iter().copied())
    }

    /// Samples with another sample of the same direction (similarity 1 up to rounding): repeated images leak labels.
    pub(crate) fn duplicates(&self) -> usize {
        self.similarities.iter().step_by(self.candidates).filter(|&&best| best >= DUPLICATE).count()
    }

    /// Checks that a graph of `k` neighbours can be taken from these lists.
    pub(super) fn check_k(&self, k: usize) -> Result<(), ModularityError> {
        check_k(self.n, k)?;
        if k > self.candidates {
            return Err(ModularityError::TooFewCandidates { k, candidates: self.candidates });
        }
        Ok(())
    }
}

/// The order of neighbours: similarity descending, then index ascending. Values are finite.
fn best_first(a: (f32, u32), b: (f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

fn check_k(n: usize, k: usize) -> Result<(), ModularityError> {
    match k {
        0 => Err(ModularityError::ZeroK),
        _ if k >= n => Err(ModularityError::TooFewSamples { n, k }),
        _ => Ok(()),
    }
}

pub(super) fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), ModularityError> {
    if expected == found { Ok(()) } else { Err(ModularityError::Length { what, expected, found }) }
}

/// Clamps rounding at ±1 and turns −0 into 0, so that the total order sees equal values as equal.
fn clamp(values: &mut [f32], width: usize) -> Result<(), ModularityError> {
    let bad = |row: &[f32]| row.iter().any(|value| !value.is_finite());
    if let Some(row) = values.chunks(width).position(bad) {
        let rows = values.chunks(width).filter(|row| bad(row)).count();
        return Err(ModularityError::NonFiniteSimilarity { row, rows });
    }
    for (place, value) in values.iter_mut().enumerate() {
        if value.abs() > 1.0 + ROUNDING {
            return Err(ModularityError::SimilarityOutOfRange { row: place / width, value: *value });
        }
        *value = value.clamp(-1.0, 1.0) + 0.0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(neighbors: &Neighbors, i: usize) -> Vec<u32> {
        neighbors.row(i).map(|(j, _)| j).collect()
    }

    #[test]
    fn ties_go_to_the_lowest_index_other_than_self() {
        let identical = Neighbors::from_dense(10, &[1.0; 100], 3).unwrap();
        assert_eq!(listed(&identical, 0), [1, 2, 3]);
        assert_eq!(listed(&identical, 5), [0, 1, 2]);
        assert_eq!(identical.duplicates(), 10);
        let zero = Neighbors::from_dense(4, &[0.0, -0.0, 0.0, -0.0].repeat(4), 3).unwrap();
        assert_eq!(listed(&zero, 0), [1, 2, 3]);
        assert_eq!(zero.duplicates(), 0);
    }

    #[test]
    fn the_diagonal_never_competes_even_when_all_others_are_negative() {
        let negative = [0.0, -0.5, -0.2, -0.5, f32::NAN, -0.1, -0.2, -0.1, 9.0];
        let neighbors = Neighbors::from_dense(3, &negative, 2).unwrap();
        assert_eq!(listed(&neighbors, 0), [2, 1]);
        assert_eq!(neighbors.row(1).collect::<Vec<_>>(), [(2, -0.1), (0, -0.5)]);
    }

    #[test]
    fn rounding_above_one_is_clamped_before_the_order() {
        let neighbors = Neighbors::new(3, 2, vec![2, 1, 0, 2, 0, 1], vec![1.000_01, 1.0, 1.0, 0.2, -1.000_1, 0.5]);
        let neighbors = neighbors.unwrap();
        assert_eq!(neighbors.row(0).collect::<Vec<_>>(), [(1, 1.0), (2, 1.0)]);
        assert_eq!(neighbors.row(2).collect::<Vec<_>>(), [(1, 0.5), (0, -1.0)]);
    }

    #[test]
    fn bad_lists_are_refused_by_name() {
        use ModularityError as E;
        let lists = |indices: &[u32], values: &[f32]| Neighbors::new(3, 1, indices.to_vec(), values.to_vec());
        assert_eq!(lists(&[1, 0], &[0.0; 3]), Err(E::Length { what: "indices", expected: 3, found: 2 }));
        assert_eq!(lists(&[1, 0, 0], &[0.0; 4]), Err(E::Length { what: "similarities", expected: 3, found: 4 }));
        let nan = [0.0, f32::NAN, f32::INFINITY];
        assert_eq!(lists(&[1, 0, 0], &nan), Err(E::NonFiniteSimilarity { row: 1, rows: 2 }));
        let large = [0.0, 0.0, 1.5];
        assert_eq!(lists(&[1, 0, 0], &large), Err(E::SimilarityOutOfRange { row: 2, value: 1.5 }));
        assert_eq!(lists(&[0, 0, 0], &[0.0; 3]), Err(E::BadNeighbor { row: 0, neighbor: 0, n: 3 }));
        assert_eq!(lists(&[1, 3, 0], &[0.0; 3]), Err(E::BadNeighbor { row: 1, neighbor: 3, n: 3 }));
        let twice = Neighbors::new(3, 2, vec![1, 2, 0, 2, 1, 1], vec![0.0; 6]);
        assert_eq!(twice, Err(E::BadNeighbor { row: 2, neighbor: 1, n: 3 }));
        assert_eq!(Neighbors::new(3, 0, vec![], vec![]), Err(E::ZeroK));
        assert_eq!(Neighbors::new(0, 1, vec![], vec![]), Err(E::TooFewSamples { n: 0, k: 1 }));
        assert_eq!(Neighbors::from_dense(3, &[0.0; 9], 3), Err(E::TooFewSamples { n: 3, k: 3 }));
        assert_eq!(Neighbors::from_dense(2, &[0.0; 3], 1).unwrap_err().to_string().lines().count(), 1);
    }
}
