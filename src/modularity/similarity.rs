//! The device half: a representation `[N, M]` to each row's most similar other rows, as plain data.

use std::ops::ControlFlow;

use tch::{Device, Kind, TchError, Tensor};

use super::best::Best;
use super::{ModularityError, Neighbors, Similarity};

/// Is told which share of the work is done; `Break` stops it.
pub type ShareDone<'a> = dyn FnMut(f64) -> ControlFlow<()> + 'a;

/// Similarities held at once on an accelerator, as f32: 256 MiB.
const BLOCK_BUDGET: i64 = 1 << 26;

/// Products held at once on the processor, as f32: 64 MiB.
const PRODUCTS_BUDGET: i64 = 1 << 24;

/// Share of a row's norm that f32 rounding leaves of it when the mean is subtracted.
const ROUNDING: f64 = 1e-6;

const ZERO_NORM: f64 = 1e-8;

/// The `candidates` most similar other rows of each row, ordered by similarity descending, then index ascending.
///
/// `S_ij = r_i·r_j / (‖r_i‖‖r_j‖)` after the transform of `similarity`. Only a block of rows of S is held, never all N × N.
///
/// # Shapes and units
/// `rows`: f32 `[N, M]`.
/// # Errors
/// Non-finite rows, `candidates` not in 1..N, and [`ModularityError::Stopped`] where `progress`, which hears the share of the work that is done,
/// says so.
/// # Cost
/// N·N·M multiply-adds, on the processor half of them: S is symmetric.
pub fn neighbors(
    rows: &Tensor,
    similarity: Similarity,
    candidates: usize,
    progress: &mut ShareDone<'_>,
) -> Result<Neighbors, ModularityError> {
    let _guard = tch::no_grad_guard();
    let n = rows.size()[0];
    if candidates == 0 || candidates as i64 >= n {
        // The constructor has the message.
        return Neighbors::new(n as usize, candidates, Vec::new(), Vec::new());
    }
    let rows = transformed(rows, rows, similarity)?;
    match rows.device() {
        Device::Cpu => on_processor(&rows, candidates, processor_block(n), progress),
        _ => blockwise(&rows, &rows, candidates, BLOCK_BUDGET, progress),
    }
}

/// Rows of S per product: wide products are faster, narrow ones compute less above the diagonal.
fn processor_block(n: i64) -> i64 {
    let fast = if n <= 2048 { 64 } else { 256 };
    fast.min(PRODUCTS_BUDGET / n).max(1)
}

/// Blocks of rows of S up to the diagonal; each similarity is offered to both of its rows while the block is in the cache.
fn on_processor(
    rows: &Tensor,
    candidates: usize,
    block: i64,
    progress: &mut ShareDone<'_>,
) -> Result<Neighbors, ModularityError> {
    let n = rows.size()[0];
    let room = Tensor::f_empty([block.min(n) * n], (Kind::Float, Device::Cpu))?;
    let mut plain = vec![0.0_f32; (block.min(n) * n) as usize];
    let mut inverse = Vec::with_capacity(n as usize);
    let mut best = Best::new(n as usize, candidates);
    let mut zero_rows = 0;
    for start in (0..n).step_by(block as usize) {
        let length = block.min(n - start);
        let end = start + length;
        let products = room.f_narrow(0, 0, length * end)?.f_view([length, end])?;
        let right = rows.f_narrow(0, 0, end)?.f_transpose(0, 1)?;
        let _ = rows.f_narrow(0, start, length)?.f_mm_out(&products, &right)?;
        // The diagonal holds the squared norms.
        let norms = products.f_diagonal(start, 0, 1)?.f_sqrt()?;
        if i64::try_from(norms.f_isfinite()?.f_sum(Kind::Int64)?)? < length {
            check(&norms_of(rows)?)?;
        }
        zero_rows += check(&norms)?;
        inverse.extend(Vec::<f32>::try_from(inverse_of(&norms)?)?);
        let plain = &mut plain[..(length * end) as usize];
        products.f_copy_data(plain, plain.len())?;
        for (i, products) in (start as usize..).zip(plain.chunks_exact(end as usize)) {
            best.take(i, products, &inverse);
        }
        if progress((end as f64 / n as f64).powi(2)).is_break() {
            return Err(ModularityError::Stopped);
        }
    }
    let (indices, similarities) = best.finish();
    let mut found = Neighbors::new(n as usize, candidates, indices, similarities)?;
    found.zero_rows = zero_rows;
    Ok(found)
}

