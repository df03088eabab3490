//! A result as it begins: what is pruned, by which rules, and what was surveyed.

use super::rules::Rule;
use super::whole::Whole;
use crate::model::passes::count::Convention;
use crate::study::results::Subject;
use crate::study::results::prune::{PruneResult, Survey};
use crate::study::train::TrainPlan;

/// What was asked for.
pub(crate) struct Asked<'a> {
    pub rules: &'a [Rule],
    pub by_estimate: bool,
    pub threshold: f64,
    /// Absent where nothing is trained.
    pub tuning: Option<&'a TrainPlan>,
    /// From fresh weights, if anything is.
    pub scratch: Option<&'a TrainPlan>,
}

/// The result before any rule is judged: all of them are pending. `of` says of which model and data.
pub(crate) fn begin(of: Subject, whole: &Whole, asked: &Asked<'_>, survey: Survey) -> Result<PruneResult, String> {
    Ok(PruneResult {
        of: Subject { architecture: whole.name(), ..of },
        by_estimate: asked.by_estimate,
        threshold: asked.threshold,
        recipe: asked.tuning.map(TrainPlan::recipe),
        scratch_recipe: asked.scratch.map(TrainPlan::recipe),
        conventions: Convention::ALL.map(|it| it.name().to_owned()).to_vec(),
        size: whole.cost()?,
        accuracy: None,
        survey,
        rules: Vec::new(),
        pending: asked.rules.iter().map(Rule::to_string).collect(),
    })
}
