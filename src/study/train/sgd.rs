//! Stochastic gradient descent with momentum, as PyTorch's: the binding's optimizer keeps its buffers to itself, and a training that goes on
//! needs them.

use tch::{TchError, Tensor};

struct Parameter {
    name: String,
    weight: Tensor,
    buffer: Tensor,
}

/// `g = ∂loss/∂w + λw; b ← μb + g; w ← w − ηb` for every parameter.
pub(super) struct Sgd {
    parameters: Vec<Parameter>,
    momentum: f64,
    weight_decay: f64,
}

impl Sgd {
    /// For these leaves, with empty buffers.
    pub(super) fn new<'a>(
        parameters: impl Iterator<Item = (&'a str, &'a Tensor)>,
        momentum: f64,
        weight_decay: f64,
    ) -> Result<Self, TchError> {
        let parameter = |(name, weight): (&str, &Tensor)| {
            let weight = weight.shallow_clone();
            let buffer = weight.detach().f_zeros_like()?;
            Ok::<_, TchError>(Parameter { name: name.to_owned(), weight, buffer })
        };
        Ok(Self { parameters: parameters.map(parameter).collect::<Result<_, _>>()?, momentum, weight_decay })
    }

    /// Names and buffers, to be read or filled.
    pub(super) fn buffers(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.parameters.iter().map(|it| (it.name.as_str(), &it.buffer))
    }

    /// One step down the gradient of a loss.
    pub(super) fn step(&mut self, loss: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        for it in &mut self.parameters {
            it.weight.zero_grad();
        }
        loss.f_backward()?;
        let _guard = tch::no_grad_guard();
        for it in &mut self.parameters {
            let gradient = it.weight.f_grad()?.f_add(&it.weight.f_mul_scalar(self.weight_decay)?)?;
            let _ = it.buffer.f_mul_scalar_(self.momentum)?.f_add_(&gradient)?;
            let _ = it.weight.f_sub_(&it.buffer.f_mul_scalar(learning_rate)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::{self, OptimizerConfig as _};
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn steps_are_those_of_pytorchs_sgd() {
        let start = Tensor::from_slice(&[0.5_f32, -1.0, 2.0]);
        let target = Tensor::from_slice(&[1.0_f32, 0.25, -3.0]);
        let loss = |weight: &Tensor| (weight - &target).square().sum(Kind::Float);
        let store = nn::VarStore::new(Device::Cpu);
        let theirs = store.root().var_copy("w", &start);
        let config = nn::Sgd { momentum: 0.9, dampening: 0.0, wd: 0.05, nesterov: false };
        let mut optimizer = config.build(&store, 0.05).unwrap();
        let ours = start.copy().set_requires_grad(true);
        let mut sgd = Sgd::new(std::iter::once(("w", &ours)), 0.9, 0.05).unwrap();
        for step in 0..20 {
            let learning_rate = if step < 10 { 0.05 } else { 0.005 };
            optimizer.set_lr(learning_rate);
            optimizer.backward_step(&loss(&theirs));
            sgd.step(&loss(&ours), learning_rate).unwrap();
            assert!((&ours - &theirs).abs().max().double_value(&[]) < 1e-6, "step {step}: {ours} {theirs}");
        }
        assert!((&ours - &start).abs().min().double_value(&[]) > 0.1);
    }
}
