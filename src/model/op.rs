//! [`Op`]: what one node of a [`Program`](super::program::Program) computes.

use tch::Kind;

use super::aten::AtenCall;
pub(crate) use super::size::Size;

/// A named parameter or buffer of a [`Program`](super::program::Program).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WeightId(pub(crate) u32);

/// Of a convolution; pairs are `[rows, columns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConvGeometry {
    pub stride: [i64; 2],
    /// Zeros added on each side.
    pub padding: [i64; 2],
    /// Distance between kernel elements.
    pub dilation: [i64; 2],
    pub groups: i64,
}

impl ConvGeometry {
    /// A square geometry without dilation or groups.
    pub(crate) fn square(stride: i64, padding: i64) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups: 1 }
    }
}

/// Of a pooling; pairs are `[rows, columns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    pub kernel: [i64; 2],
    pub stride: [i64; 2],
    pub padding: [i64; 2],
    /// Whether windows that reach over the edge count.
    pub ceil: bool,
}

impl Windows {
    pub(crate) fn square(kernel: i64, stride: i64, padding: i64) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], ceil: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unary {
    Gelu {
        tanh: bool,
    },
    Silu,
    Sigmoid,
    Tanh,
    Hardsigmoid,
    Hardswish,
    Mish,
    LeakyRelu {
        slope: f64,
    },
    Elu {
        alpha: f64,
    },
    Clamp {
        min: Option<f64>,
        max: Option<f64>,
    },
    Exp,
    Sqrt,
    Rsqrt,
    Abs,
    Neg,
    /// `x · factor`.
    Scale(f64),
    /// `x + offset`.
    Shift(f64),
    /// `x / divisor`; not the same as a product with its inverse, whose last bit differs.
    Over(f64),
    /// `x` to this power.
    Power(f64),
    Reciprocal,
    /// To the nearest whole number, halves to the even one.
    Round,
    Floor,
    Ceil,
    Trunc,
    Sign,
    /// Truth values: how `x` compares with a number.
    Compare(Comparison, f64),
}

/// One operator, with its attributes and the weights it reads. Shapes are those of PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// `(x − mean) / std` per channel: pixels in `[0, 1]` to the domain that the network was trained on. Weights `[1, C, 1, 1]`.
    Normalize {
        mean: WeightId,
        std: WeightId,
    },
    /// `[N, C, H, W]` → `[N, O, H', W']`.
    Conv2d {
        /// `[O, C / groups, kh, kw]`.
        weight: WeightId,
        bias: Option<WeightId>,
        geometry: ConvGeometry,
    },
    /// `[…, I]` → `[…, O]`.
    Linear {
        /// `[O, I]`.
        weight: WeightId,
        bias: Option<WeightId>,
    },
    /// By the running mean and variance; all weights `[C]`.
    BatchNorm {
        weight: WeightId,
        bias: WeightId,
        mean: WeightId,
        variance: WeightId,
        eps: f64,
    },
    LayerNorm {
        shape: Vec<i64>,
        weight: Option<WeightId>,
        bias: Option<WeightId>,
        eps: f64,
    },
    GroupNorm {
        groups: i64,
        weight: Option<WeightId>,
        bias: Option<WeightId>,
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// Any other elementwise function of one value.
    Unary(Unary),
    Softmax {
        dim: i64,
    },
    LogSoftmax {
        dim: i64,
    },
    Add,
    Sub,
    Mul,
    Div,
    MatMul,
    /// Scaled dot-product attention of query, key, value and, as a fourth, what is added to the scores.
    Attention {
        causal: bool,
        /// Of the scores; 1/√d without.
        scale: Option<f64>,
    },
    Einsum {
        equation: String,
    },
    /// Largest value of each window; padding is −∞.
    MaxPool2d {
        windows: Windows,
        /// Distance between the elements of a window.
        dilation: [i64; 2],
    },
    AvgPool2d {
        windows: Windows,
        count_padding: bool,
    },
    /// Mean over windows such that the output has this size.
    AdaptiveAvgPool2d {
        /// `[rows, columns]` of the output.
        output: [i64; 2],
    },
    Mean {
        dims: Vec<i64>,
        keep: bool,
    },
    Sum {
        dims: Vec<i64>,
        keep: bool,
    },
    VectorNorm {
        order: f64,
        dims: Vec<i64>,
        keep: bool,
    },
    Flatten {
        start: i64,
        end: i64,
    },
    Reshape {
        size: Vec<Size>,
    },
    Unflatten {
        dim: i64,
        size: Vec<Size>,
    },
    Permute {
        /// Where each comes from.
        dims: Vec<i64>,
    },
    Transpose {
        first: i64,
        second: i64,
    },
    Slice {
        dim: i64,
        start: i64,
        /// One past the last index; cut to the size.
        end: i64,
        step: i64,
    },
    /// One index of a dimension, which goes away.
    Select {
        dim: i64,
        index: i64,
    },
    Unsqueeze {
        dim: i64,
    },
    Squeeze {
        dim: i64,
    },
    /// Dimensions of size 1 are repeated without copying.
    Expand {
        size: Vec<Size>,
    },
    /// The first value, expanded to the shape of the second.
    ExpandAs,
    Cat {
        dim: i64,
    },
    /// Elements shift along dimensions and come in again at the other end.
    Roll {
        shifts: Vec<i64>,
        dims: Vec<i64>,
    },
    /// Constant values around the last dimensions (or fewer, where negative).
    Pad {
        pad: Vec<i64>,
        value: f64,
    },
    /// Every `stride`-th row and column, with zero channels before and after: the parameter-free shortcut of CIFAR ResNets
    /// (option A of He et al., "Deep Residual Learning", CVPR 2016, §4.2).
    PadShortcut {
        stride: i64,
        /// Zero channels in front.
        before: i64,
        after: i64,
    },
    /// Nothing in evaluation; drops activations while training.
    Dropout {
        p: f64,
    },
    /// A weight as a value. Reads no other.
    Constant {
        weight: WeightId,
    },
    /// The value as it is (a copy, or another layout in memory).
    Identity,
    /// The value as it is, through which no gradient flows.
    Detach,
    /// The numbers in another data type, rounded as PyTorch rounds them.
    Cast {
        kind: Kind,
    },
    /// An operator that only libtorch knows: one of the tensors that it makes, by its place.
    Aten {
        call: AtenCall,
        output: usize,
    },
    /// Another operator's result in the type of its first input, with a gradient as if it were that input.
    Straight {
        op: Box<Self>,
    },
}

