//! PGD: gradient steps, each projected back into the ball.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, BudgetAttack, Paper, ParamDoc, Passes, Preset, Scale, Steps, read_params,
};
use crate::best::{Best, Open, STOP, Stop};
use crate::error::{AttackError, ParamError};
use crate::loss::{cross_entropy, margin};
use crate::query::Query;
use crate::rows;
use crate::threat::{Ball, Epsilon, Goal, Norm};
use crate::victim::Access;

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "pgd",
    title: "Projected gradient descent",
    what: "Takes many small gradient steps from a random start and projects each back into the budget. The usual measure of robustness \
           within a ball; more steps, restarts and the margin loss make it stronger.",
    kind: AttackKind::Iterated(Steps { count: "steps", length: Some("step"), knows_first_success: true }),
    access: Access::Gradients,
    norms: &[Norm::Linf, Norm::L2],
    untargeted: true,
    targeted: true,
    paper: Paper {
        authors: "Madry, Makelov, Schmidt, Tsipras, Vladu",
        title: "Towards Deep Learning Models Resistant to Adversarial Attacks",
        venue: "ICLR",
        year: 2018,
        url: "https://arxiv.org/abs/1706.06083",
    },
    params: &[
        ParamDoc { name: "steps", default: "40", range: "1 to 100000", help: "Gradient steps per restart" },
        ParamDoc {
            name: "step",
            default: "auto",
            range: "auto, a share of eps such as eps/4, or > 0: a number or a fraction such as 2/255",
            help: "Step size in the norm; auto is 2.5 eps/steps, which can cross the ball whatever eps is",
        },
        ParamDoc {
            name: "random_start",
            default: "true",
            range: "true, false",
            help: "Whether to start at a random point of the ball instead of the original",
        },
        ParamDoc {
            name: "restarts",
            default: "1",
            range: "1 to 10000",
            help: "Random starts; a sample is broken if any of them breaks it",
        },
        ParamDoc {
            name: "loss",
            default: "ce",
            range: "ce, margin, kl",
            help: "What to climb: cross-entropy, or how far the answer is from the clean one (kl, as TRADES trains), the logit margin at each step \
                   where these are flat; or the logit margin throughout",
        },
        STOP,
        ParamDoc {
            name: "iterate",
            default: "best",
            range: "best, last",
            help: "Return the iterate with the largest margin, or the last one as most libraries do",
        },
    ],
    presets: &[
        Preset::Quick.values(Norm::Linf, "eps=8/255,step=eps/4,steps=10", "standard with fewer steps"),
        Preset::Quick.values(Norm::L2, "eps=0.5,steps=10", "as for linf"),
        Preset::Standard.values(
            Norm::Linf,
            "eps=8/255,step=eps/4,steps=40",
            "RobustBench's CIFAR-10 budget, the paper's CIFAR-10 step of 2/255, which grows with the budget",
        ),
        Preset::Standard.values(Norm::L2, "eps=0.5,steps=40", "RobustBench's CIFAR-10 budget"),
        Preset::Paper.values(
            Norm::Linf,
            "eps=0.3,step=0.01,steps=40,iterate=last",
            "AdverTorch LinfPGDAttack; also the paper's MNIST values",
        ),
        Preset::Paper.values(Norm::L2, "eps=0.3,step=0.01,steps=40,iterate=last", "AdverTorch L2PGDAttack"),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// Repeated gradient steps inside the ball.
///
/// `x_{k+1} = clip( x_0 + Π_ε( x_k + α · d(∇_x L(f(x_k), y)) − x_0 ), 0, 1 )`, with d = sign and Π a clamp for L∞, and both
/// divisions by the length for L2. Starts at a random point of the ball or at the original. L is the cross-entropy or the
/// margin, turned round for a target, or the divergence KL(f(x_0) ‖ f(x_k)), which knows no target and is the cross-entropy there. Where the gradient of the cross-entropy is zero or not finite (a model that is sure of
/// itself, or the start of a divergence) that step climbs the margin for that sample; where it is flat too the iterate stays.
///
/// # Source
/// The paper's section 2.1. Without a random start, one restart and `iterate=last` it takes the steps of torchattacks' `PGD`.
/// # Deviations
/// By default the iterate with the largest margin is returned rather than the last; the start counts as an iterate.
/// L2 starts are uniform in the ball.
/// # Cost
/// Per restart and sample: one forward and one backward per step, two where the cross-entropy or the divergence is flat; one forward more
/// where the last iterate is compared. Per sample one forward more for the clean answer of a divergence.
#[derive(Debug)]
struct Pgd {
    params: Params,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    steps: u32,
    step: StepSize,
    random_start: bool,
    restarts: u32,
    loss: Loss,
    stop: Stop,
    iterate: Iterate,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Auto {
    Auto,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "expected auto, a share such as eps/4, a number or a fraction such as 2/255, greater than 0"
)]
enum StepSize {
    Auto(Auto),
    Share(Share),
    Fixed(Epsilon),
}

impl StepSize {
    /// In units of the norm.
    fn value(self, eps: f64, steps: u32) -> f64 {
        match self {
            Self::Auto(Auto::Auto) => 2.5 * eps / f64::from(steps),
            Self::Share(Share(divisor)) => eps / divisor,
            Self::Fixed(step) => step.value(),
        }
    }
}

/// `eps/4`: a fourth of ε.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Share(f64);

impl TryFrom<String> for Share {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let divisor = text.strip_prefix("eps").map(str::trim_start).and_then(|rest| rest.strip_prefix('/'));
        let divisor: Option<f64> = divisor.and_then(|number| number.trim().parse().ok());
        divisor.filter(|it| (1e-3..=1e6).contains(it)).map(Self).ok_or("expected a share such as eps/4")
    }
}

