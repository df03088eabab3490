//! The k-nearest-neighbour graph and its modularity under the labels.
//!
//! A directed weighted edge i → j adds half its weight to `U_ij` and to `U_ji`, `U = (A + Aᵀ)/2`. No symmetric matrix is
//! built: `Σ_ij U_ij δ(c_i, c_j) = Σ_ij A_ij δ(c_i, c_j)`, so one pass over the directed edges is enough.

use serde::{Deserialize, Serialize};

use super::neighbors::check_length;
use super::{Edge, ModularityError, Neighbors, random_label_null};

/// Modularity of a graph under labels, and what the same pass yields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Modularity {
    /// Newman's Q, between −1/2 and 1 when no weight is negative.
    pub q: f64,
    /// Mean of Q when the labels are shuffled over the same graph ([`random_label_null`]).
    pub null: f64,
    /// Standard deviation of Q when the labels are shuffled ([`random_label_null`]).
    pub null_std_dev: f64,
    /// Each class's share of Q: `L_c/T − (S_c/T)²`.
    pub per_class: Vec<f64>,
    /// Each class's share of the weight, `S_c/T`.
    pub class_weights: Vec<f64>,
    /// T, the sum of the edge weights.
    pub total_weight: f64,
    /// Share of the edges, unweighted, that join two samples of the same label.
    pub label_overlap: f64,
    /// Edges of negative weight; with any, Q may leave its bounds.
    pub negative_edges: usize,
}

impl Modularity {
    /// How many standard deviations Q lies above its mean under shuffled labels; none where shuffling changes nothing.
    pub fn z(&self) -> Option<f64> {
        (self.null_std_dev > 0.0).then(|| (self.q - self.null) / self.null_std_dev)
    }
}

/// The directed k-nearest-neighbour edges, N · k of them, weighted by similarity.
///
/// # Errors
/// k = 0, k ≥ N, or lists shorter than k.
pub(crate) fn knn_edges(neighbors: &Neighbors, k: usize) -> Result<impl Iterator<Item = Edge> + '_, ModularityError> {
    neighbors.check_k(k)?;
    Ok((0..neighbors.n()).flat_map(move |i| neighbors.row(i).take(k).map(move |(j, s)| (i as u32, j, f64::from(s)))))
}

/// Q of the graph that joins each sample to its `k` nearest, under `labels` in 0..`n_classes`.
///
/// # Errors
/// As [`knn_edges`] and [`modularity_of_edges`].
pub fn modularity(
    neighbors: &Neighbors,
    k: usize,
    labels: &[usize],
    n_classes: usize,
) -> Result<Modularity, ModularityError> {
    check_labels(labels, neighbors.n(), n_classes)?;
    modularity_of_edges(knn_edges(neighbors, k)?, labels, n_classes)
}

/// Q of any directed weighted graph on `labels.len()` nodes (Newman, PRE 69, 066133 (2004); weighted: PRE 70, 056131).
///
/// # Errors
/// A label outside the classes, an edge outside the nodes or from a node to itself, a weight that is not finite, or
/// [`ModularityError::Undefined`] when the weights do not sum to more than zero.
pub(super) fn modularity_of_edges(
    edges: impl IntoIterator<Item = Edge>,
    labels: &[usize],
    n_classes: usize,
) -> Result<Modularity, ModularityError> {
    let n = labels.len();
    check_labels(labels, n, n_classes)?;
    let mut sums = Sums::new(n_classes);
    let mut strengths = vec![0.0; n];
    let edges: Vec<Edge> = edges.into_iter().collect();
    for (index, &(from, to, weight)) in edges.iter().enumerate() {
        let (i, j) = (from as usize, to as usize);
        if i >= n || j >= n || i == j || !weight.is_finite() {
            return Err(ModularityError::BadEdge { index, from, to, weight, n });
        }
        sums.add(labels[i], labels[j], weight);
        strengths[i] += weight / 2.0;
        strengths[j] += weight / 2.0;
    }
    let per_class = sums.per_class()?;
    let mut class_sizes = vec![0; n_classes];
    for &label in labels {
        class_sizes[label] += 1;
    }
    let null = random_label_null(&edges, &strengths, sums.total, &class_sizes);
    Ok(Modularity {
        q: per_class.iter().sum(),
        null: null.mean,
        null_std_dev: null.std_dev,
        per_class,
        class_weights: sums.strength.iter().map(|strength| strength / sums.total).collect(),
        total_weight: sums.total,
        label_overlap: sums.inside_edges as f64 / sums.edges as f64,
        negative_edges: sums.negative_edges,
    })
}

