//! One sample's walk: which pixels it tries, which it changes, and into what.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Params;
use crate::candidates::Score;

/// One sample's walk. Positions are y·W + x.
#[derive(Debug)]
pub(super) struct Walk {
    /// The sample's row in the batch.
    pub(super) row: usize,
    pub(super) id: u32,
    /// Forwards of the rounds that are over.
    pub(super) n_asked: u64,
    /// The image in its present state, `[C, H, W]` flattened.
    image: Vec<f32>,
    height: usize,
    width: usize,
    /// Where the next candidates come from, ascending.
    pool: Vec<usize>,
    /// The present candidates, ascending.
    drawn: Vec<usize>,
    /// Per position, the round from which on it may be a candidate; empty where all always may.
    free_from: Vec<u32>,
    p: f32,
}

impl Walk {
    /// At the start: a random tenth of the image, at least t pixels.
    pub(super) fn new(
        params: &Params,
        row: usize,
        id: u32,
        image: Vec<f32>,
        (height, width): (usize, usize),
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let n = height * width;
        let free_from = if params.exclude == 0 { Vec::new() } else { vec![0; n] };
        // More than the scale's end is no more than the end: adaptation starts from there.
        let p = if params.adaptive { params.p.min(MIDDLE.into()) } else { params.p } as f32;
        let pool = some((0..n).collect(), params.t.max(n / 10), rng);
        Self { row, id, n_asked: 0, image, height, width, pool, drawn: Vec::new(), free_from, p }
    }

    /// Chooses the candidates of round `round` from those at hand.
    pub(super) fn draw(&mut self, params: &Params, round: u32, rng: &mut ChaCha8Rng) {
        let mut pool = std::mem::take(&mut self.pool);
        if !self.free_from.is_empty() {
            let is_free = |position: &usize| self.free_from[*position] <= round;
            let near: Vec<usize> = pool.iter().copied().filter(is_free).collect();
            let far = || (0..self.height * self.width).filter(is_free).collect::<Vec<_>>();
            // Where the image has fewer pixels than are excluded, they come back early.
            pool = [near, far(), pool].into_iter().find(|positions| !positions.is_empty()).unwrap_or_default();
        }
        self.drawn = some(pool, params.candidates, rng);
    }

    pub(super) fn n_drawn(&self) -> usize {
        self.drawn.len()
    }

    /// PERT: candidate number `number`'s position and what its channels become.
    pub(super) fn candidate(&self, number: usize) -> (i64, Vec<f32>) {
        let position = self.drawn[number];
        let extreme = self.p.min(MIDDLE);
        let pert = |value: f32| MIDDLE + if MIDDLE < value { extreme } else { -extreme };
        (position as i64, self.places(position).map(|place| pert(self.image[place])).collect())
    }

    /// CYCLIC: changes the t best candidates by their `scores` and returns their positions and values. Where there are fewer, the
    /// last comes several times. Then gathers the candidates of the round after `round`.
    pub(super) fn go(&mut self, params: &Params, round: u32, scores: &[Score]) -> (Vec<i64>, Vec<f32>) {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // Stable: equals stay in the order of their positions.
        order.sort_by(|&a, &b| scores[b].log_odds.total_cmp(&scores[a].log_odds));
        let chosen: Vec<usize> = order.iter().take(params.t).map(|&number| self.drawn[number]).collect();
        for &position in &chosen {
            let places: Vec<usize> = self.places(position).collect();
            for place in places {
                self.image[place] = cyclic(self.image[place], params.r as f32);
            }
            if let Some(free_from) = self.free_from.get_mut(position) {
                *free_from = round + 1 + params.exclude;
            }
        }
        if params.adaptive {
            self.adapt(scores);
        }
        self.pool = self.around(&chosen, params.d);

        let padded = (0..params.t).map(|i| chosen[i.min(chosen.len() - 1)]);
        let values = padded.clone().flat_map(|position| self.places(position)).map(|place| self.image[place]).collect();
        (padded.map(|position| position as i64).collect(), values)
    }

    /// Makes p larger where candidates hardly hurt the class and smaller where they hurt it much.
    fn adapt(&mut self, scores: &[Score]) {
        let failures = scores.iter().map(|score| 1.0 / (1.0 + score.log_odds.exp()));
        let mean = failures.sum::<f64>() / scores.len() as f64;
        if NEARLY_ONE < mean {
            self.p = (2.0 * self.p).min(MIDDLE);
        } else if mean < LOW {
            self.p /= 2.0;
        }
    }

