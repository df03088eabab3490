//! Operators on tensors: they go through the table that exported programs go through.

use tch::{Kind, Tensor};

use super::evaluator::{Arguments, Evaluator, Result};
use super::value::{Number, Value};
use crate::model::import::call::{Argument, Call};
use crate::model::import::graph::Operand;
use crate::model::import::kind::{Scalar, is_floating};
use crate::model::import::{fallback, operators, shown};
use crate::model::program::Size;

/// Operators that return a list of tensors.
const LISTS: &str = "chunk split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split";

/// Operators that libtorch gives a number where tracing has put it into a tensor.
const ARITHMETIC: &str = "add sub mul div";

/// Steps that an operator costs: it takes more memory than other steps.
const COST: usize = 16;

/// The numbers of libtorch's data types, which is how code names them.
const KINDS: [(i64, Kind); 10] = [
    (0, Kind::Uint8),
    (1, Kind::Int8),
    (2, Kind::Int16),
    (3, Kind::Int),
    (4, Kind::Int64),
    (5, Kind::Half),
    (6, Kind::Float),
    (7, Kind::Double),
    (11, Kind::Bool),
    (15, Kind::BFloat16),
];

/// The number of a data type.
pub(super) fn code_of(kind: Kind) -> i64 {
    KINDS.iter().find(|(_, it)| *it == kind).map_or(-1, |(code, _)| *code)
}

