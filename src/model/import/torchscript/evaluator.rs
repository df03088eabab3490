//! Follows the code of `forward`: statements, expressions, and calls of functions and methods. What is known is computed, what depends on
//! the images goes into the graph, and nothing else is ever done.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;

use ruff_python_ast::{Expr, Number as Literal, Stmt, UnaryOp};
use ruff_text_size::{Ranged, TextSize};

use super::source::{Class, File, Library};
use super::store::Store;
use super::value::{List, Number, Value};
use crate::model::blocks::Call;
use crate::model::format::{Item, ScriptFile};
use crate::model::import::graph::{Graph, Operand, Origin};
use crate::model::import::{ImportError, shown};
use crate::model::program::Size;

pub(super) type Result<T> = std::result::Result<T, ImportError>;

/// Calls, blocks and expressions inside each other.
const DEEPEST: usize = 1500;

pub(super) struct Evaluator<'a> {
    pub(super) library: &'a Library<'a>,
    pub(super) file: &'a ScriptFile,
    pub(super) store: &'a Store,
    pub(super) graph: Graph,
    /// The calls of modules, in the order in which they begin.
    pub(super) calls: Vec<Call>,
    /// The innermost one.
    pub(super) current: Option<usize>,
    /// Tensors of the file that have been read: of the data, and of the constants.
    pub(super) operands: [BTreeMap<usize, Operand>; 2],
    /// How much may still be evaluated.
    pub(super) steps: usize,
    depth: usize,
    /// Calls of functions inside each other.
    pub(super) functions: usize,
    /// What is evaluated, for messages.
    pub(super) at: Option<(&'a File<'a>, TextSize)>,
    pub(super) module: Rc<str>,
    /// Whether something may be elsewhere than the images are.
    pub(super) moved: bool,
}

/// The variables of a call.
pub(super) struct Frame<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) names: BTreeMap<&'a str, Value<'a>>,
    /// Path of the module that it belongs to.
    pub(super) path: Rc<str>,
}

