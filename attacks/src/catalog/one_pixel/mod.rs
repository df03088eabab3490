//! One-Pixel: a few pixels of any value, found by differential evolution, by trying all, or at random.

mod evolve;
mod space;
mod sweep;

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::error::{AttackError, ParamError};
use crate::query::Query;
use crate::threat::Norm;
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "one-pixel",
    title: "One-Pixel",
    what: "Changes one pixel, or a few, to any colour, asking for class scores only. Shows how far a model trusts single pixels, and \
           needs no gradients: a check on attacks that do.",
    kind: AttackKind::Search,
    access: Access::Logits,
    norms: &[Norm::L0],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Su, Vargas, Sakurai",
        title: "One Pixel Attack for Fooling Deep Neural Networks",
        venue: "IEEE Transactions on Evolutionary Computation",
        year: 2019,
        url: "https://arxiv.org/abs/1710.08864",
    },
    params: &[
        ParamDoc { name: "pixels", default: "1", range: "1 to 100", help: "How many pixels may change" },
        ParamDoc {
            name: "search",
            default: "rand1",
            range: "rand1, best1bin, exhaustive, random",
            help: "How to look for them: differential evolution as in the paper or as in SciPy; every position with every \
                   extreme colour; or random positions in black and in white",
        },
        ParamDoc {
            name: "population",
            default: "400",
            range: "5 to 100000",
            help: "Candidates per generation (rand1, best1bin)",
        },
        ParamDoc {
            name: "generations",
            default: "100",
            range: "0 to 100000",
            help: "Generations after the first population (rand1, best1bin)",
        },
        ParamDoc { name: "f", default: "0.5", range: "> 0, at most 2", help: "Scale of a difference (rand1)" },
        ParamDoc {
            name: "recombination",
            default: "1.0",
            range: "0 to 1",
            help: "Share of a child's numbers that are not its parent's (best1bin)",
        },
        ParamDoc {
            name: "until",
            default: "success",
            range: "success, confidence",
            help: "Stop at the first other prediction, or go on until the true class is below 5 % or the target above \
                   90 % (rand1, best1bin)",
        },
        ParamDoc {
            name: "pixels_tried",
            default: "100",
            range: "1 to 1000000",
            help: "How many positions are tried, each in black and in white (random)",
        },
    ],
    presets: &[
        Preset::Quick.values(
            Norm::L0,
            "population=30,generations=4",
            "the paper's search with 150 images in place of 40400",
        ),
        Preset::Standard.values(Norm::L0, "population=400,generations=100", "the paper's section 3.3"),
        Preset::Paper.values(
            Norm::L0,
            "search=random,pixels_tried=100",
            "AdverTorch SinglePixelAttack, which the modularity paper's code runs as OnePixel",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// Changes `pixels` pixels to any colours, by asking for class scores only.
///
/// A candidate is a list of `pixels` × (row, column, one value per channel). `search` says which candidates are tried:
/// - `rand1`: differential evolution. Positions start uniform, values as N(128, 127)/255. The child of member i is
///   `x_r1 + F · (x_r2 − x_r3)` with r1, r2, r3 distinct and not i, clipped to the image and to `[0, 1]`; it replaces its
///   own parent if it is better. No crossover.
/// - `best1bin`: SciPy's `differential_evolution` in one batch per generation, as torchattacks and ART run it. The child is
///   `x_best + F · (x_r1 − x_r2)`, F uniform in `[0.5, 1)` anew for each generation; each of its numbers is kept with
///   probability `recombination`, otherwise the parent's is taken; numbers outside the bounds are drawn anew. Starts as a
///   Latin hypercube.
/// - `exhaustive` (one pixel only): all positions, the centre first, × all 2^C colours whose channels are 0 or 1. Certain
///   within these colours, and the same for each seed.
/// - `random` (one pixel only): random positions, all channels 0, then all channels 1.
///
/// Candidates are ordered by the log-odds of the class, which is the paper's order by probability, and keeps it where the
/// probability rounds to 0 or 1. Of the candidates that meet the goal in one generation (one block of 64 for `exhaustive` and
/// `random`) the best is returned.
///
/// # Source
/// The paper's section 3. `random`: Narodytska and Kasiviswanathan, "Simple Black-Box Adversarial Attacks on Deep Neural
/// Networks", CVPR Workshops 2017, Algorithm 1, <https://arxiv.org/abs/1612.06299>, with AdverTorch's two values per pixel.
/// # Deviations
/// By default a sample is done at its first success, the first population included; the paper goes on until the true class is
/// below 5 % or the target above 90 % (`until=confidence`, where the prediction must have changed as well). Where two
/// pixels of a candidate fall together, the later counts. Against SciPy's: the best member stays where it is instead of
/// being copied to place 0, and any candidate may succeed, not only the best of a generation (torchattacks starts uniform
/// and tests the best after each generation). Against AdverTorch: rows and columns are not swapped and images may have
/// fewer pixels than `pixels_tried`.
/// # Cost
/// Forwards per sample, at most: population · (generations + 1); 2^C · H · W; 2 · `pixels_tried`. No gradients.
#[derive(Debug)]
struct OnePixel {
    params: Params,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    pixels: usize,
    search: Search,
    population: usize,
    generations: u32,
    f: f64,
    recombination: f64,
    until: Until,
    pixels_tried: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Search {
    Rand1,
    Best1bin,
    Exhaustive,
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Until {
    Success,
    Confidence,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            pixels: 1,
            search: Search::Rand1,
            population: 400,
            generations: 100,
            f: 0.5,
            recombination: 1.0,
            until: Until::Success,
            pixels_tried: 100,
        }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { pixels, population, generations, f, recombination, until, pixels_tried, .. } = params;
    let is_evolution = matches!(params.search, Search::Rand1 | Search::Best1bin);
    check("pixels", &pixels, (1..=100).contains(&pixels), "must be 1 to 100")?;
    let why = "needs search = rand1 or best1bin, the others change one pixel";
    check("pixels", &pixels, pixels == 1 || is_evolution, why)?;
    check("population", &population, (5..=100_000).contains(&population), "must be 5 to 100000")?;
    check("generations", &generations, generations <= 100_000, "must be 0 to 100000")?;
    check("f", &f, 0.0 < f && f <= 2.0, "must be greater than 0 and at most 2")?;
    check("recombination", &recombination, (0.0..=1.0).contains(&recombination), "must be 0 to 1")?;
    let why = "needs search = rand1 or best1bin, the others stop at success";
    check("until", &"confidence", until == Until::Success || is_evolution, why)?;
    check("pixels_tried", &pixels_tried, (1..=1_000_000).contains(&pixels_tried), "must be 1 to 1000000")?;
    Ok(Attack::Minimal(Box::new(OnePixel { params })))
}

impl MinimalAttack for OnePixel {
    fn most_passes(&self, scale: &Scale) -> Passes {
        let Params { search, population, generations, pixels_tried, .. } = self.params;
        let forwards = match search {
            Search::Rand1 | Search::Best1bin => population as u64 * (u64::from(generations) + 1),
            Search::Exhaustive => scale.area().saturating_mul(2_u64.saturating_pow(scale.channels as u32)),
            Search::Random => 2 * scale.area().min(pixels_tried as u64),
        };
        Passes { forwards, backwards: 0 }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, _norm: Norm) -> Result<Tensor, AttackError> {
        match self.params.search {
            Search::Rand1 | Search::Best1bin => evolve::run(&self.params, query, batch),
            Search::Exhaustive => sweep::run_exhaustive(query, batch),
            Search::Random => sweep::run_random(self.params.pixels_tried, query, batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::Preset;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("pixels=0", "one-pixel.pixels = 0: must be 1 to 100"),
            (
                "pixels=2,search=exhaustive",
                "one-pixel.pixels = 2: needs search = rand1 or best1bin, the others change one pixel",
            ),
            (
                "search=pso",
                "one-pixel.search = pso: unknown variant `pso`, expected one of `rand1`, `best1bin`, `exhaustive`, `random`",
            ),
            ("population=4", "one-pixel.population = 4: must be 5 to 100000"),
            ("generations=100001", "one-pixel.generations = 100001: must be 0 to 100000"),
            ("f=0", "one-pixel.f = 0: must be greater than 0 and at most 2"),
            ("f=nan", "one-pixel.f = NaN: must be greater than 0 and at most 2"),
            ("recombination=1.5", "one-pixel.recombination = 1.5: must be 0 to 1"),
            ("until=dawn", "one-pixel.until = dawn: unknown variant `dawn`, expected `success` or `confidence`"),
            (
                "until=confidence,search=random",
                "one-pixel.until = confidence: needs search = rand1 or best1bin, the others stop at success",
            ),
            ("pixels_tried=0", "one-pixel.pixels_tried = 0: must be 1 to 1000000"),
            ("norm=linf", "one-pixel.norm = linf: expected l0"),
        ] {
            let (id, table) = parse_spec_string(&format!("one-pixel:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
