//! Functions of TorchScript over values that are known, sizes among them: they are computed at once.

use std::cmp::Ordering;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::evaluator::{Arguments, Evaluator, Result};
use super::texts::text_of;
use super::value::{Number, Value};
use crate::model::import::graph::Operand;
use crate::model::import::{kind, shape, shown};
use crate::model::program::{Op, Size};

impl<'a> Evaluator<'a> {
    /// Calls what is no function of the archive: `torch.add`, `ops.prim.dtype`, `annotate`.
    pub(super) fn builtin(&mut self, path: &str, arguments: &Arguments<'a>) -> Result<Value<'a>> {
        let (args, named) = arguments;
        let operator = ["torch.", "ops.aten."].iter().find_map(|prefix| path.strip_prefix(prefix));
        if let (Some(name), [first, second]) = (operator.or(path.strip_prefix("ops.prim.")), &args[..])
            && let Some(made) = self.of_two(name, first, second, named)?
        {
            return Ok(made);
        }
        match operator {
            Some("tensor") => self.new_tensor(args, named),
            Some(name) => match self.of_values(name, args)? {
                Some(made) => Ok(made),
                None => self.operator(path, name, arguments),
            },
            None => match path.strip_prefix("ops.prim.") {
                Some(name) => self.primitive(path, name, args),
                None => self.global(path, args),
            },
        }
    }

    fn unsupported(&mut self, path: &str) -> crate::model::import::ImportError {
        self.error(format!("the function `{}` is not supported", shown(path)))
    }

    fn global(&mut self, path: &str, args: &[Value<'a>]) -> Result<Value<'a>> {
        Ok(match (path, args) {
            ("annotate" | "unchecked_cast", [value]) => value.clone(),
            ("uninitialized", []) => Value::Uninitialized,
            ("getattr", [object, Value::Text(name)]) => self.attribute(object, name)?,
            ("int", [value]) => match value.number() {
                Some(Number::Int(size)) => Value::Int(size),
                Some(Number::Float(number)) if number.abs() < 9e18 => Value::fixed(number as i64),
                _ => return Err(self.error(format!("it makes a whole number of {}", value.what()))),
            },
            ("float", [Value::Text(text)]) => match text.parse() {
                Ok(number) => Value::Float(number),
                Err(_) => return Err(self.error("it makes a number of a text that is none")),
            },
            ("float", [value]) => match value.number().and_then(Number::float) {
                Some(number) => Value::Float(number),
                None => return Err(self.error(format!("it makes a number of {}", value.what()))),
            },
            ("bool", [value]) => Value::Bool(self.truth(value)?),
            ("str", [value]) => self.written(value)?,
            ("range", bounds) => self.range(bounds)?,
            _ => return Err(self.unsupported(path)),
        })
    }

    fn primitive(&mut self, path: &str, name: &str, args: &[Value<'a>]) -> Result<Value<'a>> {
        Ok(match (name, args) {
            ("NumToTensor", [Value::Int(size)]) => Value::Held(*size),
            ("NumToTensor", [Value::Side(size, used)]) => {
                used.set(true);
                Value::Held(Size::Fixed(*size))
            }
            // It keeps all of its digits.
            ("NumToTensor", [Value::Float(number)]) => Value::Tensor(self.graph.computed(Ok(Tensor::from(*number)))?),
            ("unchecked_unwrap_optional", [value]) => value.clone(),
            ("data", [Value::Tensor(operand)]) => {
                self.set_origin(path);
                Value::Tensor(self.graph.emit(Op::Detach, std::slice::from_ref(operand))?)
            }
            ("RaiseException", [message, ..]) => {
                return Err(self.error(format!("it refuses: {}", shown(&text_of(message).0))));
            }
            ("dtype", [Value::Tensor(operand)]) => Value::fixed(super::tensors::code_of(self.graph.kind(operand))),
            ("dtype", [Value::Held(_)]) => Value::fixed(super::tensors::code_of(Kind::Int64)),
            ("device", [Value::Tensor(_)]) => Value::Device(None),
            ("type", [Value::Device(device)]) => self.device_kind(device.as_ref())?,
            ("index", [Value::Device(device)]) => self.device_index(device.as_ref())?,
            ("requires_grad", [Value::Tensor(operand)]) => Value::Bool(self.requires_grad(operand)?),
            ("is_cpu" | "is_cuda", [Value::Tensor(_)]) => Value::Bool(self.is_on(name)?),
            (
                "is_nested" | "is_sparse" | "is_sparse_csr" | "is_quantized" | "is_mkldnn" | "is_meta" | "is_xpu"
                | "is_mps" | "is_ipu" | "is_maia" | "is_vulkan" | "is_mtia" | "is_xla",
                [Value::Tensor(_)],
            ) => Value::Bool(false),
            ("layout", [Value::Tensor(_)]) => Value::fixed(0),
            ("shape", [Value::Tensor(_)]) => return self.builtin("torch.size", &(args.to_vec(), Vec::new())),
            ("ndim", [Value::Tensor(_)]) => return self.builtin("torch.dim", &(args.to_vec(), Vec::new())),
            ("min" | "max", [list]) => self.extreme(name, list)?,
            _ => return Err(self.unsupported(path)),
        })
    }

    /// Whether a gradient is kept for a tensor, as it is under attack: images want one.
    fn requires_grad(&self, operand: &Operand) -> Result<bool> {
        if let Some(facts) = operand.facts() {
            return Ok(facts.requires_grad);
        }
        if self.graph.follows_images(operand) {
            return Ok(true);
        }
        match kind::is_floating(self.graph.kind(operand)) {
            true => Err(self.error("it asks whether a computed tensor wants a gradient, which is not known here")),
            false => Ok(false),
        }
    }

    /// A size of a tensor, with what it depends on.
    fn extent(&self, operand: &Operand, at: usize, size: Size) -> Value<'a> {
        match size {
            Size::Fixed(fixed) if self.graph.is_side(operand, at) => {
                Value::Side(fixed, Rc::clone(&self.graph.sides_used))
            }
            size => Value::Int(size),
        }
    }

    /// Functions of `torch` whose result does not depend on the numbers in a tensor.
    fn of_values(&mut self, name: &str, args: &[Value<'a>]) -> Result<Option<Value<'a>>> {
        Ok(Some(match (name, args) {
            ("is_grad_enabled", []) => Value::Bool(true),
            ("is_autocast_enabled" | "is_autocast_cpu_enabled" | "is_scripting", ..)
            | ("is_complex", [Value::Tensor(_)]) => Value::Bool(false),
            ("warn", ..) => Value::None,
            ("device", [Value::Text(name)]) => self.device(name, None)?,
            ("device", [Value::Text(name), index]) => self.device(name, Some(index))?,
            ("is_floating_point", [Value::Tensor(operand)]) => Value::Bool(kind::is_floating(self.graph.kind(operand))),
            ("dim", [Value::Tensor(operand)]) => {
                self.graph.read(operand)?;
                Value::fixed(self.graph.shape(operand).len() as i64)
            }
            ("size", [Value::Tensor(operand)]) => {
                self.graph.read(operand)?;
                let shape = self.graph.shape(operand);
                self.charge(shape.len())?;
                Value::list(shape.into_iter().enumerate().map(|(at, size)| self.extent(operand, at, size)).collect())
            }
            ("numel", [Value::Tensor(operand)]) => {
                let shape = self.graph.shape(operand);
                if (0..shape.len()).any(|at| self.graph.is_side(operand, at)) {
                    self.graph.sides_used.set(true);
                }
                Value::Int(shape::count(&shape).map_err(|reason| self.error(reason))?)
            }
            ("len", [value]) => match value {
                Value::Text(text) => {
                    self.charge_text(text.len())?;
                    Value::fixed(text.chars().count() as i64)
                }
                Value::Dict(entries) => Value::fixed(entries.borrow().len() as i64),
                Value::List(_) | Value::Tuple(..) => Value::fixed(value.length() as i64),
                Value::Tensor(operand) => match self.graph.shape(operand).first() {
                    Some(size) => self.extent(operand, 0, *size),
                    None => return Ok(None),
                },
                _ => return Ok(None),
            },
            ("sum", [list @ Value::List(_)]) => self.sum(list)?,
            ("all" | "any", [list @ Value::List(_)]) => self.all_or_any(name == "all", list)?,
            ("__not__", [value]) => Value::Bool(!self.truth(value)?),
            ("neg", [value]) if !value.is_tensor() => match value.number() {
                Some(Number::Float(number)) => Value::Float(-number),
                Some(Number::Int(size)) => Value::Int(size.negative().ok_or_else(|| self.error("it overflows"))?),
                None => return Ok(None),
            },
            ("sqrt" | "ceil" | "floor", [value]) if !value.is_tensor() => {
                let Some(number) = value.number().and_then(Number::float) else { return Ok(None) };
                let number = match name {
                    "sqrt" => return Ok(Some(Value::Float(number.sqrt()))),
                    "ceil" => number.ceil(),
                    _ => number.floor(),
                };
                if number.is_nan() || number.abs() > 9e18 {
                    return Err(self.error("it makes a whole number of what is none"));
                }
                Value::fixed(number as i64)
            }
            ("format", [Value::Text(pattern), values @ ..]) => self.formatted(pattern, true, values)?,
            ("format", [Value::Words(pattern), values @ ..]) => self.formatted(pattern, false, values)?,
            ("__range_length", [_, _, _]) => self.range_length(args)?,
            ("__derive_index", [_, _, _]) => self.range_member(args)?,
            ("slice", [list @ (Value::List(_) | Value::Tuple(..)), bounds @ ..]) => self.part(list, bounds)?,
            ("list" | "copy", [list @ Value::List(_)]) => Value::list(self.members(list)?.unwrap_or_default()),
            ("_set_item", [list, key, value]) => self.set_member(list, key, value)?,
            _ => return Ok(None),
        }))
    }

    /// Functions of two values, unless these are tensors of numbers.
    pub(super) fn of_two(
        &mut self,
        name: &str,
        first: &Value<'a>,
        second: &Value<'a>,
        named: &[(&'a str, Value<'a>)],
    ) -> Result<Option<Value<'a>>> {
        match name {
            "__is__" => return Ok(Some(Value::Bool(self.is(first, second)?))),
            "__isnot__" => return Ok(Some(Value::Bool(!self.is(first, second)?))),
            "size" => {
                let (Value::Tensor(operand), Some(Number::Int(Size::Fixed(dim)))) = (first, second.number()) else {
                    return Ok(None);
                };
                self.graph.read(operand)?;
                let sizes = self.graph.shape(operand);
                let at = shape::position(dim, sizes.len()).ok().filter(|at| *at < sizes.len());
                let at = at.ok_or_else(|| self.error(format!("it asks for dimension {dim} of {}", sizes.len())))?;
                return Ok(Some(self.extent(operand, at, sizes[at])));
            }
            "append" | "extend" => return self.lengthen(name, first, second).map(Some),
            "__contains__" => return Ok(Some(Value::Bool(self.contains(first, second)?))),
            "__getitem__" if !first.is_tensor() => return self.member(first, second).map(Some),
            _ => (),
        }
        if first.is_tensor() || second.is_tensor() {
            return self.of_held(name, (first, second), named);
        }
        if let (Some(a), Some(b)) = (first.number(), second.number()) {
            return self.arithmetic(name, (first, a), (second, b), named);
        }
        Ok(match (name, first, second) {
            ("eq", ..) => Some(Value::Bool(self.equal(first, second)?)),
            ("ne", ..) => Some(Value::Bool(!self.equal(first, second)?)),
            ("add", Value::Text(a) | Value::Words(a), Value::Text(b) | Value::Words(b)) => {
                self.check_length(a.len() + b.len())?;
                let exact = matches!((first, second), (Value::Text(_), Value::Text(_)));
                Some(self.text(&format!("{a}{b}"), exact)?)
            }
            _ => self.joined(name, first, second)?,
        })
    }

    fn is(&self, first: &Value<'a>, second: &Value<'a>) -> Result<bool> {
        match (first, second) {
            (Value::Uninitialized, _) | (_, Value::Uninitialized) => {
                Err(self.error("it compares a value that was never set"))
            }
            (Value::Tensor(a), Value::Tensor(b)) => Ok(a.is_same(b)),
            (Value::None, Value::None) => Ok(true),
            (Value::None, _) | (_, Value::None) => Ok(false),
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            _ => Err(self.error(format!("it asks whether {} is {}", first.what(), second.what()))),
        }
    }

    pub(super) fn equal(&mut self, first: &Value<'a>, second: &Value<'a>) -> Result<bool> {
        self.deeper(|it| match (first, second) {
            (Value::Text(a), Value::Text(b)) => {
                it.charge_text(a.len().min(b.len()))?;
                Ok(a == b)
            }
            (Value::None, Value::None) => Ok(true),
            (Value::None, _) | (_, Value::None) => Ok(false),
            (Value::Device(a), Value::Device(b)) => it.same_device(a.as_ref(), b.as_ref()),
            (Value::DeviceKind, Value::Text(name)) | (Value::Text(name), Value::DeviceKind) => it.is_device_kind(name),
            (Value::DeviceKind, Value::DeviceKind) if !it.moved => Ok(true),
            (Value::Member(a, x), Value::Member(b, y)) => Ok(std::ptr::eq(*a, *b) && it.equal(x, y)?),
            (Value::List(_), Value::List(_)) | (Value::Tuple(..), Value::Tuple(..)) => {
                let (a, b) = (it.members(first)?.unwrap_or_default(), it.members(second)?.unwrap_or_default());
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(&b) {
                    if !it.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => match (first.number(), second.number()) {
                (Some(a), Some(b)) => Ok(it.order(a, b, true)? == Ordering::Equal),
                _ => Err(it.error(format!("it compares {} with {}", first.what(), second.what()))),
            },
        })
    }
}
