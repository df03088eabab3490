//! What Q would be by chance: its exact mean when labels are shuffled over a fixed graph.

/// `E₀[Q] = −(1 − π) Σ_i p_i²`, with `p_i = s_i/T` and `π = Σ_c n_c(n_c − 1) / (N(N − 1))`, the chance that two
/// samples share a label.
///
/// Holds for any graph without self-loops, because a shuffle gives `E[L/T] = π` and `E[Σ_c (S_c/T)²] = Σp² + π(1 − Σp²)`.
/// Hubs make it strongly negative. `strengths` are the `s_i`, `total` their sum T > 0, `class_sizes` the `n_c`. With
/// fewer than two samples there is nothing to shuffle and the answer is 0.
pub fn random_label_null(strengths: &[f64], total: f64, class_sizes: &[usize]) -> f64 {
    let n = strengths.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let pairs: f64 = class_sizes.iter().map(|&size| size as f64 * (size as f64 - 1.0)).sum();
    let same_label = pairs / (n * (n - 1.0));
    let concentration: f64 = strengths.iter().map(|s| (s / total).powi(2)).sum();
    -(1.0 - same_label) * concentration
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    use rand_chacha::ChaCha8Rng;

    use super::super::{Edge, modularity_of_edges};

    /// A star with a tail: one hub, unequal weights.
    fn hub_graph() -> Vec<Edge> {
        let star = (1..20).map(|i| (i, 0, 0.5 + f64::from(i) / 40.0));
        star.chain((20..40).map(|i| (i, i - 1, 1.0))).chain((0..40).map(|i| (i, (i * 7 + 3) % 40, 0.8))).collect()
    }

    #[test]
    fn shuffled_labels_average_to_the_closed_form() {
        let edges: Vec<Edge> = hub_graph().into_iter().filter(|&(i, j, _)| i != j).collect();
        let mut labels: Vec<usize> = (0..40).map(|i| [0, 0, 0, 1, 1, 2, 3, 3][i % 8]).collect();
        let expected = modularity_of_edges(edges.clone(), &labels, 4).unwrap().null;
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let values: Vec<f64> = (0..4000)
            .map(|_| {
                labels.shuffle(&mut rng);
                modularity_of_edges(edges.clone(), &labels, 4).unwrap().q
            })
            .collect();
        let mean = super::super::mean(&values).unwrap();
        let se = super::super::std_dev(&values).unwrap() / (values.len() as f64).sqrt();
        // Equal strengths would give −(1 − π)/N with π = (15·14 + 10·9 + 5·4 + 10·9)/(40·39).
        let without_hub = -(1.0 - 410.0 / 1560.0) / 40.0;
        assert!(expected < 1.3 * without_hub, "the hub must show: {expected}");
        assert!((mean - expected).abs() < 4.0 * se, "{mean} against {expected}, standard error {se}");
    }

    #[test]
    fn one_class_and_one_sample_have_null_zero() {
        assert!(super::random_label_null(&[1.0, 2.0, 1.0], 4.0, &[3, 0]).abs() < 1e-15);
        assert!(super::random_label_null(&[1.0], 1.0, &[1]).abs() < 1e-15);
    }
}
