//! [`Graph`]: the program as it grows, and the tensors that whoever translates holds on to while it does.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::rc::Rc;

use tch::{Device, Kind, TchError, Tensor};

use super::kind;
use super::shape::{self, Shape};
use super::stored::Facts;
use super::{ImportError, first_line, sides};
use crate::model::apply::{Context, apply};
use crate::model::op::Mode;
use crate::model::program::{Node, Op, Size, ValueId, Weight, WeightId};

/// Elements of one value per image: 1 GiB, a hundred times what the largest usual networks need.
const MOST_ELEMENTS: f64 = 268_435_456.0;
/// Operators that a program may have.
const MOST_NODES: usize = 50_000;
/// Dimensions of one value: what PyTorch can index.
const MOST_DIMENSIONS: usize = 64;
/// Multiply-adds that may be spent on what no image changes.
const MOST_WORK: f64 = 1e9;
/// Elements of all tensors that are made without an image.
const MOST_CONSTANTS: f64 = 3e7;
/// Elements along one dimension.
const LONGEST: i64 = 1 << 40;

#[derive(Debug)]
enum Content {
    Value(ValueId),
    Constant {
        tensor: Tensor,
        /// Its place among the program's weights, if it has one.
        weight: Option<WeightId>,
    },
}

/// A tensor of PyTorch: what it holds changes when it is written to. Clones are one tensor under several names.
#[derive(Clone, Debug)]
pub(super) struct Operand(Rc<Slot>);

#[derive(Debug)]
struct Slot {
    content: RefCell<Content>,
    memory: Rc<Memory>,
    /// How often its memory had been written to when its content was last known.
    seen: Cell<u32>,
    /// What the file calls it and says of it, if it comes from there.
    stored: Option<(String, Facts)>,
}

/// What a tensor shares with its views.
#[derive(Debug)]
struct Memory {
    writes: Cell<u32>,
    /// Whether it belongs to the model.
    stored: bool,
}

impl Operand {
    fn new(content: Content, memory: Rc<Memory>, stored: Option<(String, Facts)>) -> Self {
        let seen = Cell::new(memory.writes.get());
        Self(Rc::new(Slot { content: RefCell::new(content), memory, seen, stored }))
    }

    fn fresh(content: Content) -> Self {
        Self::new(content, Rc::new(Memory { writes: Cell::new(0), stored: false }), None)
    }

    pub(super) fn constant(tensor: Tensor) -> Self {
        Self::fresh(Content::Constant { tensor, weight: None })
    }

    /// A value of the program, perhaps a view of another tensor.
    pub(super) fn of(value: ValueId, whole: Option<&Self>) -> Self {
        match whole {
            Some(whole) => Self::new(Content::Value(value), Rc::clone(&whole.0.memory), None),
            None => Self::fresh(Content::Value(value)),
        }
    }

    /// The value that it stands for, unless no image changes it.
    pub(super) fn value(&self) -> Option<ValueId> {
        match *self.0.content.borrow() {
            Content::Value(id) => Some(id),
            Content::Constant { .. } => None,
        }
    }

    /// The tensor, if no image changes it.
    pub(super) fn known(&self) -> Option<Tensor> {
        match &*self.0.content.borrow() {
            Content::Value(_) => None,
            Content::Constant { tensor, .. } => Some(tensor.shallow_clone()),
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// What the file says of it, if it is a tensor of the file.
    pub(super) fn facts(&self) -> Option<Facts> {
        self.0.stored.as_ref().map(|(_, facts)| *facts)
    }
}

/// Where a value comes from, for messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// `aten.conv2d.default`.
    pub(super) target: Rc<str>,
    /// ``module `layer1` ``.
    pub(super) place: Rc<str>,
}

impl Origin {
    pub(super) fn error(&self, reason: impl Display) -> ImportError {
        ImportError(format!("{} in {}: {reason}", self.target, self.place))
    }
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) weights: Vec<Weight>,
    pub(super) origins: Vec<Origin>,
    /// Of each value.
    pub(super) shapes: Vec<Shape>,
    /// Of each value: its data type, and which dimensions depend on the height and width of the images.
    pub(super) kinds: Vec<Kind>,
    pub(super) sides: Vec<Vec<bool>>,
    /// Whether the images' height or width has decided anything: then the program holds for this size alone.
    pub(super) sides_used: Rc<Cell<bool>>,
    /// Of what is being translated.
    pub(super) origin: Origin,
    /// Multiply-adds that were spent so far.
    pub(super) work: f64,
    constants: f64,
}

