//! What the operators of the table become.

use tch::{Device, Kind, Tensor};

use super::ImportError;
use super::call::{Argument, Call, Made};
use super::constants::of_both;
use super::graph::Operand;
use super::kind::{Rank, Scalar, is_floating, promoted, shown};
use super::shape::position;
use crate::model::program::{ConvGeometry, Op, Size, Unary, Windows};

/// `self ∘ alpha · other`, where `other` may be a number.
pub(super) fn arithmetic(c: &mut Call<'_>, op: Op) -> Made {
    match c.text("rounding_mode", "")? {
        "" => (),
        "floor" => return of_both(c, |a, b| a.f_div_tensor_mode(b, "floor")),
        _ => return of_both(c, |a, b| a.f_div_tensor_mode(b, "trunc")),
    }
    if matches!(c.argument("other"), Some(Argument::Tensor(_))) {
        let (operand, mut other) = (c.operand("self")?, c.operand("other")?);
        let alpha = c.float("alpha", Some(1.0))?;
        if (alpha - 1.0).abs() > 0.0 {
            if c.graph.kind(&other) != Kind::Float {
                return Err(c.error("scales what is not float32 by `alpha`, which is not supported"));
            }
            other = c.graph.emit(Op::Unary(Unary::Scale(alpha)), &[other])?;
        }
        return c.emit_on(op, &[operand, other]);
    }
    let (operand, other, kind) = with_number(c, &op)?;
    if !is_floating(kind) {
        let (known, other) = (c.graph.constant(&operand)?, whole(c, other)?.tensor(kind));
        return c.computed(match op {
            Op::Add => known.f_add(&other),
            Op::Sub => known.f_sub(&other),
            _ => known.f_mul(&other),
        });
    }
    let other = other.float() * c.float("alpha", Some(1.0))?;
    let function = match op {
        Op::Add => Unary::Shift(other),
        Op::Sub => Unary::Shift(-other),
        Op::Mul => Unary::Scale(other),
        _ => Unary::Over(other),
    };
    c.emit_on(Op::Unary(function), &[operand])
}

/// `self` in the type in which it is computed with the number `other`, the number, and this type.
fn with_number(c: &mut Call<'_>, op: &Op) -> Result<(Operand, Scalar, Kind), ImportError> {
    let (operand, other) = (c.operand("self")?, c.scalar("other")?);
    let now = c.graph.kind(&operand);
    if *op == Op::Sub && (now == Kind::Bool || other.kind() == Kind::Bool) {
        return Err(c.error("subtracts truth values, which PyTorch refuses"));
    }
    let mut kind = promoted(&[(now, c.rank(&operand)), (other.kind(), Rank::Number)]);
    if *op == Op::Div && !is_floating(kind) {
        kind = Kind::Float;
    }
    Ok((c.graph.cast(&operand, kind)?, other, kind))
}

/// `alpha · other` of whole numbers.
fn whole(c: &Call<'_>, other: Scalar) -> Result<Scalar, ImportError> {
    let alpha = c.integer("alpha", Some(1))?;
    match other {
        Scalar::Int(number) => number.checked_mul(alpha).map(Scalar::Int).ok_or_else(|| c.error("overflows")),
        other if alpha == 1 => Ok(other),
        _ => Err(c.error("scales truth values by `alpha`, which is not supported")),
    }
}

pub(super) fn reverse_subtract(c: &mut Call<'_>) -> Made {
    let (operand, other, kind) = with_number(c, &Op::Sub)?;
    if !is_floating(kind) {
        let alpha = Scalar::Int(c.integer("alpha", Some(1))?).tensor(kind);
        let known = c.graph.constant(&operand)?;
        return c.computed(known.f_mul(&alpha).and_then(|scaled| other.tensor(kind).f_sub(&scaled)));
    }
    let scaled = c.graph.emit(Op::Unary(Unary::Scale(-c.float("alpha", Some(1.0))?)), &[operand])?;
    c.emit_on(Op::Unary(Unary::Shift(other.float())), &[scaled])
}

