//! What a sweep's smaller sizes have broken: an image inside a small ball lies inside every larger one.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use super::attacked::Attacked;
use crate::audit::event::SampleResult;

/// The samples that the attacks of a sweep have broken so far, with their adversarial pixels.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    samples: BTreeMap<usize, Carried>,
}

/// One sample broken at a smaller size.
#[derive(Debug)]
struct Carried {
    attack: usize,
    result: SampleResult,
    /// `[1, C, H, W]` on the processor.
    pixels: Tensor,
}

impl Broken {
    /// Remembers what the attack at place `attack` of the plan broke; where a sample is known already, the larger change stands.
    pub(crate) fn add(&mut self, attack: usize, attacked: &Attacked) -> Result<(), TchError> {
        for (row, result) in (0_i64..).zip(&attacked.results).filter(|(_, result)| result.success) {
            if result.carried_from.is_none() {
                // A copy, so that the pixels of the other samples are freed.
                let pixels = attacked.pixels.f_index_select(0, &Tensor::f_from_slice(&[row])?)?;
                self.samples.insert(result.sample, Carried { attack, result: result.clone(), pixels });
            }
        }
        Ok(())
    }

    /// Where the attack failed on a sample that a smaller size broke: that result with this attack's own cost, and its pixels.
    pub(crate) fn instead_of(&self, own: &SampleResult) -> Option<(SampleResult, &Tensor)> {
        let carried = self.samples.get(&own.sample).filter(|_| !own.success)?;
        let result = SampleResult {
            forwards: own.forwards,
            backwards: own.backwards,
            zero_gradients: own.zero_gradients,
            nonfinite_gradients: own.nonfinite_gradients,
            fallbacks: own.fallbacks,
            overshoot: own.overshoot,
            forwards_to_success: None,
            carried_from: Some(carried.attack),
            ..carried.result.clone()
        };
        Some((result, &carried.pixels))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn result(sample: usize, success: bool, forwards: u64) -> SampleResult {
        SampleResult {
            sample,
            success,
            prediction: u32::from(success),
            forwards,
            forwards_to_success: success.then_some(1),
            ..SampleResult::default()
        }
    }

    fn attacked(results: Vec<SampleResult>, value: f64) -> Attacked {
        let pixels = Tensor::full([results.len() as i64, 1, 1, 1], value, (Kind::Float, Device::Cpu));
        Attacked {
            samples: results.iter().map(|result| result.sample).collect(),
            predictions: results.iter().map(|result| result.prediction as usize).collect(),
            results,
            pixels,
            seconds: 0.0,
        }
    }

    #[test]
    fn only_failures_take_over_the_largest_smaller_result_with_their_own_cost() {
        let mut broken = Broken::default();
        broken.add(3, &attacked(vec![result(0, true, 5), result(1, true, 5), result(2, false, 5)], 0.25)).unwrap();
        let (carried, pixels) = broken.instead_of(&result(1, false, 9)).unwrap();
        assert_eq!((carried.success, carried.forwards, carried.carried_from), (true, 9, Some(3)));
        assert_eq!((carried.forwards_to_success, pixels.double_value(&[0, 0, 0, 0])), (None, 0.25));
        assert!(broken.instead_of(&result(1, true, 9)).is_none());
        assert!(broken.instead_of(&result(2, false, 9)).is_none());
        // At the next size sample 0 is broken anew and sample 1 carried: each keeps the attack that made its pixels.
        broken.add(4, &attacked(vec![result(0, true, 5), carried], 0.5)).unwrap();
        let from = |sample| broken.instead_of(&result(sample, false, 1)).and_then(|(result, _)| result.carried_from);
        assert_eq!((from(0), from(1)), (Some(4), Some(3)));
    }
}
