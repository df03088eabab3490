//! [`Call`]: one call of an operator, as the operators' translations see it.

use std::cell::Cell;

use tch::{Kind, TchError, Tensor};

use super::ImportError;
use super::graph::{Graph, Operand};
use super::kind::{Rank, Scalar};
use crate::model::program::{Op, Size, Unary, WeightId};

/// No size, stride or padding is larger.
const LARGEST: i64 = 1 << 20;

/// What may be said of a result without changing its numbers.
const WITHOUT_EFFECT: &str = "memory_format layout device pin_memory non_blocking copy requires_grad implicit p \
     momentum cudnn_enabled cudnn_enable benchmark deterministic allow_tf32";

#[derive(Clone, Debug)]
pub(super) enum Argument {
    None,
    Tensor(Operand),
    Tensors(Vec<Option<Operand>>),
    Integer(Size),
    Integers(Vec<Size>),
    Floats(Vec<f64>),
    Float(f64),
    Bool(bool),
    Text(String),
    /// A data type.
    Kind(Kind),
    /// Layout, device, …
    Other,
}

pub(super) struct Call<'c> {
    pub(super) graph: &'c mut Graph,
    /// By the names of the operator's schema.
    pub(super) arguments: &'c [(String, Argument)],
    /// Which of them a translation has looked at.
    used: Vec<Cell<bool>>,
}

/// What a translation makes: one tensor, but for operators that make several.
pub(super) type Made = Result<Vec<Operand>, ImportError>;

impl<'c> Call<'c> {
    pub(super) fn new(graph: &'c mut Graph, arguments: &'c [(String, Argument)]) -> Self {
        let used = arguments.iter().map(|_| Cell::new(false)).collect();
        Self { graph, arguments, used }
    }

    /// That no argument was overlooked: it may say that something else is computed.
    pub(super) fn all_used(&self) -> Result<(), ImportError> {
        let unused =
            self.arguments.iter().zip(&self.used).filter(|(_, used)| !used.get()).map(|(argument, _)| argument);
        let harmless = |(name, argument): &&(String, Argument)| {
            matches!(argument, Argument::None) || WITHOUT_EFFECT.split_whitespace().any(|it| it == name)
        };
        match unused.filter(|it| !harmless(it)).map(|(name, _)| name).next() {
            Some(name) => Err(self.error(format!("has an argument `{name}`, which is not supported"))),
            None => Ok(()),
        }
    }

    pub(super) fn error(&self, reason: impl std::fmt::Display) -> ImportError {
        self.graph.error(reason)
    }