impl Op {
    /// `[N, …]` → `[N, M]`.
    pub(crate) const FLATTEN: Self = Self::Flatten { start: 1, end: -1 };

    /// Whether the operator only moves, repeats or leaves out elements, of whatever type.
    pub(crate) fn moves(&self) -> bool {
        self.is_view() && !matches!(self, Self::Einsum { .. }) || matches!(self, Self::Roll { .. } | Self::Pad { .. })
    }

    /// Whether PyTorch's result may share memory with the first input.
    pub(crate) fn is_view(&self) -> bool {
        matches!(
            self,
            Self::Flatten { .. }
                | Self::Reshape { .. }
                | Self::Unflatten { .. }
                | Self::Permute { .. }
                | Self::Transpose { .. }
                | Self::Slice { .. }
                | Self::Select { .. }
                | Self::Unsqueeze { .. }
                | Self::Squeeze { .. }
                | Self::Expand { .. }
                | Self::ExpandAs
                | Self::Identity
                | Self::Detach
                | Self::Einsum { .. }
        )
    }

    pub(crate) fn weights(&self) -> Vec<WeightId> {
        // One list of them all, in `weights_mut`.
        self.clone().weights_mut().into_iter().map(|id| *id).collect()
    }

    /// The weights that the operator reads, to point them elsewhere.
    pub(crate) fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        match self {
            Self::Conv2d { weight, bias, .. } | Self::Linear { weight, bias } => {
                std::iter::once(weight).chain(bias).collect()
            }
            Self::LayerNorm { weight, bias, .. } | Self::GroupNorm { weight, bias, .. } => {
                weight.iter_mut().chain(bias).collect()
            }
            Self::BatchNorm { weight, bias, mean, variance, .. } => vec![weight, bias, mean, variance],
            Self::Normalize { mean, std } => vec![mean, std],
            Self::Constant { weight } => vec![weight],
            _ => Vec::new(),
        }
    }

    /// Whether the result's shape depends on the number of images.
    pub(crate) fn names_the_batch(&self) -> bool {
        match self {
            Self::Reshape { size } | Self::Unflatten { size, .. } | Self::Expand { size } => {
                size.iter().any(|size| matches!(size, Size::Batch(_)))
            }
            Self::Aten { call, .. } => call.names_the_batch(),
            _ => false,
        }
    }
}

/// Whether batch statistics are used and dropout drops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Running statistics, no dropout: the function that is audited.
    Evaluate,
    /// Batch statistics, which also move the running ones.
    Train {
        /// Share of the batch's statistics in the new running ones.
        momentum: f64,
        seed: u64,
        /// Whether convolutions and matrix products round their inputs and weights to bf16.
        bf16: bool,
    },
}