impl Graph {
    /// A graph of the images alone.
    pub(super) fn new(image: Shape) -> (Self, Operand) {
        let sides = vec![(0..image.len()).map(|at| at >= 2).collect()];
        let graph = Self { shapes: vec![image], kinds: vec![Kind::Float], sides, ..Self::default() };
        (graph, Operand::fresh(Content::Value(ValueId(0))))
    }

    pub(super) fn error(&self, reason: impl Display) -> ImportError {
        self.origin.error(reason)
    }

    pub(super) fn failed(&self, error: &TchError) -> ImportError {
        self.error(first_line(error))
    }

    /// Whether it has had its share of what may be computed.
    pub(super) fn is_exhausted(&self) -> bool {
        self.work > MOST_WORK || self.constants > MOST_CONSTANTS || self.nodes.len() >= MOST_NODES
    }

    /// A tensor out of the file, as [`tensor_of`](super::stored::tensor_of) makes it.
    pub(super) fn stored(&mut self, name: &str, tensor: Tensor, facts: Facts) -> Operand {
        let plain = facts.parameter && tensor.kind() == Kind::Float;
        let weight = plain.then(|| self.add_weight(name, &tensor, true));
        let memory = Rc::new(Memory { writes: Cell::new(0), stored: true });
        Operand::new(Content::Constant { tensor, weight }, memory, Some((name.to_owned(), facts)))
    }

    fn add_weight(&mut self, name: &str, tensor: &Tensor, trainable: bool) -> WeightId {
        self.weights.push(Weight { name: name.to_owned(), tensor: tensor.shallow_clone(), trainable });
        WeightId(self.weights.len() as u32 - 1)
    }

    /// That what is known of a tensor is not out of date.
    pub(super) fn read(&self, operand: &Operand) -> Result<(), ImportError> {
        let slot = &operand.0;
        if slot.seen.get() == slot.memory.writes.get() || operand.value().is_none() {
            return Ok(());
        }
        Err(self.error(
            "needs a view of a tensor that was changed in place after the view was made, which is not supported; write it without \
             the in-place operation",
        ))
    }

    pub(super) fn shape(&self, operand: &Operand) -> Shape {
        match &*operand.0.content.borrow() {
            Content::Value(id) => self.shapes[id.index()].clone(),
            Content::Constant { tensor, .. } => tensor.size().into_iter().map(Size::Fixed).collect(),
        }
    }

    /// A constant of float32 as a weight of the program.
    pub(super) fn weight(&mut self, operand: &Operand) -> Result<WeightId, ImportError> {
        match operand.known().map(|tensor| tensor.kind()) {
            Some(kind) if kind != Kind::Float => Err(self.computes_in(kind)),
            _ => self.any_weight(operand),
        }
    }

    /// A constant of any type as a weight of the program.
    fn any_weight(&mut self, operand: &Operand) -> Result<WeightId, ImportError> {
        let tensor = match &*operand.0.content.borrow() {
            Content::Value(_) => {
                return Err(self.error("has weights that depend on the images, which is not supported"));
            }
            Content::Constant { weight: Some(id), .. } => return Ok(*id),
            Content::Constant { tensor, .. } => tensor.shallow_clone(),
        };
        if let Some((name, _)) = &operand.0.stored {
            let id = self.add_weight(&format!("{name} (constant)"), &tensor, false);
            *operand.0.content.borrow_mut() = Content::Constant { tensor, weight: Some(id) };
            return Ok(id);
        }
        // A copy, because what was computed may still be changed in place.
        self.spend(tensor.numel() as f64)?;
        Ok(self.add_weight("(constant)", &tensor.copy(), false))
    }

    /// The weight that a matrix is a turned view of.
    pub(super) fn transposed_weight(&self, matrix: &Operand) -> Option<WeightId> {
        let tensor = matrix.known().filter(|tensor| tensor.dim() == 2 && tensor.kind() == Kind::Float)?;
        let (turned, place) = (tensor.f_transpose(0, 1).ok()?, tensor.data_ptr());
        let is_same = |weight: &Weight| {
            let it = &weight.tensor;
            it.data_ptr() == place && it.size() == turned.size() && it.stride() == turned.stride()
        };
        self.weights.iter().position(is_same).map(|at| WeightId(at as u32))
    }

    /// A new weight that is not in the file.
    pub(super) fn filled(&mut self, value: f64, size: &[i64]) -> WeightId {
        self.add_weight("(constant)", &Tensor::full(size, value, (Kind::Float, Device::Cpu)), false)
    }

    /// The tensor of an operand that no image changes.
    pub(super) fn constant(&self, operand: &Operand) -> Result<Tensor, ImportError> {
        operand.known().ok_or_else(|| self.error("is supported only where no image changes the result"))
    }