    /// An argument that is there and is not None.
    pub(super) fn argument(&self, name: &str) -> Option<&'c Argument> {
        let at = self.arguments.iter().position(|(it, _)| it == name)?;
        self.used[at].set(true);
        Some(&self.arguments[at].1).filter(|argument| !matches!(argument, Argument::None))
    }

    fn wrong(&self, name: &str, expected: &str) -> ImportError {
        match self.argument(name) {
            Some(_) => self.error(format!("its argument `{name}` is not {expected}")),
            None => self.error(format!("its argument `{name}` is missing")),
        }
    }

    pub(super) fn integer(&self, name: &str, default: Option<i64>) -> Result<i64, ImportError> {
        match (self.argument(name), default) {
            (Some(Argument::Integer(Size::Fixed(number))), _) => Ok(*number),
            (None, Some(default)) => Ok(default),
            _ => Err(self.wrong(name, "a fixed number")),
        }
    }

    pub(super) fn sizes(&self, name: &str) -> Result<Vec<Size>, ImportError> {
        match self.argument(name) {
            Some(Argument::Integers(all)) => Ok(all.clone()),
            _ => Err(self.wrong(name, "a list of numbers")),
        }
    }

    pub(super) fn integers(&self, name: &str) -> Result<Vec<i64>, ImportError> {
        let fixed = |size: Size| match size {
            Size::Fixed(number) if number.checked_abs().is_some_and(|it| it <= LARGEST) => Ok(number),
            _ => Err(self.wrong(name, "a list of sensible numbers")),
        };
        self.sizes(name)?.into_iter().map(fixed).collect()
    }

    /// Dimensions: a list of numbers, or one number; none where there is no such argument.
    pub(super) fn dims(&self, name: &str) -> Result<Vec<i64>, ImportError> {
        match self.argument(name) {
            None => Ok(Vec::new()),
            Some(Argument::Integer(_)) => Ok(vec![self.integer(name, None)?]),
            Some(_) => self.integers(name),
        }
    }

    /// Two numbers, or one that stands for both.
    pub(super) fn pair(&self, name: &str, default: Option<[i64; 2]>) -> Result<[i64; 2], ImportError> {
        match (self.argument(name), default) {
            (None, Some(default)) => Ok(default),
            (Some(Argument::Integer(_)), _) => Ok([self.integer(name, None)?; 2]),
            _ => match *self.integers(name)? {
                [one] => Ok([one; 2]),
                [rows, columns] => Ok([rows, columns]),
                // An empty stride is the kernel's size.
                [] if default.is_some() => Ok(default.unwrap_or_default()),
                _ => Err(self.wrong(name, "a pair of numbers")),
            },
        }
    }

    pub(super) fn float(&self, name: &str, default: Option<f64>) -> Result<f64, ImportError> {
        match (self.argument(name), default) {
            (Some(Argument::Float(number)), _) => Ok(*number),
            (Some(Argument::Integer(Size::Fixed(number))), _) => Ok(*number as f64),
            (Some(Argument::Bool(flag)), _) => Ok(f64::from(u8::from(*flag))),
            (None, Some(default)) => Ok(default),
            _ => Err(self.wrong(name, "a number")),
        }
    }

    /// A number, with what kind of number it is.
    pub(super) fn scalar(&self, name: &str) -> Result<Scalar, ImportError> {
        match self.argument(name) {
            Some(Argument::Bool(flag)) => Ok(Scalar::Bool(*flag)),
            Some(Argument::Integer(Size::Fixed(number))) => Ok(Scalar::Int(*number)),
            _ => self.float(name, None).map(Scalar::Float),
        }
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, ImportError> {
        match self.argument(name) {
            Some(Argument::Bool(flag)) => Ok(*flag),
            None => Ok(default),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&'c str, ImportError> {
        match self.argument(name) {
            Some(Argument::Text(text)) => Ok(text),
            None => Ok(default),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    /// The data type that an argument names, if it does.
    pub(super) fn kind(&self, name: &str) -> Result<Option<Kind>, ImportError> {
        match self.argument(name) {
            Some(Argument::Kind(kind)) => Ok(Some(*kind)),
            None => Ok(None),
            Some(_) => Err(self.wrong(name, "a data type that is read")),
        }
    }

    pub(super) fn operand(&self, name: &str) -> Result<Operand, ImportError> {
        match self.argument(name) {
            Some(Argument::Tensor(operand)) => self.graph.read(operand).map(|()| operand.clone()),
            _ => Err(self.wrong(name, "a tensor")),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<Operand>, ImportError> {
        let Some(Argument::Tensors(all)) = self.argument(name) else {
            return Err(self.wrong(name, "a list of tensors"));
        };
        let one = |it: &Option<Operand>| {
            let operand = it.clone().ok_or_else(|| self.wrong(name, "a list of tensors without gaps"))?;
            self.graph.read(&operand).map(|()| operand)
        };
        all.iter().map(one).collect()
    }

    pub(super) fn rank(&self, operand: &Operand) -> Rank {
        if self.graph.shape(operand).is_empty() { Rank::Single } else { Rank::Dimensions }
    }

    pub(super) fn weight(&mut self, name: &str) -> Result<WeightId, ImportError> {
        let operand = self.operand(name)?;
        self.graph.weight(&operand)
    }

    pub(super) fn optional_weight(&mut self, name: &str) -> Result<Option<WeightId>, ImportError> {
        self.argument(name).is_some().then(|| self.weight(name)).transpose()
    }

    /// The tensor of an argument that does not depend on the images.
    pub(super) fn constant(&self, name: &str) -> Result<Tensor, ImportError> {
        self.graph.constant(&self.operand(name)?)
    }

    /// Applies an operator to the named arguments.
    pub(super) fn emit(&mut self, op: Op, operands: &[&str]) -> Made {
        let operands = operands.iter().map(|name| self.operand(name)).collect::<Result<Vec<_>, _>>()?;
        self.emit_on(op, &operands)
    }

    pub(super) fn on_self(&mut self, op: Op) -> Made {
        self.emit(op, &["self"])
    }

    pub(super) fn unary(&mut self, function: Unary) -> Made {
        self.on_self(Op::Unary(function))
    }

    pub(super) fn emit_on(&mut self, op: Op, operands: &[Operand]) -> Made {
        Ok(vec![self.graph.emit(op, operands)?])
    }

    pub(super) fn same(&mut self, name: &str) -> Made {
        Ok(vec![self.operand(name)?])
    }

    /// Lets the result stand for the first argument, which is the first of these names, or `self`, that is given.
    pub(super) fn overwrite<'n>(&mut self, mut names: impl Iterator<Item = &'n str>, made: Vec<Operand>) -> Made {
        let [result] = &made[..] else { return Ok(made) };
        let first = names.next();
        let target = first.into_iter().chain(["self"]).find_map(|name| match self.argument(name) {
            Some(Argument::Tensor(target)) => Some(target.clone()),
            _ => None,
        });
        let target = target.ok_or_else(|| self.error("writes over nothing"))?;
        self.graph.overwrite(&target, result)?;
        Ok(vec![target])
    }

    /// What libtorch has made of constants.
    pub(super) fn computed(&mut self, result: Result<Tensor, TchError>) -> Made {
        Ok(vec![self.graph.computed(result)?])
    }
}
