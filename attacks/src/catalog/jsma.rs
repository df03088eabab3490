//! JSMA: pairs of features, chosen by a saliency map of the logits' gradients.

use std::fmt::Display;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::error::{AttackError, ParamError};
use crate::loss::margin;
use crate::pairs::best_pair;
use crate::query::Query;
use crate::rows;
use crate::threat::{Goal, Norm, Target};
use crate::victim::{Access, VictimError};

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "jsma",
    title: "Jacobian-based saliency map attack",
    what: "Changes two features at a time, those that the gradients of the logits say matter most, until the class changes. Finds \
           changes of few pixels, however large.",
    kind: AttackKind::Minimizing,
    access: Access::Gradients,
    norms: &[Norm::L0],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Papernot, McDaniel, Jha, Fredrikson, Celik, Swami",
        title: "The Limitations of Deep Learning in Adversarial Settings",
        venue: "EuroS&P",
        year: 2016,
        url: "https://arxiv.org/abs/1511.07528",
    },
    params: &[
        ParamDoc {
            name: "theta",
            default: "1.0",
            range: "-1 to 1, not 0",
            help: "Change of each feature (a channel of a pixel) per step; at 1 a feature goes to the end of its range",
        },
        ParamDoc {
            name: "gamma",
            default: "0.1",
            range: "> 0 to 1",
            help: "Largest share of features that may change; a sample that needs more is not broken",
        },
        ParamDoc {
            name: "variant",
            default: "nt",
            range: "nt, maximal, every-target",
            help: "How to leave a class: by the true class's logit, by the best pair over all classes and both directions, or by \
                   aiming at every class in turn and keeping the cheapest; a targeted attack aims at its target",
        },
        ParamDoc {
            name: "classes",
            default: "10",
            range: "2 to 1000",
            help: "variant=maximal: how many classes it weighs, the true one and the likeliest others; one gradient each",
        },
    ],
    presets: &[
        Preset::Quick.values(Norm::L0, "theta=1.0,gamma=0.1", "as standard"),
        Preset::Standard.values(
            Norm::L0,
            "theta=1.0,gamma=0.1",
            "torchattacks' budget; the variant that costs least per broken image",
        ),
        Preset::Paper.values(
            Norm::L0,
            "theta=1.0,gamma=1.0,variant=nt",
            "AdverTorch JacobianSaliencyMapAttack, which is targeted only; untargeted here",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// Changes two features per step, those with the largest saliency.
///
/// With α = Σ ∂Z_c/∂x_i and β = Σ Σ_{j≠c} ∂Z_j/∂x_i over the pair i ∈ {p, q}, raising class c by a step of sign s needs s·α > 0
/// and s·β < 0, lowering it the opposite; of all such pairs of features that can still move that way, the one with the largest
/// −αβ moves by |θ| and is clipped to `[0, 1]`.
/// - Targeted (Papernot): c is the target, raised.
/// - `nt` (NT-JSMA): c is the true class, lowered.
/// - `maximal` (Maximal-JSMA): every class, the true one lowered and the others raised, by steps up and down; a feature never
///   turns back.
/// - `every-target`: Papernot's at each other class; the success that changed the fewest pixels is kept.
///
/// A sample is done when it meets the goal, when the next pair would exceed γ·D features, or when no pair is admissible.
///
/// # Source
/// Papernot et al., algorithms 1 to 3, on logits. NT-JSMA and Maximal-JSMA: Wiyatno and Xu, "Maximal Jacobian-based Saliency Map
/// Attack", 2018, <https://arxiv.org/abs/1808.07945>.
/// # Deviations
/// The pair is found without the D×D matrix, see [`best_pair`]. Saturated features are out of the search from the start. With
/// |θ| < 1 a feature may move until it saturates; the number of steps is then limited to γ·D/2 · ⌈1/|θ|⌉. `maximal` has no box
/// round the original. `nt` takes the other sign where no feature can move by its own any more, as in white images.
/// # Cost
/// Per step one forward and two backwards, whatever the number of classes; `maximal` one per weighed class and one more.
#[derive(Debug)]
struct Jsma {
    params: Params,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    theta: f64,
    gamma: f64,
    variant: Variant,
    classes: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Variant {
    Nt,
    Maximal,
    EveryTarget,
}

impl Default for Params {
    fn default() -> Self {
        Self { theta: 1.0, gamma: 0.1, variant: Variant::Nt, classes: 10 }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let Params { theta, gamma, variant, classes } = params;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    check("theta", &theta, (1e-3..=1.0).contains(&theta.abs()), "must be -1 to -0.001 or 0.001 to 1")?;
    let is_positive = 0.0 < theta || variant != Variant::Maximal;
    check("theta", &theta, is_positive, "variant = maximal goes both ways; give a positive one")?;
    check("gamma", &gamma, 0.0 < gamma && gamma <= 1.0, "must be greater than 0, at most 1")?;
    check("classes", &classes, (2..=1000).contains(&classes), "must be 2 to 1000")?;
    Ok(Attack::Minimal(Box::new(Jsma { params })))
}

impl MinimalAttack for Jsma {
    fn most_passes(&self, scale: &Scale) -> Passes {
        let n_features = scale.area().saturating_mul(scale.channels) as usize;
        let (_, n_steps) = self.limits(n_features);
        let (is_free, n_steps) = (!scale.is_targeted, u64::from(n_steps));
        let searches = match self.params.variant {
            Variant::EveryTarget if is_free => scale.classes.saturating_sub(1),
            _ => 1,
        };
        let gradients = match self.params.variant {
            Variant::Maximal if is_free => scale.classes.min(self.params.classes as u64) + 1,
            _ => 2,
        };
        Passes {
            forwards: searches.saturating_mul(n_steps + 1),
            backwards: searches.saturating_mul(n_steps).saturating_mul(gradients),
        }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, _: Norm) -> Result<Tensor, AttackError> {
        let mut found = Found { pixels: batch.pixels.copy(), n_pixels: vec![None; batch.ids.len()] };
        if batch.goal.is_targeted() || self.params.variant != Variant::EveryTarget {
            let mut open = Self::open(batch)?;
            self.pass(query, batch.goal, batch.pixels, &mut open, (0, 1), &mut found)?;
            return Ok(found.pixels);
        }
        let n_passes = query.n_classes() as u32 - 1;
        let mut spent = vec![0; batch.ids.len()];
        for pass in 0..n_passes {
            let mut open = Self::open(batch)?;
            for sample in &mut open {
                let (own, other) = (sample.class, i64::from(pass));
                sample.class = if other < own { other } else { other + 1 };
                sample.forwards = spent[sample.row];
            }
            // Which class it is makes no difference to the search.
            let goal = Goal::Targeted(Target::RunnerUp);
            spent = self.pass(query, goal, batch.pixels, &mut open, (pass, n_passes), &mut found)?;
        }
        Ok(found.pixels)
    }
}

/// The cheapest success of each sample.
struct Found {
    pixels: Tensor,
    n_pixels: Vec<Option<usize>>,
}

/// A sample that is being worked on.
struct Sample {
    id: u32,
    row: usize,
    /// To leave or to reach.
    class: i64,
    values: Vec<f32>,
    can_rise: Vec<bool>,
    can_fall: Vec<bool>,
    is_changed: Vec<bool>,
    n_changed: usize,
    forwards: u64,
}

/// A class whose logit is to rise or to fall, with the gradients of its logit and of the sum of all others, `[n · D]`.
struct Slope {
    rises: bool,
    own: Vec<f32>,
    others: Vec<f32>,
}

/// The next step of a sample.
#[derive(Clone, Copy)]
struct Step {
    features: [usize; 2],
    is_up: bool,
}

impl Jsma {
    fn open(batch: &Batch<'_>) -> Result<Vec<Sample>, AttackError> {
        let classes = Vec::<i64>::try_from(batch.classes).map_err(VictimError::from)?;
        let values = per_row(batch.pixels)?;
        let samples = batch.ids.iter().zip(classes).zip(values).enumerate();
        let samples = samples.map(|(row, ((&id, class), values))| Sample {
            id,
            row,
            class,
            can_rise: values.iter().map(|&value| value < 1.0).collect(),
            can_fall: values.iter().map(|&value| 0.0 < value).collect(),
            is_changed: vec![false; values.len()],
            n_changed: 0,
            forwards: 0,
            values,
        });
        Ok(samples.collect())
    }

    /// How many features may change, and the steps that this takes at most.
    fn limits(&self, n_features: usize) -> (usize, u32) {
        let budget = (self.params.gamma * n_features as f64 + 1e-9) as usize;
        let n_steps = (budget / 2) as f64 * (1.0 / self.params.theta.abs() - 1e-9).ceil();
        (budget, n_steps.min(f64::from(u32::MAX - 1)) as u32)
    }

    /// Works on all `open` samples to their end; returns the forwards that each row has had.
    fn pass(
        &self,
        query: &mut Query<'_>,
        goal: Goal,
        original: &Tensor,
        open: &mut Vec<Sample>,
        (pass, n_passes): (u32, u32),
        found: &mut Found,
    ) -> Result<Vec<u64>, AttackError> {
        let n_features = open.first().map_or(0, |sample| sample.values.len());
        let area = original.size()[2..].iter().product::<i64>() as usize;
        let (budget, n_steps) = self.limits(n_features);
        let mut forwards = vec![0; open.len()];
        let mut pixels = original.copy().contiguous();
        for step in 0..=n_steps {
            let before = pass.saturating_mul(n_steps + 1);
            query.step(before.saturating_add(step), n_passes.saturating_mul(n_steps + 1))?;
            // Samples that may change no more are only looked at; the others also need gradients.
            let is_last = |sample: &Sample| step == n_steps || budget < sample.n_changed + 2;
            let mut steps: Vec<Option<Step>> = vec![None; open.len()];
            let (looked_at, moving): (Vec<usize>, Vec<usize>) = (0..open.len()).partition(|&i| is_last(&open[i]));
            for (places, moves) in [(looked_at, false), (moving, true)] {
                if places.is_empty() {
                    continue;
                }
                let part = Part::new(open, &places, &pixels, goal);
                let (logits, slopes) = if moves {
                    self.slopes(query, &part)?
                } else {
                    (query.logits(&part.ids, &part.pixels)?, Vec::new())
                };
                let is_met = Vec::<bool>::try_from(part.margin(&logits).gt(0.0)).map_err(VictimError::from)?;
                for (&place, _) in places.iter().zip(&is_met).filter(|(_, is_met)| **is_met) {
                    found.offer(query, &open[place], area, &pixels.get(place as i64));
                }
                let samples = &*open;
                let next = places.par_iter().enumerate().map(|(k, &place)| {
                    if is_met[k] { None } else { self.next(&samples[place], &slopes, k, goal.is_targeted()) }
                });
                let next: Vec<Option<Step>> = next.collect();
                for (&place, next) in places.iter().zip(next) {
                    steps[place] = next;
                }
            }
            for sample in open.iter_mut() {
                sample.forwards += 1;
                forwards[sample.row] = sample.forwards;
            }
            self.apply(open, &steps, &pixels);
            // A sample that has already changed more pixels than an earlier success of its own cannot become cheaper.
            let is_kept = |(sample, step): (&Sample, &Option<Step>)| {
                step.is_some() && found.n_pixels[sample.row].is_none_or(|least| sample.n_pixels(area) < least)
            };
            let is_kept: Vec<bool> = open.iter().zip(&steps).map(is_kept).collect();
            pixels = compact(open, &is_kept, pixels);
            if open.is_empty() {
                break;
            }
        }
        Ok(forwards)
    }

    /// Logits and the gradients of the classes that a step may work on.
    fn slopes(&self, query: &mut Query<'_>, part: &Part) -> Result<(Tensor, Vec<Slope>), AttackError> {
        let is_targeted = part.goal.is_targeted();
        let classes = part.classes.unsqueeze(1); // [n, 1]
        if is_targeted || self.params.variant != Variant::Maximal {
            let own = |logits: &Tensor| logits.gather(1, &classes, false).squeeze_dim(1);
            let others = |logits: &Tensor| rows::sum(logits) - own(logits);
            let (logits, parts) = query.values_and_grads(&part.ids, &part.pixels, &[&own, &others])?;
            let slope = Slope { rises: is_targeted, own: flat(&parts[0].1)?, others: flat(&parts[1].1)? };
            return Ok((logits, vec![slope]));
        }
        // Rank 0 is the true class, the others follow by their logits.
        let ranked = |logits: &Tensor, rank: i64| {
            let first = logits.detach().scatter_value(1, &classes, f64::INFINITY);
            let order = first.argsort_stable(true, 1, true); // [n, K]
            logits.gather(1, &order.narrow(1, rank, 1), false).squeeze_dim(1)
        };
        let n_ranks = self.params.classes.min(query.n_classes());
        let owns: Vec<_> = (0..n_ranks).map(|rank| move |logits: &Tensor| ranked(logits, rank)).collect();
        let mut losses: Vec<&dyn Fn(&Tensor) -> Tensor> = owns.iter().map(|own| own as _).collect();
        losses.push(&rows::sum);
        let (logits, mut parts) = query.values_and_grads(&part.ids, &part.pixels, &losses)?;
        let (_, total) = parts.pop().expect("as many parts as losses");
        let slopes = parts
            .iter()
            .enumerate()
            .map(|(rank, (_, own))| Ok(Slope { rises: rank != 0, own: flat(own)?, others: flat(&(&total - own))? }));
        Ok((logits, slopes.collect::<Result<_, AttackError>>()?))
    }

    /// The best admissible pair of a sample, row `k` of the slopes.
    fn next(&self, sample: &Sample, slopes: &[Slope], k: usize, is_targeted: bool) -> Option<Step> {
        let own_way = if 0.0 < self.params.theta { &sample.can_rise } else { &sample.can_fall };
        let both_ways = !is_targeted
            && match self.params.variant {
                Variant::Maximal => true,
                // Nothing of a white image can rise, and it can be broken all the same.
                Variant::Nt => !own_way.contains(&true),
                Variant::EveryTarget => false,
            };
        let n = sample.values.len();
        let mut best: Option<(f64, Step)> = None;
        for slope in slopes {
            let (own, others) = (&slope.own[k * n..(k + 1) * n], &slope.others[k * n..(k + 1) * n]);
            for is_up in [true, false] {
                if !both_ways && is_up != (0.0 < self.params.theta) {
                    continue;
                }
                let is_free = if is_up { &sample.can_rise } else { &sample.can_fall };
                // +1 where a larger gradient of the class helps: raising it upwards or lowering it downwards.
                let sign = if slope.rises == is_up { 1.0 } else { -1.0 };
                let pair = best_pair(is_free, |i| (sign * own[i], -sign * others[i]));
                if let Some(pair) = pair
                    && best.is_none_or(|(score, _)| score < pair.score)
                {
                    best = Some((pair.score, Step { features: [pair.first, pair.second], is_up }));
                }
            }
        }
        best.map(|(_, step)| step)
    }

    /// Takes the steps, on both sides: in the samples' own numbers and in `pixels`, whose rows are the samples.
    fn apply(&self, open: &mut [Sample], steps: &[Option<Step>], pixels: &Tensor) {
        let (mut places, mut values) = (Vec::new(), Vec::new());
        let size = self.params.theta.abs() as f32;
        for (place, (sample, step)) in open.iter_mut().zip(steps).enumerate() {
            let Some(Step { features, is_up }) = *step else { continue };
            for feature in features {
                let change = if is_up { size } else { -size };
                let value = (sample.values[feature] + change).clamp(0.0, 1.0);
                sample.values[feature] = value;
                sample.n_changed += usize::from(!sample.is_changed[feature]);
                sample.is_changed[feature] = true;
                sample.can_rise[feature] = is_up && value < 1.0;
                sample.can_fall[feature] = !is_up && 0.0 < value;
                places.push((place * sample.values.len() + feature) as i64);
                values.push(value);
            }
        }
        if !places.is_empty() {
            let (places, values) = (rows::upload(&places, pixels.device()), rows::upload(&values, pixels.device()));
            let _ = pixels.view(-1).index_copy_(0, &places, &values);
        }
    }
}

impl Sample {
    fn n_pixels(&self, area: usize) -> usize {
        (0..area).filter(|&pixel| self.is_changed[pixel..].iter().step_by(area).any(|&is_changed| is_changed)).count()
    }
}

impl Found {
    /// Keeps a success unless an earlier one was as cheap.
    fn offer(&mut self, query: &mut Query<'_>, sample: &Sample, area: usize, pixels: &Tensor) {
        let n_pixels = sample.n_pixels(area);
        let known = &mut self.n_pixels[sample.row];
        if known.is_none_or(|least| n_pixels < least) {
            *known = Some(n_pixels);
            self.pixels.get(sample.row as i64).copy_(pixels);
        }
        query.tell_success(sample.id, sample.forwards + 1);
        query.tell_broken(self.n_pixels.iter().flatten().count());
    }
}

/// Some of the open samples as tensors.
struct Part {
    ids: Vec<u32>,
    pixels: Tensor,
    classes: Tensor,
    goal: Goal,
}

impl Part {
    fn new(open: &[Sample], places: &[usize], pixels: &Tensor, goal: Goal) -> Self {
        let device = pixels.device();
        let classes: Vec<i64> = places.iter().map(|&place| open[place].class).collect();
        let rows: Vec<i64> = places.iter().map(|&place| place as i64).collect();
        Self {
            ids: places.iter().map(|&place| open[place].id).collect(),
            pixels: pixels.index_select(0, &rows::upload(&rows, device)),
            classes: rows::upload(&classes, device),
            goal,
        }
    }

    fn margin(&self, logits: &Tensor) -> Tensor {
        margin(logits, &self.classes, self.goal)
    }
}

/// Lets go of samples that are done.
fn compact(open: &mut Vec<Sample>, is_kept: &[bool], pixels: Tensor) -> Tensor {
    if is_kept.iter().all(|&is_kept| is_kept) {
        return pixels;
    }
    let kept: Vec<i64> = (0..is_kept.len()).filter(|&i| is_kept[i]).map(|i| i as i64).collect();
    let mut flags = is_kept.iter();
    open.retain(|_| *flags.next().expect("one flag per sample"));
    pixels.index_select(0, &rows::upload(&kept, pixels.device()))
}

fn per_row(values: &Tensor) -> Result<Vec<Vec<f32>>, AttackError> {
    Ok(Vec::<Vec<f32>>::try_from(values.flatten(1, -1)).map_err(VictimError::from)?)
}

fn flat(values: &Tensor) -> Result<Vec<f32>, AttackError> {
    Ok(Vec::<f32>::try_from(values.to_kind(Kind::Float).flatten(0, -1)).map_err(VictimError::from)?)
}
