//! A network that can be pruned, and what is left of it.

use advmod_attacks::victim::first_line;
use tch::{Device, Kind, TchError, Tensor};

use super::rules;
use crate::model::Model;
use crate::model::interpreter::Interpreter;
use crate::model::op::Mode;
use crate::model::passes::count::count;
use crate::model::passes::remove::{ResidualBlock, residual_blocks, without};
use crate::model::program::Program;
use crate::model::weights::Transplant;
use crate::model::zoo::{self, Architecture, Remainder, Shapes, Unit};
use crate::study::results::prune::Size;

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
    pub fn of(model: &Model, size: [i64; 2]) -> Result<Self, String> {
        let (name, class) = (&model.info().name, &model.info().architecture);
        let Some(program) = model.program() else {
            return Err(format!(
                "{name} is run by libtorch, so that no layer can be taken out; leave out --trust-torchscript, or export it to .pt2 (advmod export-help)"
            ));
        };
        let program = program.clone();
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

    pub(crate) fn cost(&self) -> Result<Size, String> {
        size(&self.program, self.size)
    }

    /// Whether any unit of a stage can become its first.
    pub(super) fn remakes_units(&self) -> bool {
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
    let (here, there) = (run(program.clone())?, run(built)?);
    Ok(here.size() == there.size() && here.f_allclose(&there, 1e-3, 1e-4, false)?)
}

#[derive(Debug)]
pub struct Removed {
    /// What is left, as `--arch` takes it.
    pub name: String,
    /// With the weights that fit.
    pub program: Program,
    /// Where it has a name.
    pub(super) architecture: Option<Box<dyn Architecture>>,
    /// Weights that did not fit and were initialized afresh.
    pub remade: Vec<String>,
}

/// Takes out the units that are not kept.
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

/// What a network costs on images of this height and width.
pub(super) fn size(program: &Program, [height, width]: [i64; 2]) -> Result<Size, String> {
    let cost = count(program, height, width).map_err(|error| first_line(&error))?;
    Ok(Size { parameters: cost.parameters, macs: cost.by_convention })
}

/// A program with weights of its own: training changes them.
pub(super) fn copy(program: &Program) -> Program {
    let mut program = program.clone();
    for weight in &mut program.weights {
        weight.tensor = weight.tensor.detach().copy();
    }
    program
}
