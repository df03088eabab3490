//! Runs one [`Op`] on libtorch.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, TchError, Tensor};

use super::op::{Comparison, Mode, Op, Size, Unary, WeightId};
use super::upload::to_device;

/// What an operator needs to know besides its inputs.
pub(crate) struct Context<'a> {
    pub weight: &'a dyn Fn(WeightId) -> &'a Tensor,
    pub mode: Mode,
    pub batch: i64,
    /// Whether the result may be written over the first input.
    pub in_place: bool,
    pub node: usize,
}

/// The operator's result.
///
/// # Errors
/// libtorch's message, when the inputs do not fit.
pub(crate) fn apply(op: &Op, inputs: &[&Tensor], context: &Context<'_>) -> Result<Tensor, TchError> {
    let Context { mode, batch, in_place, node, .. } = *context;
    let weight = |id: WeightId| (context.weight)(id);
    if let Op::Constant { weight: id } = op {
        return Ok(weight(*id).shallow_clone());
    }
    if let Op::Aten { call, output } = op {
        let made = call.run(inputs, batch)?;
        return made.into_iter().nth(*output).ok_or_else(|| TchError::Torch(format!("{call:?} makes fewer tensors")));
    }
    let Some(&first) = inputs.first() else { return Err(too_few(op)) };
    let second = || inputs.get(1).copied().ok_or_else(|| too_few(op));
    match op {
        Op::Normalize { mean, std } => first.f_sub(weight(*mean))?.f_div(weight(*std)),
        Op::Conv2d { weight: w, bias, geometry: g } => {
            in_bf16(mode, first, weight(*w), bias.map(weight), |x, w, bias| {
                x.f_conv2d(w, bias, g.stride, g.padding, g.dilation, g.groups)
            })
        }
        Op::Linear { weight: w, bias } => in_bf16(mode, first, weight(*w), bias.map(weight), Tensor::f_linear),
        Op::BatchNorm { weight: w, bias, mean, variance, eps } => {
            let (training, momentum) = match mode {
                Mode::Evaluate => (false, 0.0),
                Mode::Train { momentum, .. } => (true, momentum),
            };
            let (mean, variance) = (Some(weight(*mean)), Some(weight(*variance)));
            first.f_batch_norm(Some(weight(*w)), Some(weight(*bias)), mean, variance, training, momentum, *eps, true)
        }
        Op::LayerNorm { shape, weight: w, bias, eps } => {
            first.f_layer_norm(shape, w.map(weight), bias.map(weight), *eps, true)
        }
        Op::GroupNorm { groups, weight: w, bias, eps } => {
            first.f_group_norm(*groups, w.map(weight), bias.map(weight), *eps, true)
        }
        Op::Relu if in_place => first.shallow_clone().f_relu_(),
        Op::Relu => first.f_relu(),
        Op::Unary(function) => unary(*function, first),
        Op::Softmax { dim } => first.f_softmax(*dim, None),
        Op::LogSoftmax { dim } => first.f_log_softmax(*dim, None),
        Op::Add if in_place && covers(first, second()?) => first.shallow_clone().f_add_(second()?),
        Op::Add => first.f_add(second()?),
        Op::Sub => first.f_sub(second()?),
        Op::Mul => first.f_mul(second()?),
        Op::Div => first.f_div(second()?),
        Op::MatMul => first.f_matmul(second()?),
        Op::Attention { causal, scale } => {
            let value = inputs.get(2).copied().ok_or_else(|| too_few(op))?;
            let mask = inputs.get(3).copied();
            Tensor::f_scaled_dot_product_attention(first, second()?, value, mask, 0.0, *causal, *scale, false)
        }
        Op::Einsum { equation } => Tensor::f_einsum(equation, inputs, None::<&[i64]>),
        Op::MaxPool2d { windows: w, dilation } => first.f_max_pool2d(w.kernel, w.stride, w.padding, dilation, w.ceil),
        Op::AvgPool2d { windows: w, count_padding } => {
            first.f_avg_pool2d(w.kernel, w.stride, w.padding, w.ceil, *count_padding, None)
        }
        Op::AdaptiveAvgPool2d { output } => first.f_adaptive_avg_pool2d(output),
        Op::Mean { dims, keep } => first.f_mean_dim(dims.as_slice(), *keep, None),
        Op::Sum { dims, keep } => first.f_sum_dim_intlist(dims.as_slice(), *keep, None),
        Op::VectorNorm { order, dims, keep } => first.f_norm_scalaropt_dim(*order, dims.as_slice(), *keep),
        Op::Dropout { p } => match mode {
            Mode::Evaluate => Ok(first.shallow_clone()),
            Mode::Train { seed, .. } => dropout(first, *p, seed, node),
        },
        Op::Detach => Ok(first.detach()),
        Op::Cast { kind } => first.f_to_kind(*kind),
        Op::Straight { op } => {
            let value = tch::no_grad(|| apply(op, inputs, context))?.f_to_kind(first.kind())?;
            if !first.requires_grad() {
                return Ok(value);
            }
            // Exactly 0, also where the input is not finite, so that no number changes.
            value.f_add(&first.f_sub(&first.detach())?.f_nan_to_num(0.0, 0.0, 0.0)?)
        }
        _ => rearranged(op, first, inputs, batch),
    }
}