impl<'a> Evaluator<'a> {
    /// Calls the operator `name` of the table, which the code calls `path`.
    pub(super) fn operator(&mut self, path: &str, name: &str, (args, named): &Arguments<'a>) -> Result<Value<'a>> {
        self.charge(COST)?;
        self.set_origin(path);
        if matches!(name, "to" | "type_as") {
            return self.cast(args, named);
        }
        let by_name: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let found = operators::overload(name, args.len(), &by_name);
        if found.is_none() && !fallback::is_known(name) {
            return Err(self.error(format!("the operator `{}` is not supported", shown(path))));
        }
        if name.ends_with('_') && matches!(args.first(), Some(Value::Held(_))) {
            return Err(self.error("it changes a size in place, which is not supported"));
        }
        let is_arithmetic = ARITHMETIC.split_whitespace().any(|it| it == name.trim_end_matches('_'));
        let mut names = found.iter().flat_map(|(operator, _)| operator.places());
        let mut places = Vec::with_capacity(args.len());
        let mut arguments = Vec::with_capacity(args.len() + named.len());
        for value in args {
            let name = names.next().unwrap_or_default();
            places.push(match value {
                Value::Tensor(operand) if is_arithmetic && name == "other" => number_or_tensor(operand),
                _ => self.argument(name, value)?,
            });
            arguments.push((name.to_owned(), places[places.len() - 1].clone()));
        }
        let mut by_name = Vec::with_capacity(named.len());
        for (name, value) in named {
            by_name.push(((*name).to_owned(), self.argument(name, value)?));
        }
        arguments.extend(by_name.iter().cloned());
        let before = self.graph.nodes.len();
        let typed =
            found.map(|(operator, in_place)| operator.translate(&mut Call::new(&mut self.graph, &arguments), in_place));
        let boxed = || fallback::by_arguments(name, &places, &by_name);
        if typed.is_none() && boxed().is_none() {
            return Err(self.error(format!("the operator `{}` is not supported with these arguments", shown(path))));
        }
        let (mut made, lists) = fallback::typed_or_boxed(&mut self.graph, before, typed, boxed)?;
        self.charge(COST * made.len())?;
        self.note_work(before);
        if name == "_native_multi_head_attention" {
            return Ok(Value::tuple(vec![Value::Tensor(made.remove(0)), Value::Uninitialized]));
        }
        match (lists || LISTS.split_whitespace().any(|it| it == name), made.len()) {
            (false, 1) => Ok(Value::Tensor(made.remove(0))),
            _ => Ok(Value::list(made.into_iter().map(Value::Tensor).collect())),
        }
    }

    /// A size that was put into a tensor, as one.
    fn held(&mut self, size: Size) -> Result<Operand> {
        match size {
            Size::Fixed(number) => self.graph.computed(Ok(Tensor::from(number))),
            Size::Batch(_) => Err(self.error("it computes with the number of images, which is not supported")),
        }
    }

    fn argument(&mut self, name: &str, value: &Value<'a>) -> Result<Argument> {
        Ok(match value {
            Value::None => Argument::None,
            Value::Int(Size::Fixed(code)) if name == "dtype" => kind_of(*code),
            Value::Bool(flag) => Argument::Bool(*flag),
            Value::Int(size) => Argument::Integer(*size),
            Value::Side(size, used) => {
                used.set(true);
                Argument::Integer(Size::Fixed(*size))
            }
            Value::Float(number) => Argument::Float(*number),
            Value::Text(text) => {
                self.charge_text(text.len())?;
                Argument::Text(text.to_string())
            }
            Value::Tensor(operand) => Argument::Tensor(operand.clone()),
            Value::Held(size) => Argument::Tensor(self.held(*size)?),
            Value::Device(device) => {
                self.moved |= device.is_some();
                Argument::Other
            }
            Value::List(_) | Value::Tuple(..) => {
                let members = self.members(value)?.unwrap_or_default();
                let tensors = members.iter().map(|member| match member {
                    Value::Tensor(operand) => Some(Some(operand.clone())),
                    Value::None => Some(None),
                    _ => None,
                });
                let sizes = members.iter().map(|member| match member {
                    Value::Int(size) => Some(*size),
                    Value::Side(size, used) => {
                        used.set(true);
                        Some(Size::Fixed(*size))
                    }
                    _ => None,
                });
                let floats = || {
                    let numbers = members.iter().map(|member| member.number().and_then(Number::float));
                    numbers.collect::<Option<Vec<f64>>>()
                };
                match (sizes.collect(), tensors.collect()) {
                    (Some(sizes), _) => Argument::Integers(sizes),
                    (None, Some(tensors)) => Argument::Tensors(tensors),
                    (None, None) => floats().map_or(Argument::Other, Argument::Floats),
                }
            }
            _ => return Err(self.error(format!("`{}` is {}", shown(name), value.what()))),
        })
    }

    /// `to`, whose many overloads say which type is wanted.
    fn cast(&mut self, args: &[Value<'a>], named: &[(&'a str, Value<'a>)]) -> Result<Value<'a>> {
        let Some((whole, wanted)) = args.split_first() else {
            return Err(self.error("it changes the type of nothing"));
        };
        let operand = match whole {
            Value::Tensor(operand) => operand.clone(),
            Value::Held(size) => self.held(*size)?,
            _ => return Err(self.error("it changes the type of what is no tensor")),
        };
        let mut arguments = vec![("self".to_owned(), Argument::Tensor(operand))];
        // `non_blocking`, `copy`; then a number is the memory format.
        let mut flags = Vec::new();
        let mut format = Argument::None;
        for (name, value) in
            wanted.iter().map(|value| ("", value)).chain(named.iter().map(|(name, value)| (*name, value)))
        {
            match (name, value) {
                ("copy", Value::Bool(flag)) => flags = vec![false, *flag],
                ("non_blocking" | "layout" | "pin_memory", _) | (_, Value::None | Value::DeviceKind) => (),
                ("memory_format", Value::Int(size)) => format = Argument::Integer(*size),
                ("", Value::Bool(flag)) => flags.push(*flag),
                ("", Value::Int(size)) if !flags.is_empty() => format = Argument::Integer(*size),
                ("" | "dtype", Value::Int(Size::Fixed(code))) if arguments.len() == 1 => {
                    arguments.push(("dtype".to_owned(), kind_of(*code)));
                }
                ("" | "other", Value::Tensor(other)) if arguments.len() == 1 => {
                    let code = code_of(self.graph.kind(other));
                    arguments.push(("dtype".to_owned(), kind_of(code)));
                }
                ("" | "device", Value::Device(device)) => self.moved |= device.is_some(),
                ("" | "device", Value::Text(_)) => self.moved = true,
                _ => return Err(self.error(format!("it changes the type of a tensor to {}", value.what()))),
            }
        }
        arguments.push(("copy".to_owned(), Argument::Bool(flags.get(1) == Some(&true))));
        arguments.push(("memory_format".to_owned(), format));
        let (operator, _) = operators::find("to.dtype").expect("it is in the table");
        let before = self.graph.nodes.len();
        let mut made = operator.translate(&mut Call::new(&mut self.graph, &arguments), false)?;
        self.note_work(before);
        Ok(Value::Tensor(made.remove(0)))
    }

    /// `torch.tensor`: of a number, or of numbers in lists.
    pub(super) fn new_tensor(&mut self, args: &[Value<'a>], named: &[(&'a str, Value<'a>)]) -> Result<Value<'a>> {
        self.charge(COST)?;
        self.set_origin("torch.tensor");
        let names = ["data", "dtype", "device", "requires_grad"];
        let all = names.into_iter().zip(args).chain(named.iter().map(|(name, value)| (*name, value)));
        let (mut size, mut numbers, mut wanted, mut placed) = (Vec::new(), Vec::new(), None, false);
        for (name, value) in all {
            match (name, value) {
                ("data", data) => self.flatten(data, 0, &mut size, &mut numbers)?,
                ("dtype", Value::Int(Size::Fixed(code))) => match kind_of(*code) {
                    Argument::Kind(kind) => wanted = Some(kind),
                    _ => return Err(self.error("it makes a tensor of a type that is not read")),
                },
                ("device", Value::Device(device)) => (self.moved, placed) = (self.moved | device.is_some(), true),
                (_, Value::None) | ("requires_grad", Value::Bool(false)) => (),
                _ => {
                    return Err(self.error(format!("it makes a tensor with a `{}` that is not supported", shown(name))));
                }
            }
        }
        // By itself it is on the processor.
        self.moved |= !placed;
        let floating = numbers.iter().any(|number: &Scalar| number.kind() == Kind::Float);
        let whole = numbers.iter().any(|number| number.kind() == Kind::Int64);
        let default = match (floating, whole) {
            (true, _) => Kind::Float,
            (false, true) => Kind::Int64,
            (false, false) if numbers.is_empty() => Kind::Float,
            (false, false) => Kind::Bool,
        };
        let kind = wanted.unwrap_or(default);
        self.graph.spend(numbers.len() as f64)?;
        let flat = match floating {
            true => Tensor::f_from_slice(&numbers.iter().map(|number| number.float()).collect::<Vec<_>>()),
            false => Tensor::f_from_slice(&numbers.iter().map(|number| number.whole()).collect::<Vec<_>>()),
        };
        if floating && !is_floating(kind) {
            return Err(self.error("it makes whole numbers of others, which is not supported"));
        }
        let made = flat.and_then(|flat| flat.f_to_kind(kind)?.f_view(&size[..]));
        Ok(Value::Tensor(self.graph.computed(made)?))
    }

    /// Collects the numbers of lists in lists, which all have the same size.
    fn flatten(
        &mut self,
        data: &Value<'a>,
        depth: usize,
        size: &mut Vec<i64>,
        numbers: &mut Vec<Scalar>,
    ) -> Result<()> {
        let irregular = |it: &Self| it.error("it makes a tensor of lists of several sizes, or of what are no numbers");
        if let Some(members) = self.members(data)? {
            let length = members.len() as i64;
            match size.get(depth) {
                Some(known) if *known == length => (),
                None if numbers.is_empty() && depth == size.len() && depth < 8 => size.push(length),
                _ => return Err(irregular(self)),
            }
            return members.iter().try_for_each(|member| self.flatten(member, depth + 1, size, numbers));
        }
        let number = match data {
            Value::Bool(flag) => Scalar::Bool(*flag),
            Value::Int(Size::Fixed(number)) => Scalar::Int(*number),
            Value::Side(number, used) => {
                used.set(true);
                Scalar::Int(*number)
            }
            Value::Float(number) => Scalar::Float(*number),
            _ => return Err(irregular(self)),
        };
        if depth != size.len() {
            return Err(irregular(self));
        }
        self.charge(1)?;
        numbers.push(number);
        Ok(())
    }
}

/// A tensor, or the Python number that it was before tracing.
fn number_or_tensor(operand: &Operand) -> Argument {
    let is_number = operand.facts().is_some_and(|facts| facts.number);
    match Value::Tensor(operand.clone()).number().filter(|_| is_number) {
        Some(Number::Int(size)) => Argument::Integer(size),
        Some(Number::Float(number)) => Argument::Float(number),
        None => Argument::Tensor(operand.clone()),
    }
}

fn kind_of(code: i64) -> Argument {
    let kind = KINDS.iter().find(|(it, _)| *it == code);
    kind.map_or(Argument::Other, |(_, kind)| Argument::Kind(*kind))
}