    /// What libtorch has made of constants.
    pub(super) fn computed(&mut self, result: Result<Tensor, TchError>) -> Result<Operand, ImportError> {
        let tensor = result.map_err(|error| self.failed(&error))?;
        self.spend(tensor.numel() as f64)?;
        Ok(Operand::constant(tensor))
    }

    /// Refuses to make a constant of so many elements, if these are too many.
    pub(super) fn spend(&mut self, elements: f64) -> Result<(), ImportError> {
        self.constants += elements;
        self.work += elements;
        match self.is_exhausted() {
            true => Err(self.error("computes too much of what no image changes")),
            false => Ok(()),
        }
    }

    /// Applies an operator: at once if nothing depends on the images, else in a new node.
    pub(super) fn emit(&mut self, op: Op, operands: &[Operand]) -> Result<Operand, ImportError> {
        operands.iter().try_for_each(|operand| self.read(operand))?;
        let (operands, kind) = self.typed(&op, operands)?;
        let operands = &operands[..];
        let shapes: Vec<Shape> = operands.iter().map(|operand| self.shape(operand)).collect();
        let shapes: Vec<&[Size]> = shapes.iter().map(Vec::as_slice).collect();
        let weight_shape = |id: WeightId| self.weights[id.0 as usize].tensor.size();
        let shape = shape::infer(&op, &shapes, &weight_shape).map_err(|reason| self.error(reason))?;
        let elements = |shape: &[Size]| shape.iter().map(|size| size.of(1) as f64).product::<f64>();
        let made = elements(&shape).max(match op {
            // A value on the way to the result.
            Op::Attention { .. } => {
                elements(shapes[0]) / shapes[0].last().map_or(1.0, |it| it.of(1).max(1) as f64)
                    * shapes[1].iter().rev().nth(1).map_or(1.0, |it| it.of(1) as f64)
            }
            _ => 0.0,
        });
        self.check_size(&shape, made)?;
        let is_view = op.is_view();
        let known: Option<Vec<Tensor>> = operands.iter().map(Operand::known).collect();
        let content = match known.filter(|_| !op.names_the_batch()) {
            Some(tensors) => Content::Constant { tensor: self.folded(&op, &tensors, made)?, weight: None },
            None => Content::Value(self.node(op, operands, shape, kind)?),
        };
        Ok(match operands.first().filter(|_| is_view) {
            Some(whole) => Operand::new(content, Rc::clone(&whole.0.memory), None),
            None => Operand::fresh(content),
        })
    }

    /// That a tensor of this shape, and all that is made on the way to it, is no larger than a network needs.
    pub(super) fn check_size(&self, shape: &[Size], elements: f64) -> Result<(), ImportError> {
        if shape.len() > MOST_DIMENSIONS {
            return Err(
                self.error(format!("has {} dimensions, more than the {MOST_DIMENSIONS} that are allowed", shape.len()))
            );
        }
        if let Some(size) = shape.iter().find(|size| size.of(1) > LONGEST) {
            return Err(self.error(format!("makes a dimension of {} elements", size.of(1))));
        }
        if elements > MOST_ELEMENTS {
            return Err(self.error(format!(
                "would make a tensor of {elements:.0} elements per image, more than the {MOST_ELEMENTS:.0} that are allowed"
            )));
        }
        Ok(())
    }

    /// The result of an operator that no image changes.
    fn folded(&mut self, op: &Op, tensors: &[Tensor], elements: f64) -> Result<Tensor, ImportError> {
        let inner = match op {
            Op::MatMul | Op::Linear { .. } | Op::Einsum { .. } | Op::Attention { .. } => {
                tensors.iter().filter_map(|it| it.size().last().copied()).max().unwrap_or(1) as f64
            }
            Op::Conv2d { weight, .. } => {
                self.weights[weight.0 as usize].tensor.size().iter().skip(1).product::<i64>() as f64
            }
            Op::MaxPool2d { windows, .. } | Op::AvgPool2d { windows, .. } => {
                (windows.kernel[0] * windows.kernel[1]) as f64
            }
            _ => 1.0,
        };
        let read: f64 = tensors.iter().map(|tensor| tensor.numel() as f64).sum();
        self.work += read + elements * inner;
        self.spend(if op.is_view() { 0.0 } else { elements })?;
        let weights = &self.weights;
        let weight = |id: WeightId| &weights[id.0 as usize].tensor;
        let context = Context { weight: &weight, mode: Mode::Evaluate, batch: 1, in_place: false, node: 0 };
        let tensors: Vec<&Tensor> = tensors.iter().collect();
        tch::no_grad(|| apply(op, &tensors, &context)).map_err(|error| self.failed(&error))
    }

