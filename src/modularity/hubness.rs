//! Hubs: samples that are a neighbour of very many others, which flattens a curve for reasons unrelated to classes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ModularityError, Neighbors, knn_edges};

/// How unevenly the directed k-nearest-neighbour edges arrive (Radovanović et al., JMLR 11, 2010).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hubness {
    /// Largest in-degree; k on average, N − 1 at most.
    pub largest_in_degree: usize,
    /// Skewness of the in-degrees (third standardized moment over all samples); 0 when all are equal.
    pub skewness: f64,
}

/// Hubness of the graph that joins each sample to its `k` nearest. Zero weights count: an edge is an edge.
///
/// # Errors
/// As [`knn_edges`].
pub(crate) fn hubness(neighbors: &Neighbors, k: usize) -> Result<Hubness, ModularityError> {
    let in_degrees = in_degrees(neighbors, k)?;
    let moment = |power: i32| {
        let powers = in_degrees.iter().map(|&degree| (degree as f64 - k as f64).powi(power));
        powers.sum::<f64>() / in_degrees.len() as f64
    };
    let variance = moment(2);
    let skewness = if variance > 0.0 { moment(3) / variance.powf(1.5) } else { 0.0 };
    Ok(Hubness { largest_in_degree: in_degrees.into_iter().max().unwrap_or(0), skewness })
}

/// Share of the samples that are nobody's neighbour.
///
/// # Errors
/// As [`knn_edges`].
pub(crate) fn never_chosen(neighbors: &Neighbors, k: usize) -> Result<f64, ModularityError> {
    let in_degrees = in_degrees(neighbors, k)?;
    let never = in_degrees.iter().filter(|&&degree| degree == 0).count();
    Ok(never as f64 / in_degrees.len() as f64)
}

/// Of how many others each sample is a neighbour.
fn in_degrees(neighbors: &Neighbors, k: usize) -> Result<Vec<usize>, ModularityError> {
    let mut in_degrees = vec![0_usize; neighbors.n()];
    for (_, to, _) in knn_edges(neighbors, k)? {
        in_degrees[to as usize] += 1;
    }
    Ok(in_degrees)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_has_one_hub() {
        // Everyone's nearest is sample 0; sample 0's nearest is 1. In-degrees 4, 1, 0, 0, 0.
        let star = Neighbors::new(5, 1, vec![1, 0, 0, 0, 0], vec![0.5; 5]).unwrap();
        assert!((never_chosen(&star, 1).unwrap() - 0.6).abs() < 1e-15);
        let hubness = hubness(&star, 1).unwrap();
        assert_eq!(hubness.largest_in_degree, 4);
        // Moments by hand: m2 = (9 + 0 + 3)/5 = 2.4, m3 = (27 − 3)/5 = 4.8.
        assert!((hubness.skewness - 4.8 / 2.4_f64.powf(1.5)).abs() < 1e-14);
    }

    #[test]
    fn a_ring_has_none() {
        let ring = Neighbors::new(4, 1, vec![1, 2, 3, 0], vec![0.5; 4]).unwrap();
        assert_eq!(hubness(&ring, 1).unwrap(), Hubness { largest_in_degree: 1, skewness: 0.0 });
        assert!(never_chosen(&ring, 1).unwrap() == 0.0);
    }
}
