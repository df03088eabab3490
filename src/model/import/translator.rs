//! The nodes of an exported program, one after the other, with the names that they give to tensors.

use std::collections::{BTreeMap, BTreeSet};

use tch::Kind;

use super::call::{Argument, Call as OperatorCall};
use super::graph::{Graph, Operand, Origin};
use super::kind;
use super::shape::shown as shown_shape;
use super::stored::{Facts, tensor_of};
use super::{ImportError, fallback, operators, shown};
use crate::model::blocks::Call;
use crate::model::format::pt2::{self, Dim, ExportNode, ExportedProgram, Integer};
use crate::model::program::{Op, Size, ValueId};

pub(super) struct Translated {
    pub(super) graph: Graph,
    /// What it returns, with the names of the export.
    pub(super) outputs: Vec<(String, Operand)>,
    /// The calls of modules, in the order in which they begin.
    pub(super) calls: Vec<Call>,
}

struct Translator<'a> {
    export: &'a ExportedProgram,
    symbol: Option<&'a str>,
    graph: Graph,
    names: BTreeMap<&'a str, Operand>,
}

/// Translates all nodes; `image` is the shape of the pixels.
pub(super) fn translate(
    export: &ExportedProgram,
    pixels: &str,
    symbol: Option<&str>,
    image: Vec<Size>,
) -> Result<Translated, ImportError> {
    all_known(export)?;
    let (graph, input) = Graph::new(image);
    let mut it = Translator { export, symbol, graph, names: BTreeMap::new() };
    it.store_weights()?;
    let (pixels, _) = export.shapes.get_key_value(pixels).expect("the caller has read its shape");
    it.names.insert(pixels, input);
    let mut made = Vec::with_capacity(export.nodes.len());
    for node in &export.nodes {
        it.node(node)?;
        made.push(match &node.outputs[..] {
            [name] => it.names.get(name.as_str()).and_then(Operand::value),
            _ => None,
        });
    }
    let outputs = export.outputs.iter().map(|name| Ok((name.clone(), it.lookup(name)?)));
    let outputs = outputs.collect::<Result<_, ImportError>>()?;
    let calls = it.calls(&made);
    Ok(Translated { graph: it.graph, outputs, calls })
}

/// That every operator of a graph has a translation.
fn all_known(export: &ExportedProgram) -> Result<(), ImportError> {
    let mut unknown: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    // Integers are read from the graph's table.
    let harmless = |node: &ExportNode| {
        let kinds = ["torch.ops.aten._assert", "torch.ops.aten.sym_", "_operator.", "math.", "torch.sym_"];
        node.outputs.is_empty() && kinds.iter().any(|kind| node.target.starts_with(kind))
    };
    let is_known = |node: &ExportNode| {
        let name = node.target.strip_prefix(ATEN);
        name.is_some_and(|name| operators::find(name).is_some() || fallback::find(name).is_some())
    };
    for node in export.nodes.iter().filter(|node| !harmless(node) && !is_known(node)) {
        let module = node.modules.last().map_or("", |module| module.path.as_str());
        unknown.entry(&node.target).or_insert((0, module)).0 += 1;
    }
    let mut sorted: Vec<_> = unknown.into_iter().collect();
    sorted.sort_by_key(|(_, (nodes, _))| std::cmp::Reverse(*nodes));
    let Some((target, (nodes, module))) = sorted.first() else { return Ok(()) };
    let name = |target: &str| shown(target.strip_prefix("torch.ops.").unwrap_or(target));
    let others: Vec<String> = sorted.iter().skip(1).take(8).map(|(target, _)| name(target)).collect();
    let others = if others.is_empty() { String::new() } else { format!("; so are {}", others.join(", ")) };
    Err(ImportError(format!(
        "the operator {} is not supported (module `{}`; used by {nodes} node(s){others}); write the model without it, or ask for it \
         with this line",
        name(target),
        shown(module)
    )))
}

/// What the names of ATen's operators begin with.
const ATEN: &str = "torch.ops.aten.";

fn tensors_of(node: &ExportNode) -> impl Iterator<Item = &str> {
    node.arguments.iter().flat_map(|(_, argument)| match argument {
        pt2::Argument::Tensor(name) => vec![name.as_str()],
        pt2::Argument::Tensors(names) => names.iter().flatten().map(String::as_str).collect(),
        _ => Vec::new(),
    })
}

