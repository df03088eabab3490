//! What the flags of `advmod prune` ask for.

use std::path::PathBuf;

use crate::cli::CliError;
use crate::cli::args::PruneArgs;
use crate::data::Selection;
use crate::measure::fit::DEFAULT_SEED;
use crate::model::normalize::Normalization;
use crate::study::curve::CurvePlan;
use crate::study::prune::{Rule, SurveyPlan};
use crate::study::train::{TrainPlan, default_milestones};

/// The rules, each once, what the others are compared with first; and the numbers that a type cannot hold back.
pub(super) fn rules(args: &PruneArgs) -> Result<Vec<Rule>, CliError> {
    if !args.threshold.is_finite() {
        return Err(CliError::Usage(format!("--threshold {}: must be a number", args.threshold)));
    }
    let mut rules = Vec::new();
    for text in &args.rule {
        let rule = Rule::parse(text, args.threshold).map_err(|error| CliError::Usage(format!("--rule {error}")))?;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules.sort_by_key(|rule| *rule != Rule::Nothing);
    Ok(rules)
}

pub(super) fn survey_plan(args: &PruneArgs, rules: &[Rule]) -> SurveyPlan {
    let seed = args.run.seed.unwrap_or(DEFAULT_SEED);
    SurveyPlan {
        curve: CurvePlan {
            k: args.taps.k(),
            similarity: args.taps.similarity.unwrap_or_default(),
            repeats: args.repeats,
            samples: Selection::Sample { n: args.samples, seed },
        },
        seed,
        cka: rules.iter().any(|rule| matches!(rule, Rule::Cka(_))),
    }
}

pub(super) struct Recipes {
    pub(super) tuning: TrainPlan,
    /// From fresh weights, if they are.
    pub(super) scratch: Option<TrainPlan>,
}

impl Recipes {
    pub(super) fn new(args: &PruneArgs, normalization: Normalization) -> Result<Self, CliError> {
        let tuning = tuning(args, normalization);
        // Without any epoch only the removal is judged.
        TrainPlan { epochs: tuning.epochs.max(1), ..tuning.clone() }.check().map_err(CliError::Usage)?;
        let scratch = args.scratch.then(|| scratch(args, &tuning));
        if let Some(plan) = &scratch {
            // What both trainings share is checked above.
            plan.check().map_err(|error| CliError::Usage(error.replacen("--", "--scratch-", 1)))?;
        }
        Ok(Self { tuning, scratch })
    }
}

fn tuning(args: &PruneArgs, normalization: Normalization) -> TrainPlan {
    let flags = &args.tuning;
    TrainPlan {
        data: args.data.clone(),
        output: PathBuf::new(),
        epochs: flags.epochs,
        batch: flags.batch,
        learning_rate: flags.lr,
        milestones: flags.milestones.clone().unwrap_or_else(|| default_milestones(flags.epochs)),
        momentum: flags.momentum,
        weight_decay: flags.weight_decay,
        crop_padding: flags.crop_padding,
        flip: !flags.no_flip,
        seed: args.run.seed.unwrap_or(DEFAULT_SEED),
        normalization,
        bf16: false,
        adversarial: None,
        checkpoints: None,
        measure: false,
    }
}

/// As fine-tuning but for what the flags say.
fn scratch(args: &PruneArgs, tuning: &TrainPlan) -> TrainPlan {
    let mut plan = tuning.clone();
    if let Some(epochs) = args.scratch_epochs {
        (plan.epochs, plan.milestones) = (epochs, default_milestones(epochs));
    }
    plan.learning_rate = args.scratch_lr.unwrap_or(plan.learning_rate);
    plan
}
