//! The graph's names: which value or constant each stands for while the nodes are translated in order.

use std::collections::BTreeMap;
use std::fmt::Display;

use tch::{Kind, Tensor};

use super::call::Call;
use super::trial::check_size;
use super::{ImportError, operators, shown};
use crate::model::apply::{Context, apply};
use crate::model::format::pt2::{Argument, Dim, ExportNode, ExportedProgram, Integer};
use crate::model::format::{Dtype, RawTensor};
use crate::model::op::Mode;
use crate::model::program::{Node, Op, Size, ValueId, Weight, WeightId};
use crate::model::weights::not_finite;

#[derive(Debug)]
pub(super) enum Binding {
    Value(ValueId),
    Constant(Constant),
}

#[derive(Debug)]
pub(super) struct Constant {
    pub(super) tensor: Tensor,
    /// Its place among the program's weights, if it has one.
    pub(super) weight: Option<WeightId>,
}

impl Binding {
    pub(super) fn share(&self) -> Self {
        match self {
            Self::Value(id) => Self::Value(*id),
            Self::Constant(it) => Self::Constant(Constant { tensor: it.tensor.shallow_clone(), weight: it.weight }),
        }
    }
}

/// Where a value comes from, for messages and checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// Its name in the graph, unless it only exists in the program.
    pub(super) name: Option<String>,
    pub(super) target: String,
    pub(super) module: String,
}

impl Origin {
    pub(super) fn error(&self, reason: impl Display) -> ImportError {
        ImportError(format!("{} in module `{}`: {reason}", self.target, self.module))
    }
}

pub(super) struct Translated {
    pub(super) nodes: Vec<Node>,
    pub(super) weights: Vec<Weight>,
    pub(super) output: ValueId,
    pub(super) origins: Vec<Origin>,
    /// Per node of the export: the value that its only output stands for.
    pub(super) made: Vec<Option<ValueId>>,
}

pub(super) struct Translator<'a> {
    pub(super) export: &'a ExportedProgram,
    symbol: Option<&'a str>,
    names: BTreeMap<&'a str, Binding>,
    /// The last node that reads a name.
    last_read: BTreeMap<&'a str, usize>,
    nodes: Vec<Node>,
    weights: Vec<Weight>,
    origins: Vec<Origin>,
    /// Per value: the value whose memory it shares in PyTorch, itself if none.
    bases: Vec<ValueId>,
    pub(super) current: usize,
}

pub(super) fn translate(
    export: &ExportedProgram,
    pixels: &str,
    output: &str,
    symbol: Option<&str>,
) -> Result<Translated, ImportError> {
    operators::all_known(export)?;
    let mut it = Translator {
        export,
        symbol,
        names: BTreeMap::new(),
        last_read: BTreeMap::new(),
        nodes: Vec::new(),
        weights: Vec::new(),
        origins: Vec::new(),
        bases: vec![ValueId(0)],
        current: 0,
    };
    for (idx, node) in export.nodes.iter().enumerate() {
        for name in tensors_of(node) {
            it.last_read.insert(name, idx);
        }
    }
    it.store_weights()?;
    let (pixels, _) = export.shapes.get_key_value(pixels).expect("the caller has read its shape");
    it.names.insert(pixels, Binding::Value(ValueId(0)));
    let mut made = Vec::with_capacity(export.nodes.len());
    for (idx, node) in export.nodes.iter().enumerate() {
        it.current = idx;
        it.node(node)?;
        made.push(match &node.outputs[..] {
            [name] => it.value_of(name),
            _ => None,
        });
    }
    let Some(output) = it.value_of(output) else {
        return Err(ImportError("its output does not depend on its input".to_owned()));
    };
    Ok(Translated { nodes: it.nodes, weights: it.weights, output, origins: it.origins, made })
}

fn tensors_of(node: &ExportNode) -> impl Iterator<Item = &str> {
    node.arguments.iter().flat_map(|(_, argument)| match argument {
        Argument::Tensor(name) => vec![name.as_str()],
        Argument::Tensors(names) => names.iter().flatten().map(String::as_str).collect(),
        _ => Vec::new(),
    })
}

impl<'a> Translator<'a> {
    fn store_weights(&mut self) -> Result<(), ImportError> {
        for (graph_name, stored) in &self.export.stored {
            // Auxiliary heads, which evaluation does not run.
            if !self.last_read.contains_key(graph_name.as_str()) {
                continue;
            }
            let tensor = tensor_of(&stored.tensor);
            if stored.parameter {
                let odd = tensor.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
                if odd > 0 {
                    return Err(ImportError(not_finite(&stored.name, odd)));
                }
            }
            let weight = stored.parameter.then(|| self.add_weight(&stored.name, &tensor, true));
            self.names.insert(graph_name, Binding::Constant(Constant { tensor, weight }));
        }
        Ok(())
    }

