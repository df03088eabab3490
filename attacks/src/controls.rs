//! Controls: what shows whether gradient attacks had a gradient to follow. None of them is in the catalog.
//!
//! # Source
//! Carlini et al., "On Evaluating Adversarial Robustness", arXiv:1902.06705, 2019, for noise and large budgets; Croce and Hein, "Reliable
//! Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks", ICML 2020, for the black-box search.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::attack::{Attack, AttackKind, AttackSpec, Batch, BudgetAttack, Paper, Passes, Preset, Scale, read_params};
use crate::best::{Best, Open};
use crate::catalog::{ITERATED, SEARCH};
use crate::config::AttackConfig;
use crate::error::{AttackError, ParamError};
use crate::execute::Samples;
use crate::loss::margin;
use crate::query::{JUDGEMENTS, Query, averaged_logits};
use crate::rows;
use crate::threat::{Ball, Epsilon, Goal, Norm};
use crate::victim::{Access, Victim, VictimError};

/// A search of the same budget that needs no gradients.
pub fn black_box(ball: Ball) -> Result<AttackConfig, ParamError> {
    with(SEARCH, ball.norm(), ball.epsilon(), &[("queries", 300)])
}

/// Noise as large as the budget.
pub fn noise(ball: Ball) -> Result<AttackConfig, ParamError> {
    with(&NOISE, ball.norm(), ball.epsilon(), &[])
}

/// A budget so large that gradient steps must break every image.
pub fn large_epsilon() -> Result<AttackConfig, ParamError> {
    let half = Epsilon::new(0.5).expect("one half is a size");
    with(ITERATED, Norm::Linf, half, &[("steps", 20)])
}

fn with(
    spec: &'static AttackSpec,
    norm: Norm,
    epsilon: Epsilon,
    own: &[(&str, i64)],
) -> Result<AttackConfig, ParamError> {
    let threat = [("norm", norm.to_string()), ("eps", epsilon.to_string())];
    let mut given: toml::Table = threat.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    given.extend(own.iter().map(|&(key, value)| (key.to_owned(), value.into())));
    AttackConfig::of(spec, Preset::Standard, &given)
}

static NOISE: AttackSpec = AttackSpec {
    id: "noise",
    title: "Noise",
    what: "Random changes as large as the budget.",
    kind: AttackKind::Search,
    access: Access::Logits,
    norms: &[Norm::Linf, Norm::L2],
    untargeted: true,
    targeted: false,
    paper: Paper {
        authors: "Carlini et al.",
        title: "On Evaluating Adversarial Robustness",
        venue: "arXiv",
        year: 2019,
        url: "https://arxiv.org/abs/1902.06705",
    },
    params: &[],
    presets: &[
        Preset::Standard.values(Norm::Linf, "", "its size is the budget of others"),
        Preset::Standard.values(Norm::L2, "", "its size is the budget of others"),
    ],
    defaults: || toml::Table::try_from(Noise::default()).expect("plain values make a table"),
    build: |table| Ok(Attack::Budget(Box::new(read_params::<Noise>("noise", table)?))),
};

/// Random changes at the edge of the budget: ±ε for L∞, a random direction for L2.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Noise {
    draws: u32,
}

impl Default for Noise {
    fn default() -> Self {
        Self { draws: 10 }
    }
}

impl BudgetAttack for Noise {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: self.draws.into(), backwards: 0 }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError> {
        let (mut best, open) = (Best::new(batch), Open::all(batch));
        for draw in 0..self.draws {
            query.step(draw, self.draws)?;
            let direction = ball.direction(query.normal_like(batch.ids, batch.pixels));
            let pixels = ball.project(batch.pixels, &(batch.pixels + direction * ball.epsilon().value()));
            let logits = query.logits(batch.ids, &pixels)?;
            best.offer(query, &open, &pixels, &logits, u64::from(draw) + 1)?;
        }
        best.finish(query, batch)
    }
}

