//! Predictions that follow the labels in another order.

use std::collections::BTreeMap;

/// Share of all samples that must follow the order.
const MOST: f64 = 0.8;

/// Share of a label's samples that must.
const HALF: f64 = 0.5;

/// Which class the model gives the samples of each label, where it tells the labels apart and gives some of them consistently another class: then
/// the labels are numbered otherwise than the model's outputs. Absent where it does not.
pub(crate) fn permutation(labels: &[u32], predictions: &[u32]) -> Option<Vec<(u32, u32)>> {
    let mut counts: BTreeMap<u32, BTreeMap<u32, usize>> = BTreeMap::new();
    for (label, prediction) in labels.iter().zip(predictions) {
        *counts.entry(*label).or_default().entry(*prediction).or_default() += 1;
    }
    let mut order = Vec::with_capacity(counts.len());
    let (mut following, mut all) = (0, 0);
    for (label, counts) in counts {
        let n: usize = counts.values().sum();
        let (class, most) = counts.into_iter().max_by_key(|&(class, count)| (count, class == label))?;
        // One image moves no class, nor do a few of many.
        if class != label && (n < 2 || (most as f64) < HALF * n as f64) {
            return None;
        }
        following += most;
        all += n;
        order.push((label, class));
    }
    let mut classes: Vec<u32> = order.iter().map(|&(_, class)| class).collect();
    classes.sort_unstable();
    classes.dedup();
    let is_one_to_one = classes.len() == order.len() && order.len() > 1;
    let is_moved = order.iter().any(|(label, class)| label != class);
    (is_one_to_one && is_moved && following as f64 >= MOST * all as f64).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_found_where_there_is_one() {
        let labels: Vec<u32> = (0..50).map(|i| i % 5).collect();
        let shifted: Vec<u32> = labels.iter().map(|&label| if label >= 2 { label + 1 } else { label }).collect();
        assert_eq!(permutation(&labels, &shifted).unwrap(), [(0, 0), (1, 1), (2, 3), (3, 4), (4, 5)]);
        let mut noisy = shifted.clone();
        noisy[2] = 0;
        assert!(permutation(&labels, &noisy).is_some());
        assert_eq!(permutation(&labels, &labels), None);
        // A model that takes all for one class, and one that guesses, know no order.
        assert_eq!(permutation(&labels, &[3; 50]), None);
        let guesses: Vec<u32> = (0..50).map(|i| (i * 7 + i / 5) % 5).collect();
        assert_eq!(permutation(&labels, &guesses), None);
        assert_eq!(permutation(&[0], &[1]), None);
        assert_eq!(permutation(&[], &[]), None);
        // Two classes the other way round.
        assert_eq!(permutation(&[0, 1, 0, 1], &[1, 0, 1, 0]).unwrap(), [(0, 1), (1, 0)]);
    }
}
