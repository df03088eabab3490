//! The device half of CKA: how alike two taps see the same samples.

use tch::{Kind, TchError, Tensor};

pub(crate) const FEWEST: usize = 4;

/// Share of a representation's squares below which what differs between samples is f32 rounding.
const ROUNDING: f64 = 1e-12;

/// One tap's samples beside each other, in f64: what linear CKA needs of a representation, whatever its width.
#[derive(Debug)]
pub(crate) struct Gram {
    /// `[N, N]`.
    products: Tensor,
}

impl Gram {
    /// Centred: `H·R·Rᵀ·H` for the full estimate.
    ///
    /// # Shapes and units
    /// `rows`: f32 `[N, M]`.
    /// # Cost
    /// N·N·M multiply-adds, and N·N numbers kept.
    pub(crate) fn centred(rows: &Tensor) -> Result<Self, TchError> {
        let _guard = tch::no_grad_guard();
        let centred = rows.f_sub(&rows.f_mean_dim([0_i64].as_slice(), true, Kind::Float)?)?;
        let gram = Self::of(&centred)?;
        let spread = f64::try_from(gram.products.f_diagonal(0, 0, 1)?.f_sum(Kind::Double)?)?;
        let norms = rows.f_norm_scalaropt_dim(2.0, [1_i64].as_slice(), false)?.f_to_kind(Kind::Double)?;
        let squares = f64::try_from(norms.f_square()?.f_sum(Kind::Double)?)?;
        if spread <= ROUNDING * squares {
            // The mean of equal rows is not exactly their value: what is left would pass for a representation.
            let _ = gram.products.shallow_clone().f_zero_()?;
        }
        Ok(gram)
    }

    /// With zeros on the diagonal, for the unbiased estimate.
    ///
    /// # Shapes and units
    /// As [`centred`](Self::centred).
    pub(crate) fn hollow(rows: &Tensor) -> Result<Self, TchError> {
        let _guard = tch::no_grad_guard();
        // The estimate does not depend on the origin; near the mean the numbers are smallest.
        let gram = Self::centred(rows)?;
        let _ = gram.products.f_diagonal(0, 0, 1)?.f_fill_(0.0)?;
        Ok(gram)
    }

    fn of(rows: &Tensor) -> Result<Self, TchError> {
        Ok(Self { products: rows.f_matmul(&rows.f_transpose(0, 1)?)?.f_to_kind(Kind::Double)? })
    }

    fn inner(&self, other: &Self) -> Result<f64, TchError> {
        f64::try_from(self.products.f_mul(&other.products)?.f_sum(Kind::Double)?)
    }
}

/// `tr(K̃·L̃)` of every two taps on all samples; [`normalized`], it is full linear CKA.
///
/// # Source
/// Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, eq. 4, in its Gram form.
pub(crate) fn full(grams: &[Gram]) -> Result<Vec<Vec<f64>>, TchError> {
    all_pairs(grams, Gram::inner)
}

/// Unbiased HSIC of every two taps on one batch of at least [`FEWEST`] samples; batches are summed and then [`normalized`].
///
/// # Source
/// Song et al., "Feature Selection via Dependence Maximization", JMLR 2012, eq. 5.
pub(crate) fn hsic(grams: &[Gram]) -> Result<Vec<Vec<f64>>, TchError> {
    let sums: Vec<Tensor> = grams
        .iter()
        .map(|gram| gram.products.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Double))
        .collect::<Result<_, _>>()?;
    let totals: Vec<f64> = sums.iter().map(|it| f64::try_from(it.f_sum(Kind::Double)?)).collect::<Result<_, _>>()?;
    let places: Vec<usize> = (0..grams.len()).collect();
    all_pairs(&places, |&a, &b| {
        let n = grams[a].products.size()[0] as f64;
        let trace = grams[a].inner(&grams[b])?;
        let through = f64::try_from(sums[a].f_dot(&sums[b])?)?;
        let terms = trace + totals[a] * totals[b] / ((n - 1.0) * (n - 2.0)) - 2.0 * through / (n - 2.0);
        Ok(terms / (n * (n - 3.0)))
    })
}