/// A power, in the type that PyTorch computes it in.
pub(super) fn power(c: &mut Call<'_>) -> Made {
    let (operand, exponent) = (c.operand("self")?, c.scalar("exponent")?);
    let kind = promoted(&[(c.graph.kind(&operand), c.rank(&operand)), (exponent.kind(), Rank::Number)]);
    let operand = c.graph.cast(&operand, kind)?;
    match operand.known().filter(|_| !is_floating(kind)) {
        Some(known) => c.computed(known.f_pow(&exponent.tensor(kind))),
        None => c.emit_on(Op::Unary(Unary::Power(exponent.float())), &[operand]),
    }
}

pub(super) fn clamp(c: &mut Call<'_>, min: &str, max: &str) -> Made {
    let bound = |name: &str| c.argument(name).map(|_| c.float(name, None)).transpose();
    let (min, max) = (bound(min)?, bound(max)?);
    c.unary(Unary::Clamp { min, max })
}

pub(super) fn elu(c: &mut Call<'_>) -> Made {
    let scales = [c.float("scale", Some(1.0))?, c.float("input_scale", Some(1.0))?];
    if scales.iter().any(|scale| (scale - 1.0).abs() > 0.0) {
        return Err(c.error("has scales, which is not supported"));
    }
    let alpha = c.float("alpha", Some(1.0))?;
    c.unary(Unary::Elu { alpha })
}

pub(super) fn conv(c: &mut Call<'_>) -> Made {
    if c.flag("transposed", false)? {
        return Err(c.error("is transposed, which is not supported"));
    }
    // It says something of transposed convolutions only.
    let _ = c.argument("output_padding");
    let (weight, bias) = (c.weight("weight")?, c.optional_weight("bias")?);
    let stride = c.pair("stride", Some([1; 2]))?;
    let dilation = c.pair("dilation", Some([1; 2]))?;
    let groups = c.integer("groups", Some(1))?;
    if c.graph.shape(&c.operand("weight")?).len() != 4 {
        return Err(c.error("has a kernel without two sides, which is not supported"));
    }
    let padding = match c.argument("padding") {
        Some(Argument::Text(name)) if name == "valid" => [0; 2],
        Some(Argument::Text(_)) => {
            let kernel = c.constant("weight")?.size();
            let [.., rows, columns] = *kernel.as_slice() else { return Err(c.error("has a kernel without two sides")) };
            let both = [dilation[0].saturating_mul(rows - 1), dilation[1].saturating_mul(columns - 1)];
            if both.iter().any(|side| side % 2 != 0) {
                return Err(c.error("pads its two sides differently (padding=\"same\"), which is not supported"));
            }
            both.map(|side| side / 2)
        }
        _ => c.pair("padding", Some([0; 2]))?,
    };
    c.emit(Op::Conv2d { weight, bias, geometry: ConvGeometry { stride, padding, dilation, groups } }, &["input"])
}

pub(super) fn linear(c: &mut Call<'_>) -> Made {
    let (weight, bias) = (c.weight("weight")?, c.optional_weight("bias")?);
    c.emit(Op::Linear { weight, bias }, &["input"])
}

pub(super) fn batch_norm(c: &mut Call<'_>) -> Made {
    if c.flag("training", false)? {
        return Err(c.error("was exported in training mode; call model.eval() before the export"));
    }
    let size = c.constant("running_mean")?.size();
    let (mean, variance) = (c.weight("running_mean")?, c.weight("running_var")?);
    let weight = c.optional_weight("weight")?;
    let bias = c.optional_weight("bias")?;
    let weight = weight.unwrap_or_else(|| c.graph.filled(1.0, &size));
    let bias = bias.unwrap_or_else(|| c.graph.filled(0.0, &size));
    let eps = c.float("eps", None)?;
    c.emit(Op::BatchNorm { weight, bias, mean, variance, eps }, &["input"])
}

pub(super) fn layer_norm(c: &mut Call<'_>) -> Made {
    let (weight, bias) = (c.optional_weight("weight")?, c.optional_weight("bias")?);
    let (shape, eps) = (c.integers("normalized_shape")?, c.float("eps", Some(1e-5))?);
    c.emit(Op::LayerNorm { shape, weight, bias, eps }, &["input"])
}

