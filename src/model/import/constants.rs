//! What operators become that are understood where no image changes the result, or that make tensors out of nothing.

use tch::{Device, Kind, TchError, Tensor};

use super::ImportError;
use super::call::{Argument, Call, Made};
use super::kind::{Rank, Scalar, is_floating, promoted};
use crate::model::program::{Comparison, Op, Size, Unary};

pub(super) fn compare(c: &mut Call<'_>, comparison: Comparison) -> Made {
    let operand = c.operand("self")?;
    if matches!(c.argument("other"), Some(Argument::Tensor(_))) {
        let (first, second) = (c.constant("self")?, c.constant("other")?);
        return c.computed(compared(&first, &second, comparison));
    }
    let other = c.scalar("other")?;
    let kind = promoted(&[(c.graph.kind(&operand), c.rank(&operand)), (other.kind(), Rank::Number)]);
    let operand = c.graph.cast(&operand, kind)?;
    match operand.known() {
        Some(known) => c.computed(compared(&known, &other.tensor(kind), comparison)),
        None => c.emit_on(Op::Unary(Unary::Compare(comparison, other.float())), &[operand]),
    }
}

fn compared(first: &Tensor, second: &Tensor, comparison: Comparison) -> Result<Tensor, TchError> {
    match comparison {
        Comparison::Equal => first.f_eq_tensor(second),
        Comparison::NotEqual => first.f_ne_tensor(second),
        Comparison::Less => first.f_lt_tensor(second),
        Comparison::AtMost => first.f_le_tensor(second),
        Comparison::Greater => first.f_gt_tensor(second),
        Comparison::AtLeast => first.f_ge_tensor(second),
    }
}

/// A function of two tensors, of which the second may be a number.
pub(super) fn of_both(c: &mut Call<'_>, function: fn(&Tensor, &Tensor) -> Result<Tensor, TchError>) -> Made {
    let first = c.constant("self")?;
    if matches!(c.argument("other"), Some(Argument::Tensor(_))) {
        let second = c.constant("other")?;
        return c.computed(function(&first, &second));
    }
    let other = c.scalar("other")?;
    let rank = if first.dim() == 0 { Rank::Single } else { Rank::Dimensions };
    let kind = promoted(&[(first.kind(), rank), (other.kind(), Rank::Number)]);
    c.computed(first.f_to_kind(kind).and_then(|first| function(&first, &other.tensor(kind))))
}

/// `new_zeros`, `ones_like`, `full` and their kin; `value` is what fills the tensor, or the argument `fill_value`.
pub(super) fn filled(c: &mut Call<'_>, value: Option<i64>) -> Made {
    let value = match value {
        Some(number) => Scalar::Int(number),
        None => c.scalar("fill_value")?,
    };
    let like = c.argument("self").is_some().then(|| c.operand("self")).transpose()?;
    let default = match (&like, c.argument("fill_value").is_some()) {
        (Some(like), _) => c.graph.kind(like),
        (None, true) => value.kind(),
        (None, false) => Kind::Float,
    };
    let kind = c.kind("dtype")?.unwrap_or(default);
    let zeros = if c.argument("size").is_some() {
        let size = c.small("size")?;
        Tensor::f_zeros(size, (kind, Device::Cpu))
    } else {
        let like = c.constant("self")?;
        c.graph.spend(like.numel() as f64)?;
        c.in_its_own_layout()?;
        like.f_zeros_like().and_then(|zeros| zeros.f_to_kind(kind))
    };
    c.computed(zeros.and_then(|mut zeros| zeros.f_fill_tensor_(&value.tensor(kind))))
}

/// A number or a single value in the type of `self` and expanded to its shape, for operators that write over it.
fn over_self(c: &mut Call<'_>, name: &str) -> Made {
    let tensor = c.constant("self")?;
    let value = match c.argument(name) {
        Some(Argument::Tensor(_)) => c.constant(name)?.f_to_kind(tensor.kind()),
        _ => Ok(c.scalar(name)?.tensor(tensor.kind())),
    };
    c.computed(value.and_then(|value| value.f_expand(tensor.size(), false)))
}

pub(super) fn fill(c: &mut Call<'_>) -> Made {
    over_self(c, "value")
}

pub(super) fn copy_over(c: &mut Call<'_>) -> Made {
    over_self(c, "src")
}

pub(super) fn zero(c: &mut Call<'_>) -> Made {
    let tensor = c.constant("self")?;
    c.computed(tensor.f_zeros_like())
}

pub(super) fn masked_fill(c: &mut Call<'_>) -> Made {
    let (tensor, mask) = (c.constant("self")?, c.constant("mask")?);
    let value = if matches!(c.argument("value"), Some(Argument::Tensor(_))) {
        c.constant("value")?
    } else {
        let value = c.scalar("value")?;
        if value.kind() == Kind::Float && !is_floating(tensor.kind()) {
            return Err(c.error("fills whole numbers with another one, which is not supported"));
        }
        value.tensor(tensor.kind())
    };
    if mask.kind() != Kind::Bool || value.dim() > 0 {
        return Err(c.error("has a mask that is no tensor of truth values, or no single value, which is not supported"));
    }
    c.computed(tensor.f_masked_fill_tensor(&mask, &value))
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

pub(super) fn contiguous(c: &mut Call<'_>) -> Made {
    match c.constant("self") {
        Err(_) => c.on_self(Op::Identity),
        Ok(known) => {
            c.in_its_own_layout()?;
            if known.is_contiguous() { c.same("self") } else { c.computed(known.f_contiguous()) }
        }
    }
}

pub(super) fn copy(c: &mut Call<'_>) -> Made {
    let operand = c.operand("self")?;
    if operand.known().is_some() {
        c.in_its_own_layout()?;
    }
    Ok(vec![c.graph.copy(&operand)?])
}

impl Call<'_> {
    /// That a constant is asked for in the layout that the operator gives it by itself; another one would decide what shares memory.
    pub(super) fn in_its_own_layout(&self) -> Result<(), ImportError> {
        match self.argument("memory_format") {
            // `torch.contiguous_format` where it is the default, and `torch.preserve_format`.
            None | Some(Argument::Integer(Size::Fixed(1))) => Ok(()),
            Some(Argument::Integer(Size::Fixed(0))) if self.constant("self")?.is_contiguous() => Ok(()),
            Some(_) => Err(self.error("lays out a constant in another memory format, which is not supported")),
        }
    }

    /// The size of a constant.
    fn small(&self, name: &str) -> Result<Vec<i64>, ImportError> {
        let fixed = |size: &Size| match size {
            Size::Fixed(size) if (0..=1 << 20).contains(size) => Some(*size),
            _ => None,
        };
        let size: Option<Vec<i64>> = self.sizes(name)?.iter().map(fixed).collect();
        let small = size.filter(|size| {
            size.iter().try_fold(1_i64, |all, size| all.checked_mul(*size)).is_some_and(|all| all <= 1 << 24)
        });
        small.ok_or_else(|| self.error("makes a constant of a size that is too large or not fixed"))
    }
}
