//! What Q would be by chance: its exact mean and standard deviation when labels are shuffled over a fixed graph.

use super::Edge;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Null {
    /// `E₀[Q] = −(1 − π) Σ_i p_i²`.
    pub mean: f64,
    /// `√Var₀[Q]`; 0 where every shuffle gives the same Q.
    pub std_dev: f64,
}

/// What is smaller than this share of the second moment is rounding.
const ROUNDING: f64 = 1e-12;

/// The first two moments of Q over all N! shuffles, in closed form; no shuffle is drawn.
///
/// With `p_i = s_i/T`, Q is `Σ_i p_i²` less than the sum of `B_ij = U_ij/T − p_i p_j` over the ordered pairs `i ≠ j` that share a label.
/// Hence the mean `−(1 − π) Σp²`, `π = Σ_c n_c(n_c − 1) / (N(N − 1))` the chance that two samples share a label, and by Mantel's argument
/// (Cancer Research 27, 1967) the variance: the second moment sums `B_ij B_kl` over pairs of pairs that have both, one or no sample in
/// common, each times the chance that both pairs share their labels. The rows of B sum to `p_i²`.
///
/// Holds for any graph without self-loops. Hubs make the mean strongly negative. `edges` are directed, `strengths` the `s_i`, `total` their
/// sum T > 0, `class_sizes` the `n_c`. With fewer than two samples there is nothing to shuffle and both moments are 0.
pub(crate) fn random_label_null(edges: &[Edge], strengths: &[f64], total: f64, class_sizes: &[usize]) -> Null {
    let n = strengths.len() as f64;
    if n < 2.0 {
        return Null { mean: 0.0, std_dev: 0.0 };
    }
    let power = |power: i32| strengths.iter().map(|s| (s / total).powi(power)).sum::<f64>();
    let (squares, fourths) = (power(2), power(4));
    // Over i ≠ j: the sum of B, of its squares, and over i the squares of its row sums.
    let (sum, rows) = (squares, fourths);
    let weights = pair_sums(edges, strengths, total);
    let each = weights.0 - 2.0 * weights.1 + squares.powi(2) - fourths;
    // The same of the matrix that is 1 where two samples share a label; its entries are their own squares.
    let of_classes = |term: fn(f64) -> f64| class_sizes.iter().map(|&size| term(size as f64)).sum::<f64>();
    let labels = of_classes(|n| n * (n - 1.0));
    let label_rows = of_classes(|n| n * (n - 1.0).powi(2));

    let ways = n * (n - 1.0);
    let expected = sum * labels / ways;
    let mut second = 2.0 * each * labels / ways;
    if n > 2.0 {
        second += 4.0 * (rows - each) * (label_rows - labels) / (ways * (n - 2.0));
    }
    if n > 3.0 {
        let apart = |sum: f64, rows: f64, each: f64| sum.powi(2) - 4.0 * rows + 2.0 * each;
        second += apart(sum, rows, each) * apart(labels, label_rows, labels) / (ways * (n - 2.0) * (n - 3.0));
    }
    let variance = second - expected.powi(2);
    let is_rounding = variance <= ROUNDING * second.abs();
    Null { mean: expected - squares, std_dev: if is_rounding { 0.0 } else { variance.sqrt() } }
}

