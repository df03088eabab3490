//! What a model answers to the clean images, before it is attacked: whether twice the same, and whether with logits.

use advmod_attacks::query::{decides_otherwise, padded_logits};
use advmod_attacks::victim::{Victim as _, VictimError};
use tch::{Kind, TchError, Tensor};

use super::pixels::PixelSource;
use crate::model::Model;
use crate::model::info::Outputs;

/// Images that are asked about.
const ASKED: usize = 64;

/// Images whose gradients are looked at.
const PROBED: usize = 16;

/// Largest relative difference of a sum from the others that rounding explains, in half precision and with a thousand classes too.
const ROUNDING: f64 = 0.02;

/// From largest to smallest logit of an image; less is hardly a preference: softmax then gives no class twice as much as another.
const FLAT: f64 = 0.5;

/// What a look at some images tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Whether the same images, shown twice, get different logits.
    pub is_random: bool,
    pub outputs: Outputs,
}

/// Looks at evenly spread images.
pub(crate) fn look(model: &Model, source: &dyn PixelSource) -> Result<Answers, VictimError> {
    let _guard = tch::no_grad_guard();
    let n = source.len();
    if n == 0 {
        return Ok(Answers { is_random: false, outputs: Outputs::Logits });
    }
    let stride = n.div_ceil(ASKED);
    let pixels = (0..n).step_by(stride).map(|at| source.pixels(at..at + 1)).collect::<Result<Vec<_>, _>>()?;
    let pixels = Tensor::f_cat(&pixels, 0)?;
    let ask = || padded_logits(model, &pixels)?.f_nan_to_num(0.0, 0.0, 0.0).map_err(VictimError::from);
    let (first, second) = (ask()?, ask()?);
    Ok(Answers { is_random: first != second, outputs: kind_of(&padded_logits(model, &pixels)?)? })
}

/// On how many images the model's class is another one with its ending than without, asked in batches.
pub(crate) fn ending_decides(model: &Model, source: &dyn PixelSource, batch: usize) -> Result<usize, VictimError> {
    let _guard = tch::no_grad_guard();
    let mut n = 0;
    for start in (0..source.len()).step_by(batch) {
        let pixels = source.pixels(start..(start + batch).min(source.len()))?;
        let logits = padded_logits(model, &pixels)?;
        let Some(outputs) = model.outputs(&pixels)? else { return Ok(0) };
        let is_other = decides_otherwise(&logits, &outputs)?;
        // Where nothing is finite, nothing decides.
        let is_finite = logits.f_isfinite()?.f_all_dim(1, false)?;
        n += i64::try_from(is_other.f_logical_and(&is_finite)?.f_sum(Kind::Int64)?)? as usize;
    }
    Ok(n)
}

/// Whether no gradient reaches most of some images: not of any class's logit.
pub(crate) fn loses_gradients(model: &Model, source: &dyn PixelSource) -> Result<bool, VictimError> {
    let n = source.len();
    if n == 0 {
        return Ok(false);
    }
    let pixels =
        (0..n).step_by(n.div_ceil(PROBED)).map(|at| source.pixels(at..at + 1)).collect::<Result<Vec<_>, _>>()?;
    let pixels = Tensor::f_cat(&pixels, 0)?.f_detach()?.set_requires_grad(true);
    let logits = tch::with_grad(|| padded_logits(model, &pixels))?;
    if !logits.requires_grad() {
        return Ok(true);
    }
    // Of different weights, so that what adds up to one does not cancel.
    let weights = Tensor::f_arange_start(1, logits.size()[1] + 1, (Kind::Float, logits.device()))?;
    let whole = tch::with_grad(|| logits.f_mul(&weights)?.f_sum(Kind::Float))?;
    let gradient = Tensor::f_run_backward(&[&whole], &[&pixels], false, false)?;
    let Some(gradient) = gradient.into_iter().next().filter(Tensor::defined) else { return Ok(true) };
    let reached = gradient.f_nan_to_num(0.0, 0.0, 0.0)?.f_ne(0.0)?.f_flatten(1, -1)?.f_any_dim(1, false)?;
    let reached = i64::try_from(reached.f_sum(Kind::Int64)?)?;
    Ok(2 * reached < pixels.size()[0])
}

/// What outputs `[N, K]` look like.
fn kind_of(outputs: &Tensor) -> Result<Outputs, TchError> {
    let is_finite = outputs.f_isfinite()?.f_all_dim(1, false)?;
    let outputs = outputs.f_index(&[Some(is_finite)])?.f_to_kind(Kind::Double)?;
    if outputs.size()[0] == 0 {
        return Ok(Outputs::Logits);
    }
    let classes = [1_i64];
    let number = |of: Result<Tensor, TchError>| f64::try_from(of?);
    let (least, most) = (number(outputs.f_min())?, number(outputs.f_max())?);
    let sums = outputs.f_sum_dim_intlist(classes.as_slice(), false, Kind::Double)?;
    let mean = number(sums.f_mean(Kind::Double))?;
    let spread = number(sums.f_sub_scalar(mean).and_then(|it| it.f_abs()?.f_max()))?;
    // Logits with a large offset have sums that are nearly the same too.
    if least >= 0.0 && most - least > 0.1 * mean && spread <= ROUNDING * mean {
        return Ok(Outputs::Probabilities);
    }
    let total = number(outputs.f_logsumexp(classes.as_slice(), false).and_then(|it| it.f_abs()?.f_max()))?;
    if most <= 0.0 && total <= ROUNDING {
        return Ok(Outputs::LogProbabilities);
    }
    let reach = outputs.f_amax(classes.as_slice(), false)?.f_sub(&outputs.f_amin(classes.as_slice(), false)?)?;
    let reach = number(reach.f_median())?;
    let at = |value: f64| -> Result<f64, TchError> {
        let n = i64::try_from(outputs.f_eq(value)?.f_sum(Kind::Int64)?)?;
        Ok(n as f64 / outputs.numel() as f64)
    };
    Ok(match (least, most) {
        _ if least < most && is_often(at(least)?, &outputs) | is_often(at(most)?, &outputs) => Outputs::Saturated,
        _ if least >= 0.0 && most <= 1.0 => Outputs::ZeroToOne,
        _ if least >= -1.0 && most <= 1.0 => Outputs::MinusOneToOne,
        _ if reach < FLAT => Outputs::Flat,
        _ => Outputs::Logits,
    })
}

