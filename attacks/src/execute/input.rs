//! Refuses what is no batch of images with labels, and resolves targets.

use std::collections::HashSet;

use tch::{Kind, Tensor};

use super::{Options, Samples};
use crate::error::AttackError;
use crate::query::stream;
use crate::threat::{Goal, Target};
use crate::victim::{Victim, VictimError};

/// Checks everything that attacks rely on; returns the labels.
pub(super) fn check(victim: &dyn Victim, samples: &Samples<'_>, options: Options) -> Result<Vec<i64>, AttackError> {
    let Samples { pixels, labels, ids } = samples;
    let (shape, n_classes) = (pixels.size(), victim.n_classes());
    if n_classes < 2 {
        return invalid(format!("the model has {n_classes} classes, at least 2 are needed"));
    }
    if shape.len() != 4 || shape.contains(&0) || pixels.kind() != Kind::Float {
        return invalid(format!("pixels are {:?} {shape:?}, expected f32 [N, C, H, W] with N > 0", pixels.kind()));
    }
    if pixels.device() != victim.device() {
        return invalid(format!("pixels are on {:?}, the model is on {:?}", pixels.device(), victim.device()));
    }
    if labels.size() != [shape[0]] || labels.kind() != Kind::Int64 {
        return invalid(format!("labels are {:?} {:?}, expected i64 [{}]", labels.kind(), labels.size(), shape[0]));
    }
    if ids.len() as i64 != shape[0] || ids.iter().collect::<HashSet<_>>().len() != ids.len() {
        return invalid(format!("ids must be {} distinct numbers, one per image", shape[0]));
    }
    let labels = Vec::<i64>::try_from(*labels).map_err(VictimError::from)?;
    if let Some(i) = labels.iter().position(|label| !(0..n_classes).contains(label)) {
        return invalid(format!(
            "sample {} has label {}, the model has classes 0 to {}",
            ids[i],
            labels[i],
            n_classes - 1
        ));
    }
    let flat = pixels.flatten(1, -1);
    for extreme in [flat.amin(1, false), flat.amax(1, false)] {
        for (value, &id) in per_row(&extreme)?.iter().zip(*ids) {
            // False for what is not a number, too.
            let is_pixel = (0.0..=1.0).contains(value);
            if !is_pixel {
                return invalid(format!("sample {id} has a pixel value of {value}, expected 0 to 1"));
            }
        }
    }
    if options.eight_bit {
        let levels = *pixels * 255.0;
        let off_grid = per_row(&(&levels - levels.round()).abs().flatten(1, -1).amax(1, false))?;
        if let Some(i) = off_grid.iter().position(|&off| 1e-3 < off) {
            let id = ids[i];
            return invalid(format!(
                "sample {id} is no 8-bit image: eight_bit needs pixels that are multiples of 1/255"
            ));
        }
    }
    Ok(labels)
}

/// The class that a sample with these clean logits must reach, if any.
pub(super) fn target(goal: Goal, logits: &[f32], label: i64, seed: u64, id: u32) -> Result<Option<i64>, AttackError> {
    let Goal::Targeted(target) = goal else { return Ok(None) };
    let n_classes = logits.len() as i64;
    let others = (0..n_classes).filter(|&class| class != label);
    let logit = |class: &i64| logits[*class as usize];
    Ok(match target {
        // Of equals the first, in both cases.
        Target::RunnerUp => others.reduce(|best, class| if logit(&best) < logit(&class) { class } else { best }),
        Target::LeastLikely => others.min_by(|a, b| logit(a).total_cmp(&logit(b))),
        Target::Random => {
            let draw = rand::RngExt::random_range(&mut stream(seed, "target", id, 0), 0..n_classes - 1);
            Some(if draw < label { draw } else { draw + 1 })
        }
        Target::Next => Some((label + 1) % n_classes),
        Target::Class(class) if class < n_classes => Some(class),
        Target::Class(class) => {
            return invalid(format!("target class {class}, the model has classes 0 to {}", n_classes - 1));
        }
    })
}

fn per_row(values: &Tensor) -> Result<Vec<f32>, AttackError> {
    Ok(Vec::try_from(values).map_err(VictimError::from)?)
}

fn invalid<T>(message: String) -> Result<T, AttackError> {
    Err(AttackError::InvalidInput(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_their_rule_and_are_never_the_label() {
        let logits = [0.5, 2.0, -1.0, 1.0];
        let chosen = |rule| target(Goal::Targeted(rule), &logits, 1, 7, 0).unwrap();
        assert_eq!(chosen(Target::RunnerUp), Some(3));
        assert_eq!(chosen(Target::LeastLikely), Some(2));
        assert_eq!(chosen(Target::Class(0)), Some(0));
        assert_eq!(chosen(Target::Next), Some(2));
        assert_eq!(target(Goal::Targeted(Target::Next), &logits, 3, 7, 0).unwrap(), Some(0));
        assert!(target(Goal::Targeted(Target::Class(4)), &logits, 1, 7, 0).is_err());
        let mut drawn: Vec<i64> =
            (0..100).filter_map(|id| target(Goal::Targeted(Target::Random), &logits, 1, 7, id).unwrap()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [0, 2, 3]);
    }
}
