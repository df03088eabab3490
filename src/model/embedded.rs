//! The model inside the binary: a CIFAR-style ResNet-20 trained on Fashion-MNIST by `advmod train` (command in `fixtures/`).

/// What the model is called in reports.
pub(crate) const NAME: &str = "embedded";

pub(crate) const BYTES: &[u8] = include_bytes!("../../fixtures/resnet20-fashion-mnist.safetensors");
