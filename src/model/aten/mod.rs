//! Operators of libtorch that advmod has none of its own for, called by their schema through libtorch's dispatcher: those of `allowed.txt`, and
//! no others. `allowed` holds the rule that the list comes from.

#[cfg(test)]
mod allowed;
mod boxed;
mod conv;
mod schema;

use std::fmt;

use tch::{Kind, TchError, Tensor};

use super::size::Size;
use boxed::Value;
pub(crate) use schema::{Formal, Schema, Type, called, find};

/// A call of an operator of the list, which makes one or several tensors.
#[derive(Clone, PartialEq)]
pub(crate) struct AtenCall {
    pub schema: &'static Schema,
    /// One for each that the schema names.
    pub arguments: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    /// What the schema says.
    Default,
    None,
    /// One of the call's tensors, by its place among them.
    Tensor(usize),
    Tensors(Vec<Option<usize>>),
    Integer(Size),
    Integers(Vec<Size>),
    Number(f64),
    Numbers(Vec<f64>),
    Flag(bool),
    Text(String),
    Kind(Kind),
}

impl fmt::Debug for AtenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{:?}", self.schema.name, self.schema.overload, self.arguments)
    }
}

impl AtenCall {
    /// Everything that the operator makes of these tensors.
    ///
    /// # Errors
    /// libtorch's message.
    pub(crate) fn run(&self, tensors: &[&Tensor], batch: i64) -> Result<Vec<Tensor>, TchError> {
        self.call(tensors, batch, false)
    }

    /// Sizes and types of what the operator would make, without computing it.
    ///
    /// # Errors
    /// libtorch's message, also where it can't tell without computing.
    pub(crate) fn foretold(&self, tensors: &[&Tensor], batch: i64) -> Result<Vec<(Vec<i64>, Kind)>, TchError> {
        let sized: Vec<(Vec<i64>, Kind)> = tensors.iter().map(|it| (it.size(), it.kind())).collect();
        if let Some(convolved) = conv::foretold(self, &sized) {
            return convolved.map(|made| vec![made]).map_err(TchError::Torch);
        }
        let made = self.call(tensors, batch, true)?;
        made.iter().map(|it| Ok((it.size(), it.f_kind()?))).collect()
    }

    fn call(&self, tensors: &[&Tensor], batch: i64, meta: bool) -> Result<Vec<Tensor>, TchError> {
        let missing = || TchError::Torch(format!("{self:?} has too few inputs"));
        let tensor = |at: usize| tensors.get(at).copied().ok_or_else(missing);
        let value = |argument: &Argument| -> Result<Value<'_>, TchError> {
            Ok(match argument {
                Argument::Default => Value::Default,
                Argument::None => Value::None,
                Argument::Tensor(at) => Value::Tensor(tensor(*at)?),
                Argument::Tensors(all) => {
                    Value::Tensors(all.iter().map(|at| at.map(tensor).transpose()).collect::<Result<_, _>>()?)
                }
                Argument::Integer(size) => Value::Integer(size.of(batch)),
                Argument::Integers(all) => Value::Integers(all.iter().map(|size| size.of(batch)).collect()),
                Argument::Number(number) => Value::Number(*number),
                Argument::Numbers(all) => Value::Numbers(all.clone()),
                Argument::Flag(flag) => Value::Flag(*flag),
                Argument::Text(text) => Value::Text(text.clone()),
                Argument::Kind(kind) => Value::Integer(schema::code_of(*kind)),
            })
        };
        let values = self.arguments.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let Schema { name, overload, text, .. } = self.schema;
        boxed::call((&format!("aten::{name}"), overload, text), &values, meta)
    }

    /// Whether the number of images is among its arguments.
    pub(crate) fn names_the_batch(&self) -> bool {
        let is_batch = |size: &Size| matches!(size, Size::Batch(_));
        self.arguments.iter().any(|argument| match argument {
            Argument::Integer(size) => is_batch(size),
            Argument::Integers(all) => all.iter().any(is_batch),
            _ => false,
        })
    }

    /// Whether its result has steps, and a gradient of 0 wherever it has one.
    pub(crate) fn is_step(&self) -> bool {
        let rounds = matches!(
            self.arguments.last(),
            Some(Argument::Text(mode)) if matches!(mode.as_str(), "floor" | "trunc")
        );
        matches!(self.schema.name, "floor_divide" | "round" | "heaviside") || self.schema.name == "div" && rounds
    }

    /// Whether it multiplies rows with columns, or compares all of a row.
    pub(crate) fn joins_rows(&self) -> bool {
        let parts =
            ["mm", "mv", "conv", "linear", "dot", "dist", "fft", "sort", "norm", "cov", "kron", "outer", "attention"];
        parts.iter().any(|part| self.schema.name.contains(part))
    }

    /// Multiply-accumulates, by the sizes of its tensors and its result; none where no formula is known.
    pub(crate) fn macs(&self, tensors: &[&[i64]], output: &[i64]) -> i64 {
        let elements = |size: &[i64]| size.iter().product::<i64>();
        match (self.schema.name, tensors) {
            ("conv1d" | "conv2d" | "conv3d", [_, weight, ..]) => elements(output) * elements(&weight[1..]),
            ("conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d", [input, weight, ..]) => {
                elements(input) * elements(&weight[1..])
            }
            ("convolution", [input, weight, ..]) => {
                let transposed = self.schema.arguments.iter().position(|it| it.name == "transposed");
                let is = transposed.is_some_and(|at| self.arguments[at] == Argument::Flag(true));
                elements(if is { input } else { output }) * elements(&weight[1..])
            }
            ("baddbmm", [_, first, _, ..]) | ("cdist", [first, ..]) => {
                elements(output) * first.last().copied().unwrap_or(1)
            }
            _ => 0,
        }
    }
}
