//! Local Search: a greedy walk over pixels that matter, by class scores only.

mod walk;

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::candidates::{Candidates, Scorer, best_broken};
use crate::error::{AttackError, ParamError};
use crate::query::Query;
use crate::rows;
use crate::threat::{Goal, Norm};
use crate::victim::{Access, VictimError};
use walk::Walk;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "local-search",
    title: "Local Search",
    what: "Tries single pixels, changes those that matter most and goes on around them, asking for class scores only. The stronger of \
           the two black-box attacks: few pixels, hundreds of queries.",
    kind: AttackKind::Search,
    access: Access::Logits,
    norms: &[Norm::L0],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Narodytska, Kasiviswanathan",
        title: "Simple Black-Box Adversarial Attacks on Deep Neural Networks",
        venue: "CVPR Workshops",
        year: 2017,
        url: "https://arxiv.org/abs/1612.06299",
    },
    params: &[
        ParamDoc { name: "rounds", default: "150", range: "1 to 100000", help: "Rounds at most" },
        ParamDoc {
            name: "p",
            default: "1.0",
            range: "> 0",
            help: "What a candidate pixel's channels become, with their sign, on a scale from -0.5 to 0.5; from 0.5 on that \
                   is the nearer extreme",
        },
        ParamDoc {
            name: "r",
            default: "1.5",
            range: "> 0, at most 2",
            help: "Factor on the channels of a chosen pixel; what leaves the scale comes in again at its other end",
        },
        ParamDoc {
            name: "d",
            default: "5",
            range: "1 to 1000",
            help: "The next candidates are at most so many rows and columns from a chosen pixel",
        },
        ParamDoc { name: "t", default: "5", range: "1 to 1000", help: "Pixels changed per round" },
        ParamDoc {
            name: "k",
            default: "1",
            range: "1 to 1000; below the number of classes",
            help: "The true class must leave the k best (untargeted only)",
        },
        ParamDoc {
            name: "candidates",
            default: "128",
            range: "1 to 100000, at least t",
            help: "Pixels tried per round, at random where there are more",
        },
        ParamDoc {
            name: "exclude",
            default: "0",
            range: "0 to 100000",
            help: "Rounds for which a changed pixel is no candidate; the paper says 30",
        },
        ParamDoc {
            name: "adaptive",
            default: "false",
            range: "true, false",
            help: "Double p while candidates hardly change the scores, halve it while they change them much",
        },
        ParamDoc {
            name: "accept",
            default: "any",
            range: "any, round",
            help: "Which image may end the search: any that was seen, or as in the paper only the one after a round",
        },
    ],
    presets: &[
        Preset::Quick.values(Norm::L0, "rounds=4,candidates=64", "standard with at most 260 images"),
        Preset::Standard.values(
            Norm::L0,
            "rounds=150,p=1,r=1.5,d=5,t=5",
            "the paper's section 5, with p = 1 as AdverTorch has it",
        ),
        Preset::Paper.values(
            Norm::L0,
            "rounds=10,p=1,r=1.5,d=5,t=5,candidates=128,accept=round",
            "AdverTorch LocalSearchAttack",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// In each round tries a number of single pixels, changes the t that matter most, and goes on around them.
///
/// On the scale I = x − 0.5:
/// 1. per candidate pixel (b is a channel): PERT, `I(b, x, y) ← clamp(p · sign I(b, x, y), −0.5, 0.5)`, and the score of that
///    image;
/// 2. for the t best candidates: CYCLIC, `I(b, x, y) ← r · I(b, x, y)`, plus or minus 1 where it leaves `[−0.5, 0.5]`;
/// 3. done if the class is not among the k most likely any more (or the target is the most likely);
/// 4. the next candidates are the squares of side 2d + 1 around the t pixels, cut at the borders.
///
/// The first candidates are a random tenth of the pixels (at least t). The changes of all rounds add up. The score is the
/// log-odds of the class: the order is that of its probability, the best candidate makes the true class least likely or the
/// target most likely. Equals come in the order of rows and columns.
///
/// # Source
/// The paper's Algorithms 2 and 3 and its section 5. Compared with AdverTorch 0.2.3 and Foolbox 2.4.
/// # Deviations
/// The paper's pseudocode sorts in descending order of the true class's probability; its text wants the largest decrease,
/// which breaks many times more images and is done here. PERT's values are clamped to the scale. By default
/// (`accept=any`) a candidate that meets the goal by itself is returned: it was seen and paid for, and differs from the image
/// before in one pixel instead of t. The paper's exclusion of changed pixels for 30 rounds and its adaptation of p
/// are off unless asked for; where exclusion leaves no candidate, all other pixels are candidates. Adaptation doubles p (to 0.5
/// at most) where the candidates' mean probability of failure is above 0.95 and halves it below 0.3.
/// AdverTorch forgets each round's changes, ignores k, lowers a target's probability, asks for each candidate twice and needs
/// square images.
/// # Cost
/// Forwards per sample, at most: rounds · (candidates + 1). No gradients.
#[derive(Debug)]
struct LocalSearch {
    params: Params,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    rounds: u32,
    p: f64,
    r: f64,
    d: usize,
    t: usize,
    k: u32,
    candidates: usize,
    exclude: u32,
    adaptive: bool,
    accept: Accept,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Accept {
    Any,
    Round,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            rounds: 150,
            p: 1.0,
            r: 1.5,
            d: 5,
            t: 5,
            k: 1,
            candidates: 128,
            exclude: 0,
            adaptive: false,
            accept: Accept::Any,
        }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { rounds, p, r, d, t, k, candidates, exclude, .. } = params;
    check("rounds", &rounds, (1..=100_000).contains(&rounds), "must be 1 to 100000")?;
    check("p", &p, 0.0 < p && p.is_finite(), "must be greater than 0 and finite")?;
    check("r", &r, 0.0 < r && r <= 2.0, "must be greater than 0 and at most 2, or it leaves the scale for good")?;
    check("d", &d, (1..=1000).contains(&d), "must be 1 to 1000")?;
    check("t", &t, (1..=1000).contains(&t), "must be 1 to 1000")?;
    check("k", &k, (1..=1000).contains(&k), "must be 1 to 1000")?;
    check("candidates", &candidates, (1..=100_000).contains(&candidates), "must be 1 to 100000")?;
    check("candidates", &candidates, t <= candidates, "must be at least t, which are chosen from them")?;
    check("exclude", &exclude, exclude <= 100_000, "must be 0 to 100000")?;
    Ok(Attack::Minimal(Box::new(LocalSearch { params })))
}

impl MinimalAttack for LocalSearch {
    fn most_passes(&self, scale: &Scale) -> Passes {
        let candidates = scale.area().min(self.params.candidates as u64);
        Passes { forwards: u64::from(self.params.rounds) * (candidates + 1), backwards: 0 }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, _norm: Norm) -> Result<Tensor, AttackError> {
        let Params { rounds, t, k, accept, .. } = self.params;
        if 1 < k && batch.goal != Goal::Untargeted {
            return Err(ParamError::bad(SPEC.id, "k", k, "needs goal = untargeted").into());
        }
        let scorer = Scorer::new(batch, k);
        let n_channels = batch.pixels.size()[1] as usize;
        let mut images = batch.pixels.copy();
        let mut open = self.set_out(query, batch)?;
        for round in 0..rounds {
            query.step(round, rounds)?;
            let mut candidates = Candidates::new(n_channels, 1);
            for walk in &mut open {
                walk.draw(&self.params, round, query.rng(walk.id));
                for number in 0..walk.n_drawn() {
                    let (position, values) = walk.candidate(number);
                    candidates.push(walk.row, &[position], &values);
                }
            }
            let scores = scorer.score(query, &images, &candidates)?;
            let mut scores = scores.as_slice();
            let mut ends = Candidates::new(n_channels, 1);
            let mut moves = Candidates::new(n_channels, t);
            open.retain_mut(|walk| {
                let (own, rest) = scores.split_at(walk.n_drawn());
                scores = rest;
                if accept == Accept::Any
                    && let Some(broken) = best_broken(own)
                {
                    query.tell_success(walk.id, walk.n_asked + broken.first as u64 + 1);
                    let (position, values) = walk.candidate(broken.best);
                    ends.push(walk.row, &[position], &values);
                    return false;
                }
                let (positions, values) = walk.go(&self.params, round, own);
                moves.push(walk.row, &positions, &values);
                true
            });
            ends.apply_to(&mut images);

            let scores = scorer.score(query, &images, &moves)?;
            moves.apply_to(&mut images);
            let mut scores = scores.iter();
            open.retain_mut(|walk| {
                walk.n_asked += walk.n_drawn() as u64 + 1;
                let is_broken = scores.next().is_some_and(|score| score.is_broken);
                if is_broken {
                    query.tell_success(walk.id, walk.n_asked);
                }
                !is_broken
            });
            query.tell_broken(batch.ids.len() - open.len());
            if open.is_empty() {
                return Ok(images);
            }
        }
        // What was not broken goes back as it came.
        let failed: Vec<i64> = open.iter().map(|walk| walk.row as i64).collect();
        let failed = rows::upload(&failed, images.device());
        let _ = images.index_copy_(0, &failed, &batch.pixels.index_select(0, &failed));
        Ok(images)
    }
}

impl LocalSearch {
    /// One walk per sample, at its first candidates.
    fn set_out(&self, query: &mut Query<'_>, batch: &Batch<'_>) -> Result<Vec<Walk>, AttackError> {
        let size = batch.pixels.size();
        let (channels, height, width) = (size[1] as usize, size[2] as usize, size[3] as usize);
        let pixels = Vec::<f32>::try_from(batch.pixels.flatten(0, -1)).map_err(VictimError::from)?;
        let images = pixels.chunks_exact(channels * height * width).enumerate();
        let walk = |(row, image): (usize, &[f32])| {
            let id = batch.ids[row];
            Walk::new(&self.params, row, id, image.to_vec(), (height, width), query.rng(id))
        };
        Ok(images.map(walk).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::Preset;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("rounds=0", "local-search.rounds = 0: must be 1 to 100000"),
            ("p=0", "local-search.p = 0: must be greater than 0 and finite"),
            ("p=inf", "local-search.p = inf: must be greater than 0 and finite"),
            ("r=2.5", "local-search.r = 2.5: must be greater than 0 and at most 2, or it leaves the scale for good"),
            ("d=0", "local-search.d = 0: must be 1 to 1000"),
            ("t=0", "local-search.t = 0: must be 1 to 1000"),
            ("k=0", "local-search.k = 0: must be 1 to 1000"),
            ("candidates=0", "local-search.candidates = 0: must be 1 to 100000"),
            ("candidates=4", "local-search.candidates = 4: must be at least t, which are chosen from them"),
            ("exclude=100001", "local-search.exclude = 100001: must be 0 to 100000"),
            ("adaptive=1", "local-search.adaptive = 1: invalid type: integer `1`, expected a boolean"),
            ("accept=all", "local-search.accept = all: unknown variant `all`, expected `any` or `round`"),
        ] {
            let (id, table) = parse_spec_string(&format!("local-search:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
