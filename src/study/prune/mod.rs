//! Layer pruning by the modularity curve (the paper's §4.5): which units do not separate the classes any further, and what it costs to
//! take them out.
//!
//! [`rules`] decides on plain numbers, [`survey`] measures them, [`remove`] makes the smaller network, [`tune`] and [`from_scratch`] train it.

pub mod rules;
mod survey;

use std::ops::ControlFlow;

use serde::Serialize;
use tch::{Device, Kind, TchError, Tensor};

pub use rules::{Repair, Rule};
pub use survey::{Survey, SurveyPlan, UnitPoint, survey};

use super::train::{TrainData, TrainError, TrainEvent, TrainPlan, Trained, fit, fresh};
use crate::model::Model;
use crate::model::interpreter::Interpreter;
use crate::model::op::Mode;
use crate::model::passes::count::{Convention, count};
use crate::model::passes::remove::{ResidualBlock, residual_blocks, without};
use crate::model::program::Program;
use crate::model::weights::Transplant;
use crate::model::zoo::{self, Architecture, Remainder, Shapes, Unit};
use crate::stats::rates::{Measured, Rate, paired_difference};
use advmod_attacks::victim::first_line;

/// A network that can be pruned.
#[derive(Debug)]
pub struct Whole {
    body: Body,
    /// With its weights, without normalization.
    pub program: Program,
    /// Height and width of the images.
    pub size: [i64; 2],
}

/// Where the units come from.
#[derive(Debug)]
enum Body {
    /// A built-in architecture, which can number what is left anew.
    Known(Box<dyn Architecture>),
    /// Any program with residual blocks.
    Blocks { name: String, blocks: Vec<ResidualBlock> },
}

impl Whole {
    /// Recognizes the model's architecture (an exported ResNet or VGG has one too), else its residual blocks.
    ///
    /// # Errors
    /// One line, when it has no units that can be taken out.
    pub fn of(model: &Model, size: [i64; 2]) -> Result<Self, String> {
        let (name, class) = (&model.info().name, &model.info().architecture);
        let Some(program) = model.program() else {
            return Err(format!(
                "{name} is TorchScript, whose layers cannot be taken out; export it to .pt2 (advmod export-help)"
            ));
        };
        let program = program.shallow_clone();
        let shapes: Shapes = program.weights.iter().map(|it| (it.name.clone(), it.tensor.size())).collect();
        // Names and shapes do not tell everything about an exported program.
        let known = zoo::infer(&shapes).filter(|it| computes_the_same(it.as_ref(), &program, size).unwrap_or(false));
        let body = if let Some(architecture) = known {
            Body::Known(architecture)
        } else {
            let [height, width] = size;
            let blocks = residual_blocks(&program, height, width).map_err(|error| first_line(&error))?;
            Body::Blocks { name: class.clone(), blocks }
        };
        let whole = Self { body, program, size };
        let families = || zoo::FAMILIES.iter().map(|family| family.title).collect::<Vec<_>>().join(", ");
        match whole.units().len() {
            0 => Err(format!(
                "{name} ({class}) has no residual blocks that keep the shape, and is none of the built-in architectures ({}); nothing can be \
                 taken out of it",
                families()
            )),
            _ if rules::removable(&whole.units()).is_empty() => Err(format!(
                "{name} ({class}) is too shallow: each stage has a single unit, or only units that change the shape; give a deeper network"
            )),
            _ if whole.program.fixed_batch.is_some() => Err(format!(
                "{name} was exported for one batch size and cannot be trained; export it for any (advmod export-help)"
            )),
            _ => Ok(whole),
        }
    }

    /// As `--arch` takes it, or the exported class.
    pub fn name(&self) -> String {
        match &self.body {
            Body::Known(architecture) => architecture.name(),
            Body::Blocks { name, .. } => name.clone(),
        }
    }

    /// What may be taken out, in forward order. Exported blocks all count as one stage: those that change the shape are not among them.
    pub fn units(&self) -> Vec<Unit> {
        let unit = |block: &ResidualBlock| Unit { path: block.path.clone(), stage: 0, changes_shape: false };
        match &self.body {
            Body::Known(architecture) => architecture.units(),
            Body::Blocks { blocks, .. } => blocks.iter().map(unit).collect(),
        }
    }

    /// Whether what is left can be written as a file of weights: for that it must have a name.
    pub fn has_a_name(&self) -> bool {
        matches!(self.body, Body::Known(_))
    }

    fn remakes_units(&self) -> bool {
        matches!(&self.body, Body::Known(architecture) if architecture.remakes_units())
    }
}

