//! Differential evolution of the candidates of many samples side by side.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use tch::Tensor;

use super::space::Space;
use super::{Params, Search, Until};
use crate::attack::Batch;
use crate::candidates::{Candidates, Score, Scorer, best_broken};
use crate::error::AttackError;
use crate::query::Query;
use crate::threat::Goal;

pub(super) fn run(params: &Params, query: &mut Query<'_>, batch: &Batch<'_>) -> Result<Tensor, AttackError> {
    let space = Space::new(batch, params.pixels);
    let scorer = Scorer::new(batch, 1);
    let mut candidates = Candidates::new(space.channels, space.pixels);
    let mut winners = Candidates::new(space.channels, space.pixels);
    let mut open: Vec<Evolution> = (0..batch.ids.len()).map(|row| Evolution::new(row, batch.ids[row])).collect();
    let enough = match params.until {
        Until::Success => f64::NEG_INFINITY,
        Until::Confidence => confidence(batch.goal),
    };
    let mut n_broken = 0;
    for generation in 0..=params.generations {
        query.step(generation, params.generations + 1)?;
        candidates.clear();
        for evolution in &mut open {
            evolution.propose(params, space, query.rng(evolution.id));
            for genome in evolution.trials.chunks_exact(space.n_genes()) {
                let (positions, values) = space.decode(genome);
                candidates.push(evolution.row, &positions, &values);
            }
        }
        let scores = scorer.score(query, batch.pixels, &candidates)?;
        for (evolution, scores) in open.iter_mut().zip(scores.chunks_exact(params.population)) {
            if let Some(broken) = best_broken(scores) {
                if evolution.found.is_none() {
                    let earlier = u64::from(generation) * params.population as u64;
                    query.tell_success(evolution.id, earlier + broken.first as u64 + 1);
                    n_broken += 1;
                }
                evolution.remember(space, broken.best, broken.log_odds);
            }
            evolution.select(space, scores);
        }
        query.tell_broken(n_broken);
        let is_last = generation == params.generations;
        open.retain(|evolution| match &evolution.found {
            Some((genome, log_odds)) if is_last || enough <= *log_odds => {
                let (positions, values) = space.decode(genome);
                winners.push(evolution.row, &positions, &values);
                false
            }
            _ => true,
        });
        if open.is_empty() {
            break;
        }
    }
    let mut pixels = batch.pixels.copy();
    winners.apply_to(&mut pixels);
    Ok(pixels)
}

/// Log-odds at which the paper stops: the true class below 5 %, the target above 90 %.
fn confidence(goal: Goal) -> f64 {
    match goal {
        Goal::Untargeted => (0.95_f64 / 0.05).ln(),
        Goal::Targeted(_) => (0.9_f64 / 0.1).ln(),
    }
}

#[derive(Debug)]
struct Evolution {
    row: usize,
    id: u32,
    /// Genomes one after the other; empty before the first generation.
    members: Vec<f32>,
    log_odds: Vec<f64>,
    /// The generation that is being tried, member by member.
    trials: Vec<f32>,
    /// The best genome that met the goal, and its log-odds.
    found: Option<(Vec<f32>, f64)>,
}

impl Evolution {
    fn new(row: usize, id: u32) -> Self {
        Self { row, id, members: Vec::new(), log_odds: Vec::new(), trials: Vec::new(), found: None }
    }

    /// Fills `trials` with the first population or with a child of each member.
    fn propose(&mut self, params: &Params, space: Space, rng: &mut ChaCha8Rng) {
        self.trials = match (self.members.is_empty(), params.search) {
            (true, Search::Best1bin) => latin_hypercube(params.population, space, rng),
            (true, _) => gaussian(params.population, space, rng),
            (false, Search::Best1bin) => self.best1bin(params, space, rng),
            (false, _) => self.rand1(params, space, rng),
        };
    }

    /// A child replaces its own parent unless it is worse: of equals the newer one goes on, as in Storn & Price (1997), which keeps a
    /// population on a plateau moving.
    fn select(&mut self, space: Space, scores: &[Score]) {
        if self.members.is_empty() {
            self.members = std::mem::take(&mut self.trials);
            self.log_odds = scores.iter().map(|score| score.log_odds).collect();
            return;
        }
        for (i, score) in scores.iter().enumerate() {
            if self.log_odds[i] <= score.log_odds {
                let genes = i * space.n_genes()..(i + 1) * space.n_genes();
                self.members[genes.clone()].copy_from_slice(&self.trials[genes]);
                self.log_odds[i] = score.log_odds;
            }
        }
    }

    /// Keeps trial number `trial`, which met the goal, if none before was better.
    fn remember(&mut self, space: Space, trial: usize, log_odds: f64) {
        if self.found.as_ref().is_none_or(|(_, known)| *known < log_odds) {
            self.found = Some((member(&self.trials, trial, space).to_vec(), log_odds));
        }
    }

    fn rand1(&self, params: &Params, space: Space, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut children = Vec::with_capacity(self.members.len());
        for i in 0..params.population {
            let [r1, r2, r3] = distinct(params.population, i, rng).map(|r| member(&self.members, r, space));
            children.extend(
                (0..space.n_genes())
                    .map(|gene| (r1[gene] + params.f as f32 * (r2[gene] - r3[gene])).clamp(0.0, space.upper(gene))),
            );
        }
        children
    }

