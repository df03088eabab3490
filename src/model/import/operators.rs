//! The operators that are understood: one line each in [`OPERATORS`].

use std::collections::BTreeMap;

use tch::Tensor;

use super::call::Call;
use super::translator::Binding;
use super::{ImportError, shown};
use crate::model::format::pt2::{Argument, Dim, ExportedProgram};
use crate::model::program::{ConvGeometry, Op, Size, Unary, Windows};

type Translation = fn(&mut Call<'_, '_>) -> Result<(), ImportError>;

/// ATen's names without `torch.ops.aten.`. An entry also stands for the operator that writes over its first argument (`relu_`).
const OPERATORS: &[(&str, Translation)] = &[
    ("_unsafe_view.default", |c| c.on_self(Op::Reshape { size: c.sizes("size")? })),
    ("abs.default", |c| c.unary(Unary::Abs)),
    ("adaptive_avg_pool2d.default", |c| c.on_self(Op::AdaptiveAvgPool2d { output: c.pair("output_size", None)? })),
    ("add.Scalar", |c| arithmetic(c, Op::Add)),
    ("add.Tensor", |c| arithmetic(c, Op::Add)),
    ("alias.default", |c| c.same("self")),
    ("avg_pool2d.default", avg_pool),
    ("batch_norm.default", batch_norm),
    ("bmm.default", |c| c.emit(Op::MatMul, &["self", "mat2"])),
    ("cat.default", |c| c.emit_on(Op::Cat { dim: c.integer("dim", Some(0))? }, &c.list("tensors")?)),
    ("chunk.default", pieces),
    ("clamp.default", |c| clamp(c, "min", "max")),
    ("clamp_max.default", |c| clamp(c, "", "max")),
    ("clamp_min.default", |c| clamp(c, "min", "")),
    ("clone.default", copy),
    ("contiguous.default", |c| c.on_self(Op::Identity)),
    ("conv2d.default", conv),
    ("conv2d.padding", conv),
    ("detach.default", |c| c.same("self")),
    ("div.Scalar", |c| arithmetic(c, Op::Div)),
    ("div.Tensor", |c| arithmetic(c, Op::Div)),
    ("dropout.default", |c| dropout(c, "input")),
    ("einsum.default", einsum),
    ("elu.default", elu),
    ("eq.Scalar", |c| compare(c, Tensor::eq)),
    ("exp.default", |c| c.unary(Unary::Exp)),
    ("expand.default", |c| c.on_self(Op::Expand { size: c.sizes("size")? })),
    ("expand_as.default", |c| c.emit(Op::ExpandAs, &["self", "other"])),
    ("feature_dropout.default", |c| dropout(c, "input")),
    ("fill.Tensor", fill),
    ("flatten.using_ints", |c| {
        c.on_self(Op::Flatten { start: c.integer("start_dim", Some(0))?, end: c.integer("end_dim", Some(-1))? })
    }),
    ("gelu.default", |c| c.unary(Unary::Gelu { tanh: c.text("approximate", "none")? == "tanh" })),
    ("group_norm.default", group_norm),
    ("hardsigmoid.default", |c| c.unary(Unary::Hardsigmoid)),
    ("hardswish.default", |c| c.unary(Unary::Hardswish)),
    ("hardtanh.default", |c| {
        c.unary(Unary::Clamp { min: Some(c.float("min_val", Some(-1.0))?), max: Some(c.float("max_val", Some(1.0))?) })
    }),
    ("index.Tensor", index),
    ("layer_norm.default", layer_norm),
    ("leaky_relu.default", |c| c.unary(Unary::LeakyRelu { slope: c.float("negative_slope", Some(0.01))? })),
    ("lift_fresh_copy.default", copy),
    ("linalg_vector_norm.default", vector_norm),
    ("linear.default", linear),
    ("log_softmax.int", |c| c.on_self(Op::LogSoftmax { dim: c.integer("dim", None)? })),
    ("masked_fill.Scalar", masked_fill),
    ("matmul.default", |c| c.emit(Op::MatMul, &["self", "other"])),
    ("max_pool2d.default", |c| {
        c.on_self(Op::MaxPool2d { windows: windows(c)?, dilation: c.pair("dilation", Some([1; 2]))? })
    }),
    ("mean.dim", |c| c.on_self(Op::Mean { dims: c.integers("dim")?, keep: c.flag("keepdim", false)? })),
    ("mish.default", |c| c.unary(Unary::Mish)),
    ("mul.Scalar", |c| arithmetic(c, Op::Mul)),
    ("mul.Tensor", |c| arithmetic(c, Op::Mul)),
    ("ne.Scalar", |c| compare(c, Tensor::ne)),
    ("neg.default", |c| c.unary(Unary::Neg)),
    ("new_zeros.default", new_zeros),
    ("pad.default", pad),
    ("permute.default", |c| c.on_self(Op::Permute { dims: c.integers("dims")? })),
    ("pow.Tensor_Scalar", |c| c.unary(Unary::Power(c.float("exponent", None)?))),
    ("relu.default", |c| c.on_self(Op::Relu)),
    ("relu6.default", |c| c.unary(Unary::Clamp { min: Some(0.0), max: Some(6.0) })),
    ("reshape.default", |c| c.on_self(Op::Reshape { size: c.sizes("shape")? })),
    ("roll.default", |c| c.on_self(Op::Roll { shifts: c.integers("shifts")?, dims: c.integers("dims")? })),
    ("rsqrt.default", |c| c.unary(Unary::Rsqrt)),
    ("rsub.Scalar", reverse_subtract),
    ("scaled_dot_product_attention.default", attention),
    ("select.int", |c| c.on_self(Op::Select { dim: c.integer("dim", None)?, index: c.integer("index", None)? })),
    ("sigmoid.default", |c| c.unary(Unary::Sigmoid)),
    ("silu.default", |c| c.unary(Unary::Silu)),
    ("slice.Tensor", slice),
    ("softmax.int", |c| c.on_self(Op::Softmax { dim: c.integer("dim", None)? })),
    ("split.Tensor", pieces),
    ("split_with_sizes.default", pieces),
    ("sqrt.default", |c| c.unary(Unary::Sqrt)),
    ("squeeze.dim", |c| c.on_self(Op::Squeeze { dim: c.integer("dim", None)? })),
    ("sub.Scalar", |c| arithmetic(c, Op::Sub)),
    ("sub.Tensor", |c| arithmetic(c, Op::Sub)),
    ("sum.dim_IntList", |c| c.on_self(Op::Sum { dims: c.integers("dim")?, keep: c.flag("keepdim", false)? })),
    ("swapaxes.default", |c| transpose(c, "axis0", "axis1")),
    ("tanh.default", |c| c.unary(Unary::Tanh)),
    ("to.dtype", to_kind),
    ("transpose.int", |c| transpose(c, "dim0", "dim1")),
    ("unbind.int", unbind),
    ("unflatten.int", |c| c.on_self(Op::Unflatten { dim: c.integer("dim", None)?, size: c.sizes("sizes")? })),
    ("unsqueeze.default", |c| c.on_self(Op::Unsqueeze { dim: c.integer("dim", None)? })),
    ("view.default", |c| c.on_self(Op::Reshape { size: c.sizes("size")? })),
    ("zero.default", zero),
];

