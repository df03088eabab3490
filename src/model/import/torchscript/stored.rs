//! The objects of the archive as values: attributes of modules, constants.

use std::cell::RefCell;
use std::rc::Rc;

use tch::Tensor;

use super::evaluator::{Evaluator, Result};
use super::source::Class;
use super::value::{List, Members, Value};
use crate::model::format::{Dtype, Item};
use crate::model::import::shown;
use crate::model::import::stored::{Facts, tensor_of};

impl<'a> Evaluator<'a> {
    pub(super) fn class_of(&self, place: usize) -> Result<&'a Class<'a>> {
        let Item::Object { class, .. } = self.file.data.get(place).1 else {
            return Err(self.error("it takes something for a module that is none"));
        };
        let known = self.library.classes.get(class);
        known.ok_or_else(|| self.error(format!("there is no code for the class `{}`", shown(class))))
    }

    pub(super) fn attribute(&mut self, value: &Value<'a>, name: &str) -> Result<Value<'a>> {
        let missing =
            |it: &Self| it.error(format!("it reads `{}` of {}, which is not there", shown(name), value.what()));
        match value {
            // As `model.eval()` has it.
            Value::Object(..) if name == "training" => Ok(Value::Bool(false)),
            Value::Object(place, path) => {
                let (Item::Object { fields, .. }, class) = (self.file.data.get(*place).1, self.class_of(*place)?)
                else {
                    return Err(missing(self));
                };
                // A module may hold itself, so that a path has no end.
                self.charge_text(path.len() + name.len())?;
                let dot = if path.is_empty() { "" } else { "." };
                match (fields.get(name), class.field(name)) {
                    (Some(field), _) => {
                        self.stored(*field, false, &format!("{path}{dot}{name}"), class.parameters.contains(name))
                    }
                    (None, Some(value)) => self.literal(class, value),
                    (None, None) => Err(missing(self)),
                }
            }
            Value::Tuple(members, Some(class)) => {
                let at = class.places.get(name).copied();
                at.and_then(|at| members.borrow().get(at).cloned()).ok_or_else(|| missing(self))
            }
            Value::Member(_, value) if name == "value" => Ok(Value::clone(value)),
            _ => Err(missing(self)),
        }
    }

    /// An object of the data or of the constants; `path` is how it was reached.
    pub(super) fn stored(&mut self, place: usize, constant: bool, path: &str, parameter: bool) -> Result<Value<'a>> {
        self.charge(1)?;
        let file = self.file;
        let items = if constant { &file.constants } else { &file.data };
        let (place, item) = items.get(place);
        let all = |it: &mut Self, places: &[usize]| -> Result<Vec<Value<'a>>> {
            let one = |(idx, place): (usize, &usize)| it.stored_inside(*place, constant, &format!("{path}.{idx}"));
            places.iter().enumerate().map(one).collect()
        };
        Ok(match item {
            Item::None => Value::None,
            Item::Bool(flag) => Value::Bool(*flag),
            Item::Int(number) => Value::fixed(*number),
            Item::Float(number) => Value::Float(*number),
            Item::Text(text) => self.text(text, true)?,
            Item::List(places) => Value::List(List { members: Members::new(all(self, places)?), stored: true }),
            Item::Tuple(places) => Value::tuple(all(self, places)?),
            Item::Dict(entries) => {
                let mut values = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = self.stored_inside(*key, constant, path)?;
                    values.push((key, self.stored_inside(*value, constant, path)?));
                }
                Value::Dict(Rc::new(RefCell::new(values)))
            }
            Item::Tensor { raw, stride, requires_grad } => {
                if let Some(operand) = self.operands[usize::from(constant)].get(&place) {
                    return Ok(Value::Tensor(operand.clone()));
                }
                let cached = self.store.tensors[usize::from(constant)].borrow().get(&place).map(Tensor::shallow_clone);
                // A single number is a constant of the code.
                let parameter = parameter && (!constant || !raw.shape.is_empty());
                let tensor = if let Some(tensor) = cached {
                    tensor
                } else {
                    let (tensor, gaps) = tensor_of(&shown(path), raw, stride, parameter)?;
                    self.graph.spend(gaps)?;
                    let mut tensors = self.store.tensors[usize::from(constant)].borrow_mut();
                    tensors.insert(place, tensor.shallow_clone());
                    tensor
                };
                let number = constant && raw.shape.is_empty() && matches!(raw.dtype, Dtype::F64 | Dtype::I64);
                let facts = Facts { parameter, requires_grad: *requires_grad, number };
                let operand = self.graph.stored(&shown(path), tensor, facts);
                self.operands[usize::from(constant)].insert(place, operand.clone());
                Value::Tensor(operand)
            }
            Item::Object { .. } if !constant => Value::Object(place, path.into()),
            Item::Member { class, value } => {
                let known = self.library.classes.get(class).filter(|class| class.base == "Enum");
                let class = known.ok_or_else(|| self.error(format!("`{}` is no enumeration", shown(class))))?;
                Value::Member(class, Rc::new(self.stored_inside(*value, constant, path)?))
            }
            Item::Unread(reason) => return Err(self.error(format!("`{}` {}", shown(path), shown(reason)))),
            Item::Object { .. } | Item::Same(_) => {
                return Err(self.error(format!("`{}` is no value", shown(path))));
            }
        })
    }

    /// Of a list that holds it; a list may hold itself.
    fn stored_inside(&mut self, place: usize, constant: bool, path: &str) -> Result<Value<'a>> {
        self.deeper(|it| it.stored(place, constant, path, false))
    }
}
