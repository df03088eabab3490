//! What the operators of the table become.

use tch::{Device, Kind, Tensor};

use super::ImportError;
use super::call::{Argument, Call, Made};
use super::graph::Operand;
use super::shape::position;
use crate::model::program::{ConvGeometry, Op, Size, Unary, Windows};

/// `self ∘ alpha · other`, where `other` may be a number.
pub(super) fn arithmetic(c: &mut Call<'_>, op: Op) -> Made {
    if c.argument("rounding_mode").is_some() {
        return Err(c.error("rounds its result, which is not supported"));
    }
    let alpha = c.float("alpha", Some(1.0))?;
    if let (Some(whole), Some(Argument::Integer(Size::Fixed(other)))) =
        (c.operand("self")?.known(), c.argument("other"))
        && !whole.is_floating_point()
        && op != Op::Div
    {
        // Whole numbers stay whole.
        let other = Tensor::from(*other as f64 * alpha).to_kind(whole.kind());
        return c.computed(match op {
            Op::Add => whole.f_add(&other),
            Op::Sub => whole.f_sub(&other),
            _ => whole.f_mul(&other),
        });
    }
    if !matches!(c.argument("other"), Some(Argument::Tensor(_))) {
        let other = c.float("other", None)? * alpha;
        return c.unary(match op {
            Op::Add => Unary::Shift(other),
            Op::Sub => Unary::Shift(-other),
            Op::Mul => Unary::Scale(other),
            _ => Unary::Scale(1.0 / other),
        });
    }
    let mut other = c.operand("other")?;
    if (alpha - 1.0).abs() > 0.0 {
        other = c.graph.emit(Op::Unary(Unary::Scale(alpha)), &[other])?;
    }
    let operands = [c.operand("self")?, other];
    c.emit_on(op, &operands)
}

pub(super) fn reverse_subtract(c: &mut Call<'_>) -> Made {
    let (other, alpha) = (c.float("other", None)?, c.float("alpha", Some(1.0))?);
    let operand = c.operand("self")?;
    let scaled = c.graph.emit(Op::Unary(Unary::Scale(-alpha)), &[operand])?;
    c.emit_on(Op::Unary(Unary::Shift(other)), &[scaled])
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
    let (groups, eps) = (c.integer("num_groups", None)?, c.float("eps", Some(1e-5))?);
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
    let dim = c.integer("dim", None)?;
    c.on_self(op(dim))
}

/// That the result is not asked for in another precision than all that images change has.
fn in_float(c: &Call<'_>) -> Result<(), ImportError> {
    match c.kind("dtype")? {
        None | Some(Kind::Float) => Ok(()),
        Some(kind) => {
            Err(c.error(format!("computes in {kind:?}, which is not supported; export the model in float32")))
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
        Some(Argument::Integer(Size::Batch(_))) => {
            return Err(c.error("ends at a multiple of the number of images, which is not supported"));
        }
        _ => c.integer("end", Some(i64::MAX))?,
    };
    let step = c.integer("step", Some(1))?;
    c.on_self(Op::Slice { dim, start, end, step })
}

/// Size of a tensor along a dimension, where it does not depend on the number of images.
fn length(c: &Call<'_>, dim: i64) -> Result<i64, ImportError> {
    let shape = c.graph.shape(&c.operand("self")?);
    match position(dim, shape.len()).map(|at| shape.get(at)) {
        Ok(Some(Size::Fixed(length))) => Ok(*length),
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
        let size = if name == "chunks" { length.saturating_add(count - 1).checked_div(count) } else { Some(count) };
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

/// All that images change is f32.
pub(super) fn to_kind(c: &mut Call<'_>) -> Made {
    let operand = c.operand("self")?;
    let kind = c.kind("dtype")?;
    let now = operand.known().map_or(Kind::Float, |known| known.kind());
    let result = match (kind.filter(|kind| *kind != now), operand.known()) {
        (None, _) if c.flag("copy", false)? => c.graph.copy(&operand)?,
        (None, _) => operand,
        (Some(kind), Some(known)) => c.graph.computed(known.f_to_kind(kind))?,
        (Some(kind), None) => {
            return Err(c.error(format!(
                "changes the numbers that it is given to {kind:?}, which is not supported; export the model in float32"
            )));
        }
    };
    Ok(vec![result])
}

pub(super) fn copy(c: &mut Call<'_>) -> Made {
    let operand = c.operand("self")?;
    Ok(vec![c.graph.copy(&operand)?])
}

pub(super) fn compare(c: &mut Call<'_>, test: fn(&Tensor, f64) -> Tensor) -> Made {
    let (known, other) = (c.constant("self")?, c.float("other", None)?);
    c.computed(Ok(test(&known, other)))
}

pub(super) fn new_zeros(c: &mut Call<'_>) -> Made {
    let fixed = |size: &Size| match size {
        Size::Fixed(size) if (0..=1 << 20).contains(size) => Some(*size),
        _ => None,
    };
    let size: Option<Vec<i64>> = c.sizes("size")?.iter().map(fixed).collect();
    let small = size.filter(|size| {
        size.iter().try_fold(1_i64, |all, size| all.checked_mul(*size)).is_some_and(|all| all <= 1 << 24)
    });
    let size = small.ok_or_else(|| c.error("makes a constant of a size that is too large or not fixed"))?;
    let _ = c.argument("self");
    let kind = c.kind("dtype")?.unwrap_or(Kind::Float);
    c.computed(Tensor::f_zeros(size, (kind, Device::Cpu)))
}

pub(super) fn fill(c: &mut Call<'_>) -> Made {
    let tensor = c.constant("self")?;
    let value = match c.argument("value") {
        Some(Argument::Tensor(_)) => c.constant("value")?,
        _ => Tensor::from(c.float("value", None)?),
    };
    c.computed(value.f_to_kind(tensor.kind()).and_then(|value| value.f_expand(tensor.size(), false)))
}

pub(super) fn zero(c: &mut Call<'_>) -> Made {
    let tensor = c.constant("self")?;
    c.computed(tensor.f_zeros_like())
}

pub(super) fn masked_fill(c: &mut Call<'_>) -> Made {
    let (tensor, mask, value) = (c.constant("self")?, c.constant("mask")?, c.float("value", None)?);
    c.computed(tensor.f_masked_fill(&mask, value))
}

pub(super) fn index(c: &mut Call<'_>) -> Made {
    let table = c.constant("self")?;
    let rows = match &c.list("indices")?[..] {
        [rows] => rows.known(),
        _ => None,
    };
    let rows = rows.ok_or_else(|| c.error("is supported only with one constant list of rows"))?;
    let row = table.size().iter().skip(1).product::<i64>();
    c.graph.spend(rows.numel() as f64 * row as f64)?;
    c.computed(table.f_index(&[Some(&rows)]))
}