/// The translation of a target, and whether the target writes over its first argument.
pub(super) fn find(target: &str) -> Option<(Translation, bool)> {
    let name = target.strip_prefix("torch.ops.aten.")?;
    let entry = |name: &str| OPERATORS.iter().find(|(it, _)| *it == name).map(|(_, translation)| *translation);
    let (base, overload) = name.split_once('.')?;
    match (entry(name), base.strip_suffix('_')) {
        (Some(translation), _) => Some((translation, false)),
        (None, Some(base)) => Some((entry(&format!("{base}.{overload}"))?, true)),
        (None, None) => None,
    }
}

/// That every operator of a graph has a translation.
pub(super) fn all_known(export: &ExportedProgram) -> Result<(), ImportError> {
    let mut unknown: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let computing = export.nodes.iter().filter(|node| !node.outputs.is_empty());
    for node in computing.filter(|node| find(&node.target).is_none()) {
        let module = node.modules.last().map_or("", |module| module.path.as_str());
        unknown.entry(&node.target).or_insert((0, module)).0 += 1;
    }
    let mut sorted: Vec<_> = unknown.into_iter().collect();
    sorted.sort_by_key(|(_, (nodes, _))| std::cmp::Reverse(*nodes));
    let Some((target, (nodes, module))) = sorted.first() else { return Ok(()) };
    let name = |target: &str| shown(target.strip_prefix("torch.ops.").unwrap_or(target));
    let others: Vec<String> = sorted.iter().skip(1).take(8).map(|(target, _)| name(target)).collect();
    let others = if others.is_empty() { String::new() } else { format!("; so are {}", others.join(", ")) };
    Err(ImportError(format!(
        "the operator {} is not supported (module `{}`; used by {nodes} node(s){others}); write the model without it, or ask for it \
         with this line",
        name(target),
        shown(module)
    )))
}

