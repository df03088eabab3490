//! Arithmetic and comparisons of numbers, of which some are multiples of the number of images.

use std::cmp::Ordering;

use tch::Kind;

use super::evaluator::{Evaluator, Result};
use super::texts::text_of;
use super::value::{Number, Value};
use crate::model::import::shown;
use crate::model::program::Size;

impl<'a> Evaluator<'a> {
    /// How two numbers compare, whatever the number of images is. Sizes that may or may not be equal are refused.
    pub(super) fn order(&self, first: Number, second: Number, only_equality: bool) -> Result<Ordering> {
        let many = |times: i64, fixed: i64, ordering: Ordering| match times > 0 && (fixed < times || fixed == 0) {
            true => Ok(ordering),
            // A multiple of the batch is no number that it does not divide.
            false if only_equality && times > 0 && fixed % times != 0 => Ok(ordering),
            false => Err(self.error(format!(
                "it compares the number of images, times {times}, with {fixed}; that decides for some batches only"
            ))),
        };
        match (first, second) {
            (Number::Int(Size::Fixed(a)), Number::Int(Size::Fixed(b)))
            | (Number::Int(Size::Batch(a)), Number::Int(Size::Batch(b))) => Ok(a.cmp(&b)),
            (Number::Int(Size::Batch(a)), Number::Int(Size::Fixed(b))) => many(a, b, Ordering::Greater),
            (Number::Int(Size::Fixed(a)), Number::Int(Size::Batch(b))) => many(b, a, Ordering::Less),
            _ => {
                let both = first.float().zip(second.float());
                let ordering = both.and_then(|(a, b)| a.partial_cmp(&b));
                ordering.ok_or_else(|| self.error("it compares what has no order"))
            }
        }
    }

    /// Of a size that tracing has put into a tensor, with whole numbers: an int64 again. None for what has another type.
    pub(super) fn of_held(
        &mut self,
        name: &str,
        (first, second): (&Value<'a>, &Value<'a>),
        named: &[(&'a str, Value<'a>)],
    ) -> Result<Option<Value<'a>>> {
        let whole = |value: &Value<'a>| match value {
            Value::Int(_) | Value::Held(_) | Value::Side(..) => value.number(),
            Value::Tensor(operand) if operand.known().is_some_and(|it| it.kind() == Kind::Int64) => value.number(),
            _ => None,
        };
        let kept = matches!(name, "add" | "sub" | "rsub" | "mul" | "floor_divide" | "remainder")
            || name == "div" && named.iter().any(|(name, _)| *name == "rounding_mode");
        let (Some(a), Some(b), true) = (whole(first), whole(second), kept) else { return Ok(None) };
        Ok(match self.arithmetic(name, (first, a), (second, b), named)? {
            Some(Value::Int(size)) => Some(Value::Held(size)),
            _ => None,
        })
    }

    /// Of numbers. None for what is no arithmetic of numbers.
    pub(super) fn arithmetic(
        &mut self,
        name: &str,
        (first, a): (&Value<'a>, Number),
        (second, b): (&Value<'a>, Number),
        named: &[(&'a str, Value<'a>)],
    ) -> Result<Option<Value<'a>>> {
        let flags = matches!((first, second), (Value::Bool(_), Value::Bool(_)));
        let flag = |value: bool| Ok(Some(Value::Bool(value)));
        match name {
            "eq" | "ne" => return flag((self.order(a, b, true)? == Ordering::Equal) == (name == "eq")),
            "lt" => return flag(self.order(a, b, false)?.is_lt()),
            "le" => return flag(self.order(a, b, false)?.is_le()),
            "gt" => return flag(self.order(a, b, false)?.is_gt()),
            "ge" => return flag(self.order(a, b, false)?.is_ge()),
            "__and__" if flags => return flag(self.truth(first)? && self.truth(second)?),
            "__or__" if flags => return flag(self.truth(first)? || self.truth(second)?),
            "__xor__" if flags => return flag(self.truth(first)? != self.truth(second)?),
            "min" | "max" => {
                let first_wins = self.order(a, b, false)?.is_lt() == (name == "min");
                return Ok(Some(if first_wins { first.clone() } else { second.clone() }));
            }
            _ => (),
        }
        let rounding = named.iter().find(|(name, _)| *name == "rounding_mode").map(|(_, value)| text_of(value).0);
        // `alpha` is a factor of the second number.
        if named.iter().any(|(name, value)| {
            *name != "rounding_mode" && !matches!(value.number(), Some(Number::Int(Size::Fixed(1))))
        }) {
            return Ok(None);
        }
        let made = match (a, b) {
            (Number::Int(a), Number::Int(b)) => whole(name, rounding.as_deref(), a, b),
            _ => match a.float().zip(b.float()) {
                Some((a, b)) => real(name, rounding.as_deref(), a, b),
                None => Computed::Undefined,
            },
        };
        match made {
            Computed::Number(Number::Int(size)) => Ok(Some(Value::Int(size))),
            Computed::Number(Number::Float(number)) => Ok(Some(Value::Float(number))),
            Computed::Undefined => Err(self.error(format!(
                "`{}` makes a size that depends on the number of images otherwise than as a multiple, or is not defined",
                shown(name)
            ))),
            Computed::Unknown => Ok(None),
        }
    }
}

