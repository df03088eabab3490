//! The shape of every result, symbolic in the number of images: what does not fit is refused before anything is computed.

use std::collections::BTreeMap;

use crate::model::op::{Op, Size, WeightId, Windows};

pub(super) type Shape = Vec<Size>;

impl Size {
    /// Nothing times the number of images is nothing.
    fn of_batch(times: i64) -> Self {
        if times == 0 { Self::Fixed(0) } else { Self::Batch(times) }
    }

    pub(super) fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) => a.checked_mul(b).map(Self::Fixed),
            (Self::Batch(a), Self::Fixed(b)) | (Self::Fixed(a), Self::Batch(b)) => a.checked_mul(b).map(Self::of_batch),
            (Self::Batch(_), Self::Batch(_)) => None,
        }
    }

    /// The quotient, where there is no remainder for any number of images.
    pub(super) fn over(self, other: Self) -> Option<Self> {
        let exact = |a: i64, b: i64| (b != 0 && a.checked_rem(b) == Some(0)).then(|| a / b);
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) | (Self::Batch(a), Self::Batch(b)) => exact(a, b).map(Self::Fixed),
            (Self::Batch(a), Self::Fixed(b)) => exact(a, b).map(Self::of_batch),
            (Self::Fixed(0), Self::Batch(_)) => Some(Self::Fixed(0)),
            (Self::Fixed(_), Self::Batch(_)) => None,
        }
    }

    pub(super) fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) => a.checked_add(b).map(Self::Fixed),
            (Self::Batch(a), Self::Batch(b)) => a.checked_add(b).map(Self::of_batch),
            (it, Self::Fixed(0)) | (Self::Fixed(0), it) => Some(it),
            _ => None,
        }
    }

    pub(super) fn negative(self) -> Option<Self> {
        self.times(Self::Fixed(-1))
    }
}

/// `[N, 64, 7, 7]`, for messages.
pub(super) fn shown(shape: &[Size]) -> String {
    let size = |size: &Size| match size {
        Size::Fixed(size) => size.to_string(),
        Size::Batch(1) => "N".to_owned(),
        Size::Batch(times) => format!("{times}·N"),
    };
    format!("[{}]", shape.iter().map(size).collect::<Vec<_>>().join(", "))
}

/// Number of elements.
pub(super) fn count(shape: &[Size]) -> Result<Size, String> {
    let product = shape.iter().try_fold(Size::Fixed(1), |all, &size| all.times(size));
    product.ok_or_else(|| format!("has a shape {} that is too large or holds the number of images twice", shown(shape)))
}

/// A dimension counted from the front.
pub(super) fn position(dim: i64, rank: usize) -> Result<usize, String> {
    let at = if dim < 0 { dim.saturating_add(rank as i64) } else { dim };
    usize::try_from(at)
        .ok()
        .filter(|&at| at < rank.max(1))
        .ok_or_else(|| format!("names dimension {dim} of a tensor that has {rank}"))
}