    fn add_weight(&mut self, name: &str, tensor: &Tensor, trainable: bool) -> WeightId {
        self.weights.push(Weight { name: name.to_owned(), tensor: tensor.shallow_clone(), trainable });
        WeightId(self.weights.len() as u32 - 1)
    }

    fn node(&mut self, node: &'a ExportNode) -> Result<(), ImportError> {
        // Integers are read from the graph's table; what makes nothing only checks something.
        let Some(output) = node.outputs.first() else { return Ok(()) };
        for name in &node.outputs {
            if self.names.contains_key(name.as_str()) {
                return Err(self.origin(None).error(format!("makes `{name}`, which is there already")));
            }
        }
        let (translate, in_place) = operators::find(&node.target).expect("all operators have been looked up");
        translate(&mut Call { t: self, node })?;
        if in_place {
            self.rebind(node, output)?;
        }
        Ok(())
    }

    /// After `x.relu_()`, every name of x stands for the result.
    fn rebind(&mut self, node: &'a ExportNode, output: &str) -> Result<(), ImportError> {
        let Some(changed) = tensors_of(node).next() else { return Ok(()) };
        if let (Some(Binding::Constant(old)), Some(Binding::Constant(new))) =
            (self.names.get(changed), self.names.get(output))
        {
            if old.weight.is_some() {
                return Err(self.error("changes a weight of the model, which is not supported"));
            }
            // Views of it are to see the change.
            let written = tch::no_grad(|| old.tensor.shallow_clone().f_copy_(&new.tensor));
            return written.map_err(|error| self.error(advmod_attacks::victim::first_line(&error)));
        }
        let (Some(old), Some(new)) = (self.value_of(changed), self.value_of(output)) else {
            return Err(self.error("writes what depends on the images into a constant, which is not supported"));
        };
        let base = self.bases[old.index()];
        for (name, binding) in &mut self.names {
            let Binding::Value(value) = binding else { continue };
            if *value == old {
                *value = new;
            } else if *value != new
                && self.bases[value.index()] == base
                && self.last_read.get(name).is_some_and(|&read| read > self.current)
            {
                return Err(self.origin(None).error(
                    "changes a tensor in place while a view of it is still needed, which is not supported; write it without the \
                     in-place operation",
                ));
            }
        }
        // The memory is the same one.
        self.bases[new.index()] = base;
        Ok(())
    }

    pub(super) fn origin(&self, name: Option<&str>) -> Origin {
        let node = &self.export.nodes[self.current];
        let module = node.modules.last().map_or(String::new(), |module| shown(&module.path));
        let target = shown(node.target.strip_prefix("torch.ops.").unwrap_or(&node.target));
        Origin { name: name.map(str::to_owned), target, module }
    }

    pub(super) fn error(&self, reason: impl Display) -> ImportError {
        self.origin(None).error(reason)
    }

    pub(super) fn lookup(&self, name: &str) -> Result<&Binding, ImportError> {
        // A name that a later node makes is as unknown as one that none makes: there are no cycles.
        self.names.get(name).ok_or_else(|| self.error(format!("reads `{name}`, which nothing before it has made")))
    }

    fn value_of(&self, name: &str) -> Option<ValueId> {
        match self.names.get(name)? {
            Binding::Value(id) => Some(*id),
            Binding::Constant(_) => None,
        }
    }

    pub(super) fn bind(&mut self, name: &'a str, binding: Binding) {
        self.names.insert(name, binding);
    }

    /// Says that a value is a copy: it shares no memory with what it was made of.
    pub(super) fn set_apart(&mut self, name: &str) {
        if let Some(value) = self.value_of(name) {
            self.bases[value.index()] = value;
        }
    }

    pub(super) fn size(&self, integer: &Integer) -> Result<Size, ImportError> {
        match integer {
            Integer::Literal(size) => Ok(Size::Fixed(*size)),
            Integer::Named(name) => match self.export.integers.get(name) {
                Some(Dim::Fixed(size)) => Ok(Size::Fixed(*size)),
                Some(Dim::Symbol { name, times, .. }) if Some(name.as_str()) == self.symbol => Ok(Size::Batch(*times)),
                Some(_) => Err(self.error(
                    "has a size that depends on more than the number of images; export with the batch as the only dynamic size",
                )),
                None => Err(self.error(format!("names the integer `{name}`, which the graph does not have"))),
            },
        }
    }