impl From<Share> for String {
    fn from(Share(divisor): Share) -> Self {
        format!("eps/{divisor}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Loss {
    Ce,
    Margin,
    Kl,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Iterate {
    Best,
    Last,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            steps: 40,
            step: StepSize::Auto(Auto::Auto),
            random_start: true,
            restarts: 1,
            loss: Loss::Ce,
            stop: Stop::Never,
            iterate: Iterate::Best,
        }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: &dyn Display, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { steps, restarts, random_start, stop, iterate, .. } = params;
    check("steps", &steps, (1..=100_000).contains(&steps), "must be 1 to 100000")?;
    check("restarts", &restarts, (1..=10_000).contains(&restarts), "must be 1 to 10000")?;
    let why = "needs random_start = true, all restarts would be the same";
    check("restarts", &restarts, restarts == 1 || random_start, why)?;
    let is_whole = stop == Stop::Never || iterate == Iterate::Best;
    check("stop", &"first", is_whole, "needs iterate = best, the last iterate needs all steps")?;
    Ok(Attack::Budget(Box::new(Pgd { params })))
}

impl BudgetAttack for Pgd {
    fn most_passes(&self, _: &Scale) -> Passes {
        let Params { steps, restarts, iterate, .. } = self.params;
        let backwards = u64::from(restarts) * u64::from(steps);
        let compared = if iterate == Iterate::Last && restarts == 1 { 0 } else { u64::from(restarts) };
        let flat = if self.params.loss == Loss::Margin { 1 } else { 2 };
        let clean = u64::from(self.params.loss == Loss::Kl);
        Passes { forwards: backwards + compared + clean, backwards: flat * backwards }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, ball: Ball) -> Result<Tensor, AttackError> {
        let Params { steps, restarts, stop, iterate, .. } = self.params;
        let mut best = Best::new(batch);
        let mut open = Open::all(batch);
        let clean = match (self.params.loss, batch.goal) {
            (Loss::Kl, Goal::Untargeted) => {
                Some(query.logits(batch.ids, batch.pixels)?.log_softmax(-1, Kind::Float)) // [N, K]
            }
            _ => None,
        };
        let asked = u64::from(clean.is_some());
        for restart in 0..restarts {
            query.begin_restart(u64::from(restart));
            let mut pixels = if self.params.random_start {
                ball.random_start(query, &open.ids, &open.original)
            } else {
                open.original.shallow_clone()
            };
            for step in 0..steps {
                query.step(restart * steps + step, restarts * steps)?;
                let margin = |logits: &Tensor| margin(logits, &open.classes, batch.goal);
                let clean = clean.as_ref().map(|clean| clean.index_select(0, &open.row_numbers()));
                let loss = |logits: &Tensor| match &clean {
                    Some(clean) => divergence(clean, logits),
                    None => cross_entropy(logits, &open.classes, batch.goal),
                };
                let mut at = match self.params.loss {
                    Loss::Ce | Loss::Kl => query.climb(&open.ids, &pixels, &loss, &margin)?,
                    Loss::Margin => query.value_and_grad(&open.ids, &pixels, &margin)?,
                };
                if iterate == Iterate::Best {
                    let forwards = asked + u64::from(restart * (steps + 1) + step) + 1;
                    best.offer(query, &open, &pixels, &at.logits, forwards)?;
                    if stop == Stop::First
                        && let Some(kept) = best.close_broken(query, &mut open)?
                    {
                        if open.ids.is_empty() {
                            return best.finish(query, batch);
                        }
                        pixels = pixels.index_select(0, &kept);
                        at.gradient = at.gradient.index_select(0, &kept);
                    }
                }
                pixels = self.next(ball, &open.original, &pixels, at.gradient);
            }
            if iterate == Iterate::Last && restarts == 1 {
                return Ok(pixels);
            }
            let logits = query.logits(&open.ids, &pixels)?;
            best.offer(query, &open, &pixels, &logits, asked + u64::from((restart + 1) * (steps + 1)))?;
            if stop == Stop::First {
                best.close_broken(query, &mut open)?;
                if open.ids.is_empty() {
                    break;
                }
            }
        }
        best.finish(query, batch)
    }
}

impl Pgd {
    /// One projected step. The change is measured from the original before it is projected, as in the formula.
    fn next(&self, ball: Ball, original: &Tensor, pixels: &Tensor, gradient: Tensor) -> Tensor {
        let step = self.params.step.value(ball.epsilon().value(), self.params.steps);
        let mut moved = ball.direction(gradient);
        let _ = moved.g_mul_scalar_(step);
        let _ = moved.g_add_(pixels);
        let _ = moved.g_sub_(original);
        let _ = moved.g_add_(original);
        ball.project(original, &moved)
    }
}

/// KL(p ‖ q) of the softmax of `logits` `[N, K]` from the clean answer, log p; `[N]`.
fn divergence(clean: &Tensor, logits: &Tensor) -> Tensor {
    rows::sum(&(clean.exp() * (clean - logits.log_softmax(-1, Kind::Float))))
}

#[cfg(test)]
mod tests {
    use crate::attack::Preset;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("steps=0", "pgd.steps = 0: must be 1 to 100000"),
            ("steps=many", "pgd.steps = many: invalid type: string \"many\", expected u32"),
            (
                "step=0",
                "pgd.step = 0: expected auto, a share such as eps/4, a number or a fraction such as 2/255, greater than 0",
            ),
            ("random_start=yes", "pgd.random_start = yes: invalid type: string \"yes\", expected a boolean"),
            ("restarts=0", "pgd.restarts = 0: must be 1 to 10000"),
            (
                "restarts=2,random_start=false",
                "pgd.restarts = 2: needs random_start = true, all restarts would be the same",
            ),
            ("loss=mse", "pgd.loss = mse: unknown variant `mse`, expected one of `ce`, `margin`, `kl`"),
            ("stop=first,iterate=last", "pgd.stop = first: needs iterate = best, the last iterate needs all steps"),
        ] {
            let (id, table) = parse_spec_string(&format!("pgd:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