/// Whether the architecture with the program's weights is the program, up to rounding.
fn computes_the_same(
    architecture: &dyn Architecture,
    program: &Program,
    [height, width]: [i64; 2],
) -> Result<bool, TchError> {
    let mut source = Transplant::new(program, &[], 0);
    let Ok(built) = architecture.build(&mut source) else { return Ok(false) };
    if !source.remade().is_empty() || program.fixed_batch.is_some() {
        return Ok(false);
    }
    let device = program.weights.first().map_or(Device::Cpu, |weight| weight.tensor.device());
    let shape = [2, architecture.channels(), height, width];
    let ramp = Tensor::f_arange(shape.iter().product::<i64>(), (Kind::Float, device))?;
    let pixels = ramp.f_mul_scalar(0.618_033_988_75)?.f_frac()?.f_view(shape)?;
    let _guard = tch::no_grad_guard();
    let run = |program: Program| Interpreter::new(program).run(&pixels, Mode::Evaluate);
    let (here, there) = (run(program.shallow_clone())?, run(built)?);
    Ok(here.size() == there.size() && here.f_allclose(&there, 1e-3, 1e-4, false)?)
}

/// What a rule wants to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// By which rule.
    pub rule: Rule,
    /// One flag per unit.
    pub kept: Vec<bool>,
    /// What the rule would have taken out, and what could not go.
    pub repairs: Vec<Repair>,
}

/// Applies a rule to what was measured. With `sure`, rules A and B take out only what the 95 % interval is sure of.
///
/// # Errors
/// One line, when not so many units can be taken out.
pub fn propose(whole: &Whole, survey: &Survey, rule: Rule, sure: bool, seed: u64) -> Result<Proposal, String> {
    let units = whole.units();
    let bound = |of: fn(&UnitPoint) -> Option<Measured>| -> Vec<Option<f64>> {
        survey.units.iter().map(|it| of(it).map(|it| if sure { it.high } else { it.value })).collect()
    };
    let delta: Vec<Option<f64>> = survey.units.iter().map(|it| it.delta.map(|it| it.value)).collect();
    let mut descending = rules::ascending(&units, &delta);
    descending.reverse();
    let failed = |error: String| format!("rule {rule}: {error}");
    let (mut kept, repairs) = match rule {
        Rule::Nothing => (vec![true; units.len()], Vec::new()),
        Rule::Increment { .. } | Rule::RunningMaximum => {
            let mut kept = match rule {
                Rule::Increment { threshold } => rules::by_increment(&bound(|it| it.delta), threshold),
                _ => rules::by_running_maximum(&bound(|it| it.margin)),
            };
            let q: Vec<f64> = survey.units.iter().map(|it| it.q).collect();
            let repairs = rules::repair(&units, &q, whole.remakes_units(), &mut kept);
            (kept, repairs)
        }
        Rule::Last(n) => (rules::take_out(&units, &rules::last_first(&units), n).map_err(failed)?, Vec::new()),
        Rule::Random(n) => (rules::take_out(&units, &rules::shuffled(&units, seed), n).map_err(failed)?, Vec::new()),
        Rule::Cka(n) => {
            let cka: Vec<Option<f64>> = survey.units.iter().map(|it| it.cka.map(|it| -it)).collect();
            (rules::take_out(&units, &rules::ascending(&units, &cka), n).map_err(failed)?, Vec::new())
        }
        Rule::Smallest(n) => {
            (rules::take_out(&units, &rules::ascending(&units, &delta), n).map_err(failed)?, Vec::new())
        }
        Rule::Largest(n) => (rules::take_out(&units, &descending, n).map_err(failed)?, Vec::new()),
    };
    kept.resize(units.len(), true);
    Ok(Proposal { rule, kept, repairs })
}

/// A smaller network.
#[derive(Debug)]
pub struct Removed {
    /// What is left, as `--arch` takes it.
    pub name: String,
    /// With the weights that fit.
    pub program: Program,
    /// Where it has a name.
    architecture: Option<Box<dyn Architecture>>,
    /// Weights that did not fit and were initialized afresh.
    pub remade: Vec<String>,
}

/// Takes out the units that are not kept.
///
/// # Errors
/// The weight that cannot be made.
pub fn remove(whole: &Whole, kept: &[bool], seed: u64) -> Result<Removed, String> {
    match &whole.body {
        Body::Known(architecture) => {
            let Remainder { architecture, origins } = architecture.keeping(kept);
            let mut source = Transplant::new(&whole.program, &origins, seed);
            let program = architecture.build(&mut source).map_err(|error| error.to_string())?;
            let remade = source.remade();
            Ok(Removed { name: architecture.name(), program, remade, architecture: Some(architecture) })
        }
        Body::Blocks { name, blocks } => {
            let gone: Vec<&ResidualBlock> =
                blocks.iter().zip(kept).filter(|(_, kept)| !**kept).map(|(block, _)| block).collect();
            let program = without(&whole.program, &gone);
            let name = if gone.is_empty() { name.clone() } else { format!("{name} − {}", gone.len()) };
            Ok(Removed { name, program, remade: Vec::new(), architecture: None })
        }
    }
}

