//! Data types: how PyTorch finds that of a result, and what a single number is in it.

use tch::{Kind, Tensor};

/// A number of the code, which is no tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
}

impl Scalar {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int64,
            Self::Float(_) => Kind::Float,
        }
    }

    pub(super) fn float(self) -> f64 {
        match self {
            Self::Bool(flag) => f64::from(u8::from(flag)),
            Self::Int(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// As a whole number, towards zero.
    pub(super) fn whole(self) -> i64 {
        match self {
            Self::Bool(flag) => i64::from(flag),
            Self::Int(number) => number,
            Self::Float(number) => number as i64,
        }
    }

    /// A tensor without dimensions of this type. Calls that take such a tensor are safe where those that take a number are not: the
    /// binding's number panics when it is dropped while libtorch reports an error.
    pub(super) fn tensor(self, kind: Kind) -> Tensor {
        match self {
            Self::Float(number) => Tensor::from(number).to_kind(kind),
            _ => Tensor::from(self.whole()).to_kind(kind),
        }
    }
}

/// What takes part in an operation. Tensors with dimensions decide before those without, and these before numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Number,
    Single,
    Dimensions,
}

/// The type of a result: [`torch.result_type`](https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc).
pub(super) fn promoted(parts: &[(Kind, Rank)]) -> Kind {
    let of = |rank: Rank| parts.iter().filter(|part| part.1 == rank).map(|part| part.0).reduce(joint);
    [Rank::Number, Rank::Single, Rank::Dimensions].into_iter().filter_map(of).reduce(over).unwrap_or(Kind::Float)
}

/// A type of lower rank with one of higher rank, which only a higher category changes.
fn over(lower: Kind, higher: Kind) -> Kind {
    match category(lower) > category(higher) {
        true => joint(lower, higher),
        false => higher,
    }
}

/// Truth values, whole numbers, other numbers.
fn category(kind: Kind) -> u8 {
    match kind {
        Kind::Bool => 0,
        kind if is_floating(kind) => 2,
        _ => 1,
    }
}

pub(super) fn is_floating(kind: Kind) -> bool {
    matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double)
}

/// Every type that a value can have; each holds what those before it do, but for the pairs that [`joint`] names.
const ORDER: [Kind; 10] = [
    Kind::Bool,
    Kind::Uint8,
    Kind::Int8,
    Kind::Int16,
    Kind::Int,
    Kind::Int64,
    Kind::Half,
    Kind::BFloat16,
    Kind::Float,
    Kind::Double,
];

/// The smallest type that holds what both do, as PyTorch has it.
fn joint(a: Kind, b: Kind) -> Kind {
    let place = |kind: Kind| ORDER.iter().position(|it| *it == kind);
    match (a, b) {
        (Kind::Uint8, Kind::Int8) | (Kind::Int8, Kind::Uint8) => Kind::Int16,
        (Kind::Half, Kind::BFloat16) | (Kind::BFloat16, Kind::Half) => Kind::Float,
        _ if place(a) < place(b) => b,
        _ => a,
    }
}

/// What PyTorch calls it.
pub(super) fn shown(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Uint8 => "uint8",
        Kind::Int8 => "int8",
        Kind::Int16 => "int16",
        Kind::Int => "int32",
        Kind::Int64 => "int64",
        Kind::Half => "float16",
        Kind::BFloat16 => "bfloat16",
        Kind::Float => "float32",
        Kind::Double => "float64",
        _ => "another type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_promotes_tensors_the_same_way() {
        for (a, b) in ORDER.iter().flat_map(|a| ORDER.iter().map(move |b| (*a, *b))) {
            for (ranks, sizes) in [
                ((Rank::Dimensions, Rank::Dimensions), ([1, 1], vec![1])),
                ((Rank::Dimensions, Rank::Single), ([1, 1], vec![])),
            ] {
                let tensor = |size: &[i64], kind| Tensor::ones(size, (kind, tch::Device::Cpu));
                let found = tensor(&sizes.0, a) * tensor(&sizes.1, b);
                assert_eq!(found.kind(), promoted(&[(a, ranks.0), (b, ranks.1)]), "{a:?} {b:?} {ranks:?}");
            }
            let number = match b {
                Kind::Int64 => &Tensor::ones([1], (a, tch::Device::Cpu)) * 2_i64,
                Kind::Double => &Tensor::ones([1], (a, tch::Device::Cpu)) * 0.5_f64,
                _ => continue,
            };
            let scalar = if b == Kind::Int64 { Scalar::Int(2) } else { Scalar::Float(0.5) };
            let expected = promoted(&[(a, Rank::Dimensions), (scalar.kind(), Rank::Number)]);
            assert_eq!(number.kind(), expected, "{a:?} {scalar:?}");
        }
    }
}