/// Whether the sum with a second value has the first one's shape, so that it can be written over it.
fn covers(first: &Tensor, second: &Tensor) -> bool {
    let (first, second) = (first.size(), second.size());
    second.len() <= first.len() && second.iter().rev().zip(first.iter().rev()).all(|(b, a)| a == b || *b == 1)
}

/// A product on its inputs rounded to bf16 where the mode says so; what comes out is f32 again, and so are the gradients of the weights.
fn in_bf16(
    mode: Mode,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    product: impl Fn(&Tensor, &Tensor, Option<Tensor>) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    if !matches!(mode, Mode::Train { bf16: true, .. }) {
        return product(x, weight, bias.map(Tensor::shallow_clone));
    }
    let rounded = |tensor: &Tensor| tensor.f_to_kind(Kind::BFloat16);
    let bias = bias.map(rounded).transpose()?;
    product(&rounded(x)?, &rounded(weight)?, bias)?.f_to_kind(Kind::Float)
}

/// Drops a share `p` of the values and scales the others up. Which ones depends on seed and place in the program alone: libtorch's own draws
/// come from a generator of the whole process, which a training that goes on could not put back.
fn dropout(x: &Tensor, p: f64, seed: u64, node: usize) -> Result<Tensor, TchError> {
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    stream.set_stream(node as u64);
    let kept = (1.0 / (1.0 - p)) as f32;
    let mask: Vec<f32> = (0..x.numel()).map(|_| if stream.random::<f64>() < p { 0.0 } else { kept }).collect();
    x.f_mul(&to_device(&Tensor::f_from_slice(&mask)?.f_view(&x.size()[..])?, x.device())?)
}

/// Operators that compute nothing: they move, repeat, leave out or join elements.
fn rearranged(op: &Op, first: &Tensor, inputs: &[&Tensor], batch: i64) -> Result<Tensor, TchError> {
    let sizes = |sizes: &[Size]| -> Vec<i64> { sizes.iter().map(|size| size.of(batch)).collect() };
    match op {
        Op::Flatten { start, end } => first.f_flatten(*start, *end),
        // Never `view`: the processor's layout in memory is not the one that the shape was written for.
        Op::Reshape { size } => first.f_reshape(sizes(size)),
        Op::Unflatten { dim, size } => first.f_unflatten(*dim, sizes(size)),
        Op::Permute { dims } => first.f_permute(dims),
        Op::Transpose { first: a, second: b } => first.f_transpose(*a, *b),
        Op::Slice { dim, start, end, step } => first.f_slice(*dim, *start, *end, *step),
        Op::Select { dim, index } => first.f_select(*dim, *index),
        Op::Unsqueeze { dim } => first.f_unsqueeze(*dim),
        Op::Squeeze { dim } => first.f_squeeze_dim(*dim),
        Op::Expand { size } => first.f_expand(sizes(size), false),
        Op::ExpandAs => first.f_expand_as(inputs.get(1).copied().ok_or_else(|| too_few(op))?),
        Op::Cat { dim } => Tensor::f_cat(inputs, *dim),
        Op::Roll { shifts, dims } => first.f_roll(shifts, dims),
        Op::Pad { pad, value } => first.f_pad(pad, "constant", *value),
        Op::PadShortcut { stride, before, after } => {
            let kept = first.f_slice(2, 0, None, *stride)?.f_slice(3, 0, None, *stride)?;
            kept.f_constant_pad_nd([0, 0, 0, 0, *before, *after])
        }
        _ => Ok(first.shallow_clone()),
    }
}

