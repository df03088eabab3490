//! Functions of TorchScript over values that are known, sizes among them: they are computed at once.

use std::cmp::Ordering;

use super::evaluator::{Arguments, Evaluator, Result};
use super::value::{Number, Value};
use crate::model::import::shown;
use crate::model::program::Size;

/// Characters of a text, and members of a list, that code may make.
const LONGEST: usize = 100_000;

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
            ("str", [value]) => Value::text(&text_of(value)),
            ("range", bounds) => return self.range(bounds),
            _ => return Err(self.unsupported(path)),
        })
    }

    fn range(&mut self, bounds: &[Value<'a>]) -> Result<Value<'a>> {
        let number = |value: &Value<'a>| match value.number() {
            Some(Number::Int(Size::Fixed(number))) => Some(number),
            _ => None,
        };
        let bounds: Option<Vec<i64>> = bounds.iter().map(number).collect();
        let (start, end, step) = match bounds.as_deref() {
            Some([end]) => (0, *end, 1),
            Some([start, end]) => (*start, *end, 1),
            Some([start, end, step]) if *step != 0 => (*start, *end, *step),
            _ => return Err(self.error("it counts by what is not a fixed number")),
        };
        let mut members = Vec::new();
        let mut at = start;
        while if step > 0 { at < end } else { at > end } {
            self.charge(1)?;
            self.check_length(members.len())?;
            members.push(Value::fixed(at));
            at = at.saturating_add(step);
        }
        Ok(Value::list(members))
    }

    fn check_length(&mut self, length: usize) -> Result<()> {
        if length <= LONGEST {
            return Ok(());
        }
        // Images of another size would not help.
        self.steps = 0;
        Err(self.error(format!("it makes more than {LONGEST} values, or letters, at once")))
    }

    fn primitive(&mut self, path: &str, name: &str, args: &[Value<'a>]) -> Result<Value<'a>> {
        Ok(match (name, args) {
            ("NumToTensor" | "unchecked_unwrap_optional" | "data", [value]) => value.clone(),
            ("RaiseException", [message, ..]) => {
                return Err(self.error(format!("it refuses: {}", shown(&text_of(message)))));
            }
            ("dtype", [Value::Tensor(operand)]) => Value::fixed(super::tensors::code_of(operand)),
            ("device", [Value::Tensor(_)]) => Value::Device,
            ("type", [Value::Device]) => Value::text("cpu"),
            ("index", [Value::Device]) => Value::None,
            // Images may: attacks need their gradient.
            ("requires_grad", [Value::Tensor(operand)]) => {
                Value::Bool(operand.known().is_none() || operand.is_parameter())
            }
            ("is_cpu", [Value::Tensor(_)]) => Value::Bool(true),
            (
                "is_nested" | "is_cuda" | "is_sparse" | "is_sparse_csr" | "is_quantized" | "is_mkldnn" | "is_meta"
                | "is_xpu" | "is_mps" | "is_ipu" | "is_maia" | "is_vulkan" | "is_mtia" | "is_xla",
                [Value::Tensor(_)],
            ) => Value::Bool(false),
            ("layout", [Value::Tensor(_)]) => Value::fixed(0),
            ("shape", [Value::Tensor(_)]) => return self.builtin("torch.size", &(args.to_vec(), Vec::new())),
            ("ndim", [Value::Tensor(_)]) => return self.builtin("torch.dim", &(args.to_vec(), Vec::new())),
            ("min" | "max", [list]) => {
                let members = list.members().unwrap_or_default();
                let mut best: Option<Value<'a>> = None;
                for member in members {
                    best = Some(match best {
                        Some(best) => self
                            .of_two(name, &best, &member, &[])?
                            .ok_or_else(|| self.error("it compares no numbers"))?,
                        None => member,
                    });
                }
                best.ok_or_else(|| self.error("it looks for the largest of nothing"))?
            }
            _ => return Err(self.unsupported(path)),
        })
    }

    /// Functions of `torch` whose result does not depend on the numbers in a tensor.
    fn of_values(&mut self, name: &str, args: &[Value<'a>]) -> Result<Option<Value<'a>>> {
        Ok(Some(match (name, args) {
            ("is_grad_enabled", []) => Value::Bool(true),
            ("is_autocast_enabled" | "is_autocast_cpu_enabled" | "is_scripting", ..)
            | ("is_complex", [Value::Tensor(_)]) => Value::Bool(false),
            ("warn", ..) => Value::None,
            ("device", [Value::Text(_)]) => Value::Device,
            ("is_floating_point", [Value::Tensor(operand)]) => {
                Value::Bool(operand.known().is_none_or(|known| known.is_floating_point()))
            }
            ("dim", [Value::Tensor(operand)]) => {
                self.graph.read(operand)?;
                Value::fixed(self.graph.shape(operand).len() as i64)
            }
            ("size", [Value::Tensor(operand)]) => {
                self.graph.read(operand)?;
                Value::list(self.graph.shape(operand).into_iter().map(Value::Int).collect())
            }
            ("len", [value]) => match value {
                Value::Text(text) => Value::fixed(text.chars().count() as i64),
                Value::Dict(entries) => Value::fixed(entries.borrow().len() as i64),
                Value::List(list) => Value::fixed(list.members.borrow().len() as i64),
                Value::Tuple(members, _) => Value::fixed(members.borrow().len() as i64),
                Value::Tensor(operand) => match self.graph.shape(operand).first() {
                    Some(size) => Value::Int(*size),
                    None => return Ok(None),
                },
                _ => return Ok(None),
            },
            ("sum", [list @ Value::List(_)]) => self.sum(list)?,
            ("all" | "any", [Value::List(list)]) => {
                let members = list.members.borrow();
                let mut found = name == "all";
                for member in members.iter() {
                    let flag = self.truth(member)?;
                    found = if name == "all" { found && flag } else { found || flag };
                }
                self.charge(members.len())?;
                Value::Bool(found)
            }
            ("__not__", [value]) => Value::Bool(!self.truth(value)?),
            ("neg", [value]) if !matches!(value, Value::Tensor(_)) => match value.number() {
                Some(Number::Float(number)) => Value::Float(-number),
                Some(Number::Int(size)) => Value::Int(size.negative().ok_or_else(|| self.error("it overflows"))?),
                None => return Ok(None),
            },
            ("sqrt" | "ceil" | "floor", [value]) if !matches!(value, Value::Tensor(_)) => {
                let Some(number) = value.number().and_then(Number::float) else { return Ok(None) };
                match name {
                    "sqrt" => Value::Float(number.sqrt()),
                    "ceil" => Value::fixed(number.ceil() as i64),
                    _ => Value::fixed(number.floor() as i64),
                }
            }
            ("format", [Value::Text(pattern), values @ ..]) => {
                let mut text = String::new();
                let mut values = values.iter();
                let mut parts = pattern.split("{}");
                text.push_str(parts.next().unwrap_or_default());
                for part in parts {
                    text.push_str(&values.next().map_or_else(|| "{}".to_owned(), text_of));
                    text.push_str(part);
                    self.check_length(text.len())?;
                }
                self.charge(text.len() / 8)?;
                Value::text(&text)
            }
            ("slice", [list @ (Value::List(_) | Value::Tuple(..)), bounds @ ..]) => self.part(list, bounds)?,
            ("list" | "copy", [list @ Value::List(_)]) => {
                let members = list.members().unwrap_or_default();
                self.charge(members.len())?;
                Value::list(members)
            }
            ("_set_item", [list, key, value]) => {
                let members = &self.changeable(list)?.members;
                let (length, index) = (members.borrow().len() as i64, key.number());
                let at = match index {
                    Some(Number::Int(Size::Fixed(index))) => {
                        if index < 0 {
                            index + length
                        } else {
                            index
                        }
                    }
                    _ => -1,
                };
                if !(0..length).contains(&at) {
                    return Err(self.error("it sets a member that a list does not have"));
                }
                members.borrow_mut()[at as usize] = value.clone();
                Value::None
            }
            _ => return Ok(None),
        }))
    }

    fn sum(&mut self, list: &Value<'a>) -> Result<Value<'a>> {
        let mut total = Value::fixed(0);
        for member in list.members().unwrap_or_default() {
            let sum = self.of_two("add", &total, &member, &[])?;
            total = sum.ok_or_else(|| self.error(format!("it adds up {}", member.what())))?;
        }
        Ok(total)
    }

    /// `list[start:end:step]`.
    fn part(&mut self, list: &Value<'a>, bounds: &[Value<'a>]) -> Result<Value<'a>> {
        let members = list.members().unwrap_or_default();
        self.charge(members.len())?;
        let length = members.len() as i64;
        let bound = |at: usize, default: i64| match bounds.get(at) {
            None | Some(Value::None) => Some(default),
            Some(value) => match value.number() {
                Some(Number::Int(Size::Fixed(number))) => Some(number),
                _ => None,
            },
        };
        let inside = |at: i64| if at < 0 { (at + length).max(0) } else { at.min(length) };
        let (Some(start), Some(end), Some(step)) =
            (bound(0, 0), bound(1, length), bound(2, 1).filter(|step| *step > 0))
        else {
            return Err(self.error("it takes a part of a list by what is not a fixed number"));
        };
        let part = members.into_iter().take(inside(end) as usize).skip(inside(start) as usize).step_by(step as usize);
        Ok(match list {
            Value::Tuple(..) => Value::tuple(part.collect()),
            _ => Value::list(part.collect()),
        })
    }

    /// Functions of two values, unless these are tensors of many numbers.
    fn of_two(
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
                let shape = self.graph.shape(operand);
                let at = crate::model::import::shape::position(dim, shape.len()).ok().and_then(|at| shape.get(at));
                let size = *at.ok_or_else(|| self.error(format!("it asks for dimension {dim} of {}", shape.len())))?;
                return Ok(Some(Value::Int(size)));
            }
            "append" | "extend" => {
                self.changeable(first)?;
                let new = if name == "append" { Some(vec![second.clone()]) } else { second.members() };
                let new = new.ok_or_else(|| self.error(format!("it extends a list by {}", second.what())))?;
                self.charge(new.len())?;
                let members = &self.changeable(first)?.members;
                self.check_length(members.borrow().len() + new.len())?;
                members.borrow_mut().extend(new);
                return Ok(Some(first.clone()));
            }
            "__contains__" => {
                let members = match first {
                    Value::Dict(entries) => Some(entries.borrow().iter().map(|(key, _)| key.clone()).collect()),
                    _ => first.members(),
                };
                let members = members.ok_or_else(|| self.error(format!("it looks into {}", first.what())))?;
                for member in &members {
                    if self.equal(member, second)? {
                        return Ok(Some(Value::Bool(true)));
                    }
                }
                return Ok(Some(Value::Bool(false)));
            }
            "__getitem__" if !matches!(first, Value::Tensor(_)) => return self.member(first, second).map(Some),
            _ => (),
        }
        if let (Some(a), Some(b)) = (first.number(), second.number())
            && !(matches!(first, Value::Tensor(_)) && matches!(second, Value::Tensor(_)))
        {
            return self.arithmetic(name, (first, a), (second, b), named);
        }
        Ok(match (name, first, second) {
            (_, Value::Tensor(_), _) | (_, _, Value::Tensor(_)) => None,
            ("eq", ..) => Some(Value::Bool(self.equal(first, second)?)),
            ("ne", ..) => Some(Value::Bool(!self.equal(first, second)?)),
            ("add", Value::Text(a), Value::Text(b)) => {
                self.check_length(a.len() + b.len())?;
                self.charge((a.len() + b.len()) / 8)?;
                Some(Value::text(&format!("{a}{b}")))
            }
            ("add", Value::List(a), Value::List(b)) => {
                let members = [&a.members.borrow()[..], &b.members.borrow()[..]].concat();
                self.check_length(members.len())?;
                self.charge(members.len())?;
                Some(Value::list(members))
            }
            ("mul", Value::List(list), count) => {
                let Some(Number::Int(Size::Fixed(count))) = count.number() else { return Ok(None) };
                let members = list.members.borrow().clone();
                let total = members.len().saturating_mul(usize::try_from(count).unwrap_or(0));
                self.check_length(total)?;
                self.charge(total)?;
                Some(Value::list(members.iter().cycle().take(total).cloned().collect()))
            }
            _ => None,
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
            (Value::Text(a), Value::Text(b)) => Ok(a == b),
            (Value::None, Value::None) | (Value::Device, Value::Device) => Ok(true),
            (Value::None, _) | (_, Value::None) => Ok(false),
            (Value::Member(a, x), Value::Member(b, y)) => Ok(std::ptr::eq(*a, *b) && it.equal(x, y)?),
            (Value::List(_), Value::List(_)) | (Value::Tuple(..), Value::Tuple(..)) => {
                let (a, b) = (first.members().unwrap_or_default(), second.members().unwrap_or_default());
                it.charge(a.len())?;
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

/// A value in a message of the code.
pub(super) fn text_of(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Int(Size::Fixed(number)) => number.to_string(),
        Value::Int(Size::Batch(times)) => format!("{times}·N"),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => if *flag { "True" } else { "False" }.to_owned(),
        Value::List(list) => {
            let members = list.members.borrow();
            let shown: Vec<String> = members
                .iter()
                .take(16)
                .map(|member| match member {
                    Value::List(_) => "[…]".to_owned(),
                    member => text_of(member),
                })
                .collect();
            format!("[{}]", shown.join(", "))
        }
        _ => value.what().to_owned(),
    }
}