type Done = Result<(), ImportError>;

/// `self ∘ alpha · other`, where `other` may be a number.
fn arithmetic(c: &mut Call<'_, '_>, op: Op) -> Done {
    if c.argument("rounding_mode").is_some() {
        return Err(c.error("rounds its result, which is not supported"));
    }
    let alpha = c.float("alpha", Some(1.0))?;
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
        other = c.t.emit(Op::Unary(Unary::Scale(alpha)), &[other], None)?;
    }
    let operands = [c.operand("self")?, other];
    c.emit_on(op, &operands)
}

fn reverse_subtract(c: &mut Call<'_, '_>) -> Done {
    let (other, alpha) = (c.float("other", None)?, c.float("alpha", Some(1.0))?);
    let scaled = c.t.emit(Op::Unary(Unary::Scale(-alpha)), &[c.operand("self")?], None)?;
    c.emit_on(Op::Unary(Unary::Shift(other)), &[scaled])
}

fn clamp(c: &mut Call<'_, '_>, min: &str, max: &str) -> Done {
    let bound = |name: &str| c.argument(name).map(|_| c.float(name, None)).transpose();
    let (min, max) = (bound(min)?, bound(max)?);
    c.unary(Unary::Clamp { min, max })
}

fn elu(c: &mut Call<'_, '_>) -> Done {
    let scales = [c.float("scale", Some(1.0))?, c.float("input_scale", Some(1.0))?];
    if scales.iter().any(|scale| (scale - 1.0).abs() > 0.0) {
        return Err(c.error("has scales, which is not supported"));
    }
    let alpha = c.float("alpha", Some(1.0))?;
    c.unary(Unary::Elu { alpha })
}

