//! The only judge: picks the samples, runs the attack, keeps its result inside the threat and measures it again.

mod input;
mod measure;

use std::ops::ControlFlow;
use std::time::Instant;

use tch::Tensor;

use crate::attack::{Attack, Batch};
use crate::config::AttackConfig;
use crate::error::AttackError;
use crate::outcome::{Cost, Outcome, SampleOutcome, Verdict, is_alone, mean};
use crate::query::{JUDGEMENTS, Meter, Progress, Query, judged_logits, padding};
use crate::rows;
use crate::threat::{Ball, Epsilon, Norm};
use crate::victim::{Victim, VictimError};
use measure::Distances;

#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// f32 `[N, C, H, W]` in `[0, 1]`, on the victim's device.
    pub pixels: &'a Tensor,
    /// True classes, i64 `[N]`, on any device.
    pub labels: &'a Tensor,
    /// N distinct numbers; random numbers are drawn by them.
    pub ids: &'a [u32],
}

/// How to run an attack.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where all random numbers come from.
    pub seed: u64,
    /// Round the result to multiples of 1/255, inside the ball, before it is judged; needs originals of that kind.
    pub eight_bit: bool,
}

/// Attacks all samples that the victim classifies correctly (and that are not of the target class already).
///
/// A budget attack's result is projected to ball ∩ `[0, 1]`, a minimal attack's to `[0, 1]`; success is what the victim says
/// to that. Where a minimal attack fails, or goes farther than a given epsilon, the original bits are returned. `progress`
/// is called at each step and stops the run by `Break`. The whole of `samples` is one batch; results do not depend on how
/// samples are cut into batches.
///
/// # Errors
/// Input that is no batch of images with labels, a victim that fails, pixels of the attack that are not finite, cancellation.
pub fn execute(
    victim: &dyn Victim,
    config: &AttackConfig,
    samples: &Samples<'_>,
    options: Options,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Outcome, AttackError> {
    let _guard = tch::no_grad_guard();
    let started = Instant::now();
    let labels = input::check(victim, samples, options)?;
    let mut cost = Cost::default();

    let clean_logits = judge(victim, samples.pixels, &mut cost)?;
    let mut outcomes: Vec<SampleOutcome> = Vec::with_capacity(labels.len());
    for ((&id, &label), logits) in samples.ids.iter().zip(&labels).zip(&clean_logits) {
        let target = input::target(config.goal, &mean(logits), label, options.seed, id)?;
        let verdict = Verdict::of(logits, label);
        let attacked = verdict.prediction == label && target != Some(label);
        outcomes.push(untouched(id, label, target, attacked, verdict));
    }

    let attacked: Vec<usize> = (0..outcomes.len()).filter(|&i| outcomes[i].attacked).collect();
    let mut adversarial = samples.pixels.copy();
    if !attacked.is_empty() {
        let device = samples.pixels.device();
        let attacked_rows: Vec<i64> = attacked.iter().map(|&i| i as i64).collect();
        let attacked_rows = rows::upload(&attacked_rows, device);
        let original = samples.pixels.index_select(0, &attacked_rows);
        let classes: Vec<i64> = attacked.iter().map(|&i| outcomes[i].target.unwrap_or(labels[i])).collect();
        let classes = rows::upload(&classes, device);
        let ids: Vec<u32> = attacked.iter().map(|&i| samples.ids[i]).collect();
        // The judge's own measure may round up.
        let within = config.epsilon.filter(|_| matches!(config.attack, Attack::Minimal(_))).map(Epsilon::value);
        let batch = Batch { pixels: &original, classes: &classes, ids: &ids, goal: config.goal, within };

        let attack_started = Instant::now();
        let run = run(victim, config, &batch, options.seed, progress)?;
        cost.attack_seconds = attack_started.elapsed().as_secs_f64();
        let result = settle(config, &original, &run.pixels, options);
        let overshoot = measure::overshoot(config, &original, &run.pixels)?;
        cost.padding += run.padding;

        let logits = judge(victim, &result, &mut cost)?;
        let distances = measure::distances(&original, &result)?;
        let mut is_kept = vec![true; attacked.len()];
        for (k, &i) in attacked.iter().enumerate() {
            let outcome = &mut outcomes[i];
            let verdict = Verdict::of(&logits[k], outcome.label);
            outcome.success = match outcome.target {
                Some(target) => is_alone(&mean(&logits[k]), target),
                None => verdict.prediction != outcome.label,
            } && is_near_enough(config, &distances[k]);
            outcome.overshoot = overshoot[k];
            record_cost(outcome, run.meters[k], &mut cost);
            is_kept[k] = outcome.success || matches!(config.attack, Attack::Budget(_));
            if is_kept[k] {
                outcome.adversarial = verdict;
                Distances { l0: outcome.l0, l2: outcome.l2, linf: outcome.linf } = distances[k];
            }
        }
        // Failures of minimal attacks keep the original bits.
        let is_kept = rows::upload(&is_kept, device).reshape([-1, 1, 1, 1]);
        let _ = adversarial.index_copy_(0, &attacked_rows, &result.where_self(&is_kept, &original));
    }
    cost.seconds = started.elapsed().as_secs_f64();
    Ok(Outcome { samples: outcomes, adversarial, cost })
}

/// What an attack makes of all `samples`, inside the threat, to train on: also of those that the victim gets wrong, and unjudged.
///
/// # Errors
/// As [`execute`]; an attack that needs a target.
pub fn perturb(
    victim: &dyn Victim,
    config: &AttackConfig,
    samples: &Samples<'_>,
    seed: u64,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Tensor, AttackError> {
    let _guard = tch::no_grad_guard();
    let options = Options { seed, eight_bit: false };
    input::check(victim, samples, options)?;
    if config.goal.is_targeted() {
        return Err(AttackError::InvalidInput(format!("{} has a target; training leaves classes", config.spec.id)));
    }
    let Samples { pixels, labels: classes, ids } = *samples;
    let run = run(victim, config, &Batch { pixels, classes, ids, goal: config.goal, within: None }, seed, progress)?;
    Ok(settle(config, pixels, &run.pixels, options))
}

struct Run {
    pixels: Tensor,
    meters: Vec<Meter>,
    padding: u64,
}

fn run(
    victim: &dyn Victim,
    config: &AttackConfig,
    batch: &Batch<'_>,
    seed: u64,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Run, AttackError> {
    let draws = config.eot.unwrap_or(if victim.is_random() { JUDGEMENTS } else { 1 });
    let mut query = Query::new(victim, (config.spec.access, draws), config.spec.id, seed, batch.ids, progress);
    let pixels = match &config.attack {
        Attack::Budget(attack) => attack.run(&mut query, batch, ball(config)?)?,
        Attack::Minimal(attack) => attack.run(&mut query, batch, config.norm)?,
    };
    let (meters, padding, last_step) = query.finish()?;
    if pixels.size() != batch.pixels.size() || pixels.kind() != batch.pixels.kind() {
        let (found, expected) = (pixels.size(), batch.pixels.size());
        let message = format!("{} returned {:?} {found:?} for f32 {expected:?}", config.spec.id, pixels.kind());
        return Err(AttackError::InvalidInput(message));
    }
    if bool::try_from(pixels.isfinite().all()).map_err(VictimError::from)? {
        Ok(Run { pixels, meters, padding })
    } else {
        Err(AttackError::NonFinite { what: "the attack's pixels are", step: last_step })
    }
}

/// Puts an attack's result where the threat allows it.
fn settle(config: &AttackConfig, original: &Tensor, pixels: &Tensor, options: Options) -> Tensor {
    let ball = match config.attack {
        Attack::Budget(_) => ball(config).ok(),
        Attack::Minimal(_) => None,
    };
    let inside = match ball {
        Some(ball) => ball.project(original, pixels),
        None => pixels.clamp(0.0, 1.0),
    };
    if options.eight_bit { measure::round_to_eight_bits(ball, original, &inside) } else { inside }
}

fn ball(config: &AttackConfig) -> Result<Ball, AttackError> {
    let ball = config.epsilon.and_then(|epsilon| Ball::new(config.norm, epsilon).ok());
    ball.ok_or_else(|| AttackError::InvalidInput(format!("{} needs a ball of linf or l2", config.spec.id)))
}

fn is_near_enough(config: &AttackConfig, distances: &Distances) -> bool {
    match (&config.attack, config.epsilon) {
        (Attack::Minimal(_), Some(epsilon)) => distances.in_norm(config.norm) <= epsilon.value() + TOLERANCE,
        _ => true,
    }
}

/// The judgements of `pixels`, image by image.
fn judge(victim: &dyn Victim, pixels: &Tensor, cost: &mut Cost) -> Result<Vec<Vec<Vec<f32>>>, AttackError> {
    let n = pixels.size()[0] as usize;
    let looks = if victim.is_random() { u64::from(JUDGEMENTS) } else { 1 };
    cost.judge_forwards += n as u64 * looks;
    cost.padding += padding(n) * looks;
    Ok(judged_logits(victim, pixels)?)
}

fn untouched(id: u32, label: i64, target: Option<i64>, attacked: bool, verdict: Verdict) -> SampleOutcome {
    SampleOutcome {
        id,
        label,
        target,
        attacked,
        success: false,
        clean: verdict.clone(),
        adversarial: verdict,
        l0: 0,
        l2: 0.0,
        linf: 0.0,
        overshoot: 0.0,
        forwards: 0,
        backwards: 0,
        forwards_to_success: None,
        zero_gradients: 0,
        nonfinite_gradients: 0,
        fallbacks: 0,
    }
}

fn record_cost(outcome: &mut SampleOutcome, meter: Meter, cost: &mut Cost) {
    outcome.forwards = meter.forwards;
    outcome.backwards = meter.backwards;
    outcome.forwards_to_success = meter.forwards_to_success;
    outcome.zero_gradients = meter.zero_gradients;
    outcome.nonfinite_gradients = meter.nonfinite_gradients;
    outcome.fallbacks = meter.fallbacks;
    cost.forwards += meter.forwards;
    cost.backwards += meter.backwards;
}

/// Rounding error that a distance may have beyond its budget.
const TOLERANCE: f64 = 1e-6;
