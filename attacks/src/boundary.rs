//! The nearest point of a linear boundary within the box `[0, 1]`.

use tch::{Kind, Tensor};

use crate::threat::Norm;

/// Per row the smallest change δ, in the norm, with `⟨w, δ⟩ = c` and `pixels + δ` in `[0, 1]`; where no change reaches that, the one that comes
/// nearest. Exact, by sorting where the values meet their walls.
///
/// With the signs of w turned so that c ≥ 0, value i may move by `room_i` towards its wall, and moves by `min(λ·u_i, room_i)`: u is 1 for L∞ and
/// |w| for L2. `Σ |w_i|·min(λ·u_i, room_i)` is piecewise linear in λ, with a bend where a value meets its wall.
///
/// # Shapes and units
/// `pixels` and `normal` (w): `[N, C, H, W]`. `missing` (c): f64 `[N]`. Returns δ like the pixels.
/// # Source
/// Croce and Hein, "Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020, equation 4 and appendix A,
/// <https://arxiv.org/abs/1907.02044>.
pub(crate) fn towards_boundary(norm: Norm, pixels: &Tensor, normal: &Tensor, missing: &Tensor) -> Tensor {
    let missing = missing.unsqueeze(1); // [N, 1]
    let turned = missing.lt(0.0).to_kind(Kind::Float) * -2.0 + 1.0;
    let (x, w) = (pixels.flatten(1, -1), normal.flatten(1, -1) * turned); // [N, D]
    let missing = missing.abs();
    let size = w.abs();
    let moves = size.gt(0.0);
    let up: Tensor = 1.0 - &x;
    let room = up.where_self(&w.gt(0.0), &x).clamp(0.0, 1.0) * moves.to_kind(Kind::Float);
    // u, and λ where a value meets its wall.
    let (pace, wall) = match norm {
        Norm::L2 => (size.shallow_clone(), (&room / size.masked_fill(&moves.logical_not(), 1.0)).clamp_max(NEVER)),
        Norm::L0 | Norm::Linf => (moves.to_kind(Kind::Float), room.shallow_clone()),
    };
    let (wall, order) = wall.sort_stable(true, 1, false);
    let sorted = |values: Tensor| values.gather(1, &order, false).to_kind(Kind::Double);
    let gain = sorted(&size * &room);
    let slope = sorted(&size * &pace);
    // What values have given that met their walls before the k-th does, and how fast the others give.
    let before = gain.cumsum(1, Kind::Double) - &gain;
    let rest = slope.flip([1]).cumsum(1, Kind::Double).flip([1]);
    let at_wall = &before + wall * &rest;
    let k = at_wall.lt_tensor(&missing).sum_dim_intlist([1_i64].as_slice(), true, Kind::Int64); // [N, 1]
    let last = x.size()[1] - 1;
    let is_beyond = k.gt(last);
    let k = k.clamp_max(last);
    let lambda = (&missing - before.gather(1, &k, false)) / rest.gather(1, &k, false).clamp_min(f64::MIN_POSITIVE);
    let lambda = lambda.masked_fill(&is_beyond, NEVER).clamp(0.0, NEVER).to_kind(Kind::Float);
    ((pace * lambda).minimum(&room) * w.sign()).reshape(pixels.size())
}

/// More than any λ that matters.
const NEVER: f64 = 1e12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;
    use crate::testing::{LinearVictim, images};

    fn image(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).reshape([1, 1, 1, values.len() as i64])
    }

    fn change(norm: Norm, pixels: &[f32], normal: &[f32], missing: f64) -> Vec<f32> {
        let change = towards_boundary(norm, &image(pixels), &image(normal), &Tensor::from_slice(&[missing]));
        Vec::try_from(change.flatten(0, -1)).unwrap()
    }

    #[test]
    fn small_cases_are_as_by_hand() {
        // Free of the box: c / ‖w‖₁ each, and c·w / ‖w‖².
        assert_eq!(change(Norm::Linf, &[0.5, 0.5, 0.5], &[1.0, -3.0, 0.0], 0.5), [0.125, -0.125, 0.0]);
        assert_eq!(change(Norm::L2, &[0.5, 0.5, 0.5], &[1.0, -3.0, 0.0], 1.0), [0.1, -0.3, 0.0]);
        // The second is at its wall: the first does the rest.
        assert_eq!(change(Norm::Linf, &[0.5, 0.125, 0.5], &[1.0, -3.0, 0.0], 0.75), [0.375, -0.125, 0.0]);
        assert_eq!(change(Norm::L2, &[0.5, 0.125, 0.5], &[1.0, -3.0, 0.0], 0.75), [0.375, -0.125, 0.0]);
        // The other side, and too far: every value that matters at its wall.
        assert_eq!(change(Norm::Linf, &[0.5, 0.5, 0.5], &[1.0, -3.0, 0.0], -0.5), [-0.125, 0.125, 0.0]);
        for norm in [Norm::Linf, Norm::L2] {
            assert_eq!(change(norm, &[0.5, 0.25, 0.5], &[1.0, -3.0, 0.0], 9.0), [0.5, -0.25, 0.0]);
            assert_eq!(change(norm, &[0.5, 0.25], &[0.0, 0.0], 1.0), [0.0, 0.0]);
        }
    }

    /// The conditions of optimality: on the boundary, in the box, and every value that is not at its wall at λ·u.
    #[test]
    fn large_cases_meet_the_boundary_with_equal_pace_off_the_walls() {
        let pixels = images(2, [6, 3, 8, 8]);
        let normal = LinearVictim::seeded(3, 6, 192).weight.reshape([6, 3, 8, 8]);
        let missing = Tensor::from_slice(&[0.01_f64, 1.0, 5.0, 20.0, -3.0, 30.0]);
        for norm in [Norm::Linf, Norm::L2] {
            let change = towards_boundary(norm, &pixels, &normal, &missing);
            let moved = &pixels + &change;
            assert!(bool::try_from((moved.ge(-1e-6).logical_and(&moved.le(1.0 + 1e-6))).all()).unwrap());
            let met = rows::sum(&(change.to_kind(Kind::Double) * &normal));
            assert!((met - &missing).abs().max().double_value(&[]) < 1e-4, "{norm}");
            let pace = if norm == Norm::L2 { &change / &normal } else { change.copy() }.abs();
            for row in 0..6 {
                let (moved, pace) = (moved.get(row), pace.get(row));
                let is_free = moved.gt(1e-6).logical_and(&moved.lt(1.0 - 1e-6));
                let free = pace.masked_select(&is_free);
                let spread = (free.max() - free.min()).double_value(&[]);
                assert!(spread <= 1e-4 * free.max().double_value(&[]), "{norm} row {row}: {spread}");
                assert!(pace.max().double_value(&[]) <= free.max().double_value(&[]) * 1.0001, "{norm} row {row}");
            }
        }
    }
}
