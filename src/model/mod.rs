//! The classifier under audit: from a file to a differentiable function with taps.
//!
//! Reading order: [`program`] and [`op`] (what a network is), [`builder`] and [`zoo`] (how one is made from weights), [`import`] (how one is
//! made from an exported program or TorchScript), [`interpreter`] and [`apply`] (how it runs), [`script`] (trusted TorchScript, which libtorch
//! runs),
//! [`passes`] (what is derived from it), [`load`] (file to [`Model`]).

pub mod op;
pub mod program;

pub(crate) mod apply;
pub(crate) mod aten;
pub(crate) mod blocks;
pub mod builder;
pub(crate) mod checkpoint;
pub(crate) mod device;
pub(crate) mod embedded;
pub mod format;
pub(crate) mod import;
pub(crate) mod info;
pub mod interpreter;
pub mod load;
pub(crate) mod metadata;
pub mod native;
pub mod normalize;
pub mod passes;
pub(crate) mod script;
pub(crate) mod size;
pub mod upload;
pub mod weights;
pub mod zoo;

pub(crate) use info::ModelInfo;

use advmod_attacks::victim::{Victim, VictimError, first_line};
use tch::{Device, Kind, TchError, Tensor};

use interpreter::Interpreter;
use op::Mode;
use passes::count::{Convention, count};
use passes::ending::{WithoutEnding, without_ending};
use passes::fold::fold_batch_norm;
use passes::straight::straight_through;
use program::{Op, Program, Tap, TapSelection};
use script::{Script, ScriptModel};

/// Is shown the output of a tap, by its place, while it is there.
pub type VisitTap<'a> = dyn FnMut(usize, &Tensor) -> Result<(), TchError> + 'a;

#[derive(Debug)]
pub struct Model {
    info: ModelInfo,
    network: Network,
    device: Device,
    is_random: bool,
}

#[derive(Debug)]
enum Network {
    Program(Box<Deployed>),
    Script(Box<ScriptModel>),
}

/// Versions of one network: the one that is attacked has every batch norm folded into its convolution, and none of the operators at its end
/// that keep the order of the classes; the one that is traced keeps the convolutions whose raw output is tapped.
#[derive(Clone, Debug)]
struct Deployed {
    program: Program,
    attacked: Interpreter,
    ending: Option<Ending>,
    traced: Interpreter,
    taps: Vec<Tap>,
}

/// What the network ends in and the attacked version does without.
#[derive(Clone, Debug)]
struct Ending {
    words: String,
    /// The attacked version with it.
    whole: Interpreter,
}

/// Images per batch of a random network.
const RANDOM_BATCH: usize = 32;

impl Model {
    /// Freezes a program (in the domain of normalized pixels) on a device, with these taps.
    ///
    /// # Errors
    /// A sentence: a tap pattern that matches nothing, a normalization for another number of channels, or libtorch's own message.
    pub(crate) fn new(
        info: ModelInfo,
        mut program: Program,
        taps: &TapSelection,
        device: Device,
    ) -> Result<Self, String> {
        let (mean, std) = info.normalization.for_channels(info.channels)?;
        for weight in &mut program.weights {
            weight.tensor = upload::to_device(&weight.tensor, device).map_err(|error| first_line(&error))?;
        }
        let all = program.taps(&TapSelection::All);
        taps.check(&all.iter().map(|tap| tap.path.as_str()).collect::<Vec<_>>())?;
        let selected = program.taps(taps);
        let deploy = |program: Program| {
            let normalized = if info.normalization.is_none() { program } else { normalize_first(program, &mean, &std) };
            Interpreter::new(frozen(normalized, device))
        };
        let folded = fold_batch_norm(&program, &[]);
        let (attacked, ending) = match without_ending(&folded) {
            Some(WithoutEnding { program, ending }) => {
                (deploy(program), Some(Ending { words: ending, whole: deploy(folded) }))
            }
            None => (deploy(folded), None),
        };
        let traced = deploy(fold_batch_norm(&program, &selected));
        let all = traced.program().taps(&TapSelection::All);
        let taps = (selected.iter())
            .map(|tap| all.iter().find(|it| it.path == tap.path).cloned().expect("a tapped node is not folded away"))
            .collect();
        let network = Network::Program(Box::new(Deployed { program, attacked, ending, traced, taps }));
        Ok(Self { info, network, device, is_random: false })
    }

