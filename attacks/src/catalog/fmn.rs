//! FMN: gradient steps projected into a ball whose size follows the nearest adversarial image.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::best::{Best, Open};
use crate::error::{AttackError, ParamError};
use crate::loss::margin;
use crate::minimal::{channel_sum, half_cosine, keep_smallest, largest, size};
use crate::query::Query;
use crate::rows;
use crate::threat::Norm;
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "fmn",
    title: "Fast minimum-norm",
    what: "Climbs the logit margin inside a ball that shrinks to the nearest adversarial image found and grows again where none is left. \
           Looks for the smallest change in L2, L∞ or L0 at a cost like PGD's. What it finds is an upper bound: a smaller change may exist.",
    kind: AttackKind::Minimizing,
    access: Access::Gradients,
    norms: &[Norm::L2, Norm::Linf, Norm::L0],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Pintor, Roli, Brendel, Biggio",
        title: "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
        venue: "NeurIPS",
        year: 2021,
        url: "https://arxiv.org/abs/2102.12827",
    },
    params: &[
        ParamDoc { name: "steps", default: "200", range: "1 to 1000000", help: "Gradient steps" },
        ParamDoc {
            name: "step",
            default: "1.0",
            range: "> 0, at most 1000",
            help: "L2 length of the first step; the last is a hundredth of it",
        },
        ParamDoc {
            name: "gamma",
            default: "0.05",
            range: "> 0, below 1",
            help: "Share by which the ball shrinks or grows with the first step; with the last it is a thousandth",
        },
    ],
    presets: &[
        Preset::Quick.values(Norm::L2, "steps=40", "standard with fewer steps"),
        Preset::Quick.values(Norm::Linf, "steps=40", "standard with fewer steps"),
        Preset::Quick.values(Norm::L0, "steps=40", "standard with fewer steps"),
        Preset::Standard.values(Norm::L2, "steps=200", "adv-lib's constants"),
        Preset::Standard.values(Norm::Linf, "steps=200", "adv-lib's constants"),
        Preset::Standard.values(Norm::L0, "steps=200", "adv-lib's constants"),
        Preset::Paper.values(Norm::L2, "steps=1000", "the FMN paper's steps; AdverTorch has no such attack"),
        Preset::Paper.values(Norm::Linf, "steps=1000", "the FMN paper's steps; AdverTorch has no such attack"),
        Preset::Paper.values(Norm::L0, "steps=1000", "the FMN paper's steps; AdverTorch has no such attack"),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// `δ ← Π_ε(δ + α g/‖g‖₂)`, clipped so that x + δ stays in `[0, 1]`; g is the gradient of the margin.
///
/// While a sample has not been broken, `ε = ‖δ‖ + |margin| / ‖g‖*`, the distance to the boundary if it were flat (with the dual norm). Later
/// `ε ← min(ε (1 − γ), nearest)` where x + δ is adversarial and `ε (1 + γ)` where it is not. L0 begins at one pixel, changes by at least one,
/// and keeps the pixels whose change is longest. α falls to a hundredth and γ to 0.001 by half a cosine. Of all iterates that meet the goal the
/// nearest is kept.
///
/// # Source
/// The paper's algorithm 1; adv-lib's constants.
/// # Deviations
/// L0 counts pixels, where adv-lib counts channels of pixels. The first balls reach a thousandth beyond the boundary that they are led to. ε is never more than the change that takes every pixel to its farther end.
/// # Cost
/// One forward and one backward per step.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    steps: u32,
    step: f64,
    gamma: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { steps: 200, step: 1.0, gamma: 0.05 }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: f64, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { steps, step, gamma } = params;
    check("steps", steps.into(), (1..=1_000_000).contains(&steps), "must be 1 to 1000000")?;
    check("step", step, 0.0 < step && step <= 1000.0, "must be greater than 0, at most 1000")?;
    check("gamma", gamma, 0.0 < gamma && gamma < 1.0, "must be greater than 0 and below 1")?;
    Ok(Attack::Minimal(Box::new(params)))
}

impl MinimalAttack for Params {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: self.steps.into(), backwards: self.steps.into() }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, norm: Norm) -> Result<Tensor, AttackError> {
        let (mut best, open) = (Best::new(batch), Open::all(batch));
        let original = batch.pixels;
        let largest = largest(norm, original); // [n]
        let mut ball =
            Radius { norm, size: largest.full_like(1.0), nearest: largest.copy(), is_found: largest.lt(0.0) };
        let mut pixels = original.shallow_clone();
        for step in 0..self.steps {
            query.step(step, self.steps)?;
            let margin = |logits: &Tensor| margin(logits, batch.classes, batch.goal);
            let at = query.value_and_grad(&open.ids, &pixels, &margin)?;
            let is_met = at.loss.gt(0.0);
            let change = &pixels - original;
            let size = size(norm, &change);
            keep_smallest(&mut best, query, &open, (&pixels, &size, &is_met), step + 1)?;

            let gamma = half_cosine(self.gamma, self.gamma.min(0.001), step, self.steps);
            ball.adapt(&size, &at.loss, &at.gradient, gamma);
            ball.size = ball.size.minimum(&largest);
            let moved = change + rows::unit(&at.gradient) * half_cosine(self.step, self.step / 100.0, step, self.steps);
            pixels = (original + project(norm, &moved, &ball.size)).clamp(0.0, 1.0);
        }
        best.finish(query, batch)
    }
}