/// Why a tap whose own HSIC is `own` has no CKA, not even with itself; nothing where it has.
pub(crate) fn flaw(own: f64) -> Option<&'static str> {
    if own > 0.0 && own.is_finite() {
        return None;
    }
    Some(match own {
        0.0 => "all samples have the same representation",
        _ if own.is_finite() => {
            "the unbiased estimate of its own HSIC is negative; give larger batches or more samples"
        }
        _ => "representations are not finite, or too large; the model overflows",
    })
}

/// `h_ij / √(h_ii·h_jj)`: CKA out of HSIC. Nothing where a tap has a [`flaw`].
///
/// # Source
/// Nguyen et al., "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021, eq. 3: a ratio of sums, not a mean of ratios.
pub(crate) fn normalized(inner: &[Vec<f64>]) -> Vec<Vec<Option<f64>>> {
    let cell = |a: usize, b: usize| {
        let (own, other) = (inner[a][a], inner[b][b]);
        // The product of the two may be out of range where its root is not.
        let is_defined = flaw(own).is_none() && flaw(other).is_none();
        is_defined.then(|| inner[a][b] / (own.sqrt() * other.sqrt())).filter(|value| value.is_finite())
    };
    (0..inner.len()).map(|a| (0..inner.len()).map(|b| cell(a, b)).collect()).collect()
}