    /// All positions in the squares of half side `d` around `centres`, ascending.
    fn around(&self, centres: &[usize], d: usize) -> Vec<usize> {
        let mut positions = Vec::new();
        for centre in centres {
            let (row, column) = (centre / self.width, centre % self.width);
            for y in row.saturating_sub(d)..(row + d + 1).min(self.height) {
                positions
                    .extend((column.saturating_sub(d)..(column + d + 1).min(self.width)).map(|x| y * self.width + x));
            }
        }
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// Where a position's channels lie in the image.
    fn places(&self, position: usize) -> impl Iterator<Item = usize> + use<> {
        (position..self.image.len()).step_by(self.height * self.width)
    }
}

/// `n` of the `positions` at random, or all if they are no more, ascending.
fn some(mut positions: Vec<usize>, n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if positions.len() <= n {
        return positions;
    }
    let mut drawn = positions.partial_shuffle(rng, n).0.to_vec();
    drawn.sort_unstable();
    drawn
}

/// r · I on the scale I = x − 0.5, wrapped once into `[−0.5, 0.5]`; x in and out.
fn cyclic(value: f32, r: f32) -> f32 {
    let scaled = r * (value - MIDDLE);
    let wrapped = if scaled < -MIDDLE {
        scaled + 1.0
    } else if MIDDLE < scaled {
        scaled - 1.0
    } else {
        scaled
    };
    wrapped + MIDDLE
}

/// Where the scale from −0.5 to 0.5 has its 0; also half its length.
const MIDDLE: f32 = 0.5;

/// Mean probability of failure above which p grows: "close to 1" in the paper.
const NEARLY_ONE: f64 = 0.95;

/// Mean probability of failure below which p shrinks.
const LOW: f64 = 0.3;

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn walk(params: &Params, image: Vec<f32>, size: (usize, usize)) -> Walk {
        Walk::new(params, 0, 0, image, size, &mut ChaCha8Rng::seed_from_u64(2))
    }

    fn score(log_odds: f64) -> Score {
        Score { log_odds, is_broken: false }
    }

    #[test]
    fn cyclic_stretches_from_the_middle_and_wraps_once() {
        for (x, r, expected) in [
            (0.75, 1.5, 0.875),
            (1.0, 1.5, 0.25),
            (0.0, 1.5, 0.75),
            (0.5, 2.0, 0.5),
            (1.0, 2.0, 0.5),
            (0.25, 1.0, 0.25),
        ] {
            assert_eq!(cyclic(x, r), expected, "{r} on {x}");
        }
    }

    #[test]
    fn a_candidate_has_its_channels_at_their_nearer_extremes() {
        let params = Params { t: 1, ..Params::default() };
        let mut it = walk(&params, vec![0.1, 0.6, 0.9, 0.2, 0.3, 0.8], (1, 2));
        it.drawn = vec![1];
        assert_eq!(it.candidate(0), (1, vec![1.0, 0.0, 1.0]));
        let gentle = Params { p: 0.25, ..params };
        let mut it = walk(&gentle, vec![0.1, 0.6, 0.9, 0.2, 0.3, 0.8], (1, 2));
        it.drawn = vec![0];
        assert_eq!(it.candidate(0), (0, vec![0.25, 0.75, 0.25]));
    }

    #[test]
    fn the_best_candidates_move_and_equals_go_by_position() {
        let params = Params { t: 2, d: 1, ..Params::default() };
        let mut it = walk(&params, vec![0.75; 12 * 20], (12, 20));
        it.drawn = vec![3, 22, 100, 239];
        let (positions, values) = it.go(&params, 0, &[score(1.0), score(2.0), score(2.0), score(2.0)]);
        assert_eq!((positions, values), (vec![22, 100], vec![0.875; 2]));
        // Rows 0 to 2 and columns 1 to 3, cut at the top; rows 4 to 6 of column 0, cut at the left.
        let near_22 = [1, 2, 3, 21, 22, 23, 41, 42, 43];
        assert_eq!(it.pool, [near_22.as_slice(), &[80, 81, 100, 101, 120, 121]].concat());
        assert_eq!(it.image.iter().filter(|&&value| value != 0.75).count(), 2);
        let (positions, _) = it.go(&params, 1, &[score(1.0), score(2.0), score(0.0), score(-1.0)]);
        assert_eq!(positions, [22, 3]);
        assert_eq!(it.image.iter().filter(|&&value| value != 0.75).count(), 3, "changes of all rounds add up");
    }

    #[test]
    fn a_changed_pixel_is_no_candidate_until_its_time_is_over() {
        let params = Params { t: 1, exclude: 2, ..Params::default() };
        let mut it = walk(&params, vec![0.75; 3], (1, 3));
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let mut moved = Vec::new();
        for round in 0..6 {
            it.draw(&params, round, rng);
            let scores: Vec<Score> = it.drawn.iter().map(|&position| score(-(position as f64))).collect();
            moved.push(it.go(&params, round, &scores).0[0]);
        }
        assert_eq!(moved[1..4].iter().filter(|&&position| position == moved[0]).count(), 1);
        assert_eq!(moved[..3], moved[3..]);
    }

    #[test]
    fn p_grows_while_candidates_do_nothing_and_shrinks_while_they_do_much() {
        let params = Params { p: 0.125, adaptive: true, ..Params::default() };
        let mut it = walk(&params, vec![0.75; 9], (3, 3));
        for (log_odds, expected) in [(-5.0, 0.25), (0.0, 0.25), (-5.0, 0.5), (-5.0, 0.5), (3.0, 0.25)] {
            it.adapt(&[score(log_odds)]);
            assert_eq!(it.p, expected);
        }
    }
}