impl<'a> Translator<'a> {
    fn store_weights(&mut self) -> Result<(), ImportError> {
        let read: BTreeSet<&str> = self.export.nodes.iter().flat_map(tensors_of).collect();
        // Others belong to auxiliary heads, which evaluation does not run.
        for (name, stored) in self.export.stored.iter().filter(|(name, _)| read.contains(name.as_str())) {
            let (tensor, gaps) = tensor_of(&stored.name, &stored.tensor, &stored.stride, stored.parameter)?;
            self.graph.spend(gaps)?;
            let facts = Facts { parameter: stored.parameter, requires_grad: stored.parameter, number: false };
            self.names.insert(name, self.graph.stored(&stored.name, tensor, facts));
        }
        Ok(())
    }

    fn node(&mut self, node: &'a ExportNode) -> Result<(), ImportError> {
        if node.outputs.is_empty() {
            return Ok(());
        }
        let target = shown(node.target.strip_prefix("torch.ops.").unwrap_or(&node.target));
        let module = node.modules.last().map_or(String::new(), |module| shown(&module.path));
        self.graph.origin = Origin { target: target.into(), place: format!("module `{module}`").into() };
        for name in &node.outputs {
            if self.names.contains_key(name.as_str()) {
                return Err(self.graph.error(format!("makes `{name}`, which is there already")));
            }
        }
        let arguments = node.arguments.iter().map(|(name, argument)| Ok((name.clone(), self.argument(argument)?)));
        let arguments = arguments.collect::<Result<Vec<_>, ImportError>>()?;
        let name = node.target.strip_prefix(ATEN).unwrap_or_default();
        let nodes = self.graph.nodes.len();
        let typed = operators::find(name).map(|(operator, in_place)| {
            operator.translate(&mut OperatorCall::new(&mut self.graph, &arguments), in_place)
        });
        let boxed = || fallback::by_overload(name, &arguments);
        let (made, _) = fallback::typed_or_boxed(&mut self.graph, nodes, typed, boxed)?;
        // Of several results a translation may make the first alone, which is the one that networks read.
        if made.len() != node.outputs.len() && made.len() != 1 {
            let (found, expected) = (made.len(), node.outputs.len());
            return Err(self.graph.error(format!("makes {found} tensors, the file says {expected}")));
        }
        for (name, operand) in node.outputs.iter().zip(made) {
            self.check_shape(node, name, &operand)?;
            self.check_kind(name, &operand)?;
            self.names.insert(name, operand);
        }
        Ok(())
    }

    /// Holds a result's shape against the one that the file says it has.
    fn check_shape(&self, node: &ExportNode, name: &str, operand: &Operand) -> Result<(), ImportError> {
        let Some(expected) = self.export.shapes.get(name) else { return Ok(()) };
        let found = self.graph.shape(operand);
        let known = |dim: &Dim| match dim {
            Dim::Fixed(size) => Some(Size::Fixed(*size)),
            Dim::Symbol { name, times, .. } if Some(name.as_str()) == self.symbol => Some(Size::Batch(*times)),
            _ => None,
        };
        let fits = |(dim, found): (&Dim, &Size)| known(dim).is_none_or(|known| known == *found);
        if expected.len() != found.len() || !expected.iter().zip(&found).all(fits) {
            let expected: Vec<Size> = expected.iter().map(|dim| known(dim).unwrap_or(Size::Fixed(-1))).collect();
            return Err(self.graph.error(format!(
                "makes a tensor of shape {}, the file says {}; it is damaged or was changed by hand",
                shown_shape(&found),
                shown_shape(&expected)
            )));
        }
        if node.outputs.len() > 1 && expected.iter().any(|dim| known(dim).is_none()) {
            return Err(self.graph.error("makes pieces of a size that is not fixed, which is not supported"));
        }
        Ok(())
    }

    /// Holds a result's data type against the one that the file says it has.
    fn check_kind(&self, name: &str, operand: &Operand) -> Result<(), ImportError> {
        let Some(code) = self.export.kinds.get(name) else { return Ok(()) };
        let found = self.graph.kind(operand);
        if kind_of(*code) == Some(found) {
            return Ok(());
        }
        let (found, expected) = (kind::shown(found), kind_of(*code).map_or("another type", kind::shown));
        Err(self.graph.error(format!(
            "makes a tensor of {found}, the file says {expected}; export the model in float32 (model.float())"
        )))
    }