fn all_pairs<T>(items: &[T], of: impl Fn(&T, &T) -> Result<f64, TchError>) -> Result<Vec<Vec<f64>>, TchError> {
    let mut all = vec![vec![0.0; items.len()]; items.len()];
    for a in 0..items.len() {
        for b in a..items.len() {
            let value = of(&items[a], &items[b])?;
            (all[a][b], all[b][a]) = (value, value);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn rows(n: i64, m: i64, phase: f64) -> Tensor {
        (Tensor::arange(n * m, (Kind::Float, Device::Cpu)) * 0.37 + phase).sin().view([n, m]) + 0.5
    }

    fn of(a: &Tensor, b: &Tensor) -> f64 {
        normalized(&full(&[Gram::centred(a).unwrap(), Gram::centred(b).unwrap()]).unwrap())[0][1].unwrap()
    }

    /// `‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖)` of centred columns, in f64.
    fn by_features(a: &Tensor, b: &Tensor) -> f64 {
        let centred = |rows: &Tensor| {
            let rows = rows.to_kind(Kind::Double);
            &rows - rows.mean_dim([0_i64].as_slice(), true, Kind::Double)
        };
        let (a, b) = (centred(a), centred(b));
        let size = |x: &Tensor, y: &Tensor| f64::try_from(x.transpose(0, 1).matmul(y).norm()).unwrap();
        size(&b, &a).powi(2) / (size(&a, &a) * size(&b, &b))
    }

    #[test]
    fn both_forms_agree() {
        let (a, b) = (rows(40, 7, 0.0), rows(40, 90, 1.0));
        assert!((of(&a, &b) - by_features(&a, &b)).abs() < 1e-5, "{} {}", of(&a, &b), by_features(&a, &b));
        // In f64 to ten digits.
        let double = |rows: &Tensor| {
            let rows = rows.to_kind(Kind::Double);
            let rows = &rows - rows.mean_dim([0_i64].as_slice(), true, Kind::Double);
            Gram { products: rows.matmul(&rows.transpose(0, 1)) }
        };
        let gram = normalized(&full(&[double(&a), double(&b)]).unwrap())[0][1].unwrap();
        assert!((gram - by_features(&a, &b)).abs() < 1e-10);
    }

    #[test]
    fn turning_scaling_and_moving_change_nothing() {
        let (a, b) = (rows(30, 12, 0.0), rows(30, 12, 2.0));
        let (turn, _) = Tensor::linalg_qr(&rows(12, 12, 5.0), "reduced");
        let moved = b.matmul(&turn) * 3.0 + 7.0;
        assert!((of(&a, &b) - of(&a, &moved)).abs() < 1e-5);
        assert!((of(&a, &(&a * 0.1 - 4.0)) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_tap_that_sees_no_difference_has_no_similarity() {
        // The mean of 99 times 0.3 is not 0.3 in f32.
        let same = Tensor::full([99, 3], 0.3, (Kind::Float, Device::Cpu));
        for gram in [Gram::centred, Gram::hollow] {
            let grams = [gram(&same).unwrap(), gram(&rows(99, 3, 0.0)).unwrap()];
            for inner in [full(&grams).unwrap(), hsic(&grams).unwrap()] {
                let found = normalized(&inner);
                assert_eq!((found[0][0], found[0][1], found[1][0]), (None, None, None));
                assert!((found[1][1].unwrap() - 1.0).abs() < 1e-12);
                assert!(flaw(inner[0][0]).unwrap().contains("same") && flaw(inner[1][1]).is_none());
            }
        }
        // An unbiased estimate may be negative.
        assert_eq!(normalized(&[vec![-1.0, 0.5], vec![0.5, 1.0]])[0][1], None);
        assert!(flaw(-1.0).unwrap().contains("negative"));
    }

    #[test]
    fn what_is_not_finite_has_a_reason_and_what_is_small_or_large_a_value() {
        let bad = rows(10, 3, 0.0);
        let _ = bad.get(4).fill_(f64::NAN);
        let good = rows(10, 3, 0.0);
        let inner = full(&[Gram::centred(&bad).unwrap(), Gram::centred(&good).unwrap()]).unwrap();
        assert!(flaw(inner[0][0]).unwrap().contains("finite"));
        assert_eq!(normalized(&inner)[0], [None, None]);
        for scale in [1e-15, 1e15] {
            let inner = full(&[Gram::centred(&(&good * scale)).unwrap(), Gram::centred(&good).unwrap()]).unwrap();
            assert!((normalized(&inner)[0][1].unwrap() - 1.0).abs() < 1e-5, "{scale}");
        }
    }

    #[test]
    fn hsic_is_unbiased() {
        // By its definition as a mean over quadruples of different samples, on six samples.
        let (a, b) = (rows(6, 2, 0.0), rows(6, 3, 1.0));
        let gram = |rows: &Tensor| -> Vec<Vec<f64>> {
            let rows = rows.to_kind(Kind::Double);
            Vec::try_from(rows.matmul(&rows.transpose(0, 1))).unwrap()
        };
        let (k, l) = (gram(&a), gram(&b));
        let mut sum = 0.0;
        let mut count = 0.0;
        for i in 0..6 {
            for j in 0..6 {
                for q in 0..6 {
                    for r in 0..6 {
                        let all = [i, j, q, r];
                        if (0..4).all(|x| (0..x).all(|y| all[x] != all[y])) {
                            sum += k[i][j] * (l[i][j] + l[q][r] - 2.0 * l[i][q]);
                            count += 1.0;
                        }
                    }
                }
            }
        }
        let found = hsic(&[Gram::hollow(&a).unwrap(), Gram::hollow(&b).unwrap()]).unwrap()[0][1];
        assert!((found - sum / count).abs() < 1e-6 * found.abs(), "{found} {}", sum / count);
    }

    #[test]
    fn batches_estimate_what_all_samples_show() {
        let noise = |seed: f64, n: i64, m: i64| {
            (Tensor::arange(n * m, (Kind::Float, Device::Cpu)) * seed).sin().view([n, m]) * 43758.545
        };
        let wild = |seed: f64, m: i64| noise(seed, 600, m).frac();
        let a = wild(12.9898, 20);
        let b = Tensor::cat(&[a.narrow(1, 0, 10), wild(78.233, 10)], 1);
        let all = of(&a, &b);
        let mut sums = vec![vec![0.0; 2]; 2];
        for start in (0..600).step_by(100) {
            let part = |rows: &Tensor| Gram::hollow(&rows.narrow(0, start, 100)).unwrap();
            let found = hsic(&[part(&a), part(&b)]).unwrap();
            for (sums, found) in sums.iter_mut().zip(found) {
                sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
            }
        }
        let estimate = normalized(&sums)[0][1].unwrap();
        // The full estimate is biased upwards by about the ratio of width and samples.
        assert!((estimate - all).abs() < 0.05, "{estimate} {all}");
    }
}
