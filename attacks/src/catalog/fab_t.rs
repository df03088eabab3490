//! FAB-T: steps onto the linear approximation of the boundary to each of the likeliest other classes, near the original.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::best::{Best, Offer, Open, STOP, Stop};
use crate::boundary::towards_boundary;
use crate::error::{AttackError, ParamError};
use crate::loss::{difference, likeliest_others, margin};
use crate::query::Query;
use crate::rows;
use crate::threat::Norm;
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "fab-t",
    title: "Targeted FAB",
    what: "Looks for the nearest point beyond the boundary to each of the likeliest other classes, by projections onto what the gradient says \
           of it. Needs no step size and no trade-off, and neither shift nor scale of the logits matters to it; the third attack of AutoAttack.",
    kind: AttackKind::Minimizing,
    access: Access::Gradients,
    norms: &[Norm::Linf, Norm::L2],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Croce, Hein",
        title: "Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack",
        venue: "ICML",
        year: 2020,
        url: "https://arxiv.org/abs/1907.02044",
    },
    params: &[
        ParamDoc { name: "steps", default: "100", range: "1 to 100000", help: "Projections per class" },
        ParamDoc {
            name: "targets",
            default: "9",
            range: "1 to 1000",
            help: "Other classes that are tried per sample, the likeliest on the clean image first; all where there are fewer, one where a \
                   class is to be reached",
        },
        ParamDoc {
            name: "alpha_max",
            default: "0.1",
            range: "0 to 1",
            help: "Largest weight of the original's own projection in a step",
        },
        ParamDoc {
            name: "eta",
            default: "1.05",
            range: "1 to 2",
            help: "How far beyond the approximated boundary a step goes",
        },
        ParamDoc {
            name: "beta",
            default: "0.9",
            range: "> 0, less than 1",
            help: "Share of the change that is kept when it was adversarial",
        },
        STOP,
    ],
    presets: &[
        Preset::Quick.values(Norm::Linf, "steps=10,targets=3", "standard with fewer classes and steps"),
        Preset::Quick.values(Norm::L2, "steps=10,targets=3", "as for linf"),
        Preset::Standard.values(Norm::Linf, "steps=100,targets=9", "AutoAttack's settings"),
        Preset::Standard.values(Norm::L2, "steps=100,targets=9", "AutoAttack's settings"),
        Preset::Paper.values(
            Norm::Linf,
            "steps=100,targets=9",
            "the FAB paper's values with AutoAttack's classes; AdverTorch's FABAttack is untargeted",
        ),
        Preset::Paper.values(
            Norm::L2,
            "steps=100,targets=9",
            "the FAB paper's values with AutoAttack's classes; AdverTorch's FABAttack is untargeted",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// Projections onto linearized boundaries.
///
/// With `f = Z_t − Z_y` and `π(z)` the nearest point to z in the box where `f(x_k) + ⟨∇f(x_k), · − x_k⟩ = 0`, and d₁, d₂ the changes from x_k to
/// `π(x_k)` and from the original x to `π(x)`: `x_{k+1} = clip((1 − α)(x_k + η·d₁) + α(x + η·d₂))` with `α = min(‖d₁‖/(‖d₁‖ + ‖d₂‖), α_max)`. A point that
/// is of any wrong class counts, and the next step begins at `x + β(x_{k+1} − x)`. At last the nearest of them is moved towards x in three
/// steps, each to where the margin between two points is 0 if it is linear.
///
/// # Source
/// The paper's algorithm 1 and its final search; the targeted form and its constants are AutoAttack's.
/// # Deviations
/// There are no random restarts. AutoAttack's code has no final search. Where a class is to be reached, f is its margin.
/// # Cost
/// Per sample one forward for the order of the classes; per class and step two forwards and a backward; four forwards at the end.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    steps: u32,
    targets: u32,
    alpha_max: f64,
    eta: f64,
    beta: f64,
    stop: Stop,
}

impl Default for Params {
    fn default() -> Self {
        Self { steps: 100, targets: 9, alpha_max: 0.1, eta: 1.05, beta: 0.9, stop: Stop::Never }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { steps, targets, alpha_max, eta, beta, .. } = params;
    check("steps", &steps, (1..=100_000).contains(&steps), "must be 1 to 100000")?;
    check("targets", &targets, (1..=1000).contains(&targets), "must be 1 to 1000")?;
    check("alpha_max", &alpha_max, (0.0..=1.0).contains(&alpha_max), "must be 0 to 1")?;
    check("eta", &eta, (1.0..=2.0).contains(&eta), "must be 1 to 2")?;
    check("beta", &beta, 0.0 < beta && beta < 1.0, "must be greater than 0 and less than 1")?;
    Ok(Attack::Minimal(Box::new(params)))
}

impl MinimalAttack for Params {
    fn most_passes(&self, scale: &Scale) -> Passes {
        let classes = if scale.is_targeted { 1 } else { u64::from(self.targets).min(scale.classes.saturating_sub(1)) };
        let steps = classes * u64::from(self.steps);
        Passes { forwards: 1 + 2 * steps + 1 + FINAL_STEPS, backwards: steps }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, norm: Norm) -> Result<Tensor, AttackError> {
        let (mut best, mut open) = (Best::new(batch), Open::all(batch));
        let clean = query.logits(batch.ids, batch.pixels)?;
        let classes = match batch.goal.is_targeted() {
            true => None,
            false => Some(likeliest_others(&clean, batch.classes, self.targets.into())), // [N, T]
        };
        let n_classes = classes.as_ref().map_or(1, |classes| classes.size()[1]) as u32;
        for class in 0..n_classes {
            let aims = classes.as_ref().map(|it| it.select(1, class.into()).index_select(0, &open.row_numbers()));
            self.approach(query, &mut best, &mut open, (batch, norm), aims, (class, n_classes))?;
            if open.ids.is_empty() {
                return best.finish(query, batch);
            }
        }
        let clean = margin(&clean, batch.classes, batch.goal).index_select(0, &open.row_numbers());
        search(query, &mut best, &open, (batch, norm), clean)?;
        best.finish(query, batch)
    }
}

impl Params {
    /// All steps towards the classes `aims`, one per open sample, or towards the class to be reached.
    fn approach(
        &self,
        query: &mut Query<'_>,
        best: &mut Best,
        open: &mut Open,
        (batch, norm): (&Batch<'_>, Norm),
        mut aims: Option<Tensor>,
        (class, n_classes): (u32, u32),
    ) -> Result<(), AttackError> {
        let mut pixels = open.original.shallow_clone();
        for step in 0..self.steps {
            query.step(class * self.steps + step, n_classes * self.steps)?;
            let f = |logits: &Tensor| match &aims {
                Some(aims) => difference(logits, &open.classes, aims),
                None => margin(logits, &open.classes, batch.goal),
            };
            let at = query.value_and_grad(&open.ids, &pixels, &f)?;
            pixels = self.next(norm, &open.original, &pixels, &at.gradient, &at.loss);
            let logits = query.logits(&open.ids, &pixels)?;
            let is_adversarial =
                offer(query, best, open, (batch, norm), &pixels, &margin(&logits, &open.classes, batch.goal))?;
            let back = &open.original + (&pixels - &open.original) * self.beta;
            pixels = back.where_self(&rows::broadcast(&is_adversarial, &pixels), &pixels);
            if self.stop == Stop::First
                && let Some(kept) = best.close_broken(query, open)?
            {
                if open.ids.is_empty() {
                    return Ok(());
                }
                pixels = pixels.index_select(0, &kept);
                aims = aims.map(|aims| aims.index_select(0, &kept));
            }
        }
        Ok(())
    }

    /// One step, from the value of f and its gradient.
    fn next(&self, norm: Norm, original: &Tensor, pixels: &Tensor, normal: &Tensor, value: &Tensor) -> Tensor {
        let missing = -value.to_kind(Kind::Double);
        let moved = (pixels - original).to_kind(Kind::Double) * normal;
        let from_original = &missing + rows::sum(&moved);
        let changes = towards_boundary(
            norm,
            &Tensor::cat(&[pixels, original], 0),
            &Tensor::cat(&[normal, normal], 0),
            &Tensor::cat(&[missing, from_original], 0),
        );
        let n = pixels.size()[0];
        let (own, originals) = (changes.narrow(0, 0, n), changes.narrow(0, n, n));
        let [a, b] = [&own, &originals].map(|change| rows::size(norm, change).clamp_min(1e-8));
        let alpha = (&a / (&a + b)).clamp_max(self.alpha_max).to_kind(Kind::Float);
        let alpha = rows::broadcast(&alpha, pixels);
        let next = (pixels + own * self.eta) * (-&alpha + 1.0) + (original + originals * self.eta) * alpha;
        next.clamp(0.0, 1.0)
    }
}

/// Offers the open samples' pixels where they are adversarial, the nearest first; returns where, bool `[n]`. What lies within the distance that
/// counts meets the goal.
fn offer(
    query: &mut Query<'_>,
    best: &mut Best,
    open: &Open,
    (batch, norm): (&Batch<'_>, Norm),
    pixels: &Tensor,
    margin: &Tensor,
) -> Result<Tensor, AttackError> {
    let is_adversarial = margin.gt(0.0);
    let distance = rows::size(norm, &(pixels - &open.original));
    let is_met = is_adversarial.logical_and(&distance.le(batch.within.unwrap_or(f64::INFINITY)));
    let score = (-distance).to_kind(Kind::Float).masked_fill(&is_adversarial.logical_not(), f64::NEG_INFINITY);
    let forwards = open.ids.first().map_or(0, |&id| query.forwards(id));
    let forwards = open.classes.full_like(forwards as i64);
    best.take(query, open, &Offer { pixels, score: &score, is_met: &is_met, forwards: &forwards })?;
    Ok(is_adversarial)
}

/// Moves what was found towards the originals, whose margins are `low`; where nothing was found nothing changes.
fn search(
    query: &mut Query<'_>,
    best: &mut Best,
    open: &Open,
    (batch, norm): (&Batch<'_>, Norm),
    mut low: Tensor,
) -> Result<(), AttackError> {
    let mut high_pixels = best.pixels_of(open);
    let mut low_pixels = open.original.shallow_clone();
    let mut high = margin(&query.logits(&open.ids, &high_pixels)?, &open.classes, batch.goal);
    for _ in 0..FINAL_STEPS {
        query.check()?;
        let share = (&low / (&low - &high)).nan_to_num(1.0, 1.0, 1.0).clamp(0.0, 1.0);
        let share = &share + (-&share + 1.0) * BEYOND;
        let pixels = &low_pixels + (&high_pixels - &low_pixels) * rows::broadcast(&share, &low_pixels);
        let value = margin(&query.logits(&open.ids, &pixels)?, &open.classes, batch.goal);
        let is_adversarial = offer(query, best, open, (batch, norm), &pixels, &value)?;
        let rows = rows::broadcast(&is_adversarial, &pixels);
        high_pixels = pixels.where_self(&rows, &high_pixels);
        high = value.where_self(&is_adversarial, &high);
        low_pixels = low_pixels.where_self(&rows, &pixels);
        low = low.where_self(&is_adversarial, &value);
    }
    Ok(())
}

/// Steps of the paper's final search.
const FINAL_STEPS: u64 = 3;

/// How much of the way from there to the adversarial point it stays beyond: on the boundary itself rounding decides.
const BEYOND: f64 = 0.01;

#[cfg(test)]
mod tests {
    use crate::attack::Preset;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("steps=0", "fab-t.steps = 0: must be 1 to 100000"),
            ("targets=0", "fab-t.targets = 0: must be 1 to 1000"),
            ("alpha_max=2", "fab-t.alpha_max = 2: must be 0 to 1"),
            ("eta=0.5", "fab-t.eta = 0.5: must be 1 to 2"),
            ("beta=1", "fab-t.beta = 1: must be greater than 0 and less than 1"),
        ] {
            let (id, table) = parse_spec_string(&format!("fab-t:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