/// The shape of an operator's result.
///
/// # Errors
/// A sentence: the inputs do not fit the operator or each other.
pub(super) fn infer(op: &Op, inputs: &[&[Size]], weight: &dyn Fn(WeightId) -> Vec<i64>) -> Result<Shape, String> {
    if let Op::Constant { weight: id } = op {
        return Ok(weight(*id).into_iter().map(Size::Fixed).collect());
    }
    let &first = inputs.first().ok_or("has no input")?;
    let second = || inputs.get(1).copied().ok_or("has too few inputs");
    match op {
        Op::Add | Op::Sub | Op::Mul | Op::Div => broadcast(first, second()?),
        Op::Conv2d { weight: id, geometry: g, .. } => {
            let kernel = weight(*id);
            let ([n, channels, height, width], &[outputs, inputs, rows, columns]) = (first, &kernel[..]) else {
                return Err(format!("takes [N, C, H, W], not {}", shown(first)));
            };
            if Some(*channels) != inputs.checked_mul(g.groups).map(Size::Fixed) {
                let expected = inputs.saturating_mul(g.groups);
                return Err(format!("takes {expected} channels, not {}", shown(&first[1..2])));
            }
            let side = |at: usize, size: Size, kernel: i64| {
                windows_of(size, kernel, g.stride[at], g.padding[at], g.dilation[at], false)
            };
            Ok(vec![*n, Size::Fixed(outputs), side(0, *height, rows)?, side(1, *width, columns)?])
        }
        Op::Linear { weight: id, .. } => {
            let [outputs, inputs] = weight(*id)[..] else { return Err("has a weight that is no matrix".to_owned()) };
            match first.split_last() {
                Some((last, rest)) if *last == Size::Fixed(inputs) => Ok([rest, &[Size::Fixed(outputs)]].concat()),
                _ => Err(format!("takes {inputs} numbers in the last dimension, not {}", shown(first))),
            }
        }
        Op::BatchNorm { mean, .. } => match weight(*mean)[..] {
            [known] if first.get(1) == Some(&Size::Fixed(known)) => Ok(first.to_vec()),
            ref known => Err(format!("takes {known:?} channels, not {}", shown(first))),
        },
        Op::LayerNorm { shape, .. } => {
            let expected: Shape = shape.iter().copied().map(Size::Fixed).collect();
            match first.ends_with(&expected) {
                true => Ok(first.to_vec()),
                false => Err(format!("takes {} as the last dimensions, not {}", shown(&expected), shown(first))),
            }
        }
        Op::MatMul => matrix_product(first, second()?),
        Op::Attention { .. } => {
            let (key, value) = (second()?, inputs.get(2).copied().ok_or("has too few inputs")?);
            match (first, key, value) {
                ([rest @ .., _, width], [.., keys, depth], [.., values, out]) if width == depth && keys == values => {
                    Ok([rest, &first[rest.len()..=rest.len()], &[*out]].concat())
                }
                _ => Err(format!("takes no {}, {} and {}", shown(first), shown(key), shown(value))),
            }
        }
        Op::Einsum { equation } => einsum(equation, inputs),
        Op::MaxPool2d { windows, dilation } => pooled(first, windows, *dilation),
        Op::AvgPool2d { windows, .. } => pooled(first, windows, [1; 2]),
        Op::AdaptiveAvgPool2d { output } => {
            let rest = first.len().checked_sub(2).filter(|_| output.iter().all(|&size| size > 0));
            let rest = rest.ok_or_else(|| format!("makes no {output:?} of {}", shown(first)))?;
            Ok([&first[..rest], &output.map(Size::Fixed)].concat())
        }
        Op::Mean { dims, keep } | Op::Sum { dims, keep } | Op::VectorNorm { dims, keep, .. } => {
            let mut reduced = dims.iter().map(|&dim| position(dim, first.len())).collect::<Result<Vec<_>, _>>()?;
            reduced.sort_unstable();
            if reduced.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(format!("names a dimension twice ({dims:?})"));
            }
            let is_reduced = |at: usize| reduced.is_empty() || reduced.contains(&at);
            let size = |(at, &size): (usize, &Size)| match (is_reduced(at), keep) {
                (false, _) => Some(size),
                (true, true) => Some(Size::Fixed(1)),
                (true, false) => None,
            };
            Ok(first.iter().enumerate().filter_map(size).collect())
        }
        Op::PadShortcut { stride, before, after } => {
            let [n, Size::Fixed(channels), Size::Fixed(h), Size::Fixed(w)] = *first else {
                return Err(format!("takes [N, C, H, W], not {}", shown(first)));
            };
            let side = |size: i64| Size::Fixed((size + stride - 1) / stride);
            Ok(vec![n, Size::Fixed(channels + before + after), side(h), side(w)])
        }
        _ => rearranged(op, first, inputs),
    }
}

/// A value without dimensions counts as one of one dimension for some operators, not for those that take values apart.
fn takes_apart(op: &Op, rank: usize) -> Result<(), String> {
    use Op::{Cat, Select, Slice, Squeeze, Transpose, Unflatten};
    let needs =
        matches!(op, Cat { .. } | Select { .. } | Slice { .. } | Squeeze { .. } | Transpose { .. } | Unflatten { .. });
    match needs && rank == 0 {
        true => Err("takes apart a value that has no dimensions".to_owned()),
        false => Ok(()),
    }
}