/// The `candidates` most similar rows of `reference` to each row of `queries`, but for the row in the same place: a reference sample may be
/// what a query was made from. Samples are centred by the mean of the reference.
///
/// # Shapes and units
/// `queries`, `reference`: f32 `[N, M]`.
/// # Errors
/// As [`neighbors`]; another number of queries than of reference rows.
pub(crate) fn neighbors_among(
    queries: &Tensor,
    reference: &Tensor,
    similarity: Similarity,
    candidates: usize,
    progress: &mut ShareDone<'_>,
) -> Result<Neighbors, ModularityError> {
    let _guard = tch::no_grad_guard();
    let n = reference.size()[0];
    super::neighbors::check_length("queries", n as usize, queries.size()[0] as usize)?;
    if candidates == 0 || candidates as i64 >= n {
        return Neighbors::new(n as usize, candidates, Vec::new(), Vec::new());
    }
    let (queries, reference) =
        (transformed(queries, reference, similarity)?, transformed(reference, reference, similarity)?);
    blockwise(&queries, &reference, candidates, BLOCK_BUDGET, progress)
}

/// Whole rows of S in blocks, and the choice on the device too: N × N similarities would be slow to fetch.
fn blockwise(
    queries: &Tensor,
    reference: &Tensor,
    candidates: usize,
    budget: i64,
    progress: &mut ShareDone<'_>,
) -> Result<Neighbors, ModularityError> {
    let n = reference.size()[0];
    let inverse = |rows: &Tensor| -> Result<(Tensor, usize), ModularityError> {
        let norms = norms_of(rows)?;
        let zero_rows = check(&norms)?;
        Ok((inverse_of(&norms)?, zero_rows))
    };
    let ((of_queries, zero_rows), (of_reference, _)) = (inverse(queries)?, inverse(reference)?);
    let mut chosen = Chosen { indices: Vec::new(), similarities: Vec::new(), candidates: candidates as i64 };
    let transposed = reference.f_transpose(0, 1)?;
    let block = (budget / n).max(1);
    for start in (0..n).step_by(block as usize) {
        let length = block.min(n - start);
        let products = queries.f_narrow(0, start, length)?.f_matmul(&transposed)?;
        chosen.extend(&scaled(products, &of_queries.f_narrow(0, start, length)?, &of_reference)?, start)?;
        if progress((start + length) as f64 / n as f64).is_break() {
            return Err(ModularityError::Stopped);
        }
    }
    let mut found = Neighbors::new(n as usize, candidates, chosen.indices, chosen.similarities)?;
    found.zero_rows = zero_rows;
    Ok(found)
}

/// Rows of which the cosine is the similarity; `reference` has the mean that samples are centred by.
fn transformed(rows: &Tensor, reference: &Tensor, similarity: Similarity) -> Result<Tensor, TchError> {
    let Some(centre) = similarity.0.centre else { return Ok(rows.shallow_clone()) };
    let centred = rows.f_sub(&centre(rows, reference)?)?;
    // A row that equals the mean differs from it by rounding, whose direction would pass for a representation.
    let norms = norms_of(rows)?;
    let is_small = norms_of(&centred)?.f_le_tensor(&norms.f_mul_scalar(ROUNDING)?)?;
    let is_rounding = is_small.f_logical_and(&norms.f_isfinite()?)?;
    if i64::try_from(is_rounding.f_sum(Kind::Int64)?)? == 0 {
        return Ok(centred);
    }
    centred.f_masked_fill(&is_rounding.f_unsqueeze(1)?, 0.0)
}