fn conv(c: &mut Call<'_, '_>) -> Done {
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

fn linear(c: &mut Call<'_, '_>) -> Done {
    let (weight, bias) = (c.weight("weight")?, c.optional_weight("bias")?);
    c.emit(Op::Linear { weight, bias }, &["input"])
}

fn batch_norm(c: &mut Call<'_, '_>) -> Done {
    if c.flag("training", false)? {
        return Err(c.error("was exported in training mode; call model.eval() before the export"));
    }
    let size = c.constant("running_mean")?.size();
    let (mean, variance) = (c.weight("running_mean")?, c.weight("running_var")?);
    let weight = c.optional_weight("weight")?;
    let bias = c.optional_weight("bias")?;
    let weight = weight.unwrap_or_else(|| c.t.filled(1.0, &size));
    let bias = bias.unwrap_or_else(|| c.t.filled(0.0, &size));
    let eps = c.float("eps", None)?;
    c.emit(Op::BatchNorm { weight, bias, mean, variance, eps }, &["input"])
}

fn layer_norm(c: &mut Call<'_, '_>) -> Done {
    let (weight, bias) = (c.optional_weight("weight")?, c.optional_weight("bias")?);
    let (shape, eps) = (c.integers("normalized_shape")?, c.float("eps", Some(1e-5))?);
    c.emit(Op::LayerNorm { shape, weight, bias, eps }, &["input"])
}

fn group_norm(c: &mut Call<'_, '_>) -> Done {
    let (weight, bias) = (c.optional_weight("weight")?, c.optional_weight("bias")?);
    let (groups, eps) = (c.integer("num_groups", None)?, c.float("eps", Some(1e-5))?);
    c.emit(Op::GroupNorm { groups, weight, bias, eps }, &["input"])
}

fn dropout(c: &mut Call<'_, '_>, name: &str) -> Done {
    if c.flag("train", false)? {
        return Err(c.error("was exported in training mode; call model.eval() before the export"));
    }
    // The operator that writes over its argument calls it `self`.
    c.same(if c.argument(name).is_some() { name } else { "self" })
}

fn attention(c: &mut Call<'_, '_>) -> Done {
    if c.float("dropout_p", Some(0.0))? > 0.0 || c.flag("enable_gqa", false)? {
        return Err(c.error("drops scores or shares heads, which is not supported"));
    }
    let causal = c.flag("is_causal", false)?;
    let scale = c.argument("scale").map(|_| c.float("scale", None)).transpose()?;
    let mask = c.argument("attn_mask").map(|_| "attn_mask");
    let operands: Vec<&str> = ["query", "key", "value"].into_iter().chain(mask).collect();
    c.emit(Op::Attention { causal, scale }, &operands)
}

fn einsum(c: &mut Call<'_, '_>) -> Done {
    let equation: String = c.text("equation", "")?.chars().filter(|letter| *letter != ' ').collect();
    c.emit_on(Op::Einsum { equation }, &c.list("tensors")?)
}

fn windows(c: &Call<'_, '_>) -> Result<Windows, ImportError> {
    let kernel = c.pair("kernel_size", None)?;
    let stride = c.pair("stride", Some(kernel))?;
    Ok(Windows { kernel, stride, padding: c.pair("padding", Some([0; 2]))?, ceil: c.flag("ceil_mode", false)? })
}

fn avg_pool(c: &mut Call<'_, '_>) -> Done {
    if c.argument("divisor_override").is_some() {
        return Err(c.error("has a divisor of its own, which is not supported"));
    }
    let (windows, count_padding) = (windows(c)?, c.flag("count_include_pad", true)?);
    c.on_self(Op::AvgPool2d { windows, count_padding })
}

fn vector_norm(c: &mut Call<'_, '_>) -> Done {
    let (order, dims, keep) = (c.float("ord", Some(2.0))?, c.integers("dim")?, c.flag("keepdim", false)?);
    c.on_self(Op::VectorNorm { order, dims, keep })
}

fn transpose(c: &mut Call<'_, '_>, first: &str, second: &str) -> Done {
    let (first, second) = (c.integer(first, None)?, c.integer(second, None)?);
    c.on_self(Op::Transpose { first, second })
}

fn slice(c: &mut Call<'_, '_>) -> Done {
    let (dim, start) = (c.integer("dim", Some(0))?, c.integer("start", Some(0))?);
    let (end, step) = (c.integer("end", Some(i64::MAX))?, c.integer("step", Some(1))?);
    c.on_self(Op::Slice { dim, start, end, step })
}

fn unbind(c: &mut Call<'_, '_>) -> Done {
    let dim = c.integer("dim", Some(0))?;
    let whole = c.operand("self")?;
    (0..c.node.outputs.len())
        .try_for_each(|idx| c.emit_output(idx, Op::Select { dim, index: idx as i64 }, &[whole.share()]))
}

/// `chunk` and `split`: the sizes of the pieces are those that the graph says they have.
fn pieces(c: &mut Call<'_, '_>) -> Done {
    let dim = c.integer("dim", Some(0))?;
    let whole = c.operand("self")?;
    let mut start = 0;
    for (idx, name) in c.node.outputs.iter().enumerate() {
        let shape = c.t.export.shapes.get(name).map(Vec::as_slice).unwrap_or_default();
        let at = if dim < 0 { dim + shape.len() as i64 } else { dim };
        let Some(Dim::Fixed(len)) = usize::try_from(at).ok().and_then(|at| shape.get(at)) else {
            return Err(c.error("makes pieces of a size that is not fixed, which is not supported"));
        };
        let end = i64::saturating_add(start, *len);
        c.emit_output(idx, Op::Slice { dim, start, end, step: 1 }, &[whole.share()])?;
        start = end;
    }
    Ok(())
}

fn pad(c: &mut Call<'_, '_>) -> Done {
    if c.text("mode", "constant")? != "constant" {
        return Err(c.error("pads with anything but a constant, which is not supported"));
    }
    let (pad, value) = (c.integers("pad")?, c.float("value", Some(0.0))?);
    c.on_self(Op::Pad { pad, value })
}

/// Weights and values are f32 here, whatever precision the model was exported in.
fn to_kind(c: &mut Call<'_, '_>) -> Done {
    match c.operand("self")? {
        Binding::Value(_) => c.same("self"),
        Binding::Constant(_) => Err(c.error("changes the type of a constant, which is not supported")),
    }
}

fn copy(c: &mut Call<'_, '_>) -> Done {
    if let Binding::Constant(it) = c.operand("self")? {
        return c.computed(Ok(it.tensor.copy()));
    }
    c.on_self(Op::Identity)?;
    c.t.set_apart(&c.node.outputs[0]);
    Ok(())
}

fn compare(c: &mut Call<'_, '_>, test: fn(&Tensor, f64) -> Tensor) -> Done {
    c.computed(Ok(test(&c.constant("self")?, c.float("other", None)?)))
}

fn new_zeros(c: &mut Call<'_, '_>) -> Done {
    let size = c.sizes("size")?;
    let fixed = |size: &Size| match size {
        Size::Fixed(size) if (0..=1 << 20).contains(size) => Some(*size),
        _ => None,
    };
    let size: Option<Vec<i64>> = size.iter().map(fixed).collect();
    let small = size.filter(|size| {
        size.iter().try_fold(1_i64, |all, size| all.checked_mul(*size)).is_some_and(|all| all <= 1 << 24)
    });
    let size = small.ok_or_else(|| c.error("makes a constant of a size that is too large or not fixed"))?;
    c.computed(Tensor::f_zeros(size, (tch::Kind::Float, tch::Device::Cpu)))
}

fn fill(c: &mut Call<'_, '_>) -> Done {
    // A slice shares its memory with the whole, which is what the operator is used for.
    let mut tensor = c.constant("self")?;
    let value = c.constant("value")?;
    c.computed(tch::no_grad(|| tensor.f_fill_tensor_(&value)))
}

fn zero(c: &mut Call<'_, '_>) -> Done {
    let mut tensor = c.constant("self")?;
    c.computed(tch::no_grad(|| tensor.f_zero_()))
}

fn masked_fill(c: &mut Call<'_, '_>) -> Done {
    let value = c.float("value", None)?;
    c.computed(c.constant("self")?.f_masked_fill(&c.constant("mask")?, value))
}

fn index(c: &mut Call<'_, '_>) -> Done {
    let table = c.constant("self")?;
    let [Binding::Constant(rows)] = &c.list("indices")?[..] else {
        return Err(c.error("is supported only with one constant list of rows"));
    };
    let row = table.size().iter().skip(1).product::<i64>();
    if rows.tensor.numel() as i64 * row > 1 << 26 {
        return Err(c.error("makes a constant that is too large"));
    }
    c.computed(table.f_index(&[Some(&rows.tensor)]))
}