/// Of operators that compute nothing, and of those that keep the shape.
fn rearranged(op: &Op, first: &[Size], inputs: &[&[Size]]) -> Result<Shape, String> {
    let rank = first.len();
    let mut shape = first.to_vec();
    takes_apart(op, rank)?;
    match op {
        Op::Flatten { start, end } => {
            let (start, end) = (position(*start, rank)?, position(*end, rank)?);
            if start > end {
                return Err(format!("flattens from dimension {start} to {end}"));
            }
            let inner = count(&first[start.min(rank)..(end + 1).min(rank)])?;
            shape.splice(start..(end + 1).min(rank), [inner]);
        }
        Op::Reshape { size } => return filled_in(size, count(first)?),
        Op::Unflatten { dim, size } => {
            let at = position(*dim, rank)?;
            shape.splice(at..=at, filled_in(size, first[at])?);
        }
        Op::Permute { dims } => {
            let mut from = dims.iter().map(|&dim| position(dim, rank)).collect::<Result<Vec<_>, _>>()?;
            shape = from.iter().map(|&at| first[at]).collect();
            from.sort_unstable();
            if !from.into_iter().eq(0..rank) {
                return Err(format!("permutes {} by {dims:?}", shown(first)));
            }
        }
        Op::Transpose { first: a, second: b } => shape.swap(position(*a, rank)?, position(*b, rank)?),
        Op::Slice { dim, start, end, step } => {
            let at = position(*dim, rank)?;
            shape[at] = match first[at] {
                Size::Fixed(size) if *step >= 1 => {
                    let bound = |it: i64| if it < 0 { (it + size).max(0) } else { it.min(size) };
                    let length = (bound(*end) - bound(*start)).max(0);
                    Size::Fixed(length.saturating_add(step - 1) / step)
                }
                whole if *start == 0 && *end >= 1 << 31 && *step == 1 => whole,
                _ => return Err("takes some of the images out of their batch, which is not supported".to_owned()),
            };
        }
        Op::Select { dim, index } => {
            let at = position(*dim, rank)?;
            match first[at] {
                Size::Fixed(size) if (-size..size).contains(index) => _ = shape.remove(at),
                Size::Fixed(size) => return Err(format!("takes element {index} of {size}")),
                Size::Batch(_) => return Err("takes an image out of its batch, which is not supported".to_owned()),
            }
        }
        Op::Unsqueeze { dim } => shape.insert(position(*dim, rank + 1)?, Size::Fixed(1)),
        Op::Squeeze { dim } => {
            let at = position(*dim, rank)?;
            match first[at] {
                Size::Fixed(1) => _ = shape.remove(at),
                Size::Fixed(_) => (),
                Size::Batch(_) => return Err("changes its shape for a single image, which is not supported".to_owned()),
            }
        }
        Op::Expand { size } => {
            let new = size.len().checked_sub(rank).ok_or("expands to fewer dimensions")?;
            shape.clone_from(size);
            for (to, &from) in shape[new..].iter_mut().zip(first) {
                if *to == Size::Fixed(-1) {
                    *to = from;
                } else if from != *to && from != Size::Fixed(1) {
                    return Err(format!("expands {} to {}", shown(first), shown(size)));
                }
            }
            if shape.iter().any(|size| size.of(1) < 0) {
                return Err(format!("expands {} to {}", shown(first), shown(size)));
            }
        }
        Op::ExpandAs => return Ok(inputs.get(1).ok_or("has too few inputs")?.to_vec()),
        Op::Cat { dim } => {
            let at = position(*dim, rank)?;
            for other in &inputs[1..] {
                let fits = other.len() == rank && (0..rank).all(|idx| idx == at || other[idx] == first[idx]);
                let sum = fits.then(|| shape[at].plus(other[at])).flatten();
                shape[at] = sum.ok_or_else(|| format!("joins {} and {}", shown(first), shown(other)))?;
            }
        }
        Op::Pad { pad, .. } => {
            for (back, sides) in pad.chunks(2).enumerate() {
                let at = rank.checked_sub(back + 1).ok_or("pads more dimensions than there are")?;
                let [before, after] = *sides else { return Err("pads only one side".to_owned()) };
                let size = shape[at].plus(Size::Fixed(before.saturating_add(after)));
                shape[at] = size.filter(|size| size.of(1) >= 0).ok_or("pads the batch, or to less than nothing")?;
            }
        }
        _ => (),
    }
    Ok(shape)
}

