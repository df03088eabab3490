//! Short forms for the tests of attacks.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::cell::RefCell;
use std::ops::ControlFlow;

use advmod_attacks::attack::Preset;
use advmod_attacks::config::{AttackConfig, parse_spec_string};
use advmod_attacks::error::AttackError;
use advmod_attacks::execute::{Options, Samples, execute};
use advmod_attacks::outcome::Outcome;
use advmod_attacks::victim::{Victim, VictimError};
use tch::{Device, Tensor};

pub(crate) fn ids(n: u32) -> Vec<u32> {
    (0..n).collect()
}

pub(crate) fn samples<'a>(pixels: &'a Tensor, labels: &'a Tensor, ids: &'a [u32]) -> Samples<'a> {
    Samples { pixels, labels, ids }
}

pub(crate) fn options() -> Options {
    Options { seed: 5, eight_bit: false }
}

pub(crate) fn config(text: &str) -> AttackConfig {
    let (id, table) = parse_spec_string(text).unwrap();
    AttackConfig::new(&id, Preset::Standard, &table).unwrap()
}

/// Runs to the end, with ids 0, 1, 2, …
pub(crate) fn attack_all(
    victim: &dyn Victim,
    config: &AttackConfig,
    pixels: &Tensor,
    labels: &Tensor,
) -> Result<Outcome, AttackError> {
    run(victim, config, pixels, labels, &ids(pixels.size()[0] as u32), options())
}

pub(crate) fn run(
    victim: &dyn Victim,
    config: &AttackConfig,
    pixels: &Tensor,
    labels: &Tensor,
    ids: &[u32],
    options: Options,
) -> Result<Outcome, AttackError> {
    execute(victim, config, &samples(pixels, labels, ids), options, &mut |_| ControlFlow::Continue(()))
}

/// Keeps tests that run side by side from fighting for cores.
pub(crate) fn one_thread() {
    tch::set_num_threads(1);
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap().into_iter().map(f32::to_bits).collect()
}

pub(crate) fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    bits(a) == bits(b)
}

/// A victim whose logits are changed on the way out.
pub(crate) struct Changed<V, F> {
    pub(crate) inner: V,
    pub(crate) change: F,
}

impl<V: Victim, F: Fn(Tensor) -> Tensor> Victim for Changed<V, F> {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        Ok((self.change)(self.inner.logits(pixels)?))
    }

    fn n_classes(&self) -> i64 {
        self.inner.n_classes()
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}

/// A victim that remembers what it was shown.
pub(crate) struct Recorder<V> {
    inner: V,
    pub(crate) shown: RefCell<Vec<Tensor>>,
}

impl<V> Recorder<V> {
    pub(crate) fn new(inner: V) -> Self {
        Self { inner, shown: RefCell::default() }
    }
}

impl<V: Victim> Victim for Recorder<V> {
    fn logits(&self, pixels: &Tensor) -> Result<Tensor, VictimError> {
        self.shown.borrow_mut().push(pixels.detach().copy());
        self.inner.logits(pixels)
    }

    fn n_classes(&self) -> i64 {
        self.inner.n_classes()
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}