    /// A constant as a weight of the program.
    pub(super) fn weight(&mut self, name: &str) -> Result<WeightId, ImportError> {
        let Binding::Constant(constant) = self.lookup(name)? else {
            return Err(self.error("has weights that depend on the images, which is not supported"));
        };
        if let Some(id) = constant.weight {
            return Ok(id);
        }
        let tensor = constant.tensor.shallow_clone();
        let id = self.add_weight(&format!("{name} (constant)"), &tensor, false);
        if let Some(Binding::Constant(constant)) = self.names.get_mut(name) {
            constant.weight = Some(id);
        }
        Ok(id)
    }

    /// A new weight that is not in the file.
    pub(super) fn filled(&mut self, value: f64, size: &[i64]) -> WeightId {
        let tensor = Tensor::full(size, value, (Kind::Float, tch::Device::Cpu));
        self.add_weight("(constant)", &tensor, false)
    }

    pub(super) fn constant(&self, name: &str) -> Result<Tensor, ImportError> {
        match self.lookup(name)? {
            Binding::Constant(constant) => Ok(constant.tensor.shallow_clone()),
            Binding::Value(_) => Err(self.error("is supported only where no image changes the result")),
        }
    }

    /// Applies an operator: at once if nothing depends on the images, else in a new node.
    pub(super) fn emit(&mut self, op: Op, operands: &[Binding], name: Option<&str>) -> Result<Binding, ImportError> {
        let constants = operands.iter().map(|operand| match operand {
            Binding::Constant(it) => Some(&it.tensor),
            Binding::Value(_) => None,
        });
        let constants: Option<Vec<&Tensor>> = constants.collect();
        if let (Some(tensors), false) = (constants, op.names_the_batch()) {
            let weights = &self.weights;
            let weight = |id: WeightId| &weights[id.0 as usize].tensor;
            let context = Context { weight: &weight, mode: Mode::Evaluate, batch: 1, in_place: false, node: 0 };
            check_size(&op, &tensors, &context).map_err(|reason| self.error(reason))?;
            let result = tch::no_grad(|| apply(&op, &tensors, &context));
            let tensor = result.map_err(|error| self.error(advmod_attacks::victim::first_line(&error)))?;
            return Ok(Binding::Constant(Constant { tensor, weight: None }));
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for operand in operands {
            inputs.push(match operand {
                Binding::Value(id) => *id,
                Binding::Constant(constant) => {
                    let weight = match constant.weight {
                        Some(id) => id,
                        None => self.add_weight("(constant)", &constant.tensor, false),
                    };
                    self.push(Op::Constant { weight }, Vec::new(), None)
                }
            });
        }
        let shares = is_view(&op).then(|| inputs.first().map(|id| self.bases[id.index()])).flatten();
        let output = self.push(op, inputs, name);
        if let Some(base) = shares {
            self.bases[output.index()] = base;
        }
        Ok(Binding::Value(output))
    }

    fn push(&mut self, op: Op, inputs: Vec<ValueId>, name: Option<&str>) -> ValueId {
        let output = ValueId(self.nodes.len() as u32 + 1);
        self.nodes.push(Node { op, inputs, output, path: String::new() });
        self.origins.push(self.origin(name));
        self.bases.push(output);
        output
    }
}

/// Whether PyTorch's result may share memory with the first input.
fn is_view(op: &Op) -> bool {
    matches!(
        op,
        Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Unflatten { .. }
            | Op::Permute { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Select { .. }
            | Op::Unsqueeze { .. }
            | Op::Squeeze { .. }
            | Op::Expand { .. }
            | Op::ExpandAs
            | Op::Identity
    )
}

/// Numbers become f32, except integers and truth values, which index and select.
fn tensor_of(raw: &RawTensor) -> Tensor {
    let shape: Vec<i64> = raw.shape.iter().map(|&size| size as i64).collect();
    let tensor = match raw.dtype {
        Dtype::I64 => {
            let values: Vec<i64> = raw.bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
            Tensor::from_slice(&values)
        }
        Dtype::I32 | Dtype::I16 | Dtype::I8 | Dtype::U8 => Tensor::from_slice(&raw.to_f32()).to_kind(Kind::Int64),
        Dtype::Bool => Tensor::from_slice(&raw.to_f32()).to_kind(Kind::Bool),
        _ => Tensor::from_slice(&raw.to_f32()),
    };
    tensor.view(shape.as_slice())
}
