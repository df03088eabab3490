//! A toy: steps along the sign of the gradient. It is part of the catalog with the feature `toy` only, which tests that an attack is one
//! file and its lines in `mod.rs`.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, BudgetAttack, Paper, ParamDoc, Passes, Preset, Scale, Steps, read_params,
};
use crate::error::{AttackError, ParamError};
use crate::loss::cross_entropy;
use crate::query::Query;
use crate::threat::{Ball, Norm};
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "toy",
    title: "Toy steps",
    what: "Takes a few steps up the gradient, each a share of the budget.",
    kind: AttackKind::Iterated(Steps { count: "steps", length: None, knows_first_success: false }),
    access: Access::Gradients,
    norms: &[Norm::Linf],
    untargeted: true,
    targeted: true,
    paper: Paper { authors: "Nobody", title: "A toy", venue: "none", year: 2000, url: "https://example.org" },
    params: &[ParamDoc { name: "steps", default: "4", range: "1 to 1000", help: "Gradient steps" }],
    presets: &[
        Preset::Quick.values(Norm::Linf, "eps=8/255", "a guess"),
        Preset::Standard.values(Norm::Linf, "eps=8/255", "a guess"),
        Preset::Paper.values(Norm::Linf, "eps=0.3", "a guess"),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    steps: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { steps: 4 }
    }
}

impl BudgetAttack for Params {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: self.steps.into(), backwards: self.steps.into() }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError> {
        let mut pixels = batch.pixels.copy();
        for step in 0..self.steps {
            query.step(step, self.steps)?;
            let loss = |logits: &Tensor| cross_entropy(logits, batch.classes, batch.goal);
            let at = query.value_and_grad(batch.ids, &pixels, &loss)?;
            let length = ball.epsilon().value() / f64::from(self.steps);
            pixels = ball.project(batch.pixels, &(pixels + ball.direction(at.gradient) * length));
        }
        Ok(pixels)
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    match params.steps {
        1..=1000 => Ok(Attack::Budget(Box::new(params))),
        steps => Err(ParamError::bad(SPEC.id, "steps", steps.to_string(), "must be 1 to 1000")),
    }
}