    fn node(&mut self, op: Op, operands: &[Operand], shape: Shape, kind: Kind) -> Result<ValueId, ImportError> {
        // Whether there is a dimension to leave out decides about all that follows.
        if let (Op::Squeeze { dim }, Some(operand)) = (&op, operands.first())
            && shape::position(*dim, self.shape(operand).len()).is_ok_and(|at| self.is_side(operand, at))
        {
            self.sides_used.set(true);
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for operand in operands {
            if operand.known().is_some_and(|tensor| tensor.kind() != Kind::Float) {
                return Err(self.computes_in(self.kind(operand)));
            }
            inputs.push(self.value_of(operand)?);
        }
        self.push(op, inputs, shape, kind)
    }

    /// An operand as a value of the program.
    pub(super) fn value_of(&mut self, operand: &Operand) -> Result<ValueId, ImportError> {
        if let Some(id) = operand.value() {
            return Ok(id);
        }
        let (weight, shape, kind) = (self.any_weight(operand)?, self.shape(operand), self.kind(operand));
        self.push(Op::Constant { weight }, Vec::new(), shape, kind)
    }

    /// Takes out the last nodes, down to so many: nothing stands for what they make.
    pub(super) fn cut(&mut self, nodes: usize) {
        self.nodes.truncate(nodes);
        self.origins.truncate(nodes);
        self.shapes.truncate(nodes + 1);
        self.kinds.truncate(nodes + 1);
        self.sides.truncate(nodes + 1);
    }

    pub(super) fn push(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        shape: Shape,
        kind: Kind,
    ) -> Result<ValueId, ImportError> {
        if self.nodes.len() >= MOST_NODES {
            return Err(self.error(format!("is one of more than {MOST_NODES} operators")));
        }
        let output = ValueId(self.nodes.len() as u32 + 1);
        self.nodes.push(Node { op, inputs, output, path: String::new() });
        let facts = |id: &ValueId| (&self.shapes[id.index()][..], &self.sides[id.index()][..]);
        let node = self.nodes.last().expect("it was just added");
        let sides = sides::of(&node.op, &node.inputs.iter().map(facts).collect::<Vec<_>>(), &shape);
        self.sides.push(sides);
        self.kinds.push(kind);
        self.origins.push(self.origin.clone());
        self.shapes.push(shape);
        Ok(output)
    }

    /// A copy, which shares no memory.
    pub(super) fn copy(&mut self, operand: &Operand) -> Result<Operand, ImportError> {
        if let Some(tensor) = operand.known() {
            self.spend(tensor.numel() as f64)?;
            return Ok(Operand::constant(tensor.copy()));
        }
        let same = self.emit(Op::Identity, std::slice::from_ref(operand))?;
        let content = Content::Value(same.value().expect("of a value"));
        Ok(Operand::fresh(content))
    }

    /// What `target.relu_()` does: every name of the target stands for the result.
    pub(super) fn overwrite(&mut self, target: &Operand, result: &Operand) -> Result<(), ImportError> {
        if target.is_same(result) {
            return Ok(());
        }
        self.read(target)?;
        if target.0.memory.stored {
            return Err(self.error("changes a tensor of the model, which is not supported"));
        }
        if self.shape(target) != self.shape(result) {
            return Err(self.error("changes a tensor in place to one of another shape"));
        }
        let (old, new) = (self.kind(target), self.kind(result));
        if old != new {
            let (old, new) = (kind::shown(old), kind::shown(new));
            return Err(
                self.error(format!("changes a tensor of {old} in place to one of {new}, which is not supported"))
            );
        }
        match (target.known(), result.known()) {
            // Views of it are to see the change.
            (Some(mut old), Some(new)) => {
                return tch::no_grad(|| old.f_copy_(&new)).map_err(|error| self.failed(&error));
            }
            (Some(_), None) => {
                return Err(self.error("writes what depends on the images into a constant, which is not supported"));
            }
            _ => (),
        }
        let new = match &*result.0.content.borrow() {
            Content::Value(id) => Content::Value(*id),
            Content::Constant { tensor, weight } => {
                Content::Constant { tensor: tensor.shallow_clone(), weight: *weight }
            }
        };
        *target.0.content.borrow_mut() = new;
        let memory = &target.0.memory;
        memory.writes.set(memory.writes.get() + 1);
        target.0.seen.set(memory.writes.get());
        Ok(())
    }
}
