//! Carlini-Wagner L2: the smallest change that wins by a margin, by Adam in tanh space and a search for the trade-off.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::adam::Adam;
use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::best::{Best, Offer, Open};
use crate::error::{AttackError, ParamError};
use crate::loss::{margin, of_probabilities};
use crate::query::Query;
use crate::rows;
use crate::threat::Norm;
use crate::victim::{Access, VictimError};

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "cw",
    title: "Carlini-Wagner L2",
    what: "Minimizes the change itself, by gradient descent with a search for the trade-off between size and success. Finds the \
           smallest changes of all attacks, at many times PGD's cost: read its distances, not its success rate. They are an upper \
           bound: a smaller change may exist.",
    kind: AttackKind::Minimizing,
    access: Access::Gradients,
    norms: &[Norm::L2],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Carlini, Wagner",
        title: "Towards Evaluating the Robustness of Neural Networks",
        venue: "S&P",
        year: 2017,
        url: "https://arxiv.org/abs/1608.04644",
    },
    params: &[
        ParamDoc {
            name: "search_steps",
            default: "9",
            range: "1 to 30",
            help: "Values of the trade-off constant c that are tried per sample: times 10 until one works, then bisected",
        },
        ParamDoc { name: "steps", default: "200", range: "1 to 1000000", help: "Adam steps per value of c" },
        ParamDoc { name: "lr", default: "0.01", range: "> 0 to 10", help: "Adam's learning rate, in tanh space" },
        ParamDoc { name: "initial_c", default: "0.001", range: "1e-9 to 1e9", help: "First value of c" },
        ParamDoc {
            name: "kappa",
            default: "0.0",
            range: "0 to 1000",
            help: "Confidence: the margin of logits by which the goal must be met",
        },
        ParamDoc {
            name: "abort",
            default: "true",
            range: "true, false",
            help: "Whether a sample leaves a value of c when a twentieth of its steps brought no progress",
        },
    ],
    presets: &[
        Preset::Quick.values(
            Norm::L2,
            "search_steps=3,steps=30,lr=0.05,initial_c=0.3",
            "large steps from a constant that mostly works",
        ),
        Preset::Standard.values(
            Norm::L2,
            "search_steps=9,steps=200,lr=0.01,initial_c=0.001",
            "the authors' code with a fiftieth of its steps",
        ),
        Preset::Paper.values(
            Norm::L2,
            "search_steps=9,steps=200,lr=0.01,initial_c=0.001",
            "AdverTorch CarliniWagnerL2Attack with the modularity paper's 200 steps",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// Minimizes ‖x' − x‖² + c · max(κ − m(x'), 0) with x' = (tanh w / 0.99 + 1)/2, for ever better c.
///
/// m is the margin by which the goal is met: max_{i≠y} Z_i − Z_y, or Z_t − max_{i≠t} Z_i for a target. For each c, Adam starts anew
/// from the original. c is per sample: after a success it is an upper bound, otherwise a lower one, and the next c is their mean, or
/// ten times as large while there is no upper bound. Of all iterates with m > 0 and m ≥ κ the nearest is kept.
///
/// # Source
/// The paper's section VI.A and its authors' code, with its defaults but for the number of steps.
/// # Deviations
/// tanh is stretched a little, and w kept within its ends, so that pixels of 0 and 1 are exact and can move. The distance is to x, not
/// to what tanh makes of it. Samples abort one by one, so none feels the others, and not before the second twentieth of the steps, since the
/// first steps of Adam always overshoot. A model that answers with probabilities is refused: their margin has hardly any gradient.
/// # Cost
/// At most `search_steps` × `steps` forwards and backwards.
#[derive(Debug)]
struct CarliniWagner {
    params: Params,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    search_steps: u32,
    steps: u32,
    lr: f64,
    initial_c: f64,
    kappa: f64,
    abort: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { search_steps: 9, steps: 200, lr: 0.01, initial_c: 1e-3, kappa: 0.0, abort: true }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: f64, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { search_steps, steps, lr, initial_c, kappa, .. } = params;
    check("search_steps", search_steps.into(), (1..=30).contains(&search_steps), "must be 1 to 30")?;
    check("steps", steps.into(), (1..=1_000_000).contains(&steps), "must be 1 to 1000000")?;
    check("lr", lr, 0.0 < lr && lr <= 10.0, "must be greater than 0, at most 10")?;
    check("initial_c", initial_c, (1e-9..=1e9).contains(&initial_c), "must be 1e-9 to 1e9")?;
    check("kappa", kappa, (0.0..=1000.0).contains(&kappa), "must be 0 to 1000")?;
    Ok(Attack::Minimal(Box::new(CarliniWagner { params })))
}

impl MinimalAttack for CarliniWagner {
    fn most_passes(&self, _: &Scale) -> Passes {
        let all = u64::from(self.params.search_steps) * u64::from(self.params.steps);
        Passes { forwards: all, backwards: all }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, _: Norm) -> Result<Tensor, AttackError> {
        let mut best = Best::new(batch);
        let mut tradeoffs = vec![Tradeoff::new(self.params.initial_c); batch.ids.len()];
        for search in 0..self.params.search_steps {
            let is_met = self.descend(query, batch, search, &tradeoffs, &mut best)?;
            for (tradeoff, is_met) in tradeoffs.iter_mut().zip(is_met) {
                tradeoff.learn(is_met);
            }
        }
        best.finish(query, batch)
    }
}

impl CarliniWagner {
    /// Adam for one c per sample, from the originals; returns for which of them the goal was met.
    fn descend(
        &self,
        query: &mut Query<'_>,
        batch: &Batch<'_>,
        search: u32,
        tradeoffs: &[Tradeoff],
        best: &mut Best,
    ) -> Result<Vec<bool>, AttackError> {
        let Params { search_steps, steps, kappa, .. } = self.params;
        let device = batch.pixels.device();
        let c: Vec<f32> = tradeoffs.iter().map(|tradeoff| tradeoff.c as f32).collect();
        let mut c = rows::upload(&c, device); // [n]
        let before: Vec<i64> = batch.ids.iter().map(|&id| query.forwards(id) as i64).collect();
        let mut before = rows::upload(&before, device); // [n]
        let mut open = Open::all(batch);
        let mut latest_loss = c.full_like(f64::INFINITY);
        let mut adam = Adam::new(to_tanh_space(batch.pixels));
        let mut is_met_at_all = c.zeros_like().to_kind(Kind::Bool);
        let check_every = (steps / 20).max(5);
        for step in 0..steps {
            query.step(search * steps + step, search_steps * steps)?;
            let (pixels, tanh) = from_tanh_space(&adam.variable);
            let margin_of = |logits: &Tensor| margin(&of_probabilities(logits), &open.classes, batch.goal);
            let at = query.value_and_grad(&open.ids, &pixels, &margin_of)?;
            let change = &pixels - &open.original;
            let distance = rows::sum(&change.square());
            let shortfall = (kappa - &at.loss).clamp_min(0.0);
            let is_met = at.loss.gt(0.0).logical_and(&at.loss.ge(kappa));
            let all_rows = open.row_numbers();
            let is_met_by_now = is_met_at_all.index_select(0, &all_rows).logical_or(&is_met);
            let _ = is_met_at_all.index_copy_(0, &all_rows, &is_met_by_now);
            let score = (-&distance).masked_fill(&is_met.logical_not(), f64::NEG_INFINITY);
            let forwards = &before + i64::from(step) + 1;
            best.take(query, &open, &Offer { pixels: &pixels, score: &score, is_met: &is_met, forwards: &forwards })?;

            // The margin is differentiated as it is: where it is large enough its gradient counts 0 times.
            let weight = &c * shortfall.gt(0.0).to_kind(Kind::Float);
            let slope = change * 2.0 - at.gradient * rows::broadcast(&weight, &pixels);
            adam.step(&(slope * (1.0 - tanh.square()) * (0.5 / END)), self.params.lr);
            let _ = adam.variable.clamp_(-END.atanh(), END.atanh());

            if self.params.abort && 0 < step && step % check_every == 0 {
                let loss = distance + &c * shortfall;
                let goes_on = loss.le_tensor(&(&latest_loss * ENOUGH));
                latest_loss = loss;
                let goes_on = Vec::<bool>::try_from(goes_on).map_err(VictimError::from)?;
                if goes_on.contains(&false) {
                    let kept = open.keep(&goes_on);
                    if open.ids.is_empty() {
                        break;
                    }
                    adam.keep(&kept);
                    c = c.index_select(0, &kept);
                    before = before.index_select(0, &kept);
                    latest_loss = latest_loss.index_select(0, &kept);
                }
            }
        }
        Ok(Vec::<bool>::try_from(is_met_at_all).map_err(VictimError::from)?)
    }
}

/// One sample's constant c and what is known of it.
#[derive(Clone, Copy, Debug)]
struct Tradeoff {
    c: f64,
    too_small: f64,
    large_enough: Option<f64>,
}

impl Tradeoff {
    fn new(c: f64) -> Self {
        Self { c, too_small: 0.0, large_enough: None }
    }

    fn learn(&mut self, is_met: bool) {
        if is_met {
            self.large_enough = Some(self.large_enough.map_or(self.c, |c| c.min(self.c)));
        } else {
            self.too_small = self.too_small.max(self.c);
        }
        self.c = match self.large_enough {
            Some(large_enough) => f64::midpoint(self.too_small, large_enough),
            None => (self.c * 10.0).min(LARGEST_C),
        };
    }
}

/// w with pixels = (tanh w / END + 1)/2.
fn to_tanh_space(pixels: &Tensor) -> Tensor {
    ((pixels.to_kind(Kind::Double) * 2.0 - 1.0) * END).atanh().to_kind(Kind::Float)
}

/// The pixels of w, and tanh w.
///
/// tanh is computed in f64: libtorch's f32 version may differ in the last bit with the place in the tensor.
fn from_tanh_space(w: &Tensor) -> (Tensor, Tensor) {
    let tanh = w.to_kind(Kind::Double).tanh();
    let pixels = ((&tanh / END + 1.0) * 0.5).clamp(0.0, 1.0);
    (pixels.to_kind(Kind::Float), tanh.to_kind(Kind::Float))
}

/// tanh w where a pixel is exactly 1. The paper's 1 (its code's 0.999999) leaves such pixels where tanh is so flat that hundreds of
/// steps do not move them; at 0.99 they start with a fiftieth of the slope that grey pixels have.
const END: f64 = 0.99;
/// A loss above this share of the one a twentieth of the steps before is no progress.
const ENOUGH: f64 = 0.9999;
/// Where f32 still has room for c · margin.
const LARGEST_C: f64 = 1e10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_grows_until_it_works_and_is_then_bisected() {
        let mut tradeoff = Tradeoff::new(1.0);
        let mut seen = Vec::new();
        for is_met in [false, false, true, false, true, true] {
            seen.push(tradeoff.c);
            tradeoff.learn(is_met);
        }
        assert_eq!(seen, [1.0, 10.0, 100.0, 55.0, 77.5, 66.25]);
    }

    #[test]
    fn tanh_space_and_back_keeps_pixels_and_leaves_room_at_the_ends() {
        let pixels = Tensor::from_slice(&[0.0_f32, 0.25, 0.5, 1.0]);
        let w = to_tanh_space(&pixels);
        let (back, tanh) = from_tanh_space(&w);
        assert!((back - pixels).abs().max().double_value(&[]) < 1e-6);
        assert!((tanh.square() - 1.0).abs().min().double_value(&[]) > 0.01);
    }
}
