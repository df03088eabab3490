//! Small victims with known answers.

use std::cell::Cell;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::threat::Norm;
use crate::victim::{Victim, VictimError};

/// Logits Z = x·Wᵀ + b over the flattened pixels; everything about it has a closed form.
#[derive(Debug)]
pub struct LinearVictim {
    /// `[K, D]`.
    pub weight: Tensor,
    /// `[K]`.
    pub bias: Tensor,
}

impl LinearVictim {
    /// Weights in `[-1, 1)` and no bias.
    pub fn seeded(seed: u64, n_classes: i64, n_values: i64) -> Self {
        let weight = uniform(&mut ChaCha8Rng::seed_from_u64(seed), &[n_classes, n_values], 1.0);
        Self { weight, bias: Tensor::zeros([n_classes], (Kind::Float, Device::Cpu)) }
    }

    /// Distance of one flattened image `[D]` to the nearest point of another class, ignoring the box `[0, 1]`.
    ///
    /// `min_{i≠y} (Z_y − Z_i) / ‖w_y − w_i‖`, with the norm's dual: L1 for L∞, L2 for L2.
    pub fn distance(&self, pixels: &Tensor, label: i64, norm: Norm) -> f64 {
        let logits = self.weight.mv(pixels) + &self.bias;
        let others = (0..self.n_classes()).filter(|&class| class != label);
        let distances = others.map(|class| {
            let normal = self.weight.get(label) - self.weight.get(class);
            let size = match norm {
                Norm::L2 => normal.square().sum(Kind::Double).sqrt(),
                Norm::Linf => normal.abs().sum(Kind::Double),
                Norm::L0 => panic!("the nearest point in L0 is no closed form"),
            };
            (logits.double_value(&[label]) - logits.double_value(&[class])) / size.double_value(&[])
        });
        distances.fold(f64::INFINITY, f64::min)
    }
}

impl Victim for LinearVictim {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        Ok(pixels.f_flatten(1, -1)?.f_matmul(&self.weight.tr())?.f_add(&self.bias)?)
    }

    fn n_classes(&self) -> i64 {
        self.weight.size()[0]
    }

    fn device(&self) -> Device {
        self.weight.device()
    }
}

/// A small convolutional network with seeded weights for `[N, channels, H, W]`, any H and W of at least 4.
#[derive(Debug)]
pub struct ConvVictim {
    stem: Tensor,
    body: Tensor,
    mix: Tensor,
    head: Tensor,
}

impl ConvVictim {
    /// Two 3×3 convolutions (the second with stride 2), a 1×1 convolution, mean over the image, a linear layer that is wide
    /// enough for libtorch to treat small batches in another way.
    pub fn seeded(seed: u64, channels: i64, n_classes: i64) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        Self {
            stem: uniform(rng, &[16, channels, 3, 3], 0.5),
            body: uniform(rng, &[32, 16, 3, 3], 0.2),
            mix: uniform(rng, &[512, 32, 1, 1], 0.4),
            head: uniform(rng, &[n_classes, 512], 0.8),
        }
    }
}

impl Victim for ConvVictim {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        let none: Option<&Tensor> = None;
        let one = [1_i64, 1];
        let hidden = (pixels - 0.5).f_conv2d(&self.stem, none, one, one, one, 1)?.f_relu()?;
        let hidden = hidden.f_conv2d(&self.body, none, [2_i64, 2], one, one, 1)?.f_relu()?;
        let hidden = hidden.f_conv2d(&self.mix, none, one, [0_i64, 0], one, 1)?.f_relu()?;
        let hidden = hidden.f_adaptive_avg_pool2d([1_i64, 1])?.f_flatten(1, -1)?; // [N, 512]
        Ok(hidden.f_matmul(&self.head.tr())?)
    }

    fn n_classes(&self) -> i64 {
        self.head.size()[0]
    }

    fn device(&self) -> Device {
        self.head.device()
    }
}

/// Counts the images that another victim is shown.
#[derive(Debug)]
pub struct CountingVictim<V> {
    pub inner: V,
    rows: Cell<u64>,
    differentiated: Cell<u64>,
}

impl<V: Victim> CountingVictim<V> {
    pub fn new(inner: V) -> Self {
        Self { inner, rows: Cell::new(0), differentiated: Cell::new(0) }
    }

    pub fn rows(&self) -> u64 {
        self.rows.get()
    }

    /// Of these, images whose gradients were asked for.
    pub fn differentiated_rows(&self) -> u64 {
        self.differentiated.get()
    }
}

impl<V: Victim> Victim for CountingVictim<V> {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        let n = pixels.size()[0] as u64;
        self.rows.set(self.rows.get() + n);
        if pixels.requires_grad() {
            self.differentiated.set(self.differentiated.get() + n);
        }
        self.inner.logits(pixels)
    }

    fn n_classes(&self) -> i64 {
        self.inner.n_classes()
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}

/// Images with uniform pixels, f32 `[N, C, H, W]`; the first n of a larger set are the smaller set.
pub fn images(seed: u64, shape: [i64; 4]) -> Tensor {
    uniform(&mut ChaCha8Rng::seed_from_u64(seed), &shape, 0.5) + 0.5
}

/// What the victim says of `pixels`, as labels that make every sample correctly classified.
pub fn predictions(victim: &dyn Victim, pixels: &Tensor) -> Result<Tensor, VictimError> {
    tch::no_grad(|| Ok(crate::query::padded_logits(victim, pixels)?.argmax(1, false)))
}

fn uniform(rng: &mut ChaCha8Rng, shape: &[i64], half_width: f32) -> Tensor {
    let n = shape.iter().product::<i64>() as usize;
    let numbers: Vec<f32> = (0..n).map(|_| (2.0 * rng.random::<f32>() - 1.0) * half_width).collect();
    Tensor::from_slice(&numbers).reshape(shape)
}