pub(super) fn broadcast(first: &[Size], second: &[Size]) -> Result<Shape, String> {
    let rank = first.len().max(second.len());
    let at = |shape: &[Size], back: usize| shape.len().checked_sub(back).map_or(Size::Fixed(1), |at| shape[at]);
    let one = |back: usize| match (at(first, back), at(second, back)) {
        (a, b) if a == b => Some(a),
        (Size::Fixed(1), it) | (it, Size::Fixed(1)) => Some(it),
        _ => None,
    };
    let all: Option<Shape> = (1..=rank).rev().map(one).collect();
    all.ok_or_else(|| format!("takes no {} together with {}", shown(first), shown(second)))
}

fn matrix_product(first: &[Size], second: &[Size]) -> Result<Shape, String> {
    let wrong = || format!("multiplies no {} with {}", shown(first), shown(second));
    match (first, second) {
        ([inner], [other]) if inner == other => Ok(Vec::new()),
        ([inner], [rest @ .., other, columns]) if inner == other => Ok([rest, &[*columns]].concat()),
        ([rest @ .., inner], [other]) if inner == other => Ok(rest.to_vec()),
        ([a @ .., rows, inner], [b @ .., other, columns]) if inner == other => {
            let mut shape = broadcast(a, b).map_err(|_| wrong())?;
            shape.extend([*rows, *columns]);
            Ok(shape)
        }
        _ => Err(wrong()),
    }
}

/// Letters for dimensions, `,` between operands, `->` before the result.
fn einsum(equation: &str, inputs: &[&[Size]]) -> Result<Shape, String> {
    let unsupported = || format!("has the equation `{equation:.60}`, which is not supported");
    let (operands, result) = equation.split_once("->").ok_or_else(unsupported)?;
    let operands: Vec<&str> = operands.split(',').collect();
    if operands.len() != inputs.len() || operands.len() > 2 {
        return Err(unsupported());
    }
    let mut sizes = BTreeMap::new();
    for (letters, shape) in operands.iter().zip(inputs) {
        if letters.chars().count() != shape.len() || !letters.chars().all(|letter| letter.is_ascii_alphabetic()) {
            return Err(unsupported());
        }
        for (letter, &size) in letters.chars().zip(*shape) {
            if *sizes.entry(letter).or_insert(size) != size {
                return Err(format!("has two sizes for `{letter}` of `{equation:.60}`"));
            }
        }
    }
    result.chars().map(|letter| sizes.get(&letter).copied()).collect::<Option<Shape>>().ok_or_else(unsupported)
}

fn pooled(first: &[Size], windows: &Windows, dilation: [i64; 2]) -> Result<Shape, String> {
    let rest = first.len().checked_sub(2).ok_or_else(|| format!("takes [N, C, H, W], not {}", shown(first)))?;
    let mut shape = first.to_vec();
    for side in 0..2 {
        let Windows { kernel, stride, padding, ceil } = windows;
        shape[rest + side] =
            windows_of(first[rest + side], kernel[side], stride[side], padding[side], dilation[side], *ceil)?;
    }
    Ok(shape)
}

/// How many windows fit along a side.
fn windows_of(size: Size, kernel: i64, stride: i64, padding: i64, dilation: i64, ceil: bool) -> Result<Size, String> {
    let Size::Fixed(size) = size else { return Err("slides over the batch".to_owned()) };
    let sensible = |it: i64| (1..=1 << 20).contains(&it);
    if !sensible(kernel) || !sensible(stride) || !sensible(dilation) || !(0..=1 << 20).contains(&padding) {
        return Err(format!("has an absurd kernel ({kernel}), stride ({stride}), padding ({padding}) or dilation"));
    }
    let room = size + 2 * padding - dilation * (kernel - 1) - 1;
    if room < 0 {
        return Err(format!("has a kernel of {kernel} for a side of {size} elements"));
    }
    let mut windows = (room + if ceil { stride - 1 } else { 0 }) / stride + 1;
    // The last window begins inside the image.
    if ceil && (windows - 1) * stride >= size + padding {
        windows -= 1;
    }
    Ok(Size::Fixed(windows))
}

