//! Trains what rules leave of a network, and judges it on the test images.

use std::ops::ControlFlow;
use std::path::PathBuf;

use tch::Device;

use super::propose::Proposal;
use super::rules::Rule;
use super::whole::{Removed, Whole, copy, remove};
use crate::model::program::Program;
use crate::stats::rates::{Measured, Rate, paired_difference};
use crate::study::results::prune::{Judged, PruneResult, RuleResult};
use crate::study::train::{TrainData, TrainError, TrainEvent, TrainPlan, Trained, fit, fresh};

/// How the networks are trained, and on what.
#[derive(Clone, Copy)]
pub(crate) struct Trainings<'a> {
    pub data: TrainData<'a>,
    pub tuning: &'a TrainPlan,
    /// From fresh weights, if they are.
    pub scratch: Option<&'a TrainPlan>,
    pub device: Device,
}

pub(crate) trait Follow {
    /// An event of a training of so many epochs; `Break` stops it, and all that would come after it.
    fn training(&mut self, name: &str, epochs: usize, event: &TrainEvent) -> ControlFlow<()>;

    fn grown(&mut self, result: &PruneResult);

    /// Where the model of a rule goes.
    fn model_file(&self, rule: Rule) -> Option<PathBuf>;
}

#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// What went wrong with some of the rules.
    pub faults: Vec<String>,
    pub is_stopped: bool,
}

/// Fine-tunes and judges the proposals, one after the other, each of which becomes a row of the result. Rules that agree are trained once, and
/// share a file. What goes wrong with one is no reason to lose the others.
pub(crate) fn judge(
    whole: &Whole,
    proposals: &[Proposal],
    trainings: Trainings<'_>,
    result: &mut PruneResult,
    follow: &mut dyn Follow,
) -> Result<Judgement, TrainError> {
    let untrained = TrainPlan { epochs: 0, ..trainings.tuning.clone() };
    let before = correct(&trainings, &whole.name(), &whole.program, &untrained)?;
    result.accuracy = Some(rate(&before));
    let mut judge = Judge {
        whole,
        trainings,
        untrained,
        before,
        tuned_alike: None,
        scratched: Vec::new(),
        result,
        follow,
        faults: Vec::new(),
    };
    let mut is_stopped = false;
    for (at, proposal) in proposals.iter().enumerate() {
        if let Some(same) = proposals[..at].iter().position(|it| it.kept == proposal.kept) {
            let RuleResult { judged, file, missing, .. } = judge.result.rules[same].clone();
            judge.push(RuleResult { judged, file, missing, ..proposal.row.clone() });
            judge.follow.grown(judge.result);
        } else if judge.one(proposal).is_break() {
            is_stopped = true;
            break;
        }
    }
    Ok(Judgement { faults: judge.faults, is_stopped })
}

struct Judge<'a> {
    whole: &'a Whole,
    trainings: Trainings<'a>,
    /// Fine-tuning without any epoch.
    untrained: TrainPlan,
    /// Which test images the whole network classifies correctly.
    before: Vec<bool>,
    /// The same after the fine-tuning that the rules' networks get, where a rule takes out nothing.
    tuned_alike: Option<Vec<bool>>,
    /// Test accuracies of networks that were trained from fresh weights, by name.
    scratched: Vec<(String, Option<Rate>)>,
    result: &'a mut PruneResult,
    follow: &'a mut dyn Follow,
    faults: Vec<String>,
}

