//! Each sample's part in Q: whether its neighbours agree with its label.

use super::graph::modularity_of_edges;
use super::{Edge, ModularityError, Neighbors, knn_edges};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampleQ {
    /// `q_i = [Σ_j U_ij δ(c_i, c_j) − s_i S_{c_i}/T] / T`; these sum to Q.
    pub q: f64,
    /// `q_i T / s_i`: the share of the sample's weight that stays in its class, less that class's share of all weight. Between −1 (wholly
    /// among others) and 1; 0 for a sample without weight.
    pub agreement: f64,
    /// The class among its neighbours' under which Q would be highest; its own where no other is better.
    pub suggested: usize,
    /// By how much Q would grow if that were its label; 0 for its own.
    pub gain: f64,
    /// How many of the `k` neighbours that it chose have its label.
    pub same_label: usize,
}

/// Every sample's part in the modularity of the graph that joins each sample to its `k` nearest, under `labels` in 0..`n_classes`.
///
/// # Errors
/// As [`modularity`](super::modularity).
pub(crate) fn sample_q(
    neighbors: &Neighbors,
    k: usize,
    labels: &[usize],
    n_classes: usize,
) -> Result<Vec<SampleQ>, ModularityError> {
    let edges: Vec<Edge> = knn_edges(neighbors, k)?.collect();
    let whole = modularity_of_edges(edges.iter().copied(), labels, n_classes)?;
    let total = whole.total_weight;
    // Σ_{j in c} U_ij for the classes c that a sample has edges with.
    let mut to_classes: Vec<Vec<(usize, f64)>> = vec![Vec::new(); labels.len()];
    let mut same_label = vec![0; labels.len()];
    for &(i, j, weight) in &edges {
        let (i, j) = (i as usize, j as usize);
        same_label[i] += usize::from(labels[i] == labels[j]);
        for (sample, class) in [(i, labels[j]), (j, labels[i])] {
            match to_classes[sample].iter_mut().find(|it| it.0 == class) {
                Some(it) => it.1 += weight / 2.0,
                None => to_classes[sample].push((class, weight / 2.0)),
            }
        }
    }
    let of_sample = |(sample, mut classes): (usize, Vec<(usize, f64)>)| {
        let own = labels[sample];
        let strength: f64 = classes.iter().map(|it| it.1).sum();
        let share = |class: usize| whole.class_weights[class];
        let inside = classes.iter().find(|it| it.0 == own).map_or(0.0, |it| it.1);
        let gain = |class: usize, weight: f64| {
            2.0 * (weight - inside) / total - 2.0 * strength / total * (share(class) - share(own) + strength / total)
        };
        classes.sort_unstable_by_key(|it| it.0);
        let (suggested, gain) = (classes.iter().filter(|it| it.0 != own))
            .map(|&(class, weight)| (class, gain(class, weight)))
            .fold((own, 0.0), |best, next| if next.1 > best.1 { next } else { best });
        let q = (inside - strength * share(own)) / total;
        let agreement = if strength > 0.0 { inside / strength - share(own) } else { 0.0 };
        SampleQ { q, agreement, suggested, gain, same_label: same_label[sample] }
    };
    Ok(to_classes.into_iter().enumerate().map(of_sample).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::modularity;
    use super::*;

    prop_compose! {
        fn labelled()(n in 4_usize..24)(
            values in prop::collection::vec(1_u8..=200, n * n),
            labels in prop::collection::vec(0_usize..4, n),
            k in 1..n,
        ) -> (Vec<f32>, Vec<usize>, usize) {
            (values.into_iter().map(|value| f32::from(value) / 200.0).collect(), labels, k)
        }
    }

    proptest! {
        #[test]
        fn parts_sum_to_q_and_gains_are_those_of_another_label((s, labels, k) in labelled()) {
            let n = labels.len();
            let neighbors = Neighbors::from_dense(n, &s, n - 1).unwrap();
            let q = |labels: &[usize]| modularity(&neighbors, k, labels, 4).unwrap().q;
            let found = sample_q(&neighbors, k, &labels, 4).unwrap();
            let whole = q(&labels);
            prop_assert!((found.iter().map(|it| it.q).sum::<f64>() - whole).abs() < 1e-12);
            for (sample, it) in found.iter().enumerate() {
                prop_assert!((-1.0..=1.0).contains(&it.agreement) && it.same_label <= k);
                // Another label, tried out: what is suggested gives this gain, and no neighbour's class gives more.
                let gain = |class: usize| {
                    let mut other = labels.clone();
                    other[sample] = class;
                    q(&other) - whole
                };
                prop_assert!((gain(it.suggested) - it.gain).abs() < 1e-12);
                for (j, _) in neighbors.row(sample).take(k) {
                    prop_assert!(gain(labels[j as usize]) <= it.gain + 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_sample_among_others_is_told_where_it_belongs() {
        // Two cliques of four; sample 3 has the other one's label.
        let value = |at: usize| if (at / 8 < 4) == (at % 8 < 4) { 0.9 } else { 0.1 };
        let neighbors = Neighbors::from_dense(8, &(0..64).map(value).collect::<Vec<_>>(), 3).unwrap();
        let found = sample_q(&neighbors, 3, &[0, 0, 0, 1, 1, 1, 1, 1], 2).unwrap();
        assert_eq!((found[3].suggested, found[3].same_label), (0, 0));
        // Nothing of its weight is inside, and class 1 has 5 of 8.
        assert!((found[3].agreement + 0.625).abs() < 1e-12 && found[3].gain > 0.0);
        assert!(
            found.iter().enumerate().all(|(at, it)| at == 3 || (it.gain == 0.0 && it.agreement > found[3].agreement))
        );
    }

    #[test]
    fn a_sample_without_weight_has_no_opinion() {
        let mut s = vec![0.5; 16];
        for other in 0..4 {
            (s[3 * 4 + other], s[other * 4 + 3]) = (0.0, 0.0);
        }
        let neighbors = Neighbors::from_dense(4, &s, 1).unwrap();
        let found = sample_q(&neighbors, 1, &[0, 0, 1, 1], 2).unwrap();
        assert_eq!((found[3].q, found[3].agreement, found[3].gain, found[3].suggested), (0.0, 0.0, 0.0, 1));
    }
}