/// Checks that there is one label per sample, each below the number of classes.
pub(super) fn check_labels(labels: &[usize], n: usize, n_classes: usize) -> Result<(), ModularityError> {
    check_length("labels", n, labels.len())?;
    match labels.iter().enumerate().find(|&(_, &label)| label >= n_classes) {
        Some((index, &label)) => Err(ModularityError::LabelOutOfRange { index, label, n_classes }),
        None => Ok(()),
    }
}

/// What one pass over the edges gathers.
#[derive(Default)]
pub(super) struct Sums {
    total: f64,
    magnitude: f64,
    inside: Vec<f64>,
    strength: Vec<f64>,
    edges: usize,
    inside_edges: usize,
    negative_edges: usize,
}

impl Sums {
    pub(super) fn new(n_classes: usize) -> Self {
        let zeros = vec![0.0; n_classes];
        Self { inside: zeros.clone(), strength: zeros, ..Self::default() }
    }

    pub(super) fn add(&mut self, from_class: usize, to_class: usize, weight: f64) {
        self.total += weight;
        self.magnitude += weight.abs();
        self.strength[from_class] += weight / 2.0;
        self.strength[to_class] += weight / 2.0;
        self.edges += 1;
        self.negative_edges += usize::from(weight < 0.0);
        if from_class == to_class {
            self.inside[from_class] += weight;
            self.inside_edges += 1;
        }
    }

