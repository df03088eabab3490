//! Calls: of methods and functions of the archive, which are followed, and of builtin functions.

use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

use super::evaluator::{Arguments, Evaluator, Frame, Result, dotted};
use super::source::Function;
use super::value::{Members, Value};
use crate::model::blocks::Call;
use crate::model::import::{holds_images, shown};
use crate::model::program::{Op, ValueId};

/// Calls of functions inside each other.
const MOST_CALLS: usize = 60;

impl<'a> Evaluator<'a> {
    pub(super) fn call(&mut self, call: &'a ExprCall, frame: &mut Frame<'a>) -> Result<Value<'a>> {
        let outer = self.at;
        self.at = Some((frame.file, call.func.range().start()));
        let made = self.call_here(call, frame);
        if made.is_ok() {
            self.at = outer;
        }
        made
    }

    fn call_here(&mut self, call: &'a ExprCall, frame: &mut Frame<'a>) -> Result<Value<'a>> {
        let arguments = &call.arguments;
        let path = dotted(&call.func, frame);
        self.charge(path.as_ref().map_or(0, |path| path.len() / 8))?;
        // Types, which are no values.
        let typed = matches!(path.as_deref(), Some("annotate" | "unchecked_cast" | "uninitialized"));
        let places = arguments.args.get(usize::from(typed)..).unwrap_or_default();
        let args = self.expressions(places, frame)?;
        let mut named = Vec::with_capacity(arguments.keywords.len());
        for keyword in &arguments.keywords {
            let name = keyword.arg.as_ref().ok_or_else(|| self.error("its kind of argument is not supported"))?;
            named.push((name.as_str(), self.expression(&keyword.value, frame)?));
        }
        let here = self.at;
        self.at = Some((frame.file, call.func.range().start()));
        let args = (args, named);
        let made = match (path, &*call.func) {
            (Some(path), _) if path.starts_with("__torch__") => {
                let callee = self.named(&path)?;
                self.apply(&callee, args, frame)
            }
            (Some(path), _) => self.builtin(&path, &args),
            (None, Expr::Attribute(method)) => {
                let owner = self.expression(&method.value, frame)?;
                self.method(&owner, method.attr.as_str(), args, Some(&frame.path))
            }
            (None, callee) => {
                let callee = self.expression(callee, frame)?;
                self.apply(&callee, args, frame)
            }
        };
        if made.is_ok() {
            self.at = here;
        }
        made
    }

    fn apply(&mut self, callee: &Value<'a>, args: Arguments<'a>, frame: &Frame<'a>) -> Result<Value<'a>> {
        match callee {
            Value::Function(function) => self.function(*function, None, args, frame.path.clone()),
            Value::Class(class) if class.base == "NamedTuple" && args.1.is_empty() => {
                Ok(Value::Tuple(Members::new(args.0), Some(class)))
            }
            _ => Err(self.error(format!("it calls {}, which is not supported", callee.what()))),
        }
    }

    /// Calls a method; `caller` is the path of the module that does, if one does.
    pub(super) fn method(
        &mut self,
        owner: &Value<'a>,
        name: &str,
        args: Arguments<'a>,
        caller: Option<&Rc<str>>,
    ) -> Result<Value<'a>> {
        let Value::Object(place, path) = owner else {
            return Err(self.error(format!("it calls the method `{}` of {}", shown(name), owner.what())));
        };
        let class = self.class_of(*place)?;
        let code = class.methods.get(name).copied();
        let code = code.ok_or_else(|| {
            self.error(format!("it calls the method `{}` of `{}`, which is not there", shown(name), shown(&class.name)))
        })?;
        let function = Function { file: class.file, code };
        // A method that a module calls on itself is no call of a module.
        if caller.is_none_or(|caller| caller == path) {
            return self.function(function, Some(owner.clone()), args, path.clone());
        }
        let (call, outer) = (self.calls.len(), (self.current, self.module.clone()));
        let class = class_name(&class.name);
        let parent = self.current;
        self.charge_text(path.len())?;
        self.calls.push(Call { path: path.to_string(), class, parent, output: None, weighted: false, works: false });
        (self.current, self.module) = (Some(call), path.clone());
        let made = self.function(function, Some(owner.clone()), args, path.clone())?;
        (self.current, self.module) = outer;
        let first = match &made {
            Value::List(list) => list.members.borrow().first().cloned(),
            Value::Tuple(members, _) => members.borrow().first().cloned(),
            _ => None,
        };
        if let Value::Tensor(tensor) = first.as_ref().unwrap_or(&made) {
            let output = tensor.value().filter(|value| holds_images(&self.graph, *value));
            self.calls[call].output = output.map(ValueId::index).filter(|&value| value > 0);
        }
        Ok(made)
    }

    fn function(
        &mut self,
        function: Function<'a>,
        owner: Option<Value<'a>>,
        (args, named): Arguments<'a>,
        path: Rc<str>,
    ) -> Result<Value<'a>> {
        let mut frame = Frame { file: function.file, names: BTreeMap::new(), path };
        let code = function.code;
        let parameters = &code.parameters.args;
        self.charge(parameters.len() * (1 + named.len()))?;
        let mut places = owner.into_iter().chain(args);
        for (parameter, value) in parameters.iter().zip(places.by_ref()) {
            frame.names.insert(parameter.parameter.name.as_str(), value);
        }
        let known = |name: &str| parameters.iter().any(|it| it.parameter.name.as_str() == name);
        if places.next().is_some() || named.iter().any(|(name, _)| frame.names.contains_key(name) || !known(name)) {
            return Err(
                self.error(format!("it calls `{}` with arguments that it does not take", shown(code.name.as_str())))
            );
        }
        frame.names.extend(named);
        for parameter in parameters {
            let name = parameter.parameter.name.as_str();
            if !frame.names.contains_key(name) {
                let missing =
                    || self.error(format!("it calls `{}` without `{}`", shown(code.name.as_str()), shown(name)));
                let default = parameter.default.as_deref().ok_or_else(missing)?;
                let value = self.expression(default, &mut frame)?;
                frame.names.insert(name, value);
            }
        }
        if self.functions >= MOST_CALLS {
            return Err(self.error("it calls functions inside each other without an end"));
        }
        self.functions += 1;
        let outer = self.at;
        let made = self.block(&code.body, &mut frame)?;
        self.at = outer;
        self.functions -= 1;
        Ok(made.unwrap_or(Value::None))
    }

    /// Notes that the innermost module does something itself, and whether that is a layer with weights.
    pub(super) fn note_work(&mut self, nodes_before: usize) {
        let made = &self.graph.nodes[nodes_before..];
        let weighted = made.iter().any(|node| matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. }));
        let mut call = self.current;
        if let Some(call) = call {
            self.calls[call].works = true;
        }
        while let (true, Some(idx)) = (weighted, call) {
            self.calls[idx].weighted = true;
            call = self.calls[idx].parent;
        }
    }
}

/// `__torch__.a.___torch_mangle_3.Net` is the class `a.Net`, which was there several times.
pub(super) fn class_name(mangled: &str) -> String {
    let parts = mangled.split('.').filter(|part| *part != "__torch__" && !part.starts_with("___torch_mangle_"));
    parts.collect::<Vec<_>>().join(".")
}
