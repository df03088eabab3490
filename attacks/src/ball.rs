//! What a norm means to gradient attacks: where to start, which way to step, how to stay inside.

use tch::{Kind, Tensor};

use crate::query::Query;
use crate::rows;
use crate::threat::{Ball, Norm};

impl Ball {
    /// A random point of ball ∩ `[0, 1]` per sample.
    ///
    /// L∞: uniform in the cube. L2: uniform in the ball, that is a uniform direction (normalized normal numbers) and a radius
    /// ε·u^(1/d) with u uniform in `[0, 1)` and d the number of values per image. Then clipped to `[0, 1]`.
    pub fn random_start(&self, query: &mut Query<'_>, ids: &[u32], pixels: &Tensor) -> Tensor {
        let epsilon = self.epsilon().value();
        let change = match self.norm() {
            Norm::L2 => {
                let direction = self.direction(query.normal_like(ids, pixels));
                let n_values: i64 = pixels.size()[1..].iter().product();
                let exponent = (n_values as f64).recip();
                let radii: Vec<f32> = ids
                    .iter()
                    .map(|&id| (epsilon * rand::RngExt::random::<f64>(query.rng(id)).powf(exponent)) as f32)
                    .collect();
                let radii = rows::upload(&radii, pixels.device());
                direction * rows::broadcast(&radii, pixels)
            }
            Norm::L0 | Norm::Linf => query.uniform_like(ids, pixels, epsilon),
        };
        self.project(pixels, &(pixels + change))
    }

    /// A random point at the edge of the ball per sample, then clipped to `[0, 1]`: numbers uniform in `[-1, 1)` scaled to ε in their largest
    /// for L∞, a uniform direction of length ε for L2.
    pub(crate) fn random_edge(&self, query: &mut Query<'_>, ids: &[u32], pixels: &Tensor) -> Tensor {
        let unit = match self.norm() {
            Norm::L2 => self.direction(query.normal_like(ids, pixels)),
            Norm::L0 | Norm::Linf => {
                let change = query.uniform_like(ids, pixels, 1.0);
                &change / rows::broadcast(&rows::max_abs(&change), pixels).clamp_min(f64::from(f32::MIN_POSITIVE))
            }
        };
        self.project(pixels, &(pixels + unit * self.epsilon().value()))
    }

    /// The steepest direction of unit size: sign(g) for L∞, g/‖g‖ for L2. Where g is zero, so is the direction.
    pub fn direction(&self, mut gradient: Tensor) -> Tensor {
        match self.norm() {
            Norm::L2 => rows::unit(&gradient),
            Norm::L0 | Norm::Linf => gradient.sign_(),
        }
    }

    /// The nearest point of the ball round `original`, then clipped to `[0, 1]`; since `original` lies there, clipping does
    /// not leave the ball. Points inside keep their bits.
    pub fn project(&self, original: &Tensor, pixels: &Tensor) -> Tensor {
        let epsilon = self.epsilon().value();
        let mut inside = match self.norm() {
            Norm::L2 => {
                let change = pixels - original;
                let length = rows::l2(&change); // [N], f64
                let is_outside = length.gt(epsilon);
                let factor = (epsilon / length).to_kind(Kind::Float);
                let shrunk = original + change * rows::broadcast(&factor, pixels);
                shrunk.where_self(&rows::broadcast(&is_outside, pixels), pixels)
            }
            Norm::L0 | Norm::Linf => pixels.clamp_tensor(Some(original - epsilon), Some(original + epsilon)),
        };
        inside.clamp_(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::Epsilon;

    fn ball(norm: Norm, epsilon: f64) -> Ball {
        Ball::new(norm, Epsilon::new(epsilon).unwrap()).unwrap()
    }

    fn image(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).reshape([1, 1, 1, values.len() as i64])
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.flatten(0, -1)).unwrap()
    }

    #[test]
    fn linf_projection_clamps_each_value_and_then_to_the_box() {
        let projected = ball(Norm::Linf, 0.25).project(&image(&[0.5, 0.5, 0.9]), &image(&[0.9, 0.6, 2.0]));
        assert_eq!(values(&projected), [0.75, 0.6, 1.0]);
    }

    #[test]
    fn l2_projection_shrinks_the_change_and_keeps_points_inside() {
        let ball = ball(Norm::L2, 0.25);
        assert_eq!(values(&ball.project(&image(&[0.25, 0.25]), &image(&[0.55, 0.65]))), [0.4, 0.45]);
        assert_eq!(values(&ball.project(&image(&[0.3, 0.7]), &image(&[0.4, 0.6]))), [0.4, 0.6]);
    }

    #[test]
    fn directions_have_unit_size_and_zero_stays_zero() {
        assert_eq!(values(&ball(Norm::Linf, 1.0).direction(image(&[-3.0, 0.0, 1e-30]))), [-1.0, 0.0, 1.0]);
        assert_eq!(values(&ball(Norm::L2, 1.0).direction(image(&[3e-30, -4e-30]))), [0.6, -0.8]);
        assert_eq!(values(&ball(Norm::L2, 1.0).direction(image(&[0.0, 0.0]))), [0.0, 0.0]);
    }
}
