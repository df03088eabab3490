//! DDN: gradient steps whose direction and length are chosen apart.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::best::{Best, Open};
use crate::error::{AttackError, ParamError};
use crate::loss::{cross_entropy, margin};
use crate::minimal::{half_cosine, keep_smallest, largest, size};
use crate::query::Query;
use crate::rows;
use crate::threat::Norm;
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "ddn",
    title: "Decoupled direction and norm",
    what: "Climbs the cross-entropy and scales the change to a length that shrinks while the image is adversarial and grows while it is not. \
           Finds smaller L2 changes than Carlini-Wagner at a tenth of its cost. They are an upper bound: a smaller change may exist.",
    kind: AttackKind::Minimizing,
    access: Access::Gradients,
    norms: &[Norm::L2],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger",
        title: "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and Defenses",
        venue: "CVPR",
        year: 2019,
        url: "https://arxiv.org/abs/1811.09600",
    },
    params: &[
        ParamDoc { name: "steps", default: "200", range: "1 to 1000000", help: "Gradient steps" },
        ParamDoc {
            name: "gamma",
            default: "0.05",
            range: "> 0, below 1",
            help: "Share by which the length shrinks or grows with each step",
        },
        ParamDoc { name: "length", default: "1.0", range: "> 0, at most 1000", help: "Length of the first change" },
    ],
    presets: &[
        Preset::Quick.values(Norm::L2, "steps=40", "standard with fewer steps"),
        Preset::Standard.values(Norm::L2, "steps=200", "the paper's constants; its steps are 100, 300 and 1000"),
        Preset::Paper.values(Norm::L2, "steps=100", "AdverTorch DDNL2Attack, without its rounding"),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// `δ ← ε · (δ + α g/‖g‖) / ‖δ + α g/‖g‖‖`, clipped so that x + δ stays in `[0, 1]`, with `ε ← ε (1 − γ)` where x + δ is adversarial and
/// `ε (1 + γ)` where it is not.
///
/// g is the gradient of the cross-entropy, turned round for a target; α falls from 1 to 0.01 by half a cosine. Of all iterates that meet the goal
/// the nearest is kept.
///
/// # Source
/// The paper's algorithm 1 and its authors' constants.
/// # Deviations
/// Where the gradient of the cross-entropy is zero (a model that is sure of itself) that of the margin stands in, rather than noise. Pixels are
/// not rounded to 256 levels on the way. ε is never more than the change that takes every pixel to its farther end.
/// # Cost
/// One forward and one backward per step, two where the cross-entropy is flat.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    steps: u32,
    gamma: f64,
    length: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { steps: 200, gamma: 0.05, length: 1.0 }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: f64, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { steps, gamma, length } = params;
    check("steps", steps.into(), (1..=1_000_000).contains(&steps), "must be 1 to 1000000")?;
    check("gamma", gamma, 0.0 < gamma && gamma < 1.0, "must be greater than 0 and below 1")?;
    check("length", length, 0.0 < length && length <= 1000.0, "must be greater than 0, at most 1000")?;
    Ok(Attack::Minimal(Box::new(params)))
}

impl MinimalAttack for Params {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: self.steps.into(), backwards: 2 * u64::from(self.steps) }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, norm: Norm) -> Result<Tensor, AttackError> {
        let (mut best, open) = (Best::new(batch), Open::all(batch));
        let original = batch.pixels;
        let largest = largest(norm, original); // [n]
        let mut length = largest.full_like(self.length);
        let mut pixels = original.shallow_clone();
        let margin = |logits: &Tensor| margin(logits, batch.classes, batch.goal);
        for step in 0..self.steps {
            query.step(step, self.steps)?;
            let loss = |logits: &Tensor| cross_entropy(logits, batch.classes, batch.goal);
            let at = query.climb(&open.ids, &pixels, &loss, &margin)?;
            let is_met = margin(&at.logits).gt(0.0);
            let change = &pixels - original;
            keep_smallest(&mut best, query, &open, (&pixels, &size(norm, &change), &is_met), step + 1)?;

            let change = change + rows::unit(&at.gradient) * half_cosine(1.0, 0.01, step, self.steps);
            let (shorter, longer) = (&length * (1.0 - self.gamma), &length * (1.0 + self.gamma));
            length = shorter.where_self(&is_met, &longer).minimum(&largest);
            let factor = (&length / rows::l2(&change).clamp_min(1e-12)).to_kind(Kind::Float);
            pixels = (original + &change * rows::broadcast(&factor, &change)).clamp(0.0, 1.0);
        }
        best.finish(query, batch)
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::Preset;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("steps=0", "ddn.steps = 0: must be 1 to 1000000"),
            ("gamma=1", "ddn.gamma = 1: must be greater than 0 and below 1"),
            ("length=0", "ddn.length = 0: must be greater than 0, at most 1000"),
        ] {
            let (id, table) = parse_spec_string(&format!("ddn:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