/// `Σ_{i≠j} (U_ij/T)²` and `Σ_{i≠j} U_ij/T · p_i p_j`. Edges between the same two samples are one entry of U.
fn pair_sums(edges: &[Edge], strengths: &[f64], total: f64) -> (f64, f64) {
    let mut pairs: Vec<(u32, u32, f64)> = edges.iter().map(|&(i, j, weight)| (i.min(j), i.max(j), weight)).collect();
    pairs.sort_unstable_by_key(|&(i, j, _)| (i, j));
    let (mut squares, mut products) = (0.0, 0.0);
    for equal in pairs.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let (i, j, _) = equal[0];
        // U_ij + U_ji
        let both = equal.iter().map(|&(_, _, weight)| weight).sum::<f64>() / total;
        squares += both.powi(2) / 2.0;
        products += both * (strengths[i as usize] / total) * (strengths[j as usize] / total);
    }
    (squares, products)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    use rand_chacha::ChaCha8Rng;

    use super::super::Edge;
    use super::super::graph::modularity_of_edges;
    use crate::stats::{mean, std_dev};

    /// A star with a tail: one hub, unequal weights.
    fn hub_graph() -> Vec<Edge> {
        let star = (1..20).map(|i| (i, 0, 0.5 + f64::from(i) / 40.0));
        let rest = (20..40).map(|i| (i, i - 1, 1.0)).chain((0..40).map(|i| (i, (i * 7 + 3) % 40, 0.8)));
        star.chain(rest).filter(|&(i, j, _)| i != j).collect()
    }

    /// Every order of the labels.
    fn orders(labels: &[usize]) -> Vec<Vec<usize>> {
        let Some((&last, rest)) = labels.split_last() else { return vec![Vec::new()] };
        let insert = |order: Vec<usize>| {
            (0..labels.len()).map(move |at| [&order[..at], &[last], &order[at..]].concat()).collect::<Vec<_>>()
        };
        orders(rest).into_iter().flat_map(insert).collect()
    }

    #[test]
    fn moments_are_those_of_all_shuffles() {
        // One-sided, mutual and repeated edges, one of negative weight.
        let seven =
            [(0, 1, 0.9), (1, 0, 0.8), (2, 0, 0.7), (3, 0, 0.4), (4, 3, 1.0), (4, 3, 0.3), (5, 6, -0.2), (6, 2, 0.6)];
        let four = [(0, 1, 1.0), (1, 2, 0.5), (3, 2, 0.25)];
        let (three, two) = ([(0, 1, 1.0), (2, 1, 0.5)], [(0, 1, 1.0)]);
        for (edges, labels) in [
            (&seven[..], &[0, 0, 0, 1, 1, 2, 2][..]),
            (&seven, &[0, 1, 1, 1, 1, 1, 1]),
            (&seven, &[0, 0, 0, 0, 0, 0, 0]),
            (&seven, &[0, 1, 2, 3, 4, 5, 6]),
            (&four, &[0, 0, 1, 1]),
            (&three, &[0, 0, 1]),
            (&two, &[0, 0]),
            (&two, &[0, 1]),
        ] {
            let q = |labels: &[usize]| modularity_of_edges(edges.iter().copied(), labels, 7).unwrap();
            let values: Vec<f64> = orders(labels).iter().map(|order| q(order).q).collect();
            let (centre, found) = (mean(&values).unwrap(), q(labels));
            let variance = values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((found.null - centre).abs() < 1e-12, "{labels:?}: {} against {centre}", found.null);
            let expected = if variance > 1e-20 { variance.sqrt() } else { 0.0 };
            assert!((found.null_std_dev - expected).abs() < 1e-12, "{labels:?}: {} {expected}", found.null_std_dev);
            let z = (expected > 0.0).then(|| (found.q - centre) / expected);
            assert_eq!(found.z().is_some(), z.is_some(), "{labels:?}");
            assert!(found.z().zip(z).is_none_or(|(found, z)| (found - z).abs() < 1e-9), "{labels:?}");
        }
    }

    #[test]
    fn drawn_shuffles_agree_where_there_are_too_many_to_list() {
        let edges = hub_graph();
        let mut labels: Vec<usize> = (0..40).map(|i| [0, 0, 0, 1, 1, 2, 3, 3][i % 8]).collect();
        let expected = modularity_of_edges(edges.clone(), &labels, 4).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let values: Vec<f64> = (0..4000)
            .map(|_| {
                labels.shuffle(&mut rng);
                modularity_of_edges(edges.clone(), &labels, 4).unwrap().q
            })
            .collect();
        let (mean, std_dev) = (mean(&values).unwrap(), std_dev(&values).unwrap());
        let se = std_dev / (values.len() as f64).sqrt();
        // Equal strengths would give −(1 − π)/N with π = (15·14 + 10·9 + 5·4 + 10·9)/(40·39).
        let without_hub = -(1.0 - 410.0 / 1560.0) / 40.0;
        assert!(expected.null < 1.3 * without_hub, "the hub must show: {}", expected.null);
        assert!((mean - expected.null).abs() < 4.0 * se, "{mean} against {}, standard error {se}", expected.null);
        assert!((std_dev / expected.null_std_dev - 1.0).abs() < 0.05, "{std_dev} against {}", expected.null_std_dev);
    }

    #[test]
    fn one_class_and_one_sample_have_no_spread() {
        let one_class = modularity_of_edges([(0, 1, 1.0), (1, 2, 1.0)], &[0; 3], 2).unwrap();
        assert!(one_class.null.abs() < 1e-15 && one_class.null_std_dev == 0.0 && one_class.z().is_none());
        let nothing = super::random_label_null(&[], &[1.0], 1.0, &[1]);
        assert!(nothing.mean == 0.0 && nothing.std_dev == 0.0);
    }
}
