//! What a graph knows of its values besides their shapes: data types, as PyTorch promotes them, and what they depend on.

use tch::Kind;

use super::ImportError;
use super::graph::{Graph, Operand};
use super::kind::{self, Rank};
use crate::model::program::{Op, Unary, ValueId};

impl Graph {
    pub(super) fn kind(&self, operand: &Operand) -> Kind {
        match (operand.value(), operand.known()) {
            (Some(id), _) => self.kinds[id.index()],
            (None, known) => known.expect("a tensor is a value or known").kind(),
        }
    }

    /// Whether a dimension depends on the height or width of the images.
    pub(super) fn is_side(&self, operand: &Operand, at: usize) -> bool {
        operand.value().is_some_and(|id| self.sides[id.index()].get(at).copied().unwrap_or(true))
    }

    /// Whether a gradient flows through it to the images.
    pub(super) fn follows_images(&self, operand: &Operand) -> bool {
        let mut open: Vec<ValueId> = operand.value().into_iter().collect();
        let mut seen = vec![false; self.shapes.len()];
        while let Some(id) = open.pop() {
            let Some(node) = id.index().checked_sub(1).map(|at| &self.nodes[at]) else { return true };
            if !std::mem::replace(&mut seen[id.index()], true)
                && node.op != Op::Detach
                && kind::is_floating(self.kinds[id.index()])
            {
                open.extend(&node.inputs);
            }
        }
        false
    }

    pub(super) fn computes_in(&self, kind: Kind) -> ImportError {
        let kind = kind::shown(kind);
        self.error(format!("computes in {kind}, which is not supported; export the model in float32 (model.float())"))
    }

    /// A tensor in another data type.
    pub(super) fn cast(&mut self, operand: &Operand, kind: Kind) -> Result<Operand, ImportError> {
        match operand.known() {
            _ if self.kind(operand) == kind => Ok(operand.clone()),
            Some(known) => self.computed(known.f_to_kind(kind)),
            None => self.emit(Op::Cast { kind }, std::slice::from_ref(operand)),
        }
    }

    /// The operands with the data types that the operator computes in, and that of its result.
    pub(super) fn typed(&mut self, op: &Op, operands: &[Operand]) -> Result<(Vec<Operand>, Kind), ImportError> {
        let kinds: Vec<Kind> = operands.iter().map(|operand| self.kind(operand)).collect();
        let first = kinds.first().copied().unwrap_or(Kind::Float);
        let all_known = operands.iter().all(|operand| operand.value().is_none());
        let same = |kind: Kind| kinds.iter().find(|it| **it != kind);
        let mut typed = operands.to_vec();
        let kind = match op {
            Op::Cast { kind } => *kind,
            op if op.moves() => first,
            // libtorch finds it by itself.
            Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Cat { .. }
            | Op::MatMul
            | Op::Einsum { .. }
            | Op::Relu
            | Op::Mean { .. }
            | Op::Sum { .. }
                if all_known =>
            {
                first
            }
            Op::Cat { .. } => match same(first) {
                Some(other) => return Err(self.error(format!("joins {first:?} and {other:?}, which is not supported"))),
                None => first,
            },
            Op::Add | Op::Sub | Op::Mul | Op::Div => {
                let rank =
                    |operand: &Operand| if self.shape(operand).is_empty() { Rank::Single } else { Rank::Dimensions };
                let parts: Vec<_> = kinds.iter().copied().zip(operands.iter().map(rank)).collect();
                let kind = kind::promoted(&parts);
                if kind != Kind::Float {
                    return Err(self.computes_in(kind));
                }
                if *op == Op::Sub && kinds.contains(&Kind::Bool) {
                    return Err(self.error("subtracts truth values, which PyTorch refuses"));
                }
                for operand in &mut typed {
                    *operand = self.cast(operand, Kind::Float)?;
                }
                kind
            }
            Op::Unary(function) if all_known && first != Kind::Float => match function {
                Unary::Abs | Unary::Neg | Unary::Sign | Unary::Exp | Unary::Sqrt | Unary::Rsqrt => first,
                _ if first == Kind::Double => first,
                _ => return Err(self.computes_in(first)),
            },
            _ => match same(Kind::Float) {
                Some(other) => return Err(self.computes_in(*other)),
                None if matches!(op, Op::Unary(Unary::Compare(..))) => Kind::Bool,
                None => Kind::Float,
            },
        };
        Ok((typed, kind))
    }
}