    /// A TorchScript module that libtorch runs, with these taps.
    ///
    /// # Errors
    /// A sentence: a tap pattern that matches nothing, or a normalization for another number of channels.
    pub(crate) fn from_script(
        info: ModelInfo,
        script: Script,
        taps: &TapSelection,
        device: Device,
    ) -> Result<Self, String> {
        let script = ScriptModel::new(script, &info, taps, device)?;
        Ok(Self { info, network: Network::Script(Box::new(script)), device, is_random: false })
    }

    /// Another handle on the same weights, for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        let network = match &self.network {
            Network::Program(it) => Network::Program(it.clone()),
            Network::Script(it) => Network::Script(Box::new(it.share())),
        };
        Self { info: self.info.clone(), network, device: self.device, is_random: self.is_random }
    }

    /// Remembers that the network answers the same question in different ways.
    pub(crate) fn set_random(&mut self) {
        self.is_random = true;
    }

    /// Most images of a batch where `asked` are asked for. What a random network draws for an image depends on its place in the batch, so that one
    /// has batches of a size of its own, and its results do not depend on `--batch`.
    pub(crate) fn batch(&self, asked: usize) -> usize {
        if self.is_random { RANDOM_BATCH } else { asked }
    }

    /// Starts the random numbers that a random network draws, which come from libtorch's one generator, for a piece of work. Nothing else draws
    /// from it.
    #[expect(clippy::disallowed_methods, reason = "the network's own draws cannot come from anywhere else")]
    pub(crate) fn seed(&self, seed: u64, piece: usize) {
        if self.is_random {
            tch::manual_seed((seed ^ (piece as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i64);
        }
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The network as it was loaded, without normalization. None where libtorch runs the file.
    pub fn program(&self) -> Option<&Program> {
        match &self.network {
            Network::Program(it) => Some(&it.program),
            Network::Script(_) => None,
        }
    }

    /// The operators at the network's end that its logits are taken before, such as `softmax`.
    pub fn ending(&self) -> Option<&str> {
        match &self.network {
            Network::Program(it) => it.ending.as_ref().map(|ending| ending.words.as_str()),
            Network::Script(_) => None,
        }
    }

    /// From now on the logits are what the whole network gives.
    pub(crate) fn keep_ending(&mut self) {
        if let Network::Program(it) = &mut self.network
            && let Some(ending) = it.ending.take()
        {
            it.attacked = ending.whole;
        }
    }

    /// Whether operators stand in the way of its gradients, such as rounding.
    pub(crate) fn has_steps(&self) -> bool {
        matches!(&self.network, Network::Program(it) if straight_through(it.attacked.program()).is_some())
    }

    /// From now on gradients pass operators that have none, such as rounding: whether there are any. No logit changes.
    pub(crate) fn go_straight_through(&mut self) -> bool {
        let Network::Program(it) = &mut self.network else { return false };
        let straight = |interpreter: &Interpreter| straight_through(interpreter.program()).map(Interpreter::new);
        let Some(attacked) = straight(&it.attacked) else { return false };
        it.attacked = attacked;
        if let Some(ending) = &mut it.ending
            && let Some(whole) = straight(&ending.whole)
        {
            ending.whole = whole;
        }
        true
    }

    /// Module paths of the taps, in forward order.
    pub fn tap_paths(&self) -> Vec<String> {
        match &self.network {
            Network::Program(it) => it.taps.iter().map(|tap| tap.path.clone()).collect(),
            Network::Script(it) => it.tap_paths(),
        }
    }

    /// Counts parameters and operations with one black image of this height and width.
    ///
    /// # Errors
    /// A sentence, when the image does not fit the network.
    pub(crate) fn cost(&self, height: i64, width: i64) -> Result<ModelCost, String> {
        match &self.network {
            Network::Program(it) => {
                let cost = count(&it.program, height, width).map_err(|error| first_line(&error))?;
                let by_convention = Some(cost.by_convention);
                Ok(ModelCost { parameters: cost.parameters, macs: Some(cost.macs), by_convention })
            }
            Network::Script(it) => Ok(ModelCost { parameters: it.parameters(), macs: None, by_convention: None }),
        }
    }

    /// Shapes of the taps' outputs for one image of this height and width, without the batch dimension.
    ///
    /// # Errors
    /// A sentence, when the image does not fit the network.
    pub(crate) fn tap_shapes(&self, height: i64, width: i64) -> Result<Vec<Vec<i64>>, String> {
        let batch = self.program().and_then(|program| program.fixed_batch).unwrap_or(1);
        let image = Tensor::zeros([batch, self.info.channels, height, width], (Kind::Float, self.device));
        let mut shapes = vec![Vec::new(); self.tap_paths().len()];
        let run = self.run_with_taps(&image, &mut |idx, output| {
            shapes[idx] = output.size().get(1..).unwrap_or_default().to_vec();
            Ok(())
        });
        run.map(|_| shapes).map_err(|error| first_line(&error))
    }

    /// Feeds pixels `[N, C, H, W]` forward without gradients and hands each tap's output, as rows `[N, M]`, to
    /// `visit(tap index, rows)` in forward order. Returns the logits `[N, K]`.
    ///
    /// The order of the M columns is the same for all samples and otherwise not specified.
    pub fn trace(&self, pixels: &Tensor, visit: &mut VisitTap<'_>) -> Result<Tensor, TchError> {
        let images = pixels.size()[0];
        self.run_with_taps(pixels, &mut |idx, output| {
            // Rows are read in memory order, so that no layout needs a copy.
            let rows = match output.dim() {
                4 if self.device == Device::Cpu => output.f_permute([0, 2, 3, 1])?.f_reshape([images, -1])?,
                _ => output.f_reshape([images, -1])?,
            };
            visit(idx, &rows)
        })
    }

    fn run_with_taps(&self, pixels: &Tensor, visit: &mut VisitTap<'_>) -> Result<Tensor, TchError> {
        let _guard = tch::no_grad_guard();
        let pixels = channels_last(pixels, self.device)?;
        match &self.network {
            Network::Program(it) => it.traced.run_with_taps(&pixels, Mode::Evaluate, &it.taps, visit),
            Network::Script(it) => it.run_with_taps(&pixels, visit),
        }
    }
}

/// What a forward pass of one image costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelCost {
    pub parameters: u64,
    /// As [`Cost::macs`](passes::count::Cost::macs); unknown where libtorch runs the file.
    pub macs: Option<u64>,
    /// As [`Cost::by_convention`](passes::count::Cost::by_convention); unknown where libtorch runs the file.
    pub by_convention: Option<[u64; Convention::ALL.len()]>,
}

impl Victim for Model {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        let run = || {
            let pixels = channels_last(pixels, self.device)?;
            match &self.network {
                Network::Program(it) => it.attacked.run(&pixels, Mode::Evaluate),
                Network::Script(it) => it.run(&pixels),
            }
        };
        Ok(run()?)
    }

    fn n_classes(&self) -> i64 {
        self.info.classes
    }

    fn device(&self) -> Device {
        self.device
    }

    fn outputs(&self, pixels: &Tensor) -> Result<Option<Tensor>, VictimError> {
        match &self.network {
            Network::Program(it) => match &it.ending {
                Some(ending) => Ok(Some(ending.whole.run(&channels_last(pixels, self.device)?, Mode::Evaluate)?)),
                None => Ok(None),
            },
            Network::Script(_) => Ok(None),
        }
    }

    fn is_random(&self) -> bool {
        self.is_random
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
        weight.tensor = laid_out.detach().set_requires_grad(false);
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
