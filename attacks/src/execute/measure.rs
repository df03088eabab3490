//! Sizes of changes, and rounding to 8 bits.

use tch::{Kind, Tensor};

use super::Norm;
use crate::attack::Attack;
use crate::config::AttackConfig;
use crate::error::AttackError;
use crate::rows;
use crate::threat::Ball;
use crate::victim::VictimError;

#[derive(Clone, Copy, Debug)]
pub(super) struct Distances {
    pub(super) l0: u64,
    pub(super) l2: f64,
    pub(super) linf: f64,
}

impl Distances {
    pub(super) fn in_norm(&self, norm: Norm) -> f64 {
        match norm {
            Norm::L0 => self.l0 as f64,
            Norm::L2 => self.l2,
            Norm::Linf => self.linf,
        }
    }
}

/// All three sizes of `pixels - original`, per sample.
pub(super) fn distances(original: &Tensor, pixels: &Tensor) -> Result<Vec<Distances>, AttackError> {
    let change = (pixels - original).to_kind(Kind::Double);
    let is_changed = change.ne(0.0).any_dim(1, false); // [N, H, W]
    let l0 = is_changed.sum_dim_intlist([1_i64, 2].as_slice(), false, Kind::Int64);
    let l0 = Vec::<i64>::try_from(l0).map_err(VictimError::from)?;
    let l2 = Vec::<f64>::try_from(rows::l2(&change)).map_err(VictimError::from)?;
    let linf = Vec::<f64>::try_from(rows::max_abs(&change)).map_err(VictimError::from)?;
    let all = l0.into_iter().zip(l2).zip(linf);
    Ok(all.map(|((l0, l2), linf)| Distances { l0: l0 as u64, l2, linf }).collect())
}

/// How far an attack's own result lies outside of the ball, or of `[0, 1]` where that is more; rounding counts as 0.
pub(super) fn overshoot(config: &AttackConfig, original: &Tensor, pixels: &Tensor) -> Result<Vec<f64>, AttackError> {
    let outside_box = Vec::<f64>::try_from(rows::max_abs(&(pixels - pixels.clamp(0.0, 1.0)).to_kind(Kind::Double)))
        .map_err(VictimError::from)?;
    let distances = distances(original, pixels)?;
    let budget = match (&config.attack, config.epsilon) {
        (Attack::Budget(_), Some(epsilon)) => epsilon.value(),
        _ => f64::INFINITY,
    };
    let all = outside_box.into_iter().zip(distances);
    Ok(all
        .map(|(outside, distance)| outside.max(distance.in_norm(config.norm) - budget))
        .map(|overshoot| if super::TOLERANCE < overshoot { overshoot } else { 0.0 })
        .collect())
}

/// The nearest multiples of 1/255 that stay in the ball; `original` holds such multiples, `pixels` are in the ball.
///
/// L∞: each value is rounded to the nearest level inside its interval. L2: to the nearest; a sample that thereby leaves the
/// ball is rounded towards its original instead, which only shrinks the change.
pub(super) fn round_to_eight_bits(ball: Option<Ball>, original: &Tensor, pixels: &Tensor) -> Tensor {
    let levels = pixels * 255.0;
    let nearest = levels.round();
    let Some(ball) = ball else { return nearest / 255.0 };
    let epsilon = ball.epsilon().value();
    let origin = (original * 255.0).round();
    let rounded = match ball.norm() {
        Norm::L2 => {
            let length = rows::l2(&((&nearest - &origin) / 255.0));
            let is_outside = rows::broadcast(&length.gt(epsilon), pixels);
            let towards_origin = &origin + (&levels - &origin + LEVEL_SLACK * (&levels - &origin).sign()).trunc();
            towards_origin.where_self(&is_outside, &nearest)
        }
        Norm::L0 | Norm::Linf => {
            let reach = (epsilon * 255.0 + LEVEL_SLACK).floor();
            nearest.clamp_tensor(Some(&origin - reach), Some(&origin + reach))
        }
    };
    (rounded / 255.0).clamp(0.0, 1.0)
}

/// Levels that rounding errors of f32 may cost; far below the tolerance of distances, 1e-6 · 255.
const LEVEL_SLACK: f64 = 1e-4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::Epsilon;

    fn image(levels: &[f32]) -> Tensor {
        Tensor::from_slice(levels).reshape([1, 1, 1, levels.len() as i64]) / 255.0
    }

    fn levels(pixels: &Tensor) -> Vec<f32> {
        Vec::try_from((pixels * 255.0).flatten(0, -1)).unwrap()
    }

    fn ball(norm: Norm, epsilon: Epsilon) -> Ball {
        Ball::new(norm, epsilon).unwrap()
    }

    #[test]
    fn eight_bit_rounding_stays_inside_a_ball_that_is_no_whole_number_of_levels() {
        let linf = ball(Norm::Linf, Epsilon::fraction(2.7, 255.0).unwrap());
        let rounded = round_to_eight_bits(Some(linf), &image(&[10.0, 10.0, 0.0]), &image(&[12.7, 8.4, 0.3]));
        assert_eq!(levels(&rounded).iter().map(|level| level.round()).collect::<Vec<_>>(), [12.0, 8.0, 0.0]);
        let l2 = ball(Norm::L2, Epsilon::fraction(2.0, 255.0).unwrap());
        let rounded = round_to_eight_bits(Some(l2), &image(&[10.0, 10.0]), &image(&[11.6, 8.8]));
        assert_eq!(levels(&rounded).iter().map(|level| level.round()).collect::<Vec<_>>(), [11.0, 9.0]);
    }

    #[test]
    fn whole_levels_of_the_budget_are_reached() {
        let linf = ball(Norm::Linf, Epsilon::fraction(8.0, 255.0).unwrap());
        for level in 0..=247_u8 {
            let original = image(&[f32::from(level)]);
            let pixels = linf.project(&original, &(&original + 1.0));
            let rounded = levels(&round_to_eight_bits(Some(linf), &original, &pixels));
            assert!((rounded[0] - f32::from(level) - 8.0).abs() < 1e-3, "level {level}");
        }
    }

    #[test]
    fn a_pixel_counts_once_however_many_channels_changed() {
        let original = Tensor::zeros([1, 3, 2, 2], (Kind::Float, tch::Device::Cpu));
        let pixels = original.copy();
        let _ = pixels.narrow(2, 0, 1).narrow(3, 0, 1).fill_(0.5);
        let distance = distances(&original, &pixels).unwrap()[0];
        assert_eq!(distance.l0, 1);
        assert!((distance.l2 - 0.75_f64.sqrt()).abs() < 1e-12);
        assert!((distance.linf - 0.5).abs() < 1e-12);
    }
}
