//! The rule that `allowed.txt` comes from, held against every operator that libtorch has registered.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use super::schema::{Schema, Type, parse};
use super::{Argument, AtenCall, boxed, find};
use crate::model::size::Size;

/// Bits of an operator's tags: `at::Tag` in its order, after whether it writes to its arguments.
const MUTABLE: u32 = 1;
const CORE: u32 = 1 << 1;
const POINTWISE: u32 = 1 << 15;
/// `data_dependent_output`, `dynamic_output_shape`, `inplace_view`, `maybe_aliasing_or_mutating`, `nondeterministic_seeded`, `out_variant`.
const DYNAMIC: u32 = 1 << 4;
const UNFIT: u32 = 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14;

/// Operators that exports and TorchScript have beside the core ones, all their overloads: plain functions of PyTorch's documentation.
const MORE: &str = "argsort baddbmm broadcast_tensors bucketize cdist celu channel_shuffle column_stack conv1d conv2d conv3d conv_transpose1d \
    conv_transpose2d conv_transpose3d cosine_similarity cummax cummin cumprod diag diag_embed dot dstack glu grid_sampler group_norm hstack \
    im2col inner layer_norm linalg_vector_norm linear linspace log_softmax logcumsumexp logsumexp lp_pool2d matmul max_pool1d meshgrid mm moveaxis \
    movedim mv norm normalize outer pad pairwise_distance pixel_shuffle pixel_unshuffle prelu relu6 repeat_interleave \
    replication_pad2d reflection_pad2d rms_norm selu softmax special_erf special_expit special_logit square stack std std_mean \
    swapdims take_along_dim tensordot tile trace triu tril unfold unsafe_chunk unsafe_split upsample_bicubic2d \
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d _upsample_bicubic2d_aa _upsample_bilinear2d_aa \
    _upsample_nearest_exact2d var var_mean vstack where adaptive_avg_pool1d adaptive_max_pool2d avg_pool1d max_pool2d \
    max_pool2d_with_indices index_add index_copy index_fill masked_fill isclose deg2rad rad2deg arange eye full zeros \
    ones zeros_like ones_like full_like scalar_tensor new_zeros new_ones new_full";

/// What no file may call, though the rule would have it.
///
/// Uninitialized memory, strides and devices of the file's own choice; what trusts a size that it is told; results whose size depends on numbers;
/// complex numbers, which no value has; views of single images of a batch, which the typed operators refuse; and functions that take long for
/// some numbers, and that no classifier has.
const NEVER: &str = "empty empty_strided empty_like new_empty new_empty_strided as_strided as_strided_scatter as_strided_copy copy fill resize clone \
    _to_copy alias view _unsafe_view expand permute squeeze unsqueeze select slice split_with_sizes embedding_bag _embedding_bag max_unpool2d \
    max_unpool3d native_group_norm native_layer_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _softmax \
    _log_softmax _adaptive_avg_pool2d _adaptive_avg_pool3d _pdist_forward _cdist_forward _fft_c2r _fft_r2c polar angle frexp mvlgamma polygamma \
    igamma igammac lgamma digamma i0 gcd lcm ldexp nextafter native_dropout masked_scatter";

fn names(list: &str) -> BTreeSet<&str> {
    list.split_whitespace().collect()
}

/// Whether the rule allows an operator, by its schema and bits.
fn is_allowed(schema: &Schema, bits: u32) -> bool {
    let is_random = schema.arguments.iter().any(|it| matches!(it.name, "generator" | "train" | "training"));
    let is_named = names(MORE).contains(schema.name);
    let is_special = schema.name.starts_with("special_") || schema.name.starts_with("__");
    // Of `index` whole numbers are let through, and the size of its result depends on masks alone.
    let unfit = if schema.name == "index" { UNFIT & !DYNAMIC } else { UNFIT };
    bits & (MUTABLE | unfit) == 0
        && (is_named || bits & (CORE | POINTWISE) != 0 && !is_special)
        && !is_random
        && !["backward", "dropout"].iter().any(|part| schema.name.contains(part))
        && !names(NEVER).contains(schema.name)
        // It warns on the terminal.
        && !(schema.name == "meshgrid" && schema.overload.is_empty())
        // Names of dimensions, types that the processor cannot make, and what asks where a condition holds or how often to repeat.
        && !["dimname", "dtype", "self_Tensor"].contains(&schema.overload)
        && !schema.overload.contains("Dimname")
        && !(schema.name == "where" && schema.overload.is_empty())
}

