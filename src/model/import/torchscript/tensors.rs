//! Operators on tensors: they go through the table that exported programs go through.

use tch::Kind;

use super::evaluator::{Arguments, Evaluator, Result};
use super::value::Value;
use crate::model::import::call::{Argument, Call};
use crate::model::import::graph::Operand;
use crate::model::import::{operators, shown};
use crate::model::program::Size;

/// Operators that return a list of tensors.
const LISTS: &str = "chunk split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split";

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

/// The number of a tensor's data type.
pub(super) fn code_of(operand: &Operand) -> i64 {
    let kind = operand.known().map_or(Kind::Float, |known| known.kind());
    KINDS.iter().find(|(_, it)| *it == kind).map_or(-1, |(code, _)| *code)
}

impl<'a> Evaluator<'a> {
    /// Calls the operator `name` of the table, which the code calls `path`.
    pub(super) fn operator(&mut self, path: &str, name: &str, (args, named): &Arguments<'a>) -> Result<Value<'a>> {
        self.set_origin(path);
        if matches!(name, "to" | "type_as") {
            return self.cast(args, named);
        }
        let by_name: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let found = operators::overload(name, args.len(), &by_name);
        let (operator, in_place) =
            found.ok_or_else(|| self.error(format!("the operator `{}` is not supported", shown(path))))?;
        let mut arguments = Vec::with_capacity(args.len() + named.len());
        for (name, value) in operator.places().zip(args) {
            arguments.push((name.to_owned(), self.argument(name, value)?));
        }
        for (name, value) in named {
            arguments.push(((*name).to_owned(), self.argument(name, value)?));
        }
        let before = self.graph.nodes.len();
        let mut made = operator.translate(&mut Call::new(&mut self.graph, &arguments), in_place)?;
        self.charge(made.len())?;
        self.note_work(before);
        if name == "_native_multi_head_attention" {
            return Ok(Value::tuple(vec![Value::Tensor(made.remove(0)), Value::Uninitialized]));
        }
        match (LISTS.split_whitespace().any(|it| it == name), made.len()) {
            (false, 1) => Ok(Value::Tensor(made.remove(0))),
            _ => Ok(Value::list(made.into_iter().map(Value::Tensor).collect())),
        }
    }

    fn argument(&self, name: &str, value: &Value<'a>) -> Result<Argument> {
        Ok(match value {
            Value::None => Argument::None,
            Value::Int(Size::Fixed(code)) if name == "dtype" => kind_of(*code),
            Value::Bool(flag) => Argument::Bool(*flag),
            Value::Int(size) => Argument::Integer(*size),
            Value::Float(number) => Argument::Float(*number),
            Value::Text(text) => Argument::Text(text.to_string()),
            Value::Tensor(operand) => Argument::Tensor(operand.clone()),
            Value::Device => Argument::Other,
            Value::List(_) | Value::Tuple(..) => {
                let members = value.members().unwrap_or_default();
                let tensors = members.iter().map(|member| match member {
                    Value::Tensor(operand) => Some(Some(operand.clone())),
                    Value::None => Some(None),
                    _ => None,
                });
                let sizes = members.iter().map(|member| match member {
                    Value::Int(size) => Some(*size),
                    _ => None,
                });
                match (sizes.collect(), tensors.collect()) {
                    (Some(sizes), _) => Argument::Integers(sizes),
                    (None, Some(tensors)) => Argument::Tensors(tensors),
                    (None, None) => Argument::Other,
                }
            }
            _ => return Err(self.error(format!("`{}` is {}", shown(name), value.what()))),
        })
    }

    /// `to`, whose many overloads say which type is wanted.
    fn cast(&mut self, args: &[Value<'a>], named: &[(&'a str, Value<'a>)]) -> Result<Value<'a>> {
        let Some((Value::Tensor(operand), wanted)) = args.split_first() else {
            return Err(self.error("it changes the type of what is no tensor"));
        };
        let mut arguments = vec![("self".to_owned(), Argument::Tensor(operand.clone()))];
        let mut flags = Vec::new();
        for value in wanted.iter().chain(named.iter().filter(|(name, _)| *name == "dtype").map(|(_, value)| value)) {
            match value {
                Value::Int(Size::Fixed(code)) if arguments.len() == 1 => {
                    arguments.push(("dtype".to_owned(), kind_of(*code)));
                }
                Value::Tensor(other) if arguments.len() == 1 => {
                    arguments.push(("dtype".to_owned(), kind_of(code_of(other))));
                }
                Value::Bool(flag) => flags.push(*flag),
                Value::Device | Value::None | Value::Text(_) | Value::Int(_) => (),
                _ => return Err(self.error(format!("it changes the type of a tensor to {}", value.what()))),
            }
        }
        // `non_blocking`, `copy`.
        let copy = flags.get(1) == Some(&true)
            || named.iter().any(|(name, value)| *name == "copy" && matches!(value, Value::Bool(true)));
        arguments.push(("copy".to_owned(), Argument::Bool(copy)));
        let (operator, _) = operators::find("to.dtype").expect("it is in the table");
        let before = self.graph.nodes.len();
        let mut made = operator.translate(&mut Call::new(&mut self.graph, &arguments), false)?;
        self.note_work(before);
        Ok(Value::Tensor(made.remove(0)))
    }
}

fn kind_of(code: i64) -> Argument {
    let kind = KINDS.iter().find(|(it, _)| *it == code);
    kind.map_or(Argument::Other, |(_, kind)| Argument::Kind(*kind))
}