    /// The terms `L_c/T − (S_c/T)²` of Q. Sums that cancel to rounding noise count as zero weight.
    pub(super) fn per_class(&self) -> Result<Vec<f64>, ModularityError> {
        let terms = self.inside.iter().zip(&self.strength).map(|(l, s)| l / self.total - (s / self.total).powi(2));
        let terms: Vec<f64> = terms.collect();
        let positive = self.total > 1e-12 * self.magnitude && terms.iter().sum::<f64>().is_finite();
        if positive { Ok(terms) } else { Err(ModularityError::Undefined { edges: self.edges, total: self.total }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn undirected(edges: &[(u32, u32, f64)]) -> Vec<Edge> {
        edges.iter().flat_map(|&(i, j, w)| [(i, j, w), (j, i, w)]).collect()
    }

    /// All pairs inside each block of these sizes, unit weights, and the block of each node.
    fn cliques(sizes: &[u32]) -> (Vec<Edge>, Vec<usize>) {
        let (mut edges, mut labels) = (Vec::new(), Vec::new());
        for (class, &size) in sizes.iter().enumerate() {
            let start = labels.len() as u32;
            edges.extend((start..start + size).flat_map(|j| (start..j).map(move |i| (i, j, 1.0))));
            labels.extend((0..size).map(|_| class));
        }
        (undirected(&edges), labels)
    }

    fn q(edges: &[Edge], labels: &[usize], n_classes: usize) -> f64 {
        modularity_of_edges(edges.iter().copied(), labels, n_classes).unwrap().q
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }

    /// Q by its definition on the symmetric matrix, `(1/T) Σ_ij (U_ij − s_i s_j / T) δ(c_i, c_j)`.
    fn dense_oracle(edges: &[Edge], labels: &[usize]) -> f64 {
        let n = labels.len();
        let mut u = vec![vec![0.0; n]; n];
        for &(i, j, w) in edges {
            u[i as usize][j as usize] += w / 2.0;
            u[j as usize][i as usize] += w / 2.0;
        }
        let s: Vec<f64> = u.iter().map(|row| row.iter().sum()).collect();
        let t: f64 = s.iter().sum();
        let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|&(i, j)| labels[i] == labels[j]);
        pairs.map(|(i, j)| u[i][j] - s[i] * s[j] / t).sum::<f64>() / t
    }

    fn hand_example() -> Vec<Edge> {
        let a = [[0.0, 0.9, 0.5, 0.0], [0.8, 0.0, 0.0, 0.2], [0.5, 0.4, 0.0, 0.0], [0.0, 0.3, 0.6, 0.0]];
        let pairs = (0..4).flat_map(|i| (0..4).map(move |j| (i, j)));
        pairs.filter(|&(i, j)| a[i][j] > 0.0).map(|(i, j)| (i as u32, j as u32, a[i][j])).collect()
    }

    #[test]
    fn the_hand_example_and_the_barbell() {
        close(q(&hand_example(), &[0, 0, 1, 1], 2), 0.013_321_995_464_852_6);
        let barbell = [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 1.0), (2, 3, 1.0), (3, 4, 1.0), (3, 5, 1.0), (4, 5, 1.0)];
        close(q(&undirected(&barbell), &[0, 0, 0, 1, 1, 1], 2), 5.0 / 14.0);
        close(q(&undirected(&[(0, 1, 1.0), (2, 3, 1.0)]), &[0, 0, 1, 1], 2), 0.5);
    }

    #[test]
    fn disjoint_cliques_reach_one_minus_the_squared_shares() {
        for classes in [2_usize, 5, 10] {
            let (edges, labels) = cliques(&vec![4; classes]);
            let found = modularity_of_edges(edges, &labels, classes).unwrap();
            close(found.q, 1.0 - 1.0 / classes as f64);
            close(found.label_overlap, 1.0);
            close(found.per_class[0], found.q / classes as f64);
            close(found.class_weights[0], 1.0 / classes as f64);
        }
        let (edges, labels) = cliques(&[3, 5, 2]);
        // Strengths of the blocks: 3·2, 5·4, 2·1 of 28.
        close(q(&edges, &labels, 3), 1.0 - (36.0 + 400.0 + 4.0) / 784.0);
    }

    #[test]
    fn the_extremes_of_the_partition() {
        let edges = hand_example();
        close(q(&edges, &[0; 4], 1), 0.0);
        // Strengths by hand: half of (row sum + column sum).
        let s = [1.35, 1.3, 1.0, 0.55];
        close(q(&edges, &[0, 1, 2, 3], 4), -s.iter().map(|s| (s / 4.2_f64).powi(2)).sum::<f64>());
        let bipartite: Vec<Edge> = (0..3).flat_map(|i| (3..7).map(move |j| (i, j, 1.0))).collect();
        let sides = modularity_of_edges(bipartite, &[0, 0, 0, 1, 1, 1, 1], 2).unwrap();
        close(sides.q, -0.5);
        close(sides.label_overlap, 0.0);
    }

    #[test]
    fn the_complete_graph_equals_its_own_null_whatever_the_labels() {
        let (edges, _) = cliques(&[9]);
        let labels = [0, 0, 0, 0, 1, 1, 1, 2, 2];
        let found = modularity_of_edges(edges, &labels, 3).unwrap();
        close(found.q, -(1.0 - (16.0 + 9.0 + 4.0) / 81.0) / 8.0);
        close(found.null, found.q);
    }

    #[test]
    fn scaling_relabelling_permuting_and_empty_classes_change_nothing() {
        let (edges, labels) = (hand_example(), [0, 0, 1, 1]);
        let expected = q(&edges, &labels, 2);
        let scaled: Vec<Edge> = edges.iter().map(|&(i, j, w)| (i, j, 1e-3 * w)).collect();
        close(q(&scaled, &labels, 2), expected);
        close(q(&edges, &[3, 3, 1, 1], 5), expected);
        let place = [2_u32, 0, 3, 1];
        let moved: Vec<Edge> = edges.iter().map(|&(i, j, w)| (place[i as usize], place[j as usize], w)).collect();
        close(q(&moved, &[0, 1, 0, 1], 2), expected);
    }

    #[test]
    fn a_graph_without_positive_weight_has_no_modularity() {
        let undefined = |weights: [f64; 2]| {
            let edges = [(0, 1, weights[0]), (2, 1, weights[1])];
            matches!(modularity_of_edges(edges, &[0, 0, 1], 2), Err(ModularityError::Undefined { edges: 2, .. }))
        };
        assert!(undefined([0.0, 0.0]) && undefined([0.3, -0.3]) && undefined([-1.0, 0.2]));
        assert!(undefined([0.1 + 0.2, -0.3]), "rounding noise must count as zero");
        assert!(!undefined([0.3, -0.1]));
        assert_eq!(
            modularity_of_edges([], &[0], 1),
            Err(ModularityError::Undefined { edges: 0, total: 0.0 }),
            "a graph without edges"
        );
        let zero = Neighbors::from_dense(4, &[0.0; 16], 2).unwrap();
        assert!(matches!(modularity(&zero, 2, &[0, 0, 1, 1], 2), Err(ModularityError::Undefined { edges: 8, .. })));
    }

    #[test]
    fn a_zero_row_adds_edges_without_weight_and_negative_edges_are_counted() {
        let s = [[1.0, 0.0, 0.9, -0.2], [0.0; 4], [0.9, 0.0, 1.0, -0.1], [-0.2, 0.0, -0.1, 1.0]];
        let neighbors = Neighbors::from_dense(4, s.as_flattened(), 2).unwrap();
        let found = modularity(&neighbors, 2, &[0, 1, 0, 1], 2).unwrap();
        // Edges 0→2, 2→0 of 0.9, zero weights, and 3→2 of −0.1.
        close(found.total_weight, 2.0 * f64::from(0.9_f32) - f64::from(0.1_f32));
        assert_eq!(found.negative_edges, 1);
        close(found.label_overlap, 3.0 / 8.0);
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        use ModularityError as E;
        let edge = |i, j, w| modularity_of_edges([(0, 1, 1.0), (i, j, w)], &[0, 0], 1);
        assert!(matches!(edge(0, 2, 1.0), Err(E::BadEdge { index: 1, to: 2, n: 2, .. })));
        assert!(matches!(edge(1, 1, 1.0), Err(E::BadEdge { .. })));
        assert!(matches!(edge(1, 0, f64::NAN), Err(E::BadEdge { .. })));
        let neighbors = Neighbors::from_dense(4, &[0.5; 16], 2).unwrap();
        let of = |k, labels: &[usize]| modularity(&neighbors, k, labels, 2).unwrap_err();
        assert_eq!(of(1, &[0, 1, 2, 3]), E::LabelOutOfRange { index: 2, label: 2, n_classes: 2 });
        assert_eq!(of(1, &[0, 1]), E::Length { what: "labels", expected: 4, found: 2 });
        assert_eq!(of(0, &[0; 4]), E::ZeroK);
        assert_eq!(of(3, &[0; 4]), E::TooFewCandidates { k: 3, candidates: 2 });
        assert_eq!(
            of(4, &[0; 4]).to_string(),
            "needs more than k samples: N = 4, k = 4; lower --k or give more samples"
        );
    }

    prop_compose! {
        fn weighted_graph()(n in 2_usize..24, classes in 1_usize..6)(
            pairs in prop::collection::vec((0..n, 1..n, 0.01_f64..1.0), 1..80),
            labels in prop::collection::vec(0..classes, n),
            classes in Just(classes),
        ) -> (Vec<Edge>, Vec<usize>, usize) {
            let n = labels.len();
            let edges = pairs.into_iter().map(|(i, step, w)| (i as u32, ((i + step) % n) as u32, w)).collect();
            (edges, labels, classes)
        }
    }

    prop_compose! {
        fn similarities()(n in 3_usize..30)(
            // Few distinct values, so that ties are common.
            values in prop::collection::vec(1_u8..12, n * n),
            labels in prop::collection::vec(0_usize..4, n),
            k in 1..n,
        ) -> (Vec<f32>, Vec<usize>, usize) {
            (values.into_iter().map(|value| f32::from(value) / 12.0).collect(), labels, k)
        }
    }

    proptest! {
        #[test]
        fn one_pass_equals_the_dense_definition((edges, labels, classes) in weighted_graph()) {
            let found = q(&edges, &labels, classes);
            prop_assert!((found - dense_oracle(&edges, &labels)).abs() < 1e-12);
            prop_assert!((-0.5 - 1e-12..1.0).contains(&found));
        }

        #[test]
        fn knn_graph_equals_a_stable_sort((s, labels, k) in similarities()) {
            let n = labels.len();
            let mut edges = Vec::new();
            for i in 0..n {
                let mut others: Vec<usize> = (0..n).filter(|&j| j != i).collect();
                others.sort_by(|&a, &b| s[i * n + b].partial_cmp(&s[i * n + a]).unwrap());
                edges.extend(others[..k].iter().map(|&j| (i as u32, j as u32, f64::from(s[i * n + j]))));
            }
            let neighbors = Neighbors::from_dense(n, &s, n - 1).unwrap();
            prop_assert_eq!(knn_edges(&neighbors, k).unwrap().collect::<Vec<_>>(), edges.clone());
            let found = modularity(&neighbors, k, &labels, 4).unwrap().q;
            prop_assert!((found - dense_oracle(&edges, &labels)).abs() < 1e-12);
        }
    }
}
