//! FGSM: one step as long as the whole budget.

use serde::Deserialize;
use tch::Tensor;

use crate::attack::{Attack, AttackKind, AttackSpec, Batch, BudgetAttack, Paper, Passes, Preset, Scale, read_params};
use crate::error::{AttackError, ParamError};
use crate::loss::{cross_entropy, margin};
use crate::query::Query;
use crate::threat::{Ball, Norm};
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "fgsm",
    title: "Fast gradient sign method",
    what: "Takes one step as long as the whole budget, up the gradient of the loss. The cheapest attack: a first look, and a lower bound \
           that stronger attacks should beat.",
    kind: AttackKind::OneStep,
    access: Access::Gradients,
    norms: &[Norm::Linf, Norm::L2],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Goodfellow, Shlens, Szegedy",
        title: "Explaining and Harnessing Adversarial Examples",
        venue: "ICLR",
        year: 2015,
        url: "https://arxiv.org/abs/1412.6572",
    },
    params: &[],
    presets: &[
        Preset::Quick.values(Norm::Linf, "eps=8/255", "as standard"),
        Preset::Quick.values(Norm::L2, "eps=0.5", "as standard"),
        Preset::Standard.values(Norm::Linf, "eps=8/255", "RobustBench, CIFAR-10"),
        Preset::Standard.values(Norm::L2, "eps=0.5", "RobustBench, CIFAR-10"),
        Preset::Paper.values(Norm::Linf, "eps=0.3", "AdverTorch GradientSignAttack"),
        Preset::Paper.values(Norm::L2, "eps=0.3", "AdverTorch GradientAttack"),
    ],
    defaults: toml::Table::new,
    build,
};

/// One step of size ε in the steepest direction.
///
/// x' = clip( x + ε · sign ∇_x L(f(x), y), 0, 1 ), L the cross-entropy; for L2 the gradient divided by its length in place of
/// its sign. Targeted: −L of the target. Where the gradient is zero or not finite, L is the margin; where that is flat too,
/// the image stays as it is.
///
/// # Source
/// The paper's section 4. L2: the "fast gradient method" of later work.
/// # Cost
/// One forward and one backward per sample, two where the cross-entropy is flat.
#[derive(Debug)]
struct Fgsm;

impl BudgetAttack for Fgsm {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: 1, backwards: 2 }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError> {
        query.step(0, 1)?;
        let loss = |logits: &Tensor| cross_entropy(logits, batch.classes, batch.goal);
        let margin = |logits: &Tensor| margin(logits, batch.classes, batch.goal);
        let at = query.climb(batch.ids, batch.pixels, &loss, &margin)?;
        let stepped = batch.pixels + ball.direction(at.gradient) * ball.epsilon().value();
        Ok(ball.project(batch.pixels, &stepped))
    }
}

/// FGSM has nothing to choose but its threat.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let Params {} = read_params(SPEC.id, table)?;
    Ok(Attack::Budget(Box::new(Fgsm)))
}
