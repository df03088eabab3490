//! [`Value`]: what an expression of the code comes to.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use tch::Kind;

use super::source::{Class, Function};
use crate::model::import::graph::Operand;
use crate::model::program::Size;

#[derive(Clone)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    /// May be a multiple of the number of images.
    Int(Size),
    /// A size that depends on the height or width of the images. Whoever uses the number says so in the flag.
    Side(i64, Rc<Cell<bool>>),
    Float(f64),
    /// A size that tracing has put into a tensor: an int64 without dimensions.
    Held(Size),
    Text(Rc<str>),
    /// A text in our words, for messages.
    Words(Rc<str>),
    List(List<'a>),
    Tuple(Rc<Members<'a>>, Option<&'a Class<'a>>),
    Dict(Rc<RefCell<Vec<(Self, Self)>>>),
    Tensor(Operand),
    /// An object of the file: its place there, and the path of the module that it is.
    Object(usize, Rc<str>),
    Function(Function<'a>),
    Class(&'a Class<'a>),
    /// Of an enumeration.
    Member(&'a Class<'a>, Rc<Self>),
    /// A device by its name; None is the one that the program will run on.
    Device(Option<Rc<str>>),
    /// `cpu` or `cuda`: the kind of device that the program will run on.
    DeviceKind,
    /// What code that is never reached would have made.
    Uninitialized,
}

/// A list, which may be changed unless it belongs to the model.
#[derive(Clone)]
pub(super) struct List<'a> {
    pub(super) members: Rc<Members<'a>>,
    pub(super) stored: bool,
}

/// Members of a list or tuple.
pub(super) struct Members<'a>(RefCell<Vec<Value<'a>>>);

impl<'a> Members<'a> {
    pub(super) fn new(members: Vec<Value<'a>>) -> Rc<Self> {
        Rc::new(Self(RefCell::new(members)))
    }
}

impl<'a> Deref for Members<'a> {
    type Target = RefCell<Vec<Value<'a>>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Code may put lists into lists as deep as it likes; they are freed one after the other, not inside each other.
impl Drop for Members<'_> {
    fn drop(&mut self) {
        let mut open = std::mem::take(self.0.get_mut());
        while let Some(value) = open.pop() {
            if let Value::List(List { mut members, .. }) | Value::Tuple(mut members, _) = value
                && let Some(inside) = Rc::get_mut(&mut members)
            {
                open.append(inside.0.get_mut());
            }
        }
    }
}

impl Value<'_> {
    pub(super) fn fixed(number: i64) -> Self {
        Self::Int(Size::Fixed(number))
    }

    pub(super) fn list(members: Vec<Self>) -> Self {
        Self::List(List { members: Members::new(members), stored: false })
    }

    pub(super) fn tuple(members: Vec<Self>) -> Self {
        Self::Tuple(Members::new(members), None)
    }

    /// How many members a list or tuple has.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::List(list) => list.members.borrow().len(),
            Self::Tuple(members, _) => members.borrow().len(),
            _ => 0,
        }
    }

    /// The members of a list or tuple.
    pub(super) fn members(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(list) => Some(list.members.borrow().clone()),
            Self::Tuple(members, _) => Some(members.borrow().clone()),
            _ => None,
        }
    }

    /// A number or truth value; also that of a tensor without dimensions. Its type is then lost: arithmetic is not for these.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Bool(flag) => Some(Number::Int(Size::Fixed(i64::from(*flag)))),
            Self::Int(size) | Self::Held(size) => Some(Number::Int(*size)),
            Self::Side(size, used) => {
                used.set(true);
                Some(Number::Int(Size::Fixed(*size)))
            }
            Self::Float(number) => Some(Number::Float(*number)),
            Self::Tensor(operand) => {
                let tensor = operand.known().filter(|tensor| tensor.dim() == 0)?;
                match tensor.kind() {
                    Kind::Bool | Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64 => {
                        Some(Number::Int(Size::Fixed(tensor.int64_value(&[]))))
                    }
                    Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double => {
                        Some(Number::Float(tensor.double_value(&[])))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    pub(super) fn is_tensor(&self) -> bool {
        matches!(self, Self::Tensor(_) | Self::Held(_))
    }

    /// What it is, for messages.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(Size::Batch(_)) | Self::Held(Size::Batch(_)) => "a number that depends on the number of images",
            Self::Int(Size::Fixed(_)) | Self::Side(..) | Self::Float(_) => "a number",
            Self::Text(_) | Self::Words(_) => "a text",
            Self::List(_) => "a list",
            Self::Tuple(..) => "a tuple",
            Self::Dict(_) => "a dictionary",
            Self::Tensor(_) | Self::Held(_) => "a tensor",
            Self::Object(..) => "an object",
            Self::Function(_) => "a function",
            Self::Class(_) => "a class",
            Self::Member(..) => "a member of an enumeration",
            Self::Device(_) => "a device",
            Self::DeviceKind => "the kind of a device",
            Self::Uninitialized => "a value that was never set",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(Size),
    Float(f64),
}

impl Number {
    pub(super) fn float(self) -> Option<f64> {
        match self {
            Self::Int(Size::Fixed(number)) => Some(number as f64),
            Self::Int(Size::Batch(_)) => None,
            Self::Float(number) => Some(number),
        }
    }
}
