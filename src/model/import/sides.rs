//! Which dimensions of a value depend on the height and width of the images.

use super::shape::position;
use crate::model::program::{Op, Size};

/// Whether each dimension of a result depends on the images' sides; inputs are shapes with the same about them. Says yes where in doubt.
pub(super) fn of(op: &Op, inputs: &[(&[Size], &[bool])], result: &[Size]) -> Vec<bool> {
    let any = |flags: &[bool]| flags.contains(&true);
    let Some(&(shape, first)) = inputs.first().filter(|_| inputs.iter().any(|input| any(input.1))) else {
        return vec![false; result.len()];
    };
    let doubt = vec![true; result.len()];
    let at = |dim: i64| position(dim, shape.len()).unwrap_or(0);
    let mut flags = first.to_vec();
    let made = match op {
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Cat { .. } => broadcast(inputs, result.len()),
        Op::ExpandAs => inputs.get(1).map_or(doubt, |second| second.1.to_vec()),
        Op::AdaptiveAvgPool2d { .. } => without_last(flags, 2),
        Op::Linear { .. } => without_last(flags, 1),
        Op::MatMul if inputs.len() == 2 && inputs.iter().all(|(shape, _)| shape.len() >= 2) => {
            let [(_, a), (_, b)] = [inputs[0], inputs[1]];
            let outer = [(inputs[0].0, &a[..a.len() - 2]), (inputs[1].0, &b[..b.len() - 2])];
            let mut made = broadcast(&outer, result.len() - 2);
            made.extend([a[a.len() - 2], b[b.len() - 1]]);
            made
        }
        Op::Attention { .. } => {
            flags.pop();
            flags.push(inputs.get(2).and_then(|value| value.1.last()).copied().unwrap_or(true));
            flags
        }
        Op::Mean { dims, keep } | Op::Sum { dims, keep } | Op::VectorNorm { dims, keep, .. } => {
            let reduced: Vec<usize> = dims.iter().map(|&dim| at(dim)).collect();
            let is_reduced = |at: usize| reduced.is_empty() || reduced.contains(&at);
            let flag = |(at, flag): (usize, bool)| match (is_reduced(at), keep) {
                (false, _) => Some(flag),
                (true, true) => Some(false),
                (true, false) => None,
            };
            flags.into_iter().enumerate().filter_map(flag).collect()
        }
        Op::Flatten { start, end } => {
            let (start, end) = (at(*start), at(*end));
            let end = (end + 1).min(flags.len());
            let merged = any(&flags[start.min(end)..end]);
            flags.splice(start.min(end)..end, [merged]);
            flags
        }
        Op::Reshape { size } => size.iter().map(|size| *size == Size::Fixed(-1)).collect(),
        Op::Unflatten { dim, size } => {
            let inner = size.iter().map(|size| *size == Size::Fixed(-1));
            flags.splice(at(*dim)..=at(*dim), inner);
            flags
        }
        Op::Expand { size } => {
            let new = size.len().saturating_sub(flags.len());
            let kept = |at: usize| at >= new && size[at] == Size::Fixed(-1) && flags[at - new];
            (0..size.len()).map(kept).collect()
        }
        Op::Permute { dims } => dims.iter().map(|&dim| flags[at(dim)]).collect(),
        Op::Transpose { first, second } => {
            flags.swap(at(*first), at(*second));
            flags
        }
        Op::Select { dim, .. } => {
            flags.remove(at(*dim));
            flags
        }
        Op::Unsqueeze { dim } => {
            flags.insert(position(*dim, shape.len() + 1).unwrap_or(0), false);
            flags
        }
        Op::Squeeze { dim } => {
            if result.len() < flags.len() {
                flags.remove(at(*dim));
            }
            flags
        }
        Op::Einsum { .. } | Op::Aten { .. } => doubt,
        // What keeps the dimensions, or slides over the last two.
        _ => flags,
    };
    if made.len() == result.len() { made } else { vec![true; result.len()] }
}

fn without_last(mut flags: Vec<bool>, count: usize) -> Vec<bool> {
    flags.iter_mut().rev().take(count).for_each(|flag| *flag = false);
    flags
}

/// Of dimensions that are counted from the last one.
fn broadcast(inputs: &[(&[Size], &[bool])], rank: usize) -> Vec<bool> {
    let flag = |back: usize| inputs.iter().any(|(_, flags)| flags.len().checked_sub(back).is_some_and(|at| flags[at]));
    (1..=rank).rev().map(flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_height_and_width_is_known() {
        let sizes = [2, 3, 32, 32].map(Size::Fixed);
        let image = [false, false, true, true];
        let of_image = |op: &Op, rank: usize| of(op, &[(&sizes, &image)], &vec![Size::Fixed(1); rank]);
        assert_eq!(of_image(&Op::Relu, 4), image);
        assert_eq!(of_image(&Op::Flatten { start: 2, end: 3 }, 3), [false, false, true]);
        assert_eq!(of_image(&Op::AdaptiveAvgPool2d { output: [1, 1] }, 4), [false; 4]);
        assert_eq!(of_image(&Op::Permute { dims: vec![0, 2, 3, 1] }, 4), [false, true, true, false]);
        assert_eq!(of_image(&Op::Mean { dims: vec![2, 3], keep: false }, 2), [false, false]);
        assert_eq!(of_image(&Op::Reshape { size: vec![Size::Fixed(2), Size::Fixed(-1)] }, 2), [false, true]);
        assert_eq!(of_image(&Op::Unsqueeze { dim: -1 }, 5), [false, false, true, true, false]);
    }
}