/// Whether a share of all outputs is more than chance gives one number of them.
fn is_often(share: f64, outputs: &Tensor) -> bool {
    let n = outputs.numel() as f64;
    share * n > 3.0 && share > 0.02
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use tch::Device;

    use super::*;
    use crate::data::OpenOptions;
    use crate::measure::clean::predict;
    use crate::measure::pixels::ImagePixels;
    use crate::model::load::{LoadOptions, load};
    use crate::model::program::{Node, Op, TapSelection, Unary, ValueId};

    /// The embedded network with these operators behind its logits.
    fn ending_in(ops: &[Op]) -> Model {
        let model = load(None, &LoadOptions::default(), Device::Cpu).unwrap();
        let mut program = model.program().unwrap().clone();
        for op in ops {
            let output = ValueId(program.nodes.len() as u32 + 1);
            let node = Node { op: op.clone(), inputs: vec![program.output], output, path: String::new() };
            program.nodes.push(node);
            program.output = output;
        }
        Model::new(model.info().clone(), program, &TapSelection::Default, Device::Cpu).unwrap()
    }

    #[test]
    fn what_is_attacked_is_before_the_ending_unless_the_ending_decides() {
        let places: Vec<usize> = (0..40).collect();
        let images = crate::data::open(None, &OpenOptions::default()).unwrap().read(&places).unwrap();
        let source = ImagePixels { images: &images, places: &places, device: Device::Cpu };
        let plain = ending_in(&[]);
        let logits = padded_logits(&plain, &source.pixels(0..40).unwrap()).unwrap();
        let softmax = ending_in(&[Op::Softmax { dim: 1 }]);
        assert_eq!((plain.ending(), softmax.ending()), (None, Some("softmax")));
        assert_eq!(padded_logits(&softmax, &source.pixels(0..40).unwrap()).unwrap(), logits);
        assert_eq!(look(&softmax, &source).unwrap(), Answers { is_random: false, outputs: Outputs::Logits });
        assert_eq!(ending_decides(&softmax, &source, 16).unwrap(), 0);
        // Everything above -2 is equal: the largest logits of most images are.
        let mut clamped = ending_in(&[Op::Unary(Unary::Clamp { min: None, max: Some(-2.0) })]);
        let decided = ending_decides(&clamped, &source, 16).unwrap();
        assert!(decided > 20, "{decided}");
        // The judge goes by what users get to see, where several classes are the first.
        let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
        let right = |model: &Model| {
            let found = predict(model, &source, Some(&labels), 40, &mut |_| ControlFlow::Continue(())).unwrap();
            found.classes.iter().zip(&labels).filter(|(class, label)| **class as usize == **label).count()
        };
        let before = right(&clamped);
        assert!(before + 20 < right(&plain), "{before}");
        clamped.keep_ending();
        assert_eq!(right(&clamped), before);
        assert_eq!((clamped.ending(), ending_decides(&clamped, &source, 16).unwrap()), (None, 0));
        assert_eq!(look(&clamped, &source).unwrap().outputs, Outputs::Saturated);
    }

    #[test]
    fn outputs_are_told_by_how_they_look() {
        let numbers = (Tensor::arange(400, (Kind::Float, Device::Cpu)) * 12.9898).sin() * 43758.5;
        let logits = numbers.frac().view([40, 10]) * 18.0;
        let softmax = logits.softmax(1, Kind::Float);
        let cosines = (&logits / logits.norm_scalaropt_dim(2.0, [1_i64].as_slice(), true)) * 0.9;
        for (outputs, expected) in [
            (logits.shallow_clone(), Outputs::Logits),
            (&logits + 1e3, Outputs::Logits),
            (&logits * 1e-3 + 1e3, Outputs::Flat),
            (logits.to_kind(Kind::BFloat16), Outputs::Logits),
            (logits.log_softmax(1, Kind::Float), Outputs::LogProbabilities),
            (softmax.shallow_clone(), Outputs::Probabilities),
            (softmax.to_kind(Kind::Half), Outputs::Probabilities),
            (softmax.to_kind(Kind::BFloat16), Outputs::Probabilities),
            (&softmax * 100.0, Outputs::Probabilities),
            ((&logits * 0.2).sigmoid(), Outputs::ZeroToOne),
            ((&logits * 0.2).tanh(), Outputs::MinusOneToOne),
            (cosines, Outputs::MinusOneToOne),
            ((&logits * 9.0).sigmoid(), Outputs::Saturated),
            (logits.hardsigmoid(), Outputs::Saturated),
            (logits.clamp(0.0, 6.0), Outputs::Saturated),
            (logits.relu(), Outputs::Saturated),
        ] {
            let outputs = outputs.to_kind(Kind::Float);
            assert_eq!(kind_of(&outputs).unwrap(), expected, "{outputs:?}");
            // One image without finite logits says nothing of the others.
            let bad = Tensor::full([1, 10], f64::NAN, (Kind::Float, Device::Cpu));
            assert_eq!(kind_of(&Tensor::cat(&[outputs, bad], 0)).unwrap(), expected);
        }
    }
}