/// What a network costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Trainable numbers.
    pub parameters: u64,
    /// Multiply-accumulates per image by each convention, in the order of [`Convention::ALL`].
    pub macs: [u64; Convention::ALL.len()],
}

/// Counts.
///
/// # Errors
/// libtorch's message, when the images do not fit the network.
pub fn size(program: &Program, [height, width]: [i64; 2]) -> Result<Size, String> {
    let cost = count(program, height, width).map_err(|error| first_line(&error))?;
    Ok(Size { parameters: cost.parameters, macs: cost.by_convention })
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Test accuracy without any training.
    pub removed: Rate,
    /// Test accuracy after fine-tuning.
    pub tuned: Rate,
    /// Test accuracy of the whole network − that after fine-tuning, on the same images.
    pub drop: Option<Measured>,
    /// Test accuracy of the whole network after the same fine-tuning − that after fine-tuning: what the removal alone costs. Absent where
    /// nothing was removed, or the whole network was not fine-tuned.
    pub cost: Option<Measured>,
    /// Test accuracy of the same network trained from fresh weights.
    pub scratch: Option<Rate>,
}

/// Which test images the whole network classifies correctly.
///
/// # Errors
/// libtorch's message.
pub fn correct(whole: &Whole, data: TrainData<'_>, plan: &TrainPlan, device: Device) -> Result<Vec<bool>, TrainError> {
    let plan = TrainPlan { epochs: 0, ..plan.clone() };
    let program = copy(&whole.program);
    fit(&whole.name(), program, data, &plan, device, &mut |_| ControlFlow::Continue(()))?.correct(data.test)
}

/// Weights of its own: training changes them.
fn copy(program: &Program) -> Program {
    let mut program = program.shallow_clone();
    for weight in &mut program.weights {
        weight.tensor = weight.tensor.detach().copy();
    }
    program
}

/// A proposal's network after fine-tuning.
#[derive(Debug)]
pub struct Tuned<'a> {
    /// The network.
    pub trained: Trained<'a>,
    /// Test accuracy without any training.
    pub removed: Rate,
    /// Which test images it classifies correctly now.
    pub correct: Vec<bool>,
}

/// Fine-tunes what is left.
///
/// # Errors
/// As for [`fit`].
pub fn tune<'a>(
    removed: &'a Removed,
    data: TrainData<'a>,
    plan: &'a TrainPlan,
    device: Device,
    report: &mut dyn FnMut(TrainEvent) -> ControlFlow<()>,
) -> Result<Tuned<'a>, TrainError> {
    let name = removed.name.as_str();
    let at_once = TrainPlan { epochs: 0, ..plan.clone() };
    let go_on = &mut |_| ControlFlow::Continue(());
    let untrained = fit(name, copy(&removed.program), data, &at_once, device, go_on)?.correct(data.test)?;
    let trained = fit(name, copy(&removed.program), data, plan, device, report)?;
    let correct = trained.correct(data.test)?;
    Ok(Tuned { trained, removed: rate(&untrained), correct })
}

/// Trains the same network from fresh weights, and returns its test accuracy; none for exported programs: how their layers were
/// initialized is not in them.
///
/// # Errors
/// As for [`fit`].
pub fn from_scratch(
    removed: &Removed,
    data: TrainData<'_>,
    plan: &TrainPlan,
    device: Device,
    report: &mut dyn FnMut(TrainEvent) -> ControlFlow<()>,
) -> Result<Option<Rate>, TrainError> {
    let Some(architecture) = removed.architecture.as_deref() else { return Ok(None) };
    let program = fresh(architecture, plan.seed)?;
    let trained = fit(&removed.name, program, data, plan, device, report)?;
    Ok(Some(rate(&trained.correct(data.test)?)))
}

/// As a share.
pub fn rate(correct: &[bool]) -> Rate {
    Rate::new(correct.iter().filter(|correct| **correct).count(), correct.len())
}

/// How much smaller the share of correct images is.
pub fn drop_of(before: &[bool], after: &[bool]) -> Option<Measured> {
    let mut cells = [0; 4];
    for pair in before.iter().zip(after) {
        cells[match pair {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        }] += 1;
    }
    paired_difference(cells)
}
