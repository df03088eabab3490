//! [`Call`]: one node of the export, as the operators' translations see it.

use advmod_attacks::victim::first_line;
use tch::{TchError, Tensor};

use super::ImportError;
use super::translator::{Binding, Constant, Translator};
use crate::model::format::pt2::{Argument, ExportNode, Integer};
use crate::model::program::{Op, Size, Unary, WeightId};

/// No size, stride or padding is larger.
const LARGEST: i64 = 1 << 20;

pub(super) struct Call<'t, 'a> {
    pub(super) t: &'t mut Translator<'a>,
    pub(super) node: &'a ExportNode,
}

impl<'a> Call<'_, 'a> {
    pub(super) fn error(&self, reason: impl std::fmt::Display) -> ImportError {
        self.t.error(reason)
    }

    /// An argument that is there and is not None.
    pub(super) fn argument(&self, name: &str) -> Option<&'a Argument> {
        let found = self.node.arguments.iter().find(|(it, _)| it == name);
        found.map(|(_, argument)| argument).filter(|argument| **argument != Argument::None)
    }

    fn wrong(&self, name: &str, expected: &str) -> ImportError {
        match self.argument(name) {
            Some(_) => self.error(format!("its argument `{name}` is not {expected}")),
            None => self.error(format!("its argument `{name}` is missing")),
        }
    }

    pub(super) fn integer(&self, name: &str, default: Option<i64>) -> Result<i64, ImportError> {
        match (self.argument(name), default) {
            (Some(Argument::Integer(it)), _) => match self.t.size(it)? {
                Size::Fixed(number) => Ok(number),
                Size::Batch(_) => Err(self.wrong(name, "a fixed number")),
            },
            (None, Some(default)) => Ok(default),
            _ => Err(self.wrong(name, "a number")),
        }
    }

    pub(super) fn sizes(&self, name: &str) -> Result<Vec<Size>, ImportError> {
        let Some(Argument::Integers(all)) = self.argument(name) else {
            return Err(self.wrong(name, "a list of numbers"));
        };
        all.iter().map(|it: &Integer| self.t.size(it)).collect()
    }

    pub(super) fn integers(&self, name: &str) -> Result<Vec<i64>, ImportError> {
        let fixed = |size: Size| match size {
            Size::Fixed(number) if number.abs() <= LARGEST => Ok(number),
            _ => Err(self.wrong(name, "a list of sensible numbers")),
        };
        self.sizes(name)?.into_iter().map(fixed).collect()
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
            (Some(Argument::Integer(Integer::Literal(number))), _) => Ok(*number as f64),
            (None, Some(default)) => Ok(default),
            _ => Err(self.wrong(name, "a number")),
        }
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, ImportError> {
        match self.argument(name) {
            Some(Argument::Bool(flag)) => Ok(*flag),
            None => Ok(default),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&'a str, ImportError> {
        match self.argument(name) {
            Some(Argument::Text(text)) => Ok(text),
            None => Ok(default),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    pub(super) fn tensor_name(&self, name: &str) -> Result<&'a str, ImportError> {
        match self.argument(name) {
            Some(Argument::Tensor(tensor)) => Ok(tensor),
            _ => Err(self.wrong(name, "a tensor")),
        }
    }

    pub(super) fn operand(&self, name: &str) -> Result<Binding, ImportError> {
        Ok(self.t.lookup(self.tensor_name(name)?)?.share())
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<Binding>, ImportError> {
        let Some(Argument::Tensors(names)) = self.argument(name) else {
            return Err(self.wrong(name, "a list of tensors"));
        };
        let one = |it: &'a Option<String>| {
            let it = it.as_deref().ok_or_else(|| self.wrong(name, "a list of tensors without gaps"))?;
            Ok(self.t.lookup(it)?.share())
        };
        names.iter().map(one).collect()
    }

    pub(super) fn weight(&mut self, name: &str) -> Result<WeightId, ImportError> {
        let tensor = self.tensor_name(name)?;
        self.t.weight(tensor)
    }

    pub(super) fn optional_weight(&mut self, name: &str) -> Result<Option<WeightId>, ImportError> {
        self.argument(name).is_some().then(|| self.weight(name)).transpose()
    }

    /// The tensor of an argument that does not depend on the images.
    pub(super) fn constant(&self, name: &str) -> Result<Tensor, ImportError> {
        self.t.constant(self.tensor_name(name)?)
    }

    /// Applies an operator to the named arguments and binds the node's output.
    pub(super) fn emit(&mut self, op: Op, operands: &[&str]) -> Result<(), ImportError> {
        let operands = operands.iter().map(|name| self.operand(name)).collect::<Result<Vec<_>, _>>()?;
        self.emit_on(op, &operands)
    }

    pub(super) fn on_self(&mut self, op: Op) -> Result<(), ImportError> {
        self.emit(op, &["self"])
    }

    pub(super) fn unary(&mut self, function: Unary) -> Result<(), ImportError> {
        self.on_self(Op::Unary(function))
    }

    pub(super) fn emit_on(&mut self, op: Op, operands: &[Binding]) -> Result<(), ImportError> {
        self.emit_output(0, op, operands)
    }

    /// As `emit`, for one of several outputs.
    pub(super) fn emit_output(&mut self, index: usize, op: Op, operands: &[Binding]) -> Result<(), ImportError> {
        let name = self.node.outputs.get(index).ok_or_else(|| self.error("has too few outputs"))?;
        let binding = self.t.emit(op, operands, Some(name))?;
        self.t.bind(name, binding);
        Ok(())
    }

    pub(super) fn same(&mut self, name: &str) -> Result<(), ImportError> {
        let binding = self.operand(name)?;
        self.bind(binding);
        Ok(())
    }

    fn bind(&mut self, binding: Binding) {
        self.t.bind(&self.node.outputs[0], binding);
    }

    /// Binds the node's output to what libtorch has made of constants.
    pub(super) fn computed(&mut self, result: Result<Tensor, TchError>) -> Result<(), ImportError> {
        let tensor = result.map_err(|error| self.error(first_line(&error)))?;
        self.bind(Binding::Constant(Constant { tensor, weight: None }));
        Ok(())
    }
}