fn norms_of(rows: &Tensor) -> Result<Tensor, TchError> {
    rows.f_norm_scalaropt_dim(2.0, [1_i64].as_slice(), false)
}

/// Dividing the products by the norms is cheaper than dividing the rows, and needs no copy of them.
fn inverse_of(norms: &Tensor) -> Result<Tensor, TchError> {
    norms.f_clamp_min(ZERO_NORM)?.f_reciprocal()
}

/// Cosines out of products; rounding outside ±1 is clamped and −0 becomes 0, so that equal values are equal.
fn scaled(mut products: Tensor, rows: &Tensor, columns: &Tensor) -> Result<Tensor, TchError> {
    let _ = products.f_mul_(&rows.f_unsqueeze(1)?)?.f_mul_(&columns.f_unsqueeze(0)?)?;
    products.f_clamp_(-1.0, 1.0)?.f_add_scalar_(0.0)
}

/// The best so far, row after row.
struct Chosen {
    indices: Vec<u32>,
    similarities: Vec<f32>,
    candidates: i64,
}

impl Chosen {
    /// Selects from rows `[B, N]` of S, the first of which is row `start`.
    fn extend(&mut self, block: &Tensor, start: i64) -> Result<(), TchError> {
        let (length, n) = (block.size()[0], block.size()[1]);
        // A sample is not its own neighbour.
        let _ = block.f_narrow(1, start, length)?.f_diagonal(0, 0, 1)?.f_fill_(f64::NEG_INFINITY)?;
        // One more than wanted shows whether a tie goes across the end of the list, which topk cuts arbitrarily.
        let wanted = self.candidates.min(n - 1);
        let (values, indices) = block.f_topk((wanted + 1).min(n), 1, true, true)?;
        let values: Vec<f32> = Vec::try_from(values.f_contiguous()?.f_view(-1)?)?;
        let indices: Vec<i64> = Vec::try_from(indices.f_contiguous()?.f_view(-1)?)?;
        let width = (wanted + 1).min(n) as usize;
        let wanted = wanted as usize;
        for (row, (values, indices)) in values.chunks_exact(width).zip(indices.chunks_exact(width)).enumerate() {
            if width > wanted && values[wanted] >= values[wanted - 1] {
                self.push_exact(&block.f_get(row as i64)?, wanted)?;
            } else {
                self.similarities.extend(&values[..wanted]);
                self.indices.extend(indices[..wanted].iter().map(|&index| index as u32));
            }
        }
        Ok(())
    }

    /// Selects from one row with ties to the lower index.
    fn push_exact(&mut self, row: &Tensor, wanted: usize) -> Result<(), TchError> {
        let values: Vec<f32> = Vec::try_from(row)?;
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]).then(a.cmp(&b)));
        self.similarities.extend(order[..wanted].iter().map(|&index| values[index as usize]));
        self.indices.extend(&order[..wanted]);
        Ok(())
    }
}

