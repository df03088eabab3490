//! σ-zero: the fewest changed pixels, by gradient descent on a smooth count of them.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::adam::Adam;
use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::best::{Best, Open};
use crate::error::{AttackError, ParamError};
use crate::loss::margin;
use crate::minimal::{channel_sum, half_cosine, keep_smallest, size};
use crate::query::Query;
use crate::rows;
use crate::threat::Norm;
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "sigma-zero",
    title: "σ-zero",
    what: "Changes as few pixels as it can, by gradient descent on a smooth count of them, and sets small changes back. Finds far sparser changes \
           than JSMA. What it finds is an upper bound: fewer pixels may do.",
    kind: AttackKind::Minimizing,
    access: Access::Gradients,
    norms: &[Norm::L0],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Cinà, Villani, Pintor, Schönherr, Biggio, Pelillo",
        title: "σ-zero: Gradient-based Optimization of ℓ0-norm Adversarial Examples",
        venue: "ICLR",
        year: 2025,
        url: "https://arxiv.org/abs/2402.01879",
    },
    params: &[
        ParamDoc { name: "steps", default: "300", range: "1 to 1000000", help: "Gradient steps" },
        ParamDoc {
            name: "sigma",
            default: "0.001",
            range: "> 0, at most 1",
            help: "How smooth the count is: a change δ counts δ²/(δ² + sigma)",
        },
        ParamDoc {
            name: "threshold",
            default: "0.3",
            range: "0 to 1",
            help: "Changes below it are set back; it rises while the image is adversarial and falls while it is not",
        },
        ParamDoc {
            name: "count",
            default: "pixels",
            range: "pixels, channels",
            help: "What is to be few: changed pixels, or, as in the paper, changed channels of pixels",
        },
    ],
    presets: &[
        Preset::Quick.values(Norm::L0, "steps=60", "standard with fewer steps"),
        Preset::Standard.values(Norm::L0, "steps=300", "the paper's constants; its steps are 100 and 1000"),
        Preset::Paper.values(Norm::L0, "steps=1000,count=channels", "the σ-zero paper; AdverTorch has no such attack"),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// Minimizes `max(0, −margin) + mean over pixels of s/(s + σ)`, s = the sum of δ² over a pixel's channels, by Adam.
///
/// The gradient is divided by its largest entry; Adam's step falls from 1 to 0.1 by half a cosine. After each step x + δ is clipped to `[0, 1]`,
/// and pixels whose change is below a threshold τ in all channels are set back; τ moves by a hundredth of the step, up while x + δ is
/// adversarial and down while it is not. Of all iterates that meet the goal the one with the fewest changed pixels is kept.
///
/// # Source
/// The paper's algorithm 1 and its constants.
/// # Deviations
/// Pixels are counted, as the threat model does; with `count = channels` each channel of a pixel is counted and set back by itself.
/// # Cost
/// One forward and one backward per step.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    steps: u32,
    sigma: f64,
    threshold: f64,
    count: Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Count {
    Pixels,
    Channels,
}

impl Count {
    /// `values` summed over what counts as one.
    fn sum(self, values: &Tensor) -> Tensor {
        match self {
            Self::Pixels => channel_sum(values),
            Self::Channels => values.shallow_clone(),
        }
    }

    fn largest(self, values: &Tensor) -> Tensor {
        match self {
            Self::Pixels => values.amax(1, true),
            Self::Channels => values.shallow_clone(),
        }
    }

    /// How many of a change are not 0, `[n]`.
    fn of(self, change: &Tensor) -> Tensor {
        match self {
            Self::Pixels => size(Norm::L0, change),
            Self::Channels => rows::sum(&change.ne(0.0).to_kind(Kind::Double)),
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self { steps: 300, sigma: 1e-3, threshold: 0.3, count: Count::Pixels }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: f64, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { steps, sigma, threshold, .. } = params;
    check("steps", steps.into(), (1..=1_000_000).contains(&steps), "must be 1 to 1000000")?;
    check("sigma", sigma, 0.0 < sigma && sigma <= 1.0, "must be greater than 0, at most 1")?;
    check("threshold", threshold, (0.0..=1.0).contains(&threshold), "must be 0 to 1")?;
    Ok(Attack::Minimal(Box::new(params)))
}

impl MinimalAttack for Params {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: self.steps.into(), backwards: self.steps.into() }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, _: Norm) -> Result<Tensor, AttackError> {
        let (mut best, open) = (Best::new(batch), Open::all(batch));
        let original = batch.pixels;
        let mut adam = Adam::new(original.zeros_like());
        let mut threshold = Tensor::full([open.ids.len() as i64], self.threshold, (Kind::Float, original.device()));
        for step in 0..self.steps {
            query.step(step, self.steps)?;
            let pixels = (original + &adam.variable).clamp(0.0, 1.0);
            let margin = |logits: &Tensor| margin(logits, batch.classes, batch.goal);
            let at = query.value_and_grad(&open.ids, &pixels, &margin)?;
            let is_met = at.loss.gt(0.0);
            keep_smallest(&mut best, query, &open, (&pixels, &self.count.of(&adam.variable), &is_met), step + 1)?;

            // The margin is differentiated as it is: where the goal is met its gradient counts 0 times.
            let is_open = is_met.logical_not().to_kind(Kind::Float);
            let slope = self.count_slope(&adam.variable) - at.gradient * rows::broadcast(&is_open, &pixels);
            let largest = rows::max_abs(&slope).clamp_min(1e-12);
            let rate = half_cosine(1.0, 0.1, step, self.steps);
            adam.step(&(&slope / rows::broadcast(&largest, &slope)), rate);
            threshold = (threshold + (&is_open * -2.0 + 1.0) * (rate / 100.0)).clamp(0.0, 1.0);
            let change = (original + &adam.variable).clamp(0.0, 1.0) - original;
            let is_small = self.count.largest(&change.abs()).lt_tensor(&rows::broadcast(&threshold, &change));
            adam.variable = change.masked_fill(&is_small, 0.0);
        }
        best.finish(query, batch)
    }
}

impl Params {
    /// Gradient of the mean of s/(s + σ): 2δσ/(s + σ)² each.
    fn count_slope(&self, change: &Tensor) -> Tensor {
        let n_values: i64 = change.size()[1..].iter().product();
        let n = match self.count {
            Count::Pixels => n_values / change.size()[1],
            Count::Channels => n_values,
        };
        let scale = 2.0 * self.sigma / n as f64;
        change * scale / (self.count.sum(&change.square()) + self.sigma).square()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn the_slope_is_that_of_the_smooth_count() {
        let start = Tensor::from_slice(&[0.03_f32, -0.5, 0.01, 0.02, 0.0, -0.04]).reshape([1, 2, 1, 3]);
        for count in [Count::Pixels, Count::Channels] {
            let params = Params { count, ..Params::default() };
            let change = start.copy().set_requires_grad(true);
            let sums = match count {
                Count::Pixels => change.square().sum_dim_intlist([1_i64].as_slice(), false, Kind::Float),
                Count::Channels => change.square(),
            };
            (&sums / (&sums + params.sigma)).mean(Kind::Float).backward();
            let off = (change.grad() - params.count_slope(&start)).abs().max().double_value(&[]);
            assert!(off < 1e-5, "{count:?} {off}");
        }
    }

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("steps=0", "sigma-zero.steps = 0: must be 1 to 1000000"),
            ("sigma=0", "sigma-zero.sigma = 0: must be greater than 0, at most 1"),
            ("threshold=2", "sigma-zero.threshold = 2: must be 0 to 1"),
        ] {
            let (id, table) = parse_spec_string(&format!("sigma-zero:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
