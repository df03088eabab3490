//! The k-nearest-neighbour classifier on a graph.

use super::graph::check_labels;
use super::{ModularityError, Neighbors};

/// Leave-one-out accuracy of the k-nearest-neighbour classifier: a sample counts where most of its `k` neighbours have its label. On a tie
/// the class of the nearest neighbour among those that tie wins.
///
/// # Errors
/// As [`modularity`](super::modularity), but for the weights, which do not count.
pub(crate) fn knn_accuracy(
    neighbors: &Neighbors,
    k: usize,
    labels: &[usize],
    n_classes: usize,
) -> Result<f64, ModularityError> {
    neighbors.check_k(k)?;
    check_labels(labels, neighbors.n(), n_classes)?;
    let mut votes = vec![0_usize; n_classes];
    let mut correct = 0;
    for (i, &label) in labels.iter().enumerate() {
        let classes = || neighbors.row(i).take(k).map(|(j, _)| labels[j as usize]);
        classes().for_each(|class| votes[class] += 1);
        let winner = classes().reduce(|best, class| if votes[class] > votes[best] { class } else { best });
        correct += usize::from(winner == Some(label));
        classes().for_each(|class| votes[class] = 0);
    }
    Ok(correct as f64 / labels.len() as f64)
}