/// Refuses norms that are not finite; counts those that are zero.
fn check(norms: &Tensor) -> Result<usize, ModularityError> {
    let bad = norms.f_isfinite()?.f_logical_not()?;
    let count = i64::try_from(bad.f_sum(Kind::Int64)?)?;
    if count > 0 {
        let row = i64::try_from(bad.f_to_kind(Kind::Int64)?.f_argmax(0, false)?)?;
        let n = norms.size()[0] as usize;
        return Err(ModularityError::NonFiniteRows { row: row as usize, rows: count as usize, n });
    }
    Ok(i64::try_from(norms.f_lt(ZERO_NORM)?.f_sum(Kind::Int64)?)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbors(rows: &Tensor, similarity: Similarity, candidates: usize) -> Result<Neighbors, ModularityError> {
        super::neighbors(rows, similarity, candidates, &mut |_| ControlFlow::Continue(()))
    }

    fn among(
        queries: &Tensor,
        reference: &Tensor,
        similarity: Similarity,
        candidates: usize,
    ) -> Result<Neighbors, ModularityError> {
        neighbors_among(queries, reference, similarity, candidates, &mut |_| ControlFlow::Continue(()))
    }

    /// Rows that differ, some repeated so that there are ties.
    fn rows(n: i64, m: i64) -> Tensor {
        let base = (Tensor::arange(n * m, (Kind::Float, tch::Device::Cpu)) * 0.7).sin().view([n, m]);
        let repeated = base.narrow(0, 0, n / 4);
        base.slice(0, n - n / 4, n, 1).copy_(&repeated);
        base
    }

    #[test]
    fn neighbours_among_others_are_those_of_one_set_and_leave_the_own_place_out() {
        // Squares: without them rows would be near ties, which the two ways to multiply round differently.
        let distinct = (Tensor::arange(40 * 9, (Kind::Float, tch::Device::Cpu)).square() * 0.37).sin().view([40, 9]);
        for similarity in [Similarity::COSINE, Similarity::PEARSON, Similarity::SAMPLE_CENTRED] {
            let found = among(&distinct, &distinct, similarity, 4).unwrap();
            assert_eq!(edges(&found), edges(&neighbors(&distinct, similarity, 4).unwrap()), "{similarity}");
            // Queries are the reference one place on: the nearest is the place that they come from.
            let moved = among(&distinct.roll([1_i64], [0_i64]), &distinct, similarity, 1).unwrap();
            let expected: Vec<Vec<u32>> = (0..40).map(|at| vec![(at + 39) % 40]).collect();
            assert_eq!(edges(&moved), expected, "{similarity}");
        }
        let length = ModularityError::Length { what: "queries", expected: 40, found: 39 };
        assert_eq!(among(&distinct.narrow(0, 0, 39), &distinct, Similarity::COSINE, 1), Err(length));
        assert!(among(&distinct, &distinct, Similarity::COSINE, 40).is_err());
    }

    #[test]
    fn what_the_mean_leaves_of_equal_rows_is_nothing() {
        let row = (Tensor::arange(9, (Kind::Float, tch::Device::Cpu)) * 0.7).sin() + 0.1;
        for n in [40, 10_000] {
            let equal = row.unsqueeze(0).repeat([n, 1]);
            let found = neighbors(&equal, Similarity::SAMPLE_CENTRED, 3).unwrap();
            assert_eq!(found.zero_rows, n as usize);
        }
        // Every value its row's mean.
        let flat = Tensor::arange(40, (Kind::Float, tch::Device::Cpu)).unsqueeze(1).repeat([1, 9]) * 0.1 + 0.1;
        assert_eq!(neighbors(&flat, Similarity::PEARSON, 3).unwrap().zero_rows, 40);
        // One that differs is no rounding, and what is not finite is not hidden.
        let one = row.unsqueeze(0).repeat([40, 1]);
        let _ = one.get(7).f_mul_scalar_(1.01).unwrap();
        assert!(neighbors(&one, Similarity::SAMPLE_CENTRED, 3).unwrap().zero_rows < 40);
        // The square of 10²⁰ is beyond f32; a constant row is its own mean.
        for (value, similarities) in [
            (f64::NAN, &[Similarity::COSINE, Similarity::PEARSON, Similarity::SAMPLE_CENTRED][..]),
            (1e20, &[Similarity::COSINE, Similarity::SAMPLE_CENTRED]),
        ] {
            let _ = one.get(8).f_fill_(value).unwrap();
            for similarity in similarities {
                let found = neighbors(&one, *similarity, 3);
                assert!(matches!(found, Err(ModularityError::NonFiniteRows { .. })), "{similarity}");
            }
        }
    }

    fn edges(neighbors: &Neighbors) -> Vec<Vec<u32>> {
        (0..neighbors.n()).map(|row| neighbors.row(row).map(|(index, _)| index).collect()).collect()
    }

    /// The definition, in f64 and without blocks.
    fn by_definition(rows: &Tensor, similarity: Similarity) -> Vec<f32> {
        let rows = rows.to_kind(Kind::Double);
        let rows = match similarity.name() {
            "cosine" => rows,
            "pearson" => &rows - rows.mean_dim([1_i64].as_slice(), true, Kind::Double),
            _ => &rows - rows.mean_dim([0_i64].as_slice(), true, Kind::Double),
        };
        let unit = &rows / rows.norm_scalaropt_dim(2.0, [1_i64].as_slice(), true).clamp_min(1e-8);
        let dense = unit.matmul(&unit.transpose(0, 1)).to_kind(Kind::Float);
        Vec::try_from(dense.view(-1)).unwrap()
    }

    #[test]
    fn similarities_follow_the_definition() {
        let rows = rows(40, 30);
        for similarity in [Similarity::COSINE, Similarity::PEARSON, Similarity::SAMPLE_CENTRED] {
            let found = neighbors(&rows, similarity, 7).unwrap();
            let dense = by_definition(&rows, similarity);
            for i in 0..40 {
                for (j, value) in found.row(i) {
                    assert!((value - dense[i * 40 + j as usize]).abs() < 1e-5, "{similarity} {i} {j}");
                }
                let expected = Neighbors::from_dense(40, &dense, 7).unwrap();
                let sum = |neighbors: &Neighbors| neighbors.row(i).map(|(_, value)| value).sum::<f32>();
                assert!((sum(&found) - sum(&expected)).abs() < 1e-4, "{similarity} row {i}");
            }
        }
    }

    #[test]
    fn blocks_of_any_size_give_the_same_neighbours() {
        // Small integers: every product is exact in f32 whatever the order of summation, so ties are real ties.
        let rows = (Tensor::arange(60 * 8, (Kind::Float, tch::Device::Cpu)) * 37.0).remainder(5.0).view([60, 8]);
        let whole = neighbors(&rows, Similarity::COSINE, 9).unwrap();
        let go_on = &mut |_| ControlFlow::Continue(());
        for block_rows in [1, 7, 64] {
            let blocked = on_processor(&rows, 9, block_rows, go_on).unwrap();
            assert_eq!(edges(&blocked), edges(&whole), "{block_rows} rows per block");
            let chosen = blockwise(&rows, &rows, 9, block_rows * 60, go_on).unwrap();
            assert_eq!(edges(&chosen), edges(&whole), "{block_rows} rows per block, as an accelerator");
        }
    }

    #[test]
    fn the_work_is_told_and_can_be_stopped() {
        let rows = rows(300, 5);
        let mut shares = Vec::new();
        let mut told = |share| {
            shares.push(share);
            if share > 0.5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert_eq!(super::neighbors(&rows, Similarity::COSINE, 3, &mut told), Err(ModularityError::Stopped));
        assert_eq!(shares.len(), 4);
    }

    #[test]
    fn ties_across_the_end_of_a_list_go_to_the_lowest_index() {
        let same = Tensor::ones([200, 5], (Kind::Float, tch::Device::Cpu));
        let chosen = blockwise(&same, &same, 3, 1000, &mut |_| ControlFlow::Continue(())).unwrap();
        for found in [neighbors(&same, Similarity::COSINE, 3).unwrap(), chosen] {
            let found = edges(&found);
            assert_eq!((&found[0], &found[1], &found[150]), (&vec![1, 2, 3], &vec![0, 2, 3], &vec![0, 1, 2]));
        }
    }

    #[test]
    fn zero_rows_are_counted_and_non_finite_rows_refused() {
        let rows = rows(20, 6);
        let _ = rows.get(3).fill_(0.0);
        assert_eq!(neighbors(&rows, Similarity::COSINE, 3).unwrap().zero_rows, 1);
        let _ = rows.get(5).fill_(f64::NAN);
        let message = neighbors(&rows, Similarity::COSINE, 3).unwrap_err().to_string();
        assert!(message.contains("1 of 20") && message.contains("sample 5"), "{message}");
    }

    #[test]
    fn too_few_samples_are_refused() {
        assert!(neighbors(&rows(4, 3), Similarity::COSINE, 4).is_err());
    }
}