/// Sizes in which −1 stands for what is left of so many elements.
fn filled_in(size: &[Size], total: Size) -> Result<Shape, String> {
    let mut shape = size.to_vec();
    let wrong = || format!("makes {} of {} elements", shown(size), shown(&[total]));
    let mut open = shape.iter_mut().filter(|size| **size == Size::Fixed(-1));
    if let Some(left) = open.next() {
        if open.next().is_some() {
            return Err(wrong());
        }
        *left = Size::Fixed(1);
        let left = size.iter().position(|size| *size == Size::Fixed(-1)).unwrap_or_default();
        shape[left] = total.over(count(&shape)?).ok_or_else(wrong)?;
    }
    match count(&shape)? == total && shape.iter().all(|size| size.of(1) >= 0) {
        true => Ok(shape),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::op::ConvGeometry;

    const N: Size = Size::Batch(1);

    fn shape(sizes: &[i64]) -> Shape {
        [&[N], &sizes.iter().copied().map(Size::Fixed).collect::<Vec<_>>()[..]].concat()
    }

    fn of(op: &Op, input: &[Size]) -> Result<Shape, String> {
        infer(op, &[input], &|_| vec![8, 3, 3, 3])
    }

    #[test]
    fn windows_are_counted_as_pytorch_counts_them() {
        let conv = |stride, padding| {
            let geometry = ConvGeometry::square(stride, padding);
            of(&Op::Conv2d { weight: WeightId(0), bias: None, geometry }, &shape(&[3, 32, 9]))
        };
        assert_eq!(conv(2, 1).unwrap(), shape(&[8, 16, 5]));
        assert!(
            of(
                &Op::Conv2d { weight: WeightId(0), bias: None, geometry: ConvGeometry::square(1, 0) },
                &shape(&[4, 9, 9])
            )
            .is_err()
        );
        // torch.nn.MaxPool2d(2, 2, ceil_mode=True) makes 2×3 of 3×5; with padding 1 the third window of 3 would begin outside.
        let pool = |padding| {
            let windows = Windows { kernel: [2; 2], stride: [2; 2], padding: [padding; 2], ceil: true };
            of(&Op::MaxPool2d { windows, dilation: [1; 2] }, &shape(&[3, 3, 5])).unwrap()
        };
        assert_eq!((pool(0), pool(1)), (shape(&[3, 2, 3]), shape(&[3, 2, 3])));
    }

    #[test]
    fn what_is_left_may_be_the_batch() {
        let reshape = |size: &[Size]| of(&Op::Reshape { size: size.to_vec() }, &shape(&[4, 6]));
        assert_eq!(reshape(&[Size::Fixed(-1), Size::Fixed(6)]).unwrap(), [Size::Batch(4), Size::Fixed(6)]);
        assert_eq!(reshape(&[N, Size::Fixed(-1)]).unwrap(), shape(&[24]));
        assert!(reshape(&[Size::Fixed(-1), Size::Fixed(7)]).is_err());
        assert!(reshape(&[Size::Fixed(2), Size::Fixed(-1), Size::Fixed(-1)]).is_err());
        assert!(reshape(&[N, Size::Fixed(i64::MAX), Size::Fixed(4)]).is_err());
    }

    #[test]
    fn single_images_are_not_taken_out_of_their_batch() {
        assert!(of(&Op::Select { dim: 0, index: 0 }, &shape(&[4])).is_err());
        assert!(of(&Op::Slice { dim: 0, start: 0, end: 2, step: 1 }, &shape(&[4])).is_err());
        let all = Op::Slice { dim: 0, start: 0, end: i64::MAX, step: 1 };
        assert_eq!(of(&all, &shape(&[4])).unwrap(), shape(&[4]));
        let some = Op::Slice { dim: 1, start: -3, end: i64::MAX, step: 2 };
        assert_eq!(of(&some, &shape(&[4])).unwrap(), shape(&[2]));
    }

    #[test]
    fn shapes_are_broadcast_or_refused() {
        assert_eq!(broadcast(&shape(&[4, 1]), &[Size::Fixed(5)]).unwrap(), shape(&[4, 5]));
        assert!(broadcast(&shape(&[4]), &shape(&[3])).is_err());
        assert!(broadcast(&[N], &[Size::Fixed(2)]).is_err());
        assert_eq!(matrix_product(&shape(&[4, 5]), &[Size::Fixed(5), Size::Fixed(2)]).unwrap(), shape(&[4, 2]));
    }
}