pub(super) fn group_norm(c: &mut Call<'_>) -> Made {
    let (weight, bias) = (c.optional_weight("weight")?, c.optional_weight("bias")?);
    // The parts of exports say again what shape the input has.
    for name in ["N", "C", "HxW"] {
        let _ = c.argument(name);
    }
    let groups = c.integer(if c.argument("group").is_some() { "group" } else { "num_groups" }, None)?;
    let eps = c.float("eps", Some(1e-5))?;
    c.emit(Op::GroupNorm { groups, weight, bias, eps }, &["input"])
}

/// As a normalization of groups of one channel each, or by the running statistics where it has them.
pub(super) fn instance_norm(c: &mut Call<'_>) -> Made {
    if !c.flag("use_input_stats", true)? {
        return batch_norm(c);
    }
    for name in ["running_mean", "running_var"] {
        let _ = c.argument(name);
    }
    let shape = c.graph.shape(&c.operand("input")?);
    let Some(Size::Fixed(groups)) = shape.get(1).copied().filter(|_| shape.len() > 2) else {
        return Err(c.error("takes no images"));
    };
    let (weight, bias) = (c.optional_weight("weight")?, c.optional_weight("bias")?);
    let eps = c.float("eps", Some(1e-5))?;
    c.emit(Op::GroupNorm { groups, weight, bias, eps }, &["input"])
}

pub(super) fn dropout(c: &mut Call<'_>) -> Made {
    if c.flag("train", false)? {
        return Err(c.error("was exported in training mode; call model.eval() before the export"));
    }
    let _ = c.argument("p");
    // The operator that writes over its argument calls it `self`.
    c.same(if c.argument("input").is_some() { "input" } else { "self" })
}

pub(super) fn attention(c: &mut Call<'_>) -> Made {
    if c.float("dropout_p", Some(0.0))? > 0.0 || c.flag("enable_gqa", false)? {
        return Err(c.error("drops scores or shares heads, which is not supported"));
    }
    let causal = c.flag("is_causal", false)?;
    let scale = c.argument("scale").map(|_| c.float("scale", None)).transpose()?;
    let mut operands = [c.operand("query")?, c.operand("key")?, c.operand("value")?].to_vec();
    if c.argument("attn_mask").is_some() {
        let mask = c.operand("attn_mask")?;
        operands.push(match mask.known().filter(|known| known.kind() == Kind::Bool) {
            // Truth values say which scores count.
            Some(counts) => {
                let zeros = Tensor::zeros(counts.size(), (Kind::Float, Device::Cpu));
                c.graph.computed(zeros.f_masked_fill(&counts.logical_not(), f64::NEG_INFINITY))?
            }
            None => mask,
        });
    }
    c.emit_on(Op::Attention { causal, scale }, &operands)
}

/// The fast path of `nn.MultiheadAttention`: self-attention without a mask. The weights of the attention are not made.
pub(super) fn fused_attention(c: &mut Call<'_>) -> Made {
    let [query, key, value] = [c.operand("query")?, c.operand("key")?, c.operand("value")?];
    let shape = c.graph.shape(&query);
    let (width, heads) = (c.integer("embed_dim", None)?, c.integer("num_head", None)?);
    let ([images, tokens, Size::Fixed(depth)], true) = (&shape[..], query.is_same(&key) && key.is_same(&value)) else {
        return Err(c.error("is no self-attention of a batch of sequences, which is not supported"));
    };
    if *depth != width || heads < 1 || width % heads != 0 || c.argument("mask").is_some() {
        return Err(c.error("has a mask, or heads that do not divide its width, which is not supported"));
    }
    for name in ["need_weights", "average_attn_weights", "mask_type"] {
        let _ = c.argument(name);
    }
    if c.graph.is_side(&query, 1) {
        c.graph.sides_used.set(true);
    }
    let (images, tokens, each) = (*images, *tokens, Size::Fixed(width / heads));
    let layer = |c: &mut Call<'_>, name: &str, input: Operand| {
        let (weight, bias) = (c.weight(&format!("{name}_weight"))?, c.optional_weight(&format!("{name}_bias"))?);
        c.graph.emit(Op::Linear { weight, bias }, &[input])
    };
    let joint = layer(c, "qkv", query)?;
    let size = vec![images, tokens, Size::Fixed(3), Size::Fixed(heads), each];
    let parts = c.graph.emit(Op::Reshape { size }, &[joint])?;
    let parts = [c.graph.emit(Op::Permute { dims: vec![2, 0, 3, 1, 4] }, &[parts])?];
    let parts =
        (0..3).map(|index| c.graph.emit(Op::Select { dim: 0, index }, &parts)).collect::<Result<Vec<_>, _>>()?;
    let attended = c.graph.emit(Op::Attention { causal: false, scale: None }, &parts)?;
    let attended = c.graph.emit(Op::Permute { dims: vec![0, 2, 1, 3] }, &[attended])?;
    let joined = c.graph.emit(Op::Reshape { size: vec![images, tokens, Size::Fixed(width)] }, &[attended])?;
    Ok(vec![layer(c, "proj", joined)?])
}

