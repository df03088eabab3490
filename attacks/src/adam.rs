//! Adam (Kingma and Ba, 2015).

use tch::Tensor;

/// Adam with the usual β; elementwise, one operation at a time, so that every row has the same bits in any batch.
pub(crate) struct Adam {
    pub(crate) variable: Tensor,
    first: Tensor,
    second: Tensor,
    n_steps: i32,
}

impl Adam {
    pub(crate) fn new(variable: Tensor) -> Self {
        Self { first: variable.zeros_like(), second: variable.zeros_like(), variable, n_steps: 0 }
    }

    /// One step down a gradient.
    pub(crate) fn step(&mut self, gradient: &Tensor, lr: f64) {
        let (beta1, beta2, epsilon) = (0.9_f64, 0.999_f64, 1e-8);
        self.n_steps += 1;
        self.first = &self.first * beta1 + gradient * (1.0 - beta1);
        self.second = &self.second * beta2 + gradient.square() * (1.0 - beta2);
        let first_scale = lr / (1.0 - beta1.powi(self.n_steps));
        let second_scale = (1.0 - beta2.powi(self.n_steps)).sqrt().recip();
        self.variable = &self.variable - &self.first * first_scale / (self.second.sqrt() * second_scale + epsilon);
    }

    /// Lets go of all rows but these.
    pub(crate) fn keep(&mut self, kept: &Tensor) {
        for tensor in [&mut self.variable, &mut self.first, &mut self.second] {
            *tensor = tensor.index_select(0, kept);
        }
    }
}