    fn best1bin(&self, params: &Params, space: Space, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let f = 0.5 + 0.5 * rng.random::<f32>();
        let mut best = 0;
        for i in 1..params.population {
            if self.log_odds[best] < self.log_odds[i] {
                best = i;
            }
        }
        let best = member(&self.members, best, space);
        let mut children = Vec::with_capacity(self.members.len());
        for i in 0..params.population {
            let parent = member(&self.members, i, space);
            let [r1, r2] = distinct(params.population, i, rng).map(|r| member(&self.members, r, space));
            let always_new = rng.random_range(0..space.n_genes());
            for gene in 0..space.n_genes() {
                let is_new = rng.random::<f64>() < params.recombination || gene == always_new;
                let child = if is_new { best[gene] + f * (r1[gene] - r2[gene]) } else { parent[gene] };
                let upper = space.upper(gene);
                let inside = (0.0..=upper).contains(&child);
                children.push(if inside { child } else { rng.random::<f32>() * upper });
            }
        }
        children
    }
}

fn member(genomes: &[f32], i: usize, space: Space) -> &[f32] {
    &genomes[i * space.n_genes()..(i + 1) * space.n_genes()]
}

/// Distinct members, none of them `i`.
fn distinct<const N: usize>(population: usize, i: usize, rng: &mut ChaCha8Rng) -> [usize; N] {
    let mut drawn = [i; N];
    for k in 0..N {
        while drawn[k] == i || drawn[..k].contains(&drawn[k]) {
            drawn[k] = rng.random_range(0..population);
        }
    }
    drawn
}

/// Su's first population: uniform positions, values N(128, 127) of 255, clipped.
fn gaussian(population: usize, space: Space, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let genes = (0..population).flat_map(|_| 0..space.n_genes());
    genes
        .map(|gene| {
            if space.is_position(gene) {
                rng.random::<f32>() * space.upper(gene)
            } else {
                let normal: f32 = rng.sample(StandardNormal);
                ((128.0 + 127.0 * normal) / 255.0).clamp(0.0, 1.0)
            }
        })
        .collect()
}

/// Each gene's range in as many equal parts as there are members, one member in each.
fn latin_hypercube(population: usize, space: Space, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let n_genes = space.n_genes();
    let mut members = vec![0.0; population * n_genes];
    let mut parts: Vec<usize> = (0..population).collect();
    for gene in 0..n_genes {
        parts.shuffle(rng);
        for (i, &part) in parts.iter().enumerate() {
            let share = (part as f32 + rng.random::<f32>()) / population as f32;
            members[i * n_genes + gene] = share.min(1.0) * space.upper(gene);
        }
    }
    members
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const SPACE: Space = Space { pixels: 2, channels: 3, height: 12, width: 20 };

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(3)
    }

    fn is_inside(genomes: &[f32]) -> bool {
        genomes.iter().enumerate().all(|(i, value)| (0.0..=SPACE.upper(i % SPACE.n_genes())).contains(value))
    }

    fn evolution(members: Vec<f32>) -> Evolution {
        let n = members.len() / SPACE.n_genes();
        Evolution { members, log_odds: (0..n).map(|i| i as f64).collect(), ..Evolution::new(0, 0) }
    }

    #[test]
    fn no_genome_leaves_the_box() {
        let rng = &mut rng();
        let params = Params { population: 50, f: 2.0, ..Params::default() };
        for start in [gaussian(50, SPACE, rng), latin_hypercube(50, SPACE, rng)] {
            assert!(is_inside(&start));
            let evolution = evolution(start);
            assert!(is_inside(&evolution.rand1(&params, SPACE, rng)));
            assert!(is_inside(&evolution.best1bin(&params, SPACE, rng)));
        }
    }

    #[test]
    fn parents_are_distinct_and_never_the_member_itself() {
        let rng = &mut rng();
        for i in (0..5).cycle().take(200) {
            let [a, b, c] = distinct(5, i, rng);
            assert!(a != b && b != c && a != c && ![a, b, c].contains(&i));
        }
    }

    #[test]
    fn a_latin_hypercube_has_one_member_in_each_part() {
        let members = latin_hypercube(8, SPACE, &mut rng());
        for gene in 0..SPACE.n_genes() {
            let part = |i: usize| (8.0 * members[i * SPACE.n_genes() + gene] / SPACE.upper(gene)) as usize;
            let mut parts: Vec<usize> = (0..8).map(part).collect();
            parts.sort_unstable();
            assert_eq!(parts, (0..8).collect::<Vec<_>>(), "gene {gene}");
        }
    }

    #[test]
    fn a_child_competes_with_its_own_parent_only() {
        let rng = &mut rng();
        let mut evolution = evolution(gaussian(5, SPACE, rng));
        let before = evolution.members.clone();
        evolution.trials = gaussian(5, SPACE, rng);
        // Member i has log-odds i: child 1 beats its parent, child 2 equals it; child 4 beats most, but not its own.
        let scores = [-1.0, 1.5, 2.0, 0.0, 3.9].map(|log_odds| Score { log_odds, is_broken: false });
        evolution.select(SPACE, &scores);
        for i in 0..5 {
            let expected = if matches!(i, 1 | 2) { &evolution.trials } else { &before };
            assert_eq!(member(&evolution.members, i, SPACE), member(expected, i, SPACE), "member {i}");
        }
        assert_eq!(evolution.log_odds, [0.0, 1.5, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn without_recombination_a_child_has_one_new_number() {
        let rng = &mut rng();
        let evolution = evolution(latin_hypercube(9, SPACE, rng));
        let params = Params { population: 9, recombination: 0.0, ..Params::default() };
        let children = evolution.best1bin(&params, SPACE, rng);
        for i in 0..9 {
            let pairs = member(&children, i, SPACE).iter().zip(member(&evolution.members, i, SPACE));
            assert_eq!(pairs.filter(|(child, parent)| child != parent).count(), 1, "member {i}");
        }
    }
}
