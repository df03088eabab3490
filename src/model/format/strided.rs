//! From a storage and a layout to contiguous elements.

/// Where a tensor's elements lie in its storage. Counted in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl Layout {
    /// Number of elements.
    ///
    /// # Errors
    /// The product does not fit.
    pub(super) fn count(&self) -> Result<usize, String> {
        let product = self.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        // A dimension of 0 makes the tensor empty however large the others are.
        if self.shape.contains(&0) {
            Ok(0)
        } else {
            product.ok_or_else(|| format!("shape {:?} is too large", self.shape))
        }
    }

    /// Copies the elements, each of `width` bytes, in row-major order.
    ///
    /// No element may be named twice, so the result is never larger than the storage.
    ///
    /// # Errors
    /// A sentence: elements outside the storage, or elements that share memory (an expanded tensor).
    pub(super) fn gather(&self, storage: &[u8], width: usize) -> Result<Vec<u8>, String> {
        if self.shape.len() != self.stride.len() {
            return Err(format!("has {} sizes but {} strides; save it again", self.shape.len(), self.stride.len()));
        }
        let count = self.count()?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut dims: Vec<(usize, usize)> =
            self.shape.iter().copied().zip(self.stride.iter().copied()).filter(|&(size, _)| size > 1).collect();
        let available = storage.len() / width;
        let end = end_of(self.offset, &dims).filter(|&end| end <= available);
        if end.is_none() {
            return Err(format!(
                "shape {:?} with stride {:?} and offset {} reaches outside its storage of {available} elements; \
                 the file is damaged",
                self.shape, self.stride, self.offset
            ));
        }
        if shares_elements(&dims) {
            return Err(format!(
                "some of its elements share memory (stride {:?}); save it with .contiguous()",
                self.stride
            ));
        }
        // Innermost dimensions that lie without gaps are copied in one piece.
        let mut run = 1;
        while let Some((size, _)) = dims.pop_if(|(_, stride)| *stride == run) {
            run *= size;
        }
        let mut elements = Vec::with_capacity(count * width);
        let mut index = vec![0; dims.len()];
        let mut at = self.offset;
        loop {
            elements.extend_from_slice(&storage[at * width..(at + run) * width]);
            if !advance(&mut index, &dims, &mut at) {
                return Ok(elements);
            }
        }
    }
}

/// One past the last element that is named.
fn end_of(offset: usize, dims: &[(usize, usize)]) -> Option<usize> {
    dims.iter()
        .try_fold(offset.checked_add(1)?, |end, &(size, stride)| end.checked_add((size - 1).checked_mul(stride)?))
}

/// Whether two indices may name the same element. Sound, and exact for what slicing and transposing make. All must lie inside a storage.
fn shares_elements(dims: &[(usize, usize)]) -> bool {
    let mut sorted: Vec<_> = dims.iter().map(|&(size, stride)| (stride, size)).collect();
    sorted.sort_unstable();
    let mut extent = 1;
    sorted.into_iter().any(|(stride, size)| {
        let overlaps = stride < extent;
        extent += (size - 1) * stride;
        overlaps
    })
}

/// Counts the index up, the last dimension fastest, and moves along. False at the end.
fn advance(index: &mut [usize], dims: &[(usize, usize)], at: &mut usize) -> bool {
    for (idx, &(size, stride)) in index.iter_mut().zip(dims).rev() {
        *idx += 1;
        *at += stride;
        if *idx < size {
            return true;
        }
        *at -= size * stride;
        *idx = 0;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(offset: usize, shape: &[usize], stride: &[usize]) -> Result<Vec<u8>, String> {
        let storage: Vec<u8> = (0..24).collect();
        Layout { offset, shape: shape.to_vec(), stride: stride.to_vec() }.gather(&storage, 1)
    }

    #[test]
    fn contiguous_views_are_slices() {
        assert_eq!(gather(2, &[2, 3], &[3, 1]).unwrap(), [2, 3, 4, 5, 6, 7]);
        assert_eq!(gather(23, &[], &[]).unwrap(), [23]);
        assert_eq!(gather(23, &[1, 1], &[99, 0]).unwrap(), [23]);
    }

    #[test]
    fn transposed_and_sliced_views_come_out_row_major() {
        assert_eq!(gather(0, &[3, 2], &[1, 3]).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(7, &[2, 2], &[6, 1]).unwrap(), [7, 8, 13, 14]);
        assert_eq!(gather(1, &[2, 2, 2], &[12, 1, 4]).unwrap(), [1, 5, 2, 6, 13, 17, 14, 18]);
    }

    #[test]
    fn elements_wider_than_a_byte_move_together() {
        let storage: Vec<u8> = (0..16).collect();
        let layout = Layout { offset: 1, shape: vec![2, 1], stride: vec![2, 1] };
        assert_eq!(layout.gather(&storage, 4).unwrap(), [4, 5, 6, 7, 12, 13, 14, 15]);
    }

    #[test]
    fn empty_tensors_read_nothing() {
        assert!(gather(1000, &[0, usize::MAX, usize::MAX], &[1, 1, 1]).unwrap().is_empty());
    }

    #[test]
    fn nothing_outside_the_storage_is_read() {
        assert!(gather(23, &[2], &[1]).unwrap_err().contains("outside its storage of 24 elements"));
        assert!(gather(24, &[], &[]).is_err());
        assert!(gather(usize::MAX, &[2], &[1]).is_err());
        assert!(gather(0, &[3, 2], &[usize::MAX, 1]).is_err());
        assert!(gather(0, &[usize::MAX, 2], &[1, 1]).unwrap_err().contains("too large"));
    }

    #[test]
    fn shared_elements_are_refused_so_that_no_size_can_be_invented() {
        assert!(gather(0, &[1_000_000_000_000_000], &[0]).unwrap_err().contains("share memory"));
        assert!(gather(0, &[3, 3], &[1, 1]).unwrap_err().contains("share memory"));
    }
}
