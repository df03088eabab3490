//! Targeted APGD: an ascent towards each of the likeliest other classes.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::ascent::{Ascent, Loss, Turn};
use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, BudgetAttack, ParamDoc, Passes, Preset, Scale, Steps, read_params,
};
use crate::best::{Best, Open, STOP, Stop};
use crate::error::{AttackError, ParamError};
use crate::loss::likeliest_others;
use crate::query::Query;
use crate::threat::{Ball, Norm};
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "apgd-t",
    title: "Targeted Auto-PGD",
    what: "Auto-PGD towards each of the likeliest other classes in turn, by the targeted difference of logits ratio. The strongest single \
           attack of AutoAttack on most hardened models, at as many times the cost as there are classes tried; any wrong class counts.",
    // When a sample first meets its goal says which class gave way, not whether the steps are enough.
    kind: AttackKind::Iterated(Steps { count: "steps", length: None, knows_first_success: false }),
    access: Access::Gradients,
    norms: &[Norm::Linf, Norm::L2],
    untargeted: true,
    // Towards one given class it is apgd with loss=dlr.
    targeted: false,
    paper: super::apgd::PAPER,
    params: &[
        ParamDoc { name: "steps", default: "100", range: "1 to 100000", help: "Gradient steps per class and restart" },
        ParamDoc {
            name: "targets",
            default: "9",
            range: "1 to 1000",
            help: "Other classes that are tried per sample, the likeliest on the clean image first; all where there are fewer",
        },
        ParamDoc { name: "restarts", default: "1", range: "1 to 10000", help: "Random starts per class" },
        STOP,
    ],
    presets: &[
        Preset::Quick.values(Norm::Linf, "eps=8/255,steps=10,targets=3", "standard with fewer classes and steps"),
        Preset::Quick.values(Norm::L2, "eps=0.5,steps=10,targets=3", "as for linf"),
        Preset::Standard.values(
            Norm::Linf,
            "eps=8/255,steps=100,targets=9",
            "AutoAttack's settings, RobustBench's budget",
        ),
        Preset::Standard.values(Norm::L2, "eps=0.5,steps=100,targets=9", "AutoAttack's settings, RobustBench's budget"),
        Preset::Paper.values(
            Norm::Linf,
            "eps=8/255,steps=100,targets=9",
            "the APGD paper's values for CIFAR-10; AdverTorch has no such attack",
        ),
        Preset::Paper.values(
            Norm::L2,
            "eps=0.5,steps=100,targets=9",
            "the APGD paper's values for CIFAR-10; AdverTorch has no such attack",
        ),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// An [`Ascent`] per class and restart; the iterate with the largest margin is returned, whichever class it was made for.
///
/// # Source
/// The paper's section 4.1; AutoAttack's order of classes.
/// # Deviations
/// The ratio needs 4 classes. With fewer the difference of the two logits is climbed as it is.
/// # Cost
/// Per sample one forward for the order of the classes; per class and restart one forward more than there are steps, and one backward per step.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    steps: u32,
    targets: u32,
    restarts: u32,
    stop: Stop,
}

impl Default for Params {
    fn default() -> Self {
        Self { steps: 100, targets: 9, restarts: 1, stop: Stop::Never }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { steps, targets, restarts, .. } = params;
    check("steps", &steps, (1..=100_000).contains(&steps), "must be 1 to 100000")?;
    check("targets", &targets, (1..=1000).contains(&targets), "must be 1 to 1000")?;
    check("restarts", &restarts, (1..=10_000).contains(&restarts), "must be 1 to 10000")?;
    Ok(Attack::Budget(Box::new(params)))
}

impl BudgetAttack for Params {
    fn most_passes(&self, scale: &Scale) -> Passes {
        let classes = u64::from(self.targets).min(scale.classes.saturating_sub(1));
        let ascents = classes * u64::from(self.restarts);
        let steps = u64::from(self.steps);
        Passes { forwards: 1 + ascents * (steps + 1), backwards: ascents * steps }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError> {
        let ascent = Ascent { steps: self.steps, loss: Loss::Dlr, stop: self.stop, goal: batch.goal, ball };
        let (mut best, mut open) = (Best::new(batch), Open::all(batch));
        let clean = query.logits(batch.ids, batch.pixels)?;
        let classes = likeliest_others(&clean, batch.classes, self.targets.into()); // [N, T]
        let of = classes.size()[1] as u32 * self.restarts;
        for number in 0..of {
            let aims = classes.select(1, i64::from(number / self.restarts)).index_select(0, &open.row_numbers());
            ascent.run(query, &mut best, &mut open, Some(aims), Turn { number, of })?;
            if open.ids.is_empty() {
                break;
            }
        }
        best.finish(query, batch)
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::Preset;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn every_bad_value_is_named_also_of_plain_apgd() {
        for (text, message) in [
            ("apgd-t:steps=0", "apgd-t.steps = 0: must be 1 to 100000"),
            ("apgd-t:targets=0", "apgd-t.targets = 0: must be 1 to 1000"),
            ("apgd-t:restarts=0", "apgd-t.restarts = 0: must be 1 to 10000"),
            ("apgd-t:target=3", "apgd-t.goal = targeted (3): it is untargeted only"),
            ("apgd:steps=0", "apgd.steps = 0: must be 1 to 100000"),
            ("apgd:restarts=0", "apgd.restarts = 0: must be 1 to 10000"),
            ("apgd:loss=mse", "apgd.loss = mse: unknown variant `mse`, expected one of `ce`, `dlr`, `margin`"),
        ] {
            let (id, table) = parse_spec_string(text).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