/// The lines that the rule makes of what libtorch has registered.
fn ruled() -> Vec<&'static str> {
    let all = boxed::registered().into_iter().map(|(text, bits)| (&*Box::leak(text.into_boxed_str()), bits));
    all.filter(|(text, bits)| parse(text).is_some_and(|schema| is_allowed(&schema, *bits))).map(|it| it.0).collect()
}

fn listed() -> Vec<&'static str> {
    include_str!("allowed.txt").lines().filter(|line| line.starts_with("aten::")).collect()
}

/// Writes the list anew, for a person to review the difference: `cargo test --lib aten::allowed -- --ignored`.
#[test]
#[ignore = "it writes to the source"]
fn write_the_list() {
    let head = "# Operators of libtorch that a model file may call where advmod has none of its own, by their schemas. The rule that they come from is in\n\
                # allowed.rs; a test holds every registered operator against it.\n";
    std::fs::write(
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/model/aten/allowed.txt"),
        head.to_owned() + &ruled().join("\n") + "\n",
    )
    .unwrap();
}

#[test]
fn the_list_is_what_the_rule_gives_of_all_registered_operators() {
    assert!(boxed::registered().len() > 2000, "libtorch has registered its operators");
    assert_eq!(listed(), ruled());
    assert!(listed().len() > 200);
}

#[test]
fn nothing_outside_the_list_is_called_and_nothing_in_it_writes() {
    let listed = listed();
    for (text, bits) in boxed::registered() {
        let (head, _) = text.split_once('(').unwrap();
        let (name, overload) = head.split_once('.').unwrap_or((head, "default"));
        let Some(found) = find(&format!("{}.{overload}", name.trim_start_matches("aten::"))) else { continue };
        assert!(name.starts_with("aten::") == (found.text == text), "{text}");
        if found.text == text {
            assert!(
                listed.contains(&&*text) && bits & (MUTABLE | UNFIT & !DYNAMIC) == 0 && !text.contains('!'),
                "{text}"
            );
        }
    }
    for name in [
        "from_file",
        "save",
        "_print",
        "set_",
        "resize_",
        "copy_",
        "item",
        "_local_scalar_dense",
        "record_stream",
        "rand",
        "bernoulli",
    ] {
        assert!(super::called(name).is_empty(), "{name}");
    }
}

/// What can be called with a few small tensors leaves them as they are, whatever its schema says, and so does libtorch's generator.
#[test]
#[expect(clippy::disallowed_methods, reason = "whether the generator is left alone is what is asked")]
fn no_operator_of_the_list_changes_its_arguments_or_draws() {
    let tensors = || -> Vec<Tensor> {
        let numbers = (Tensor::arange(16, (Kind::Float, Device::Cpu)) * 0.37).frac();
        vec![
            numbers.view([1, 4, 2, 2]),
            numbers.view([4, 4]),
            numbers.narrow(0, 0, 4),
            (numbers * 3.0).to_kind(Kind::Int64),
        ]
    };
    let mut called = 0;
    for line in listed() {
        let schema = find_text(line);
        for first in 0..4 {
            let (given, before) = (tensors(), tensors());
            let mut place = first;
            let argument = |formal: &super::Formal| match formal.kind {
                _ if formal.has_default => Argument::Default,
                Type::Tensor => {
                    place += 1;
                    Argument::Tensor((place - 1) % 4)
                }
                Type::Tensors => Argument::Tensors(vec![Some(first), Some(first)]),
                Type::Integer => Argument::Integer(Size::Fixed(1)),
                Type::Integers => Argument::Integers(vec![Size::Fixed(1), Size::Fixed(1)]),
                Type::Scalar | Type::Number => Argument::Number(0.5),
                Type::Numbers => Argument::Numbers(vec![1.0, 1.0]),
                Type::Flag => Argument::Flag(false),
                Type::Text => Argument::Text("none".to_owned()),
                Type::Kind | Type::Other => Argument::None,
            };
            let call = AtenCall { schema, arguments: schema.arguments.iter().map(argument).collect() };
            tch::manual_seed(1);
            called += usize::from(call.run(&given.iter().collect::<Vec<_>>(), 1).is_ok());
            let drawn = Tensor::rand([1], (Kind::Float, Device::Cpu));
            assert_eq!(given, before, "{line}");
            tch::manual_seed(1);
            assert_eq!(drawn, Tensor::rand([1], (Kind::Float, Device::Cpu)), "{line}");
        }
    }
    assert!(called > 300, "{called}");
}

fn find_text(line: &str) -> &'static Schema {
    let (head, _) = line.split_once('(').unwrap();
    let head = head.trim_start_matches("aten::");
    let schema = find(&if head.contains('.') { head.to_owned() } else { format!("{head}.default") }).unwrap();
    assert_eq!(schema.text, line);
    schema
}