pub(super) fn einsum(c: &mut Call<'_>) -> Made {
    let equation: String = c.text("equation", "")?.chars().filter(|letter| *letter != ' ').collect();
    let _ = c.argument("path");
    c.emit_on(Op::Einsum { equation }, &c.list("tensors")?)
}

pub(super) fn max_pool(c: &mut Call<'_>) -> Made {
    let (windows, dilation) = (windows(c)?, c.pair("dilation", Some([1; 2]))?);
    c.on_self(Op::MaxPool2d { windows, dilation })
}

fn windows(c: &Call<'_>) -> Result<Windows, ImportError> {
    let kernel = c.pair("kernel_size", None)?;
    let stride = c.pair("stride", Some(kernel))?;
    Ok(Windows { kernel, stride, padding: c.pair("padding", Some([0; 2]))?, ceil: c.flag("ceil_mode", false)? })
}

pub(super) fn avg_pool(c: &mut Call<'_>) -> Made {
    if c.argument("divisor_override").is_some() {
        return Err(c.error("has a divisor of its own, which is not supported"));
    }
    let (windows, count_padding) = (windows(c)?, c.flag("count_include_pad", true)?);
    c.on_self(Op::AvgPool2d { windows, count_padding })
}

/// A reduction of dimensions, all of them where none is named.
pub(super) fn reduce(c: &mut Call<'_>, op: fn(Vec<i64>, bool) -> Op) -> Made {
    in_float(c)?;
    let (dims, keep) = (c.dims("dim")?, c.flag("keepdim", false)?);
    c.on_self(op(dims, keep))
}

/// An operator along a dimension.
pub(super) fn along(c: &mut Call<'_>, op: fn(i64) -> Op) -> Made {
    in_float(c)?;
    if c.flag("half_to_float", false)? {
        return Err(c.error("computes in float16, which is not supported; export the model in float32 (model.float())"));
    }
    let dim = c.integer("dim", None)?;
    c.on_self(op(dim))
}

/// That the result is not asked for in another precision than all that images change has.
fn in_float(c: &Call<'_>) -> Result<(), ImportError> {
    match c.kind("dtype")? {
        None | Some(Kind::Float) => Ok(()),
        Some(kind) => {
            let kind = shown(kind);
            Err(c.error(format!(
                "computes in {kind}, which is not supported; export the model in float32 (model.float())"
            )))
        }
    }
}

pub(super) fn vector_norm(c: &mut Call<'_>) -> Made {
    in_float(c)?;
    let (order, dims, keep) = (c.float("ord", Some(2.0))?, c.dims("dim")?, c.flag("keepdim", false)?);
    c.on_self(Op::VectorNorm { order, dims, keep })
}

pub(super) fn transpose(c: &mut Call<'_>, first: &str, second: &str) -> Made {
    let (first, second) = (c.integer(first, None)?, c.integer(second, None)?);
    c.on_self(Op::Transpose { first, second })
}

pub(super) fn slice(c: &mut Call<'_>) -> Made {
    let (dim, start) = (c.integer("dim", Some(0))?, c.integer("start", Some(0))?);
    let end = match c.argument("end") {
        Some(Argument::Integer(size @ Size::Batch(_))) => {
            let shape = c.graph.shape(&c.operand("self")?);
            match position(dim, shape.len()) {
                // All of them.
                Ok(at) if shape.get(at) == Some(size) => i64::MAX,
                _ => return Err(c.error("ends at a multiple of the number of images, which is not supported")),
            }
        }
        _ => c.integer("end", Some(i64::MAX))?,
    };
    let step = c.integer("step", Some(1))?;
    c.on_self(Op::Slice { dim, start, end, step })
}

