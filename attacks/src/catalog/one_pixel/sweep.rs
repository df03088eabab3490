//! One pixel at a time, in an order fixed beforehand: all of them, or some at random.

use rand::seq::SliceRandom;
use tch::Tensor;

use super::SPEC;
use super::space::Space;
use crate::attack::Batch;
use crate::candidates::{Candidates, Scorer, best_broken};
use crate::error::{AttackError, ParamError};
use crate::query::Query;

/// All positions, the centre first, with every colour whose channels are 0 or 1.
pub(super) fn run_exhaustive(query: &mut Query<'_>, batch: &Batch<'_>) -> Result<Tensor, AttackError> {
    let space = Space::new(batch, 1);
    if MAX_CHANNELS < space.channels {
        let why = format!("tries 2^{} colours per pixel; at most {MAX_CHANNELS} channels", space.channels);
        return Err(ParamError::bad(SPEC.id, "search", "exhaustive", why).into());
    }
    let colours: Vec<Vec<f32>> = (0..1_u32 << space.channels).map(|bits| colour(bits, space.channels)).collect();
    let order = centre_first(space);
    run(query, batch, space, &colours, &vec![order; batch.ids.len()])
}

/// `pixels_tried` random positions per sample, black and white.
pub(super) fn run_random(pixels_tried: usize, query: &mut Query<'_>, batch: &Batch<'_>) -> Result<Tensor, AttackError> {
    let space = Space::new(batch, 1);
    let n_positions = space.height * space.width;
    let orders: Vec<Vec<usize>> = batch
        .ids
        .iter()
        .map(|&id| {
            let mut positions: Vec<usize> = (0..n_positions).collect();
            positions.partial_shuffle(query.rng(id), pixels_tried.min(n_positions)).0.to_vec()
        })
        .collect();
    let colours = [0.0, 1.0].map(|value| vec![value; space.channels]);
    run(query, batch, space, &colours, &orders)
}

/// Tries each sample's positions in order, each with all `colours`, block by block until one of its own blocks succeeds.
fn run(
    query: &mut Query<'_>,
    batch: &Batch<'_>,
    space: Space,
    colours: &[Vec<f32>],
    orders: &[Vec<usize>],
) -> Result<Tensor, AttackError> {
    let scorer = Scorer::new(batch, 1);
    let n_candidates = orders.first().map_or(0, Vec::len) * colours.len();
    let n_steps = n_candidates.div_ceil(BLOCK) as u32;
    let change = |row: usize, number: usize| {
        let position = orders[row][number / colours.len()] as i64;
        (position, colours[number % colours.len()].as_slice())
    };
    let mut candidates = Candidates::new(space.channels, 1);
    let mut winners = Candidates::new(space.channels, 1);
    let mut open: Vec<usize> = (0..batch.ids.len()).collect();
    for (step, start) in (0..n_candidates).step_by(BLOCK).enumerate() {
        query.step(step as u32, n_steps)?;
        let block = start..n_candidates.min(start + BLOCK);
        candidates.clear();
        for &row in &open {
            for number in block.clone() {
                let (position, colour) = change(row, number);
                candidates.push(row, &[position], colour);
            }
        }
        let scores = scorer.score(query, batch.pixels, &candidates)?;
        let mut scores = scores.chunks_exact(block.len());
        open.retain(|&row| {
            let Some(broken) = scores.next().and_then(best_broken) else { return true };
            let (position, colour) = change(row, start + broken.best);
            winners.push(row, &[position], colour);
            query.tell_success(batch.ids[row], (start + broken.first) as u64 + 1);
            false
        });
        query.tell_broken(batch.ids.len() - open.len());
        if open.is_empty() {
            break;
        }
    }
    let mut pixels = batch.pixels.copy();
    winners.apply_to(&mut pixels);
    Ok(pixels)
}

/// Channel c is bit c of `bits`.
fn colour(bits: u32, channels: usize) -> Vec<f32> {
    (0..channels).map(|channel| (bits >> channel & 1) as f32).collect()
}

/// Positions by their distance from the centre, where most subjects are; of equals the first row and column.
fn centre_first(space: Space) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..space.height * space.width).collect();
    positions.sort_by_key(|position| {
        let (row, column) = (position / space.width, position % space.width);
        // Twice the distance to the middle, in whole numbers.
        let (down, right) = ((2 * row + 1).abs_diff(space.height), (2 * column + 1).abs_diff(space.width));
        down * down + right * right
    });
    positions
}

/// Candidates that a sample tries before it is asked whether it is broken. Part of its result: the best of a block is taken.
const BLOCK: usize = 64;

/// 1024 colours per pixel.
const MAX_CHANNELS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_comes_once_and_the_middle_first() {
        let space = Space { pixels: 1, channels: 1, height: 3, width: 5 };
        let order = centre_first(space);
        assert_eq!(order[..5], [7, 2, 6, 8, 12]);
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..15).collect::<Vec<_>>());
    }

    #[test]
    fn the_colours_are_the_corners_of_the_cube() {
        assert_eq!([0, 3, 5].map(|bits| colour(bits, 3)), [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]);
    }
}