/// How the margin rises along the gradient's own direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rise {
    /// By the gradient: its product with the step.
    pub predicted: f64,
    /// By the victim's answer after the step.
    pub observed: f64,
}

/// Step of [`rises`], the largest change of a pixel value.
pub const STEP: f64 = 0.01;

/// Takes one step of ±[`STEP`] per value up the gradient of the margin, and compares how far the margin rises with what the gradient said.
/// Two forwards and one backward per sample, averaged where the victim is random; what is not finite counts as 0.
///
/// # Errors
/// A victim that fails, or that cannot be differentiated.
pub fn rises(victim: &dyn Victim, samples: &Samples<'_>) -> Result<Vec<Rise>, AttackError> {
    let Samples { pixels, labels, .. } = samples;
    let leaf = pixels.detach().set_requires_grad(true);
    let draws = if victim.is_random() { JUDGEMENTS } else { 1 };
    let before = tch::with_grad(|| averaged_logits(victim, &leaf, draws))?;
    let before = tch::with_grad(|| margin(&before, labels, Goal::Untargeted)); // [N]
    if !before.requires_grad() {
        let message = "its logits are not differentiable in its pixels";
        return Err(VictimError::Unusable(message.to_owned()).into());
    }
    let gradients = Tensor::f_run_backward(&[&before], &[&leaf], false, false).map_err(VictimError::from)?;
    let gradient = gradients.into_iter().next().filter(Tensor::defined).unwrap_or_else(|| pixels.zeros_like());
    tch::no_grad(|| {
        let gradient = gradient.nan_to_num(0.0, 0.0, 0.0);
        let moved = (*pixels + gradient.sign() * STEP).clamp(0.0, 1.0);
        let step = (&moved - *pixels).to_kind(Kind::Double);
        let predicted = rows::sum(&(gradient.to_kind(Kind::Double) * step));
        let after = margin(&averaged_logits(victim, &moved, draws)?, labels, Goal::Untargeted);
        let observed = after.to_kind(Kind::Double) - before.to_kind(Kind::Double);
        let plain = |values: &Tensor| Vec::<f64>::try_from(values.nan_to_num(0.0, 0.0, 0.0)).map_err(VictimError::from);
        let (predicted, observed) = (plain(&predicted)?, plain(&observed)?);
        Ok(predicted.into_iter().zip(observed).map(|(predicted, observed)| Rise { predicted, observed }).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ConvVictim, LinearVictim, images, predictions};

    fn ratios(victim: &dyn Victim) -> Vec<f64> {
        let pixels = images(2, [6, 3, 5, 6]) * 0.5 + 0.25;
        let labels = predictions(victim, &pixels).unwrap();
        let found = rises(victim, &Samples { pixels: &pixels, labels: &labels, ids: &[0, 1, 2, 3, 4, 5] }).unwrap();
        found.iter().map(|it| it.observed / it.predicted).collect()
    }

    #[test]
    fn a_linear_victim_rises_as_its_gradient_says_and_others_nearly() {
        let linear = LinearVictim::seeded(3, 4, 90);
        // Where another class takes over on the way, the rise is larger.
        assert!(ratios(&linear).iter().all(|ratio| *ratio > 0.999), "{:?}", ratios(&linear));
        assert!(ratios(&ConvVictim::seeded(1, 3, 5)).iter().all(|ratio| (0.5..2.0).contains(ratio)));
    }

    #[test]
    fn every_control_is_made_for_both_norms() {
        for norm in [Norm::Linf, Norm::L2] {
            let ball = Ball::new(norm, Epsilon::fraction(8.0, 255.0).unwrap()).unwrap();
            for config in [black_box(ball).unwrap(), noise(ball).unwrap()] {
                assert_eq!((config.norm, config.epsilon.map(|it| it.to_string())), (norm, Some("8/255".to_owned())));
            }
        }
        assert_eq!(large_epsilon().unwrap().epsilon.unwrap().to_string(), "0.5");
    }
}