/// Size of a tensor along a dimension, where it does not depend on the number of images.
fn length(c: &Call<'_>, dim: i64) -> Result<i64, ImportError> {
    let operand = c.operand("self")?;
    let shape = c.graph.shape(&operand);
    match position(dim, shape.len()).map(|at| (at, shape.get(at))) {
        Ok((at, Some(Size::Fixed(length)))) => {
            if c.graph.is_side(&operand, at) {
                c.graph.sides_used.set(true);
            }
            Ok(*length)
        }
        Ok(_) => Err(c.error("takes the images of a batch apart, which is not supported")),
        Err(reason) => Err(c.error(reason)),
    }
}

/// No operator makes more tensors.
const MOST_PIECES: i64 = 4096;

pub(super) fn unbind(c: &mut Call<'_>) -> Made {
    let dim = c.integer("dim", Some(0))?;
    let length = length(c, dim)?;
    if length > MOST_PIECES {
        return Err(c.error(format!("makes {length} tensors")));
    }
    let whole = [c.operand("self")?];
    (0..length).map(|index| c.graph.emit(Op::Select { dim, index }, &whole)).collect()
}

/// `chunk` and `split`.
pub(super) fn pieces(c: &mut Call<'_>) -> Made {
    let dim = c.integer("dim", Some(0))?;
    let length = length(c, dim)?;
    let named = ["chunks", "split_size", "split_sizes"].into_iter().find(|name| c.argument(name).is_some());
    let name = named.ok_or_else(|| c.error("does not say into how many pieces"))?;
    let sizes = if matches!(c.argument(name), Some(Argument::Integers(_))) {
        c.integers(name)?
    } else {
        let count = c.integer(name, None)?;
        let size = if name == "chunks" {
            length.saturating_add(count.saturating_sub(1)).checked_div(count)
        } else {
            Some(count)
        };
        let size = size.filter(|&size| size > 0 && length / size < MOST_PIECES);
        let size = size.ok_or_else(|| c.error(format!("makes pieces of {length} elements by {count}")))?;
        (0..length).step_by(size as usize).map(|start| size.min(length - start)).collect()
    };
    if sizes.iter().any(|&size| size < 0) || sizes.iter().sum::<i64>() != length {
        return Err(c.error(format!("makes pieces of {sizes:?} out of {length} elements")));
    }
    let whole = [c.operand("self")?];
    let mut start = 0;
    let mut piece = |size: i64| {
        let op = Op::Slice { dim, start, end: start + size, step: 1 };
        start += size;
        c.graph.emit(op, &whole)
    };
    sizes.into_iter().map(&mut piece).collect()
}

pub(super) fn pad(c: &mut Call<'_>) -> Made {
    if c.text("mode", "constant")? != "constant" {
        return Err(c.error("pads with anything but a constant, which is not supported"));
    }
    let (pad, value) = (c.integers("pad")?, c.float("value", Some(0.0))?);
    c.on_self(Op::Pad { pad, value })
}

/// `to`, `type_as`: another data type. Where the data is kept changes nothing.
pub(super) fn to_kind(c: &mut Call<'_>) -> Made {
    let copies = c.flag("copy", false)?;
    converted(c, copies)
}

/// `to` and its kin; `copies` where the result is new even if it is of the same type.
pub(super) fn converted(c: &mut Call<'_>, copies: bool) -> Made {
    let operand = c.operand("self")?;
    let now = c.graph.kind(&operand);
    let kind = match c.argument("other") {
        Some(_) => c.graph.kind(&c.operand("other")?),
        None => c.kind("dtype")?.unwrap_or(now),
    };
    if operand.known().is_some() {
        c.in_its_own_layout()?;
    }
    Ok(vec![match kind == now {
        true if copies => c.graph.copy(&operand)?,
        true => operand,
        false => c.graph.cast(&operand, kind)?,
    }])
}
