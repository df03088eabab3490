//! Operators that exports have after `run_decompositions()`, and what says a shape in other words.

use std::collections::BTreeSet;

use super::call::{Call, Made};
use super::shape::position;
use crate::model::program::Op;

/// `mm` and `addmm`: a linear layer where the second matrix is one of the file's, turned round.
pub(super) fn product(c: &mut Call<'_>) -> Made {
    let (first, bias) = match c.argument("mat1") {
        Some(_) => ("mat1", Some("self")),
        None => ("self", None),
    };
    for name in ["beta", "alpha"] {
        if (c.float(name, Some(1.0))? - 1.0).abs() > 0.0 {
            return Err(c.error(format!("scales by `{name}`, which is not supported")));
        }
    }
    let (first, second) = (c.operand(first)?, c.operand("mat2")?);
    let bias = match bias {
        Some(name) if c.graph.shape(&c.operand(name)?).len() == 1 => Some(c.operand(name)?),
        Some(_) => return Err(c.error("adds a matrix, which is not supported")),
        None => None,
    };
    let weight = c.graph.transposed_weight(&second);
    if let (Some(weight), true) = (weight, bias.as_ref().is_none_or(|bias| bias.known().is_some())) {
        let bias = bias.map(|bias| c.graph.weight(&bias)).transpose()?;
        return c.emit_on(Op::Linear { weight, bias }, &[first]);
    }
    let product = c.graph.emit(Op::MatMul, &[first, second])?;
    match bias {
        Some(bias) => c.emit_on(Op::Add, &[product, bias]),
        None => Ok(vec![product]),
    }
}

pub(super) fn reshape_as(c: &mut Call<'_>) -> Made {
    let other = c.operand("other")?;
    let size = c.graph.shape(&other);
    if (0..size.len()).any(|at| c.graph.is_side(&other, at)) {
        c.graph.sides_used.set(true);
    }
    c.on_self(Op::Reshape { size })
}

pub(super) fn squeeze(c: &mut Call<'_>) -> Made {
    let mut operand = c.operand("self")?;
    let rank = c.graph.shape(&operand).len();
    let places = c.dims("dim")?.into_iter().map(|dim| position(dim, rank)).collect::<Result<BTreeSet<_>, _>>();
    for &at in places.map_err(|reason| c.error(reason))?.iter().rev() {
        operand = c.graph.emit(Op::Squeeze { dim: at as i64 }, &[operand])?;
    }
    Ok(vec![operand])
}