fn unary(function: Unary, x: &Tensor) -> Result<Tensor, TchError> {
    match function {
        Unary::Gelu { tanh } => x.f_gelu(if tanh { "tanh" } else { "none" }),
        Unary::Silu => x.f_silu(),
        Unary::Sigmoid => x.f_sigmoid(),
        Unary::Tanh => x.f_tanh(),
        Unary::Hardsigmoid => x.f_hardsigmoid(),
        Unary::Hardswish => x.f_hardswish(),
        Unary::Mish => x.f_mish(),
        Unary::LeakyRelu { slope } => {
            // The binding has no slope: max(x, 0) + slope · min(x, 0).
            x.f_clamp_min(0.0)?.f_add(&x.f_clamp_max(0.0)?.f_mul_scalar(slope)?)
        }
        Unary::Elu { alpha } => x.f_clamp_min(0.0)?.f_add(&x.f_clamp_max(0.0)?.f_expm1()?.f_mul_scalar(alpha)?),
        Unary::Clamp { min, max } => {
            let low = min.map_or_else(|| Ok(x.shallow_clone()), |min| x.f_clamp_min(min))?;
            max.map_or_else(|| Ok(low.shallow_clone()), |max| low.f_clamp_max(max))
        }
        Unary::Exp => x.f_exp(),
        Unary::Sqrt => x.f_sqrt(),
        Unary::Rsqrt => x.f_rsqrt(),
        Unary::Abs => x.f_abs(),
        Unary::Neg => x.f_neg(),
        Unary::Scale(factor) => x.f_mul_scalar(factor),
        Unary::Shift(offset) => x.f_add_scalar(offset),
        Unary::Over(divisor) => x.f_div_scalar(divisor),
        Unary::Power(exponent) => x.f_pow_tensor_scalar(exponent),
        Unary::Reciprocal => x.f_reciprocal(),
        Unary::Round => x.f_round(),
        Unary::Floor => x.f_floor(),
        Unary::Ceil => x.f_ceil(),
        Unary::Trunc => x.f_trunc(),
        Unary::Sign => x.f_sign(),
        Unary::Compare(comparison, other) => match comparison {
            Comparison::Equal => x.f_eq(other),
            Comparison::NotEqual => x.f_ne(other),
            Comparison::Less => x.f_lt(other),
            Comparison::AtMost => x.f_le(other),
            Comparison::Greater => x.f_gt(other),
            Comparison::AtLeast => x.f_ge(other),
        },
    }
}

fn too_few(op: &Op) -> TchError {
    TchError::Torch(format!("{op:?} has too few inputs"))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn dropout_keeps_the_mean_and_goes_by_seed_and_node() {
        let ones = Tensor::ones([100, 200], (Kind::Float, Device::Cpu));
        let drop = |seed, node| dropout(&ones, 0.25, seed, node).unwrap();
        let dropped = drop(1, 2);
        let zeros = i64::try_from(dropped.eq(0.0).sum(Kind::Int64)).unwrap();
        // 20,000 draws: four standard deviations are 245.
        assert!((zeros - 5000).abs() < 245, "{zeros}");
        assert!((dropped.max().double_value(&[]) - 4.0 / 3.0).abs() < 1e-6);
        assert_eq!(dropped, drop(1, 2));
        assert!(dropped != drop(1, 3) && dropped != drop(2, 2));
    }

    #[test]
    fn bf16_rounds_what_is_multiplied_and_gives_f32_and_its_gradients() {
        let weight = Tensor::from_slice(&[1.0_f32 / 3.0, 2.0]).view([1, 2]).set_requires_grad(true);
        let x = Tensor::from_slice(&[3.0_f32, 0.1]).view([1, 2]);
        let mode = |bf16| Mode::Train { momentum: 0.1, seed: 0, bf16 };
        let product = |bf16| in_bf16(mode(bf16), &x, &weight, None, Tensor::f_linear).unwrap();
        // 1/3 and 0.1 are 0.333984375 and 0.10009765625 in bf16; their products' sum 1.2021484375 rounds to 1.203125.
        assert!((product(true).double_value(&[0, 0]) - 1.203_125).abs() < 1e-12);
        assert!((product(false).double_value(&[0, 0]) - 1.2).abs() < 1e-6);
        product(true).sum(Kind::Float).backward();
        assert_eq!(weight.grad(), Tensor::from_slice(&[3.0_f32, 0.100_097_656]).view([1, 2]));
    }
}
