//! Sizes of what convolutions make, which libtorch does not foretell.

use tch::Kind;

use super::{Argument, AtenCall};
use crate::model::size::Size;

/// The size and type of a convolution's result; nothing for other operators.
pub(super) fn foretold(call: &AtenCall, tensors: &[(Vec<i64>, Kind)]) -> Option<Result<(Vec<i64>, Kind), String>> {
    let name = call.schema.name;
    (name.starts_with("conv") && !name.contains("tbc")).then(|| of_windows(call, tensors))
}

fn of_windows(call: &AtenCall, tensors: &[(Vec<i64>, Kind)]) -> Result<(Vec<i64>, Kind), String> {
    let wrong = || "is given sizes that do not fit each other".to_owned();
    let argument = |name: &str| {
        let at = call.schema.arguments.iter().position(|it| it.name == name);
        at.map_or(&Argument::Default, |at| &call.arguments[at])
    };
    let tensor = |name: &str| match argument(name) {
        Argument::Tensor(at) => tensors.get(*at).ok_or_else(wrong),
        _ => Err(wrong()),
    };
    let ((input, kind), (weight, _)) = (tensor("input")?, tensor("weight")?);
    let sides = weight.len().checked_sub(2).filter(|sides| (1..=3).contains(sides)).ok_or_else(wrong)?;
    if input.len() != weight.len() {
        return Err(wrong());
    }
    let sensible = |it: &i64| (0..=1 << 20).contains(it);
    // One number stands for all sides.
    let each = |name: &str, default: i64| -> Result<Vec<i64>, String> {
        let fixed = |size: &Size| match size {
            Size::Fixed(size) if sensible(size) => Some(*size),
            _ => None,
        };
        let given = match argument(name) {
            Argument::Default => vec![default],
            Argument::Integer(size) => vec![fixed(size).ok_or_else(wrong)?],
            Argument::Integers(all) => all.iter().map(fixed).collect::<Option<_>>().ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        match given.len() {
            1 => Ok(vec![given[0]; sides]),
            count if count == sides => Ok(given),
            _ => Err(wrong()),
        }
    };
    let (stride, dilation, more) = (each("stride", 1)?, each("dilation", 1)?, each("output_padding", 0)?);
    let is_same = matches!(argument("padding"), Argument::Text(text) if text == "same");
    let padding = match argument("padding") {
        Argument::Text(_) => vec![0; sides],
        _ => each("padding", 0)?,
    };
    let groups = match argument("groups") {
        Argument::Default => 1,
        // As many as there are images, where each has weights of its own.
        Argument::Integer(Size::Fixed(groups)) if *groups > 0 => *groups,
        _ => return Err("has as many groups as there are images, which is not supported".to_owned()),
    };
    let is_turned = call.schema.name.contains("transpose") || *argument("transposed") == Argument::Flag(true);
    if stride.iter().chain(&dilation).any(|it| *it < 1) || weight[2..].iter().any(|it| !sensible(it) || *it < 1) {
        return Err(wrong());
    }
    let inputs = if is_turned { Some(weight[0]) } else { weight[1].checked_mul(groups) };
    if inputs != Some(input[1]) {
        return Err(format!("takes {} channels, not {}", inputs.unwrap_or(0), input[1]));
    }
    let side = |at: usize| {
        let (size, reach) = (input[at + 2], dilation[at] * (weight[at + 2] - 1));
        match is_turned {
            _ if is_same => size,
            true => (size - 1) * stride[at] - 2 * padding[at] + reach + more[at] + 1,
            false => (size + 2 * padding[at] - reach - 1).div_euclid(stride[at]) + 1,
        }
    };
    let outputs = if is_turned { weight[1].checked_mul(groups).ok_or_else(wrong)? } else { weight[0] };
    let made: Vec<i64> = [input[0], outputs].into_iter().chain((0..sides).map(side)).collect();
    match made.iter().all(|size| *size >= 0) && input[2..].iter().all(|size| *size < 1 << 40) {
        true => Ok((made, *kind)),
        false => Err(wrong()),
    }
}
