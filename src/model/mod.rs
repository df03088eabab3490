//! The classifier under audit: from a file to a differentiable function with taps.
//!
//! Reading order: [`program`] and [`op`] (what a network is), [`builder`] and [`zoo`] (how one is made from weights), [`import`] (how one is
//! made from an exported program), [`interpreter`] and [`apply`] (how it runs),
//! [`passes`] (what is derived from it), [`load`] (file to [`Model`]).

pub mod op;
pub mod program;

pub mod apply;
pub mod builder;
pub mod device;
pub mod embedded;
pub mod format;
pub mod import;
pub mod interpreter;
pub mod load;
pub mod metadata;
pub mod native;
pub mod normalize;
pub mod passes;
mod pixels_file;
pub mod upload;
pub mod weights;
pub mod zoo;

pub use pixels_file::{Column, save_pixels};

use advmod_attacks::victim::{Victim, VictimError, first_line};
use tch::{Device, Kind, TchError, Tensor};

use interpreter::{Interpreter, Mode};
use normalize::Normalization;
use passes::fold::fold_batch_norm;
use program::{Op, Program, Tap, TapSelection};

/// What a model is, in plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// File name without folders, or `embedded`.
    pub name: String,
    /// Of the file's bytes, hexadecimal.
    pub sha256: String,
    /// How the file stores its weights (`state_dict (zip)`, `safetensors`, …).
    pub format: String,
    /// `resnet20`, `vgg16-bn`, …
    pub architecture: String,
    /// Channels of the pixels.
    pub channels: i64,
    /// Number of logits.
    pub classes: i64,
    /// Names of the classes, where the file knows them.
    pub class_names: Vec<String>,
    /// Height and width that the model is meant for, where the file or the architecture tells.
    pub input_size: Option<[i64; 2]>,
    /// Applied to the pixels inside the model.
    pub normalization: Normalization,
}

/// A frozen classifier on a device.
///
/// Two versions of one network: the one that is attacked has every batch norm folded into its convolution; the one that is traced keeps
/// the convolutions whose raw output is tapped.
#[derive(Debug)]
pub struct Model {
    info: ModelInfo,
    program: Program,
    attacked: Interpreter,
    traced: Interpreter,
    taps: Vec<Tap>,
    device: Device,
}

impl Model {
    /// Freezes a program (in the domain of normalized pixels) on a device, with these taps.
    ///
    /// # Errors
    /// A sentence: a tap pattern that matches nothing, a normalization for another number of channels, or libtorch's own message.
    pub fn new(info: ModelInfo, mut program: Program, taps: &TapSelection, device: Device) -> Result<Self, String> {
        let (mean, std) = info.normalization.for_channels(info.channels)?;
        for weight in &mut program.weights {
            weight.tensor = upload::to_device(&weight.tensor, device).map_err(|error| first_line(&error))?;
        }
        if let TapSelection::Globs(globs) = taps {
            let misses = |glob: &&String| program.taps(&TapSelection::Globs(vec![(*glob).clone()])).is_empty();
            if let Some(glob) = globs.iter().find(misses) {
                let paths: Vec<String> =
                    program.taps(&TapSelection::All).into_iter().map(|tap| tap.path).take(8).collect();
                let paths = paths.join(", ");
                return Err(format!(
                    "no tap matches `{glob}`; the module paths are {paths}, … (advmod inspect --taps all)"
                ));
            }
        }
        let selected = program.taps(taps);
        let deploy = |program: Program| {
            let normalized = if info.normalization.is_none() { program } else { normalize_first(program, &mean, &std) };
            Interpreter::new(frozen(normalized, device))
        };
        let attacked = deploy(fold_batch_norm(&program, &[]));
        let traced = deploy(fold_batch_norm(&program, &selected));
        let all = traced.program().taps(&TapSelection::All);
        let taps = (selected.iter())
            .map(|tap| all.iter().find(|it| it.path == tap.path).cloned().expect("a tapped node is not folded away"))
            .collect();
        Ok(Self { info, program, attacked, traced, taps, device })
    }

