//! The best pair of features of a saliency map, found without looking at every pair.

/// Two features and what they are worth together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) first: usize,
    pub(crate) second: usize,
    /// `(u_first + u_second) · (v_first + v_second)`, positive.
    pub(crate) score: f64,
}

/// The pair with the largest `(u_i + u_j) · (v_i + v_j)` among the features where `is_free`, both sums being positive; of equal
/// scores the lexicographically first. None if there is no such pair.
///
/// Replacing a member of a pair by a feature that is at least as large in both u and v never lowers the score. So the best
/// pair is found among the features that fewer than two others dominate (the 2-skyband of the plane), which one sort and one
/// sweep give; the survivors, usually a handful, are compared pair by pair. O(D log D) time and O(D) memory, where looking at
/// all pairs takes D² of one or both.
///
/// `at(i)` gives finite `(u, v)` of feature i. Sums and products are in f64, where those of f32 gradients hardly ever round;
/// where they do round to equal scores, the pair that is returned is a best one, but may not be the first.
pub(crate) fn best_pair(is_free: &[bool], at: impl Fn(usize) -> (f32, f32)) -> Option<Pair> {
    let mut candidates = undominated_by_anchors(is_free, &at);
    // A dominator comes before what it dominates; of equal points the lower index dominates.
    candidates.sort_unstable_by(|a, b| {
        b.u.total_cmp(&a.u).then_with(|| b.v.total_cmp(&a.v)).then_with(|| a.index.cmp(&b.index))
    });
    let mut second_largest = f32::NEG_INFINITY;
    let mut largest = f32::NEG_INFINITY;
    candidates.retain(|point| {
        let is_kept = second_largest < point.v;
        if largest < point.v {
            (largest, second_largest) = (point.v, largest);
        } else if is_kept {
            second_largest = point.v;
        }
        is_kept
    });
    candidates.sort_unstable_by_key(|point| point.index);

    let mut best: Option<Pair> = None;
    for (place, a) in candidates.iter().enumerate() {
        for b in &candidates[place + 1..] {
            let u = f64::from(a.u) + f64::from(b.u);
            let v = f64::from(a.v) + f64::from(b.v);
            let score = u * v;
            if 0.0 < u && 0.0 < v && best.is_none_or(|best| best.score < score) {
                best = Some(Pair { first: a.index, second: b.index, score });
            }
        }
    }
    best
}

#[derive(Clone, Copy)]
struct Point {
    u: f32,
    v: f32,
    index: usize,
}

/// The free features without those that two strong ones dominate: most of them, in one pass, which leaves little to sort.
fn undominated_by_anchors(is_free: &[bool], at: &impl Fn(usize) -> (f32, f32)) -> Vec<Point> {
    let points = || {
        let free = is_free.iter().enumerate().filter(|(_, is_free)| **is_free);
        free.map(|(index, _)| {
            let (u, v) = at(index);
            // Without negative zeros, which are equal to 0 but sort before it.
            Point { u: u + 0.0, v: v + 0.0, index }
        })
    };
    let mut anchors: [Option<(f32, Point)>; 2] = [None, None];
    for point in points().filter(|point| 0.0 < point.u && 0.0 < point.v) {
        let anchor = (point.u * point.v, point);
        let beats = |other: &Option<(f32, Point)>| other.is_none_or(|(worth, _)| worth < anchor.0);
        if beats(&anchors[0]) {
            anchors = [Some(anchor), anchors[0]];
        } else if beats(&anchors[1]) {
            anchors[1] = Some(anchor);
        }
    }
    let [Some((_, a)), Some((_, b))] = anchors else { return points().collect() };
    let (u, v) = (a.u.min(b.u), a.v.min(b.v));
    points().filter(|point| u < point.u || v < point.v || (u <= point.u && v <= point.v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn brute_force(is_free: &[bool], points: &[(f32, f32)]) -> Option<Pair> {
        let mut best: Option<Pair> = None;
        for first in 0..points.len() {
            for second in first + 1..points.len() {
                let u = f64::from(points[first].0) + f64::from(points[second].0);
                let v = f64::from(points[first].1) + f64::from(points[second].1);
                let is_better = best.is_none_or(|best| best.score < u * v);
                if is_free[first] && is_free[second] && 0.0 < u && 0.0 < v && is_better {
                    best = Some(Pair { first, second, score: u * v });
                }
            }
        }
        best
    }

    /// Both kinds of numbers: gradients as they are, and a few whole ones that tie all the time.
    #[test]
    fn the_pair_search_equals_brute_force_ties_included() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut n_found, mut n_none) = (0, 0);
        for case in 0..1000 {
            let n = rng.random_range(2..60);
            let (shift_u, shift_v) = (rng.random::<f32>() - 0.7, rng.random::<f32>() - 0.7);
            let mut number = |shift: f32| match case % 2 {
                0 => rng.random::<f32>() - 0.5 + shift,
                _ => rng.random_range(-3..3_i8).into(),
            };
            let points: Vec<(f32, f32)> = (0..n).map(|_| (number(shift_u), number(shift_v))).collect();
            let is_free: Vec<bool> = (0..n).map(|_| rng.random::<f32>() < 0.8).collect();
            let expected = brute_force(&is_free, &points);
            assert_eq!(best_pair(&is_free, |i| points[i]), expected, "case {case}: {points:?} {is_free:?}");
            *if expected.is_some() { &mut n_found } else { &mut n_none } += 1;
        }
        assert!(600 < n_found && 20 < n_none, "{n_found} {n_none}");
    }

    #[test]
    fn a_pair_of_a_good_and_a_bad_feature_is_found() {
        // The second feature alone is inadmissible: its v is negative.
        let points = [(5.0, 9.0), (100.0, -7.0), (6.0, 1.0)];
        let pair = best_pair(&[true; 3], |i| points[i]).unwrap();
        assert_eq!((pair.first, pair.second), (0, 1));
    }

    #[test]
    fn without_an_admissible_pair_there_is_none() {
        assert_eq!(best_pair(&[true; 3], |_| (0.0, 0.0)), None);
        assert_eq!(best_pair(&[true; 2], |i| [(1.0, -1.0), (-1.0, 1.0)][i]), None);
        assert_eq!(best_pair(&[true, false], |_| (1.0, 1.0)), None);
    }
}
