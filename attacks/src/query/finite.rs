//! Watches for numbers that are none, without waiting for the device at every step.

use tch::{Device, Kind, Tensor};

use crate::error::AttackError;
use crate::victim::VictimError;

/// Values that must be finite and were not looked at yet.
#[derive(Default)]
pub(super) struct Watch {
    suspects: Vec<Suspect>,
}

struct Suspect {
    what: &'static str,
    step: u32,
    taint: Tensor,
}

impl Watch {
    /// Adds values. On the CPU they are looked at at once; elsewhere later, many with one transfer.
    pub(super) fn add(&mut self, what: &'static str, step: u32, values: &Tensor) -> Result<(), AttackError> {
        // 0 · x is 0 for a finite x and not a number otherwise.
        let taint = (values * 0.0).sum(Kind::Float);
        self.suspects.push(Suspect { what, step, taint });
        if values.device() == Device::Cpu || MAX_SUSPECTS <= self.suspects.len() { self.settle() } else { Ok(()) }
    }

    /// Looks at all values; errs with the first that is not finite.
    pub(super) fn settle(&mut self) -> Result<(), AttackError> {
        if self.suspects.is_empty() {
            return Ok(());
        }
        let taints: Vec<&Tensor> = self.suspects.iter().map(|suspect| &suspect.taint).collect();
        let taints = Vec::<f32>::try_from(Tensor::stack(&taints, 0)).map_err(VictimError::from)?;
        let suspects = std::mem::take(&mut self.suspects);
        match taints.iter().zip(suspects).find(|(taint, _)| !taint.is_finite()) {
            Some((_, Suspect { what, step, .. })) => Err(AttackError::NonFinite { what, step }),
            None => Ok(()),
        }
    }
}

const MAX_SUSPECTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_and_nans_are_found_and_large_numbers_are_not() {
        let mut watch = Watch::default();
        assert!(watch.add("x is", 0, &Tensor::from_slice(&[f32::MAX, f32::MIN])).is_ok());
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let error = watch.add("x is", 3, &Tensor::from_slice(&[0.0, bad])).unwrap_err();
            assert!(error.to_string().starts_with("x is not finite at step 3"));
        }
    }
}
