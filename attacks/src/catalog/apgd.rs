//! APGD: gradient steps whose size finds itself.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::ascent::{Ascent, Loss, Turn};
use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, BudgetAttack, Paper, ParamDoc, Passes, Preset, Scale, Steps, read_params,
};
use crate::best::{Best, Open, STOP, Stop};
use crate::error::{AttackError, ParamError};
use crate::query::Query;
use crate::threat::{Ball, Norm};
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "apgd",
    title: "Auto-PGD",
    what: "Gradient steps with momentum whose size is halved where it no longer helps: no step size is to be chosen. The first attack of \
           AutoAttack with loss=ce; loss=dlr finds what a saturated cross-entropy hides.",
    kind: AttackKind::Iterated(Steps { count: "steps", length: None, knows_first_success: true }),
    access: Access::Gradients,
    norms: &[Norm::Linf, Norm::L2],
    untargeted: true,
    targeted: true,
    paper: PAPER,
    params: &[
        ParamDoc { name: "steps", default: "100", range: "1 to 100000", help: "Gradient steps per restart" },
        ParamDoc {
            name: "restarts",
            default: "1",
            range: "1 to 10000",
            help: "Random starts; a sample is broken if any of them breaks it",
        },
        ParamDoc {
            name: "loss",
            default: "ce",
            range: "ce, dlr, margin",
            help: "What to climb: cross-entropy (the logit margin where that is flat), the difference of logits ratio, which needs 3 classes \
                   (4 for a target) and is the margin where there are fewer, or the logit margin",
        },
        STOP,
    ],
    presets: &[
        Preset::Quick.values(Norm::Linf, "eps=8/255,steps=10", "standard with fewer steps"),
        Preset::Quick.values(Norm::L2, "eps=0.5,steps=10", "as for linf"),
        Preset::Standard.values(Norm::Linf, "eps=8/255,steps=100", "AutoAttack's settings, RobustBench's budget"),
        Preset::Standard.values(Norm::L2, "eps=0.5,steps=100", "AutoAttack's settings, RobustBench's budget"),
        Preset::Paper.values(
            Norm::Linf,
            "eps=8/255,steps=100,restarts=5",
            "the APGD paper's values for CIFAR-10; AdverTorch has no such attack",
        ),
        Preset::Paper.values(
            Norm::L2,
            "eps=0.5,steps=100,restarts=5",
            "the APGD paper's values for CIFAR-10; AdverTorch has no such attack",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

pub(super) const PAPER: Paper = Paper {
    authors: "Croce, Hein",
    title: "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
    venue: "ICML",
    year: 2020,
    url: "https://arxiv.org/abs/2003.01690",
};

/// An [`Ascent`] per restart; the iterate with the largest margin is returned.
///
/// # Source
/// The paper's algorithm 1.
/// # Cost
/// Per restart and sample: one forward more than there are steps, and one backward per step, two where the cross-entropy is flat.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    steps: u32,
    restarts: u32,
    loss: Loss,
    stop: Stop,
}

impl Default for Params {
    fn default() -> Self {
        Self { steps: 100, restarts: 1, loss: Loss::Ce, stop: Stop::Never }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { steps, restarts, .. } = params;
    check("steps", &steps, (1..=100_000).contains(&steps), "must be 1 to 100000")?;
    check("restarts", &restarts, (1..=10_000).contains(&restarts), "must be 1 to 10000")?;
    Ok(Attack::Budget(Box::new(params)))
}

impl BudgetAttack for Params {
    fn most_passes(&self, _: &Scale) -> Passes {
        let (steps, restarts) = (u64::from(self.steps), u64::from(self.restarts));
        let flat = if self.loss == Loss::Ce { 2 } else { 1 };
        Passes { forwards: restarts * (steps + 1), backwards: flat * restarts * steps }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError> {
        let ascent = Ascent { steps: self.steps, loss: self.loss, stop: self.stop, goal: batch.goal, ball };
        let (mut best, mut open) = (Best::new(batch), Open::all(batch));
        for number in 0..self.restarts {
            ascent.run(query, &mut best, &mut open, None, Turn { number, of: self.restarts })?;
            if open.ids.is_empty() {
                break;
            }
        }
        best.finish(query, batch)
    }
}