    /// Another handle on the same weights, for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            info: self.info.clone(),
            program: self.program.shallow_clone(),
            attacked: Interpreter::new(self.attacked.program().shallow_clone()),
            traced: Interpreter::new(self.traced.program().shallow_clone()),
            taps: self.taps.clone(),
            device: self.device,
        }
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The network as it was loaded, without normalization.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Module paths of the taps, in forward order.
    pub fn tap_paths(&self) -> Vec<String> {
        self.taps.iter().map(|tap| tap.path.clone()).collect()
    }

    /// Feeds pixels `[N, C, H, W]` forward without gradients and hands each tap's output, as rows `[N, M]`, to
    /// `visit(tap index, rows)` in forward order. Returns the logits `[N, K]`.
    ///
    /// The order of the M columns is the same for all samples and otherwise not specified.
    pub fn trace(
        &self,
        pixels: &Tensor,
        visit: &mut dyn FnMut(usize, &Tensor) -> Result<(), TchError>,
    ) -> Result<Tensor, TchError> {
        let _guard = tch::no_grad_guard();
        let images = pixels.size()[0];
        let pixels = channels_last(pixels, self.device)?;
        self.traced.run_with_taps(&pixels, Mode::Evaluate, &self.taps, &mut |idx, output| {
            // Rows are read in memory order, so that no layout needs a copy.
            let rows = match output.dim() {
                4 if self.device == Device::Cpu => output.f_permute([0, 2, 3, 1])?.f_reshape([images, -1])?,
                _ => output.f_reshape([images, -1])?,
            };
            visit(idx, &rows)
        })
    }
}

impl Victim for Model {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        let run = || self.attacked.run(&channels_last(pixels, self.device)?, Mode::Evaluate);
        Ok(run()?)
    }

    fn n_classes(&self) -> i64 {
        self.info.classes
    }

    fn device(&self) -> Device {
        self.device
    }
}

/// The same values with channels innermost in memory, which is what the processor's convolutions are fastest with.
fn channels_last(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    if device != Device::Cpu || tensor.dim() != 4 || tensor.size()[1] == 1 {
        return Ok(tensor.shallow_clone());
    }
    tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}

/// Weights that require no gradient, in the layout that the device is fastest with.
fn frozen(mut program: Program, device: Device) -> Program {
    for weight in &mut program.weights {
        let laid_out = channels_last(&weight.tensor, device).expect("a permutation of an existing tensor");
        weight.tensor = laid_out.to_kind(Kind::Float).detach().set_requires_grad(false);
    }
    program
}

/// Puts the normalization in front of the network.
fn normalize_first(mut program: Program, mean: &[f64], std: &[f64]) -> Program {
    use program::{Node, ValueId, Weight, WeightId};
    let shift = |id: &mut ValueId| id.0 += 1;
    for node in &mut program.nodes {
        node.inputs.iter_mut().for_each(shift);
        shift(&mut node.output);
    }
    for tap in program.default_taps.iter_mut().chain(&mut program.relu_taps) {
        shift(&mut tap.value);
    }
    shift(&mut program.output);
    let device = program.weights.first().map_or(Device::Cpu, |weight| weight.tensor.device());
    let mut constant = |name: &str, values: &[f64]| {
        let tensor = Tensor::from_slice(values).to_kind(Kind::Float).view([1, -1, 1, 1]);
        let tensor = upload::to_device(&tensor, device).expect("a few numbers fit where the weights are");
        program.weights.push(Weight { name: name.to_owned(), tensor, trainable: false });
        WeightId(program.weights.len() as u32 - 1)
    };
    let op = Op::Normalize { mean: constant("normalization mean", mean), std: constant("normalization std", std) };
    program.nodes.insert(0, Node { op, inputs: vec![program.input], output: ValueId(1), path: String::new() });
    program
}