/// Where each sample's change is looked for; all f64 `[n]`.
struct Radius {
    norm: Norm,
    size: Tensor,
    /// Size of the nearest adversarial image so far.
    nearest: Tensor,
    is_found: Tensor,
}

impl Radius {
    /// After an iterate whose change has a size, with its margin and the margin's gradient.
    fn adapt(&mut self, size: &Tensor, margin: &Tensor, gradient: &Tensor, gamma: f64) {
        let is_met = margin.gt(0.0);
        self.is_found = self.is_found.logical_or(&is_met);
        self.nearest = self.nearest.minimum(size).where_self(&is_met, &self.nearest);
        let (mut smaller, mut larger) = (&self.size * (1.0 - gamma), &self.size * (1.0 + gamma));
        let dual = match self.norm {
            Norm::L0 => {
                smaller = smaller.floor().minimum(&(&self.size - 1.0)).clamp_min(0.0);
                larger = larger.floor().maximum(&(&self.size + 1.0));
                None
            }
            Norm::L2 => Some(rows::l2(gradient)),
            Norm::Linf => Some(rows::sum(&gradient.abs().to_kind(Kind::Double))),
        };
        if let Some(dual) = dual {
            let boundary = size + margin.abs().to_kind(Kind::Double) / dual.clamp_min(1e-12);
            larger = larger.where_self(&self.is_found, &(boundary * BEYOND));
        }
        self.size = smaller.minimum(&self.nearest).where_self(&is_met, &larger);
    }
}

/// A ball that ends at the boundary itself would be approached from within for ever.
const BEYOND: f64 = 1.001;

/// The nearest change of at most this size, `[n]`.
fn project(norm: Norm, change: &Tensor, size: &Tensor) -> Tensor {
    let per_row = |values: &Tensor| rows::broadcast(&values.to_kind(Kind::Float), change);
    match norm {
        Norm::L2 => change * per_row(&(size / rows::l2(change).clamp_min(1e-12)).clamp_max(1.0)),
        Norm::Linf => change.clamp_tensor(Some(per_row(&-size)), Some(per_row(size))),
        Norm::L0 => {
            let lengths = channel_sum(&change.square()); // [n, 1, H, W]
            let (sorted, _) = lengths.flatten(1, -1).sort(1, true);
            let last = (size - 1.0).clamp_min(0.0).to_kind(Kind::Int64).unsqueeze(1);
            let threshold = sorted.gather(1, &last, false).squeeze_dim(1);
            let is_kept = lengths.ge_tensor(&per_row(&threshold)).logical_and(&per_row(size).gt(0.0));
            change * is_kept.to_kind(Kind::Float)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttackConfig, parse_spec_string};

    fn projected(norm: Norm, size: f64) -> Vec<f32> {
        let change = Tensor::from_slice(&[0.1_f32, -0.5, 0.3, 0.0, 0.0, 0.3]).reshape([1, 2, 1, 3]);
        Vec::try_from(project(norm, &change, &Tensor::from_slice(&[size])).flatten(0, -1)).unwrap()
    }

    #[test]
    fn changes_are_cut_to_the_size_in_each_norm() {
        assert_eq!(projected(Norm::Linf, 0.25), [0.1, -0.25, 0.25, 0.0, 0.0, 0.25]);
        let length = |values: &[f32]| values.iter().map(|it| it * it).sum::<f32>().sqrt();
        assert!((length(&projected(Norm::L2, 0.25)) - 0.25).abs() < 1e-6);
        assert_eq!(projected(Norm::L2, 5.0), [0.1, -0.5, 0.3, 0.0, 0.0, 0.3]);
        // Whole pixels, the longest change first.
        assert_eq!(projected(Norm::L0, 1.0), [0.0, -0.5, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(projected(Norm::L0, 2.0), [0.0, -0.5, 0.3, 0.0, 0.0, 0.3]);
        assert_eq!(projected(Norm::L0, 0.0), [0.0; 6]);
    }

    #[test]
    fn the_ball_leaps_to_the_boundary_and_then_closes_in() {
        let one = |value: f64| Tensor::from_slice(&[value]);
        let mut ball = Radius { norm: Norm::L2, size: one(1.0), nearest: one(9.0), is_found: one(1.0).lt(0.0) };
        let gradient = Tensor::from_slice(&[3.0_f32, 4.0]).reshape([1, 1, 1, 2]);
        let mut sizes = Vec::new();
        // A size and a margin each.
        for (size, margin) in [(0.0, -10.0), (2.002, 1.0), (1.0, -1.0), (1.5, 1.0)] {
            ball.adapt(&one(size), &one(margin).to_kind(Kind::Float), &gradient, 0.5);
            sizes.push(f64::try_from(&ball.size).unwrap());
        }
        assert_eq!(sizes[1..], [sizes[0] / 2.0, 1.5 * (sizes[0] / 2.0), 0.75 * (sizes[0] / 2.0)]);
        assert!((sizes[0] - 2.002).abs() < 1e-9);
    }

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("steps=0", "fmn.steps = 0: must be 1 to 1000000"),
            ("step=0", "fmn.step = 0: must be greater than 0, at most 1000"),
            ("gamma=1", "fmn.gamma = 1: must be greater than 0 and below 1"),
        ] {
            let (id, table) = parse_spec_string(&format!("fmn:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