impl Judge<'_> {
    /// A proposal becomes a row, unless its fine-tuning is stopped.
    fn one(&mut self, proposal: &Proposal) -> ControlFlow<()> {
        let mut row = proposal.row.clone();
        let removed = match remove(self.whole, &proposal.kept, self.trainings.tuning.seed) {
            Ok(removed) => removed,
            Err(error) => {
                self.push(row);
                return self.lacks(format!("not fine-tuned: {error}"));
            }
        };
        let mut unsaved = None;
        match self.tune(proposal, &removed) {
            Ok((trained, judged)) => {
                if let Some(path) = self.follow.model_file(proposal.rule) {
                    match trained.save(&path, &story(self.result, &row, &judged)) {
                        Ok(()) => row.file = path.file_name().map(|it| it.to_string_lossy().into_owned()),
                        Err(error) => unsaved = Some(format!("its model is not written: {error}")),
                    }
                }
                row.judged = Some(judged);
                self.push(row);
            }
            Err(TrainError::Stopped) => return ControlFlow::Break(()),
            Err(error) => {
                self.push(row);
                return self.lacks(format!("not fine-tuned: {error}"));
            }
        }
        match unsaved {
            Some(reason) => self.lacks(reason)?,
            None => self.follow.grown(self.result),
        }
        match self.trainings.scratch {
            Some(plan) => self.scratch(&removed, plan),
            None => ControlFlow::Continue(()),
        }
    }

    /// Fine-tunes what is left, and judges it.
    fn tune<'a>(&mut self, proposal: &Proposal, removed: &'a Removed) -> Result<(Trained<'a>, Judged), TrainError>
    where
        Self: 'a,
    {
        let Trainings { data, tuning, device, .. } = self.trainings;
        let at_once = correct(&self.trainings, &removed.name, &removed.program, &self.untrained)?;
        let mut tell = |event| self.follow.training(&proposal.row.rule, tuning.epochs, &event);
        let trained = fit(&removed.name, copy(&removed.program), data, tuning, device, None, &mut tell)?;
        let tuned = trained.correct(data.test)?;
        let cost = self.tuned_alike.as_ref().and_then(|whole| drop_of(whole, &tuned));
        let judged = Judged {
            removed: rate(&at_once),
            tuned: rate(&tuned),
            drop: drop_of(&self.before, &tuned),
            cost: cost.filter(|_| !proposal.is_whole()),
            scratch: None,
        };
        if proposal.rule == Rule::Nothing {
            self.tuned_alike.get_or_insert(tuned);
        }
        Ok((trained, judged))
    }

    /// Trains the network of the last row from fresh weights. Exported programs cannot be: how their layers were initialized is not in them.
    fn scratch(&mut self, removed: &Removed, plan: &TrainPlan) -> ControlFlow<()> {
        // The same network with the same seed ends the same.
        let known = self.scratched.iter().find(|(network, _)| *network == removed.name).map(|it| it.1);
        let trained = match (known, removed.architecture.as_deref()) {
            (Some(known), _) => Ok(known),
            (None, None) => Ok(None),
            (None, Some(architecture)) => {
                let Trainings { data, device, .. } = self.trainings;
                let name = self.result.rules.last().map(|row| format!("{} from scratch", row.rule)).unwrap_or_default();
                let mut tell = |event| self.follow.training(&name, plan.epochs, &event);
                fresh(architecture, plan.seed)
                    .and_then(|program| fit(&removed.name, program, data, plan, device, None, &mut tell))
                    .and_then(|trained| Ok(Some(rate(&trained.correct(data.test)?))))
            }
        };
        let reason = match trained {
            Ok(accuracy) => {
                if known.is_none() {
                    self.scratched.push((removed.name.clone(), accuracy));
                }
                if let Some(judged) = self.result.rules.last_mut().and_then(|row| row.judged.as_mut()) {
                    judged.scratch = accuracy;
                }
                self.follow.grown(self.result);
                return ControlFlow::Continue(());
            }
            Err(TrainError::Stopped) => {
                if let Some(row) = self.result.rules.last_mut() {
                    row.missing.push("not trained from scratch: interrupted".to_owned());
                }
                self.follow.grown(self.result);
                return ControlFlow::Break(());
            }
            Err(TrainError::Diverged { what, learning_rate }) => {
                format!("{what}; lower --scratch-lr ({learning_rate})")
            }
            Err(error) => error.to_string(),
        };
        self.lacks(format!("not trained from scratch: {reason}"))
    }

    /// The next of the pending rules is a row.
    fn push(&mut self, row: RuleResult) {
        self.result.pending.retain(|rule| *rule != row.rule);
        self.result.rules.push(row);
    }

    fn lacks(&mut self, reason: String) -> ControlFlow<()> {
        if let Some(row) = self.result.rules.last_mut() {
            self.faults.push(format!("rule {}: {reason}", row.rule));
            row.missing.push(reason);
        }
        self.follow.grown(self.result);
        ControlFlow::Continue(())
    }
}

/// What stands in a model's file about how it came about.
fn story(result: &PruneResult, row: &RuleResult, judged: &Judged) -> String {
    let gone = if row.removed.is_empty() { "nothing".to_owned() } else { row.removed.join(", ") };
    format!(
        "{} (sha256 {}) without {gone} by rule {}; fine-tuned: {}; test accuracy {:.4}",
        result.of.architecture,
        result.of.sha256,
        row.rule,
        result.recipe.as_deref().unwrap_or("not"),
        judged.tuned.value.unwrap_or(0.0)
    )
}

/// Which test images a network classifies correctly as it is.
fn correct(
    trainings: &Trainings<'_>,
    name: &str,
    program: &Program,
    untrained: &TrainPlan,
) -> Result<Vec<bool>, TrainError> {
    let Trainings { data, device, .. } = *trainings;
    fit(name, copy(program), data, untrained, device, None, &mut |_| ControlFlow::Continue(()))?.correct(data.test)
}

fn rate(correct: &[bool]) -> Rate {
    Rate::new(correct.iter().filter(|correct| **correct).count(), correct.len())
}

/// How much smaller the share of correct images is.
fn drop_of(before: &[bool], after: &[bool]) -> Option<Measured> {
    let count = |cell| before.iter().zip(after).filter(|(before, after)| (**before, **after) == cell).count();
    paired_difference([(true, true), (true, false), (false, true), (false, false)].map(count))
}