    fn argument(&self, argument: &pt2::Argument) -> Result<Argument, ImportError> {
        Ok(match argument {
            pt2::Argument::None => Argument::None,
            pt2::Argument::Tensor(name) => Argument::Tensor(self.lookup(name)?),
            pt2::Argument::Tensors(names) => {
                let one = |name: &Option<String>| name.as_ref().map(|name| self.lookup(name)).transpose();
                Argument::Tensors(names.iter().map(one).collect::<Result<_, _>>()?)
            }
            pt2::Argument::Integer(number) => Argument::Integer(self.size(number)?),
            pt2::Argument::Integers(all) => {
                Argument::Integers(all.iter().map(|number| self.size(number)).collect::<Result<_, _>>()?)
            }
            pt2::Argument::Floats(all) => Argument::Floats(all.clone()),
            pt2::Argument::Float(number) => Argument::Float(*number),
            pt2::Argument::Bool(flag) => Argument::Bool(*flag),
            pt2::Argument::Text(text) => Argument::Text(text.clone()),
            pt2::Argument::Kind(code) => kind_of(*code).map_or(Argument::Other, Argument::Kind),
            // TorchScript's numbers of memory formats.
            pt2::Argument::Format(1) => Argument::Integer(Size::Fixed(0)),
            pt2::Argument::Format(4) => Argument::Integer(Size::Fixed(1)),
            pt2::Argument::Format(_) | pt2::Argument::Other(_) => Argument::Other,
        })
    }

    fn lookup(&self, name: &str) -> Result<Operand, ImportError> {
        // A name that a later node makes is as unknown as one that none makes: there are no cycles.
        let unknown = || self.graph.error(format!("reads `{}`, which nothing before it has made", shown(name)));
        self.names.get(name).cloned().ok_or_else(unknown)
    }

    fn size(&self, integer: &Integer) -> Result<Size, ImportError> {
        match integer {
            Integer::Literal(size) => Ok(Size::Fixed(*size)),
            Integer::Named(name) => match self.export.integers.get(name) {
                Some(Dim::Fixed(size)) => Ok(Size::Fixed(*size)),
                Some(Dim::Symbol { name, times, .. }) if Some(name.as_str()) == self.symbol => Ok(Size::Batch(*times)),
                Some(_) => Err(self.graph.error(
                    "has a size that depends on more than the number of images; export with the batch as the only dynamic size",
                )),
                None => Err(self.graph.error(format!("names the integer `{name}`, which the graph does not have"))),
            },
        }
    }

    /// All calls in the order in which they begin; `made` is, per node, the value that its only output stands for.
    fn calls(&self, made: &[Option<ValueId>]) -> Vec<Call> {
        let mut calls: Vec<Call> = Vec::new();
        let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
        for (node, &value) in self.export.nodes.iter().zip(made).filter(|(node, _)| !node.outputs.is_empty()) {
            let rows = value.is_some_and(|value| super::holds_images(&self.graph, value));
            let op = value.and_then(|value| self.graph.nodes.get(value.index().checked_sub(1)?)).map(|node| &node.op);
            let weighted = matches!(op, Some(Op::Conv2d { .. } | Op::Linear { .. }));
            let mut parent = None;
            for (depth, frame) in node.modules.iter().enumerate().skip(1) {
                let idx = *by_key.entry(&frame.key).or_insert_with(|| {
                    let (path, class) = (frame.path.clone(), frame.class.clone());
                    calls.push(Call { path, class, parent, output: None, weighted: false, works: false });
                    calls.len() - 1
                });
                let call = &mut calls[idx];
                call.output = value.map(ValueId::index).filter(|&value| rows && value > 0);
                call.weighted |= weighted;
                call.works |= depth + 1 == node.modules.len();
                parent = Some(idx);
            }
        }
        calls
    }
}

/// The numbers are those of `torch._export.serde.schema.ScalarType`.
pub(super) fn kind_of(code: i64) -> Option<Kind> {
    Some(match code {
        1 => Kind::Uint8,
        2 => Kind::Int8,
        3 => Kind::Int16,
        4 => Kind::Int,
        5 => Kind::Int64,
        6 => Kind::Half,
        7 => Kind::Float,
        8 => Kind::Double,
        12 => Kind::Bool,
        13 => Kind::BFloat16,
        _ => return None,
    })
}
