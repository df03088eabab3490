//! Builds a [`Program`] node by node and asks a [`WeightSource`] for each weight.

use tch::Tensor;

use super::program::{ConvGeometry, Node, Op, Program, Tap, ValueId, Weight, WeightId};

/// How a new network's weight starts. Loading ignores it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with standard deviation √(2 / fan), He et al., "Delving Deep into Rectifiers", ICCV 2015.
    KaimingNormal {
        /// Inputs (or outputs) per unit.
        fan: i64,
    },
    /// Uniform in ±1/√fan, PyTorch's default for linear layers.
    Uniform {
        fan: i64,
    },
    Zeros,
    Ones,
}

/// Where a program's weights come from: a file, or an initializer.
pub trait WeightSource {
    /// The weight of this name and shape, f32.
    fn weight(&mut self, name: &str, shape: &[i64], init: Init, trainable: bool) -> Result<Tensor, WeightError>;
}

/// A weight that a program needs and does not get.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WeightError(pub(super) String);

/// Appends nodes to a program. Methods return the value that the new node makes.
pub struct Builder<'a> {
    source: &'a mut dyn WeightSource,
    program: Program,
}

impl<'a> Builder<'a> {
    /// An empty program and its input.
    pub(crate) fn new(source: &'a mut dyn WeightSource) -> (Self, ValueId) {
        (Self { source, program: Program::default() }, ValueId(0))
    }

    pub(crate) fn node(&mut self, op: Op, inputs: &[ValueId], path: &str) -> ValueId {
        let output = ValueId(self.program.nodes.len() as u32 + 1);
        self.program.nodes.push(Node { op, inputs: inputs.to_vec(), output, path: path.to_owned() });
        output
    }

    /// Convolution of a square kernel; `shape` is `[out, in, kernel, kernel]`.
    pub(crate) fn conv(
        &mut self,
        x: ValueId,
        shape: [i64; 4],
        geometry: ConvGeometry,
        bias: bool,
        path: &str,
    ) -> Result<ValueId, WeightError> {
        let fan = shape[0] * shape[2] * shape[3];
        let weight = self.weight(&format!("{path}.weight"), &shape, Init::KaimingNormal { fan }, true)?;
        let bias = match bias {
            true => Some(self.weight(&format!("{path}.bias"), &shape[..1], Init::Zeros, true)?),
            false => None,
        };
        Ok(self.node(Op::Conv2d { weight, bias, geometry }, &[x], path))
    }

    /// Batch normalization with PyTorch's default `eps`.
    pub(crate) fn batch_norm(&mut self, x: ValueId, channels: i64, path: &str) -> Result<ValueId, WeightError> {
        let mut get =
            |name: &str, init, trainable| self.weight(&format!("{path}.{name}"), &[channels], init, trainable);
        let op = Op::BatchNorm {
            weight: get("weight", Init::Ones, true)?,
            bias: get("bias", Init::Zeros, true)?,
            mean: get("running_mean", Init::Zeros, false)?,
            variance: get("running_var", Init::Ones, false)?,
            eps: 1e-5,
        };
        Ok(self.node(op, &[x], path))
    }

    pub(crate) fn linear(&mut self, x: ValueId, inputs: i64, outputs: i64, path: &str) -> Result<ValueId, WeightError> {
        let init = Init::Uniform { fan: inputs };
        let weight = self.weight(&format!("{path}.weight"), &[outputs, inputs], init, true)?;
        let bias = Some(self.weight(&format!("{path}.bias"), &[outputs], init, true)?);
        Ok(self.node(Op::Linear { weight, bias }, &[x], path))
    }

    /// Marks a value as a default tap, measured as it is.
    pub(crate) fn tap(&mut self, value: ValueId) {
        self.tap_unit(value, value);
    }

    /// Marks a unit: its raw convolution is the default tap, its ReLU output the other one.
    pub(crate) fn tap_unit(&mut self, raw: ValueId, relu: ValueId) {
        let path_of = |value: ValueId| self.program.nodes[value.index() - 1].path.clone();
        let (raw, relu) = (Tap { path: path_of(raw), value: raw }, Tap { path: path_of(relu), value: relu });
        self.program.default_taps.push(raw);
        self.program.relu_taps.push(relu);
    }

    /// The finished program, whose last node makes the logits.
    pub fn finish(mut self, channels: i64, classes: i64) -> Program {
        self.program.output = ValueId(self.program.nodes.len() as u32);
        Program { channels, classes, ..self.program }
    }

    fn weight(&mut self, name: &str, shape: &[i64], init: Init, trainable: bool) -> Result<WeightId, WeightError> {
        let tensor = self.source.weight(name, shape, init, trainable)?;
        self.program.weights.push(Weight { name: name.to_owned(), tensor, trainable });
        Ok(WeightId(self.program.weights.len() as u32 - 1))
    }
}