/// Arguments by their place and by their name.
pub(super) type Arguments<'a> = (Vec<Value<'a>>, Vec<(&'a str, Value<'a>)>);

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        library: &'a Library<'a>,
        file: &'a ScriptFile,
        store: &'a Store,
        graph: Graph,
        steps: usize,
    ) -> Self {
        Self {
            library,
            file,
            store,
            graph,
            calls: Vec::new(),
            current: None,
            operands: [BTreeMap::new(), BTreeMap::new()],
            steps,
            depth: 0,
            functions: 0,
            at: None,
            module: "".into(),
            moved: false,
        }
    }

    /// The value that `forward` makes of the images.
    pub(super) fn forward(&mut self, images: Operand) -> Result<Vec<(String, Operand)>> {
        if self.class_of(self.file.data.root)?.has_hooks() {
            return Err(ImportError("it has forward hooks, which are not followed; call them in forward".to_owned()));
        }
        let root = Value::Object(self.file.data.root, "".into());
        let made = self.method(&root, "forward", (vec![Value::Tensor(images)], Vec::new()), None)?;
        // What there is in training only is None.
        let outputs: Vec<(String, Value<'a>)> = match (&made, made.members()) {
            (Value::Dict(entries), _) => {
                let name = |key: &Value<'a>| if let Value::Text(name) = key { name.to_string() } else { String::new() };
                entries.borrow().iter().map(|(key, value)| (name(key), value.clone())).collect()
            }
            (_, Some(members)) => members.iter().map(|member| (String::new(), member.clone())).collect(),
            (_, None) => vec![(String::new(), made.clone())],
        };
        let outputs = outputs.into_iter().filter_map(|(name, value)| match value {
            Value::Tensor(operand) => Some(Ok((name, operand))),
            Value::None => None,
            other => Some(Err(ImportError(format!("it returns {}, expected logits", other.what())))),
        });
        outputs.collect()
    }

    pub(super) fn error(&self, reason: impl Display) -> ImportError {
        ImportError(format!("{}: {reason}", self.place()))
    }

    fn place(&self) -> String {
        let line = self
            .at
            .map_or(String::new(), |(file, at)| format!("line {} of code/{}, ", file.line(at), shown(file.name)));
        format!("{line}module `{}`", shown(&self.module))
    }

    /// Makes the graph's messages begin with an operator and the line.
    pub(super) fn set_origin(&mut self, target: &str) {
        self.graph.origin = Origin { target: shown(target).into(), place: self.place().into() };
    }

    /// That there is still room for so many steps.
    pub(super) fn charge(&mut self, steps: usize) -> Result<()> {
        if let Some(left) = self.steps.checked_sub(steps) {
            self.steps = left;
            return Ok(());
        }
        self.steps = 0;
        Err(self.error("it takes too many steps to follow; is there an endless loop?"))
    }

    pub(super) fn deeper<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.charge(1)?;
        if self.depth >= DEEPEST {
            return Err(self.error("is nested too deep"));
        }
        self.depth += 1;
        let result = body(self);
        self.depth -= 1;
        result
    }

    /// What the statements return, if one of them does.
    pub(super) fn block(&mut self, body: &'a [Stmt], frame: &mut Frame<'a>) -> Result<Option<Value<'a>>> {
        self.deeper(|it| {
            for statement in body {
                it.charge(1)?;
                it.at = Some((frame.file, statement.range().start()));
                if let Some(value) = it.statement(statement, frame)? {
                    return Ok(Some(value));
                }
            }
            Ok(None)
        })
    }

    fn statement(&mut self, statement: &'a Stmt, frame: &mut Frame<'a>) -> Result<Option<Value<'a>>> {
        match statement {
            Stmt::Assign(assign) => {
                let value = self.expression(&assign.value, frame)?;
                for target in &assign.targets {
                    self.assign(target, value.clone(), frame)?;
                }
            }
            Stmt::AnnAssign(assign) => {
                if let Some(value) = &assign.value {
                    let value = self.expression(value, frame)?;
                    self.assign(&assign.target, value, frame)?;
                }
            }
            Stmt::Expr(expression) => _ = self.expression(&expression.value, frame)?,
            Stmt::Pass(_) => (),
            Stmt::Return(it) => {
                return it.value.as_ref().map_or(Ok(Value::None), |value| self.expression(value, frame)).map(Some);
            }
            Stmt::If(choice) => {
                if self.condition(&choice.test, frame)? {
                    return self.block(&choice.body, frame);
                }
                for clause in &choice.elif_else_clauses {
                    if clause.test.as_ref().map_or(Ok(true), |test| self.condition(test, frame))? {
                        return self.block(&clause.body, frame);
                    }
                }
            }
            Stmt::While(repeat) if repeat.orelse.is_empty() => {
                while self.condition(&repeat.test, frame)? {
                    if let Some(value) = self.block(&repeat.body, frame)? {
                        return Ok(Some(value));
                    }
                }
            }
            Stmt::For(repeat) if repeat.orelse.is_empty() => {
                let all = self.expression(&repeat.iter, frame)?;
                let members = self.members(&all)?;
                let members = members.ok_or_else(|| self.error(format!("it goes through {}", all.what())))?;
                for member in members {
                    self.assign(&repeat.target, member, frame)?;
                    if let Some(value) = self.block(&repeat.body, frame)? {
                        return Ok(Some(value));
                    }
                }
            }
            _ => return Err(self.error("its kind of statement is not supported")),
        }
        Ok(None)
    }

    fn assign(&mut self, target: &'a Expr, value: Value<'a>, frame: &mut Frame<'a>) -> Result<()> {
        match target {
            Expr::Name(name) => _ = frame.names.insert(name.id.as_str(), value),
            Expr::Tuple(targets) => {
                let members = self.members(&value)?.filter(|members| members.len() == targets.elts.len());
                let members = members.ok_or_else(|| {
                    self.error(format!("it takes {} apart into {} parts", value.what(), targets.elts.len()))
                })?;
                for (target, member) in targets.elts.iter().zip(members) {
                    self.assign(target, member, frame)?;
                }
            }
            Expr::Attribute(_) => return Err(self.error("it changes an attribute of a module, which is not supported")),
            _ => return Err(self.error("its kind of assignment is not supported")),
        }
        Ok(())
    }

    fn condition(&mut self, test: &'a Expr, frame: &mut Frame<'a>) -> Result<bool> {
        self.at = Some((frame.file, test.range().start()));
        self.charge(1)?;
        let value = self.expression(test, frame)?;
        self.truth(&value)
    }

    pub(super) fn truth(&self, value: &Value<'a>) -> Result<bool> {
        match (value, value.number()) {
            (Value::Bool(flag), _) => Ok(*flag),
            (Value::Tensor(it), None) if it.value().is_some() => {
                Err(self.error("it decides by what the images hold, which is not supported"))
            }
            (_, Some(Number::Int(Size::Fixed(number)))) => Ok(number != 0),
            (_, Some(Number::Float(number))) => Ok(number != 0.0),
            _ => Err(self.error(format!("it decides by {}", value.what()))),
        }
    }

    pub(super) fn expression(&mut self, expression: &'a Expr, frame: &mut Frame<'a>) -> Result<Value<'a>> {
        self.deeper(|it| it.evaluate(expression, frame))
    }

    fn evaluate(&mut self, expression: &'a Expr, frame: &mut Frame<'a>) -> Result<Value<'a>> {
        Ok(match expression {
            Expr::Name(name) => match (frame.names.get(name.id.as_str()), name.id.as_str()) {
                (Some(value), _) => value.clone(),
                (None, "inf") => Value::Float(f64::INFINITY),
                (None, "nan") => Value::Float(f64::NAN),
                (None, name) => return Err(self.error(format!("it reads `{}`, which is not set", shown(name)))),
            },
            Expr::NumberLiteral(number) => match &number.value {
                Literal::Int(number) => {
                    let number = number.as_i64();
                    Value::fixed(number.ok_or_else(|| self.error("it has a number of more than 64 bits"))?)
                }
                Literal::Float(number) => Value::Float(*number),
                Literal::Complex { .. } => return Err(self.error("complex numbers are not supported")),
            },
            Expr::StringLiteral(text) => self.text(text.value.to_str(), true)?,
            Expr::BooleanLiteral(flag) => Value::Bool(flag.value),
            Expr::NoneLiteral(_) => Value::None,
            Expr::List(list) => Value::list(self.expressions(&list.elts, frame)?),
            Expr::Tuple(tuple) => Value::tuple(self.expressions(&tuple.elts, frame)?),
            Expr::UnaryOp(unary) => {
                let value = self.expression(&unary.operand, frame)?;
                match (unary.op, value.number().filter(|_| !value.is_tensor())) {
                    (UnaryOp::Not, _) => Value::Bool(!self.truth(&value)?),
                    (UnaryOp::USub, Some(Number::Float(number))) => Value::Float(-number),
                    (UnaryOp::USub, Some(Number::Int(size))) => {
                        Value::Int(size.negative().ok_or_else(|| self.error("it has a number of more than 64 bits"))?)
                    }
                    _ => return Err(self.error(format!("its operator is not supported on {}", value.what()))),
                }
            }
            Expr::Attribute(attribute) => {
                if let Some(path) = dotted(expression, frame) {
                    self.charge(path.len() / 8)?;
                    return self.named(&path);
                }
                let value = self.expression(&attribute.value, frame)?;
                self.attribute(&value, attribute.attr.as_str())?
            }
            Expr::Subscript(subscript) => {
                let (value, key) =
                    (self.expression(&subscript.value, frame)?, self.expression(&subscript.slice, frame)?);
                self.member(&value, &key)?
            }
            Expr::Call(call) => return self.call(call, frame),
            _ => return Err(self.error("its kind of expression is not supported")),
        })
    }

    pub(super) fn expressions(&mut self, all: &'a [Expr], frame: &mut Frame<'a>) -> Result<Vec<Value<'a>>> {
        all.iter().map(|expression| self.expression(expression, frame)).collect()
    }

    /// What a name with dots stands for that begins outside all variables.
    pub(super) fn named(&mut self, path: &str) -> Result<Value<'a>> {
        if let Some(constant) = path.strip_prefix("CONSTANTS.c") {
            let (_, Item::Tuple(all)) = self.file.constants.get(self.file.constants.root) else {
                return Err(self.error("it reads a constant, and the archive has none"));
            };
            let place = constant.parse().ok().and_then(|number: usize| all.get(number));
            let place = *place.ok_or_else(|| self.error(format!("it reads `{}`, which is not there", shown(path))))?;
            return self.stored(place, true, path, self.store.frozen);
        }
        if let Some(function) = self.library.functions.get(path) {
            return Ok(Value::Function(*function));
        }
        if let Some(class) = self.library.classes.get(path) {
            return Ok(Value::Class(class));
        }
        // A member of an enumeration.
        if let Some((class, member)) = path.rsplit_once('.')
            && let Some(class) = self.library.classes.get(class).filter(|class| class.base == "Enum")
            && let Some(value) = class.field(member)
        {
            let value = self.literal(class, value)?;
            return Ok(Value::Member(class, Rc::new(value)));
        }
        Err(self.error(format!("it reads `{}`, which is not there", shown(path))))
    }

    /// What a class says that one of its fields is.
    pub(super) fn literal(&mut self, class: &'a Class<'a>, value: &'a Expr) -> Result<Value<'a>> {
        let mut frame = Frame { file: class.file, names: BTreeMap::new(), path: self.module.clone() };
        self.expression(value, &mut frame)
    }

    pub(super) fn member(&mut self, value: &Value<'a>, key: &Value<'a>) -> Result<Value<'a>> {
        let missing = |it: &Self| it.error(format!("{} has no such member", value.what()));
        if value.is_tensor() {
            return Err(self.error("it takes a part of a tensor as of a list, which is not supported"));
        }
        if let Value::Dict(entries) = value {
            let entries = entries.borrow();
            for (name, value) in entries.iter() {
                if self.equal(name, key)? {
                    return Ok(value.clone());
                }
            }
            return Err(missing(self));
        }
        let Some(Number::Int(Size::Fixed(index))) = key.number() else {
            return Err(self.error(format!("it takes a member by {}", key.what())));
        };
        let at =
            |length: usize| usize::try_from(if index < 0 { index.saturating_add(length as i64) } else { index }).ok();
        let found = match value {
            Value::List(List { members, .. }) | Value::Tuple(members, _) => {
                let members = members.borrow();
                at(members.len()).and_then(|at| members.get(at)).cloned()
            }
            _ => None,
        };
        found.ok_or_else(|| missing(self))
    }

    /// A list that may be changed.
    pub(super) fn changeable<'v>(&self, value: &'v Value<'a>) -> Result<&'v List<'a>> {
        match value {
            Value::List(list) if !list.stored => Ok(list),
            Value::List(_) => Err(self.error("it changes a list of the model, which is not supported")),
            _ => Err(self.error(format!("it changes {}", value.what()))),
        }
    }
}

/// A name with dots whose first part is no variable: `torch.add`, `ops.prim.dtype`, `CONSTANTS.c0`, `getattr`.
pub(super) fn dotted(expression: &Expr, frame: &Frame<'_>) -> Option<String> {
    match expression {
        Expr::Name(name) if !frame.names.contains_key(name.id.as_str()) => Some(name.id.to_string()),
        Expr::Attribute(attribute) => {
            let mut path = dotted(&attribute.value, frame)?;
            path.push('.');
            path.push_str(attribute.attr.as_str());
            Some(path)
        }
        _ => None,
    }
}
