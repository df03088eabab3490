//! The operators that are understood: one line each in [`OPERATORS`].

use tch::Tensor;

use super::call::{Call, Made};
use super::constants::{compare, contiguous, copy, copy_over, fill, filled, index, masked_fill, of_both, zero};
use super::decomposed::{product, reshape_as, squeeze};
use super::translations::{
    along, arithmetic, attention, avg_pool, batch_norm, clamp, conv, converted, dropout, einsum, elu, fused_attention,
    group_norm, instance_norm, layer_norm, linear, max_pool, pad, pieces, power, reduce, reverse_subtract, slice,
    to_kind, transpose, unbind, vector_norm,
};
use crate::model::program::{Comparison, Op, Unary};

type Translation = fn(&mut Call<'_>) -> Made;

/// An operator: ATen's name with its overload, the names of its arguments (those after `*` are only given by name), and its translation.
///
/// An entry also stands for the operator that writes over its first argument (`relu_`).
pub(super) struct Operator(&'static str, &'static str, Translation);

const OPERATORS: &[Operator] = &[
    Operator("_adaptive_avg_pool2d.default", "self output_size", |c| {
        c.on_self(Op::AdaptiveAvgPool2d { output: c.pair("output_size", None)? })
    }),
    Operator("_log_softmax.default", "self dim half_to_float", |c| along(c, |dim| Op::LogSoftmax { dim })),
    Operator(
        "_native_batch_norm_legit_no_training.default",
        "input weight bias running_mean running_var momentum eps",
        batch_norm,
    ),
    Operator("_softmax.default", "self dim half_to_float", |c| along(c, |dim| Op::Softmax { dim })),
    Operator("_to_copy.default", "self * dtype layout device pin_memory non_blocking memory_format", |c| {
        converted(c, true)
    }),
    Operator("_unsafe_view.default", "self size", |c| c.on_self(Op::Reshape { size: c.sizes("size")? })),
    Operator(
        "_convolution.default",
        "input weight bias stride padding dilation transposed output_padding groups benchmark deterministic cudnn_enabled allow_tf32",
        conv,
    ),
    Operator(
        "_native_multi_head_attention.default",
        "query key value embed_dim num_head qkv_weight qkv_bias proj_weight proj_bias mask need_weights average_attn_weights mask_type",
        fused_attention,
    ),
    Operator("abs.default", "self", |c| c.unary(Unary::Abs)),
    Operator("adaptive_avg_pool2d.default", "self output_size", |c| {
        c.on_self(Op::AdaptiveAvgPool2d { output: c.pair("output_size", None)? })
    }),
    Operator("add.Scalar", "self other alpha", |c| arithmetic(c, Op::Add)),
    Operator("add.Tensor", "self other * alpha", |c| arithmetic(c, Op::Add)),
    Operator("addmm.default", "self mat1 mat2 * beta alpha", product),
    Operator("alias.default", "self", |c| c.same("self")),
    Operator(
        "avg_pool2d.default",
        "self kernel_size stride padding ceil_mode count_include_pad divisor_override",
        avg_pool,
    ),
    Operator(
        "batch_norm.default",
        "input weight bias running_mean running_var training momentum eps cudnn_enabled",
        batch_norm,
    ),
    Operator("bmm.default", "self mat2", |c| c.emit(Op::MatMul, &["self", "mat2"])),
    Operator("cat.default", "tensors dim", |c| {
        c.emit_on(Op::Cat { dim: c.integer("dim", Some(0))? }, &c.list("tensors")?)
    }),
    Operator("ceil.default", "self", |c| c.unary(Unary::Ceil)),
    Operator("chunk.default", "self chunks dim", pieces),
    Operator("clamp.default", "self min max", |c| clamp(c, "min", "max")),
    Operator("clamp_max.default", "self max", |c| clamp(c, "", "max")),
    Operator("clamp_min.default", "self min", |c| clamp(c, "min", "")),
    Operator("clone.default", "self * memory_format", copy),
    Operator("contiguous.default", "self * memory_format", contiguous),
    Operator("constant_pad_nd.default", "self pad value", pad),
    Operator("convolution.default", "input weight bias stride padding dilation transposed output_padding groups", conv),
    Operator("conv2d.default", "input weight bias stride padding dilation groups", conv),
    Operator("conv2d.padding", "input weight bias stride padding dilation groups", conv),
    Operator("copy.default", "self src non_blocking", copy_over),
    Operator("detach.default", "self", |c| c.on_self(Op::Detach)),
    Operator("div.Scalar", "self other", |c| arithmetic(c, Op::Div)),
    Operator("div.Tensor", "self other * rounding_mode", |c| arithmetic(c, Op::Div)),
    Operator("dropout.default", "input p train", dropout),
    Operator("einsum.default", "equation tensors * path", einsum),
    Operator("elu.default", "self alpha scale input_scale", elu),
    Operator("eq.Scalar", "self other", |c| compare(c, Comparison::Equal)),
    Operator("eq.Tensor", "self other", |c| compare(c, Comparison::Equal)),
    Operator("exp.default", "self", |c| c.unary(Unary::Exp)),
    Operator("expand.default", "self size * implicit", |c| c.on_self(Op::Expand { size: c.sizes("size")? })),
    Operator("expand_as.default", "self other", |c| c.emit(Op::ExpandAs, &["self", "other"])),
    Operator("feature_dropout.default", "input p train", dropout),
    Operator("fill.Scalar", "self value", fill),
    Operator("fill.Tensor", "self value", fill),
    Operator("flatten.using_ints", "self start_dim end_dim", |c| {
        c.on_self(Op::Flatten { start: c.integer("start_dim", Some(0))?, end: c.integer("end_dim", Some(-1))? })
    }),
    Operator("floor.default", "self", |c| c.unary(Unary::Floor)),
    Operator("floor_divide.default", "self other", |c| of_both(c, Tensor::f_floor_divide)),
    Operator("full.default", "size fill_value * dtype layout device pin_memory", |c| filled(c, None)),
    Operator("full_like.default", "self fill_value * dtype layout device pin_memory memory_format", |c| {
        filled(c, None)
    }),
    Operator("ge.Scalar", "self other", |c| compare(c, Comparison::AtLeast)),
    Operator("ge.Tensor", "self other", |c| compare(c, Comparison::AtLeast)),
    Operator("gelu.default", "self * approximate", |c| {
        c.unary(Unary::Gelu { tanh: c.text("approximate", "none")? == "tanh" })
    }),
    Operator("group_norm.default", "input num_groups weight bias eps cudnn_enabled", group_norm),
    Operator("gt.Scalar", "self other", |c| compare(c, Comparison::Greater)),
    Operator("gt.Tensor", "self other", |c| compare(c, Comparison::Greater)),
    Operator("hardsigmoid.default", "self", |c| c.unary(Unary::Hardsigmoid)),
    Operator("hardswish.default", "self", |c| c.unary(Unary::Hardswish)),
    Operator("hardtanh.default", "self min_val max_val", |c| {
        c.unary(Unary::Clamp { min: Some(c.float("min_val", Some(-1.0))?), max: Some(c.float("max_val", Some(1.0))?) })
    }),
    Operator("index.Tensor", "self indices", index),
    Operator(
        "instance_norm.default",
        "input weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled",
        instance_norm,
    ),
    Operator("layer_norm.default", "input normalized_shape weight bias eps cudnn_enable", layer_norm),
    Operator("le.Scalar", "self other", |c| compare(c, Comparison::AtMost)),
    Operator("le.Tensor", "self other", |c| compare(c, Comparison::AtMost)),
    Operator("leaky_relu.default", "self negative_slope", |c| {
        c.unary(Unary::LeakyRelu { slope: c.float("negative_slope", Some(0.01))? })
    }),
    Operator("lift_fresh_copy.default", "self", copy),
    Operator("linalg_vector_norm.default", "self ord dim keepdim * dtype", vector_norm),
    Operator("linear.default", "input weight bias", linear),
    Operator("log_softmax.int", "self dim dtype", |c| along(c, |dim| Op::LogSoftmax { dim })),
    Operator("lt.Scalar", "self other", |c| compare(c, Comparison::Less)),
    Operator("lt.Tensor", "self other", |c| compare(c, Comparison::Less)),
    Operator("masked_fill.Scalar", "self mask value", masked_fill),
    Operator("matmul.default", "self other", |c| c.emit(Op::MatMul, &["self", "other"])),
    Operator("max_pool2d.default", "self kernel_size stride padding dilation ceil_mode", max_pool),
    Operator("max_pool2d_with_indices.default", "self kernel_size stride padding dilation ceil_mode", max_pool),
    Operator("mean.default", "self * dtype", |c| reduce(c, |dims, keep| Op::Mean { dims, keep })),
    Operator("mean.dim", "self dim keepdim * dtype", |c| reduce(c, |dims, keep| Op::Mean { dims, keep })),
    Operator("mm.default", "self mat2", product),
    Operator("mish.default", "self", |c| c.unary(Unary::Mish)),
    Operator("mul.Scalar", "self other", |c| arithmetic(c, Op::Mul)),
    Operator("mul.Tensor", "self other", |c| arithmetic(c, Op::Mul)),
    Operator("native_group_norm.default", "input weight bias N C HxW group eps", group_norm),
    Operator("native_layer_norm.default", "input normalized_shape weight bias eps", layer_norm),
    Operator("ne.Scalar", "self other", |c| compare(c, Comparison::NotEqual)),
    Operator("ne.Tensor", "self other", |c| compare(c, Comparison::NotEqual)),
    Operator("neg.default", "self", |c| c.unary(Unary::Neg)),
    Operator("new_full.default", "self size fill_value * dtype layout device pin_memory", |c| filled(c, None)),
    Operator("new_ones.default", "self size * dtype layout device pin_memory", |c| filled(c, Some(1))),
    Operator("new_zeros.default", "self size * dtype layout device pin_memory", |c| filled(c, Some(0))),
    Operator("ones.default", "size * dtype layout device pin_memory", |c| filled(c, Some(1))),
    Operator("ones_like.default", "self * dtype layout device pin_memory memory_format", |c| filled(c, Some(1))),
    Operator("pad.default", "self pad mode value", pad),
    Operator("permute.default", "self dims", |c| c.on_self(Op::Permute { dims: c.integers("dims")? })),
    Operator("pow.Tensor_Scalar", "self exponent", power),
    Operator("reciprocal.default", "self", |c| c.unary(Unary::Reciprocal)),
    Operator("relu.default", "self", |c| c.on_self(Op::Relu)),
    Operator("relu6.default", "self", |c| c.unary(Unary::Clamp { min: Some(0.0), max: Some(6.0) })),
    Operator("remainder.Scalar", "self other", |c| of_both(c, Tensor::f_remainder_tensor)),
    Operator("reshape.default", "self shape", |c| c.on_self(Op::Reshape { size: c.sizes("shape")? })),
    Operator("reshape_as.default", "self other", reshape_as),
    Operator("roll.default", "self shifts dims", |c| {
        c.on_self(Op::Roll { shifts: c.integers("shifts")?, dims: c.integers("dims")? })
    }),
    Operator("round.default", "self", |c| c.unary(Unary::Round)),
    Operator("rsqrt.default", "self", |c| c.unary(Unary::Rsqrt)),
    Operator("rsub.Scalar", "self other alpha", reverse_subtract),
    Operator(
        "scaled_dot_product_attention.default",
        "query key value attn_mask dropout_p is_causal * scale enable_gqa",
        attention,
    ),
    Operator("select.int", "self dim index", |c| {
        c.on_self(Op::Select { dim: c.integer("dim", None)?, index: c.integer("index", None)? })
    }),
    Operator("sigmoid.default", "self", |c| c.unary(Unary::Sigmoid)),
    Operator("sign.default", "self", |c| c.unary(Unary::Sign)),
    Operator("silu.default", "self", |c| c.unary(Unary::Silu)),
    Operator("slice.Tensor", "self dim start end step", slice),
    Operator("softmax.int", "self dim dtype", |c| along(c, |dim| Op::Softmax { dim })),
    Operator("split.Tensor", "self split_size dim", pieces),
    Operator("split_with_sizes.default", "self split_sizes dim", pieces),
    Operator("sqrt.default", "self", |c| c.unary(Unary::Sqrt)),
    Operator("squeeze.dim", "self dim", |c| c.on_self(Op::Squeeze { dim: c.integer("dim", None)? })),
    Operator("squeeze.dims", "self dim", squeeze),
    Operator("sub.Scalar", "self other alpha", |c| arithmetic(c, Op::Sub)),
    Operator("sub.Tensor", "self other * alpha", |c| arithmetic(c, Op::Sub)),
    Operator("sum.dim_IntList", "self dim keepdim * dtype", |c| reduce(c, |dims, keep| Op::Sum { dims, keep })),
    Operator("swapaxes.default", "self axis0 axis1", |c| transpose(c, "axis0", "axis1")),
    Operator("t.default", "self", |c| c.on_self(Op::Transpose { first: 0, second: 1 })),
    Operator("tanh.default", "self", |c| c.unary(Unary::Tanh)),
    Operator("to.device", "self device dtype non_blocking copy memory_format", to_kind),
    Operator("to.dtype", "self dtype non_blocking copy memory_format", to_kind),
    Operator("to.dtype_layout", "self * dtype layout device pin_memory non_blocking copy memory_format", to_kind),
    Operator("to.other", "self other non_blocking copy memory_format", to_kind),
    Operator("transpose.int", "self dim0 dim1", |c| transpose(c, "dim0", "dim1")),
    Operator("trunc.default", "self", |c| c.unary(Unary::Trunc)),
    Operator("type_as.default", "self other", to_kind),
    Operator("unbind.int", "self dim", unbind),
    Operator("unflatten.int", "self dim sizes", |c| {
        c.on_self(Op::Unflatten { dim: c.integer("dim", None)?, size: c.sizes("sizes")? })
    }),
    Operator("unsqueeze.default", "self dim", |c| c.on_self(Op::Unsqueeze { dim: c.integer("dim", None)? })),
    Operator("view.default", "self size", |c| c.on_self(Op::Reshape { size: c.sizes("size")? })),
    Operator("view_as.default", "self other", reshape_as),
    Operator("zero.default", "self", zero),
    Operator("zeros.default", "size * dtype layout device pin_memory", |c| filled(c, Some(0))),
    Operator("zeros_like.default", "self * dtype layout device pin_memory memory_format", |c| filled(c, Some(0))),
];

/// The entry of an operator with its overload, and whether the operator writes over its first argument.
pub(super) fn find(name: &str) -> Option<(&'static Operator, bool)> {
    let entry = |name: &str| OPERATORS.iter().find(|operator| operator.0 == name);
    let (base, overload) = name.split_once('.')?;
    match (entry(name), base.strip_suffix('_')) {
        (Some(operator), _) => Some((operator, false)),
        (None, Some(base)) => Some((entry(&format!("{base}.{overload}"))?, true)),
        (None, None) => None,
    }
}

/// The first overload of an operator that takes so many arguments by their place and these by their name.
pub(super) fn overload(name: &str, by_place: usize, by_name: &[&str]) -> Option<(&'static Operator, bool)> {
    let fits = |operator: &&Operator, base: &str| {
        operator.0.split('.').next() == Some(base)
            && by_place <= operator.places().count()
            && by_name.iter().all(|name| operator.1.split(' ').any(|it| it == *name))
    };
    let entry = |base: &str| OPERATORS.iter().find(|operator| fits(operator, base));
    match (entry(name), name.strip_suffix('_')) {
        (Some(operator), _) => Some((operator, false)),
        (None, Some(base)) => Some((entry(base)?, true)),
        (None, None) => None,
    }
}

impl Operator {
    /// Names of the arguments that can be given by their place.
    pub(super) fn places(&self) -> impl Iterator<Item = &'static str> {
        self.1.split(' ').take_while(|name| *name != "*")
    }

    /// Translates a call; `in_place` where the operator writes over its first argument.
    pub(super) fn translate(&self, call: &mut Call<'_>, in_place: bool) -> Made {
        let made = self.2(call)?;
        call.all_used()?;
        match in_place {
            // What `dropout` calls its input is `self` in exports of `dropout_`.
            true => call.overwrite(self.places(), made),
            false => Ok(made),
        }
    }
}