/// What a function makes of two numbers.
enum Computed {
    Number(Number),
    /// Nothing: it divides by zero, overflows, or is no multiple of the number of images.
    Undefined,
    /// It is no function of numbers.
    Unknown,
}

fn whole(name: &str, rounding: Option<&str>, a: Size, b: Size) -> Computed {
    let size = match (name, rounding) {
        ("add", _) => a.plus(b),
        ("sub", _) => b.negative().and_then(|b| a.plus(b)),
        ("rsub", _) => a.negative().and_then(|a| b.plus(a)),
        ("mul", _) => a.times(b),
        ("floordiv" | "floor_divide", _) | ("div", Some("floor" | "trunc")) => match (a, b) {
            (Size::Fixed(a), Size::Fixed(b)) => {
                let (quotient, rest) = (a.checked_div(b), a.checked_rem(b).unwrap_or(0));
                // Towards minus infinity, unless it is to be cut off.
                let down = rounding != Some("trunc") && rest != 0 && (rest < 0) != (b < 0);
                quotient.map(|quotient| Size::Fixed(quotient - i64::from(down)))
            }
            _ => a.over(b),
        },
        ("remainder", _) => match (a, b) {
            (Size::Fixed(a), Size::Fixed(b)) => a.checked_rem(b).map(|rest| {
                let other_sign = rest != 0 && (rest < 0) != (b < 0);
                Size::Fixed(if other_sign { rest + b } else { rest })
            }),
            _ => a.over(b).map(|_| Size::Fixed(0)),
        },
        // A power of whole numbers is none in TorchScript.
        ("pow", _) => {
            let both = Number::Int(a).float().zip(Number::Int(b).float());
            return both.map_or(Computed::Undefined, |(a, b)| Computed::Number(Number::Float(a.powf(b))));
        }
        ("div" | "truediv" | "__truediv__", _) => {
            return match (a, b) {
                (Size::Fixed(a), Size::Fixed(b)) if b != 0 => Computed::Number(Number::Float(a as f64 / b as f64)),
                _ => Computed::Undefined,
            };
        }
        _ => return Computed::Unknown,
    };
    size.map_or(Computed::Undefined, |size| Computed::Number(Number::Int(size)))
}

fn real(name: &str, rounding: Option<&str>, a: f64, b: f64) -> Computed {
    Computed::Number(Number::Float(match (name, rounding) {
        ("add", _) => a + b,
        ("sub", _) => a - b,
        ("rsub", _) => b - a,
        ("mul", _) => a * b,
        ("div" | "truediv" | "__truediv__", None) => a / b,
        ("floordiv" | "floor_divide", _) | ("div", Some("floor")) => (a / b).floor(),
        ("div", Some("trunc")) => (a / b).trunc(),
        ("remainder", _) => a - b * (a / b).floor(),
        ("pow", _) => a.powf(b),
        _ => return Computed::Unknown,
    }))
}
