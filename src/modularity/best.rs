//! The best candidates of every sample, kept while similarities go by.

/// Similarities looked at in one go: most hold nothing for any list.
const LANES: usize = 64;

/// For each of N samples its best others so far: value descending, then index ascending.
pub(super) struct Best {
    wanted: usize,
    /// Places per list: some more than wanted, so that a list is put in order only now and then.
    room: usize,
    /// Of all lists, `room` each.
    entries: Vec<(f32, u32)>,
    lengths: Vec<usize>,
    /// What a value must exceed to get into a list.
    bars: Vec<f32>,
}

impl Best {
    /// Empty lists of `wanted` others for `n` samples.
    pub(super) fn new(n: usize, wanted: usize) -> Self {
        let room = wanted + wanted / 2 + 8;
        Self { wanted, room, entries: vec![(0.0, 0); n * room], lengths: vec![0; n], bars: vec![f32::NEG_INFINITY; n] }
    }

    /// Takes in products of sample `i` with all samples before it; `inverse` are the reciprocal norms of these and of `i` itself.
    ///
    /// Samples must come in ascending order: then every list meets its candidates in ascending order too, and of equal ones the first stays.
    pub(super) fn take(&mut self, i: usize, products: &[f32], inverse: &[f32]) {
        let scale = inverse[i];
        for start in (0..i).step_by(LANES) {
            let end = (start + LANES).min(i);
            let mut values = [0.0; LANES];
            let values = &mut values[..end - start];
            let own = self.bars[i];
            let mut is_any = false;
            let columns = products[start..end].iter().zip(&inverse[start..end]).zip(&self.bars[start..end]);
            for (value, ((product, inverse), &bar)) in values.iter_mut().zip(columns) {
                // Rounding outside ±1 is clamped, so that equal values are equal.
                *value = (product * scale * inverse).clamp(-1.0, 1.0);
                is_any |= *value > own.min(bar);
            }
            if is_any {
                for (j, &value) in (start..end).zip(values.iter()) {
                    self.offer(i, value, j);
                    self.offer(j, value, i);
                }
            }
        }
    }

    fn offer(&mut self, row: usize, value: f32, index: usize) {
        if value > self.bars[row] {
            // −0 becomes 0.
            self.entries[row * self.room + self.lengths[row]] = (value + 0.0, index as u32);
            self.lengths[row] += 1;
            if self.lengths[row] == self.room {
                self.settle(row);
            }
        }
    }

    /// Puts a list in order and drops what is too much.
    fn settle(&mut self, row: usize) {
        let list = &mut self.entries[row * self.room..][..self.lengths[row]];
        list.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        if list.len() >= self.wanted {
            self.lengths[row] = self.wanted;
            self.bars[row] = list[self.wanted - 1].0;
        }
    }

    /// Indices and similarities, `wanted` per sample.
    pub(super) fn finish(mut self) -> (Vec<u32>, Vec<f32>) {
        let (mut indices, mut similarities) = (Vec::new(), Vec::new());
        for row in 0..self.lengths.len() {
            self.settle(row);
            let list = &self.entries[row * self.room..][..self.lengths[row]];
            indices.extend(list.iter().map(|&(_, index)| index));
            similarities.extend(list.iter().map(|&(value, _)| value));
        }
        (indices, similarities)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::modularity::Neighbors;

    proptest! {
        /// Few distinct values, so that most lists end within a tie.
        #[test]
        fn lists_are_those_of_the_whole_matrix(
            values in prop::collection::vec(-3_i8..=3, 100 * 99 / 2), n in 2_usize..=100, share in 0.0..1.0,
        ) {
            let wanted = 1 + (share * (n - 1) as f64) as usize;
            let mut dense = vec![0.0; n * n];
            let mut best = Best::new(n, wanted);
            for i in 0..n {
                let products: Vec<f32> = (0..i).map(|j| f32::from(values[i * i.saturating_sub(1) / 2 + j])).collect();
                for (j, product) in products.iter().enumerate() {
                    let value = (product / 3.0_f32).clamp(-1.0, 1.0);
                    (dense[i * n + j], dense[j * n + i]) = (value, value);
                }
                best.take(i, &products.iter().map(|it| it / 3.0).collect::<Vec<_>>(), &vec![1.0; n]);
            }
            let (indices, similarities) = best.finish();
            let found = Neighbors::new(n, wanted, indices, similarities).unwrap();
            prop_assert_eq!(found, Neighbors::from_dense(n, &dense, wanted).unwrap());
        }
    }
}
